//! All options of a runtime in one table, checked together, and the runtime that they make.

use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::context;
use crate::cores::Cluster;
use crate::error::BuildError;
use crate::ring::{Mode, RingConfig};
use crate::sys;
use crate::worker::Worker;

/// Which CPUs get a core.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cores {
    /// The first so many of the usable CPUs.
    Count(usize),
    /// Every CPU that this process may use.
    All,
    /// These CPUs, by their numbers.
    List(Vec<usize>),
}

impl From<usize> for Cores {
    fn from(count: usize) -> Self {
        Cores::Count(count)
    }
}

impl From<Vec<usize>> for Cores {
    fn from(cpus: Vec<usize>) -> Self {
        Cores::List(cpus)
    }
}

impl<const N: usize> From<[usize; N]> for Cores {
    fn from(cpus: [usize; N]) -> Self {
        Cores::List(cpus.into())
    }
}

/// Options of a [`Runtime`].
///
/// | option | default | |
/// |---|---|---|
/// | [`cores`](Builder::cores) | all | which CPUs get a core; started when first used |
/// | [`mode`](Builder::mode) | polled; entered with one usable CPU | how rings are driven |
/// | [`pin`](Builder::pin) | yes | one CPU per core |
/// | [`entries`](Builder::entries) | 256 | size of each submission queue |
/// | [`pollers`](Builder::pollers) | 1 | pollers that the cores share |
/// | [`poller_cpu`](Builder::poller_cpu) | CPUs without a core, else any | where pollers run |
/// | [`poller_idle_ms`](Builder::poller_idle_ms) | 10 | how long a poller looks before it sleeps |
/// | [`spin_us_max`](Builder::spin_us_max) | 50; 0 with one usable CPU | how long a core looks before it sleeps |
/// | [`shutdown_ms`](Builder::shutdown_ms) | 5,000 | how long shutdown waits |
/// | [`blocking_threads_max`](Builder::blocking_threads_max) | 64 | threads of `spawn_blocking` |
///
/// # Examples
///
/// ```
/// let runtime = runtime::Builder::new().cores(1).mode(runtime::Mode::Entered).build()?;
/// assert_eq!(runtime.block_on(async { 1 + 1 }), 2);
/// # Ok::<(), runtime::BuildError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Builder {
    cores: Cores,
    mode: Option<Mode>,
    pin: bool,
    entries: u32,
    pollers: usize,
    poller_cpu: Option<usize>,
    poller_idle_ms: u32,
    spin_us_max: Option<u32>,
    shutdown_ms: u64,
    blocking_threads_max: usize,
}

impl Builder {
    /// The defaults.
    pub fn new() -> Self {
        Builder {
            cores: Cores::All,
            mode: None,
            pin: true,
            entries: 256,
            pollers: 1,
            poller_cpu: None,
            poller_idle_ms: 10,
            spin_us_max: None,
            shutdown_ms: 5000,
            blocking_threads_max: 64,
        }
    }

    /// Which CPUs get a core: a number, [`Cores::All`] or a list of CPU numbers. Cores are started when first used.
    pub fn cores(mut self, cores: impl Into<Cores>) -> Self {
        self.cores = cores.into();
        self
    }

    /// How rings are driven. A core whose kernel refuses a polled ring gets an entered one; [`crate::metrics()`] says why.
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = Some(mode);
        self
    }

    /// Whether each core's thread is pinned to its CPU. The first core's thread is pinned while it is in
    /// [`Runtime::block_on`]; threads and processes that it starts meanwhile inherit that. So do the kernel's worker threads,
    /// which carry out file operations that would block: from the core if it is entered, else from its poller. A program
    /// that mostly works on files is better off unpinned.
    pub fn pin(mut self, pin: bool) -> Self {
        self.pin = pin;
        self
    }

    /// Entries of each core's submission queue, a power of two up to 32,768; the completion queue has 16 times as many, up
    /// to 65,536. More operations than that can be in flight; they cost a little more then.
    pub fn entries(mut self, entries: u32) -> Self {
        self.entries = entries;
        self
    }

    /// How many pollers the cores share, in groups of neighbours.
    pub fn pollers(mut self, pollers: usize) -> Self {
        self.pollers = pollers;
        self
    }

    /// The CPU that the pollers run on.
    pub fn poller_cpu(mut self, cpu: usize) -> Self {
        self.poller_cpu = Some(cpu);
        self
    }

    /// How long a poller looks for requests, at the cost of a CPU, before it sleeps and has to be woken by a system call.
    pub fn poller_idle_ms(mut self, idle_ms: u32) -> Self {
        self.poller_idle_ms = idle_ms;
        self
    }

    /// How long at most a core looks for completions before it sleeps, in microseconds. It looks less if that does not pay,
    /// and yields in between while cores and pollers occupy all usable CPUs.
    pub fn spin_us_max(mut self, spin_us_max: u32) -> Self {
        self.spin_us_max = Some(spin_us_max);
        self
    }

    /// How long shutdown waits for the kernel and for blocking threads. Memory that the kernel has not given back by then
    /// is leaked.
    pub fn shutdown_ms(mut self, shutdown_ms: u64) -> Self {
        self.shutdown_ms = shutdown_ms;
        self
    }

    /// How many threads [`spawn_blocking`](crate::spawn_blocking) may use.
    pub fn blocking_threads_max(mut self, threads_max: usize) -> Self {
        self.blocking_threads_max = threads_max;
        self
    }

    /// Builds the runtime and its first core, whose thread is the calling one.
    ///
    /// # Errors
    ///
    /// A [`BuildError`] that says what is wrong with the options, or what the kernel refused and what to do about it.
    pub fn build(self) -> Result<Runtime, BuildError> {
        Runtime::start(Options::check(self)?)
    }
}

