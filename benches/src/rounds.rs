//! The run itself: for each number of connections, rounds; in each round every side once, another one first each time.

use std::process::ExitCode;

use crate::Result;
use crate::args::Echo;
use crate::child::Server;
use crate::environment::Environment;
use crate::report::{self, Outcome, Run, json, table};
use crate::sides::Side;

/// Measures, prints a table for each number of connections and keeps all figures; fails if any side did.
pub(crate) fn run(options: &Echo) -> Result<ExitCode> {
    let environment = Environment::read();
    println!("{}", environment.summary());
    let mut runs = Vec::new();
    let mut rows = Vec::new();
    for &conns in &options.conns {
        measure(conns, options, &mut runs);
        let new = report::rows(conns, &options.sides, &runs);
        println!("\n{}", table::title(conns, options));
        print!("{}", table::render(&new));
        rows.extend(new);
        // After each table, so that a run that is stopped leaves what it has.
        json::write(&options.json, &json::document(options, &environment, &runs, &rows))?;
    }
    println!("\nall figures: {}", options.json.display());
    let failed = runs.iter().any(|run| matches!(run.outcome, Outcome::Error(_)));
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// All rounds of all sides at one number of connections. A side that fails is left out of the later rounds.
fn measure(conns: usize, options: &Echo, runs: &mut Vec<Run>) {
    let mut sides = options.sides.clone();
    for round in 0..options.rounds {
        let mut failed = Vec::new();
        for &side in &sides {
            let outcome = Outcome::from(measure_once(side, conns, options));
            progress(conns, round, options, side, &outcome);
            if matches!(outcome, Outcome::Error(_)) {
                failed.push(side.name);
            }
            runs.push(Run { conns, round, side: side.name, outcome });
        }
        sides.retain(|side| !failed.contains(&side.name));
        if !sides.is_empty() {
            sides.rotate_left(1);
        }
    }
}

/// A fresh server, a fresh client, one measurement.
fn measure_once(side: &Side, conns: usize, options: &Echo) -> Result<report::Sample> {
    Server::start(side, options.size)?.measure(conns, options)
}

fn progress(conns: usize, round: usize, options: &Echo, side: &Side, outcome: &Outcome) {
    let result = match outcome {
        Outcome::Sample(sample) => {
            format!("{:>8.0} req/s, p50 {:.1} µs", sample.requests_per_s, sample.latency_us.p50)
        }
        Outcome::Error(error) => format!("FAILED: {error}"),
    };
    eprintln!("[connections {conns}, round {}/{}] {:<28} {result}", round + 1, options.rounds, side.name);
}
