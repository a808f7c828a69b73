//! A program replaces itself by a new image of itself: listeners and connections are handed over, nothing else is.
#![allow(unsafe_code, reason = "clears a flag of descriptors, sends signals")]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::Stdio;
use std::time::Duration;

use common::forks::{Child, open_files, program, rings};
use common::place::{Place, play, role_of};
use common::waiting::Waiting;
use common::work::{self, listen};
use common::{MODES, run, run_two, until};
use runtime::fd::Fd;
use runtime::guard::{Upgrade, inherited, inherited_connections};
use runtime::signal::{SignalKind, signal};
use runtime::{Builder, Mode, op};

/// An upgrade to this test, in the role `name`.
fn upgrade_to(test: &str, mode: Mode, name: &str, place: &Place) -> Upgrade {
    let command = program(test, &role_of(mode, name, place));
    let upgrade = Upgrade::new().program(command.get_program()).args(command.get_args());
    command.get_envs().fold(upgrade, |upgrade, (key, value)| upgrade.env(key, value.unwrap()))
}

/// Starts this test in the role `name`.
#[allow(clippy::zombie_processes, reason = "somebody waits for the `Child`")]
fn start(test: &str, mode: Mode, name: &str, place: &Place) -> Child {
    let mut command = program(test, &role_of(mode, name, place));
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    Child::of_pid(child.id() as libc::pid_t)
}

fn affinity() -> String {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    status.lines().find(|line| line.starts_with("Cpus_allowed_list:")).unwrap().to_owned()
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(common::PATIENCE)).unwrap();
    stream
}

fn expect(mut stream: &TcpStream, expected: &[u8]) {
    let mut buf = vec![0; expected.len()];
    stream.read_exact(&mut buf).unwrap();
    assert_eq!(String::from_utf8_lossy(&buf), String::from_utf8_lossy(expected));
}

fn as_fd(mut all: Vec<OwnedFd>) -> Fd {
    assert_eq!(all.len(), 1);
    Fd::new(all.remove(0))
}

/// Two listeners under different names, and a connection in the middle of a message. The first core is pinned; a second one has
/// tasks, which end with the old image.
#[test]
fn what_is_handed_over_goes_on() {
    const TEST: &str = "what_is_handed_over_goes_on";
    play(|mode, name, place| match name {
        "old" => hand_over(TEST, mode, &place),
        _ => take_over(mode, &place),
    });
    for mode in MODES {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::new(dir.path());
        let child = start(TEST, mode, "old", &place);
        let addresses = place.wait_for("addresses");
        let addresses: Vec<SocketAddr> =
            addresses.split(' ').map(|address| address.parse().unwrap()).collect();
        let mut live = connect(addresses[0]);
        live.write_all(b"hel").unwrap();
        place.wait_for("going");
        // Nobody accepts now: they wait in the listeners' queues.
        let (http, admin) = (connect(addresses[0]), connect(addresses[1]));
        place.leave("go", "");
        live.write_all(b"lo").unwrap();
        expect(&live, b"hello");
        expect(&http, b"http");
        expect(&admin, b"admin");
        expect(&connect(addresses[0]), b"http");
        place.leave("end", "");
        let pid = child.pid();
        child.succeeds_blocking();
        place.assert_passed();
        assert_eq!(place.wait_for("pid"), pid.to_string(), "it is another process");
    }
}

