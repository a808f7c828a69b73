//! One connection: what reads, writes, ends and conversions give.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

#[path = "../../runtime/tests/common/mod.rs"]
mod common;

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::time::Duration;

use common::{MODES, poll_deaf, run, until_operations};
use net::{TcpListener, TcpStream};
use runtime::buf::IoBuf;

async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (server, peer) = listener.accept().await.unwrap();
    assert_eq!(peer, client.local_addr().unwrap());
    assert_eq!(client.peer_addr().unwrap(), server.local_addr().unwrap());
    (client, server)
}

#[test]
fn a_read_sets_the_length_and_keeps_the_buffer() {
    for mode in MODES {
        run(mode, async {
            let (client, server) = pair().await;
            client.write_all("abc").await.0.unwrap();
            let buf = Vec::with_capacity(100);
            let address = buf.as_ptr();
            let (result, buf) = server.read(buf).await;
            assert_eq!((result.unwrap(), &buf[..], buf.as_ptr()), (3, &b"abc"[..], address));
            client.write_all("def").await.0.unwrap();
            let (result, slice) = server.read(buf.slice(3..5)).await;
            assert_eq!((result.unwrap(), slice.into_inner()), (2, b"abcde".to_vec()));
            let (result, buf) = server.read(Vec::new()).await;
            assert_eq!((result.unwrap_err().kind(), buf.len()), (ErrorKind::InvalidInput, 0));
            assert_eq!(server.read([0; 4]).await.1, [b'f', 0, 0, 0]);
            assert_eq!(client.write(Vec::new()).await.0.unwrap(), 0);
            client.write_all("").await.0.unwrap();
        });
    }
}

#[test]
fn read_exact_fills_the_buffer_or_says_that_the_end_came_first() {
    for mode in MODES {
        run(mode, async {
            let (client, server) = pair().await;
            let reader = runtime::spawn(async move {
                let (result, buf) = server.read_exact(Vec::with_capacity(6).slice(..6)).await;
                result.unwrap();
                assert_eq!(buf.into_inner(), b"abcdef");
                let (result, buf) = server.read_exact(vec![9; 4]).await;
                (result.unwrap_err().kind(), buf)
            });
            for part in ["ab", "c", "def", "gh"] {
                client.write_all(part).await.0.unwrap();
                until_operations(1).await;
            }
            client.shutdown(Shutdown::Write).await.unwrap();
            assert_eq!(reader.await.unwrap(), (ErrorKind::UnexpectedEof, b"gh".to_vec()));
        });
    }
}

#[test]
fn vectored_reads_and_writes_go_through_the_buffers_in_order() {
    for mode in MODES {
        run(mode, async {
            let (client, server) = pair().await;
            let (result, bufs) = client.write_vectored(vec!["one ", "", "two ", "three"]).await;
            assert_eq!((result.unwrap(), bufs.len()), (13, 4));
            let bufs = vec![Vec::with_capacity(5), Vec::with_capacity(6), Vec::with_capacity(7)];
            let (result, bufs) = server.read_vectored(bufs).await;
            assert_eq!(result.unwrap(), 13);
            assert_eq!(bufs, [&b"one t"[..], b"wo thr", b"ee"]);
            let (result, bufs) = server.read_vectored(vec![Vec::new(), Vec::new()]).await;
            assert_eq!((result.unwrap_err().kind(), bufs.len()), (ErrorKind::InvalidInput, 2));
        });
    }
}

#[test]
fn write_all_waits_for_a_reader_that_is_slow() {
    for mode in MODES {
        run(mode, async {
            let (client, server) = pair().await;
            let data: Vec<u8> = (0..8_000_000_u32).map(|n| (n >> 3) as u8).collect();
            let expected = data.clone();
            let writer = runtime::spawn(async move { client.write_all(data.slice(1..)).await.0.unwrap() });
            // The socket's buffers are far smaller than that, so it is in flight.
            until_operations(1).await;
            assert!(!writer.is_finished());
            let mut received = Vec::new();
            loop {
                let (result, buf) = server.read(Vec::with_capacity(50_000)).await;
                if result.unwrap() == 0 {
                    break;
                }
                received.extend_from_slice(&buf);
            }
            assert!(received == expected[1..]);
            writer.await.unwrap();
        });
    }
}

