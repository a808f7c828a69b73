//! What the process knows of each signal, the action that the handler runs, and what a fork does to both.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, AtomicU8, AtomicU32, AtomicU64, Ordering};

use crate::owner::ProcessLock;
use crate::{owner, sys};

/// The largest number of a signal, `SIGRTMAX`.
const NUMBER_MAX: usize = 64;

/// Nobody has listened so far.
const UNTOUCHED: u8 = 0;
/// Handled; nothing happens if nobody listens.
const HANDLED: u8 = 1;
/// As `HANDLED`; before, it had its default action, and was not ignored or handled by somebody else.
const REPLACED: u8 = 2;
/// The default action is taken as long as nobody listens.
const EMULATED: u8 = 3;

/// What the process knows of one signal. The handler uses it, so it is all atomic.
pub(super) struct State {
    /// How often it has been delivered.
    count: AtomicU32,
    /// Up to which count a listener has received it.
    received: AtomicU32,
    /// How many listeners there are in this process.
    listeners: AtomicU32,
    /// One of the constants above.
    action: AtomicU8,
}

static STATES: [State; NUMBER_MAX + 1] = [const {
    State {
        count: AtomicU32::new(0),
        received: AtomicU32::new(0),
        listeners: AtomicU32::new(0),
        action: AtomicU8::new(UNTOUCHED),
    }
}; NUMBER_MAX + 1];

/// The event counter, made at the first use.
static EDGES: OnceLock<OwnedFd> = OnceLock::new();
/// The epoch of the process that the event counter belongs to.
static EDGES_EPOCH: AtomicU64 = AtomicU64::new(0);
/// The thread that executes another image, which has blocked the signals; 0 if there is none.
static EXECUTING: AtomicI32 = AtomicI32::new(0);
/// How often a fork has left the listeners behind.
static GENERATION: AtomicU32 = AtomicU32::new(0);
/// Held while a handler or the event counter is put in place.
static SET_UP: ProcessLock = ProcessLock::new();

impl State {
    /// The state of a signal; `None` if there is no signal of that number.
    pub(super) fn of(number: i32) -> Option<&'static State> {
        usize::try_from(number).ok().filter(|&number| number > 0).and_then(|number| STATES.get(number))
    }

    pub(super) fn count(&self) -> u32 {
        self.count.load(Ordering::Acquire)
    }

    /// A listener has received all deliveries up to this count.
    pub(super) fn set_received(&self, count: u32) {
        self.received.store(count, Ordering::Relaxed);
    }

    /// Returns the generation that the listener is one of. What came before the first was for nobody.
    pub(super) fn add_listener(&self) -> u32 {
        if self.listeners.fetch_add(1, Ordering::Relaxed) == 0 {
            self.set_received(self.count());
        }
        GENERATION.load(Ordering::Relaxed)
    }

    pub(super) fn remove_listener(&self) {
        self.listeners.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whether listeners of that generation are counted.
pub(super) fn is_present(generation: u32) -> bool {
    GENERATION.load(Ordering::Relaxed) == generation
}

/// The action of every signal that is listened for. Async-signal-safe.
fn delivered(number: i32) {
    let Some(state) = State::of(number) else { return };
    if state.action.load(Ordering::Relaxed) == EMULATED && state.listeners.load(Ordering::Relaxed) == 0 {
        return sys::signal::take_default_action(number);
    }
    state.count.fetch_add(1, Ordering::Release);
    // If the exec succeeds, it is pending for the next image; if not, it has been counted for this one.
    let executing = EXECUTING.load(Ordering::Acquire);
    if executing != 0 {
        // In the child of a fork there is no such thread.
        let _ = sys::signal::send(executing, number);
    }
    // Where a fork has left the event counter shared with the parent, only the count is this process's own.
    let epoch = owner::epoch();
    if epoch != 0
        && epoch == EDGES_EPOCH.load(Ordering::Acquire)
        && let Some(edges) = EDGES.get()
    {
        // It fails only when it is full, and then it has woken everybody.
        let _ = sys::eventfd_add(edges.as_fd());
    }
}

/// Makes the event counter and installs the handler, as far as that has not been done; returns the event counter.
pub(super) fn set_up(number: i32, state: &State) -> io::Result<BorrowedFd<'static>> {
    if let Some(edges) = EDGES.get()
        && state.action.load(Ordering::Acquire) != UNTOUCHED
    {
        return Ok(edges.as_fd());
    }
    let _only = SET_UP.lock()?;
    if EDGES.get().is_none() {
        let edges = sys::eventfd()?;
        EDGES_EPOCH.store(owner::adopt()?, Ordering::Release);
        let _ = EDGES.set(edges);
    }
    if state.action.load(Ordering::Acquire) == UNTOUCHED {
        let action = if sys::signal::has_default_action(number)? { REPLACED } else { HANDLED };
        sys::signal::on_delivery(number, delivered)?;
        state.action.store(action, Ordering::Release);
    }
    Ok(EDGES.get().expect("made above").as_fd())
}

