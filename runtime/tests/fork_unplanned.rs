//! Any code may call `fork()` while a runtime runs: the parent notices nothing, and the child goes on with a ring of its own.
//!
//! Without a guard this is silent corruption: what the child writes into the inherited ring is carried out by the parent's
//! poller, in the parent's memory (an entered ring answers with an error, and a ring that is not mapped in the child
//! ends it).
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

mod common;

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use common::forks::{assert_bytes, assert_success, fork, ring_marks, settled_marks};
use common::waiting::Waiting;
use common::work::{self, listen};
use common::{MODES, builder, in_child, poll_deaf, poll_once, run, until, until_operations};
use futures::StreamExt;
use runtime::op;
use runtime::time::{interval, sleep};

const READS: usize = 16;
const IDLE: u8 = 0x3C;

/// The parent's thread stands still meanwhile, so whatever moves in its memory or its ring, the child has moved.
#[test]
fn the_parent_is_not_touched_byte_by_byte_while_the_child_works() {
    in_child("the_parent_is_not_touched_byte_by_byte_while_the_child_works", || {
        for mode in MODES {
            run(mode, async {
                let mut idle = vec![vec![IDLE; 4096]; 4];
                let (listener, address) = listen();
                let mut accept = op::accept(&listener);
                assert!(poll_once(&mut accept).await.is_pending());
                let mut waiting = Waiting::queue(READS).await;
                until_operations(READS as u64 + 1).await;
                let marks = settled_marks();
                let mut child = fork(async {
                    // Reads into the very addresses that the parent has in flight, and into others of its own.
                    idle.extend(waiting.assert_owner_dead().await);
                    assert_eq!((&mut accept).await.unwrap_err().raw_os_error(), Some(libc::EOWNERDEAD));
                    for _ in 0..10 {
                        for buf in &mut idle {
                            *buf = work::through_a_pipe(std::mem::take(buf)).await;
                        }
                        work::everything().await;
                    }
                    work::signals_and_processes().await;
                    let core = &runtime::metrics().cores[0];
                    assert_eq!((core.replaced.forked, core.replaced.total()), (1, 1), "{core:?}");
                    assert_eq!(core.mode, Some(mode), "{core:?}");
                    assert!(core.last_replacement.is_some(), "{core:?}");
                    until_operations(0).await;
                })
                .await;
                let status = child.wait_while(|| {
                    waiting.assert_untouched();
                    for buf in &idle {
                        assert_bytes("a buffer of nobody's", buf.as_ptr(), buf.len(), IDLE);
                    }
                    assert_eq!(ring_marks(), marks, "somebody has used the parent's ring");
                });
                assert_success(status);
                waiting.finish().await;
                let client = work::connect(address).await.unwrap();
                accept.await.unwrap();
                drop(client);
                let core = &runtime::metrics().cores[0];
                assert_eq!((core.replaced.total(), core.mode), (0, Some(mode)), "{core:?}");
                work::everything_everywhere().await;
                until_operations(0).await;
            });
        }
    });
}

/// The parent carries them out; the child must not do so too.
#[test]
fn requests_that_the_kernel_has_yet_to_see_happen_once() {
    in_child("requests_that_the_kernel_has_yet_to_see_happen_once", || {
        for (mode, count) in MODES.into_iter().flat_map(|mode| [1, 7, 40].map(|count| (mode, count))) {
            // With a queue of four, some of forty are in it, and some wait for room.
            let runtime = builder(mode).entries(4).build().unwrap();
            runtime.block_on(async {
                let (left, right) = work::socket_pair();
                let mut sends: Vec<_> = (0..count).map(|n| op::send(&left, vec![n as u8], true)).collect();
                for send in &mut sends {
                    assert!(poll_once(send).await.is_pending());
                }
                let child = fork(async {
                    for (n, send) in sends.iter_mut().enumerate() {
                        let (result, buf) = send.await;
                        assert_eq!(result.unwrap_err().raw_os_error(), Some(libc::EOWNERDEAD));
                        assert_eq!(buf, [n as u8]);
                    }
                })
                .await;
                child.succeeds().await;
                for send in sends {
                    assert_eq!(send.await.0.unwrap(), 1);
                }
                op::shutdown(&left, std::net::Shutdown::Write).await.unwrap();
                let mut all = work::recv_exact(&right, count).await.unwrap();
                all.sort_unstable();
                assert_eq!(all, (0..count as u8).collect::<Vec<_>>());
                let (end, _) = op::recv(&right, vec![0]).await;
                assert_eq!(end.unwrap(), 0, "something was sent twice");
            });
        }
    });
}