#[test]
fn half_closed_the_other_direction_goes_on() {
    for mode in MODES {
        run(mode, async {
            let (client, server) = pair().await;
            client.shutdown(Shutdown::Write).await.unwrap();
            assert_eq!(server.read(vec![0; 4]).await.0.unwrap(), 0);
            assert_eq!(client.write("x").await.0.unwrap_err().raw_os_error(), Some(libc::EPIPE));
            server.write_all("still here").await.0.unwrap();
            assert_eq!(client.read(Vec::with_capacity(20)).await.1, b"still here");
            drop(server);
            assert_eq!(client.read(vec![0; 4]).await.0.unwrap(), 0);
        });
    }
}

#[test]
fn a_reset_keeps_its_errno() {
    for mode in MODES {
        run(mode, async {
            let (client, server) = pair().await;
            server.set_linger(Some(Duration::ZERO)).unwrap();
            server.close().await.unwrap();
            assert_eq!(client.read(vec![0; 4]).await.0.unwrap_err().raw_os_error(), Some(libc::ECONNRESET));
        });
    }
}

#[test]
fn split_halves_work_apart_and_reunite() {
    for mode in MODES {
        run(mode, async {
            let (client, server) = pair().await;
            let ((reader, writer), (other_reader, other_writer)) = (client.split(), server.split());
            let reading = runtime::spawn(async move {
                let (result, buf) = reader.read_exact([0; 5]).await;
                result.unwrap();
                (reader, buf)
            });
            until_operations(1).await;
            other_writer.write_all("hello").await.0.unwrap();
            let (reader, buf) = reading.await.unwrap();
            assert_eq!(&buf, b"hello");
            let error = reader.reunite(other_writer).unwrap_err();
            let (reader, other_writer) = (error.0, error.1);
            let client = reader.reunite(writer).unwrap();
            client.write_all("whole").await.0.unwrap();
            assert_eq!(other_reader.read(Vec::with_capacity(8)).await.1, b"whole");
            // Only a half that is dropped ends its direction, not one that was reunited.
            drop(other_writer);
            assert_eq!(client.read(vec![0]).await.0.unwrap(), 0);
            client.write_all("on").await.0.unwrap();
            assert_eq!(other_reader.read(Vec::with_capacity(8)).await.1, b"on");
        });
    }
}

#[test]
fn into_std_gives_the_stream_back_while_it_is_in_use() {
    for mode in MODES {
        run(mode, async {
            let (client, server) = pair().await;
            let mut read = Box::pin(client.read(vec![0; 4]));
            assert!(poll_deaf(&mut read).is_pending());
            drop(read);
            // The cancelled read holds the descriptor until the kernel has answered.
            let client = client.into_std().unwrap_err();
            until_operations(0).await;
            let mut client = client.into_std().unwrap();
            client.write_all(b"std").unwrap();
            assert_eq!(server.read(Vec::with_capacity(8)).await.1, b"std");
            let client = TcpStream::from_std(client);
            client.write_all("back").await.0.unwrap();
            assert_eq!(server.read(Vec::with_capacity(8)).await.1, b"back");
            let mut server = std::net::TcpStream::from(OwnedFd::try_from(server).unwrap());
            client.close().await.unwrap();
            assert_eq!(server.read(&mut [0]).unwrap(), 0);
        });
    }
}

#[test]
fn close_waits_for_what_is_in_flight() {
    for mode in MODES {
        run(mode, async {
            let (client, server) = pair().await;
            let client = std::rc::Rc::new(client);
            let reading = runtime::spawn({
                let client = std::rc::Rc::clone(&client);
                async move { client.read(vec![0; 4]).await.0 }
            });
            until_operations(1).await;
            reading.abort();
            assert!(reading.await.unwrap_err().is_aborted());
            std::rc::Rc::into_inner(client).unwrap().close().await.unwrap();
            until_operations(0).await;
            assert_eq!(server.read(vec![0; 4]).await.0.unwrap(), 0);
        });
    }
}

#[test]
fn a_connect_that_is_dropped_is_given_up() {
    for mode in MODES {
        run(mode, async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            for _ in 0..200 {
                let mut connect = Box::pin(TcpStream::connect(address));
                let _ = poll_deaf(&mut connect);
                drop(connect);
            }
            until_operations(0).await;
            let client = TcpStream::connect(address).await.unwrap();
            loop {
                let (server, peer) = listener.accept().await.unwrap();
                if peer == client.local_addr().unwrap() {
                    server.write_all("yours").await.0.unwrap();
                    break;
                }
                let ended = server.read(vec![0]).await.0;
                assert!(
                    matches!(ended, Ok(0) | Err(_)),
                    "somebody still holds a connection that was given up"
                );
            }
            assert_eq!(client.read(Vec::with_capacity(8)).await.1, b"yours");
        });
    }
}
