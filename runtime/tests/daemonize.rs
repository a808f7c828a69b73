//! A running program becomes a daemon: what `daemon(7)` asks for, and every task goes on there.
#![allow(unsafe_code, reason = "asks for sessions and the umask")]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

mod common;
#[path = "common/daemons.rs"]
mod daemons;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use common::forks::rings;
use common::place::{Place, perform, play};
use common::waiting::Waiting;
use common::work::{self, HERE, listen};
use common::{MODES, builder, poll_once, run, run_two, until};
use daemons::{become_daemon, is_unlocked, perform_daemon};
use futures::StreamExt;
use runtime::guard::Daemonize;
use runtime::op;
use runtime::time::sleep;

fn session() -> libc::pid_t {
    // SAFETY: takes no pointers; 0 is this process.
    unsafe { libc::getsid(0) }
}

fn umask() -> libc::mode_t {
    // SAFETY: takes no pointers. There is no other way to read it.
    let mask = unsafe { libc::umask(0) };
    // SAFETY: as above.
    unsafe { libc::umask(mask) };
    mask
}

/// Where the standard streams lead.
fn streams() -> Vec<String> {
    (0..3)
        .map(|fd| std::fs::read_link(format!("/proc/self/fd/{fd}")).unwrap().display().to_string())
        .collect()
}

#[test]
fn it_is_what_a_daemon_has_to_be() {
    const TEST: &str = "it_is_what_a_daemon_has_to_be";
    play(|mode, _, place| {
        run(mode, async {
            let (pid, old_session) = (std::process::id() as libc::pid_t, session());
            let daemon = become_daemon(Daemonize::new().pid_file(place.pid_file()));
            let mine = std::process::id() as libc::pid_t;
            assert_ne!(mine, pid);
            assert_ne!(session(), old_session);
            assert_ne!(session(), mine, "the leader of a session could get a terminal");
            assert_eq!(std::env::current_dir().unwrap(), Path::new("/"));
            assert_eq!(umask(), 0o027);
            assert_eq!(streams(), ["/dev/null"; 3]);
            assert_eq!(place.pid(), mine);
            assert!(!is_unlocked(&place.pid_file()).unwrap());
            let core = &runtime::metrics().cores[0];
            assert_eq!((core.replaced.daemonized, core.replaced.total()), (1, 1), "{core:?}");
            assert_eq!(core.mode, Some(mode));
            assert_eq!(rings().len(), 1, "the original's ring is closed");
            work::everything_everywhere().await;
            // The one who started it sees all this before it is over.
            until("the word", || place.path("go").exists()).await;
            daemon.remove_pid_file().unwrap();
            assert!(!place.pid_file().exists());
        });
    });
    for mode in MODES {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::new(dir.path());
        perform_daemon(TEST, mode, "daemon", &place);
        // The original has ended, so the daemon is ready.
        let pid = place.pid();
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the daemon runs");
        let after_name: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        // SAFETY: takes no pointers.
        let mine = unsafe { libc::getsid(0) };
        assert_ne!(after_name[3].parse::<i32>().unwrap(), mine, "its session is ours: {stat}");
        assert_eq!(after_name[4], "0", "it has a terminal: {stat}");
        assert!(!is_unlocked(&place.pid_file()).unwrap());
        place.leave("go", "");
        place.assert_passed();
    }
}

#[test]
fn options_are_heeded() {
    const TEST: &str = "options_are_heeded";
    play(|mode, _, place| {
        let before = streams();
        run(mode, async {
            let dir = place.path("dir");
            std::fs::create_dir(&dir).unwrap();
            let options = Daemonize::new().working_directory(&dir).umask(0o077).keep_stdio(true);
            let daemon = become_daemon(options);
            assert_eq!((std::env::current_dir().unwrap(), umask()), (dir.canonicalize().unwrap(), 0o077));
            assert_eq!(streams(), before);
            println!("still heard");
            daemon.remove_pid_file().unwrap();
        });
    });
    for mode in MODES {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::new(dir.path());
        let output = perform(TEST, mode, "daemon", &place);
        assert!(output.status.success(), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stdout).contains("still heard"), "{output:?}");
        place.assert_passed();
        assert!(!place.pid_file().exists());
    }
}

