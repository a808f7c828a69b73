//! For code that changes its identity itself - another user, another descriptor table, another namespace - the rings are
//! replaced on demand, and requests in flight are carried over: each has one outcome.
#![allow(unsafe_code, reason = "changes what a process is")]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

mod common;

use std::cell::Cell;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::rc::Rc;
use std::time::{Duration, Instant};

use common::forks::{fork_plain, many_files, rings};
use common::load::Load;
use common::waiting::Waiting;
use common::work::{self, HERE};
use common::{Counted, MODES, descriptors, in_child, pipe, poll_once, run, run_two, until, until_operations};
use futures::StreamExt;
use runtime::Mode;
use runtime::guard::identity_changed;
use runtime::op::{self, OpenHow};

/// Gives this thread a copy of the descriptor table, which has all that is open.
fn own_descriptor_table() {
    // SAFETY: takes no pointers; no other thread of the test opens or closes anything for this one.
    assert_eq!(unsafe { libc::unshare(libc::CLONE_FILES) }, 0, "{}", io::Error::last_os_error());
}

/// Without the replacement the poller knows only descriptors of the old table.
#[test]
fn requests_act_in_the_new_descriptor_table() {
    in_child("requests_act_in_the_new_descriptor_table", || {
        for mode in MODES {
            let one = fork_plain(|| {
                run(mode, async {
                    let waiting = Waiting::start(10).await;
                    own_descriptor_table();
                    identity_changed().unwrap();
                    work::through_a_pipe(vec![0; 10]).await;
                    work::over_tcp(true).await;
                    work::in_a_file(vec![0; 10]).await;
                    waiting.finish().await;
                    let core = &runtime::metrics().cores[0];
                    assert_eq!((core.replaced.identity, core.replaced.total()), (1, 1), "{core:?}");
                });
            });
            one.succeeds_blocking();
        }
    });
}

