//! The helper: a process on this one's memory and descriptors, which does nothing but set up rings, and can be killed.
//!
//! It is started with `clone(CLONE_VM | CLONE_FILES | CLONE_FS)` on a stack of its own. Its thread-local storage is that of
//! the thread that started it, so it uses none: no libc, no allocation, no panic, only atomics and raw system calls. It
//! waits at its [`Desk`] for an order, carries it out and leaves the result there.
//!
//! All helpers are started by one thread, the keeper, which lives as long as the program: a helper asks to be killed when
//! the thread that started it ends. The keeper has all signals blocked, and so have the helpers.

use std::alloc::{self, Layout};
use std::collections::HashMap;
use std::ffi::{c_int, c_long, c_void};
use std::io;
use std::ops::RangeBounds;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicUsize, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;

use super::seam::raw;

const SETUP_SQPOLL: u32 = 1 << 1;
const SETUP_ATTACH_WQ: u32 = 1 << 5;

/// Where the flags and the descriptor to attach to are in `struct io_uring_params`, in words.
const PARAMS_FLAGS: usize = 2;
const PARAMS_WQ_FD: usize = 6;

/// Where a helper gets its orders. `turn` says whose turn it is: what it may read and write, the other leaves alone.
#[derive(Default)]
struct Desk {
    turn: AtomicU32,
    parent: AtomicU32,
    entries: AtomicUsize,
    params: AtomicUsize,
    result: AtomicI64,
}

const IDLE: u32 = 0;
const ORDERED: u32 = 1;
const DONE: u32 = 2;

impl Desk {
    /// Waits until `turn` is not `now` any more. Without std, whose futexes use the thread's errno.
    #[inline(always)]
    fn wait_while(&self, now: u32) {
        let word = (&raw const self.turn) as c_long;
        let wait = c_long::from(libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG);
        while self.turn.load(Ordering::Acquire) == now {
            // SAFETY: the word lives as long as `self`; no timeout is given.
            unsafe { raw(libc::SYS_futex, [word, wait, c_long::from(now), 0, 0, 0]) };
        }
    }

    #[inline(always)]
    fn pass(&self, turn: u32) {
        self.turn.store(turn, Ordering::Release);
        let word = (&raw const self.turn) as c_long;
        let wake = c_long::from(libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG);
        // SAFETY: as above.
        unsafe { raw(libc::SYS_futex, [word, wake, 1, 0, 0, 0]) };
    }
}

/// The helper's whole life. See the module on what it may not do.
extern "C" fn live(desk: *mut c_void) -> c_int {
    // SAFETY: the desk lives until this process has ended.
    let desk = unsafe { &*desk.cast::<Desk>() };
    let kill_me = [libc::PR_SET_PDEATHSIG.into(), libc::SIGKILL.into(), 0, 0, 0, 0];
    // SAFETY: takes no pointers.
    unsafe { raw(libc::SYS_prctl, kill_me) };
    // SAFETY: takes nothing. A parent that ended before the last call is noticed here.
    while unsafe { raw(libc::SYS_getppid, [0; 6]) } == c_long::from(desk.parent.load(Ordering::Relaxed)) {
        desk.wait_while(IDLE);
        desk.wait_while(DONE);
        let order = [desk.entries.load(Ordering::Relaxed), desk.params.load(Ordering::Relaxed)];
        // SAFETY: whoever gave the order waits for its result, and vouches for the parameters until then.
        let result =
            unsafe { raw(libc::SYS_io_uring_setup, [order[0] as c_long, order[1] as c_long, 0, 0, 0, 0]) };
        desk.result.store(result, Ordering::Relaxed);
        desk.pass(DONE);
    }
    0
}

const STACK: Layout = match Layout::from_size_align(64 * 1024, 4096) {
    Ok(layout) => layout,
    Err(_) => unreachable!(),
};

/// A living helper. Dropping it kills it, and with it its poller.
struct Helper {
    id: u64,
    pid: libc::pid_t,
    desk: Box<Desk>,
    stack: *mut u8,
}

// SAFETY: the stack is used by the helper alone.
unsafe impl Send for Helper {}

impl Helper {
    fn start(id: u64) -> io::Result<Self> {
        let (answer, answered) = mpsc::channel();
        KEEPER.send((id, answer)).expect("the keeper lives as long as the program");
        answered.recv().expect("the keeper answers")
    }

    /// Has a ring set up; the result is that of the system call.
    fn set_up(&self, entries: c_long, params: c_long) -> c_long {
        self.desk.entries.store(entries as usize, Ordering::Relaxed);
        self.desk.params.store(params as usize, Ordering::Relaxed);
        self.desk.pass(ORDERED);
        self.desk.wait_while(ORDERED);
        self.desk.result.load(Ordering::Relaxed)
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        // SAFETY: the process is a child of ours that nobody has waited for. When the wait is over all its threads have
        // ended, the poller among them, so that the stack is nobody's.
        unsafe {
            libc::kill(self.pid, libc::SIGKILL);
            while libc::waitpid(self.pid, std::ptr::null_mut(), libc::__WALL) < 0 {
                assert_eq!(io::Error::last_os_error().kind(), io::ErrorKind::Interrupted, "a helper is lost");
            }
            alloc::dealloc(self.stack, STACK);
        }
    }
}

