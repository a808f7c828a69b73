//! The poller dies around a cancel that somebody waits for: it is definitive all the same, and no byte is lost.
#![cfg(target_arch = "x86_64")]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

mod common;
mod deaths;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use common::{builder, descriptors, poll_deaf, until_blocking, until_operations};
use deaths::{faults, kill, run, run_with_faults, until_replaced};
use futures::StreamExt;
use runtime::Mode;
use runtime::fd::Fd;
use runtime::op::{Op, Recv, accept_many, recv};

const RECEIVES: usize = 300;

/// What happens around the cancels, beside half of the bytes having come before.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Order {
    CancelThenDeath,
    DeathThenCancel,
    DeathRecoveryCancel,
    CancelThenRefork,
    ReforkThenCancel,
}

#[test]
fn each_is_cancelled_or_done_and_each_byte_is_somewhere() {
    for entries in [1, 8, 256] {
        for order in [Order::CancelThenDeath, Order::DeathThenCancel, Order::DeathRecoveryCancel] {
            run(builder(Mode::Polled).entries(entries), cancels(order));
        }
        for order in [Order::CancelThenRefork, Order::ReforkThenCancel] {
            run_with_faults(builder(Mode::Polled).entries(entries), cancels(order));
        }
    }
}

async fn cancels(order: Order) {
    let (near, mut far) = UnixStream::pair().unwrap();
    let near = Fd::new(OwnedFd::from(near));
    let mut receives: Vec<_> = (0..RECEIVES).map(|_| recv(&near, vec![0xEE; 1])).collect();
    receives.iter_mut().for_each(|receive| assert!(poll_deaf(receive).is_pending()));
    until_operations(RECEIVES as u64).await;
    let all: Vec<u8> = (0..RECEIVES).map(|byte| (byte % 199) as u8).collect();
    let (first, rest) = all.split_at(RECEIVES / 3);
    far.write_all(first).unwrap();
    let cancel = |receives: &[Op<Recv<Vec<u8>>>]| receives.iter().step_by(2).for_each(Op::cancel);
    match order {
        Order::CancelThenDeath => {
            cancel(&receives);
            assert_eq!(kill(), 1);
        }
        Order::DeathThenCancel => {
            assert_eq!(kill(), 1);
            cancel(&receives);
        }
        Order::DeathRecoveryCancel => {
            assert_eq!(kill(), 1);
            until_replaced(0, 1).await;
            cancel(&receives);
        }
        Order::CancelThenRefork => {
            cancel(&receives);
            faults::refork(1);
        }
        Order::ReforkThenCancel => {
            faults::refork(1);
            runtime::task::yield_now().await;
            cancel(&receives);
        }
    }
    far.write_all(rest).unwrap();
    let (mut received, mut cancelled) = (Vec::new(), 0);
    for (n, receive) in receives.into_iter().enumerate() {
        match receive.await {
            (Ok(len), buf) => {
                assert_eq!(len, 1);
                received.push(buf[0]);
            }
            (Err(error), buf) => {
                assert_eq!((error.raw_os_error(), n % 2), (Some(libc::ECANCELED), 0), "{order:?}");
                assert_eq!(buf, [0xEE]);
                cancelled += 1;
            }
        }
    }
    // The last bytes are those that the cancelled ones would have got.
    while received.len() < RECEIVES {
        let (result, buf) = recv(&near, Vec::with_capacity(RECEIVES)).await;
        assert_eq!(result.unwrap(), buf.len());
        received.extend(buf);
    }
    let mut expected = all;
    expected.sort_unstable();
    received.sort_unstable();
    assert!(received == expected, "{order:?}: {cancelled} were cancelled, {received:?} came");
    until_operations(0).await;
}

/// What a stream had accepted when it was stopped comes out of it, and then it ends.
#[test]
fn a_stream_that_is_stopped_gives_what_it_has() {
    for stop_first in [true, false] {
        run(builder(Mode::Polled), async {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let listener = Fd::new_prompt(OwnedFd::from(listener));
            let mut accepts = accept_many(&listener);
            assert!(futures::poll!(accepts.next()).is_pending());
            until_operations(1).await;
            let before = descriptors();
            let clients: Vec<_> = (0..10).map(|_| TcpStream::connect(address).unwrap()).collect();
            until_blocking("all connections", || descriptors() == before + 20);
            if stop_first {
                accepts.stop();
                assert_eq!(kill(), 1);
            } else {
                assert_eq!(kill(), 1);
                accepts.stop();
            }
            let mut accepted = 0;
            while let Some(next) = accepts.next().await {
                next.unwrap().close().await.unwrap();
                accepted += 1;
            }
            assert_eq!(accepted, 10);
            for mut client in clients {
                assert_eq!(client.read(&mut [0]).unwrap(), 0);
            }
            until_operations(0).await;
        });
    }
}
