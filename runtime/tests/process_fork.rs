//! Child processes after a fork: they are the parent's.
#![allow(clippy::unwrap_used, reason = "a test")]
#![allow(unsafe_code, reason = "forks")]

#[path = "common/children.rs"]
mod children;
mod common;

use std::io::{self, Write};
use std::os::unix::process::ExitStatusExt;

use children::{children, delayed, state, waiting_child};
use common::{MODES, builder, in_child, poll_once, run, until, until_operations};
use runtime::process::{Command, Stdio};

#[test]
fn in_another_process_it_is_not_a_child_and_dropping_it_does_nothing() {
    in_child("in_another_process_it_is_not_a_child_and_dropping_it_does_nothing", || {
        for mode in MODES {
            let runtime = builder(mode).build().unwrap();
            let mut child = runtime.block_on(async {
                let mut command = Command::new("cat");
                command.stdin(Stdio::piped()).kill_on_drop(true).spawn().await.unwrap()
            });
            // SAFETY: the child makes calls that the C library supports after a fork, and ends without unwinding.
            match unsafe { libc::fork() } {
                0 => {
                    let error = child.try_wait().map_err(|error| error.raw_os_error());
                    drop(child);
                    // SAFETY: ends the process.
                    unsafe { libc::_exit(i32::from(error != Err(Some(libc::ECHILD)))) }
                }
                other => {
                    let mut status = -1;
                    // SAFETY: the kernel writes one number.
                    let waited = unsafe { libc::waitpid(other, &raw mut status, 0) };
                    assert_eq!((waited, status), (other, 0));
                }
            }
            assert_eq!(child.try_wait().unwrap(), None);
            assert_eq!(runtime.block_on(child.kill()).unwrap().signal(), Some(libc::SIGKILL));
        }
    });
}

/// Where the core of the child goes on, nothing waits for what will never come.
#[test]
fn in_a_child_that_goes_on_waiting_for_it_is_an_error() {
    in_child("in_a_child_that_goes_on_waiting_for_it_is_an_error", || {
        for mode in MODES {
            run(mode, async {
                let (mut child, mut other) = (waiting_child().await, waiting_child().await);
                let (pid, input) = (child.id(), child.stdin.take());
                let waits = runtime::spawn(async move { child.wait().await });
                until_operations(1).await;
                // SAFETY: the runtime is made for children that go on.
                let forked = unsafe { libc::fork() };
                assert_ne!(forked, -1, "{}", io::Error::last_os_error());
                if forked == 0 {
                    let results = [waits.await.unwrap(), other.wait().await];
                    let errnos = results.map(|result| result.unwrap_err().raw_os_error());
                    let mut own = waiting_child().await;
                    let is_right = errnos == [Some(libc::ECHILD); 2] && own.kill().await.is_ok();
                    // SAFETY: ends the process.
                    unsafe { libc::_exit(i32::from(!is_right)) };
                }
                let mut status = -1;
                // SAFETY: the kernel writes one number.
                let waited = unsafe { libc::waitpid(forked, &raw mut status, 0) };
                assert_eq!((waited, status), (forked, 0));
                assert!(state(pid).is_some_and(|state| state != 'Z') && !waits.is_finished());
                drop(input);
                assert!(waits.await.unwrap().unwrap().success());
                other.kill().await.unwrap();
            });
        }
    });
}

/// The thread that has the command does not exist there.
#[test]
fn in_a_child_that_goes_on_a_spawn_that_was_under_way_is_an_error() {
    in_child("in_a_child_that_goes_on_a_spawn_that_was_under_way_is_an_error", || {
        for mode in MODES {
            run(mode, async {
                let (gate, mut opener) = std::io::pipe().unwrap();
                let mut command = delayed(gate);
                let mut spawn = Box::pin(command.spawn());
                assert!(poll_once(&mut spawn).await.is_pending());
                until("there is a child", || children().len() == 1).await;
                // SAFETY: the runtime is made for children that go on.
                let forked = unsafe { libc::fork() };
                assert_ne!(forked, -1, "{}", io::Error::last_os_error());
                if forked == 0 {
                    let was_under_way = spawn.await.is_err();
                    let again = command.arg("more").spawn().await.map(|_| ());
                    let is_right = was_under_way
                        && again.unwrap_err().raw_os_error() == Some(libc::EOWNERDEAD)
                        && Command::new("true").status().await.unwrap().success();
                    // SAFETY: ends the process.
                    unsafe { libc::_exit(i32::from(!is_right)) };
                }
                let mut status = -1;
                // SAFETY: the kernel writes one number.
                let waited = unsafe { libc::waitpid(forked, &raw mut status, 0) };
                assert_eq!((waited, status), (forked, 0));
                opener.write_all(b"!").unwrap();
                spawn.await.unwrap().kill().await.unwrap();
            });
        }
    });
}
