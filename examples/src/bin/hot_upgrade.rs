//! An HTTP server that replaces itself on `SIGHUP` without dropping a connection or failing a request:
//! `hot_upgrade --addr HOST:PORT [--mode polled|entered]`.
//!
//! One image of the program serves after the other, in the same process. When it is told to make way, an image accepts no
//! more, brings every connection to rest wherever it is (`http/connection.rs`), and executes the program anew with listeners,
//! connections and their states (`hot_upgrade/mod.rs`). No client is waited for. If the program can't be executed, this image
//! takes up what it has put down.
//!
//! It serves on one core: the work is in the kernel, and one core fills it.
#![forbid(unsafe_code)]

#[path = "../hot_upgrade/mod.rs"]
mod hot_upgrade;
#[path = "../http/mod.rs"]
mod http;

use std::io;
use std::pin::pin;
use std::process::ExitCode;
use std::rc::Rc;

use futures::FutureExt;
use futures::future::{Either, select};
use http::program::{self, Ends, complain, say};
use net::TcpListener;
use runtime::signal::{Signal, SignalKind, signal};

const HELP: &str = "\
An HTTP server on the repoll runtime that upgrades itself under load.

Usage: hot_upgrade --addr HOST:PORT [--mode polled|entered]

Options:
  --addr HOST:PORT        where to listen; port 0 lets the kernel choose. Not used
                          when it is started with a listening socket (LISTEN_FDS,
                          systemd.socket(5)) that is named `http`, or has no name
  --mode polled|entered   how the core's ring is driven (default: polled, or
                          entered where there is one usable CPU)
  -h, --help              print this
  -V, --version           print the version

Answers `GET /` with `generation N pid P`. Prints `generation N listening on
ADDRESS` when it serves, on one core.

SIGHUP replaces the program by what its file contains by then, as generation N+1 of
the same process. Clients notice nothing: listener and connections are handed over,
and with them what has been read of a request and what has not been sent of a
response. If the file can't be executed, generation N says why and goes on.
Meanwhile the process needs three descriptors for each connection (ulimit -n).

SIGINT or SIGTERM end it, after the responses to what has come.";

fn main() -> ExitCode {
    let common = match program::parse(HELP, |_, _| Ok(false)) {
        Ok(Some(common)) => common,
        Ok(None) => return ExitCode::SUCCESS,
        Err(error) => return program::misused(&error),
    };
    let inherited = match hot_upgrade::listeners() {
        Ok(listeners) => listeners,
        Err(error) => return program::exit(Err(error.into())),
    };
    if common.addr.is_none() && inherited.is_empty() {
        return program::misused(&"--addr HOST:PORT is missing, and no listening socket was handed over");
    }
    program::exit(common.run(run(common.addr.as_deref().unwrap_or_default(), inherited)))
}

async fn run(addr: &str, inherited: Vec<Rc<TcpListener>>) -> io::Result<()> {
    let mut signals = Signals::listen()?;
    // Now: once it has been moved away to make room for another version, the path of the running one is another.
    let program = std::env::current_exe()?;
    let listeners = match inherited.is_empty() {
        true => vec![Rc::new(program::listen(addr).await?)],
        false => inherited,
    };
    let generation = hot_upgrade::generation();
    let text = format!("generation {generation} pid {}", std::process::id());
    let mut connections = Vec::new();
    for connection in hot_upgrade::connections() {
        match connection {
            Ok(connection) => connections.push(connection),
            Err(error) => complain(format_args!("a connection that was handed over: {error}")),
        }
    }
    for listener in &listeners {
        say(format_args!("generation {generation} listening on {}", listener.local_addr()?));
    }
    loop {
        let wish;
        (connections, wish) = http::serve(&listeners, connections, &text, signals.next()).await;
        // The next image would not hear of a signal that this one has taken.
        if wish == Wish::End || signals.next().now_or_never() == Some(Wish::End) {
            break;
        }
        let error = hot_upgrade::upgrade(&program, &listeners, &connections, generation + 1).exec();
        complain(format_args!("not upgraded, generation {generation} goes on: {error}"));
    }
    http::finish(connections, &text).await;
    Ok(())
}

#[derive(PartialEq)]
enum Wish {
    Upgrade,
    End,
}

struct Signals {
    ends: Ends,
    hangup: Signal,
}

impl Signals {
    fn listen() -> io::Result<Self> {
        Ok(Signals { ends: Ends::listen()?, hangup: signal(SignalKind::HANGUP)? })
    }

    async fn next(&mut self) -> Wish {
        match select(pin!(self.ends.next()), pin!(self.hangup.recv())).await {
            Either::Left(_) => Wish::End,
            Either::Right(_) => Wish::Upgrade,
        }
    }
}
