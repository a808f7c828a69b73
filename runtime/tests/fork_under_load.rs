//! Two hundred forks while connections on two cores are busy: the parent's traffic loses, doubles and reorders nothing, and
//! each child, wherever it was born, does I/O of its own.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

mod common;

use std::collections::VecDeque;

use common::forks::{Child, fork};
use common::load::Load;
use common::{MODES, descriptors, in_child, threads, until, until_operations, work};
use runtime::Builder;

const FORKS: usize = 200;
/// Children that live side by side.
const CHILDREN_MAX: usize = 4;

async fn child_work() {
    work::through_a_pipe(vec![0; 1000]).await;
    work::over_tcp(false).await;
    runtime::time::sleep(std::time::Duration::from_millis(1)).await;
    assert_eq!(runtime::metrics().cores[runtime::core()].replaced.forked, 1);
}

/// From core 0 and, every fourth time, from core 1.
async fn fork_one(round: usize) -> Child {
    if round % 4 != 3 {
        return fork(child_work()).await;
    }
    runtime::spawn_on(1, || fork(child_work())).await.unwrap()
}

#[test]
fn traffic_is_intact_over_two_hundred_forks() {
    in_child("traffic_is_intact_over_two_hundred_forks", || {
        for mode in MODES {
            let runtime = Builder::new().cores(2).pin(false).mode(mode).build().unwrap();
            runtime.block_on(async {
                work::everything_everywhere().await;
                until_operations(0).await;
                // The thread of the blocking closures is among them; it stays for ten seconds.
                let before = descriptors();
                let load = Load::start(0..2, 3);
                load.progress(10).await;
                let threads_before = threads();
                let mut children = VecDeque::new();
                for round in 0..FORKS {
                    children.push_back(fork_one(round).await);
                    if children.len() == CHILDREN_MAX {
                        children.pop_front().unwrap().succeeds().await;
                    }
                    load.progress(1).await;
                }
                for child in children {
                    child.succeeds().await;
                }
                load.progress(20).await;
                assert!(threads() <= threads_before, "{} threads, not {threads_before}", threads());
                load.finish().await;
                until("the last close", || descriptors() == before).await;
                let cores = runtime::metrics().cores;
                assert!(cores.iter().all(|core| core.replaced.total() == 0), "{cores:?}");
            });
        }
    });
}
