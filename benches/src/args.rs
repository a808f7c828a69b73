//! The command line: `versus echo | serve NAME | client`, flags as `--name value` or `--name=value`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use crate::sides::{self, Side};
use crate::{Error, Result, client, servers};

/// The shortest message that carries its connection and its number.
const SIZE_MIN: usize = 8;

/// What the command line asks for.
pub(crate) enum Command {
    /// Compare the sides.
    Echo(Echo),
    /// Be the server of one side.
    Serve(&'static Side, servers::Config),
    /// Be the client of one measurement.
    Client(client::Config),
    /// Explain.
    Help,
}

/// The options of `versus echo`.
pub(crate) struct Echo {
    pub(crate) conns: Vec<usize>,
    pub(crate) size: usize,
    pub(crate) rounds: usize,
    pub(crate) time: Duration,
    pub(crate) sides: Vec<&'static Side>,
    pub(crate) json: PathBuf,
}

/// Reads the arguments after the program's name.
pub(crate) fn parse(arguments: impl Iterator<Item = String>) -> Result<Command> {
    let arguments: Vec<String> = arguments.collect();
    if arguments.is_empty() || arguments.iter().any(|argument| argument == "--help" || argument == "-h") {
        return Ok(Command::Help);
    }
    let mut arguments = arguments.into_iter();
    let command = arguments.next().unwrap_or_default();
    match command.as_str() {
        "echo" => echo(Flags::read(arguments)?).map(Command::Echo),
        "serve" => {
            let name = arguments.next().ok_or("serve: which side?")?;
            let side = sides::by_name(&name).ok_or_else(|| format!("serve: no side is called {name:?}"))?;
            let mut flags = Flags::read(arguments)?;
            let addr = flags.take("addr", "127.0.0.1:0")?;
            let size = size(&mut flags)?;
            flags.finish()?;
            Ok(Command::Serve(side, servers::Config { addr, size }))
        }
        "client" => client(Flags::read(arguments)?).map(Command::Client),
        other => Err(format!("no command is called {other:?}; see --help").into()),
    }
}

fn echo(mut flags: Flags) -> Result<Echo> {
    let conns = flags.list("conns", "1,8,64,256")?;
    let size = size(&mut flags)?;
    let rounds = flags.take("rounds", "5")?;
    let time = time(&mut flags)?;
    let sides = sides::select(&flags.list::<String>("only", "")?)?;
    let json = flags.take("json", "target/versus-echo.json")?;
    flags.finish()?;
    if rounds == 0 || conns.is_empty() || conns.contains(&0) {
        return Err("--rounds and --conns start at 1".into());
    }
    Ok(Echo { conns, size, rounds, time, sides, json })
}

fn client(mut flags: Flags) -> Result<client::Config> {
    let config = client::Config {
        addr: flags.take("addr", "")?,
        server: flags.take("server", "")?,
        conns: flags.take("conns", "1")?,
        size: size(&mut flags)?,
        time: time(&mut flags)?,
    };
    flags.finish()?;
    Ok(config)
}

fn size(flags: &mut Flags) -> Result<usize> {
    let size = flags.take("size", "64")?;
    if size < SIZE_MIN {
        return Err(
            format!("--size starts at {SIZE_MIN}: a message carries its connection and number").into()
        );
    }
    Ok(size)
}

fn time(flags: &mut Flags) -> Result<Duration> {
    let time = Duration::try_from_secs_f64(flags.take("secs", "2")?)?;
    if time.is_zero() {
        return Err("--secs must be above 0".into());
    }
    Ok(time)
}

/// The `--help` text.
pub(crate) fn help() -> String {
    let mut text = String::from(
        "versus echo [options]    compare TCP echo servers, one thread each, in interleaved rounds

  --conns LIST     connections, each a closed loop of one message    [1,8,64,256]
  --size BYTES     length of a message, from 8                       [64]
  --rounds N       rounds of each side                               [5]
  --secs S         measured time of a round, after a warm-up         [2]
  --only LIST      sides, or groups of them: ours, peers, raw, all   [those marked *]
  --json PATH      where the figures of every round go               [target/versus-echo.json]

versus serve NAME [--addr 127.0.0.1:0] [--size BYTES]                one server
versus client --addr ADDR --server PID [--conns N] [--size BYTES] [--secs S]    one measurement

sides:
",
    );
    for side in sides::SIDES {
        let mark = if side.by_default { '*' } else { ' ' };
        // Writing to a String does not fail.
        let _ = writeln!(text, "  {mark} {:<28} {}", side.name, side.about);
    }
    text
}

/// Flags by name, each to be taken once.
struct Flags(BTreeMap<String, String>);

impl Flags {
    fn read(mut arguments: impl Iterator<Item = String>) -> Result<Flags> {
        let mut flags = BTreeMap::new();
        while let Some(argument) = arguments.next() {
            let flag =
                argument.strip_prefix("--").ok_or_else(|| format!("unexpected argument {argument:?}"))?;
            let (name, value) = match flag.split_once('=') {
                Some((name, value)) => (name, value.to_owned()),
                None => (flag, arguments.next().ok_or_else(|| format!("--{flag} needs a value"))?),
            };
            if flags.insert(name.to_owned(), value).is_some() {
                return Err(format!("--{name} is given twice").into());
            }
        }
        Ok(Flags(flags))
    }

    fn take<T>(&mut self, name: &str, default: &str) -> Result<T>
    where
        T: FromStr<Err: Into<Error>>,
    {
        let value = self.0.remove(name);
        parse_value(name, value.as_deref().unwrap_or(default))
    }

    fn list<T>(&mut self, name: &str, default: &str) -> Result<Vec<T>>
    where
        T: FromStr<Err: Into<Error>>,
    {
        let value = self.0.remove(name);
        let items = value.as_deref().unwrap_or(default).split(',').map(str::trim);
        items.filter(|item| !item.is_empty()).map(|item| parse_value(name, item)).collect()
    }

    fn finish(self) -> Result<()> {
        match self.0.into_keys().next() {
            Some(name) => Err(format!("no option is called --{name}; see --help").into()),
            None => Ok(()),
        }
    }
}

fn parse_value<T>(name: &str, value: &str) -> Result<T>
where
    T: FromStr<Err: Into<Error>>,
{
    value.parse().map_err(|error: T::Err| format!("--{name} {value:?}: {}", error.into()).into())
}