/// A listener that waits, a connection in the middle of a message, a stream of accepts, timers, files, pipes, tasks that wait
/// for each other.
#[test]
fn every_task_goes_on_there() {
    const TEST: &str = "every_task_goes_on_there";
    play(|mode, _, place| {
        let runtime = builder(mode).build().unwrap();
        runtime.block_on(async {
            let (listener, address) = listen();
            let (many, many_address) = listen();
            let server = runtime::spawn(async move {
                let (peer, _) = op::accept(&listener).await.unwrap();
                let first = work::recv_exact(&peer, 5).await.unwrap();
                let rest = work::recv_exact(&peer, 6).await.unwrap();
                work::send_all(&peer, [first, rest].concat()).await.unwrap();
                op::accept(&listener).await.unwrap();
            });
            let mut accepts = op::accept_many(&many);
            assert!(poll_once(&mut accepts.next()).await.is_pending());
            let waiting = Waiting::queue(20).await;
            let timer = runtime::spawn(sleep(Duration::from_millis(300)));
            let (send, receive) = futures::channel::oneshot::channel();
            let chained = runtime::spawn(async move { receive.await.unwrap() });
            let file = op::open(
                work::c_path(&place.path("log")),
                op::OpenHow { flags: libc::O_CREAT | libc::O_RDWR | libc::O_APPEND, mode: 0o600 },
            )
            .await
            .unwrap();
            op::write_at(&file, "before ", HERE).await.0.unwrap();
            place.leave("addresses", format!("{address} {many_address}"));
            // The client has connected and sent half of its message.
            until("the client", || place.path("half").exists()).await;

            let _daemon = become_daemon(Daemonize::new().pid_file(place.pid_file()));
            op::write_at(&file, "after", HERE).await.0.unwrap();
            assert_eq!(std::fs::read(place.path("log")).unwrap(), b"before after");
            waiting.finish().await;
            timer.await.unwrap();
            send.send(5).unwrap();
            assert_eq!(chained.await.unwrap(), 5);
            // The one from before, and one from after.
            for _ in 0..2 {
                let peer = accepts.next().await.unwrap().unwrap();
                work::send_all(&peer, "many").await.unwrap();
            }
            server.await.unwrap();
            work::everything_everywhere().await;
        });
    });
    for mode in MODES {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::new(dir.path());
        let client = std::thread::spawn({
            let place = place.clone();
            move || be_the_client(&place)
        });
        perform_daemon(TEST, mode, "daemon", &place);
        place.leave("ready", "");
        client.join().unwrap();
        place.assert_passed();
    }
}

fn be_the_client(place: &Place) {
    let addresses = place.wait_for("addresses");
    let addresses: Vec<SocketAddr> = addresses.split(' ').map(|address| address.parse().unwrap()).collect();
    let read = |mut stream: &TcpStream, expected: &[u8]| {
        stream.set_read_timeout(Some(common::PATIENCE)).unwrap();
        let mut buf = vec![0; expected.len()];
        stream.read_exact(&mut buf).unwrap();
        assert_eq!(buf, expected);
    };
    let mut stream = TcpStream::connect(addresses[0]).unwrap();
    let early = TcpStream::connect(addresses[1]).unwrap();
    stream.write_all(b"hello").unwrap();
    place.leave("half", "");
    place.wait_for("ready");
    stream.write_all(b" world").unwrap();
    read(&stream, b"hello world");
    read(&early, b"many");
    read(&TcpStream::connect(addresses[1]).unwrap(), b"many");
    drop(TcpStream::connect(addresses[0]).unwrap());
}

#[test]
fn signals_threads_and_cores_work_there() {
    const TEST: &str = "signals_threads_and_cores_work_there";
    play(|mode, _, place| {
        run_two(mode, async {
            use runtime::signal::{SignalKind, signal};
            let mut before = signal(SignalKind::HANGUP).unwrap();
            let waiting = runtime::spawn(async move { before.recv().await });
            runtime::task::yield_now().await;
            let _daemon = become_daemon(Daemonize::new().pid_file(place.pid_file()));
            signal_hook::low_level::raise(libc::SIGHUP).unwrap();
            waiting.await.unwrap().unwrap();
            work::signals_and_processes().await;
            for _ in 0..3 {
                work::everything_everywhere().await;
            }
            let cores = runtime::metrics().cores;
            assert!(cores.iter().all(|core| core.mode == Some(mode)), "{cores:?}");
        });
    });
    for mode in MODES {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::new(dir.path());
        perform_daemon(TEST, mode, "daemon", &place);
        place.assert_passed();
        assert!(is_unlocked(&place.pid_file()).unwrap(), "the lock ends with the daemon");
    }
}