type Birth = (u64, mpsc::Sender<io::Result<Helper>>);

static KEEPER: LazyLock<mpsc::Sender<Birth>> = LazyLock::new(|| {
    let (births, orders) = mpsc::channel::<Birth>();
    thread::spawn(move || {
        // SAFETY: both calls get a set of their own; a set that is all bytes 0 is a valid one.
        unsafe {
            let mut all: libc::sigset_t = std::mem::zeroed();
            libc::sigfillset(&raw mut all);
            libc::pthread_sigmask(libc::SIG_BLOCK, &raw const all, std::ptr::null_mut());
        }
        for (id, answer) in orders {
            // A helper that nobody takes is killed here.
            drop(answer.send(give_birth(id)));
        }
    });
    births
});

fn give_birth(id: u64) -> io::Result<Helper> {
    let desk = Box::<Desk>::default();
    desk.parent.store(std::process::id(), Ordering::Relaxed);
    // SAFETY: the layout has a size. The stack grows down from its end, and is used by the helper alone; the desk is on
    // the heap and outlives the helper. `live` keeps to what a process on our memory may do.
    unsafe {
        let stack = alloc::alloc(STACK);
        assert!(!stack.is_null(), "out of memory");
        // No SIGCHLD: the keeper has it blocked, so it would get a core out of a wait that nothing else ends.
        let flags = libc::CLONE_VM | libc::CLONE_FILES | libc::CLONE_FS;
        let desk_pointer = (&raw const *desk).cast_mut().cast();
        let pid = libc::clone(live, stack.add(STACK.size()).cast(), flags, desk_pointer);
        if pid < 0 {
            let error = io::Error::last_os_error();
            alloc::dealloc(stack, STACK);
            return Err(error);
        }
        Ok(Helper { id, pid, desk, stack })
    }
}

/// Which poller serves a ring.
#[derive(Debug, Clone, Copy)]
enum Server {
    /// One of this process.
    Own,
    /// That of a helper, which may be dead.
    Helper(u64),
}

#[derive(Default)]
struct Registry {
    /// Whether new pollers get a helper.
    diverts: bool,
    last_id: u64,
    /// In the order of their births.
    living: Vec<Helper>,
    /// All polled rings, by their descriptors; also closed ones, until the number is used again.
    rings: HashMap<c_long, Server>,
}

/// Whoever sets up a ring holds it until the ring is there, so that nobody is killed over an order.
fn registry() -> MutexGuard<'static, Registry> {
    static REGISTRY: LazyLock<Mutex<Registry>> = LazyLock::new(Mutex::default);
    REGISTRY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether from now on new pollers get a helper.
pub(super) fn divert(diverts: bool) {
    LazyLock::force(&KEEPER);
    registry().diverts = diverts;
}

/// See `super::kill`.
pub(super) fn kill(which: impl RangeBounds<usize>) -> usize {
    registry().living.drain(which).count()
}

/// How many helpers live.
pub(super) fn alive() -> usize {
    registry().living.len()
}

/// Whether a descriptor was a polled ring's when the last ring with this number was made.
pub(super) fn is_polled(ring: c_long) -> bool {
    registry().rings.contains_key(&ring)
}

/// `io_uring_setup(2)`.
///
/// # Safety
///
/// That of the system call.
pub(super) unsafe fn setup(entries: c_long, params: c_long) -> c_long {
    let mut registry = registry();
    let words = params as *const u32;
    // SAFETY: the caller vouches for the parameters, which are a struct of words.
    let (flags, attach) = unsafe { (*words.add(PARAMS_FLAGS), *words.add(PARAMS_WQ_FD)) };
    let server = match registry.rings.get(&c_long::from(attach)) {
        Some(&server) if flags & SETUP_ATTACH_WQ != 0 => server,
        _ if registry.diverts && flags & SETUP_SQPOLL != 0 => {
            registry.last_id += 1;
            let id = registry.last_id;
            match Helper::start(id) {
                Ok(helper) => registry.living.push(helper),
                Err(error) => return -c_long::from(error.raw_os_error().unwrap_or(libc::EAGAIN)),
            }
            Server::Helper(id)
        }
        _ => Server::Own,
    };
    let ring = match server {
        // SAFETY: the caller vouches for the call.
        Server::Own => unsafe { raw(libc::SYS_io_uring_setup, [entries, params, 0, 0, 0, 0]) },
        Server::Helper(id) => match registry.living.iter().find(|helper| helper.id == id) {
            Some(helper) => helper.set_up(entries, params),
            None => -c_long::from(libc::ENXIO),
        },
    };
    if flags & SETUP_SQPOLL == 0 {
        registry.rings.remove(&ring);
    } else if ring >= 0 {
        registry.rings.insert(ring, server);
    } else if let Server::Helper(id) = server
        && !registry.rings.values().any(|server| matches!(server, Server::Helper(with) if *with == id))
    {
        // A poller that no ring ever had.
        registry.living.retain(|helper| helper.id != id);
    }
    ring
}
