//! An exec that fails changes nothing, to the kernel; so an upgrade that fails returns its error, and everything resumes: what
//! was stopped and drained for it goes on.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]
#![allow(unsafe_code, reason = "asks for the flags of descriptors")]

mod common;

use std::io::{self, ErrorKind, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use common::forks::{Shared, assert_open, open_files};
use common::load::Load;
use common::waiting::Waiting;
use common::work::{self, listen};
use common::{MODES, in_child, poll_deaf, poll_once, run, run_two, until, until_blocking, until_operations};
use futures::StreamExt;
use runtime::guard::Upgrade;
use runtime::op;

/// Programs that can't be executed, and why.
struct Programs {
    _dir: tempfile::TempDir,
    all: Vec<(PathBuf, i32)>,
}

impl Programs {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, mode| {
            let path = dir.path().join(name);
            std::fs::write(&path, "garbage, not a program").unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
            path
        };
        let all = vec![
            (dir.path().join("missing"), libc::ENOENT),
            (file("not executable", 0o600), libc::EACCES),
            (file("wrong format", 0o700), libc::ENOEXEC),
        ];
        Programs { _dir: dir, all }
    }
}

fn is_close_on_exec(fd: &impl AsRawFd) -> bool {
    // SAFETY: takes no pointers.
    let flags = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFD) };
    assert!(flags >= 0, "{}", io::Error::last_os_error());
    flags & libc::FD_CLOEXEC != 0
}

#[test]
fn the_error_comes_back_and_everything_resumes() {
    in_child("the_error_comes_back_and_everything_resumes", || {
        let programs = Programs::new();
        for mode in MODES {
            run_two(mode, async {
                let (listener, address) = listen();
                let (other, other_address) = listen();
                let mut accepts = op::accept_many(&listener);
                assert!(poll_once(&mut accepts.next()).await.is_pending());
                let mut accept = op::accept(&other);
                assert!(poll_once(&mut accept).await.is_pending());
                let shared = Shared::new(2);
                let far = runtime::spawn_on(1, move || async move {
                    let waiting = Waiting::start(20).await;
                    shared.set(0, 1);
                    until("the failures", || shared.get(1) == 1).await;
                    waiting.finish().await;
                });
                let timer = runtime::spawn(runtime::time::sleep(Duration::from_millis(30)));
                let waiting = Waiting::queue(20).await;
                until("the other core's reads", || shared.get(0) == 1).await;
                let (left, right) = work::socket_pair();
                let before = open_files();
                for (program, errno) in programs.all.iter().chain(&programs.all) {
                    let upgrade =
                        Upgrade::new().program(program).args(["an argument"]).env("UPGRADE_TEST", "set");
                    let upgrade =
                        upgrade.listener("http", &listener).connection("peer", &left, vec![7; 1000]);
                    let error = upgrade.exec();
                    assert_eq!(error.raw_os_error(), Some(*errno), "{program:?}: {error}");
                    assert!(
                        is_close_on_exec(&listener) && is_close_on_exec(&left),
                        "children would inherit it"
                    );
                    assert_open(&before, &error.to_string());
                    for name in ["LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "UPGRADE_TEST"] {
                        assert!(std::env::var_os(name).is_none(), "{name} is set");
                    }
                    drop(work::connect(address).await.unwrap());
                    drop(accepts.next().await.unwrap().unwrap());
                    work::send_all(&left, "hello").await.unwrap();
                    assert_eq!(work::recv_exact(&right, 5).await.unwrap(), b"hello");
                    work::everything_everywhere().await;
                    // What is being closed counts, too.
                    until("the last close", || open_files() == before).await;
                }
                timer.await.unwrap();
                waiting.finish().await;
                let _client = work::connect(other_address).await.unwrap();
                accept.await.unwrap();
                shared.set(1, 1);
                far.await.unwrap();
            });
        }
    });
}

#[test]
fn traffic_is_intact_over_failures() {
    in_child("traffic_is_intact_over_failures", || {
        let programs = Programs::new();
        for mode in MODES {
            run_two(mode, async {
                let load = Load::start(0..2, 3);
                load.progress(10).await;
                for round in 0..30 {
                    let (program, errno) = programs.all[round % 3].clone();
                    let fail = move || async move { Upgrade::new().program(program).exec() };
                    let error = runtime::spawn_on(round % 2, fail).await.unwrap();
                    assert_eq!(error.raw_os_error(), Some(errno));
                    load.progress(2).await;
                }
                load.finish().await;
            });
        }
    });
}

/// An exec would drop such a connection: the client would read the end of it.
#[test]
fn a_connection_that_nobody_has_taken_stands_in_the_way() {
    in_child("a_connection_that_nobody_has_taken_stands_in_the_way", || {
        for (mode, many) in MODES.into_iter().flat_map(|mode| [false, true].map(|many| (mode, many))) {
            run(mode, async {
                let (listener, address) = listen();
                let mut accepts = op::accept_many(&listener);
                let mut accept = op::accept(&listener);
                match many {
                    true => assert!(poll_deaf(&mut accepts.next()).is_pending()),
                    false => assert!(poll_deaf(&mut accept).is_pending()),
                }
                until_operations(1).await;
                let cqes = runtime::metrics().cores[0].cqes;
                let client = std::net::TcpStream::connect(address).unwrap();
                until("the completion", || runtime::metrics().cores[0].cqes > cqes).await;
                // Even this program, which exists.
                let error = Upgrade::new().program("/bin/false").listener("http", &listener).exec();
                assert_eq!(error.kind(), ErrorKind::ResourceBusy, "{error}");
                let peer = match many {
                    true => accepts.next().await.unwrap().unwrap(),
                    false => (&mut accept).await.unwrap().0,
                };
                (&client).write_all(b"hello").unwrap();
                assert_eq!(work::recv_exact(&peer, 5).await.unwrap(), b"hello");
                // When it has been taken, nothing is in the way any more.
                let error = Upgrade::new().program("/nonexistent").listener("http", &listener).exec();
                assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
                if many {
                    let _client = work::connect(address).await.unwrap();
                    accepts.next().await.unwrap().unwrap();
                }
            });
        }
    });
}

#[test]
fn a_core_that_does_not_come_to_a_safe_point_in_time() {
    in_child("a_core_that_does_not_come_to_a_safe_point_in_time", || {
        for mode in MODES {
            run_two(mode, async {
                let shared = Shared::new(2);
                let far = runtime::spawn_on(1, move || async move {
                    shared.set(0, 1);
                    until_blocking("the refusal", || shared.get(1) == 1);
                });
                until("it is busy", || shared.get(0) == 1).await;
                let waiting = Waiting::start(5).await;
                let error = Upgrade::new().program("/bin/false").deadline_ms(50).exec();
                assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
                waiting.finish().await;
                shared.set(1, 1);
                far.await.unwrap();
                work::everything_everywhere().await;
            });
        }
    });
}

/// Names are joined by colons, and there has to be something to execute.
#[test]
fn what_cannot_be_asked_for() {
    in_child("what_cannot_be_asked_for", || {
        for mode in MODES {
            let error = Upgrade::new().program("/nonexistent").exec();
            assert!(error.to_string().contains("runtime"), "{error}");
            run(mode, async {
                let (listener, _) = listen();
                for name in ["a:b", "line\nbreak", "n\0ul"] {
                    let error = Upgrade::new().program("/bin/false").listener(name, &listener).exec();
                    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{name:?}: {error}");
                }
                let error = Upgrade::new().program("n\0ul").exec();
                assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
                work::everything().await;
            });
        }
    });
}
