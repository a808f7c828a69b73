//! The cores of a runtime: which CPUs, which rings, which threads, and the order in which they end.
//!
//! A core is started when it is first used: the first by the builder, on the builder's thread, the others by `spawn_on`.
//! Starting is synchronous, so that whoever needs the core learns why it can't be had.
//!
//! **After a fork** the child has one thread, and the locks in here may be held for ever by those that it does not have. So
//! nothing of a [`Cluster`] is used in another process than its own: [`Cluster::live`] gives the one that this process has
//! instead, made of the same options, with no core started but the one whose thread survived.
//!
//! **Shutdown**: every core is told to stop; each ends its tasks on its own thread, cancels its I/O, waits for the kernel and
//! ends its thread; the first core does the same here; then the blocking pool. One deadline holds for all of it. What is
//! not done by then is given up without being freed: memory that the kernel may write to, threads that are stuck in a task.

pub(crate) mod log;
pub(crate) mod recover;
mod spawn;

pub use spawn::{core, cores, metrics, on_every_core, spawn, spawn_on};

use std::cell::{Cell, RefCell};
use std::io;
use std::mem::ManuallyDrop;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use crate::builder::Options;
use crate::context::{self, Core};
use crate::error::BuildError;
use crate::executor::pool::Pool;
use crate::executor::{Executor, Remote};
use crate::metrics::{CoreCounters, CoreMetrics, Metrics, ReplaceReason, Replacement};
use crate::owner::Owner;
use crate::reactor::Reactor;
use crate::ring::{Mode, Poller, Ring, inherited, io_uring_disabled};
use crate::sys;
use crate::time::timers::Timers;
use crate::worker::{SpareCpus, Worker};

thread_local! {
    /// The runtime whose core this thread is.
    /// Without a destructor, so that other thread-locals may own a runtime.
    static CURRENT: ManuallyDrop<RefCell<Option<Arc<Cluster>>>> = const { ManuallyDrop::new(RefCell::new(None)) };
}

/// How many runtimes this process has.
static RUNTIMES: AtomicUsize = AtomicUsize::new(0);

/// In a child of a fork: the runtimes of threads that do not exist here are gone.
pub(crate) fn forget_others() {
    RUNTIMES.store(0, Ordering::Relaxed);
}

/// All cores of a runtime, as every one of their threads sees them.
pub(crate) struct Cluster {
    owner: Owner,
    /// What takes its place in a child of a fork.
    successor: OnceLock<Arc<Cluster>>,
    /// Held by the core that changes the process.
    pub(crate) changing: Mutex<()>,
    options: Options,
    pollers: Vec<Arc<Poller>>,
    pool: Arc<Pool>,
    spare: Arc<SpareCpus>,
    cores: Vec<Slot>,
}

/// One core, from outside.
#[derive(Default)]
struct Slot {
    counters: Arc<CoreCounters>,
    state: Mutex<State>,
}

#[derive(Default)]
enum State {
    #[default]
    NotStarted,
    Running(Running),
    Ended,
}

struct Running {
    remote: Arc<Remote>,
    info: RingInfo,
    /// Closed when the thread ends; the first core has no thread of its own.
    ended: Option<mpsc::Receiver<()>>,
}

/// What kind of ring a core got.
#[derive(Debug, Clone)]
struct RingInfo {
    mode: Mode,
    why_not_polled: Option<String>,
}

impl Slot {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A state is replaced as a whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cluster {
    /// Validated options, and no core started yet.
    pub(crate) fn new(options: Options) -> Result<Arc<Self>, BuildError> {
        let owner = Owner::this_process()
            .map_err(|error| BuildError::ring("a page that forks wipe can't be had", error, None))?;
        let counters = (0..options.cores.len()).map(|_| Arc::default()).collect();
        RUNTIMES.fetch_add(1, Ordering::Relaxed);
        Ok(Self::with_counters(options, owner, counters))
    }

    /// Its first core could not be started.
    pub(crate) fn not_started(&self) {
        RUNTIMES.fetch_sub(1, Ordering::Relaxed);
    }

