//! The sides of the comparison: one table, from which servers, help and report take what they need.

use std::io;

use serde::Serialize;

use crate::Result;
use crate::servers::{self, Config, raw};

/// How a ring is submitted to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Mode {
    /// The kernel's poller takes the requests.
    Polled,
    /// The thread enters the kernel itself.
    Entered,
}

/// What a side is in the comparison.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// The runtime of this project.
    Ours(Mode),
    /// Another runtime.
    Peer,
    /// No runtime: the limit for its mode.
    Raw(Mode),
}

/// One side of the comparison.
pub(crate) struct Side {
    /// As `--only` and the report call it.
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// Whether it runs when `--only` is not given.
    pub(crate) by_default: bool,
    /// One line for `--help`.
    pub(crate) about: &'static str,
    /// Serves until the process is killed.
    pub(crate) serve: fn(&Config) -> io::Result<()>,
}

/// Every side, in the order of the report.
pub(crate) const SIDES: &[Side] = &[
    ours("ours-polled", Mode::Polled, "the poller submits", |config| {
        servers::ours::serve(config, Mode::Polled)
    }),
    ours("ours-entered", Mode::Entered, "the core submits", |config| {
        servers::ours::serve(config, Mode::Entered)
    }),
    peer("tokio", "current_thread, epoll", servers::tokio::serve),
    peer("monoio", "io_uring", |config| servers::monoio::serve(config, Mode::Entered)),
    peer("monoio-sqpoll", "io_uring with a poller", |config| servers::monoio::serve(config, Mode::Polled)),
    peer("compio", "io_uring", |config| servers::compio::serve(config, Mode::Entered)),
    peer("compio-sqpoll", "io_uring with a poller", |config| servers::compio::serve(config, Mode::Polled)),
    peer("glommio", "io_uring", |config| servers::glommio::serve(config, false)),
    peer("glommio-spin", "io_uring, spinning before it parks", |config| {
        servers::glommio::serve(config, true)
    }),
    peer("tokio-uring", "io_uring under tokio", |config| servers::tokio_uring::serve(config, Mode::Entered)),
    peer("tokio-uring-sqpoll", "the same with a poller", |config| {
        servers::tokio_uring::serve(config, Mode::Polled)
    }),
    raw("raw-polled", Mode::Polled, "SQPOLL, single-shot recv and send", |config| {
        raw::serve(config, raw::Settings { mode: Mode::Polled, multishot: false, spin: false })
    }),
    raw("raw-polled-spin", Mode::Polled, "the same, spinning before it parks", |config| {
        raw::serve(config, raw::Settings { mode: Mode::Polled, multishot: false, spin: true })
    }),
    raw("raw-polled-multishot", Mode::Polled, "SQPOLL, multishot recv, provided buffers", |config| {
        raw::serve(config, raw::Settings { mode: Mode::Polled, multishot: true, spin: false })
    }),
    raw("raw-polled-multishot-spin", Mode::Polled, "the same, spinning before it parks", |config| {
        raw::serve(config, raw::Settings { mode: Mode::Polled, multishot: true, spin: true })
    }),
    raw("raw-entered", Mode::Entered, "DEFER_TASKRUN, single-shot recv and send", |config| {
        raw::serve(config, raw::Settings { mode: Mode::Entered, multishot: false, spin: false })
    }),
    raw("raw-entered-spin", Mode::Entered, "the same, spinning before it parks", |config| {
        raw::serve(config, raw::Settings { mode: Mode::Entered, multishot: false, spin: true })
    }),
    raw(
        "raw-entered-multishot",
        Mode::Entered,
        "DEFER_TASKRUN, multishot recv, provided buffers",
        |config| raw::serve(config, raw::Settings { mode: Mode::Entered, multishot: true, spin: false }),
    ),
    raw("raw-entered-multishot-spin", Mode::Entered, "the same, spinning before it parks", |config| {
        raw::serve(config, raw::Settings { mode: Mode::Entered, multishot: true, spin: true })
    }),
];

const fn ours(
    name: &'static str,
    mode: Mode,
    about: &'static str,
    serve: fn(&Config) -> io::Result<()>,
) -> Side {
    Side { name, kind: Kind::Ours(mode), by_default: true, about, serve }
}

const fn peer(name: &'static str, about: &'static str, serve: fn(&Config) -> io::Result<()>) -> Side {
    Side { name, kind: Kind::Peer, by_default: true, about, serve }
}

const fn raw(
    name: &'static str,
    mode: Mode,
    about: &'static str,
    serve: fn(&Config) -> io::Result<()>,
) -> Side {
    Side { name, kind: Kind::Raw(mode), by_default: true, about, serve }
}

/// The side of that name.
pub(crate) fn by_name(name: &str) -> Option<&'static Side> {
    SIDES.iter().find(|side| side.name == name)
}

/// The sides that a list of names and groups means; those that run by default when it is empty.
pub(crate) fn select(names: &[String]) -> Result<Vec<&'static Side>> {
    for name in names {
        if !SIDES.iter().any(|side| means(name, side)) {
            return Err(format!("--only: no side or group is called {name:?}; see --help").into());
        }
    }
    let wanted = |side: &&Side| match names {
        [] => side.by_default,
        names => names.iter().any(|name| means(name, side)),
    };
    Ok(SIDES.iter().filter(wanted).collect())
}

fn means(name: &str, side: &Side) -> bool {
    match name {
        "all" => true,
        "ours" => matches!(side.kind, Kind::Ours(_)),
        "peers" => side.kind == Kind::Peer,
        "raw" => matches!(side.kind, Kind::Raw(_)),
        name => side.name == name,
    }
}
