//! Child processes that fail to start, are killed or are dropped: nothing is left of them.
#![allow(clippy::unwrap_used, reason = "a test")]
#![allow(unsafe_code, reason = "reaps a child")]

#[path = "common/children.rs"]
mod children;
mod common;

use std::io::{self, ErrorKind, Write};
use std::os::unix::process::ExitStatusExt;

use children::{children, delayed, open_descriptors, sh, state, waiting_child};
use common::{MODES, builder, in_child, poll_once, run, run_on, until};
use runtime::process::{Command, Stdio};
use runtime::signal::SignalKind;

#[test]
fn what_cannot_be_started_is_an_error_and_leaves_nothing() {
    in_child("what_cannot_be_started_is_an_error_and_leaves_nothing", || {
        for mode in MODES {
            run(mode, async {
                assert!(Command::new("true").status().await.unwrap().success());
                let before = open_descriptors().await;
                for _ in 0..20 {
                    for (program, errno) in [("/no/such/program", libc::ENOENT), ("/", libc::EACCES)] {
                        let mut command = Command::new(program);
                        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
                        assert_eq!(command.spawn().await.unwrap_err().raw_os_error(), Some(errno));
                        assert_eq!(command.output().await.unwrap_err().raw_os_error(), Some(errno));
                    }
                }
                let mut command = Command::new("true");
                let error = command.current_dir("/no/such/directory").status().await.unwrap_err();
                assert_eq!(error.raw_os_error(), Some(libc::ENOENT));
                // It can be used again.
                assert!(command.current_dir("/").status().await.unwrap().success());
                assert_eq!(open_descriptors().await, before);
                assert_eq!(children(), []);
            });
        }
    });
}

#[test]
fn children_leave_neither_descriptors_nor_zombies() {
    in_child("children_leave_neither_descriptors_nor_zombies", || {
        for mode in MODES {
            run(mode, async {
                assert!(Command::new("true").status().await.unwrap().success());
                let before = open_descriptors().await;
                for _ in 0..30 {
                    assert!(sh("cat; echo").output().await.unwrap().status.success());
                    let mut child = waiting_child().await;
                    assert_eq!(child.kill().await.unwrap().signal(), Some(libc::SIGKILL));
                    assert_eq!(
                        child.signal(SignalKind::TERMINATE).unwrap_err().raw_os_error(),
                        Some(libc::ESRCH)
                    );
                    assert_eq!(child.kill().await.unwrap().signal(), Some(libc::SIGKILL));
                }
                assert_eq!(open_descriptors().await, before);
                assert_eq!(children(), []);
            });
        }
    });
}

#[test]
fn dropped_children_are_reaped_whether_they_are_killed_or_not() {
    for mode in MODES {
        run(mode, async {
            let mut command = Command::new("cat");
            command.stdin(Stdio::piped()).stdout(Stdio::null());
            let mut goes_on = command.spawn().await.unwrap();
            let mut killed = command.kill_on_drop(true).spawn().await.unwrap();
            let (input, killed_input) = (goes_on.stdin.take(), killed.stdin.take());
            let (goes_on_pid, killed_pid) = (goes_on.id(), killed.id());
            drop((goes_on, killed));
            until("the killed one is gone", || state(killed_pid).is_none()).await;
            assert!(state(goes_on_pid).is_some_and(|state| state != 'Z'));
            drop(input);
            until("the other is gone", || state(goes_on_pid).is_none()).await;
            drop(killed_input);
            // One that has ended before it is dropped.
            let child = sh("exit").spawn().await.unwrap();
            until("it has ended", || state(child.id()) == Some('Z')).await;
            let pid = child.id();
            drop(child);
            assert_eq!(state(pid), None);
        });
    }
}