    /// # Errors
    ///
    /// `ResourceBusy` if the process has other runtimes, which would not take part in a change of it.
    pub(crate) fn refuse_others(&self) -> io::Result<()> {
        match RUNTIMES.load(Ordering::Relaxed) {
            0 | 1 => Ok(()),
            runtimes => Err(io::Error::new(
                io::ErrorKind::ResourceBusy,
                format!(
                    "the process has {runtimes} runtimes, and only this one would take part: end the others first"
                ),
            )),
        }
    }

    fn with_counters(options: Options, owner: Owner, counters: Vec<Arc<CoreCounters>>) -> Arc<Self> {
        let pollers = (0..options.pollers)
            .map(|_| Arc::new(Poller::new(options.poller_idle_ms, options.poller_cpus.clone())))
            .collect();
        let pool = Pool::new(options.blocking_threads_max, options.usable_cpus.clone(), owner);
        let cores = counters.into_iter().map(|counters| Slot { counters, state: Mutex::default() }).collect();
        let pollers_used = if options.why_entered.is_some() { 0 } else { options.pollers };
        let spare = Arc::new(SpareCpus::new(options.usable_cpus.len(), pollers_used));
        let (successor, changing) = (OnceLock::new(), Mutex::new(()));
        Arc::new(Cluster { owner, successor, changing, options, pollers, pool, spare, cores })
    }

    /// The runtime as this process has it: itself, or what has taken its place since a fork.
    pub(crate) fn live(self: &Arc<Self>) -> Arc<Self> {
        if self.owner.is_here() {
            return Arc::clone(self);
        }
        let successor = self.successor.get_or_init(|| {
            let owner = Owner::this_process().expect("only the first owner of all can fail");
            let counters = self.cores.iter().map(|slot| Arc::clone(&slot.counters)).collect();
            RUNTIMES.store(1, Ordering::Relaxed);
            Self::with_counters(self.options.clone(), owner, counters)
        });
        successor.live()
    }

    /// Notes that `core`, whose thread survived a fork, is one of this runtime.
    pub(crate) fn take_over(&self, core: &Core) {
        self.spare.occupy();
        let info = RingInfo { mode: Mode::Entered, why_not_polled: None };
        let remote = Arc::clone(core.executor.remote());
        *self.cores[core.index].lock() = State::Running(Running { remote, info, ended: None });
    }

    /// Gives `core` a new ring.
    ///
    /// # Errors
    ///
    /// The kernel's refusal, after which nothing has changed.
    pub(crate) fn reopen(
        &self,
        core: &Core,
        reason: ReplaceReason,
        start: Instant,
        last_try: bool,
    ) -> io::Result<()> {
        let (ring, info) = self.open_ring(core.index, last_try)?;
        core.reactor.install(ring);
        let carried = core.reactor.release() as u64;
        let slot = &self.cores[core.index];
        if let State::Running(running) = &mut *slot.lock() {
            running.info = info;
        }
        let replacement = Replacement { reason, duration: start.elapsed(), carried };
        slot.counters.replaced(replacement);
        log::replaced(core.index, &replacement);
        Ok(())
    }

    /// How the next image finds a ring of this runtime; empty if there is none.
    pub(crate) fn describe_ring(&self, ring: Option<i32>) -> String {
        ring.map_or_else(String::new, |ring| inherited::describe(ring, &self.options.ring_config()))
    }

    /// The other cores that run.
    pub(crate) fn remotes_but(&self, index: usize) -> Vec<(usize, Arc<Remote>)> {
        let others = self.cores.iter().enumerate().filter(|(other, _)| *other != index);
        let remotes = others.filter_map(|(other, slot)| match &*slot.lock() {
            State::Running(running) => Some((other, Arc::clone(&running.remote))),
            State::NotStarted | State::Ended => None,
        });
        remotes.collect()
    }

    /// Has all rings that are opened from now on be served by new pollers.
    pub(crate) fn renew_pollers(&self) {
        self.pollers.iter().for_each(|poller| poller.retire_all());
    }

    pub(crate) fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    pub(crate) fn options(&self) -> &Options {
        &self.options
    }

    /// Builds the first core, for the calling thread.
    pub(crate) fn start_first(self: &Arc<Self>) -> Result<Worker, BuildError> {
        let (worker, running) = self.build_core(0)?;
        *self.cores[0].lock() = State::Running(running);
        Ok(worker)
    }

