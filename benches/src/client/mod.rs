//! The neutral client: one thread, one epoll, a closed loop on each connection, every byte of every answer checked.

mod connection;

use std::net::SocketAddr;
use std::time::{Duration, Instant};
use std::{io, process};

use hdrhistogram::Histogram;
use mio::{Events, Poll, Token};

use crate::Result;
use crate::cpu::CpuTime;
use crate::report::{Latency, Sample};
use connection::Connection;

/// Load before anything counts.
pub(crate) const WARM_UP: Duration = Duration::from_millis(300);
/// How long the last answers may take; a server that owes one longer has lost a message or a wake-up.
pub(crate) const ANSWERS_MAX: Duration = Duration::from_secs(5);

/// Longer latencies are recorded as this.
const LATENCY_MAX: Duration = Duration::from_secs(60);
/// Significant decimal digits of a recorded latency.
const PRECISION: u8 = 3;
const EVENTS_MAX: usize = 1024;

/// One measurement.
pub(crate) struct Config {
    pub(crate) addr: SocketAddr,
    /// The server's process, whose processor time is read.
    pub(crate) server: u32,
    pub(crate) conns: usize,
    pub(crate) size: usize,
    pub(crate) time: Duration,
}

/// Connects, warms up, measures, and waits for the last answers.
pub(crate) fn measure(config: &Config) -> Result<Sample> {
    let mut client = Client::connect(config)?;
    client.turn_until(Instant::now() + WARM_UP)?;
    client.record = true;
    let before = Reading::take(config.server)?;
    client.turn_until(before.at + config.time)?;
    let after = Reading::take(config.server)?;
    client.record = false;
    client.finish()?;
    Ok(client.sample(&before, &after))
}

/// The clock and both processes' processor time at one moment.
struct Reading {
    at: Instant,
    server: CpuTime,
    client: CpuTime,
}

impl Reading {
    fn take(server: u32) -> io::Result<Reading> {
        let at = Instant::now();
        Ok(Reading { at, server: CpuTime::of(server)?, client: CpuTime::of(process::id())? })
    }
}

struct Client {
    poll: Poll,
    events: Events,
    connections: Vec<Connection>,
    /// Answers of the measured time, by connection.
    answers: Vec<u64>,
    latencies_ns: Histogram<u64>,
    /// Whether answers count.
    record: bool,
    /// Whether an answered connection sends again.
    sending: bool,
    /// Messages without their answer.
    owed: usize,
}

impl Client {
    fn connect(config: &Config) -> Result<Client> {
        let poll = Poll::new()?;
        let connect = |index| {
            Connection::connect(config.addr, index, config.size, poll.registry())
                .map_err(|error| format!("connection {index}: {error}").into())
        };
        let mut connections = (0..config.conns).map(connect).collect::<Result<Vec<_>>>()?;
        for connection in &mut connections {
            connection.send(Instant::now())?;
        }
        Ok(Client {
            poll,
            events: Events::with_capacity(EVENTS_MAX),
            owed: connections.len(),
            answers: vec![0; connections.len()],
            connections,
            latencies_ns: Histogram::new_with_bounds(1, LATENCY_MAX.as_nanos() as u64, PRECISION)?,
            record: false,
            sending: true,
        })
    }

    fn turn_until(&mut self, end: Instant) -> Result<()> {
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            self.turn(left)?;
        }
    }

    /// Waits for answers once and handles them.
    fn turn(&mut self, time_max: Duration) -> Result<()> {
        match self.poll.poll(&mut self.events, Some(time_max)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            result => result?,
        }
        for event in &self.events {
            let Token(index) = event.token();
            let connection = &mut self.connections[index];
            let answered = connection.advance().map_err(|error| format!("connection {index}: {error}"))?;
            if !answered {
                continue;
            }
            let now = Instant::now();
            if self.record {
                self.answers[index] += 1;
                let latency = now.duration_since(connection.sent_at());
                self.latencies_ns.saturating_record(latency.as_nanos() as u64);
            }
            if self.sending {
                connection.send(now)?;
            } else {
                self.owed -= 1;
            }
        }
        Ok(())
    }

    /// Stops sending and waits for every answer that is still owed.
    fn finish(&mut self) -> Result<()> {
        self.sending = false;
        let end = Instant::now() + ANSWERS_MAX;
        while self.owed > 0 {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let waiting = self.connections.iter().filter(|connection| connection.is_waiting());
                let waiting: Vec<String> = waiting.map(Connection::to_string).take(3).collect();
                return Err(format!(
                    "{} messages unanswered after {ANSWERS_MAX:?}: {} ...",
                    self.owed,
                    waiting.join(", ")
                )
                .into());
            }
            self.turn(left)?;
        }
        Ok(())
    }

    fn sample(&self, before: &Reading, after: &Reading) -> Sample {
        let requests = self.answers.iter().sum();
        let secs = after.at.duration_since(before.at).as_secs_f64();
        let us = |quantile| self.latencies_ns.value_at_quantile(quantile) as f64 / 1e3;
        let server = after.server.since(before.server);
        Sample {
            requests,
            secs,
            requests_per_s: requests as f64 / secs,
            latency_us: Latency { p50: us(0.5), p90: us(0.9), p99: us(0.99), p999: us(0.999), max: us(1.0) },
            server,
            server_cpu_us_per_request: server.us_per(requests),
            client_cpu_us_per_request: after.client.since(before.client).us_per(requests),
            connection_requests_min: self.answers.iter().copied().min().unwrap_or(0),
            connection_requests_max: self.answers.iter().copied().max().unwrap_or(0),
        }
    }
}