#[test]
fn at_the_end_of_the_runtime_too() {
    in_child("at_the_end_of_the_runtime_too", || {
        for mode in MODES {
            let runtime = builder(mode).build().unwrap();
            let outside = runtime.block_on(async {
                let mut command = Command::new("cat");
                command.stdin(Stdio::piped()).stdout(Stdio::null()).kill_on_drop(true);
                // One is owned by a task, one waited for, one left already, and one survives the runtime.
                let mut owned = command.spawn().await.unwrap();
                drop(runtime::spawn(async move {
                    std::future::pending::<()>().await;
                    owned.id()
                }));
                owned = command.spawn().await.unwrap();
                drop(runtime::spawn(async move {
                    let _input = owned.stdin.take();
                    owned.wait().await
                }));
                drop(command.spawn().await.unwrap());
                command.spawn().await.unwrap()
            });
            drop(runtime);
            assert_eq!(children(), [outside.id()]);
            drop(outside);
            assert_eq!(children(), []);
        }
    });
}

#[test]
fn a_spawn_that_is_dropped_before_it_begins_never_does() {
    in_child("a_spawn_that_is_dropped_before_it_begins_never_does", || {
        for mode in MODES {
            run_on(builder(mode).blocking_threads_max(1), mode, async {
                let (go, wait) = std::sync::mpsc::channel::<()>();
                let busy = runtime::spawn_blocking(move || wait.recv().is_ok());
                let mut command = Command::new("/no/such/program");
                let mut spawn = Box::pin(command.spawn());
                assert!(poll_once(&mut spawn).await.is_pending());
                drop(spawn);
                // While it waits for its turn, the command is not in use.
                command.as_std_mut().arg("new");
                go.send(()).unwrap();
                assert!(busy.await.unwrap());
                assert_eq!(command.spawn().await.unwrap_err().kind(), ErrorKind::NotFound);
                assert_eq!(children(), []);
            });
        }
    });
}

#[test]
fn a_spawn_that_is_dropped_while_it_goes_on_leaves_nothing() {
    in_child("a_spawn_that_is_dropped_while_it_goes_on_leaves_nothing", || {
        for (mode, kill) in MODES.into_iter().flat_map(|mode| [(mode, false), (mode, true)]) {
            run(mode, async {
                assert!(Command::new("true").status().await.unwrap().success());
                let before = open_descriptors().await;
                let (gate, opener) = std::io::pipe().unwrap();
                let mut command = delayed(gate);
                command.kill_on_drop(kill);
                let mut spawn = Box::pin(command.spawn());
                assert!(poll_once(&mut spawn).await.is_pending());
                until("there is a child", || children().len() == 1).await;
                // The core has gone on all the time.
                assert!(poll_once(&mut spawn).await.is_pending());
                drop(spawn);
                (&opener).write_all(b"!").unwrap();
                until("it is gone", || children().is_empty()).await;
                (&opener).write_all(b"!").unwrap();
                let mut again = command.spawn().await.unwrap();
                assert!(again.try_wait().unwrap().is_none());
                again.kill().await.unwrap();
                drop((command, opener, again));
                assert_eq!(open_descriptors().await, before);
            });
        }
    });
}

#[test]
fn a_child_that_something_else_has_reaped_is_gone() {
    in_child("a_child_that_something_else_has_reaped_is_gone", || {
        for mode in MODES {
            run(mode, async {
                let mut child = waiting_child().await;
                child.start_kill().unwrap();
                // SAFETY: no status is wanted.
                let reaped = unsafe { libc::waitpid(child.id() as i32, std::ptr::null_mut(), 0) };
                assert_eq!(reaped, child.id() as i32, "{}", io::Error::last_os_error());
                assert_eq!(child.wait().await.unwrap_err().raw_os_error(), Some(libc::ECHILD));
                assert_eq!(child.try_wait().unwrap_err().raw_os_error(), Some(libc::ECHILD));
                // Not an error, because there is nothing left to kill.
                child.start_kill().unwrap();
            });
        }
    });
}
