//! Reads and writes that are cancelled and awaited to their end: no byte is lost, none comes twice.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

#[path = "../../runtime/tests/common/mod.rs"]
mod common;

use std::cell::Cell;
use std::rc::Rc;

use common::{MODES, poll_once, run, until_operations};
use net::{ListenOptions, TcpStream};
use runtime::buf::IoBuf;
use runtime::op::{Op, SingleShot};
use runtime::task::yield_now;

const TOTAL: usize = 1_000_000;

/// With small buffers, so that writes have to wait.
async fn pair() -> (TcpStream, TcpStream) {
    let options = ListenOptions::new().recv_buffer_bytes(8000);
    let listener = options.bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    socket2::SockRef::from(&client).set_send_buffer_size(8000).unwrap();
    (client, listener.accept().await.unwrap().0)
}

/// Bytes that say where they belong.
fn numbered(range: std::ops::Range<usize>) -> Vec<u8> {
    range.map(|at| (at ^ at >> 8 ^ at >> 16) as u8).collect()
}

fn is_cancelled<T>(result: &std::io::Result<T>) -> bool {
    result.as_ref().is_err_and(|error| error.raw_os_error() == Some(libc::ECANCELED))
}

/// Lets others run a few times, then cancels; says how it ended.
async fn cancelled_after<O: SingleShot>(turns: usize, mut op: Op<O>) -> O::Output {
    for turn in 0.. {
        if let std::task::Poll::Ready(output) = poll_once(&mut op).await {
            return output;
        }
        if turn == turns {
            break;
        }
        yield_now().await;
    }
    op.cancel();
    op.cancel();
    op.await
}

#[test]
fn reads_that_are_cancelled_lose_nothing() {
    for mode in MODES {
        run(mode, async {
            let (client, server) = pair().await;
            let taken = Rc::new(Cell::new(0));
            let writer = runtime::spawn({
                let taken = Rc::clone(&taken);
                async move {
                    let mut sent = 0;
                    while sent < TOTAL {
                        let next = (sent + 1 + sent % 1999).min(TOTAL);
                        client.write_all(numbered(sent..next)).await.0.unwrap();
                        sent = next;
                        // So that the next bytes meet a read that waits, or its cancel.
                        while taken.get() < sent {
                            yield_now().await;
                        }
                    }
                }
            });
            let (mut received, mut cancelled, mut rounds) = (Vec::with_capacity(TOTAL), 0, 0);
            while received.len() < TOTAL {
                let begin = received.len();
                let read = server.read(received.slice(begin..begin + 3000));
                let (result, slice) = cancelled_after(rounds % 4, read).await;
                received = slice.into_inner();
                if is_cancelled(&result) {
                    cancelled += 1;
                    assert_eq!(received.len(), begin, "cancelled, and yet there are bytes");
                } else {
                    assert_eq!(received.len(), begin + result.unwrap());
                }
                taken.set(received.len());
                rounds += 1;
            }
            writer.await.unwrap();
            assert!(received == numbered(0..TOTAL));
            assert!(cancelled > 0, "not one of {rounds} was cancelled");
        });
    }
}

#[test]
fn writes_that_are_cancelled_say_how_much_was_sent() {
    for mode in MODES {
        run(mode, async {
            let (client, server) = pair().await;
            let cancelled = Rc::new(Cell::new(0));
            let reader = runtime::spawn({
                let cancelled = Rc::clone(&cancelled);
                async move {
                    let (mut received, mut seen) = (Vec::with_capacity(TOTAL), 0);
                    while received.len() < TOTAL {
                        let begin = received.len();
                        let (result, slice) = server.read(received.slice(begin..)).await;
                        assert!(result.unwrap() > 0, "it ends too early");
                        received = slice.into_inner();
                        // So that the writer finds no room sooner or later.
                        while cancelled.get() == seen {
                            yield_now().await;
                        }
                        seen = cancelled.get();
                    }
                    received
                }
            });
            let (mut data, mut sent, mut rounds) = (numbered(0..TOTAL), 0, 0);
            while sent < TOTAL {
                let (result, slice) = cancelled_after(rounds % 4, client.write(data.slice(sent..))).await;
                data = slice.into_inner();
                match is_cancelled(&result) {
                    true => cancelled.set(cancelled.get() + 1),
                    false => sent += result.unwrap(),
                }
                rounds += 1;
            }
            // The last bytes are read without waiting.
            let end = runtime::spawn(async move {
                loop {
                    cancelled.set(cancelled.get() + 1);
                    yield_now().await;
                }
            });
            assert!(reader.await.unwrap() == data);
            end.abort();
        });
    }
}

#[test]
fn a_write_that_waits_for_its_reader_can_be_cancelled() {
    for mode in MODES {
        run(mode, async {
            let (client, server) = pair().await;
            // More than the sockets hold; the kernel goes on by itself as far as there is room.
            let mut write = client.write(vec![7; 10_000_000]);
            assert!(poll_once(&mut write).await.is_pending());
            until_operations(1).await;
            write.cancel();
            let (result, buf) = write.await;
            let sent = if is_cancelled(&result) { 0 } else { result.unwrap() };
            assert!(sent < 10_000_000, "nobody reads");
            assert_eq!(buf.len(), 10_000_000);
            until_operations(0).await;
            drop(client);
            let mut received = 0;
            loop {
                let (result, buf) = server.read(vec![0; 1 << 16]).await;
                match result.unwrap() {
                    0 => break,
                    len => {
                        assert!(buf[..len].iter().all(|byte| *byte == 7));
                        received += len;
                    }
                }
            }
            assert_eq!(received, sent);
        });
    }
}

#[test]
fn a_read_that_is_cancelled_leaves_the_connection_whole() {
    for mode in MODES {
        run(mode, async {
            let (client, server) = pair().await;
            let mut read = server.read(Vec::with_capacity(16));
            assert!(poll_once(&mut read).await.is_pending());
            until_operations(1).await;
            read.cancel();
            let (result, buf) = read.await;
            assert!(is_cancelled(&result), "{result:?}");
            assert_eq!((buf.len(), buf.capacity()), (0, 16), "the buffer comes back");
            client.write_all("after").await.0.unwrap();
            assert_eq!(server.read(buf).await.1, b"after");
        });
    }
}
