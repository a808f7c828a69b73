//! A safe point for all cores: each between two tasks, its requests called back, asleep until it is told how to go on.
//!
//! One core coordinates, from within one of its tasks. It asks the others by a message; each comes as soon as the task that
//! it runs returns, calls its requests back, reports and sleeps. When all have come, or the deadline has passed, the
//! coordinator goes on; dropping [`Paused`] lets everybody resume, whatever has happened.
//!
//! A core that ends instead of coming is not waited for, and one that was started meanwhile is asked as well: when nobody is
//! left to be asked, nobody is left who could start another.
//!
//! Two cores can't coordinate at the same time. The second one waits for its turn *as a core that has been asked*: it serves
//! the first one's pause while it waits, so they don't wait for each other.

use std::io;
use std::rc::Rc;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

use crate::context::{self, Core};
use crate::cores::{self, Cluster, recover};
use crate::metrics::ReplaceReason;
use crate::owner::Owner;

/// How long is waited.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// For the cores to come.
    pub(crate) cores: Duration,
    /// For the kernel to give back what each has.
    pub(crate) kernel: Duration,
}

impl Patience {
    /// Where what the kernel keeps is in the way.
    pub(crate) const LONG: Self = Patience { cores: Duration::from_secs(5), kernel: Duration::from_secs(5) };
    /// Where it is not.
    pub(crate) const SHORT: Self =
        Patience { cores: Duration::from_secs(5), kernel: Duration::from_millis(200) };
}

/// While it waits for its turn, a core looks this often whether it has been asked.
const TURN_LOOK: Duration = Duration::from_micros(100);

/// What a core says when it has come.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Report {
    pub(crate) core: usize,
    /// Tasks that it has.
    pub(crate) tasks: usize,
    /// Requests that the kernel has not given back.
    pub(crate) left: usize,
    /// Accepted connections that nobody has taken.
    pub(crate) untaken: usize,
}

/// How to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Resume,
    Replace(ReplaceReason),
}

/// One request to come to a safe point, shared by those who are asked and the one who asks.
pub(crate) struct Pause {
    /// In a child of a fork nobody gives orders, and the lock may be held for ever.
    owner: Owner,
    patience: Patience,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// How many have been asked, and neither reported nor ended.
    asked: usize,
    reports: Vec<Report>,
    order: Option<Order>,
    /// How many have reported and not carried out the order.
    resting: usize,
    failed: Option<io::Error>,
}

/// What is sent to a core that is asked. Dropped unserved, it says that the core won't come.
struct Summons(Option<Arc<Pause>>);

impl Summons {
    fn serve(mut self) -> io::Result<()> {
        self.0.take().map_or(Ok(()), |pause| pause.serve())
    }
}

impl Drop for Summons {
    fn drop(&mut self) {
        if let Some(pause) = self.0.take() {
            pause.excuse();
        }
    }
}

