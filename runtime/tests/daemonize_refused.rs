//! When a program can't become a daemon, the one that asked goes on as it was, with a clear error.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

mod common;
#[path = "common/daemons.rs"]
mod daemons;

use std::future::{Future, pending, poll_fn};
use std::io::ErrorKind;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Wake, Waker};

use common::forks::{Shared, assert_open, assert_success, open_files};
use common::place::{Place, perform, play};
use common::waiting::Waiting;
use common::work;
use common::{MODES, run, run_two, until, until_blocking, until_operations};
use daemons::{become_daemon, perform_daemon};
use runtime::Mode;
use runtime::guard::{Daemonize, daemonize};

/// Asks for a daemon, which is refused: nothing has changed, and what was in flight goes on.
async fn refused(options: Daemonize) -> std::io::Error {
    // Nothing is being closed any more.
    until_operations(0).await;
    let waiting = Waiting::queue(20).await;
    let state = || (std::process::id(), std::env::current_dir().unwrap());
    let (before, files) = (state(), open_files());
    let error = daemonize(options).unwrap_err();
    assert_eq!(state(), before, "after: {error}");
    assert_open(&files, &error.to_string());
    waiting.finish().await;
    work::everything().await;
    error
}

/// Runs a role that ends in the process that was started.
fn passes(test: &str, name: &str) {
    for mode in MODES {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::new(dir.path());
        passes_at(test, mode, name, &place);
    }
}

fn passes_at(test: &str, mode: Mode, name: &str, place: &Place) {
    let output = perform(test, mode, name, place);
    assert!(output.status.success(), "{output:?}; {}", place.result());
    place.assert_passed();
}

#[test]
fn a_second_daemon_with_the_same_pid_file() {
    const TEST: &str = "a_second_daemon_with_the_same_pid_file";
    play(|mode, name, place| {
        run(mode, async {
            if name == "first" {
                let daemon = become_daemon(Daemonize::new().pid_file(place.pid_file()));
                until("the word", || place.path("go").exists()).await;
                daemon.remove_pid_file().unwrap();
                return;
            }
            // In a directory inside the first one's.
            let pid_file = place.path("../daemon.pid");
            let text = std::fs::read(&pid_file).unwrap();
            let error = refused(Daemonize::new().pid_file(&pid_file)).await;
            assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::AlreadyExists), "{error:?}");
            assert!(error.to_string().contains("daemon.pid"), "it names the file: {error}");
            assert_eq!(std::fs::read(&pid_file).unwrap(), text, "the first one's file has been changed");
        });
    });
    for mode in MODES {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::new(dir.path());
        std::fs::create_dir(place.path("second")).unwrap();
        perform_daemon(TEST, mode, "first", &place);
        let pid = place.pid();
        passes_at(TEST, mode, "second", &Place::new(place.path("second")));
        assert_eq!(place.pid(), pid);
        place.leave("go", "");
        place.assert_passed();
    }
}

/// A file that a daemon left behind when it was killed is in nobody's way.
#[test]
fn a_stale_pid_file_is_taken_over() {
    const TEST: &str = "a_stale_pid_file_is_taken_over";
    play(|mode, _, place| {
        run(mode, async {
            std::fs::write(place.pid_file(), "123456789 and more than will be written\n").unwrap();
            let daemon = become_daemon(Daemonize::new().pid_file(place.pid_file()));
            assert_eq!(place.pid() as u32, std::process::id());
            daemon.remove_pid_file().unwrap();
        });
    });
    for mode in MODES {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::new(dir.path());
        perform_daemon(TEST, mode, "daemon", &place);
        place.assert_passed();
    }
}

