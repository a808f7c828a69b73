//! What the kernel refuses: the build error says what it was, or the runtime works with less and says why.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]
#![allow(unsafe_code, reason = "seccomp filters, limits and identities of child processes")]

mod common;

use common::{MODES, builder, in_child};
use runtime::{BuildError, BuildErrorKind, Builder, Mode, metrics};

/// Sets the soft limit, and returns the former one.
fn set_limit(resource: libc::__rlimit_resource_t, value: u64) -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel writes into `limit`.
    assert_eq!(unsafe { libc::getrlimit(resource, &raw mut limit) }, 0);
    let before = std::mem::replace(&mut limit.rlim_cur, value);
    // SAFETY: the kernel reads `limit`.
    assert_eq!(unsafe { libc::setrlimit(resource, &raw const limit) }, 0);
    before
}

/// Has io_uring_setup(2) fail with `errno` for this thread, for good.
fn refuse_setup(errno: i32) {
    let statement = |code: u32, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k };
    let mut filter = [
        // The system call's number is the first word of `seccomp_data`.
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0),
        libc::sock_filter {
            code: (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16,
            jt: 0,
            jf: 1,
            k: libc::SYS_io_uring_setup as u32,
        },
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ERRNO | errno as u32),
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: takes no pointers.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }, 0);
    // SAFETY: the kernel copies the program and the filter that it names, both alive.
    let result = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}

fn refusals() -> Vec<BuildError> {
    MODES.into_iter().map(|mode| builder(mode).build().unwrap_err()).collect()
}

#[test]
fn a_system_call_that_is_filtered_out() {
    in_child("a_system_call_that_is_filtered_out", || {
        let cases = [
            (libc::ENOSYS, BuildErrorKind::KernelTooOld, "6.1", std::io::ErrorKind::Unsupported),
            (libc::EPERM, BuildErrorKind::Forbidden, "seccomp", std::io::ErrorKind::PermissionDenied),
            (libc::ENOMEM, BuildErrorKind::NoMemory, "ulimit -l", std::io::ErrorKind::OutOfMemory),
            (libc::EINVAL, BuildErrorKind::KernelTooOld, "entries", std::io::ErrorKind::Unsupported),
            (libc::EIO, BuildErrorKind::Other, "", std::io::ErrorKind::Other),
        ];
        for (errno, kind, remedy, io_kind) in cases {
            let errors = std::thread::spawn(move || {
                refuse_setup(errno);
                refusals()
            });
            for error in errors.join().unwrap() {
                assert_eq!((error.kind(), error.raw_os_error()), (kind, Some(errno)), "{error}");
                assert!(
                    error.remedy().contains(remedy) && error.to_string().contains(error.remedy()),
                    "{error}"
                );
                assert!(error.to_string().contains("core 0"), "{error}");
                assert!(std::error::Error::source(&error).is_some());
                assert_eq!(std::io::Error::from(error).kind(), io_kind);
            }
        }
        // Only those threads were affected.
        common::run(Mode::Polled, async {});
    });
}

/// Whether none are left at all, or for the event counter but not for the ring, or so few that something later fails:
/// an error that says so, or a runtime that works.
#[test]
fn descriptors_have_run_out() {
    in_child("descriptors_have_run_out", || {
        let next = std::os::fd::AsRawFd::as_raw_fd(&std::fs::File::open("/dev/null").unwrap()) as u64;
        for mode in MODES {
            let before = common::descriptors();
            for spare in 0..6 {
                set_limit(libc::RLIMIT_NOFILE, next + spare);
                let built = builder(mode).build();
                if spare < 2 {
                    let error = built.unwrap_err();
                    assert_eq!(
                        (error.kind(), error.raw_os_error()),
                        (BuildErrorKind::NoDescriptors, Some(libc::EMFILE))
                    );
                    assert!(error.remedy().contains("ulimit -n"), "{error}");
                } else {
                    built.unwrap().block_on(async { runtime::op::nop().await.unwrap() });
                }
                set_limit(libc::RLIMIT_NOFILE, 500);
                assert_eq!(common::descriptors(), before, "{mode:?} with {spare} to spare");
            }
        }
    });
}

/// A user who may have no more threads gets no poller, because that is one, and no second core. What is left works.
#[test]
fn threads_have_run_out() {
    in_child("threads_have_run_out", || {
        const NOBODY: libc::uid_t = 65_534;
        // SAFETY: takes no pointers.
        if unsafe { libc::geteuid() } != 0 {
            println!("SKIPPED: only root can become somebody who has a limit");
            return;
        }
        let before = set_limit(libc::RLIMIT_NPROC, 0);
        // SAFETY: takes no pointers.
        assert_eq!(unsafe { libc::setresuid(NOBODY, NOBODY, NOBODY) }, 0);
        let runtime = Builder::new().cores(2).pin(false).mode(Mode::Polled).build().unwrap();
        runtime.block_on(async {
            let core = &metrics().cores[0];
            assert_eq!((core.mode, core.poller_tid), (Some(Mode::Entered), None));
            let why = core.why_not_polled.as_ref().unwrap();
            assert!(why.contains("refused a polled ring") && why.contains("os error 11"), "{why}");
            runtime::op::nop().await.unwrap();
            for _ in 0..2 {
                let refused = runtime::spawn_on(1, || async {}).await.unwrap_err();
                assert!(!refused.is_aborted() && !refused.is_panic());
                let error = std::io::Error::from(refused);
                let error = error.get_ref().unwrap().downcast_ref::<BuildError>().unwrap();
                assert_eq!(
                    (error.kind(), error.raw_os_error()),
                    (BuildErrorKind::Thread, Some(libc::EAGAIN))
                );
                assert!(error.to_string().contains("core 1"), "{error}");
            }
            assert_eq!(metrics().cores[1].mode, None);
            let error = std::io::Error::from(runtime::spawn_blocking(|| ()).await.unwrap_err());
            assert_eq!(error.raw_os_error(), Some(libc::EAGAIN));
        });
        drop(runtime);
        // For AddressSanitizer, which looks for leaks from a process of its own.
        set_limit(libc::RLIMIT_NPROC, before);
    });
}
