//! What the runtime's own machinery costs: tasks, wakes, a ring round trip, timers; beside tokio where it has the same.
//!
//! `cargo bench -p benches --bench micro [-- NAME]`. The sides of a benchmark run in turn within each round, so that the
//! machine's noise meets all of them; the table shows the median of the rounds.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark prints its results and may stop on errors"
)]

use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use runtime::{Builder, Mode, Runtime};

const ROUNDS: usize = 9;

/// Runs an operation so many times and says how long that took.
type Run<'a> = Box<dyn FnMut(u32) -> Duration + 'a>;

struct Benchmark<'a> {
    name: &'static str,
    times: u32,
    sides: Vec<(&'static str, Run<'a>)>,
}

fn main() {
    // cargo passes `--bench`; anything else chooses benchmarks by a part of their name.
    let wanted = std::env::args().skip(1).find(|argument| !argument.starts_with("--"));
    let entered = build(Mode::Entered, 1);
    let tokio = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    println!("{:<28} {:<10} {:>12} {:>10}", "benchmark", "side", "median ns", "ratio");
    for benchmark in tasks(&entered, &tokio).into_iter().chain(timers(&entered, &tokio)) {
        benchmark.run(wanted.as_deref());
    }
    drop(entered);
    for mode in [Mode::Polled, Mode::Entered] {
        // One at a time: a second runtime's poller would compete for the CPUs.
        let runtime = build(mode, 1);
        ring(mode, &runtime).run(wanted.as_deref());
    }
    for mode in [Mode::Polled, Mode::Entered] {
        if std::thread::available_parallelism().is_ok_and(|cpus| cpus.get() > 1) {
            let runtime = build(mode, 2);
            cross_core(mode, &runtime).run(wanted.as_deref());
        }
    }
}

fn build(mode: Mode, cores: usize) -> Runtime {
    Builder::new().cores(cores).mode(mode).build().unwrap()
}

impl Benchmark<'_> {
    fn run(mut self, wanted: Option<&str>) {
        if wanted.is_some_and(|wanted| !self.name.contains(wanted)) {
            return;
        }
        let mut rounds = vec![Vec::with_capacity(ROUNDS); self.sides.len()];
        for (_, run) in &mut self.sides {
            run(self.times / 10);
        }
        for round in 0..ROUNDS {
            for turn in 0..self.sides.len() {
                let side = (round + turn) % self.sides.len();
                let taken = (self.sides[side].1)(self.times);
                rounds[side].push(taken.as_nanos() as f64 / f64::from(self.times));
            }
        }
        let medians: Vec<f64> = rounds.into_iter().map(median).collect();
        for ((side, _), &nanos) in self.sides.iter().zip(&medians) {
            let ratio = nanos / medians.last().copied().unwrap_or(nanos);
            println!("{:<28} {side:<10} {nanos:>12.1} {ratio:>9.2}x", self.name);
        }
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn tasks<'a>(ours: &'a Runtime, tokio: &'a tokio::runtime::Runtime) -> Vec<Benchmark<'a>> {
    vec![
        Benchmark {
            name: "spawn + join",
            times: 200_000,
            sides: vec![
                side("repoll", |times| {
                    ours.block_on(timed(async move {
                        for _ in 0..times {
                            runtime::spawn(async {}).await.unwrap();
                        }
                    }))
                }),
                side("tokio", |times| {
                    let local = tokio::task::LocalSet::new();
                    local.block_on(
                        tokio,
                        timed(async move {
                            for _ in 0..times {
                                tokio::task::spawn_local(async {}).await.unwrap();
                            }
                        }),
                    )
                }),
                side("tokio/Send", |times| {
                    tokio.block_on(timed(async move {
                        for _ in 0..times {
                            tokio::spawn(async {}).await.unwrap();
                        }
                    }))
                }),
            ],
        },
        Benchmark {
            name: "yield, 8 tasks",
            times: 400_000,
            sides: vec![
                side("repoll", |times| {
                    ours.block_on(timed(yields(times, runtime::spawn, runtime::task::yield_now)))
                }),
                side("tokio", |times| {
                    tokio.block_on(timed(yields(times, tokio::spawn, tokio::task::yield_now)))
                }),
            ],
        },
        Benchmark {
            name: "same-core wake round trip",
            times: 200_000,
            sides: vec![
                side("repoll", |times| ours.block_on(timed(ping_pong(times, runtime::spawn)))),
                side("tokio", |times| tokio.block_on(timed(ping_pong(times, tokio::spawn)))),
            ],
        },
    ]
}

/// Fixes the closure's type.
fn side<'a>(name: &'static str, run: impl FnMut(u32) -> Duration + 'a) -> (&'static str, Run<'a>) {
    (name, Box::new(run))
}

