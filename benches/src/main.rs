//! `versus`: an echo server on our runtime, on its peers and on a bare ring, measured in one interleaved run.
//!
//! Each server and each client is a process of its own: this program, executed again as `versus serve` and
//! `versus client`. `versus --help` lists the sides and the options; `src/servers` has one file for each peer.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line tool: results and progress are its output"
)]

mod args;
mod child;
mod client;
mod cpu;
mod environment;
mod report;
mod rounds;
mod servers;
mod sides;

use std::process::ExitCode;

use args::Command;

/// What the parts of the tool fail with: a message for whoever runs it.
type Error = Box<dyn std::error::Error + Send + Sync>;
type Result<T> = std::result::Result<T, Error>;

fn main() -> ExitCode {
    match args::parse(std::env::args().skip(1)).and_then(run) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("versus: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Help => {
            println!("{}", args::help());
            Ok(ExitCode::SUCCESS)
        }
        Command::Echo(options) => rounds::run(&options),
        Command::Serve(side, config) => {
            child::prepare()?;
            (side.serve)(&config)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Client(config) => {
            child::prepare()?;
            let outcome = report::Outcome::from(client::measure(&config));
            println!("{}", serde_json::to_string(&outcome)?);
            Ok(ExitCode::SUCCESS)
        }
    }
}
