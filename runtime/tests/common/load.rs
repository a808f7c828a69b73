//! Traffic with sequence numbers: whatever happens to rings and processes meanwhile, each number comes back once, in order.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use futures::StreamExt;
use futures::channel::mpsc::{self, UnboundedSender};
use runtime::fd::Fd;
use runtime::op;
use runtime::task::JoinHandle;

use super::until;
use super::work::{self, send_all, socket_pair};

/// Numbers under way on each connection, so that sends, receives and their data meet in every combination.
const WINDOW: u64 = 8;
const LEN: usize = size_of::<u64>();

/// Connections on which numbers go round, on several cores.
pub struct Load {
    control: Arc<Control>,
    tasks: Vec<JoinHandle<u64>>,
}

struct Control {
    /// The process whose load it is: in a child of a fork the connections are the parent's, and the tasks leave them alone.
    home: u32,
    stop: AtomicBool,
    /// For each connection, the numbers that have come back.
    counts: Vec<AtomicU64>,
}

impl Control {
    fn is_here(&self) -> bool {
        self.home == std::process::id()
    }
}

impl Load {
    /// Starts so many connections on each of `cores`.
    pub fn start(cores: std::ops::Range<usize>, connections: usize) -> Self {
        let counts = (0..cores.len() * connections).map(|_| AtomicU64::new(0)).collect();
        let home = std::process::id();
        let control = Arc::new(Control { home, stop: AtomicBool::new(false), counts });
        let tasks = cores
            .flat_map(|core| std::iter::repeat_n(core, connections))
            .enumerate()
            .map(|(index, core)| {
                let control = Arc::clone(&control);
                runtime::spawn_on(core, move || connection(control, index))
            })
            .collect();
        Load { control, tasks }
    }

    /// Waits until every connection has had `rounds` more numbers back.
    pub async fn progress(&self, rounds: u64) {
        let counts = || self.control.counts.iter().map(|count| count.load(Ordering::SeqCst));
        let goals: Vec<u64> = counts().map(|count| count + rounds).collect();
        until("progress of every connection", || {
            assert!(!self.tasks.iter().any(JoinHandle::is_finished), "a connection has failed");
            counts().zip(&goals).all(|(count, goal)| count >= *goal)
        })
        .await;
    }

    /// Ends the traffic; all numbers that were under way have come back.
    pub async fn finish(self) {
        self.control.stop.store(true, Ordering::SeqCst);
        for (index, task) in self.tasks.into_iter().enumerate() {
            let count = task.await.unwrap_or_else(|error| panic!("connection {index}: {error}"));
            assert_eq!(count, self.control.counts[index].load(Ordering::SeqCst));
        }
    }
}

/// In a child, where requests in flight have failed and the connection is somebody else's, a task waits for the end.
async fn at_home<T>(control: &Control, value: T) -> T {
    if !control.is_here() {
        std::future::pending::<()>().await;
    }
    value
}

async fn echo(control: Arc<Control>, fd: Fd) {
    loop {
        let (result, buf) = at_home(&control, op::recv(&fd, Vec::with_capacity(4096)).await).await;
        if result.expect("a receive of the echo") == 0 {
            return;
        }
        at_home(&control, send_all(&fd, buf).await).await.expect("a send of the echo");
    }
}

async fn connection(control: Arc<Control>, index: usize) -> u64 {
    let (client, server) = socket_pair();
    let client = Rc::new(client);
    let (credit, mut credits) = mpsc::unbounded();
    (0..WINDOW).for_each(|_| credit.unbounded_send(()).expect("somebody receives"));
    let echo = runtime::spawn(echo(Arc::clone(&control), server));
    let receiver = runtime::spawn(receive(Arc::clone(&control), index, Rc::clone(&client), credit));
    let mut sent = 0_u64;
    while !control.stop.load(Ordering::SeqCst) {
        // Before it sends: one that was about to run when the process was forked runs in the child, too.
        at_home(&control, credits.next().await).await.expect("the receiver has ended");
        let bytes = sent.to_le_bytes();
        at_home(&control, send_all(&client, bytes).await).await.expect("a send");
        sent += 1;
    }
    op::shutdown(&client, std::net::Shutdown::Write).await.expect("it is connected");
    let received = receiver.await.expect("the receiver is whole");
    assert_eq!(received, sent, "numbers were lost or doubled");
    echo.await.expect("the echo is whole");
    received
}

async fn receive(control: Arc<Control>, index: usize, client: Rc<Fd>, credit: UnboundedSender<()>) -> u64 {
    let mut expected = 0_u64;
    loop {
        let number = at_home(&control, work::recv_exact(&client, LEN).await).await;
        match number {
            Ok(bytes) => assert_eq!(bytes, expected.to_le_bytes(), "connection {index} is out of order"),
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return expected,
            Err(error) => panic!("a receive: {error}"),
        }
        expected += 1;
        control.counts[index].store(expected, Ordering::SeqCst);
        // Nobody wants it any more at the end.
        let _ = credit.unbounded_send(());
    }
}
