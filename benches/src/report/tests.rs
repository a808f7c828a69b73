//! How samples become rows: medians, the best peer, the raw loop of the same mode, failures.

use std::io;

use super::*;
use crate::servers::Config;

fn side(name: &'static str, kind: Kind) -> Side {
    fn serve(_: &Config) -> io::Result<()> {
        Ok(())
    }
    Side { name, kind, by_default: true, about: "", serve }
}

fn run(side: &'static str, round: usize, requests_per_s: f64) -> Run {
    let outcome = Outcome::Sample(Sample {
        requests: 1000,
        secs: 1.0,
        requests_per_s,
        latency_us: Latency { p50: 10.0, p90: 15.0, p99: 20.0, p999: 30.0, max: 40.0 },
        server: CpuTime { user_s: 0.0, system_s: 0.0 },
        server_cpu_us_per_request: 5.0,
        client_cpu_us_per_request: 5.0,
        connection_requests_min: 100,
        connection_requests_max: 200,
    });
    Run { conns: 8, round, side, outcome }
}

#[test]
fn medians_are_compared_with_the_best_peer_and_the_same_modes_limit() {
    let sides = [
        side("ours", Kind::Ours(Mode::Polled)),
        side("slow", Kind::Peer),
        side("fast", Kind::Peer),
        side("limit", Kind::Raw(Mode::Polled)),
        side("other limit", Kind::Raw(Mode::Entered)),
    ];
    let runs = [
        run("ours", 0, 1.0),
        run("ours", 1, 300.0),
        run("ours", 2, 900.0),
        run("slow", 0, 100.0),
        run("fast", 0, 140.0),
        run("fast", 1, 160.0),
        run("limit", 0, 400.0),
        run("other limit", 0, 4000.0),
    ];
    let rows = rows(8, &sides.iter().collect::<Vec<_>>(), &runs);
    let figures = rows[0].figures.as_ref().unwrap();
    assert_eq!((figures.requests_per_s_min, figures.requests_per_s_max), (1.0, 900.0));
    assert_eq!(rows[0].to_best_peer, Some(2.0));
    assert_eq!(rows[0].to_raw, Some((0.75, "limit")));
    assert_eq!(rows[1].to_best_peer, Some(100.0 / 150.0));
    assert_eq!((rows[1].to_raw, rows[3].to_raw), (None, None));
}

#[test]
fn a_failed_round_takes_the_sides_figures_away() {
    let sides = [side("fast", Kind::Peer), side("slow", Kind::Peer)];
    let failed = Run { conns: 8, round: 1, side: "fast", outcome: Outcome::Error("died".into()) };
    let runs = [run("fast", 0, 100.0), failed, run("slow", 0, 10.0)];
    let rows = rows(8, &sides.iter().collect::<Vec<_>>(), &runs);
    assert!(rows[0].figures.is_none());
    assert_eq!(rows[0].error.as_deref(), Some("died"));
    assert_eq!(rows[1].to_best_peer, Some(1.0), "a side that failed is nobody's measure");
    let table = table::render(&rows);
    assert!(table.contains("fast: died"), "{table}");
}

#[test]
fn a_run_keeps_its_figures_as_json() {
    let value = serde_json::to_value(run("fast", 0, 100.0)).unwrap();
    assert_eq!(value["sample"]["requests_per_s"], 100.0);
    let failed = Run { conns: 8, round: 1, side: "fast", outcome: Outcome::Error("died".into()) };
    assert_eq!(serde_json::to_value(failed).unwrap()["error"], "died");
}
