//! This program executed again: the processes of servers and clients, which never outlive the one that started them.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;
use std::{env, io, thread};

use rustix::process::{Resource, Rlimit, Signal};

use crate::args::Echo;
use crate::client::{self, WARM_UP};
use crate::report::{Outcome, Sample};
use crate::servers::ANNOUNCEMENT;
use crate::sides::Side;
use crate::{Error, Result};

/// How long a server may take until it listens.
const START_MAX: Duration = Duration::from_secs(10);
/// What a client may take beyond its warm-up, its measured time and its wait for the last answers.
const CLIENT_SLACK: Duration = Duration::from_secs(20);

/// A running server, killed when dropped.
pub(crate) struct Server {
    process: Process,
    addr: SocketAddr,
}

impl Server {
    /// Starts the server of a side and waits until it listens.
    pub(crate) fn start(side: &Side, size: usize) -> Result<Server> {
        let arguments = ["serve", side.name, "--addr", "127.0.0.1:0", "--size", &size.to_string()];
        let mut process = Process::start(&arguments)?;
        let line = process.first_line(START_MAX).map_err(|error| format!("the server {error}"))?;
        let addr = line.strip_prefix(ANNOUNCEMENT).and_then(|addr| addr.trim().parse().ok());
        let addr = addr.ok_or_else(|| format!("the server said {line:?} instead of where it listens"))?;
        Ok(Server { process, addr })
    }

    /// Measures it with a client of so many connections.
    pub(crate) fn measure(&mut self, conns: usize, options: &Echo) -> Result<Sample> {
        let mut client = Process::start(&[
            "client",
            &format!("--addr={}", self.addr),
            &format!("--server={}", self.process.0.id()),
            &format!("--conns={conns}"),
            &format!("--size={}", options.size),
            &format!("--secs={}", options.time.as_secs_f64()),
        ])?;
        let time_max = WARM_UP + options.time + client::ANSWERS_MAX + CLIENT_SLACK;
        let outcome = client.first_line(time_max).map_err(|error| format!("the client {error}").into());
        let outcome = outcome.and_then(|line| Ok(serde_json::from_str(&line)?));
        match (outcome, self.process.0.try_wait()?) {
            (_, Some(status)) => Err(format!("the server died while it was measured ({status})").into()),
            (Ok(Outcome::Sample(sample)), None) => Ok(sample),
            (Ok(Outcome::Error(error)), None) => Err(error.into()),
            (Err(error), None) => Err(error),
        }
    }
}

struct Process(Child);

impl Process {
    fn start(arguments: &[&str]) -> Result<Process> {
        let mut command = Command::new(env::current_exe()?);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped());
        Ok(Process(command.spawn()?))
    }

    /// Waits for the first line that the process prints; only the first call can succeed.
    fn first_line(&mut self, time_max: Duration) -> Result<String> {
        let stdout = self.0.stdout.take().ok_or("has no output left to read")?;
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || {
            let mut line = String::new();
            let read = BufReader::new(stdout).read_line(&mut line);
            // The receiver may have given up.
            let _ = sender.send(read.map(|_| line));
        });
        match receiver.recv_timeout(time_max) {
            Ok(line) => match line? {
                line if line.is_empty() => Err(format!("ended without a word ({})", self.0.wait()?).into()),
                line => Ok(line),
            },
            Err(RecvTimeoutError::Timeout) => Err(format!("said nothing for {time_max:?}").into()),
            Err(RecvTimeoutError::Disconnected) => Err("could not be read from".into()),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Either can fail only when it has already ended and been waited for.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Makes the calling process fit to be a server or a client: it dies with its parent, however that ends, and has the
/// locked memory (glommio registers its buffers) and the descriptors that it may need.
pub(crate) fn prepare() -> Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).map_err(Error::from)?;
    let files = rustix::process::getrlimit(Resource::Nofile).maximum;
    set_limit(Resource::Nofile, files)?;
    // Only a privileged process may lift its hard limit; any other gets what there is.
    if set_limit(Resource::Memlock, None).is_err() {
        set_limit(Resource::Memlock, rustix::process::getrlimit(Resource::Memlock).maximum)?;
    }
    Ok(())
}

fn set_limit(resource: Resource, value: Option<u64>) -> io::Result<()> {
    Ok(rustix::process::setrlimit(resource, Rlimit { current: value, maximum: value })?)
}
