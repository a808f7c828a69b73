//! A file copier: `copy [--direct] [--verify] [--mode polled|entered] SRC DST`. What it promises is in its help text
//! (`copy/arguments.rs`), how it keeps it in `copy/mod.rs`.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program talks to its user")]

#[path = "../copy/mod.rs"]
mod copy;

use std::process::ExitCode;

use copy::arguments::{self, Arguments};
use copy::failure::Failure;
use runtime::Builder;

fn main() -> ExitCode {
    let arguments = match arguments::parse() {
        Ok(Some(arguments)) => arguments,
        Ok(None) => return ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("copy: {error}\nTry `copy --help`.");
            return ExitCode::from(2);
        }
    };
    match run(&arguments) {
        Ok(skipped) => ExitCode::from(u8::from(skipped > 0)),
        Err(failure) => {
            eprintln!("copy: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}

/// Gives how many files were skipped because they can't be copied.
fn run(arguments: &Arguments) -> Result<u64, Failure> {
    // Unpinned: the kernel's worker threads, which do the writing, inherit the pin of the core.
    let runtime = Builder::new().cores(1).pin(false).mode(arguments.mode).build();
    let runtime = runtime.map_err(|error| Failure::Refused(error.to_string()))?;
    runtime.block_on(copy::run(arguments))
}
