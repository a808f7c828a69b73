//! Pollers die at random moments under load, thousands of times: no byte is lost, comes twice or comes late.
//!
//! How many deaths: 10,000 take about a minute for each test, which is too long for each run of all tests. They are run with
//!
//! ```text
//! REPOLL_DEATHS=10000 cargo test -p repoll --test poller_death_under_load -- --nocapture
//! ```
//!
//! The moments are drawn from `REPOLL_SEED` (printed), what the scheduler makes of them is not.
#![cfg(target_arch = "x86_64")]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test, which prints what it has done")]

mod common;
mod deaths;

use std::thread;
use std::time::{Duration, Instant};

use deaths::run_load::{from_environment, under_load};
use deaths::watchdog::Progress;
use deaths::{Random, Replaced, alive, faults, kill};

/// Deaths of each test, if nothing else is asked for.
const DEATHS: u64 = 500;

/// Kills pollers at random moments of their lives; half of them at once. Returns how many died.
fn kill_at_random(deaths: u64, seed: u64, progress: &Progress) -> u64 {
    let mut random = Random::new(seed);
    let mut died = 0;
    while died < deaths {
        let start = Instant::now();
        while alive() == 0 {
            if start.elapsed() > common::PATIENCE {
                progress.hangs();
            }
            thread::sleep(Duration::from_micros(20));
        }
        if random.below(2) == 0 {
            thread::sleep(Duration::from_micros(random.below(3000)));
        }
        died += kill() as u64;
        // There is something to check between two deaths, now and then.
        if died.is_multiple_of(50) {
            let steps = progress.steps();
            while progress.steps() < steps + 20 {
                thread::sleep(Duration::from_micros(200));
            }
        }
    }
    died
}

fn with_deaths(cores: usize, false_alarms: u32, renew: bool) {
    let _session = deaths::session();
    let deaths = from_environment("REPOLL_DEATHS", DEATHS);
    let replaced = under_load("poller killed", cores, renew, move |seed, progress| {
        faults::by_chance(false_alarms, 3);
        let died = kill_at_random(deaths, seed, progress);
        faults::none();
        died
    });
    for Replaced { total, poller_died } in replaced {
        assert!(total == poller_died || renew, "{total} is not {poller_died}");
        assert!((1..=deaths).contains(&poller_died) || false_alarms > 0 || deaths == 0, "{poller_died}");
    }
}

#[test]
fn one_core() {
    with_deaths(1, 0, false);
}

#[test]
fn two_cores_that_share_it() {
    with_deaths(2, 0, false);
}

#[test]
fn three_cores_and_false_alarms_in_between() {
    with_deaths(3, 20, false);
}

/// A poller may die while its rings are called back, or after its last ring has left it.
#[test]
fn two_cores_whose_rings_are_also_replaced_on_purpose() {
    with_deaths(2, 20, true);
}
