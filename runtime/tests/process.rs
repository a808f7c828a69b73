//! Child processes: what they are given, and what they give back.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]
#![allow(unsafe_code, reason = "asks who this is")]

#[path = "common/children.rs"]
mod children;
mod common;

use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::pin::pin;

use children::{sh, state, text_of, waiting_child};
use common::{MODES, builder, in_child, poll_deaf, run, run_on, until_operations};
use runtime::process::{Command, Stdio};
use runtime::signal::{SignalKind, signal};

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
