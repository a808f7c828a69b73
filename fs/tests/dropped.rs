//! Futures dropped in flight, and files dropped under their operations: nothing stays open.
//!
//! Alone in its process, because it counts descriptors.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod support;

use std::io::Write;
use std::os::fd::OwnedFd;

use fs::File;
use futures::FutureExt;
use support::{Dir, await_descriptors, descriptors, in_both_modes, pattern};

#[test]
fn nothing_stays_open() {
    in_both_modes(|| async {
        let dir = Dir::new();
        let before = descriptors();
        opens_given_up(&dir).await;
        await_descriptors(before).await;
        a_file_dropped_under_its_reads(&dir).await;
        await_descriptors(before).await;
        a_read_that_would_wait_for_ever().await;
        await_descriptors(before).await;
        an_open_that_would_wait_for_ever(&dir).await;
        await_descriptors(before).await;
        copies_given_up(&dir).await;
        await_descriptors(before).await;
        listings_given_up(&dir).await;
        await_descriptors(before).await;
        closed_and_forgotten(&dir).await;
        await_descriptors(before).await;
    });
}

async fn opens_given_up(dir: &Dir) {
    let path = dir.file("f", "text");
    for _ in 0..500 {
        // Either it was open at once, and closes, or it is still on its way.
        drop(File::open(&path).now_or_never());
        drop(File::create(dir.path("created")).now_or_never());
    }
}

async fn a_file_dropped_under_its_reads(dir: &Dir) {
    let path = dir.file("f", pattern(1 << 20));
    for _ in 0..50 {
        let file = File::open(&path).await.unwrap();
        for n in 0..10 {
            drop(file.read_at(Vec::with_capacity(1 << 16), n << 16).now_or_never());
        }
    }
}

async fn a_read_that_would_wait_for_ever() {
    let (reader, mut writer) = std::io::pipe().unwrap();
    let file = File::from(OwnedFd::from(reader));
    assert!(file.read(Vec::with_capacity(8)).now_or_never().is_none());
    drop(file);
    // It has been cancelled, so that nobody reads this: the pipe breaks when the file is closed.
    while writer.write_all(b"x").is_ok() {
        runtime::op::nop().await.unwrap();
    }
}

async fn an_open_that_would_wait_for_ever(dir: &Dir) {
    let fifo = dir.fifo(if dir.path("fifo").exists() { "fifo 2" } else { "fifo" });
    assert!(File::open(&fifo).now_or_never().is_none());
    // Nobody waits for a writer any more once the open has been cancelled.
    drop(std::fs::OpenOptions::new().read(true).write(true).open(&fifo).unwrap());
}

async fn copies_given_up(dir: &Dir) {
    let path = dir.file("f", pattern(3 << 20));
    for _ in 0..20 {
        drop(fs::copy(&path, dir.path("copy")).now_or_never());
        let mut copy = Box::pin(fs::copy(&path, dir.path("copy")));
        for _ in 0..5 {
            if copy.as_mut().now_or_never().is_some() {
                break;
            }
            runtime::task::yield_now().await;
        }
    }
}

async fn listings_given_up(dir: &Dir) {
    for _ in 0..20 {
        drop(fs::read_dir(dir.path("")).now_or_never());
        drop(fs::read_dir(dir.path("")).await.unwrap());
    }
}

async fn closed_and_forgotten(dir: &Dir) {
    for _ in 0..100 {
        let file = File::create(dir.path("f")).await.unwrap();
        drop(file.close().now_or_never());
        let file = File::create(dir.path("f")).await.unwrap();
        file.close().await.unwrap();
    }
}