impl Default for Builder {
    fn default() -> Self {
        Self::new()
    }
}

/// Options that fit each other and the machine.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// For each core the CPU that it is pinned to.
    pub(crate) cores: Vec<Option<usize>>,
    /// Why rings are entered; `None`: they are polled.
    pub(crate) why_entered: Option<String>,
    pub(crate) pollers: usize,
    /// Where the pollers may run.
    pub(crate) poller_cpus: Vec<usize>,
    pub(crate) poller_idle_ms: u32,
    pub(crate) blocking_threads_max: usize,
    pub(crate) usable_cpus: Vec<usize>,
    entries: u32,
    spin_us_max: u32,
    shutdown_ms: u64,
}

impl Options {
    fn check(builder: Builder) -> Result<Self, BuildError> {
        let usable_cpus = sys::affinity(0)
            .map_err(|error| BuildError::thread("the CPUs that this process may use can't be read", error))?;
        let cpus = choose_cpus(&builder, &usable_cpus)?;
        check_numbers(&builder, cpus.len())?;
        let one_cpu = std::thread::available_parallelism().is_ok_and(|cpus| cpus.get() == 1);
        let why_entered = match builder.mode {
            Some(Mode::Entered) => Some("entered rings were asked for".into()),
            None if one_cpu => {
                Some("there is one usable CPU, which a poller would take from the core".into())
            }
            _ => None,
        };
        Ok(Options {
            why_entered,
            pollers: builder.pollers,
            poller_cpus: place_pollers(&builder, &cpus, &usable_cpus)?,
            poller_idle_ms: builder.poller_idle_ms,
            blocking_threads_max: builder.blocking_threads_max,
            cores: cpus.into_iter().map(|cpu| builder.pin.then_some(cpu)).collect(),
            usable_cpus,
            entries: builder.entries,
            spin_us_max: builder.spin_us_max.unwrap_or(if one_cpu { 0 } else { 50 }),
            shutdown_ms: builder.shutdown_ms,
        })
    }

    pub(crate) fn ring_config(&self) -> RingConfig {
        RingConfig { entries: self.entries, cq_entries: (self.entries * 16).min(65_536) }
    }

    pub(crate) fn spin_max(&self) -> Duration {
        Duration::from_micros(self.spin_us_max.into())
    }

    pub(crate) fn shutdown_deadline(&self) -> Instant {
        Instant::now() + Duration::from_millis(self.shutdown_ms.min(u64::from(u32::MAX)))
    }
}

fn choose_cpus(builder: &Builder, usable: &[usize]) -> Result<Vec<usize>, BuildError> {
    let count = usable.len();
    match &builder.cores {
        Cores::All => Ok(usable.to_vec()),
        Cores::Count(0) => Err(BuildError::invalid("cores is 0", "ask for at least one core")),
        Cores::Count(n) if *n > count && builder.pin => Err(BuildError::invalid(
            format!("cores is {n}, but this process may use {count} CPUs"),
            "ask for fewer cores, or for unpinned ones (pin = false)",
        )),
        Cores::Count(n) => Ok(usable.iter().copied().cycle().take(*n).collect()),
        Cores::List(list) if list.is_empty() => {
            Err(BuildError::invalid("cores is an empty list", "name a CPU"))
        }
        Cores::List(list) => {
            for (index, cpu) in list.iter().enumerate() {
                if !usable.contains(cpu) {
                    let what = format!("cores names CPU {cpu}, which this process may not use");
                    return Err(BuildError::invalid(what, format!("choose among {usable:?}")));
                }
                if list[..index].contains(cpu) {
                    return Err(BuildError::invalid(
                        format!("cores names CPU {cpu} twice"),
                        "name each CPU once",
                    ));
                }
            }
            Ok(list.clone())
        }
    }
}