fn hand_over(test: &str, mode: Mode, place: &Place) {
    place.leave("before", format!("{}|{}", open_files().len(), affinity()));
    let runtime = Builder::new().cores(2).mode(mode).build().unwrap();
    runtime.block_on(async {
        let (http, http_address) = listen();
        let (admin, admin_address) = listen();
        place.leave("addresses", format!("{http_address} {admin_address}"));
        let (peer, _) = op::accept(&http).await.unwrap();
        let state = work::recv_exact(&peer, 3).await.unwrap();
        drop(runtime::spawn_on(1, || async { Waiting::start(10).await.finish_never().await }));
        drop(runtime::spawn(Waiting::queue(10)));
        runtime::spawn_blocking(|| ()).await.unwrap();
        place.leave("going", "");
        until("the word", || place.path("go").exists()).await;
        let upgrade = upgrade_to(test, mode, "new", place).listener("http", &http).listener("admin", &admin);
        let large = vec![0xAB; 200_000];
        let (left, _right) = work::socket_pair();
        let upgrade = upgrade.connection("live", &peer, state).connection("large", &left, large);
        panic!("exec: {}", upgrade.exec());
    });
}

fn take_over(mode: Mode, place: &Place) {
    let pid = std::process::id();
    place.leave("pid", pid.to_string());
    let env = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"));
    assert_eq!(env("LISTEN_PID"), pid.to_string());
    assert!(env("LISTEN_FDNAMES").starts_with("http:admin"), "{}", env("LISTEN_FDNAMES"));
    let passed = 4;
    let before = std::fs::read_to_string(place.path("before")).unwrap();
    let (was_open, affinity_before) = before.split_once('|').unwrap();
    // And the connections' states, until they have been read.
    let expected = was_open.parse::<usize>().unwrap() + passed + 1 + usize::from(mode == Mode::Polled);
    assert!(open_files().len() <= expected, "{:?} are open; {was_open} were", open_files());
    assert_eq!(affinity(), affinity_before, "the old image's pin");
    run_two(mode, async {
        let (http, admin) = (as_fd(inherited("http")), as_fd(inherited("admin")));
        assert!(inherited("http").is_empty() && inherited("nothing").is_empty(), "given out once");
        let mut connections = inherited_connections("live");
        assert!(inherited_connections("live").is_empty(), "given out once");
        let (live, state) = connections.pop().unwrap();
        assert_eq!((connections.len(), &state[..]), (0, &b"hel"[..]));
        let large = inherited_connections("large").pop().unwrap().1;
        assert_eq!(large, vec![0xAB; 200_000]);
        for fd in [http.as_raw_fd(), admin.as_raw_fd(), live.as_raw_fd()] {
            // SAFETY: takes no pointers.
            let flags = unsafe { libc::fcntl(fd, libc::F_GETFD) };
            assert_eq!(flags & libc::FD_CLOEXEC, libc::FD_CLOEXEC, "children would inherit {fd}");
        }
        let live = Fd::new(live);
        let rest = work::recv_exact(&live, 2).await.unwrap();
        work::send_all(&live, [state, rest].concat()).await.unwrap();
        for (listener, answer) in [(&http, "http"), (&admin, "admin"), (&http, "http")] {
            let (peer, _) = op::accept(listener).await.unwrap();
            work::send_all(&peer, answer).await.unwrap();
        }
        until("the end", || place.path("end").exists()).await;
        work::everything_everywhere().await;
        work::signals_and_processes().await;
    });
}

