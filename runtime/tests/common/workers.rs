//! Workers that can't outlive a test that hangs.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part of this")]

use std::future::Future;
use std::process::ExitStatus;

use runtime::guard::{Exit, Worker, fork_worker};

use crate::common::forks::alarm;

/// Forks a worker, which must succeed.
pub fn start<F>(future: F) -> Worker
where
    F: Future + 'static,
    F::Output: Exit,
{
    let guarded = async {
        alarm();
        future.await
    };
    fork_worker(guarded).unwrap_or_else(|error| panic!("fork_worker: {error}"))
}

/// Forks a worker and waits for its end.
pub async fn status_of<F>(future: F) -> ExitStatus
where
    F: Future + 'static,
    F::Output: Exit,
{
    start(future).wait().await.expect("it is a child")
}

pub async fn succeeds<F>(future: F)
where
    F: Future + 'static,
    F::Output: Exit,
{
    crate::common::forks::assert_success(status_of(future).await);
}
