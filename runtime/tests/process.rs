//! Child processes: what they are given, what they give back, and that nothing is left of them.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]
#![allow(unsafe_code, reason = "asks who this is, delays and reaps children")]

mod common;

use std::io::{self, ErrorKind, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::pin::pin;

use common::{
    MODES, builder, descriptors, in_child, poll_deaf, poll_once, run, run_on, until, until_operations,
};
use runtime::process::{Child, Command, Stdio};
use runtime::signal::{SignalKind, signal};

fn sh(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}

/// A child that runs until its standard input ends, which it does with this process if not before.
async fn waiting_child() -> Child {
    Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().await.unwrap()
}

/// How a process is, as in the third field of /proc/pid/stat; `None` if there is none of that number.
fn state(pid: u32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next())
}

/// The children of this process, zombies included.
fn children() -> Vec<u32> {
    let parent = format!(" {} ", std::process::id());
    let is_child = |pid: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, rest)| rest[1..].starts_with(&parent))
    };
    let pids = std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(is_child).collect()
}

/// Descriptors, once those are closed that are being closed in the background.
async fn open_descriptors() -> usize {
    until_operations(0).await;
    descriptors()
}

async fn text_of(command: &mut Command) -> String {
    let output = command.output().await.unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

#[test]
fn the_status_says_how_it_ended_each_time() {
    for mode in MODES {
        run(mode, async {
            for code in [0, 1, 7, 255] {
                let mut child = sh(&format!("exit {code}")).spawn().await.unwrap();
                let status = child.wait().await.unwrap();
                assert_eq!((status.code(), status.signal()), (Some(code), None));
                assert_eq!(child.wait().await.unwrap(), status);
                assert_eq!(child.try_wait().unwrap(), Some(status));
                assert_eq!(state(child.id()), None, "it has not been reaped");
            }
            for number in [libc::SIGTERM, libc::SIGKILL, libc::SIGRTMAX()] {
                let status = sh(&format!("kill -{number} $$")).status().await.unwrap();
                assert_eq!(
                    (status.code(), status.signal(), status.core_dumped()),
                    (None, Some(number), false)
                );
            }
        });
    }
}

#[test]
fn a_wait_that_is_dropped_loses_nothing_but_the_input() {
    for mode in MODES {
        run(mode, async {
            let mut child = waiting_child().await;
            assert_eq!(child.try_wait().unwrap(), None);
            let stdin = child.stdin.take();
            for _ in 0..20 {
                assert!(poll_deaf(&mut pin!(child.wait())).is_pending());
            }
            until_operations(0).await;
            assert_eq!(child.try_wait().unwrap(), None);
            // The end of its input is what ends it.
            child.stdin = stdin;
            assert_eq!(child.wait().await.unwrap().code(), Some(0));
            assert!(child.stdin.is_none());
        });
    }
}

#[test]
fn input_and_outputs_go_through_pipes() {
    for mode in MODES {
        run(mode, async {
            let mut command = sh("read line; echo out $line; echo err $line >&2; cat");
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
            let mut child = command.spawn().await.unwrap();
            let (stdin, stdout, stderr) =
                (child.stdin.take().unwrap(), child.stdout.take().unwrap(), child.stderr.take().unwrap());
            stdin.write_all("line\n").await.0.unwrap();
            let (result, bytes) = stdout.read(Vec::with_capacity(100)).await;
            assert_eq!((result.unwrap(), &bytes[..]), (9, &b"out line\n"[..]));
            let (result, bytes) = stderr.read(Vec::with_capacity(100)).await;
            assert_eq!((result.unwrap(), &bytes[..]), (9, &b"err line\n"[..]));
            // More than the pipes hold, so that both directions have to go on at the same time.
            let much: Vec<u8> = (0..1_000_000).map(|n| (n % 251) as u8).collect();
            let writing = runtime::spawn({
                let much = much.clone();
                async move {
                    stdin.write_all(much).await.0.unwrap();
                    stdin.close().await
                }
            });
            let (result, bytes) = stdout.read_to_end(b"before".to_vec()).await;
            assert_eq!(result.unwrap(), much.len());
            assert!(bytes[..6] == *b"before" && bytes[6..] == much);
            writing.await.unwrap().unwrap();
            assert!(child.wait().await.unwrap().success());
            stdout.close().await.unwrap();
        });
    }
}

#[test]
fn writing_to_a_child_that_is_gone_is_an_error() {
    for mode in MODES {
        run(mode, async {
            let mut child = Command::new("true").stdin(Stdio::piped()).spawn().await.unwrap();
            let stdin = child.stdin.take().unwrap();
            assert!(child.wait().await.unwrap().success());
            let (result, text) = stdin.write_all("too late").await;
            assert_eq!((result.unwrap_err().kind(), text), (ErrorKind::BrokenPipe, "too late"));
        });
    }
}

#[test]
fn output_takes_both_pipes_at_a_time_and_gives_no_input() {
    for mode in MODES {
        run(mode, async {
            // Whichever pipe is filled first: it is drained.
            for script in [
                "head -c 300000 /dev/zero >&2; head -c 200000 /dev/zero",
                "head -c 200000 /dev/zero; head -c 300000 /dev/zero >&2",
            ] {
                let output = sh(script).output().await.unwrap();
                assert_eq!((output.stdout.len(), output.stderr.len()), (200_000, 300_000));
                assert!(output.status.success());
            }
            assert_eq!(text_of(&mut Command::new("cat")).await, "");
            // What was set stays, and what was not is inherited again afterwards.
            let mut command = sh("test -z $SAY || echo $SAY; echo void >&2; exit 3");
            command.env("SAY", "said");
            let output = command.stderr(Stdio::null()).output().await.unwrap();
            assert_eq!(
                (output.status.code(), &output.stdout[..], &output.stderr[..]),
                (Some(3), &b"said\n"[..], &b""[..])
            );
            let child = command.env_remove("SAY").spawn().await.unwrap();
            assert!(child.stdin.is_none() && child.stdout.is_none() && child.stderr.is_none());
            assert_eq!(child.wait_with_output().await.unwrap().stdout, b"");
        });
    }
}

#[test]
fn environment_directory_name_and_group_are_as_asked() {
    for mode in MODES {
        run(mode, async {
            let mut command = sh("echo $A $B $C; pwd");
            command.env("A", "1").envs([("B", "2"), ("C", "3")]).env_remove("C").current_dir("/");
            assert_eq!(text_of(&mut command).await, "1 2\n/");
            assert_eq!(text_of(command.env_clear().env("C", "4")).await, "4\n/");
            assert_eq!(text_of(sh("echo $0").arg("given")).await, "given");
            assert_eq!(
                text_of(Command::new("sh").arg0("other").args(["-c", "read l </proc/self/cmdline; echo ok"]))
                    .await,
                "ok"
            );
            let mut child = Command::new("cat");
            let mut child = child.stdin(Stdio::piped()).process_group(0).spawn().await.unwrap();
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
            let group = stat.rsplit_once(") ").unwrap().1.split(' ').nth(2).unwrap();
            assert_eq!(group, child.id().to_string());
            child.kill().await.unwrap();
            assert_eq!(format!("{:?}", Command::new("ls").arg("-l")), r#""ls" "-l""#);
        });
    }
}

#[test]
fn another_user_and_group() {
    // SAFETY: asks for a number.
    if unsafe { libc::geteuid() } != 0 {
        println!("SKIPPED another_user_and_group: only root can");
        return;
    }
    for mode in MODES {
        run(mode, async {
            let mut command = sh("id -u; id -g");
            assert_eq!(text_of(command.uid(65534).gid(65533).current_dir("/")).await, "65534\n65533");
        });
    }
}

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
                let mut command = Command::new("cat");
                command.stdin(Stdio::piped()).stdout(Stdio::null()).kill_on_drop(kill);
                // The child waits before it executes its program, and so does whoever spawns it.
                // SAFETY: reading is async-signal-safe.
                unsafe {
                    command.as_std_mut().pre_exec(move || {
                        // SAFETY: reads one byte.
                        let read = libc::read(gate.as_raw_fd(), [0_u8].as_mut_ptr().cast(), 1);
                        if read < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
                    })
                };
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
fn signals_reach_it_and_its_end_is_one_here() {
    for mode in MODES {
        run(mode, async {
            let mut ends = signal(SignalKind::CHILD).unwrap();
            let mut command = sh("trap 'exit 3' TERM; echo ready; while read x; do :; done");
            let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().await.unwrap();
            let input = child.stdin.take();
            let stdout = child.stdout.take().unwrap();
            assert_eq!(stdout.read(Vec::with_capacity(16)).await.1, b"ready\n");
            child.signal(SignalKind::TERMINATE).unwrap();
            // The shell looks at its trap once its read has returned.
            drop(input);
            assert_eq!(child.wait().await.unwrap().code(), Some(3));
            ends.recv().await.unwrap();
            let error = waiting_child().await.signal(SignalKind::from_raw(1000)).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
        });
    }
}

#[test]
fn one_child_writes_to_another() {
    for mode in MODES {
        run(mode, async {
            let mut first =
                Command::new("echo").arg("through two").stdout(Stdio::piped()).spawn().await.unwrap();
            let between = OwnedFd::try_from(first.stdout.take().unwrap()).unwrap();
            let mut second = Command::new("cat");
            assert_eq!(text_of(second.stdin(between)).await, "through two");
            assert!(first.wait().await.unwrap().success());
            // One that is being read is not given away.
            let mut child =
                Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().await.unwrap();
            let stdout = child.stdout.take().unwrap();
            {
                let mut read = pin!(stdout.read(vec![0; 8]));
                assert!(poll_deaf(&mut read).is_pending());
            }
            let stdout = OwnedFd::try_from(stdout).expect_err("a read of it is in flight");
            until_operations(0).await;
            drop(OwnedFd::try_from(stdout).expect("the read has been cancelled"));
            child.kill().await.unwrap();
        });
    }
}

#[test]
fn the_child_of_a_pinned_core_is_not_pinned() {
    in_child("the_child_of_a_pinned_core_is_not_pinned", || {
        let cpus = |status: &str| {
            let line = status.lines().find(|line| line.starts_with("Cpus_allowed:")).unwrap();
            line.to_owned()
        };
        let here = cpus(&std::fs::read_to_string("/proc/thread-self/status").unwrap());
        for mode in MODES {
            run_on(builder(mode).pin(true), mode, async {
                let status = text_of(Command::new("cat").arg("/proc/self/status")).await;
                assert_eq!(cpus(&status), here);
            });
        }
    });
}

#[test]
fn outside_of_a_runtime_it_is_an_error() {
    let error = futures::executor::block_on(Command::new("true").spawn()).unwrap_err();
    assert!(error.to_string().contains("runtime"), "{error}");
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