    /// Opens the ring of core `index`: polled if that is wanted and can be had, else entered, and says why. Unless this is the
    /// last try, it does not do with an entered one for want of something that may come free.
    fn open_ring(&self, index: usize, last_try: bool) -> Result<(Ring, RingInfo), BuildError> {
        let config = self.options.ring_config();
        let mut why_not_polled = self.options.why_entered.clone();
        if why_not_polled.is_none() {
            // Neighbouring cores share a poller.
            let poller = &self.pollers[index * self.pollers.len() / self.cores.len()];
            match Ring::open(&config, Some(poller)) {
                Ok(ring) => return Ok((ring, RingInfo { mode: Mode::Polled, why_not_polled: None })),
                Err(error) if !last_try && is_shortage(&error) => {
                    return Err(BuildError::ring(
                        format!("core {index} can't open an io_uring"),
                        error,
                        None,
                    ));
                }
                Err(error) => why_not_polled = Some(format!("the kernel refused a polled ring: {error}")),
            }
        }
        let ring = Ring::open(&config, None).map_err(|error| {
            BuildError::ring(format!("core {index} can't open an io_uring"), error, io_uring_disabled())
        })?;
        Ok((ring, RingInfo { mode: Mode::Entered, why_not_polled }))
    }

    fn build_core(self: &Arc<Self>, index: usize) -> Result<(Worker, Running), BuildError> {
        let refused = |what: &str, error| BuildError::ring(format!("core {index} can't {what}"), error, None);
        let remote = Arc::new(Remote::new().map_err(|error| refused("make an eventfd", error))?);
        let (ring, info) = self.open_ring(index, true)?;
        if let Some(why) = &info.why_not_polled {
            log::not_polled(index, why);
        }
        let core = Rc::new(Core {
            index,
            owner: Cell::new(self.owner),
            executor: Executor::new(Arc::clone(&remote)),
            reactor: Reactor::new(ring, remote.wakeup(), self.owner),
            timers: Rc::new(Timers::new()),
        });
        self.spare.occupy();
        let counters = Arc::clone(&self.cores[index].counters);
        let spare = Arc::clone(&self.spare);
        let worker = Worker::new(core, self.options.spin_max(), spare, counters, recover::recover);
        Ok((worker, Running { remote, info, ended: None }))
    }

