//! The runtime's side: a task for each receive, and the guard's calls.

use std::io::Read;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use futures::StreamExt;
use futures::channel::mpsc::{self, UnboundedReceiver, UnboundedSender};
use runtime::fd::Fd;
use runtime::{Builder, Mode, guard, op, time};

use crate::report::{self, Stopwatch};
use crate::sockets::{Answers, ROOM, Sockets};
use crate::{Deed, Sample};

/// An answer that has not come by then is lost.
const PATIENCE: Duration = Duration::from_secs(60);

/// On a runtime of its own.
pub(crate) fn measure(deed: Deed, mode: Mode, count: usize) -> Sample {
    let runtime = Builder::new().cores(1).mode(mode).build().unwrap();
    runtime.block_on(async {
        let (sockets, (answered, answers)) = (Sockets::<Fd>::new(count), mpsc::unbounded());
        for index in 0..sockets.len() {
            runtime::spawn(receive(sockets.get(index).clone(), index, answered.clone()));
        }
        let mut waiting = Waiting { sockets, answers };
        waiting.last().await;
        assert_eq!(runtime::metrics().cores[0].mode, Some(mode));
        let sample = match deed {
            Deed::Replace => replace(&mut waiting).await,
            Deed::Fork => fork(&mut waiting).await,
        };
        for _ in 0..2 {
            waiting.all().await;
        }
        sample
    })
}

/// One byte after the other.
async fn receive(fd: Fd, index: usize, answered: UnboundedSender<usize>) {
    let mut buf = Vec::with_capacity(ROOM);
    loop {
        buf.clear();
        let (received, back) = op::recv(&fd, buf).await;
        buf = back;
        assert_eq!(received.unwrap(), 1);
        if answered.unbounded_send(index).is_err() {
            return;
        }
    }
}

/// The receives, seen from outside.
struct Waiting {
    sockets: Sockets<Fd>,
    answers: UnboundedReceiver<usize>,
}

impl Waiting {
    async fn answer(&mut self) -> usize {
        let answer = time::timeout(PATIENCE, self.answers.next()).await;
        answer.expect("a receive is lost").expect("the tasks run")
    }

    /// Has the receive answer that was submitted last, so that all others have been submitted too.
    async fn last(&mut self) {
        match self.sockets.last() {
            Some(last) => {
                self.sockets.send_to(last);
                assert_eq!(self.answer().await, last);
            }
            None => op::nop().await.unwrap(),
        }
    }

    /// Has each one answer once.
    async fn all(&mut self) {
        let mut answers = Answers::none_of(self.sockets.len());
        self.sockets.send_to_all();
        for _ in 0..self.sockets.len() {
            answers.note(self.answer().await);
        }
    }
}

async fn replace(waiting: &mut Waiting) -> Sample {
    let start = Stopwatch::start();
    guard::identity_changed().unwrap();
    let ready = start.elapsed();
    waiting.last().await;
    let (outage, cpu) = (start.elapsed(), start.cpu());
    let core = runtime::metrics().cores.swap_remove(0);
    let replacement = core.last_replacement.expect("the ring was replaced");
    assert_eq!(replacement.carried, waiting.sockets.len() as u64, "{replacement:?}");
    Sample { ready, outage, cpu, child: None, reported: Some(replacement.duration) }
}

async fn fork(waiting: &mut Waiting) -> Sample {
    let (mut from_child, to_parent) = UnixStream::pair().unwrap();
    let start = Stopwatch::start();
    let mut worker = guard::fork_worker(async move { report::tell_time(&to_parent) }).unwrap();
    let ready = start.elapsed();
    waiting.last().await;
    let (outage, cpu) = (start.elapsed(), start.cpu());
    assert!(worker.wait().await.unwrap().success());
    let mut bytes = Vec::new();
    from_child.read_to_end(&mut bytes).unwrap();
    let child = start.told(&bytes);
    Sample { ready, outage, cpu, child: Some(child), reported: None }
}
