//! What the command lines of the programs have in common, and how they talk to their user.

use std::error::Error;
use std::fmt::{Arguments, Display};
use std::io::{self, Write};
use std::pin::pin;
use std::process::ExitCode;

use futures::future::select;
use lexopt::prelude::*;
use net::TcpListener;
use runtime::signal::{Signal, SignalKind, signal};
use runtime::{Builder, Mode};

/// Options that all of them have.
#[derive(Default)]
pub(crate) struct Common {
    pub(crate) addr: Option<String>,
    mode: Option<Mode>,
}

impl Common {
    /// Runs a future on one core, in the mode that was asked for.
    pub(crate) fn run<T, E>(&self, main: impl Future<Output = Result<T, E>>) -> Result<T, Box<dyn Error>>
    where
        Box<dyn Error>: From<E>,
    {
        let mut builder = Builder::new().cores(1);
        if let Some(mode) = self.mode {
            builder = builder.mode(mode);
        }
        Ok(builder.build()?.block_on(main)?)
    }
}

/// Reads the command line; `own` takes the options that only this program has, by their name, and says whether it is one.
/// `None`: the user's question was answered, there is nothing to do.
pub(crate) fn parse(
    help: &str,
    mut own: impl FnMut(&str, &mut lexopt::Parser) -> Result<bool, lexopt::Error>,
) -> Result<Option<Common>, lexopt::Error> {
    let mut common = Common::default();
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("addr") => common.addr = Some(parser.value()?.string()?),
            Long("mode") => common.mode = Some(parser.value()?.parse_with(parse_mode)?),
            Short('h') | Long("help") => {
                say(format_args!("{help}"));
                return Ok(None);
            }
            Short('V') | Long("version") => {
                say(format_args!("{} {}", env!("CARGO_BIN_NAME"), env!("CARGO_PKG_VERSION")));
                return Ok(None);
            }
            Long(name) => {
                let name = name.to_owned();
                if !own(&name, &mut parser)? {
                    return Err(lexopt::Error::UnexpectedOption(format!("--{name}")));
                }
            }
            other => return Err(other.unexpected()),
        }
    }
    Ok(Some(common))
}

fn parse_mode(text: &str) -> Result<Mode, &'static str> {
    [Mode::Polled, Mode::Entered]
        .into_iter()
        .find(|mode| mode.as_str() == text)
        .ok_or("the mode is `polled` or `entered`")
}

/// The signals that tell a program to end, from now on.
pub(crate) struct Ends {
    interrupt: Signal,
    terminate: Signal,
}

impl Ends {
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Ends { interrupt: signal(SignalKind::INTERRUPT)?, terminate: signal(SignalKind::TERMINATE)? })
    }

    /// Waits for one of them. Nothing is lost if the future is dropped.
    pub(crate) async fn next(&mut self) {
        select(pin!(self.interrupt.recv()), pin!(self.terminate.recv())).await;
    }
}

/// Binds, with an error that says where.
pub(crate) async fn listen(addr: &str) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(addr).await;
    listener.map_err(|error| io::Error::new(error.kind(), format!("can't listen on {addr}: {error}")))
}

/// The end of `main`: an error is code 1, wrong use code 2.
pub(crate) fn exit(outcome: Result<(), Box<dyn Error>>) -> ExitCode {
    let Err(error) = outcome else { return ExitCode::SUCCESS };
    complain(format_args!("{error}"));
    ExitCode::FAILURE
}

/// As [`exit`], for a command line that makes no sense.
pub(crate) fn misused(error: &dyn Display) -> ExitCode {
    let name = env!("CARGO_BIN_NAME");
    complain(format_args!("{error}\nTry `{name} --help`."));
    ExitCode::from(2)
}

/// Prints a line. Whoever listened may have gone: that is no reason to end.
pub(crate) fn say(line: Arguments<'_>) {
    let _ = writeln!(io::stdout(), "{line}");
}

/// Prints a line about what went wrong, as a whole: other processes may write to the same place.
pub(crate) fn complain(line: Arguments<'_>) {
    let line = format!("{}: {line}\n", env!("CARGO_BIN_NAME"));
    let _ = io::stderr().write_all(line.as_bytes());
}