    /// The way to reach core `index`, which is started if it has not been.
    fn reach(self: &Arc<Self>, index: usize) -> io::Result<Arc<Remote>> {
        let Some(slot) = self.cores.get(index) else {
            let cores = self.cores.len();
            let error = format!("there is no core {index}: this runtime has {cores}, counted from 0");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, error));
        };
        let mut state = slot.lock();
        match &*state {
            State::Running(running) => Ok(Arc::clone(&running.remote)),
            State::Ended => Err(io::Error::other(format!("core {index} has shut down"))),
            State::NotStarted => {
                let running = self.start_thread(index)?;
                let remote = Arc::clone(&running.remote);
                *state = State::Running(running);
                Ok(remote)
            }
        }
    }

    fn start_thread(self: &Arc<Self>, index: usize) -> Result<Running, BuildError> {
        let (ready, is_ready) = mpsc::sync_channel(1);
        let (end, ended) = mpsc::channel::<()>();
        let cluster = Arc::clone(self);
        let body = move || {
            let _end = end;
            match cluster.pin(index).and_then(|()| cluster.build_core(index)) {
                Err(error) => drop(ready.send(Err(error))),
                Ok((worker, running)) => {
                    if ready.send(Ok(running)).is_ok() {
                        cluster.run_thread(index, worker);
                    }
                }
            }
        };
        thread::Builder::new().name(format!("repoll-{index}")).spawn(body).map_err(|error| {
            BuildError::thread(format!("the thread of core {index} can't be started"), error)
        })?;
        let gone =
            |_| BuildError::thread(format!("the thread of core {index} died"), io::ErrorKind::Other.into());
        let mut running = is_ready.recv().map_err(gone)??;
        running.ended = Some(ended);
        Ok(running)
    }

    fn run_thread(self: &Arc<Self>, index: usize, mut worker: Worker) {
        let abort = AbortOnPanic;
        let _entered = self.enter();
        if let Err(error) = worker.run() {
            log::broken(index, &error);
        }
        let live = self.live();
        *live.cores[index].lock() = State::Ended;
        log::kept(index, worker.shut_down(live.options.shutdown_deadline()));
        std::mem::forget(abort);
    }

    /// Pins the calling thread to the CPU of core `index`, if pinning is wanted.
    pub(crate) fn pin(&self, index: usize) -> Result<(), BuildError> {
        let Some(cpu) = self.options.cores[index] else { return Ok(()) };
        sys::set_affinity(0, &[cpu])
            .map_err(|error| BuildError::thread(format!("core {index} can't be pinned to CPU {cpu}"), error))
    }

    /// Makes this the calling thread's runtime until the guard is dropped.
    pub(crate) fn enter(self: &Arc<Self>) -> ClusterEntered {
        ClusterEntered(CURRENT.with(|current| current.replace(Some(Arc::clone(self)))))
    }

    /// Ends everything; `first` is the core of the calling thread.
    pub(crate) fn shut_down(self: &Arc<Self>, first: &mut Worker) {
        let _entered = self.enter();
        let deadline = self.options.shutdown_deadline();
        let others: Vec<Running> = self.cores[1..]
            .iter()
            .filter_map(|slot| match std::mem::replace(&mut *slot.lock(), State::Ended) {
                State::Running(running) => Some(running),
                State::NotStarted | State::Ended => None,
            })
            .collect();
        others.iter().for_each(|running| running.remote.stop());
        log::kept(0, first.shut_down(deadline));
        *self.cores[0].lock() = State::Ended;
        for ended in others.into_iter().filter_map(|running| running.ended) {
            let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            if ended.recv_timeout(left) == Err(mpsc::RecvTimeoutError::Timeout) {
                log::stuck("a core's thread");
            }
        }
        if self.pool.shut_down(deadline) > 0 {
            log::stuck("a blocking thread");
        }
        RUNTIMES.fetch_sub(1, Ordering::Relaxed);
    }

    fn metrics(&self) -> Metrics {
        let cores = self.cores.iter().enumerate().map(|(index, slot)| {
            let mut metrics = CoreMetrics { cpu: self.options.cores[index], ..CoreMetrics::default() };
            slot.counters.read_into(&mut metrics);
            if let State::Running(Running { info, .. }) = &*slot.lock() {
                metrics.mode = Some(info.mode);
                metrics.why_not_polled = info.why_not_polled.clone();
                if info.mode == Mode::Polled {
                    let poller = self.pollers[index * self.pollers.len() / self.cores.len()].in_use();
                    metrics.poller_tid = poller.tid;
                    metrics.poller_cpu = poller.cpu;
                    metrics.poller_utilisation = poller.utilisation;
                }
            }
            metrics
        });
        Metrics { cores: cores.collect() }
    }
}

/// Restores the thread's former runtime.
pub(crate) struct ClusterEntered(Option<Arc<Cluster>>);

impl Drop for ClusterEntered {
    fn drop(&mut self) {
        CURRENT.with(|current| current.replace(self.0.take()));
    }
}

/// A panic outside of tasks is a bug of the runtime, after which futures of this thread could be dropped on another.
struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        std::process::abort();
    }
}

/// Whether the kernel lacked something of which there may be more in a moment.
fn is_shortage(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::EAGAIN))
}

/// The runtime of the calling thread.
///
/// # Panics
///
/// Outside of a runtime.
pub(crate) fn current() -> Arc<Cluster> {
    if let Some(core) = context::current().filter(|core| !core.owner.get().is_here()) {
        // A task has forked, and this is the child. An error comes again in the core's next turn, which ends it.
        let _ = recover::after_fork(&core);
    }
    live()
}

/// As [`current`], without seeing to the core.
fn live() -> Arc<Cluster> {
    match CURRENT.with(|current| current.borrow().as_ref().map(Cluster::live)) {
        Some(cluster) => cluster,
        None => panic!("{}", context::no_runtime()),
    }
}

/// In a child of a fork: this thread has no runtime any more, and what it had is left as it is.
pub(crate) fn leave_for_good() {
    context::leave_for_good();
    std::mem::forget(CURRENT.with(|current| current.take()));
}
