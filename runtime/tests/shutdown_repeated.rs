//! Building, using and dropping runtimes again and again leaves nothing behind: no descriptor, thread or mapping.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

mod common;

use std::time::Duration;

use common::{MODES, descriptors, pipe, threads, until_blocking};
use runtime::Builder;

fn mappings() -> usize {
    std::fs::read_to_string("/proc/self/maps").unwrap().lines().count()
}

fn round(mode: runtime::Mode) {
    let runtime = Builder::new().cores(2).pin(false).mode(mode).build().unwrap();
    runtime.block_on(async {
        let (reader, _writer) = pipe();
        let waits = runtime::spawn(async move { runtime::op::read_at(&reader, vec![0; 8], u64::MAX).await });
        runtime::spawn_on(1, || async {
            drop(runtime::spawn(runtime::time::sleep(Duration::from_secs(3600))));
            runtime::op::nop().await
        })
        .await
        .unwrap()
        .unwrap();
        runtime::spawn_blocking(|| ()).await.unwrap();
        assert!(!waits.is_finished());
    });
}

#[test]
fn two_hundred_runtimes_leave_nothing() {
    // The allocator and the standard library keep a few things for good.
    (0..10).for_each(|_| MODES.into_iter().for_each(round));
    let (threads_before, descriptors_before) = (threads(), descriptors());
    until_blocking("the end of the first threads", || threads() <= threads_before && threads() == 2);
    let mappings_before = mappings();
    (0..100).for_each(|_| MODES.into_iter().for_each(round));
    until_blocking("the end of all threads", || threads() == 2);
    assert_eq!(descriptors(), descriptors_before);
    // The kernel unmaps a finished thread's stack, the allocator keeps an arena per thread that there was at a time.
    let mappings_after = mappings();
    assert!(mappings_after <= mappings_before + 20, "{mappings_before} mappings became {mappings_after}");
}