#[test]
fn what_cannot_be_had_is_an_error_of_the_original() {
    const TEST: &str = "what_cannot_be_had_is_an_error_of_the_original";
    play(|mode, _, place| {
        run(mode, async {
            let nowhere = place.path("no such directory/daemon.pid");
            let error = refused(Daemonize::new().pid_file(&nowhere)).await;
            assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
            assert!(error.to_string().contains("no such directory"), "it names the file: {error}");
            let error = refused(Daemonize::new().working_directory(place.path("nowhere"))).await;
            assert!(error.to_string().contains("nowhere"), "it names the directory: {error}");
            // The second step fails after the first one has been done: no file is left behind.
            let options =
                Daemonize::new().pid_file(place.pid_file()).working_directory(place.path("nowhere"));
            refused(options).await;
            assert!(!place.pid_file().exists());
        });
    });
    passes(TEST, "original");
}

/// Their threads can't be forked: daemonise first, then spread out. When they are done it works.
#[test]
fn while_other_cores_or_threads_work() {
    const TEST: &str = "while_other_cores_or_threads_work";
    play(|mode, _, place| {
        run_two(mode, async {
            let shared = Shared::new(2);
            let far = runtime::spawn_on(1, pending::<()>);
            let error = refused(Daemonize::new()).await;
            assert_eq!(error.kind(), ErrorKind::ResourceBusy, "{error}");
            assert!(error.to_string().contains("core 1"), "{error}");
            far.abort();
            assert!(far.await.unwrap_err().is_aborted());
            let closure = runtime::spawn_blocking(move || {
                shared.set(0, 1);
                until_blocking("the word", || shared.get(1) == 1);
            });
            until("the closure's start", || shared.get(0) == 1).await;
            let error = refused(Daemonize::new()).await;
            assert_eq!(error.kind(), ErrorKind::ResourceBusy, "{error}");
            shared.set(1, 1);
            closure.await.unwrap();
            until_operations(0).await;
            become_daemon(Daemonize::new().pid_file(place.pid_file()));
            work::everything_everywhere().await;
        });
    });
    for mode in MODES {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::new(dir.path());
        perform_daemon(TEST, mode, "daemon", &place);
        place.assert_passed();
    }
}

/// Words of [`Shared`].
const POLLED: usize = 0;
const ASKED: usize = 1;

/// Keeps the thread that wakes it until somebody asks for a daemon.
struct Lingers(Waker, Shared);

impl Wake for Lingers {
    fn wake(self: Arc<Self>) {
        self.0.wake_by_ref();
        until_blocking("the daemon is asked for", || self.1.get(ASKED) == 1);
    }
}

/// Its result comes a moment before its thread is free again.
#[test]
fn a_closure_that_has_ended_is_in_nobodys_way() {
    const TEST: &str = "a_closure_that_has_ended_is_in_nobodys_way";
    play(|mode, _, _| {
        run(mode, async {
            for _ in 0..5 {
                let shared = Shared::new(2);
                let mut closure =
                    runtime::spawn_blocking(move || until_blocking("a waker", || shared.get(POLLED) == 1));
                let ended = poll_fn(|cx| {
                    let waker = Waker::from(Arc::new(Lingers(cx.waker().clone(), shared)));
                    let polled = Pin::new(&mut closure).poll(&mut Context::from_waker(&waker));
                    shared.set(POLLED, 1);
                    polled
                });
                ended.await.unwrap();
                shared.set(ASKED, 1);
                let options = Daemonize::new().working_directory("/nonexistent").keep_stdio(true);
                let error = daemonize(options).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
            }
        });
    });
    passes(TEST, "original");
}

#[test]
fn outside_of_a_core() {
    const TEST: &str = "outside_of_a_core";
    play(|mode, _, _| {
        let error = daemonize(Daemonize::new()).unwrap_err();
        assert!(error.to_string().contains("runtime"), "{error}");
        run(mode, async {
            let error = runtime::spawn_blocking(|| daemonize(Daemonize::new())).await.unwrap().unwrap_err();
            assert!(error.to_string().contains("runtime"), "{error}");
            work::everything().await;
        });
        assert_success(std::process::Command::new("true").status().unwrap());
    });
    passes(TEST, "original");
}
