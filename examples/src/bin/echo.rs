//! A TCP echo server: `echo --addr HOST:PORT [--cores N] [--mode polled|entered]`.
//!
//! Each core has a listener of its own on the same port, between which the kernel spreads the connections; a connection
//! stays on the core that accepted it. `SIGINT` and `SIGTERM` end the server.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program talks to its user")]

use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use futures::StreamExt;
use net::{ListenOptions, TcpListener, TcpStream};
use runtime::signal::{SignalKind, signal};
use runtime::{Builder, Mode};

const HELP: &str = "\
A TCP echo server on the repoll runtime.

Usage: echo --addr HOST:PORT [--cores N] [--mode polled|entered]

Options:
  --addr HOST:PORT        where to listen; port 0 lets the kernel choose
  --cores N               how many cores serve (default: 1)
  --mode polled|entered   how the cores' rings are driven (default: polled, or
                          entered where there is one usable CPU)
  -h, --help              print this
  -V, --version           print the version

Prints `listening on ADDRESS` when it serves; SIGINT or SIGTERM end it.";

/// Bytes that a connection reads at a time.
const BUFFER_BYTES: usize = 16 * 1024;

struct Arguments {
    addr: String,
    cores: usize,
    mode: Option<Mode>,
}

fn main() -> ExitCode {
    let outcome = match parse() {
        Ok(Some(arguments)) => serve(arguments),
        Ok(None) => return ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("echo: {error}\nTry `echo --help`.");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("echo: {error}");
            ExitCode::FAILURE
        }
    }
}

/// `None`: the question was answered, there is nothing to do.
fn parse() -> Result<Option<Arguments>, lexopt::Error> {
    use lexopt::prelude::*;
    let (mut addr, mut cores, mut mode) = (None, 1, None);
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("addr") => addr = Some(parser.value()?.string()?),
            Long("cores") => cores = parser.value()?.parse()?,
            Long("mode") => mode = Some(parser.value()?.parse_with(parse_mode)?),
            Short('h') | Long("help") => {
                println!("{HELP}");
                return Ok(None);
            }
            Short('V') | Long("version") => {
                println!("echo {}", env!("CARGO_PKG_VERSION"));
                return Ok(None);
            }
            other => return Err(other.unexpected()),
        }
    }
    let addr = addr.ok_or("--addr HOST:PORT is missing")?;
    Ok(Some(Arguments { addr, cores, mode }))
}

fn parse_mode(text: &str) -> Result<Mode, &'static str> {
    [Mode::Polled, Mode::Entered]
        .into_iter()
        .find(|mode| mode.as_str() == text)
        .ok_or("the mode is `polled` or `entered`")
}

fn serve(arguments: Arguments) -> Result<(), Box<dyn std::error::Error>> {
    let mut builder = Builder::new().cores(arguments.cores);
    if let Some(mode) = arguments.mode {
        builder = builder.mode(mode);
    }
    builder.build()?.block_on(run(arguments.addr))?;
    Ok(())
}

async fn run(addr: String) -> io::Result<()> {
    let mut interrupt = signal(SignalKind::INTERRUPT)?;
    let mut terminate = signal(SignalKind::TERMINATE)?;
    let options = ListenOptions::new().reuse_port(runtime::cores() > 1);
    let listener = options
        .bind(&addr)
        .await
        .map_err(|error| io::Error::new(error.kind(), format!("can't listen on {addr}: {error}")))?;
    let address = listener.local_addr()?;
    for core in 1..runtime::cores() {
        let options = options.clone();
        runtime::spawn_on(core, move || start_core(options, address)).await??;
    }
    runtime::spawn(accept_all(listener));
    println!("listening on {address}");
    futures::future::select(Box::pin(interrupt.recv()), Box::pin(terminate.recv())).await.factor_first().0
}

/// Binds this core's listener, and serves it from then on.
async fn start_core(options: ListenOptions, address: SocketAddr) -> io::Result<()> {
    let listener = options.bind(address).await?;
    runtime::spawn(accept_all(listener));
    Ok(())
}

async fn accept_all(listener: TcpListener) {
    loop {
        let mut incoming = listener.incoming();
        while let Some(accepted) = incoming.next().await {
            match accepted {
                Ok(stream) => drop(runtime::spawn(echo(stream))),
                Err(error) => eprintln!("echo: accept: {error}"),
            }
        }
        // The stream has ended with an error, such as too many open files: connections may end meanwhile.
        runtime::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Sends back what arrives, until the peer finishes or the connection breaks.
async fn echo(stream: TcpStream) {
    // Refused only for a connection that is broken already, which the read then finds out.
    let _ = stream.set_nodelay(true);
    let mut buf = Vec::with_capacity(BUFFER_BYTES);
    loop {
        let (result, read) = stream.read(buf).await;
        if !matches!(result, Ok(1..)) {
            return;
        }
        let (result, written) = stream.write_all(read).await;
        if result.is_err() {
            return;
        }
        buf = written;
    }
}