/// The kernel's workers of an entered ring keep the directory for a while, so this holds for pollers only.
#[test]
fn requests_act_in_the_new_working_directory() {
    in_child("requests_act_in_the_new_working_directory", || {
        let dir = tempfile::tempdir().unwrap();
        for name in ["old", "new"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        // A directory of its own, which the harness has no part in.
        let own_directory = |name| {
            // SAFETY: takes no pointers.
            assert_eq!(unsafe { libc::unshare(libc::CLONE_FS) }, 0, "{}", io::Error::last_os_error());
            std::env::set_current_dir(dir.path().join(name)).unwrap();
        };
        let one = fork_plain(|| {
            own_directory("old");
            run(Mode::Polled, async {
                op::create_dir(c"first".to_owned(), 0o755).await.unwrap();
                own_directory("new");
                identity_changed().unwrap();
                op::create_dir(c"second".to_owned(), 0o755).await.unwrap();
            });
        });
        one.succeeds_blocking();
        let found = ["old/first", "old/second", "new/second"].map(|path| dir.path().join(path).exists());
        assert_eq!(found, [true, false, true]);
    });
}

#[test]
fn requests_act_as_the_new_user() {
    // SAFETY: takes nothing, can't fail.
    if unsafe { libc::geteuid() } != 0 {
        return println!("SKIPPED: only root can become somebody else");
    }
    in_child("requests_act_as_the_new_user", || {
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let secret = dir.path().join("secret");
        std::fs::write(&secret, "secret").unwrap();
        std::fs::set_permissions(&secret, PermissionsExt::from_mode(0o600)).unwrap();
        for mode in MODES {
            let one = fork_plain(|| {
                run(mode, async {
                    let open = || op::open(work::c_path(&secret), OpenHow::default());
                    open().await.unwrap();
                    let waiting = Waiting::queue(10).await;
                    // SAFETY: takes no pointers.
                    assert_eq!(unsafe { libc::setresuid(65_534, 65_534, 65_534) }, 0);
                    identity_changed().unwrap();
                    assert_eq!(open().await.unwrap_err().raw_os_error(), Some(libc::EACCES));
                    waiting.finish().await;
                });
            });
            one.succeeds_blocking();
        }
    });
}

#[test]
fn more_than_a_thousand_requests_are_carried_over_once() {
    in_child("more_than_a_thousand_requests_are_carried_over_once", || {
        many_files();
        for (mode, entries) in MODES.into_iter().flat_map(|mode| [8, 256].map(|entries| (mode, entries))) {
            common::run_on(common::builder(mode).entries(entries), mode, async {
                let waiting = Waiting::start(1500).await;
                // Writes that wait for room, each of which must happen once.
                let (reader, writer) = common::full_pipe();
                let mut write = op::write_at(&writer, vec![7; 4096], HERE);
                assert!(poll_once(&mut write).await.is_pending());
                until_operations(1501).await;
                let before = (rings().len(), descriptors());
                identity_changed().unwrap();
                let core = runtime::metrics().cores[0].clone();
                let last = core.last_replacement.as_ref().unwrap();
                assert_eq!((last.carried, core.replaced.identity, core.replaced.total()), (1501, 1, 1));
                assert!(last.duration < Duration::from_secs(10), "{last:?}");
                waiting.finish().await;
                let reader = runtime::fd::Fd::new(reader.into());
                let mut left = (1 << 16) + 4096;
                while left > 0 {
                    left -= op::read_at(&reader, vec![0; 1 << 15], HERE).await.0.unwrap();
                }
                assert_eq!(write.await.0.unwrap(), 4096);
                drop(writer);
                assert_eq!(
                    op::read_at(&reader, vec![0; 8], HERE).await.0.unwrap(),
                    0,
                    "it was written twice"
                );
                until("the old ring is closed", || rings().len() == before.0).await;
            });
        }
    });
}

/// Those that nobody has taken are delivered, those that come afterwards too, none twice.
#[test]
fn a_stream_of_accepts_keeps_what_had_come() {
    in_child("a_stream_of_accepts_keeps_what_had_come", || {
        for (mode, round) in MODES.into_iter().flat_map(|mode| (0..40).map(move |round| (mode, round))) {
            run(mode, async {
                let (listener, address) = work::listen();
                let mut accepts = op::accept_many(&listener);
                assert!(poll_once(&mut accepts.next()).await.is_pending());
                until_operations(1).await;
                let cqes = || runtime::metrics().cores[0].cqes;
                let before = cqes();
                let mut clients: Vec<_> =
                    (0..5).map(|_| std::net::TcpStream::connect(address).unwrap()).collect();
                if round % 2 == 0 {
                    // Reaped already, or else in the ring, or on their way.
                    until("the completions", || cqes() == before + 5).await;
                }
                identity_changed().unwrap();
                clients.extend((0..5).map(|_| std::net::TcpStream::connect(address).unwrap()));
                let mut served = std::collections::HashSet::new();
                for _ in 0..clients.len() {
                    let peer = accepts.next().await.unwrap().unwrap();
                    let name = socket2::SockRef::from(&peer).peer_addr().unwrap().as_socket().unwrap();
                    assert!(served.insert(name.port()), "one connection came twice");
                    work::send_all(&peer, "hello").await.unwrap();
                }
                for mut client in clients {
                    let mut buf = [0; 5];
                    io::Read::read_exact(&mut client, &mut buf).unwrap();
                    assert!(served.remove(&client.local_addr().unwrap().port()));
                }
                assert!(poll_once(&mut accepts.next()).await.is_pending());
            });
        }
    });
}

#[test]
fn timers_go_on() {
    in_child("timers_go_on", || {
        for mode in MODES {
            run(mode, async {
                let start = Instant::now();
                let timers: Vec<_> = (0..100)
                    .map(|n| runtime::spawn(runtime::time::sleep(Duration::from_millis(n))))
                    .collect();
                while start.elapsed() < Duration::from_millis(100) {
                    identity_changed().unwrap();
                    runtime::task::yield_now().await;
                }
                for timer in timers {
                    timer.await.unwrap();
                }
                assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
            });
        }
    });
}

/// Dropped before it, in the same turn; or after it, before the new ring has seen the request again.
#[test]
fn futures_dropped_at_that_moment() {
    in_child("futures_dropped_at_that_moment", || {
        for mode in MODES {
            run(mode, async {
                for round in 0..200 {
                    let drops: Rc<Cell<usize>> = Rc::default();
                    let pipes: Vec<_> = (0..4).map(|_| pipe()).collect();
                    let mut reads: Vec<_> =
                        pipes.iter().map(|(fd, _)| op::read_at(fd, Counted::new(64, &drops), HERE)).collect();
                    for read in &mut reads {
                        assert!(poll_once(read).await.is_pending());
                    }
                    if round % 3 != 0 {
                        until_operations(4).await;
                    }
                    drop(reads.pop());
                    identity_changed().unwrap();
                    drop(reads.pop());
                    if round % 2 == 0 {
                        runtime::task::yield_now().await;
                    }
                    drop(reads.pop());
                    let mut pipes = pipes.into_iter();
                    let (_, mut writer) = pipes.next().unwrap();
                    io::Write::write_all(&mut writer, &[5; 64]).unwrap();
                    assert_eq!(reads.pop().unwrap().await.0.unwrap(), 64);
                    until_operations(0).await;
                    assert_eq!(drops.get(), 4);
                }
            });
        }
    });
}

/// Two cores that are busy, and ask by turns.
#[test]
fn traffic_is_intact_over_a_hundred_replacements() {
    in_child("traffic_is_intact_over_a_hundred_replacements", || {
        for mode in MODES {
            run_two(mode, async {
                let load = Load::start(0..2, 4);
                load.progress(10).await;
                for round in 0..100 {
                    match round % 2 {
                        0 => identity_changed().unwrap(),
                        _ => runtime::spawn_on(1, || async { identity_changed() }).await.unwrap().unwrap(),
                    }
                    load.progress(2).await;
                }
                load.progress(10).await;
                load.finish().await;
                let cores = runtime::metrics().cores;
                assert!(cores.iter().all(|core| core.replaced.identity == 100), "{cores:?}");
                assert!(cores.iter().all(|core| core.mode == Some(mode)), "{cores:?}");
                assert_eq!(rings().len(), 2);
            });
        }
    });
}
