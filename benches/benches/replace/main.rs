//! How long requests wait while their ring is replaced, and how long a core stands still while it forks.
//!
//! `cargo bench -p benches --bench replace [-- NAME]`; with `--no-default-features` it builds without the peers, in a
//! fraction of the time. All figures go to `target/tmp/replace.json`.
//!
//! So many receives wait, each on a socket of its own. Then the ring under them is replaced, once by the runtime
//! (`guard::identity_changed`, the call that does just that), and once by a bare loop on the `io-uring` crate, which is the
//! limit: it cancels each receive, waits for the answers, opens a ring, submits all again. The loop runs with the queues
//! that the runtime has (`raw`), and with queues that all requests fit into (`raw, large`).
//!
//! - **ready**: from the start until there is a new ring, and the caller can go on.
//! - **outage**: from the start until the receive that was submitted last has been answered, so until everything works
//!   again. This is what users feel, and what the target is about: 50 ms for 10,000 requests, and 1.5 times `raw`.
//!
//! - **CPU**: the time that core and poller have worked until then, which other load on the machine affects less.
//!
//! Afterwards two bytes are sent to each receive, and each must arrive once: a request that had been lost, or that two rings
//! had, would show.
//!
//! **Forking** a worker calls all requests back as well, and goes on on the same ring. There `ready` is how long
//! the call takes, which is how long the core serves nobody; `child` when the worker's future is polled first.
//!
//! The sides run in turn within each round, on fresh sockets, one ring at a time; the tables show medians, and the best
//! outage of all rounds.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a benchmark prints its results and may stop on errors"
)]

mod bare;
mod ours;
mod place;
mod report;
mod sockets;

use std::time::Duration;

use runtime::Mode;

use report::Report;

const ROUNDS: usize = 9;
const REPLACED: [usize; 4] = [0, 100, 1_000, 10_000];
const FORKED: [usize; 2] = [0, 1_000];

/// What is done to the requests that wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deed {
    Replace,
    Fork,
}

/// One measurement; see above.
#[derive(Debug, Clone, Copy, serde::Serialize)]
struct Sample {
    ready: Duration,
    outage: Duration,
    /// Processor time of the process, poller included, until then.
    cpu: Duration,
    /// When the child of a fork ran.
    child: Option<Duration>,
    /// What the runtime's metrics say about the replacement.
    reported: Option<Duration>,
}

/// Who does it.
#[derive(Clone, Copy)]
struct Side {
    name: &'static str,
    measure: fn(Deed, Mode, usize) -> Sample,
}

const SIDES: [Side; 3] = [
    Side { name: "repoll", measure: ours::measure },
    Side { name: "raw, large", measure: |deed, mode, count| bare::measure(deed, mode, count, bare::LARGE) },
    Side { name: "raw", measure: |deed, mode, count| bare::measure(deed, mode, count, bare::SAME) },
];

fn main() {
    // cargo passes `--bench`; anything else chooses rows by a part of their name.
    let wanted = std::env::args().skip(1).find(|argument| !argument.starts_with("--"));
    sockets::raise_limit();
    let mut report = Report::new();
    for (deed, counts) in [(Deed::Replace, &REPLACED[..]), (Deed::Fork, &FORKED[..])] {
        for mode in [Mode::Polled, Mode::Entered] {
            for &count in counts {
                let name = name(deed, mode, count);
                if wanted.as_ref().is_none_or(|wanted| name.contains(wanted)) {
                    measure(&mut report, &name, deed, mode, count);
                }
            }
        }
    }
    report.write();
}

fn name(deed: Deed, mode: Mode, count: usize) -> String {
    let deed = if deed == Deed::Fork { "fork" } else { "replace" };
    format!("{deed}, {}, {count} in flight", mode.as_str())
}

/// All rounds of a row.
fn measure(report: &mut Report, name: &str, deed: Deed, mode: Mode, count: usize) {
    if !sockets::has_room_for(count) {
        println!("{name}: left out, there may not be so many open files (ulimit -n)");
        return;
    }
    let mut rounds = vec![Vec::with_capacity(ROUNDS); SIDES.len()];
    for round in 0..ROUNDS {
        for turn in 0..SIDES.len() {
            let side = (round + turn) % SIDES.len();
            rounds[side].push((SIDES[side].measure)(deed, mode, count));
        }
    }
    report.add(name, SIDES.map(|side| side.name).into_iter().zip(rounds));
}