/// Each generation serves one connection and replaces itself, on one core or the other, while somebody sends it the signal that
/// it listens for: one that comes in between kills nobody.
#[test]
fn a_chain_of_upgrades_under_signals() {
    const TEST: &str = "a_chain_of_upgrades_under_signals";
    const GENERATIONS: usize = 8;
    play(|mode, name, place| {
        let generation: usize = name.parse().unwrap();
        run_two(mode, async {
            let _hangups = signal(SignalKind::HANGUP).unwrap();
            let listener = match generation {
                0 => {
                    let (listener, address) = listen();
                    place.leave("address", address.to_string());
                    listener
                }
                _ => as_fd(inherited("listener")),
            };
            let (peer, _) = op::accept(&listener).await.unwrap();
            work::send_all(&peer, format!("{generation:4}")).await.unwrap();
            peer.close().await.unwrap();
            if generation == GENERATIONS {
                return;
            }
            let listener = listener.try_into_owned().unwrap();
            let next = move || async move {
                let next = (generation + 1).to_string();
                upgrade_to(TEST, mode, &next, &place).listener("listener", &listener).exec()
            };
            panic!("exec: {}", runtime::spawn_on(generation % 2, next).await.unwrap());
        });
    });
    for mode in MODES {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::new(dir.path());
        let child = start(TEST, mode, "0", &place);
        let address: SocketAddr = place.wait_for("address").parse().unwrap();
        let pid = child.pid();
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let signals = std::thread::spawn(move || {
            while stopped.recv_timeout(Duration::from_micros(300)).is_err() {
                // SAFETY: takes no pointers; the child has not been waited for.
                unsafe { libc::kill(pid, libc::SIGHUP) };
            }
        });
        for generation in 0..=GENERATIONS {
            expect(&connect(address), format!("{generation:4}").as_bytes());
        }
        stop.send(()).unwrap();
        signals.join().unwrap();
        child.succeeds_blocking();
        place.assert_passed();
    }
}

/// A signal that is not listened for any more has its default action again, when the new image has started.
#[test]
fn a_signal_is_held_back_until_the_new_image_has_started() {
    const TEST: &str = "a_signal_is_held_back_until_the_new_image_has_started";
    play(|mode, name, place| {
        if name.starts_with("old") {
            run(mode, async {
                let _hangups = signal(SignalKind::HANGUP).unwrap();
                panic!("exec: {}", upgrade_to(TEST, mode, &name.replace("old", "new"), &place).exec());
            });
        }
        // SAFETY: takes no pointers.
        unsafe { libc::kill(libc::getpid(), libc::SIGHUP) };
        run(mode, async {
            if name == "new-listens" {
                return signal(SignalKind::HANGUP).unwrap().recv().await.unwrap();
            }
            runtime::time::sleep(common::PATIENCE).await;
        });
    });
    for mode in MODES {
        for (name, killed) in [("old-listens", None), ("old-deaf", Some(libc::SIGHUP))] {
            let dir = tempfile::tempdir().unwrap();
            let place = Place::new(dir.path());
            let status = start(TEST, mode, name, &place).wait_blocking();
            assert_eq!(status.signal(), killed, "{name}: {status}; {}", place.result());
        }
    }
}

/// The one that an upgrade hands over is entered, in case this kernel goes on serving it, and closed if not. One that came by
/// another way is nobody's; the new image has its own.
#[test]
fn an_inherited_ring_does_no_harm() {
    const TEST: &str = "an_inherited_ring_does_no_harm";
    play(|mode, name, place| {
        if name.starts_with("old") {
            run(mode, async {
                let _waiting = Waiting::start(10).await;
                if name == "old-plain" {
                    for ring in rings() {
                        // SAFETY: takes no pointers; the ring stays open across the exec.
                        assert_eq!(unsafe { libc::fcntl(ring, libc::F_SETFD, 0) }, 0);
                    }
                    panic!("exec: {}", program(TEST, &role_of(mode, "new-plain", &place)).exec());
                }
                panic!("exec: {}", upgrade_to(TEST, mode, "new", &place).exec());
            });
        }
        let inherited = rings();
        assert_eq!(inherited.len(), usize::from(name == "new-plain" || mode == Mode::Polled));
        run_two(mode, async {
            work::everything_everywhere().await;
            let others = if name == "new-plain" { inherited.len() } else { 0 };
            assert_eq!(rings().len(), 2 + others, "{:?} are open, {inherited:?} were inherited", rings());
            assert!(runtime::metrics().cores.iter().all(|core| core.mode == Some(mode)));
        });
    });
    for (mode, name) in MODES.into_iter().flat_map(|mode| ["old-plain", "old"].map(|name| (mode, name))) {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::new(dir.path());
        start(TEST, mode, name, &place).succeeds_blocking();
        place.assert_passed();
    }
}
