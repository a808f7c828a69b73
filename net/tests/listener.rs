//! Listeners: addresses and names, errors with their errno, ports that are free again, connections that nobody takes.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

#[path = "../../runtime/tests/common/mod.rs"]
mod common;

use std::io::{ErrorKind, Read};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use common::{MODES, poll_deaf, poll_once, run, until_operations};
use futures::StreamExt;
use net::{ListenOptions, TcpListener, TcpStream};
use runtime::Builder;

const LOCAL: &str = "127.0.0.1:0";

/// The peer of `client` has closed the connection.
fn is_closed(mut client: std::net::TcpStream) -> bool {
    client.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    match client.read(&mut [0]) {
        Ok(len) => len == 0,
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}

#[test]
fn addresses_and_names_resolve() {
    for mode in MODES {
        run(mode, async {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            let address = listener.local_addr().unwrap();
            let port = address.port();
            let text = format!("localhost:{port}");
            TcpStream::connect(address).await.unwrap();
            TcpStream::connect(&text).await.unwrap();
            TcpStream::connect(text.as_str()).await.unwrap();
            TcpStream::connect(text).await.unwrap();
            TcpStream::connect(("localhost", port)).await.unwrap();
            TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            TcpStream::connect(("127.0.0.1".to_owned(), port)).await.unwrap();
            // The first address that answers is taken.
            let dead = { std::net::TcpListener::bind(LOCAL).unwrap().local_addr().unwrap() };
            let stream = TcpStream::connect(&[dead, address][..]).await.unwrap();
            assert_eq!(stream.peer_addr().unwrap(), address);
            for _ in 0..8 {
                listener.accept().await.unwrap();
            }
            let none: &[SocketAddr] = &[];
            assert_eq!(TcpStream::connect(none).await.unwrap_err().kind(), ErrorKind::InvalidInput);
            for wrong in ["no port", "127.0.0.1:99999", "127.0.0.1", ""] {
                let error = TcpStream::connect(wrong).await.unwrap_err();
                assert!(error.to_string().starts_with(wrong), "{error}");
            }
        });
    }
}

#[test]
fn errors_keep_their_errno() {
    for mode in MODES {
        run(mode, async {
            let dead = { std::net::TcpListener::bind(LOCAL).unwrap().local_addr().unwrap() };
            let refused = TcpStream::connect(dead).await.unwrap_err();
            assert_eq!(refused.raw_os_error(), Some(libc::ECONNREFUSED));
            let listener = TcpListener::bind(LOCAL).await.unwrap();
            let in_use = TcpListener::bind(listener.local_addr().unwrap()).await.unwrap_err();
            assert_eq!(in_use.raw_os_error(), Some(libc::EADDRINUSE));
            let foreign = TcpListener::bind("192.0.2.1:0").await.unwrap_err();
            assert_eq!(foreign.raw_os_error(), Some(libc::EADDRNOTAVAIL));
        });
    }
}

#[test]
fn a_port_is_free_as_soon_as_its_listener_is_dropped_or_closed() {
    for mode in MODES {
        run(mode, async {
            let mut listener = TcpListener::bind(LOCAL).await.unwrap();
            let address = listener.local_addr().unwrap();
            for round in 0..100 {
                // Connections that linger don't hold it either.
                let client = TcpStream::connect(address).await.unwrap();
                drop(listener.accept().await.unwrap());
                drop(client);
                if round % 2 == 0 {
                    drop(listener);
                } else {
                    listener.close().await.unwrap();
                }
                listener = TcpListener::bind(address).await.unwrap();
            }
        });
    }
}

#[test]
fn close_waits_for_the_accepts_and_streams_that_hold_the_listener() {
    for mode in MODES {
        run(mode, async {
            let listener = TcpListener::bind(LOCAL).await.unwrap();
            let address = listener.local_addr().unwrap();
            let mut incoming = listener.incoming();
            assert!(poll_once(&mut incoming.next()).await.is_pending());
            let mut accept = Box::pin(listener.accept());
            assert!(poll_once(&mut accept).await.is_pending());
            drop(accept);
            let mut close = Box::pin(listener.close());
            assert!(poll_once(&mut close).await.is_pending());
            until_operations(1).await;
            assert!(poll_once(&mut close).await.is_pending());
            // Still there: it accepts.
            let _client = TcpStream::connect(address).await.unwrap();
            incoming.next().await.unwrap().unwrap();
            assert!(poll_once(&mut close).await.is_pending());
            drop(incoming);
            close.await.unwrap();
            TcpListener::bind(address).await.unwrap();
        });
    }
}

#[test]
fn connections_that_incoming_had_accepted_are_closed_with_it() {
    for mode in MODES {
        run(mode, async {
            let listener = TcpListener::bind(LOCAL).await.unwrap();
            let address = listener.local_addr().unwrap();
            let mut incoming = listener.incoming();
            assert!(poll_deaf(&mut incoming.next()).is_pending());
            until_operations(1).await;
            let clients: Vec<_> = (0..50).map(|_| std::net::TcpStream::connect(address).unwrap()).collect();
            let first = incoming.next().await.unwrap().unwrap();
            drop((incoming, first, listener));
            until_operations(0).await;
            assert!(clients.into_iter().all(is_closed));
        });
    }
}

#[test]
fn an_accept_that_is_dropped_leaves_the_listener_working() {
    for mode in MODES {
        run(mode, async {
            let listener = TcpListener::bind(LOCAL).await.unwrap();
            let address = listener.local_addr().unwrap();
            for _ in 0..300 {
                let mut accept = Box::pin(listener.accept());
                assert!(poll_deaf(&mut accept).is_pending());
                drop(accept);
                let connect = runtime::spawn(TcpStream::connect(address));
                let accepted = runtime::time::timeout(Duration::from_secs(10), listener.accept()).await;
                let (server, peer) = accepted.expect("a connection waits, but accept does too").unwrap();
                assert_eq!(connect.await.unwrap().unwrap().local_addr().unwrap(), peer);
                drop(server);
            }
        });
    }
}

#[test]
fn listeners_on_every_core_share_a_port() {
    for mode in MODES {
        let runtime = Builder::new().cores(2).pin(false).mode(mode).build().unwrap();
        runtime.block_on(async {
            let options = ListenOptions::new().reuse_port(true).backlog(512);
            let first = options.bind(LOCAL).await.unwrap();
            let address = first.local_addr().unwrap();
            assert_eq!(
                TcpListener::bind(address).await.unwrap_err().raw_os_error(),
                Some(libc::EADDRINUSE),
                "only those that ask for it share"
            );
            let (bound, mut all_bound) = futures::channel::mpsc::unbounded();
            let servers = runtime::on_every_core(move |_| {
                let (options, bound) = (options.clone(), bound.clone());
                async move {
                    let listener = options.bind(address).await.unwrap();
                    bound.unbounded_send(()).unwrap();
                    let mut accepted = 0;
                    let mut incoming = listener.incoming();
                    loop {
                        let (result, byte) = incoming.next().await.unwrap().unwrap().read([0]).await;
                        if result.unwrap() == 1 && byte == [1] {
                            return accepted;
                        }
                        accepted += 1;
                    }
                }
            });
            all_bound.next().await.unwrap();
            all_bound.next().await.unwrap();
            drop(first);
            for _ in 0..200 {
                TcpStream::connect(address).await.unwrap().write_all([0]).await.0.unwrap();
            }
            // Until both have read their order to stop.
            let stop = runtime::spawn(async move {
                while let Ok(stream) = TcpStream::connect(address).await {
                    let _ = stream.write_all([1]).await;
                    let _ = stream.read([0]).await;
                }
            });
            let mut total = 0;
            for server in servers {
                let accepted = server.await.unwrap();
                assert!(accepted > 0, "a core was left out");
                total += accepted;
            }
            stop.abort();
            assert!(total <= 200, "{total}");
        });
    }
}

#[test]
fn options_are_inherited_by_accepted_connections() {
    for mode in MODES {
        run(mode, async {
            let options = ListenOptions::new().recv_buffer_bytes(20_000).send_buffer_bytes(30_000);
            let listener = options.bind(LOCAL).await.unwrap();
            let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let (server, _) = listener.accept().await.unwrap();
            let socket = socket2::SockRef::from(&server);
            assert_eq!(
                (socket.recv_buffer_size().unwrap(), socket.send_buffer_size().unwrap()),
                (40_000, 60_000)
            );
            server.set_nodelay(true).unwrap();
            assert!(server.nodelay().unwrap());
            server.set_keepalive(Some(Duration::from_secs(100))).unwrap();
            assert!(socket.keepalive().unwrap());
            assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(100));
            assert!(server.take_error().unwrap().is_none());
        });
    }
}
