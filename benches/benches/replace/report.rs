//! Tables of medians, a file of all figures, and clocks.

use std::fs;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::{ROUNDS, Sample};

/// Within the target directory.
const FIGURES: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/replace.json");

/// What has been measured.
pub(crate) struct Report {
    rows: Vec<serde_json::Value>,
}

impl Report {
    pub(crate) fn new() -> Self {
        println!("{ROUNDS} rounds, load {}; milliseconds, and ratios to raw", load());
        println!(
            "{:<32} {:<10} {:>8} {:>7} {:>8} {:>7} {:>8} {:>7} {:>8} {:>7} {:>8}",
            "", "side", "ready", "ratio", "outage", "ratio", "best", "ratio", "CPU", "ratio", "child"
        );
        Report { rows: Vec::new() }
    }

    /// Prints the sides of a row; the last one is what the others are compared to.
    pub(crate) fn add<'a>(&mut self, name: &str, sides: impl Iterator<Item = (&'a str, Vec<Sample>)>) {
        let sides: Vec<_> = sides.collect();
        let limit = sides.last().map(|(_, samples)| columns(samples)).unwrap_or_default();
        for (side, samples) in &sides {
            print!("{name:<32} {side:<10}");
            for (value, limit) in columns(samples).iter().zip(&limit) {
                print!(" {value:>8.2} {:>6.2}x", value / limit);
            }
            match median(samples, |sample| sample.child) {
                Some(child) => println!(" {child:>8.2}"),
                None => println!(),
            }
            let row = serde_json::json!({ "name": name, "side": side, "load": load(), "samples": samples });
            self.rows.push(row);
        }
    }

    /// Keeps all figures.
    pub(crate) fn write(&self) {
        fs::write(FIGURES, serde_json::to_vec_pretty(&self.rows).unwrap()).unwrap();
        println!("all figures: {FIGURES}");
    }
}

fn columns(samples: &[Sample]) -> [f64; 4] {
    let best = samples.iter().map(|sample| sample.outage).min();
    [
        median(samples, |sample| Some(sample.ready)),
        median(samples, |sample| Some(sample.outage)),
        best.map(millis),
        median(samples, |sample| Some(sample.cpu)),
    ]
    .map(Option::unwrap_or_default)
}

fn median(samples: &[Sample], get: impl FnMut(&Sample) -> Option<Duration>) -> Option<f64> {
    let mut values: Vec<Duration> = samples.iter().filter_map(get).collect();
    values.sort();
    values.get(values.len() / 2).copied().map(millis)
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn load() -> String {
    fs::read_to_string("/proc/loadavg").unwrap_or_default().trim().to_owned()
}

/// Measures from now on, in two times: the system's, which a child of a fork shares, and the processor's.
pub(crate) struct Stopwatch {
    start: Duration,
    cpu: Duration,
}

impl Stopwatch {
    pub(crate) fn start() -> Self {
        Stopwatch { cpu: clock(ClockId::ProcessCPUTime), start: clock(ClockId::Monotonic) }
    }

    pub(crate) fn elapsed(&self) -> Duration {
        clock(ClockId::Monotonic) - self.start
    }

    pub(crate) fn cpu(&self) -> Duration {
        clock(ClockId::ProcessCPUTime) - self.cpu
    }

    /// When a child told the time.
    pub(crate) fn told(&self, bytes: &[u8]) -> Duration {
        let nanos = u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
        Duration::from_nanos(nanos) - self.start
    }
}

fn clock(id: ClockId) -> Duration {
    let now = clock_gettime(id);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

/// Tells the time to the other process. Allocates nothing: it is called in a bare child of a fork, too.
pub(crate) fn tell_time(mut to: &UnixStream) {
    let nanos = clock(ClockId::Monotonic).as_nanos() as u64;
    to.write_all(&nanos.to_le_bytes()).unwrap();
}
