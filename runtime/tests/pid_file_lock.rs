//! A daemon's pid file is locked as long as the daemon lives: whatever its children do with what they have inherited, and no
//! longer than the last of those that hold it.
#![allow(unsafe_code, reason = "locks files")]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

#[path = "common/children.rs"]
mod children;
mod common;
#[path = "common/daemons.rs"]
mod daemons;
#[path = "common/workers.rs"]
mod workers;

use children::state;
use common::forks::fork;
use common::place::{Place, play};
use common::{MODES, run, until, until_blocking, work};
use daemons::{become_daemon, is_unlocked, perform_daemon};
use runtime::Mode;
use runtime::guard::{Daemonize, release_inherited};
use runtime::process::Command;

/// Runs this program as a daemon that plays a role.
fn daemon(test: &str, mode: Mode, name: &str) -> (tempfile::TempDir, Place) {
    let dir = tempfile::tempdir().unwrap();
    let place = Place::new(dir.path());
    perform_daemon(test, mode, name, &place);
    (dir, place)
}

/// Whether a process has not ended. One that nobody has waited for yet holds nothing any more, once all its threads have ended.
fn runs(pid: &str) -> bool {
    match state(pid.parse().unwrap()) {
        None | Some('X') => false,
        Some('Z') => std::fs::read_dir(format!("/proc/{pid}/task")).is_ok_and(|tasks| tasks.count() > 1),
        Some(_) => true,
    }
}

fn until_unlocked(place: &Place) {
    until_blocking("the lock's end", || is_unlocked(&place.pid_file()).unwrap());
}

fn until_ended(pid: &str) {
    until_blocking("the end of a process", || !runs(pid));
}

/// Its copy of the handle is its own, the lock is the daemon's.
#[test]
fn it_stays_locked_when_a_child_drops_the_handle() {
    const TEST: &str = "it_stays_locked_when_a_child_drops_the_handle";
    play(|mode, _, place| {
        run(mode, async {
            let is_locked = || !is_unlocked(&place.pid_file()).unwrap();
            let mut daemon = Some(become_daemon(Daemonize::new().pid_file(place.pid_file())));
            for turns in [false, true] {
                let child = fork(async {
                    if turns {
                        work::everything().await;
                    }
                    drop(daemon.take().unwrap());
                    assert!(is_locked(), "the child has unlocked it");
                })
                .await;
                child.succeeds().await;
                assert!(is_locked(), "a child has unlocked it");
                assert_eq!(place.pid() as u32, std::process::id());
            }
            let in_worker = place.clone();
            workers::succeeds(async move {
                assert!(!is_unlocked(&in_worker.pid_file()).unwrap());
                release_inherited(&[]).unwrap();
                assert!(!is_unlocked(&in_worker.pid_file()).unwrap());
            })
            .await;
            assert!(is_locked(), "a worker has unlocked it");
            daemon.take().unwrap().remove_pid_file().unwrap();
        });
    });
    for mode in MODES {
        let (_dir, place) = daemon(TEST, mode, "daemon");
        place.assert_passed();
        assert!(!place.pid_file().exists());
    }
}

/// A worker that serves on while the next daemon starts is in its way, unless it has given up what it has inherited.
#[test]
fn a_worker_holds_it_until_it_releases_what_it_has_inherited() {
    const TEST: &str = "a_worker_holds_it_until_it_releases_what_it_has_inherited";
    play(|mode, name, place| {
        run(mode, async {
            let _daemon = become_daemon(Daemonize::new().pid_file(place.pid_file()));
            let (releases, there) = (name == "releases", place.clone());
            let _worker = workers::start(async move {
                if releases {
                    release_inherited(&[]).unwrap();
                }
                there.leave("worker", std::process::id().to_string());
                until("the word", || there.path("go").exists()).await;
            });
            until("the worker's start", || place.path("worker").exists()).await;
        });
    });
    for (mode, releases) in MODES.into_iter().flat_map(|mode| [false, true].map(|releases| (mode, releases)))
    {
        let (_dir, place) = daemon(TEST, mode, if releases { "releases" } else { "keeps" });
        place.assert_passed();
        until_ended(&place.pid().to_string());
        match releases {
            true => until_unlocked(&place),
            false => assert!(!is_unlocked(&place.pid_file()).unwrap(), "{mode:?}"),
        }
        let worker = place.wait_for("worker");
        assert!(runs(&worker), "it runs until it is told");
        place.leave("go", "");
        until_unlocked(&place);
        until_ended(&worker);
    }
}

/// Another program that the daemon has started does not even know of it.
#[test]
fn a_program_does_not_inherit_it() {
    const TEST: &str = "a_program_does_not_inherit_it";
    play(|mode, _, place| {
        run(mode, async {
            let _daemon = become_daemon(Daemonize::new().pid_file(place.pid_file()));
            let script = format!("until [ -e '{}' ]; do sleep 0.01; done", place.path("go").display());
            let program = Command::new("sh").args(["-c", &script]).spawn().await.unwrap();
            place.leave("program", program.id().to_string());
            assert!(!is_unlocked(&place.pid_file()).unwrap());
        });
    });
    for mode in MODES {
        let (_dir, place) = daemon(TEST, mode, "daemon");
        place.assert_passed();
        until_ended(&place.pid().to_string());
        until_unlocked(&place);
        let program = place.wait_for("program");
        assert!(runs(&program), "it runs until it is told");
        place.leave("go", "");
        until_ended(&program);
    }
}