/// Separates this process, a child that has just been adopted, from its parent: signals of one wake no listener of the
/// other. With `listeners_survive`, its tasks and their listeners go on. Without, they are the parent's only, and as
/// long as nobody listens here either, the signals that had their default action before have it again.
///
/// # Errors
///
/// `EMFILE`, `ENFILE`, or that its number means another file by now: then signals are counted but wake nobody.
pub(crate) fn after_fork(listeners_survive: bool) -> io::Result<()> {
    if !listeners_survive {
        GENERATION.fetch_add(1, Ordering::Relaxed);
        for state in &STATES {
            state.listeners.store(0, Ordering::Relaxed);
            if state.action.load(Ordering::Relaxed) == REPLACED {
                state.action.store(EMULATED, Ordering::Relaxed);
            }
        }
    }
    let epoch = owner::epoch();
    if let Some(edges) = EDGES.get()
        && EDGES_EPOCH.load(Ordering::Acquire) != epoch
    {
        sys::renew_eventfd(edges.as_fd())?;
        EDGES_EPOCH.store(epoch, Ordering::Release);
        // Whoever polls it is to look at the count: what came until now was only counted.
        sys::eventfd_add(edges.as_fd())?;
    }
    Ok(())
}

/// The signals that somebody listens for at present.
pub(crate) fn listened() -> Vec<i32> {
    let numbers = 1..=NUMBER_MAX;
    numbers.filter(|&n| STATES[n].listeners.load(Ordering::Relaxed) > 0).map(|n| n as i32).collect()
}

/// From now on, signals that another thread gets are sent on to the calling one as well, which has them blocked; and so are
/// those of `numbers` now that no listener has received. So they are pending for the image that this thread executes.
///
/// # Errors
///
/// Those of `tgkill(2)`.
pub(crate) fn keep_pending(numbers: &[i32]) -> io::Result<KeptPending> {
    let kept = KeptPending(());
    let this_thread = sys::signal::this_thread();
    EXECUTING.store(this_thread, Ordering::Release);
    for &number in numbers {
        if State::of(number).is_some_and(|state| state.count() != state.received.load(Ordering::Relaxed)) {
            sys::signal::send(this_thread, number)?;
        }
    }
    Ok(kept)
}

/// Ends what [`keep_pending`] began.
pub(crate) struct KeptPending(());

impl Drop for KeptPending {
    fn drop(&mut self) {
        EXECUTING.store(0, Ordering::Release);
    }
}

/// The number of the event counter, if there is one.
pub(crate) fn edges_number() -> Option<std::os::fd::RawFd> {
    EDGES.get().map(std::os::fd::AsRawFd::as_raw_fd)
}

