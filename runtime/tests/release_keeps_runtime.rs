//! Giving up what was inherited leaves the worker's own runtime alone: it sleeps, and wakes for other threads and signals.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

mod common;

use std::fs::File;
use std::os::fd::AsFd;
use std::time::Duration;

use common::{MODES, in_child, run};
use runtime::guard::{fork_worker, release_inherited};
use runtime::signal::{SignalKind, signal};
use runtime::time::timeout;

/// Longer than a core looks around before it sleeps.
const ASLEEP: Duration = Duration::from_millis(600);

/// Requests of a worker that sleeps twice; one whose wake-up is always ready makes thousands.
const REQUESTS_MAX: u64 = 100;

#[test]
fn a_worker_that_has_released_is_woken_as_before() {
    in_child("a_worker_that_has_released_is_woken_as_before", || {
        for (mode, gap) in MODES.into_iter().flat_map(|mode| [(mode, false), (mode, true)]) {
            run(mode, async move {
                // The parent has listened, so its listeners' descriptor comes along.
                let mut own = signal(SignalKind::USER1).unwrap();
                // Whatever number the worker opens next, it may be one that was in use while it looked around.
                let low = File::open("/dev/null").unwrap();
                let kept = File::open("/dev/null").unwrap();
                if gap {
                    drop(low);
                }
                let mut worker = fork_worker(async move {
                    let mut signals = signal(SignalKind::USER1)?;
                    release_inherited(&[kept.as_fd()])?;
                    // No timers here: they would wake this core, sooner or later.
                    runtime::spawn_blocking(|| std::thread::sleep(ASLEEP)).await?;
                    // Taken by another thread, so that it interrupts nothing here.
                    let raise = || {
                        std::thread::sleep(ASLEEP);
                        signal_hook::low_level::raise(SignalKind::USER1.as_raw())
                    };
                    drop(runtime::spawn_blocking(raise));
                    signals.recv().await?;
                    let core = &runtime::metrics().cores[0];
                    if core.parks == 0 || core.sqes > REQUESTS_MAX {
                        return Err(std::io::Error::other(format!("it has not slept: {core:?}")));
                    }
                    Ok(())
                })
                .unwrap();
                let ended = timeout(common::PATIENCE, worker.wait()).await;
                if ended.is_err() {
                    worker.kill(SignalKind::from_raw(libc::SIGKILL)).unwrap();
                }
                assert!(ended.expect("the worker is woken").unwrap().success(), "{mode:?} {gap}");
                signal_hook::low_level::raise(SignalKind::USER1.as_raw()).unwrap();
                timeout(common::PATIENCE, own.recv()).await.unwrap().unwrap();
            });
        }
    });
}