fn check_numbers(builder: &Builder, cores: usize) -> Result<(), BuildError> {
    let Builder { entries, pollers, blocking_threads_max, .. } = *builder;
    if !entries.is_power_of_two() || entries > 32_768 {
        let nearest = entries.clamp(1, 32_768).next_power_of_two();
        let what = format!("entries is {entries}, not a power of two from 1 to 32768");
        return Err(BuildError::invalid(what, format!("use {nearest}")));
    }
    if !(1..=cores).contains(&pollers) {
        let what = format!("pollers is {pollers}, with {cores} cores");
        return Err(BuildError::invalid(what, "use at least one poller, and no more than there are cores"));
    }
    if blocking_threads_max == 0 {
        return Err(BuildError::invalid("blocking_threads_max is 0", "allow at least one thread"));
    }
    Ok(())
}

/// Pollers share no CPU with a core if that can be helped.
fn place_pollers(builder: &Builder, cores: &[usize], usable: &[usize]) -> Result<Vec<usize>, BuildError> {
    match builder.poller_cpu {
        Some(_) if builder.mode == Some(Mode::Entered) => Err(BuildError::invalid(
            "poller_cpu is set, but the mode is entered, which has no poller",
            "leave one of them out",
        )),
        Some(cpu) if !usable.contains(&cpu) => Err(BuildError::invalid(
            format!("poller_cpu is {cpu}, which this process may not use"),
            format!("choose among {usable:?}"),
        )),
        Some(cpu) => Ok(vec![cpu]),
        None => {
            let free: Vec<usize> = usable.iter().copied().filter(|cpu| !cores.contains(cpu)).collect();
            Ok(if free.is_empty() { usable.to_vec() } else { free })
        }
    }
}

/// A runtime: cores, their rings and threads. Stays on the thread that built it, which is its first core.
///
/// Dropping it ends all tasks, cancels all I/O and waits for both, until the builder's `shutdown_ms` have passed.
///
/// # Examples
///
/// ```
/// let runtime = runtime::Runtime::new()?;
/// let sum = runtime.block_on(async { runtime::spawn(async { 1 + 1 }).await.unwrap() });
/// assert_eq!(sum, 2);
/// # Ok::<(), runtime::BuildError>(())
/// ```
pub struct Runtime {
    worker: RefCell<Worker>,
    cluster: Arc<Cluster>,
}

impl Runtime {
    pub(crate) fn start(options: Options) -> Result<Self, BuildError> {
        let cluster = Cluster::new(options)?;
        let worker = cluster.start_first().inspect_err(|_| cluster.not_started())?;
        Ok(Runtime { worker: RefCell::new(worker), cluster })
    }

    /// A runtime with the default options.
    ///
    /// # Errors
    ///
    /// As for [`Builder::build`].
    pub fn new() -> Result<Self, BuildError> {
        Builder::new().build()
    }

    /// Runs `main` and the tasks of this thread's core until `main` is ready. Tasks that are not finished then go on in the
    /// next call.
    ///
    /// # Panics
    ///
    /// If `main` panics; if this thread is in a `block_on` already; if it can't be pinned any more; if the ring has to be
    /// replaced (see [`guard`](crate::guard)) and the kernel refuses a new one.
    pub fn block_on<F: Future>(&self, main: F) -> F::Output {
        assert!(
            context::with_core(|_| ()).is_none(),
            "block_on was called inside a runtime: await the future instead, or use spawn_blocking"
        );
        let cluster = self.cluster.live();
        let _unpin = Unpin(sys::affinity(0).ok().filter(|_| cluster.options().cores[0].is_some()));
        if let Err(error) = cluster.pin(0) {
            panic!("{error}");
        }
        let _entered = cluster.enter();
        match self.worker.borrow_mut().run_main(main) {
            Ok(output) => output,
            Err(error) => panic!("the ring of core 0 is broken: {error}"),
        }
    }
}

/// Gives the thread its affinity back.
struct Unpin(Option<Vec<usize>>);

impl Drop for Unpin {
    fn drop(&mut self) {
        if let Some(cpus) = &self.0 {
            // Fails only if the CPUs were taken away meanwhile: then the kernel has chosen others already.
            let _ = sys::set_affinity(0, cpus);
        }
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        self.cluster.live().shut_down(self.worker.get_mut());
    }
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runtime").field("options", self.cluster.options()).finish()
    }
}