async fn timed(future: impl Future) -> Duration {
    let start = Instant::now();
    future.await;
    start.elapsed()
}

/// `times` yields, spread over eight tasks.
async fn yields<H, Y>(times: u32, spawn: impl Fn(Boxed) -> H, yield_now: fn() -> Y)
where
    H: Future,
    Y: Future<Output = ()> + Send + 'static,
{
    let handles: Vec<H> = (0..8)
        .map(|_| {
            spawn(Box::pin(async move {
                for _ in 0..times / 8 {
                    yield_now().await;
                }
            }))
        })
        .collect();
    for handle in handles {
        handle.await;
    }
}

type Boxed = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

/// Two tasks wake each other through channels of the `futures` crate.
async fn ping_pong<H: Future>(times: u32, spawn: impl Fn(Boxed) -> H) {
    use futures::{SinkExt, StreamExt};
    let (mut ping, mut pinged) = futures::channel::mpsc::channel::<()>(0);
    let (mut pong, mut ponged) = futures::channel::mpsc::channel::<()>(0);
    let echo = spawn(Box::pin(async move {
        while pinged.next().await.is_some() {
            pong.send(()).await.unwrap();
        }
    }));
    for _ in 0..times {
        ping.send(()).await.unwrap();
        ponged.next().await.unwrap();
    }
    drop(ping);
    echo.await;
}

fn ring(mode: Mode, ours: &Runtime) -> Benchmark<'_> {
    Benchmark {
        name: match mode {
            Mode::Polled => "nop round trip, polled",
            Mode::Entered => "nop round trip, entered",
        },
        times: 100_000,
        sides: vec![side("repoll", |times| {
            ours.block_on(timed(async move {
                for _ in 0..times {
                    runtime::op::nop().await.unwrap();
                }
            }))
        })],
    }
}

fn cross_core(mode: Mode, ours: &Runtime) -> Benchmark<'_> {
    let threads = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    Benchmark {
        name: match mode {
            Mode::Polled => "cross-core wake, polled",
            Mode::Entered => "cross-core wake, entered",
        },
        times: 20_000,
        sides: vec![
            side("repoll", |times| {
                ours.block_on(timed(ping_pong(times, |task| runtime::spawn_on(1, move || task))))
            }),
            // The main future is on this thread, the task on a worker.
            side("tokio", move |times| threads.block_on(timed(ping_pong(times, |task| threads.spawn(task))))),
        ],
    }
}

fn timers<'a>(ours: &'a Runtime, tokio: &'a tokio::runtime::Runtime) -> Vec<Benchmark<'a>> {
    const FAR: Duration = Duration::from_secs(3600);
    let waker = Waker::from(Arc::new(Ignore));
    let other = waker.clone();
    vec![Benchmark {
        name: "timer insert + cancel",
        times: 200_000,
        sides: vec![
            side("repoll", move |times| {
                ours.block_on(timed(async {
                    for _ in 0..times {
                        poll_once(std::pin::pin!(runtime::time::sleep(FAR)), &waker);
                    }
                }))
            }),
            side("tokio", move |times| {
                tokio.block_on(timed(async {
                    for _ in 0..times {
                        poll_once(std::pin::pin!(tokio::time::sleep(FAR)), &other);
                    }
                }))
            }),
        ],
    }]
}

fn poll_once(future: std::pin::Pin<&mut impl Future>, waker: &Waker) {
    assert!(matches!(future.poll(&mut Context::from_waker(waker)), Poll::Pending));
}

struct Ignore;

impl Wake for Ignore {
    fn wake(self: Arc<Self>) {}
}
