//! The servers, one file for each runtime, each written as that runtime's documentation would.
//!
//! All do the same: accept, a task for each connection, `TCP_NODELAY`, then read and write back until the client
//! closes, with one buffer of a message's length for each connection. One thread serves. No peer
//! and no raw loop is pinned; ours keeps its defaults, and those pin.

pub(crate) mod compio;
pub(crate) mod glommio;
pub(crate) mod monoio;
pub(crate) mod ours;
pub(crate) mod raw;
pub(crate) mod tokio;
pub(crate) mod tokio_uring;

use std::io::{self, ErrorKind, Write};
use std::net::SocketAddr;

use io_uring_peers as peers;

use crate::sides::Mode;

/// What a server prints before its address, once it accepts connections.
pub(crate) const ANNOUNCEMENT: &str = "listening on ";

/// Submission entries of a ring, for every side but ours: enough for a batch of all connections.
const RING_ENTRIES: u32 = 1024;
/// How long a poller spins without work before it sleeps, for every side but ours that has one.
const POLLER_IDLE_MS: u32 = 100;

/// Where to listen, and how long messages are.
#[derive(Clone, Copy)]
pub(crate) struct Config {
    pub(crate) addr: SocketAddr,
    pub(crate) size: usize,
}

/// Tells the parent process where the server listens.
fn announce(addr: SocketAddr) -> io::Result<()> {
    let mut stdout = io::stdout();
    writeln!(stdout, "{ANNOUNCEMENT}{addr}")?;
    stdout.flush()
}

/// The end of a connection: an error that is not just the client's going away is worth a line.
fn ended(result: io::Result<()>) {
    match result {
        Err(error) if !matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => {
            eprintln!("server: a connection ended: {error}");
        }
        _ => {}
    }
}

/// The ring of the peers that take an `io_uring::Builder`, to which each adds what suits it.
fn peer_ring(mode: Mode) -> peers::Builder {
    let mut builder = peers::IoUring::builder();
    builder.setup_single_issuer();
    if mode == Mode::Polled {
        builder.setup_sqpoll(POLLER_IDLE_MS);
    }
    builder
}