impl Pause {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change is complete before anything can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `ready` gives something; `None` at the deadline, if there is one.
    fn wait<T>(
        &self,
        deadline: Option<Instant>,
        mut ready: impl FnMut(&mut State) -> Option<T>,
    ) -> Option<T> {
        let mut state = self.lock();
        loop {
            if let Some(found) = ready(&mut state) {
                return Some(found);
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return None;
            }
            let left = left.unwrap_or(Duration::from_secs(3600));
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// One of those who were asked won't come.
    fn excuse(&self) {
        if self.owner.is_here() {
            self.lock().asked -= 1;
            self.changed.notify_all();
        }
    }

    /// Comes to the safe point, and goes on when told. On the thread of a core, between two tasks or where it waits for its
    /// own turn.
    ///
    /// # Errors
    ///
    /// The kernel's refusal of a new ring: the core can't go on.
    fn serve(&self) -> io::Result<()> {
        let core = &*context::current().expect("errands are done on a core");
        if !self.owner.is_here() || self.lock().order.is_some() {
            // Of the process that forked this one; or too late: the others have gone on.
            self.excuse();
            return Ok(());
        }
        let left = stop(core, self.patience.kernel).inspect_err(|_| self.excuse())?;
        let mut state = self.lock();
        state.asked -= 1;
        state.reports.push(report(core, left));
        state.resting += 1;
        drop(state);
        self.changed.notify_all();
        let order = self.wait(None, |state| state.order).expect("without a deadline there is an order");
        let result = go_on(core, order);
        let mut state = self.lock();
        state.resting -= 1;
        if let Err(error) = &result {
            state.failed = Some(copy(error));
        }
        drop(state);
        self.changed.notify_all();
        result
    }
}

/// For a second reader of the same error.
fn copy(error: &io::Error) -> io::Error {
    error
        .raw_os_error()
        .map_or_else(|| io::Error::new(error.kind(), error.to_string()), io::Error::from_raw_os_error)
}

fn report(core: &Core, left: usize) -> Report {
    Report { core: core.index, tasks: core.executor.tasks(), left, untaken: core.reactor.untaken_accepts() }
}

/// Calls the requests of a core back; returns how many the kernel has kept.
fn stop(core: &Core, patience: Duration) -> io::Result<usize> {
    let deadline = Instant::now() + patience;
    loop {
        match core.reactor.call_back(deadline) {
            Err(error) if error.raw_os_error() == Some(libc::EOWNERDEAD) => {
                if core.reactor.is_dead() {
                    core.reactor.bury();
                    // What former rings have.
                    return Ok(core.reactor.in_flight());
                }
                if Instant::now() >= deadline {
                    return Ok(core.reactor.in_flight());
                }
            }
            result => return result,
        }
    }
}

fn go_on(core: &Core, order: Order) -> io::Result<()> {
    match order {
        Order::Replace(reason) => recover::reopen(core, reason, Instant::now()),
        // Its poller has died meanwhile.
        Order::Resume if !core.reactor.has_ring() => {
            recover::reopen(core, ReplaceReason::PollerDied, Instant::now())
        }
        Order::Resume => {
            core.reactor.release();
            Ok(())
        }
    }
}

/// All cores at a safe point. Dropping it lets them resume on the rings that they have.
pub(crate) struct Paused<'a> {
    core: Rc<Core>,
    pause: Arc<Pause>,
    reports: Vec<Report>,
    own: Report,
    start: Instant,
    ordered: bool,
    _turn: MutexGuard<'a, ()>,
}

/// Brings all cores to a safe point, from a task of `core`.
///
/// # Errors
///
/// `TimedOut` if one of them has not come by the deadline, after which all go on.
pub(crate) fn all<'a>(
    core: &Rc<Core>,
    cluster: &'a Arc<Cluster>,
    patience: Patience,
) -> io::Result<Paused<'a>> {
    let start = Instant::now();
    let deadline = start + patience.cores;
    let turn = await_turn(core, cluster, deadline)?;
    let (owner, state) = (core.owner.get(), Mutex::default());
    let pause = Arc::new(Pause { owner, patience, state, changed: Condvar::new() });
    let own = report(core, 0);
    let mut paused =
        Paused { core: Rc::clone(core), pause, reports: Vec::new(), own, start, ordered: false, _turn: turn };
    let mut asked = Vec::new();
    loop {
        let new = paused.ask(cluster, &mut asked);
        if asked.len() == new {
            // The first round: this core's requests come back while the others come.
            paused.own = report(core, stop(core, patience.kernel)?);
        }
        let came = |state: &mut State| (state.asked == 0).then(|| state.reports.clone());
        match paused.pause.wait(Some(deadline), came) {
            None => return Err(paused.too_late(&asked)),
            Some(reports) => paused.reports = reports,
        }
        if new == 0 {
            return Ok(paused);
        }
    }
}

