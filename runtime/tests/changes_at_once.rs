//! Several cores change the process at the same time, and the runtime ends or rests meanwhile: nobody waits for ever.
#![allow(clippy::async_yields_async, reason = "a handle is carried out of the runtime on purpose")]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

mod common;

use std::io::ErrorKind;
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use common::forks::{Shared, alarm};
use common::load::Load;
use common::{MODES, in_child, until, work};
use runtime::guard::{Daemonize, Upgrade, daemonize, fork_worker, identity_changed};
use runtime::{Builder, Mode, Runtime};

fn build(mode: Mode, cores: usize) -> Runtime {
    Builder::new().cores(cores).pin(false).mode(mode).build().unwrap()
}

/// One change of each kind, all begun in the same moment, while there is traffic.
#[test]
fn every_core_has_its_turn() {
    in_child("every_core_has_its_turn", || {
        for mode in MODES {
            build(mode, 4).block_on(async {
                let load = Load::start(0..4, 1);
                load.progress(5).await;
                for _ in 0..10 {
                    let barrier = Arc::new(Barrier::new(4));
                    let handles = runtime::on_every_core(move |core| {
                        let barrier = Arc::clone(&barrier);
                        async move {
                            barrier.wait();
                            match core {
                                0 => identity_changed().unwrap(),
                                1 => {
                                    let mut worker = fork_worker(async { alarm() }).unwrap();
                                    assert!(worker.wait().await.unwrap().success());
                                }
                                2 => {
                                    let error = Upgrade::new().program("/nonexistent").exec();
                                    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
                                }
                                _ => {
                                    let error = daemonize(Daemonize::new()).unwrap_err();
                                    assert_eq!(error.kind(), ErrorKind::ResourceBusy, "{error}");
                                }
                            }
                        }
                    });
                    for handle in handles {
                        handle.await.unwrap();
                    }
                    load.progress(2).await;
                }
                load.finish().await;
            });
        }
    });
}

/// A core that ends does not come to a safe point any more, and nobody waits for it longer than for any other.
#[test]
fn the_runtime_ends_meanwhile() {
    in_child("the_runtime_ends_meanwhile", || {
        for mode in MODES {
            for round in 0..10 {
                let runtime = build(mode, 3);
                runtime.block_on(async {
                    for core in 1..3 {
                        drop(runtime::spawn_on(core, || async {
                            loop {
                                // In the end it is refused.
                                let _ = identity_changed();
                                runtime::task::yield_now().await;
                            }
                        }));
                    }
                    let changes = || runtime::metrics().cores[0].replaced.identity;
                    until("changes", || changes() > round).await;
                });
                let start = Instant::now();
                drop(runtime);
                assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
            }
        }
    });
}

/// Between two calls of `block_on` the first core does nothing. Who asks it then may be told that it has not come; everything
/// goes on.
#[test]
fn the_first_core_rests_meanwhile() {
    in_child("the_first_core_rests_meanwhile", || {
        for mode in MODES {
            let runtime = build(mode, 2);
            let shared = Shared::new(2);
            let far = runtime.block_on(async {
                let far = runtime::spawn_on(1, move || async move {
                    shared.set(0, 1);
                    until("the end of block_on", || shared.get(1) == 1).await;
                    let asked = identity_changed();
                    let refused = asked.is_err_and(|error| error.kind() != ErrorKind::TimedOut);
                    assert!(!refused, "it is late, or it has come");
                    work::everything().await;
                });
                until("the other core", || shared.get(0) == 1).await;
                far
            });
            shared.set(1, 1);
            std::thread::sleep(Duration::from_millis(50));
            runtime.block_on(async {
                far.await.unwrap();
                identity_changed().unwrap();
                work::everything_everywhere().await;
            });
        }
    });
}
