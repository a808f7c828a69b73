//! An HTTP server in the background: `daemon --addr HOST:PORT --pid-file FILE [--mode polled|entered]`.
//!
//! The order matters to whoever starts it: runtime and listener come first and the process becomes a daemon last, so that what
//! can go wrong is said on the standard error, with an exit code; once the program returns to the shell, clients are
//! served. Tasks that ran before run on in the daemon, on another ring.
#![forbid(unsafe_code)]

#[path = "../http/mod.rs"]
mod http;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;

use http::program::{self, Ends, say};
use runtime::guard::{Daemonize, daemonize};

const HELP: &str = "\
An HTTP server on the repoll runtime that runs as a daemon.

Usage: daemon --addr HOST:PORT --pid-file FILE [--mode polled|entered]

Options:
  --addr HOST:PORT        where to listen; port 0 lets the kernel choose
  --pid-file FILE         where the daemon's id is written; the file is locked as
                          long as the daemon runs, and removed when it ends
  --mode polled|entered   how the core's ring is driven (default: polled, or
                          entered where there is one usable CPU)
  -h, --help              print this
  -V, --version           print the version

Answers `GET /` with `pid P`. Prints `listening on ADDRESS`, and returns with code 0
when the daemon serves, or with 1 and the reason if it can't.

SIGINT or SIGTERM end the daemon, after the responses to what has come.";

fn main() -> ExitCode {
    let mut pid_file = None;
    let own = |name: &str, parser: &mut lexopt::Parser| {
        let is_own = name == "pid-file";
        if is_own {
            pid_file = Some(PathBuf::from(parser.value()?));
        }
        Ok(is_own)
    };
    match program::parse(HELP, own) {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(common)) => match (&common.addr, pid_file) {
            (Some(addr), Some(pid_file)) => program::exit(common.run(run(addr, pid_file))),
            (None, _) => program::misused(&"--addr HOST:PORT is missing"),
            (_, None) => program::misused(&"--pid-file FILE is missing"),
        },
        Err(error) => program::misused(&error),
    }
}

async fn run(addr: &str, pid_file: PathBuf) -> Result<(), Box<dyn Error>> {
    let mut ends = Ends::listen()?;
    let listener = Rc::new(program::listen(addr).await?);
    say(format_args!("listening on {}", listener.local_addr()?));
    let daemon = daemonize(Daemonize::new().pid_file(pid_file))?;
    let text = format!("pid {}", std::process::id());
    let (connections, ()) = http::serve(&[listener], Vec::new(), &text, ends.next()).await;
    http::finish(connections, &text).await;
    daemon.remove_pid_file()?;
    Ok(())
}