fn await_turn<'a>(
    core: &Core,
    cluster: &'a Arc<Cluster>,
    deadline: Instant,
) -> io::Result<MutexGuard<'a, ()>> {
    loop {
        match cluster.changing.try_lock() {
            Ok(turn) => return Ok(turn),
            Err(TryLockError::Poisoned(turn)) => return Ok(turn.into_inner()),
            Err(TryLockError::WouldBlock) if Instant::now() >= deadline => {
                let error = "another core is changing the process, and has not finished in time";
                return Err(io::Error::new(io::ErrorKind::TimedOut, error));
            }
            Err(TryLockError::WouldBlock) => {
                core.executor.fetch();
                match core.executor.next_errand() {
                    Some(errand) => errand()?,
                    None => thread::sleep(TURN_LOOK),
                }
            }
        }
    }
}

impl Paused<'_> {
    /// Asks the cores that run and have not been asked; returns how many.
    fn ask(&self, cluster: &Cluster, asked: &mut Vec<usize>) -> usize {
        let others = cluster.remotes_but(self.core.index);
        let new: Vec<_> = others.into_iter().filter(|(index, _)| !asked.contains(index)).collect();
        for (index, remote) in &new {
            asked.push(*index);
            self.pause.lock().asked += 1;
            let summons = Summons(Some(Arc::clone(&self.pause)));
            // What is refused is dropped, and so says by itself that it won't be served.
            remote.send_errand(Box::new(move || summons.serve()));
        }
        new.len()
    }

    fn too_late(&self, asked: &[usize]) -> io::Error {
        let came: Vec<usize> = self.pause.lock().reports.iter().map(|report| report.core).collect();
        let missing = asked.iter().find(|index| !came.contains(index)).copied().unwrap_or_default();
        io::Error::new(
            io::ErrorKind::TimedOut,
            format!(
                "core {missing} did not come to a safe point within {} ms: one of its tasks does not return; \
                 run what blocks by spawn_blocking",
                self.start.elapsed().as_millis()
            ),
        )
    }

    /// What all cores reported, the coordinator's among them.
    pub(crate) fn reports(&self) -> impl Iterator<Item = &Report> {
        self.reports.iter().chain([&self.own])
    }

    /// What the cores but the coordinator's reported.
    pub(crate) fn others(&self) -> &[Report] {
        &self.reports
    }

    /// Requests that the kernel has not given back.
    ///
    /// # Errors
    ///
    /// If there are any: this process can't be left without losing them.
    pub(crate) fn refuse_left(&self) -> io::Result<()> {
        match self.reports().find(|report| report.left > 0) {
            None => Ok(()),
            Some(report) => Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!(
                    "the kernel has not given back {} requests of core {} in time: they can be neither awaited nor \
                     taken along; try again later",
                    report.left, report.core
                ),
            )),
        }
    }

    /// Lets all go on, each on a new ring.
    ///
    /// # Errors
    ///
    /// If one of them can't get one: it can't go on.
    pub(crate) fn replace(mut self, reason: ReplaceReason) -> io::Result<()> {
        self.order(Order::Replace(reason));
        let own = recover::reopen(&self.core, reason, self.start);
        let done = |state: &mut State| (state.resting == 0).then(|| state.failed.take());
        let failed = self.pause.wait(None, done).flatten();
        own.and(failed.map_or(Ok(()), Err))
    }

    /// In a child of a fork in which the coordinator's core goes on, with all that was called back: the others are left
    /// behind.
    pub(crate) fn take_along(self) {
        self.core.reactor.inherit();
        std::mem::forget(self);
    }

    /// In a child of a fork, where none of the cores exists: there is nobody to be told, and the requests of this one are the
    /// parent's.
    pub(crate) fn leave_behind(self) {
        self.core.reactor.leave_behind();
        std::mem::forget(self);
    }

    fn order(&mut self, order: Order) {
        self.ordered = true;
        self.pause.lock().order = Some(order);
        self.pause.changed.notify_all();
    }
}

impl Drop for Paused<'_> {
    fn drop(&mut self) {
        if !self.ordered {
            self.order(Order::Resume);
            if let Err(error) = go_on(&self.core, Order::Resume) {
                cores::log::broken(self.core.index, &error);
            }
        }
    }
}
