//! Workers forked from inside a running runtime: only the worker's future runs there, with everything that a runtime offers;
//! the parent's tasks are neither polled nor dropped, and what the parent has in flight goes on.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

mod common;
#[path = "common/workers.rs"]
mod workers;

use std::cell::Cell;
use std::future::Future;
use std::os::fd::{AsFd, AsRawFd};
use std::pin::Pin;
use std::rc::Rc;

use common::forks::{Shared, many_files};
use common::waiting::Waiting;
use common::work::{self, listen};
use common::{MODES, in_child, poll_once, run_two, until_operations};
use futures::StreamExt;
use runtime::fd::Fd;
use runtime::op;
use runtime::task::yield_now;
use workers::{start, status_of};

#[test]
fn everything_works_there_and_then_here() {
    in_child("everything_works_there_and_then_here", || {
        for (mode, warm) in MODES.into_iter().flat_map(|mode| [false, true].map(|warm| (mode, warm))) {
            run_two(mode, async move {
                if warm {
                    work::everything_everywhere().await;
                }
                let here = std::process::id();
                let mut worker = start(async move {
                    assert_ne!(std::process::id(), here);
                    assert_eq!((runtime::core(), runtime::cores()), (0, 2));
                    work::everything().await;
                    work::everything_everywhere().await;
                    work::signals_and_processes().await;
                    assert_eq!(runtime::metrics().cores[0].mode, Some(mode));
                });
                assert_ne!(worker.pid(), here);
                work::everything_everywhere().await;
                assert!(worker.wait().await.unwrap().success());
                work::everything_everywhere().await;
                until_operations(0).await;
            });
        }
    });
}

/// Writes down if it is used in another process than the one that made it.
struct AtHome(u32, Shared);

impl AtHome {
    fn look(&self, word: usize) {
        if std::process::id() != self.0 {
            self.1.add(word, 1);
        }
    }
}

impl Drop for AtHome {
    fn drop(&mut self) {
        self.look(1);
    }
}

/// Tasks that are ready, that wait for a timer, for I/O, for another core and for a channel; on both cores; and `main` itself.
#[test]
fn the_parents_tasks_are_neither_polled_nor_dropped_there() {
    in_child("the_parents_tasks_are_neither_polled_nor_dropped_there", || {
        for mode in MODES {
            let shared = Shared::new(2);
            run_two(mode, async move {
                let home = move || AtHome(std::process::id(), shared);
                let always_ready = move || async move {
                    let home = home();
                    loop {
                        home.look(0);
                        yield_now().await;
                    }
                };
                let ticking = move || async move {
                    let home = home();
                    loop {
                        home.look(0);
                        runtime::time::sleep(std::time::Duration::from_millis(1)).await;
                    }
                };
                let reading = move || async move {
                    let home = home();
                    let (reader, _writer) = common::pipe();
                    let _ = op::read_at(&reader, vec![0; 8], work::HERE).await;
                    home.look(0);
                };
                for core in 0..2 {
                    drop(runtime::spawn_on(core, always_ready));
                    drop(runtime::spawn_on(core, ticking));
                    drop(runtime::spawn_on(core, reading));
                }
                let _main = home();
                for _ in 0..5 {
                    let mut worker = start(async {
                        work::everything().await;
                        work::everything_everywhere().await;
                    });
                    assert!(worker.wait().await.unwrap().success());
                }
                assert_eq!((shared.get(0), shared.get(1)), (0, 0), "(polled, dropped) in a worker");
            });
            assert_eq!((shared.get(0), shared.get(1)), (0, 0));
        }
    });
}

#[test]
fn what_the_parent_has_in_flight_goes_on() {
    in_child("what_the_parent_has_in_flight_goes_on", || {
        many_files();
        for mode in MODES {
            run_two(mode, async {
                let (listener, address) = listen();
                let mut accepts = op::accept_many(&listener);
                assert!(poll_once(&mut accepts.next()).await.is_pending());
                let elsewhere = runtime::spawn_on(1, || async {
                    let waiting = Waiting::start(200).await;
                    let mut worker = start(work::everything());
                    assert!(worker.wait().await.unwrap().success());
                    waiting.finish().await;
                });
                let waiting = Waiting::queue(1000).await;
                let mut workers: Vec<_> = (0..3).map(|_| start(work::everything())).collect();
                waiting.finish().await;
                for _ in 0..3 {
                    let _client = work::connect(address).await.unwrap();
                    accepts.next().await.unwrap().unwrap();
                }
                for worker in &mut workers {
                    assert!(worker.wait().await.unwrap().success());
                }
                elsewhere.await.unwrap();
            });
        }
    });
}

/// The future carries it there; the parent has given it up.
#[test]
fn a_captured_listener_serves_in_the_worker() {
    in_child("a_captured_listener_serves_in_the_worker", || {
        for mode in MODES {
            run_two(mode, async {
                let (listener, address) = listen();
                // Somebody who connects before anybody accepts waits in the listener's queue.
                let early = work::connect(address).await.unwrap();
                let mut worker = start(async move {
                    for _ in 0..2 {
                        let (peer, _) = op::accept(&listener).await?;
                        work::send_all(&peer, std::process::id().to_le_bytes()).await?;
                    }
                    Ok::<(), std::io::Error>(())
                });
                let late = work::connect(address).await.unwrap();
                for client in [early, late] {
                    let pid = work::recv_exact(&client, 4).await.unwrap();
                    assert_eq!(pid, worker.pid().to_le_bytes());
                }
                assert!(worker.wait().await.unwrap().success());
                let refused = work::connect(address).await.unwrap_err();
                assert_eq!(refused.raw_os_error(), Some(libc::ECONNREFUSED), "the parent still has it open");
            });
        }
    });
}

#[test]
fn workers_fork_workers() {
    async fn nested(left: u8) -> u8 {
        work::everything().await;
        if left == 0 {
            return 40;
        }
        let waiting = Waiting::start(4).await;
        let code = status_of(Box::pin(nested(left - 1)) as Pin<Box<dyn Future<Output = u8>>>).await;
        waiting.finish().await;
        code.code().unwrap() as u8 + 1
    }
    in_child("workers_fork_workers", || {
        for mode in MODES {
            assert_eq!(run_two(mode, nested(3)), 43);
        }
    });
}

/// What the parent's `Rc`s and thread-locals hold is not the worker's business, but its copies can be read.
#[test]
fn the_future_sees_what_it_has_captured() {
    in_child("the_future_sees_what_it_has_captured", || {
        for mode in MODES {
            run_two(mode, async {
                let counter = Rc::new(Cell::new(41));
                let fd =
                    Fd::new(std::fs::File::open("/dev/zero").unwrap().as_fd().try_clone_to_owned().unwrap());
                let (copy, shared_fd) = (Rc::clone(&counter), fd.clone());
                let status = status_of(async move {
                    copy.set(copy.get() + 1);
                    let (result, buf) = op::read_at(&shared_fd, vec![1; 4], 0).await;
                    assert_eq!((result.unwrap(), buf), (4, vec![0; 4]));
                    copy.get()
                });
                assert_eq!((status.await.code(), counter.get()), (Some(42), 41));
                assert_eq!(Rc::strong_count(&counter), 1, "the parent's future has been dropped there");
                assert!(fd.try_into_owned().is_ok_and(|fd| fd.as_raw_fd() > 2));
            });
        }
    });
}
