//! An HTTP server of several processes: `prefork --addr HOST:PORT [--workers N] [--mode polled|entered]`.
//!
//! The parent listens, and forks workers from its running runtime; all of them accept from the one queue of its socket, so a
//! connection that a killed worker had not accepted is served by another. A worker that ends is replaced; one that ends soon
//! after its start, only after a while.
//!
//! Workers end with their parent, however it ends: each holds the reading end of a pipe whose writing end only the parent has
//! open, and which therefore comes to its end with the parent. This is one of the reasons for
//! [`release_inherited`], without which workers would keep the writing end open for each
//! other.
#![forbid(unsafe_code)]

#[path = "../http/mod.rs"]
mod http;

use std::error::Error;
use std::io::{self, PipeReader};
use std::os::fd::{AsFd, OwnedFd};
use std::pin::pin;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures::channel::oneshot;
use futures::future::{Either, FutureExt, Shared, join_all, select};
use http::program::{self, Ends, complain, say};
use net::TcpListener;
use runtime::fd::Fd;
use runtime::guard::{Worker, fork_worker, release_inherited};
use runtime::op;
use runtime::signal::{SignalKind, signal};
use runtime::time::{sleep, timeout};

const HELP: &str = "\
An HTTP server on the repoll runtime that forks its workers.

Usage: prefork --addr HOST:PORT [--workers N] [--mode polled|entered]

Options:
  --addr HOST:PORT        where to listen; port 0 lets the kernel choose
  --workers N             how many processes serve (default: one for each CPU)
  --mode polled|entered   how the rings are driven (default: polled, or entered
                          where there is one usable CPU)
  -h, --help              print this
  -V, --version           print the version

Answers `GET /` with `pid P`, the id of the worker. Prints `listening on ADDRESS`
when it serves. A worker that ends is replaced.

SIGINT or SIGTERM end all, after the responses to what has come. The workers also
end if their parent is killed.";

/// A worker that lives longer than this is replaced at once.
const SOON: Duration = Duration::from_secs(1);
/// How long it takes until others are replaced: the first time, and at most.
const BACK_OFF_MIN: Duration = Duration::from_millis(50);
const BACK_OFF_MAX: Duration = Duration::from_secs(5);
/// How long a worker may take to end before it is killed; it gives its clients five seconds.
const PATIENCE: Duration = Duration::from_secs(10);

type Stop = Shared<oneshot::Receiver<()>>;

fn main() -> ExitCode {
    let mut workers = std::thread::available_parallelism().map_or(1, usize::from);
    let own = |name: &str, parser: &mut lexopt::Parser| {
        use lexopt::ValueExt;
        let is_own = name == "workers";
        if is_own {
            workers = parser.value()?.parse_with(|text| match text.parse() {
                Ok(0) | Err(_) => Err("the number of workers is 1 or more"),
                Ok(workers) => Ok(workers),
            })?;
        }
        Ok(is_own)
    };
    match program::parse(HELP, own) {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(common)) => match &common.addr {
            Some(addr) => program::exit(common.run(run(addr, workers))),
            None => program::misused(&"--addr HOST:PORT is missing"),
        },
        Err(error) => program::misused(&error),
    }
}

/// The parent.
async fn run(addr: &str, workers: usize) -> Result<(), Box<dyn Error>> {
    let mut ends = Ends::listen()?;
    let listener = Rc::new(program::listen(addr).await?);
    // The writing end is never written to; it is closed by the end of this process.
    let (reader, _lifeline) = io::pipe()?;
    let inherited = Rc::new(Inherited { listener, lifeline: reader });
    let (stopper, stop) = oneshot::channel();
    let stop = stop.shared();
    let keepers: Vec<_> =
        (0..workers).map(|_| runtime::spawn(keep(Rc::clone(&inherited), stop.clone()))).collect();
    say(format_args!("listening on {}", inherited.listener.local_addr()?));
    ends.next().await;
    drop(stopper);
    join_all(keepers).await;
    Ok(())
}

/// What workers use of their parent's.
struct Inherited {
    listener: Rc<TcpListener>,
    lifeline: PipeReader,
}

/// Sees to it that there is a worker, until `stop`; then that it ends.
async fn keep(inherited: Rc<Inherited>, stop: Stop) {
    let mut back_off = BACK_OFF_MIN;
    loop {
        let start = Instant::now();
        match fork_worker(work(Rc::clone(&inherited))) {
            Ok(mut worker) => {
                let ended = match select(pin!(worker.wait()), stop.clone()).await {
                    Either::Left((ended, _)) => Some(ended),
                    Either::Right(_) => None,
                };
                let pid = worker.pid();
                match ended {
                    Some(Ok(status)) => complain(format_args!("worker {pid} has ended: {status}")),
                    Some(Err(error)) => complain(format_args!("worker {pid}: {error}")),
                    None => return end(worker).await,
                }
            }
            Err(error) => complain(format_args!("can't start a worker: {error}")),
        }
        if start.elapsed() > SOON {
            back_off = BACK_OFF_MIN;
        } else {
            if let Either::Right(_) = select(pin!(sleep(back_off)), stop.clone()).await {
                return;
            }
            back_off = (back_off * 2).min(BACK_OFF_MAX);
        }
    }
}

async fn end(mut worker: Worker) {
    // It fails only if the worker has ended.
    let _ = worker.kill(SignalKind::TERMINATE);
    if timeout(PATIENCE, worker.wait()).await.is_err() {
        complain(format_args!("worker {} does not end, and is killed", worker.pid()));
        let _ = worker.kill(SignalKind::from_raw(libc::SIGKILL));
        let _ = worker.wait().await;
    }
}

/// A worker.
async fn work(inherited: Rc<Inherited>) -> io::Result<()> {
    let mut terminate = signal(SignalKind::TERMINATE)?;
    // A terminal sends it to all processes. The parent decides, and tells the workers.
    let _ignored = signal(SignalKind::INTERRUPT)?;
    release_inherited(&[inherited.listener.as_fd(), inherited.lifeline.as_fd()])?;
    let lifeline = Fd::new(OwnedFd::from(inherited.lifeline.try_clone()?));
    let orphaned = op::read_at(&lifeline, [0], u64::MAX);
    let text = format!("pid {}", std::process::id());
    let told = async {
        select(pin!(terminate.recv()), orphaned).await;
    };
    let (connections, _) = http::serve(&[Rc::clone(&inherited.listener)], Vec::new(), &text, told).await;
    http::finish(connections, &text).await;
    Ok(())
}