/// No cancel of the child's reaches the parent's requests, and no close its descriptors.
#[test]
fn what_the_child_drops_goes_on_in_the_parent() {
    in_child("what_the_child_drops_goes_on_in_the_parent", || {
        for mode in MODES {
            run(mode, async {
                let (listener, address) = listen();
                let mut accepts = op::accept_many(&listener);
                assert!(poll_once(&mut accepts.next()).await.is_pending());
                let mut waiting = Waiting::queue(READS).await;
                until_operations(READS as u64 + 1).await;
                let mut given = Some((listener, accepts));
                let child = fork(async {
                    waiting.abandon();
                    drop(given.take());
                    work::everything().await;
                    until_operations(0).await;
                })
                .await;
                child.succeeds().await;
                waiting.finish().await;
                let (_listener, mut accepts) = given.unwrap();
                for _ in 0..3 {
                    let _client = work::connect(address).await.unwrap();
                    accepts.next().await.unwrap().unwrap();
                }
            });
        }
    });
}

/// A result that was there before the fork is had on both sides; a stream ends with the error.
#[test]
fn results_that_had_come_are_delivered() {
    in_child("results_that_had_come_are_delivered", || {
        for mode in MODES {
            run(mode, async {
                let (left, right) = work::socket_pair();
                let (listener, address) = listen();
                let mut received = op::recv(&right, Vec::with_capacity(16));
                assert!(poll_once(&mut received).await.is_pending());
                let mut accepts = op::accept_many(&listener);
                assert!(poll_deaf(&mut accepts.next()).is_pending());
                until_operations(2).await;
                let before = runtime::metrics().cores[0].cqes;
                work::send_all(&left, "before").await.unwrap();
                let client = work::connect(address).await.unwrap();
                // Those of the send and the connect, and two that nobody has looked at.
                let cqes = || runtime::metrics().cores[0].cqes - before;
                until("the completions", || cqes() == 4).await;
                let child = fork(async {
                    let (result, buf) = (&mut received).await;
                    assert_eq!((result.unwrap(), &buf[..]), (6, &b"before"[..]));
                    drop(accepts.next().await.unwrap().unwrap());
                    let error = accepts.next().await.unwrap().unwrap_err();
                    assert_eq!(error.raw_os_error(), Some(libc::EOWNERDEAD));
                    assert!(accepts.next().await.is_none());
                })
                .await;
                child.succeeds().await;
                assert_eq!(received.await.1, b"before");
                let served = accepts.next().await.unwrap().unwrap();
                work::send_all(&served, "hello").await.unwrap();
                assert_eq!(work::recv_exact(&client, 5).await.unwrap(), b"hello");
            });
        }
    });
}

#[test]
fn timers_and_tasks_go_on_in_both() {
    in_child("timers_and_tasks_go_on_in_both", || {
        for mode in MODES {
            run(mode, async {
                let ticks = Rc::<Cell<u32>>::default();
                let counter = Rc::clone(&ticks);
                let ticking = runtime::spawn(async move {
                    let mut interval = interval(Duration::from_millis(2));
                    loop {
                        interval.tick().await;
                        counter.set(counter.get() + 1);
                    }
                });
                let mut sleepers: Vec<_> =
                    (0..10).map(|n| runtime::spawn(sleep(Duration::from_millis(30 + n)))).collect();
                let mut here = Box::pin(sleep(Duration::from_millis(50)));
                assert!(poll_once(&mut here).await.is_pending());
                sleep(Duration::from_millis(5)).await;
                let before = ticks.get();
                let side = async {
                    for sleeper in &mut sleepers {
                        sleeper.await.unwrap();
                    }
                    (&mut here).await;
                    until("ticks", || ticks.get() > before + 5).await;
                };
                // Not polled in the parent before the child has ended, so that both have all of it before them.
                let mut side = Box::pin(side);
                let child = fork(&mut side).await;
                child.succeeds().await;
                side.await;
                ticking.abort();
            });
        }
    });
}
