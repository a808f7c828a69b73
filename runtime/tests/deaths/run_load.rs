//! Runs the load while something happens to the rings, and checks all that can be checked.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use runtime::{Builder, Mode};

use super::load::Load;
use super::watchdog::{Progress, Watchdog};
use super::{Replaced, replaced};
use crate::common::until_operations;

/// A number that whoever runs the test may choose.
pub fn from_environment(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .map_or(default, |value| value.parse().unwrap_or_else(|_| panic!("{name} is no number")))
}

/// Runs the load on `cores` cores while `disturb` does its work on a thread, and checks all that can be checked. `disturb`
/// gets the seed, and says how often it has disturbed.
///
/// If `renew`, the rings of all cores are also replaced on purpose all the while.
pub fn under_load(
    what: &str,
    cores: usize,
    renew: bool,
    disturb: impl FnOnce(u64, &Progress) -> u64 + Send + 'static,
) -> Vec<Replaced> {
    let seed = from_environment("REPOLL_SEED", 20_210_326);
    let watchdog = Watchdog::new();
    let runtime = Builder::new().cores(cores).pin(false).mode(Mode::Polled).build().unwrap();
    let start = Instant::now();
    runtime.block_on(async {
        let (progress, stop) = (watchdog.progress(), Arc::<AtomicBool>::default());
        let load = Load { progress: progress.clone(), stop: Arc::clone(&stop), seed };
        let handles = load.start(8);
        let disturber = thread::spawn({
            let progress = progress.clone();
            move || disturb(seed, &progress)
        });
        while !disturber.is_finished() {
            progress.report(format!("{:#?}", runtime::metrics()));
            runtime::time::sleep(Duration::from_millis(5)).await;
            if renew {
                runtime::guard::identity_changed().expect("all cores come to rest and get new rings");
            }
        }
        let disturbed = disturber.join().expect("it disturbs as often as it was told");
        stop.store(true, Ordering::Relaxed);
        let mut messages = 0;
        for handle in handles {
            messages += handle.await.expect("all that was sent has arrived, once and in order");
        }
        let seconds = start.elapsed().as_secs_f64();
        let mode_is_kept = runtime::metrics().cores.iter().all(|core| core.mode == Some(Mode::Polled));
        assert!(mode_is_kept, "{:#?}", runtime::metrics());
        until_operations(0).await;
        let replaced: Vec<_> = (0..cores).map(replaced).collect();
        println!(
            "{what}, {cores} cores, seed {seed}: {disturbed} times in {seconds:.1} s, {messages} messages, {replaced:?}"
        );
        replaced
    })
}
