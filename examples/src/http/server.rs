//! The server: accepts and serves until it is told to stop, then brings everything to rest.

use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use futures::StreamExt;
use futures::channel::mpsc::{UnboundedSender, unbounded};
use futures::future::select;
use net::TcpListener;
use runtime::time::{sleep, timeout};

use super::connection::{Connection, Stop, stop};

/// After an error of accept, such as too many open files: connections may end meanwhile.
const PAUSE: Duration = Duration::from_millis(100);
/// How long clients may take to read their last answers when the server ends.
const FINISH: Duration = Duration::from_secs(5);

/// What the tasks of a server share.
struct Server {
    text: Rc<str>,
    stop: Stop,
    /// Where connections go that come to rest. All have come when all senders are gone.
    at_rest: UnboundedSender<Connection>,
}

/// Serves those who connect, and `connections` that were served before, until `end` is ready. Gives what that gives, and all
/// connections as they are then: none is lost, and those that nobody has accepted wait in the queue of their listener.
pub(crate) async fn serve<T>(
    listeners: &[Rc<TcpListener>],
    connections: Vec<Connection>,
    text: &str,
    end: impl Future<Output = T>,
) -> (Vec<Connection>, T) {
    let (stopper, stop) = stop();
    let (at_rest, all_at_rest) = unbounded();
    let server = Rc::new(Server { text: text.into(), stop, at_rest });
    connections.into_iter().for_each(|connection| server.start(connection));
    for listener in listeners {
        listener.resume();
        drop(runtime::spawn(Rc::clone(&server).accept_all(Rc::clone(listener))));
    }
    let end = end.await;
    drop(stopper);
    for listener in listeners {
        match listener.stop().await {
            Ok(accepted) => {
                accepted.into_iter().for_each(|(stream, _)| server.start(Connection::new(stream)))
            }
            Err(error) => complain(&error),
        }
    }
    drop(server);
    (all_at_rest.collect().await, end)
}

/// Ends connections that have come to rest: answers what had come as a whole, and sees that it reaches the client.
pub(crate) async fn finish(connections: Vec<Connection>, text: &str) {
    let (_stopper, never) = stop();
    let busy = connections.into_iter().filter(Connection::is_busy).map(|mut connection| {
        let never = &never;
        async move {
            connection.end(text);
            connection.serve(text, never).await;
        }
    });
    // Whoever has not read by then is cut off.
    let _ = timeout(FINISH, futures::future::join_all(busy)).await;
}

impl Server {
    fn start(self: &Rc<Self>, connection: Connection) {
        let server = Rc::clone(self);
        drop(runtime::spawn(async move {
            if let Some(connection) = connection.serve(&server.text, &server.stop).await {
                // It fails only where nobody waits for the connections any more.
                let _ = server.at_rest.unbounded_send(connection);
            }
        }));
    }

    /// One by one, and not by a multishot request: of several processes that wait with one of those, the kernel wakes the
    /// same one for each connection.
    async fn accept_all(self: Rc<Self>, listener: Rc<TcpListener>) {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => self.start(Connection::new(stream)),
                // The listener was stopped.
                Err(error) if error.raw_os_error() == Some(libc::ECANCELED) => return,
                Err(error) => {
                    complain(&error);
                    select(pin!(sleep(PAUSE)), self.stop.clone()).await;
                }
            }
        }
    }
}

fn complain(error: &io::Error) {
    super::program::complain(format_args!("accept: {error}"));
}
