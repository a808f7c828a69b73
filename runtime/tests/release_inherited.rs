//! A worker inherits the parent's descriptors. As long as it has them, a connection that the parent closes is not closed for
//! its peer: so a worker can let go of all but those that it serves.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

mod common;

use std::io::ErrorKind;
use std::os::fd::AsFd;

use common::forks::{Shared, alarm};
use common::{MODES, in_child, poll_once, until, work};
use runtime::guard::{fork_worker, release_inherited};
use runtime::{Builder, op};

/// Words of [`Shared`].
const STARTED: usize = 0;
const GO: usize = 1;
const RELEASED: usize = 2;

#[test]
fn the_parents_connections_close_for_good_and_kept_ones_work() {
    in_child("the_parents_connections_close_for_good_and_kept_ones_work", || {
        for mode in MODES {
            let runtime = Builder::new().cores(2).pin(false).mode(mode).build().unwrap();
            runtime.block_on(async {
                let shared = Shared::new(3);
                let (mine, peer) = work::socket_pair();
                let (client, kept) = work::socket_pair();
                let mut worker = fork_worker(async move {
                    alarm();
                    // What the worker has opened itself is not inherited.
                    let (left, right) = work::socket_pair();
                    work::everything_everywhere().await;
                    shared.set(STARTED, 1);
                    until("go", || shared.get(GO) == 1).await;
                    shared.set(RELEASED, release_inherited(&[kept.as_fd()]).unwrap() as u64);
                    let asked = work::recv_exact(&kept, 5).await.unwrap();
                    work::send_all(&kept, asked).await.unwrap();
                    work::send_all(&left, "own").await.unwrap();
                    assert_eq!(work::recv_exact(&right, 3).await.unwrap(), b"own");
                    work::everything_everywhere().await;
                    work::signals_and_processes().await;
                    // There is nothing left to be given up, and what has been opened since is not.
                    assert_eq!(release_inherited(&[]).unwrap_err().kind(), ErrorKind::Unsupported);
                    work::everything().await;
                })
                .unwrap();
                until("the worker's start", || shared.get(STARTED) == 1).await;
                mine.close().await.unwrap();
                let mut end = op::recv(&peer, vec![0]);
                work::through_a_pipe(vec![0; 8]).await;
                assert!(poll_once(&mut end).await.is_pending(), "the worker has inherited the other end");
                shared.set(GO, 1);
                assert_eq!(end.await.0.unwrap(), 0);
                work::send_all(&client, "hello").await.unwrap();
                assert_eq!(work::recv_exact(&client, 5).await.unwrap(), b"hello");
                assert!(worker.wait().await.unwrap().success());
                // Both ends of the first connection, and one of the second, at least.
                assert!(shared.get(RELEASED) >= 3, "{} were released", shared.get(RELEASED));
                work::everything_everywhere().await;
            });
        }
    });
}

/// Everything that the first process has open is its own.
#[test]
fn outside_of_a_worker_it_is_refused() {
    in_child("outside_of_a_worker_it_is_refused", || {
        for mode in MODES {
            release_inherited(&[]).unwrap_err();
            common::run(mode, async {
                let (left, right) = work::socket_pair();
                release_inherited(&[]).unwrap_err();
                work::send_all(&left, "whole").await.unwrap();
                assert_eq!(work::recv_exact(&right, 5).await.unwrap(), b"whole");
                work::everything().await;
            });
        }
    });
}
