//! The command line.

use std::path::PathBuf;

use runtime::Mode;

const HELP: &str = "\
Copies a file or a directory tree, on the repoll runtime.

Usage: copy [--direct] [--verify] [--mode polled|entered] SRC DST

If DST is a directory, SRC is copied into it under its own name; else to the
name DST. SRC itself may be a symbolic link to what is to be copied; links
inside of a tree are copied as links. Permissions are kept, owners and times are
not. Sparse files stay sparse. In a tree, files that are neither regular files
nor directories nor symbolic links are reported and skipped.

Files appear under their names when they are complete, and replace what had the
name: a file or a link, nothing else. A directory that does not exist yet
appears when all of it is complete. The first failure ends the copy; it leaves
nothing incomplete, and neither do SIGINT and SIGTERM.

Options:
  --direct                read and write past the page cache (O_DIRECT) where the
                          file system can
  --verify                read both sides again and compare them; with --direct
                          from the device
  --mode polled|entered   how the ring is driven (default: entered, which is
                          faster here: most requests that change a file system
                          are not done by the poller but by kernel threads, which
                          it would only take the CPU from)
  -h, --help              print this
  -V, --version           print the version

Exit code: 0 all was copied; 1 a failure, or something was skipped; 2 wrong
arguments; 128 + N ended by signal N.";

/// What the user wants.
pub(crate) struct Arguments {
    pub(crate) direct: bool,
    pub(crate) verify: bool,
    pub(crate) mode: Mode,
    pub(crate) source: PathBuf,
    pub(crate) target: PathBuf,
}

/// Reads the command line. `None`: the question was answered, there is nothing to do.
#[allow(clippy::print_stdout, reason = "this is what the user asked for")]
pub(crate) fn parse() -> Result<Option<Arguments>, lexopt::Error> {
    use lexopt::prelude::*;
    let (mut direct, mut verify, mut mode) = (false, false, Mode::Entered);
    let mut paths = Vec::new();
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("direct") => direct = true,
            Long("verify") => verify = true,
            Long("mode") => mode = parser.value()?.parse_with(parse_mode)?,
            Short('h') | Long("help") => {
                println!("{HELP}");
                return Ok(None);
            }
            Short('V') | Long("version") => {
                println!("copy {}", env!("CARGO_PKG_VERSION"));
                return Ok(None);
            }
            Value(path) => paths.push(PathBuf::from(path)),
            other => return Err(other.unexpected()),
        }
    }
    let [source, target] = <[PathBuf; 2]>::try_from(paths)
        .map_err(|paths| format!("there must be two paths, SRC and DST, but there are {}", paths.len()))?;
    Ok(Some(Arguments { direct, verify, mode, source, target }))
}

fn parse_mode(text: &str) -> Result<Mode, &'static str> {
    [Mode::Polled, Mode::Entered]
        .into_iter()
        .find(|mode| mode.as_str() == text)
        .ok_or("the mode is `polled` or `entered`")
}