#[cfg(test)]
#[allow(unsafe_code, reason = "forks")]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Mutex;

    use super::super::{Signal, SignalKind, signal};
    use super::*;

    /// How a child that runs `body` ends. The tests fork one after the other: `additions` is of the whole process.
    fn ends(body: impl FnOnce()) -> libc::c_int {
        // SAFETY: the child runs `body`, whose calls the C library supports after a fork, and ends without unwinding.
        match unsafe { libc::fork() } {
            -1 => panic!("fork: {}", io::Error::last_os_error()),
            0 => {
                let code = catch_unwind(AssertUnwindSafe(body)).map_or(101, |()| 0);
                // SAFETY: ends the child.
                unsafe { libc::_exit(code) }
            }
            child => {
                let mut status = 0;
                // SAFETY: the kernel writes one number.
                let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
                assert_eq!(waited, child);
                status
            }
        }
    }

    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

    fn raise(number: i32) {
        signal_hook::low_level::raise(number).unwrap();
    }

    fn listen(number: i32) -> Signal {
        signal(SignalKind::from_raw(number)).unwrap()
    }

    fn count(number: i32) -> u32 {
        State::of(number).unwrap().count()
    }

    /// What the event counter stands at.
    fn additions() -> u64 {
        let path = format!("/proc/self/fdinfo/{}", edges_number().unwrap());
        let info = std::fs::read_to_string(path).unwrap();
        let value = info.lines().find_map(|line| line.strip_prefix("eventfd-count:")).unwrap();
        u64::from_str_radix(value.trim(), 16).unwrap()
    }

    #[test]
    fn a_child_adds_to_a_counter_of_its_own_once_it_is_adopted() {
        let _only = ONE_AT_A_TIME.lock();
        let number = libc::SIGRTMIN();
        let _listener = listen(number);
        raise(number);
        let (before, counted) = (additions(), count(number));
        let status = ends(|| {
            raise(number);
            assert_eq!((additions(), count(number)), (before, counted + 1));
            let number_before = edges_number();
            owner::adopt().unwrap();
            raise(number);
            assert_eq!((additions(), count(number)), (before, counted + 2));
            after_fork(true).unwrap();
            assert_eq!(edges_number(), number_before);
            // Everybody is to look at what came before.
            assert_eq!((additions(), count(number)), (1, counted + 2));
            raise(number);
            assert_eq!((additions(), count(number)), (2, counted + 3));
            assert_eq!(listened(), [number]);
            // A second call changes nothing: listeners may wait already.
            after_fork(true).unwrap();
            assert_eq!(additions(), 2);
        });
        assert_eq!((status, additions(), count(number)), (0, before, counted));
        raise(number);
        assert_eq!((additions(), count(number)), (before + 1, counted + 1));
    }

    #[test]
    fn in_a_worker_the_default_action_is_back_while_it_does_not_listen() {
        let _only = ONE_AT_A_TIME.lock();
        for number in [libc::SIGTERM, libc::SIGIO, libc::SIGRTMIN() + 1] {
            let inherited = listen(number);
            let child = || {
                owner::adopt().unwrap();
                after_fork(false).unwrap();
                assert_eq!(listened(), []);
            };
            let status = ends(|| {
                child();
                raise(number);
            });
            assert_eq!(libc::WTERMSIG(status), number, "{status:x}");
            let status = ends(|| {
                child();
                let own = listen(number);
                raise(number);
                assert_eq!(listened(), [number]);
                // The parent's does not count here, wherever it is dropped.
                drop(inherited);
                assert_eq!(listened(), [number]);
                drop(own);
                raise(number);
            });
            assert_eq!(libc::WTERMSIG(status), number, "{status:x}");
            // The parent never gets it back.
            raise(number);
        }
    }

    #[test]
    fn in_a_worker_what_was_ignored_or_handled_before_ends_nothing() {
        let _only = ONE_AT_A_TIME.lock();
        let (ignored, handled) = (libc::SIGRTMIN() + 2, libc::SIGRTMIN() + 3);
        // SAFETY: installs no handler.
        unsafe { libc::signal(ignored, libc::SIG_IGN) };
        sys::signal::on_delivery(handled, |_| ()).unwrap();
        let listeners = [listen(ignored), listen(handled), listen(libc::SIGCHLD)];
        let status = ends(|| {
            owner::adopt().unwrap();
            after_fork(false).unwrap();
            for listener in &listeners {
                raise(listener.kind.as_raw());
            }
        });
        assert_eq!(status, 0, "{status:x}");
    }
}
