//! The seam: this program's `syscall`, which takes the place of libc's for the io-uring crate.
//!
//! Linking prefers a symbol of the program itself to one of a shared library, so the definition is all there is to do. libc's
//! is variadic; on x86-64 a variadic function gets its integer arguments in the same registers as any other, the
//! seventh on the stack, and reading more than were passed is harmless.

use std::arch::asm;
use std::ffi::c_long;

use super::helper;

/// Makes a system call; the result is negative if it failed.
///
/// # Safety
///
/// That of the system call.
#[inline(always)]
pub(super) unsafe fn raw(number: c_long, [a, b, c, d, e, f]: [c_long; 6]) -> c_long {
    let result;
    // SAFETY: the caller vouches for the call; the kernel changes no registers but these.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number => result,
            in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d, in("r8") e, in("r9") f,
            lateout("rcx") _, lateout("r11") _,
            options(nostack),
        );
    }
    result
}

/// # Safety
///
/// As for libc's `syscall`.
#[unsafe(no_mangle)]
unsafe extern "C" fn syscall(
    number: c_long,
    a: c_long,
    b: c_long,
    c: c_long,
    d: c_long,
    e: c_long,
    f: c_long,
) -> c_long {
    let arguments = [a, b, c, d, e, f];
    // SAFETY: the caller vouches for the call, which is made as it is or not at all; errno is this thread's.
    unsafe {
        let result = match number {
            libc::SYS_io_uring_setup => helper::setup(a, b),
            libc::SYS_io_uring_enter => faults::enter(arguments),
            _ => raw(number, arguments),
        };
        if !(-4095..0).contains(&result) {
            return result;
        }
        *libc::__errno_location() = -result as i32;
        -1
    }
}

/// What can be done to `io_uring_enter` on a polled ring.
pub mod faults {
    use std::ffi::c_long;
    use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

    use super::raw;
    use crate::deaths::helper;

    /// How many of the next calls say that the poller is dead, though it is not.
    static SPURIOUS: AtomicU32 = AtomicU32::new(0);
    /// How many of 1,024 calls start such a burst.
    static CHANCE: AtomicU32 = AtomicU32::new(0);
    /// The longest burst that chance starts.
    static LONGEST: AtomicU32 = AtomicU32::new(1);
    /// How many of the next calls find that everything in flight has been cancelled.
    static REFORKS: AtomicU32 = AtomicU32::new(0);
    static RANDOM: AtomicU64 = AtomicU64::new(1);
    static INJECTED: AtomicU64 = AtomicU64::new(0);
    static REFORKED: AtomicU64 = AtomicU64::new(0);

    /// Ends all faults.
    pub fn none() {
        spurious(0);
        by_chance(0, 1);
        refork(0);
    }

    /// The next `calls` calls fail with `EOWNERDEAD` without having done anything.
    pub fn spurious(calls: u32) {
        SPURIOUS.store(calls, Ordering::SeqCst);
    }

    /// From now on `chance` of 1,024 calls are the first of a burst of such failures, of 1 to `longest` calls.
    pub fn by_chance(chance: u32, longest: u32) {
        LONGEST.store(longest, Ordering::SeqCst);
        CHANCE.store(chance, Ordering::SeqCst);
    }

    /// The next `calls` calls behave as on a kernel that forks the poller again: everything in flight on the ring comes back
    /// cancelled, and the call succeeds. Only in a session of faults: a ring of a helper can't be told to cancel.
    pub fn refork(calls: u32) {
        REFORKS.store(calls, Ordering::SeqCst);
    }

    /// How many calls have failed for nothing, and how many have found everything cancelled, since the program started.
    #[derive(Debug, Clone, Copy)]
    pub struct Injected {
        pub spurious: u64,
        pub reforks: u64,
    }

    pub fn injected() -> Injected {
        Injected { spurious: INJECTED.load(Ordering::SeqCst), reforks: REFORKED.load(Ordering::SeqCst) }
    }

    fn take(from: &AtomicU32) -> bool {
        from.load(Ordering::Relaxed) > 0
            && from.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
    }

    /// A number for the next call: as random as its place among the calls of all threads.
    fn random() -> u32 {
        let mixed = RANDOM.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        ((mixed ^ mixed >> 29).wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 32) as u32
    }

    /// # Safety
    ///
    /// That of `io_uring_enter`.
    pub(super) unsafe fn enter(arguments: [c_long; 6]) -> c_long {
        let armed = [&SPURIOUS, &CHANCE, &REFORKS].iter().any(|fault| fault.load(Ordering::Relaxed) > 0);
        if armed && helper::is_polled(arguments[0]) {
            if random() % 1024 < CHANCE.load(Ordering::Relaxed) {
                SPURIOUS.store(1 + random() % LONGEST.load(Ordering::Relaxed), Ordering::SeqCst);
            }
            if take(&SPURIOUS) {
                INJECTED.fetch_add(1, Ordering::SeqCst);
                return -c_long::from(libc::EOWNERDEAD);
            }
            if take(&REFORKS) {
                // SAFETY: the ring is the caller's own.
                unsafe { cancel_all(arguments[0]) };
                REFORKED.fetch_add(1, Ordering::SeqCst);
            }
        }
        // SAFETY: the caller vouches for the call.
        unsafe { raw(libc::SYS_io_uring_enter, arguments) }
    }

    /// `struct io_uring_sync_cancel_reg`.
    #[repr(C)]
    #[derive(Default)]
    struct SyncCancel {
        addr: u64,
        fd: i32,
        flags: u32,
        timeout: [i64; 2],
        opcode: u8,
        pad: [u8; 7],
        pad2: [u64; 3],
    }

    const REGISTER_SYNC_CANCEL: c_long = 24;
    const CANCEL_ALL: u32 = 1 << 0;
    const CANCEL_ANY: u32 = 1 << 2;

    /// Asks the kernel to cancel all that is in flight on a ring.
    ///
    /// # Safety
    ///
    /// `ring` is a ring.
    unsafe fn cancel_all(ring: c_long) {
        let cancel =
            SyncCancel { fd: -1, flags: CANCEL_ALL | CANCEL_ANY, timeout: [-1, -1], ..SyncCancel::default() };
        let arguments = [ring, REGISTER_SYNC_CANCEL, (&raw const cancel) as c_long, 1, 0, 0];
        // SAFETY: the kernel reads `cancel`.
        let result = unsafe { raw(libc::SYS_io_uring_register, arguments) };
        // Nothing was in flight: that is fine.
        assert!(result >= 0 || result == -c_long::from(libc::ENOENT), "io_uring_register: {result}");
    }
}
