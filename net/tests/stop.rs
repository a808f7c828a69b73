//! Stopping a listener loses no connection: whoever connects meanwhile is served, then or when somebody accepts again.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]
#![allow(unsafe_code, reason = "poll(2)")]

#[path = "../../runtime/tests/common/mod.rs"]
mod common;

use std::cell::Cell;
use std::io::Read;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::thread;

use common::{MODES, poll_deaf, poll_once, run, until, until_operations};
use futures::StreamExt;
use futures::future::{Either, select};
use net::{TcpListener, TcpStream};
use runtime::task::yield_now;

const LOCAL: &str = "127.0.0.1:0";
const CLIENT_THREADS: usize = 4;
const CLIENTS: usize = 1000;

fn is_cancelled<T>(result: &std::io::Result<T>) -> bool {
    result.as_ref().is_err_and(|error| error.raw_os_error() == Some(libc::ECANCELED))
}

/// Whether a connection waits in the listener's queue.
fn has_waiting(listener: &TcpListener) -> bool {
    let mut poll = libc::pollfd { fd: listener.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one entry, which is valid for the call.
    unsafe { libc::poll(&raw mut poll, 1, 0) == 1 }
}

/// Connects again and again and waits each time to be served; a reset or an end without a byte fails the test.
fn clients(address: SocketAddr) -> Vec<thread::JoinHandle<()>> {
    let client = move || {
        for _ in 0..CLIENTS / CLIENT_THREADS {
            let mut stream = std::net::TcpStream::connect(address).unwrap();
            stream.set_read_timeout(Some(common::PATIENCE)).unwrap();
            stream.read_exact(&mut [0]).expect("whoever connects is served");
        }
    };
    (0..CLIENT_THREADS).map(|_| thread::spawn(client)).collect()
}

async fn serve(stream: TcpStream, served: &Cell<usize>) {
    stream.write_all([1]).await.0.unwrap();
    served.set(served.get() + 1);
}

#[test]
fn incoming_is_stopped_a_hundred_times_under_load() {
    for mode in MODES {
        run(mode, async {
            let listener = TcpListener::bind(LOCAL).await.unwrap();
            let clients = clients(listener.local_addr().unwrap());
            let served = Cell::new(0);
            let mut stops = 0;
            while served.get() < CLIENTS {
                let mut incoming = listener.incoming();
                for _ in 0..1 + stops % 7 {
                    serve(incoming.next().await.unwrap().unwrap(), &served).await;
                    if served.get() == CLIENTS {
                        break;
                    }
                }
                incoming.stop();
                stops += 1;
                while let Some(stream) = incoming.next().await {
                    serve(stream.unwrap(), &served).await;
                }
                assert!(incoming.next().await.is_none(), "it goes on after its end");
            }
            assert!(stops > 100, "{stops}");
            clients.into_iter().for_each(|client| client.join().unwrap());
            assert_eq!(served.get(), CLIENTS);
        });
    }
}

#[test]
fn accept_is_stopped_again_and_again_under_load() {
    for mode in MODES {
        run(mode, async {
            let listener = Rc::new(TcpListener::bind(LOCAL).await.unwrap());
            let clients = clients(listener.local_addr().unwrap());
            let served = Rc::new(Cell::new(0));
            let mut stops = 0;
            while served.get() < CLIENTS {
                let accepts = runtime::spawn({
                    let (listener, served) = (Rc::clone(&listener), Rc::clone(&served));
                    async move {
                        loop {
                            let accepted = listener.accept().await;
                            if is_cancelled(&accepted) {
                                return;
                            }
                            serve(accepted.unwrap().0, &served).await;
                        }
                    }
                });
                for _ in 0..stops % 5 {
                    yield_now().await;
                }
                assert!(listener.stop().await.unwrap().is_none(), "somebody else was waiting for it");
                accepts.await.unwrap();
                stops += 1;
                listener.resume();
                // One that nobody waits for any more: what it comes to is given to whoever stops it.
                let mut accept = Box::pin(listener.accept());
                let at_once = poll_once(&mut accept).await.is_ready();
                assert!(!at_once, "an accept takes a turn");
                drop(accept);
                if let Some((stream, _)) = listener.stop().await.unwrap() {
                    serve(stream, &served).await;
                }
                listener.resume();
            }
            assert!(stops > 10, "{stops}");
            clients.into_iter().for_each(|client| client.join().unwrap());
            assert_eq!(served.get(), CLIENTS);
        });
    }
}

#[test]
fn what_connects_after_a_stop_waits_for_the_next_accept() {
    for mode in MODES {
        run(mode, async {
            let listener = TcpListener::bind(LOCAL).await.unwrap();
            let address = listener.local_addr().unwrap();
            let mut waiting = (Box::pin(listener.accept()), Box::pin(listener.accept()));
            assert!(poll_deaf(&mut waiting.0).is_pending() && poll_deaf(&mut waiting.1).is_pending());
            let mut incoming = listener.incoming();
            assert!(poll_deaf(&mut incoming.next()).is_pending());
            until_operations(2).await;
            incoming.stop();
            let (stopped, first, second) = futures::join!(listener.stop(), &mut waiting.0, &mut waiting.1);
            assert!(stopped.unwrap().is_none());
            assert!(is_cancelled(&first) && is_cancelled(&second));
            assert!(incoming.next().await.is_none());
            drop(incoming);
            until_operations(0).await;

            let client = TcpStream::connect(address).await.unwrap();
            until("the connection", || has_waiting(&listener)).await;
            assert!(listener.stop().await.unwrap().is_none());
            assert!(has_waiting(&listener), "somebody has taken it");
            listener.resume();
            let (_server, peer) = listener.accept().await.unwrap();
            assert_eq!(peer, client.local_addr().unwrap());
        });
    }
}

#[test]
fn a_stop_gives_the_connection_that_nobody_waited_for() {
    for mode in MODES {
        run(mode, async {
            let listener = TcpListener::bind(LOCAL).await.unwrap();
            let address = listener.local_addr().unwrap();
            let mut accept = Box::pin(listener.accept());
            assert!(poll_deaf(&mut accept).is_pending());
            drop(accept);
            until_operations(1).await;
            let client = std::net::TcpStream::connect(address).unwrap();
            until("the accept that was dropped", || !has_waiting(&listener)).await;
            let accepted = listener.stop().await.unwrap();
            let (_server, peer) = match accepted {
                Some(accepted) => accepted,
                // The connection arrived only after the look at the queue, and waits in it.
                None => {
                    listener.resume();
                    listener.accept().await.unwrap()
                }
            };
            assert_eq!(peer, client.local_addr().unwrap());
            until_operations(0).await;
        });
    }
}

#[test]
fn a_stop_that_is_dropped_loses_nothing_either() {
    for mode in MODES {
        run(mode, async {
            let listener = TcpListener::bind(LOCAL).await.unwrap();
            for _ in 0..100 {
                let mut accept = Box::pin(listener.accept());
                assert!(poll_deaf(&mut accept).is_pending());
                drop(accept);
                until_operations(1).await;
                let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
                // It may or may not have the connection by now.
                let stopped = poll_once(&mut Box::pin(listener.stop())).await;
                listener.resume();
                let (_server, peer) = match stopped {
                    Poll::Ready(Ok(Some(accepted))) => accepted,
                    _ => listener.accept().await.unwrap(),
                };
                assert_eq!(peer, client.local_addr().unwrap());
                until_operations(0).await;
            }
        });
    }
}

#[test]
fn a_listener_that_has_stopped_accepts_nothing_until_it_is_told_to() {
    for mode in MODES {
        run(mode, async {
            let listener = TcpListener::bind(LOCAL).await.unwrap();
            let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            for _ in 0..2 {
                assert!(listener.stop().await.unwrap().is_none());
            }
            let (first, second) = futures::join!(listener.accept(), listener.accept());
            assert!(is_cancelled(&first) && is_cancelled(&second));
            // A loop that does not care is no obstacle.
            let careless = async { while is_cancelled(&listener.accept().await) {} };
            let stopped = async {
                yield_now().await;
                listener.stop().await.unwrap().is_none()
            };
            assert!(matches!(select(pin!(careless), pin!(stopped)).await, Either::Right((true, _))));
            until("the connection", || has_waiting(&listener)).await;
            listener.resume();
            assert_eq!(listener.accept().await.unwrap().1, client.local_addr().unwrap());
        });
    }
}

#[test]
fn a_stream_that_is_stopped_before_it_began_is_at_its_end() {
    for mode in MODES {
        run(mode, async {
            let listener = TcpListener::bind(LOCAL).await.unwrap();
            let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let mut incoming = listener.incoming();
            incoming.stop();
            incoming.stop();
            assert!(incoming.next().await.is_none());
            assert_eq!(listener.accept().await.unwrap().1, client.local_addr().unwrap());
        });
    }
}
