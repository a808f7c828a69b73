//! Dispositions and masks of signals.

use std::io;
use std::mem;
use std::ptr;

use signal_hook::low_level::{emulate_default_handler, raise};

use super::check;

/// Has `action` called with `number` whenever that signal is delivered, on whichever thread that happens, for good.
/// Whatever handled the signal before still does, and is called first. `sigaction(2)`.
///
/// `action` runs inside a signal handler: it must be async-signal-safe (`signal-safety(7)`), so it may use atomics and
/// write(2), but neither allocates nor locks nor panics. A plain function, so that it captures nothing.
pub(crate) fn on_delivery(number: libc::c_int, action: fn(libc::c_int)) -> io::Result<()> {
    // SAFETY: the action is async-signal-safe; see above.
    unsafe { signal_hook::low_level::register(number, move || action(number)) }.map(drop)
}

/// Whether a signal has its default action at present: it is neither handled nor ignored. `sigaction(2)`.
pub(crate) fn has_default_action(number: libc::c_int) -> io::Result<bool> {
    // SAFETY: a struct of integers, a set of bits and an optional function pointer: zero is a value of each.
    let mut action: libc::sigaction = unsafe { mem::zeroed() };
    // SAFETY: the kernel reads nothing and writes one struct.
    check(unsafe { libc::sigaction(number, ptr::null(), &raw mut action) })?;
    Ok(action.sa_sigaction == libc::SIG_DFL)
}

/// Does what the kernel would do if the signal had its default action; returns if that is nothing. Async-signal-safe;
/// for use inside a handler of that signal. `signal(7)`.
pub(crate) fn take_default_action(number: libc::c_int) {
    // The table of signal-hook takes SIGIO to be ignored, as elsewhere, and lacks what only Linux has: all of them end
    // the process.
    if number != libc::SIGIO && emulate_default_handler(number).is_ok() {
        return;
    }
    // SAFETY: as in `has_default_action`; zero is the default action without flags.
    let mut action: libc::sigaction = unsafe { mem::zeroed() };
    action.sa_sigaction = libc::SIG_DFL;
    // SAFETY: the kernel reads one struct.
    if unsafe { libc::sigaction(number, &raw const action, ptr::null_mut()) } == 0 {
        let _ = unblock(&[number]);
        let _ = raise(number);
    }
}

/// The calling thread's mask as it was; dropping it, on that thread, restores it.
pub(crate) struct HeldBack(libc::sigset_t);

impl Drop for HeldBack {
    fn drop(&mut self) {
        // SAFETY: reads one set, which the kernel has filled.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.0, ptr::null_mut()) };
    }
}

/// Holds back all signals from the calling thread, and from the child that it forks. `pthread_sigmask(3)`.
pub(crate) fn block_all() -> io::Result<HeldBack> {
    // SAFETY: sets of bits: zero is a value of them.
    let (mut all, mut before): (libc::sigset_t, libc::sigset_t) = unsafe { (mem::zeroed(), mem::zeroed()) };
    // SAFETY: writes one set.
    check(unsafe { libc::sigfillset(&raw mut all) })?;
    // SAFETY: reads one set and writes the other.
    match unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before) } {
        0 => Ok(HeldBack(before)),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

/// Adds signals to the calling thread's mask; numbers that are none are passed over. `pthread_sigmask(3)`.
pub(crate) fn block(numbers: &[libc::c_int]) -> io::Result<()> {
    change_mask(libc::SIG_BLOCK, numbers)
}

/// Removes signals from the calling thread's mask; numbers that are none are passed over. Async-signal-safe.
/// `pthread_sigmask(3)`.
pub(crate) fn unblock(numbers: &[libc::c_int]) -> io::Result<()> {
    change_mask(libc::SIG_UNBLOCK, numbers)
}

/// Puts the mask of the thread back that made it.
pub(crate) struct Blocked(libc::sigset_t);

/// As [`block`], until what it returns is dropped.
pub(crate) fn block_for_now(numbers: &[libc::c_int]) -> io::Result<Blocked> {
    // SAFETY: a set of bits: zero is a value of it.
    let mut before: libc::sigset_t = unsafe { mem::zeroed() };
    // SAFETY: reads nothing and writes one set.
    match unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, ptr::null(), &raw mut before) } {
        0 => block(numbers).map(|()| Blocked(before)),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        // SAFETY: reads one set. It can't fail: the set was the mask.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.0, ptr::null_mut()) };
    }
}

/// The calling thread's id. `gettid(2)`.
pub(crate) fn this_thread() -> libc::pid_t {
    // SAFETY: names no memory.
    unsafe { libc::gettid() }
}

/// Sends a signal to a thread of this process. Async-signal-safe. `tgkill(2)`.
pub(crate) fn send(thread: libc::pid_t, number: libc::c_int) -> io::Result<()> {
    // SAFETY: names no memory.
    check(unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), thread, number) } as libc::c_int).map(drop)
}

fn change_mask(how: libc::c_int, numbers: &[libc::c_int]) -> io::Result<()> {
    // SAFETY: a set of bits: zero is a value of it.
    let mut set: libc::sigset_t = unsafe { mem::zeroed() };
    // SAFETY: writes one set.
    check(unsafe { libc::sigemptyset(&raw mut set) })?;
    for &number in numbers {
        // SAFETY: changes the set, and fails if there is no such signal.
        unsafe { libc::sigaddset(&raw mut set, number) };
    }
    // SAFETY: reads one set.
    match unsafe { libc::pthread_sigmask(how, &raw const set, ptr::null_mut()) } {
        0 => Ok(()),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}
