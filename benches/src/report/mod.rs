//! Figures: what one measurement yields, and what the rounds of a side come to.

pub(crate) mod json;
pub(crate) mod table;

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::cpu::CpuTime;
use crate::sides::{Kind, Mode, Side};

/// Latencies in microseconds.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Latency {
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) max: f64,
}

/// One measurement.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Sample {
    pub(crate) requests: u64,
    pub(crate) secs: f64,
    pub(crate) requests_per_s: f64,
    pub(crate) latency_us: Latency,
    pub(crate) server: CpuTime,
    pub(crate) server_cpu_us_per_request: f64,
    /// Near to 1e6 / requests_per_s when the client is the bottleneck.
    pub(crate) client_cpu_us_per_request: f64,
    /// The connection that got the fewest answers, and the one that got the most.
    pub(crate) connection_requests_min: u64,
    pub(crate) connection_requests_max: u64,
}

/// How a measurement ended.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Outcome {
    Sample(Sample),
    Error(String),
}

impl From<Result<Sample>> for Outcome {
    fn from(result: Result<Sample>) -> Outcome {
        match result {
            Ok(sample) => Outcome::Sample(sample),
            Err(error) => Outcome::Error(error.to_string()),
        }
    }
}

/// A measurement and where it stands in the run.
#[derive(Debug, Serialize)]
pub(crate) struct Run {
    pub(crate) conns: usize,
    pub(crate) round: usize,
    pub(crate) side: &'static str,
    #[serde(flatten)]
    pub(crate) outcome: Outcome,
}

/// What the rounds of one side came to.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) conns: usize,
    pub(crate) side: &'static str,
    pub(crate) kind: Kind,
    #[serde(flatten)]
    pub(crate) figures: Option<Figures>,
    /// Requests per second compared with the best peer's.
    pub(crate) to_best_peer: Option<f64>,
    /// Of ours: requests per second compared with the best raw loop of the same mode, and which that is.
    pub(crate) to_raw: Option<(f64, &'static str)>,
    pub(crate) error: Option<String>,
}

/// Medians over the rounds, and the range of the first.
#[derive(Debug, Serialize)]
pub(crate) struct Figures {
    pub(crate) requests_per_s: f64,
    pub(crate) requests_per_s_min: f64,
    pub(crate) requests_per_s_max: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) server_cpu_us_per_request: f64,
}

/// One row for each side at that number of connections. A side that failed in any round has no figures.
pub(crate) fn rows(conns: usize, sides: &[&Side], runs: &[Run]) -> Vec<Row> {
    let row = |side: &&Side| {
        let runs = runs.iter().filter(|run| run.conns == conns && run.side == side.name);
        let (figures, error) = match summarise(runs) {
            Ok(figures) => (figures, None),
            Err(error) => (None, Some(error)),
        };
        let kind = side.kind;
        Row { conns, side: side.name, kind, figures, to_best_peer: None, to_raw: None, error }
    };
    let mut rows: Vec<Row> = sides.iter().map(row).collect();
    compare(&mut rows);
    rows
}

fn summarise<'a>(runs: impl Iterator<Item = &'a Run>) -> std::result::Result<Option<Figures>, String> {
    let mut samples = Vec::new();
    for run in runs {
        match &run.outcome {
            Outcome::Sample(sample) => samples.push(sample),
            Outcome::Error(error) => return Err(error.clone()),
        }
    }
    if samples.is_empty() {
        return Ok(None);
    }
    let of = |figure: fn(&Sample) -> f64| {
        let mut values: Vec<f64> = samples.iter().copied().map(figure).collect();
        values.sort_by(f64::total_cmp);
        values
    };
    let rates = of(|sample| sample.requests_per_s);
    Ok(Some(Figures {
        requests_per_s: median(&rates),
        requests_per_s_min: rates[0],
        requests_per_s_max: rates[rates.len() - 1],
        p50_us: median(&of(|sample| sample.latency_us.p50)),
        p99_us: median(&of(|sample| sample.latency_us.p99)),
        server_cpu_us_per_request: median(&of(|sample| sample.server_cpu_us_per_request)),
    }))
}

/// The middle of sorted values, of which there is at least one.
fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 }
}

fn compare(rows: &mut [Row]) {
    let peer = best(rows, Kind::Peer);
    let raw = |mode| best(rows, Kind::Raw(mode));
    let (polled, entered) = (raw(Mode::Polled), raw(Mode::Entered));
    for row in rows {
        let Some(figures) = &row.figures else { continue };
        row.to_best_peer = peer.map(|(rate, _)| figures.requests_per_s / rate);
        let limit = match row.kind {
            Kind::Ours(Mode::Polled) => polled,
            Kind::Ours(Mode::Entered) => entered,
            Kind::Peer | Kind::Raw(_) => None,
        };
        row.to_raw = limit.map(|(rate, name)| (figures.requests_per_s / rate, name));
    }
}

/// The highest rate among the sides of a kind, and whose it is.
fn best(rows: &[Row], kind: Kind) -> Option<(f64, &'static str)> {
    let rows = rows.iter().filter(|row| row.kind == kind);
    let rates = rows.filter_map(|row| Some((row.figures.as_ref()?.requests_per_s, row.side)));
    rates.max_by(|(one, _), (other, _)| one.total_cmp(other))
}

#[cfg(test)]
mod tests;
