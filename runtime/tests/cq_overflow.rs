//! A completion queue that is far too small: what the kernel could not put there is fetched, and none of it is lost.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

mod common;

use std::cell::Cell;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::rc::Rc;

use common::{Counted, MODES, builder, pipe, poll_deaf, run_on, until, until_operations};
use futures::StreamExt;
use runtime::Mode;
use runtime::buf::IoBuf;
use runtime::fd::Fd;
use runtime::op::{accept_many, read_at};

const HERE: u64 = u64::MAX;
const READS: usize = 600;

/// Waits until so many requests have left the backlog, beside the poll on the wake-up counter.
async fn submitted(requests: usize) {
    until("room for all requests", || runtime::metrics().cores[0].sqes > requests as u64).await;
}

/// Reads on their way to the kernel are answered all at once, while the core is kept from looking.
#[test]
fn hundreds_of_completions_at_once() {
    for (mode, entries) in MODES.into_iter().flat_map(|mode| [1, 2].map(|entries| (mode, entries))) {
        run_on(builder(mode).entries(entries), mode, async {
            let drops: Rc<Cell<usize>> = Rc::default();
            let (reader, mut writer) = pipe();
            let mut reads: Vec<_> =
                (0..READS).map(|_| read_at(&reader, Counted::new(1, &drops), HERE)).collect();
            for read in &mut reads {
                assert!(poll_deaf(read).is_pending());
            }
            submitted(READS).await;
            writer.write_all(&[3; READS]).unwrap();
            for read in reads {
                let (result, buf) = read.await;
                assert_eq!((result.unwrap(), buf.as_bytes()), (1, &[3][..]));
            }
            until_operations(0).await;
            assert_eq!(drops.get(), READS);
            let core = &runtime::metrics().cores[0];
            // An entered ring completes no more than there is room for at a time.
            assert!(mode == Mode::Entered || core.overflows > 0, "the test never reached its case: {core:?}");
        });
    }
}

/// As above, but half of them are nobody's any more when the answers come.
#[test]
fn cancelled_reads_among_them_are_freed() {
    for mode in MODES {
        run_on(builder(mode).entries(1), mode, async {
            let drops: Rc<Cell<usize>> = Rc::default();
            let (reader, mut writer) = pipe();
            let mut reads: Vec<_> =
                (0..READS).map(|_| read_at(&reader, Counted::new(1, &drops), HERE)).collect();
            reads.iter_mut().for_each(|read| assert!(poll_deaf(read).is_pending()));
            submitted(READS).await;
            writer.write_all(&[3; READS]).unwrap();
            let kept: Vec<_> =
                reads.into_iter().enumerate().filter(|(n, _)| n % 2 == 0).map(|(_, read)| read).collect();
            for read in kept {
                assert_eq!(read.await.0.unwrap(), 1);
            }
            until_operations(0).await;
            assert_eq!(drops.get(), READS);
        });
    }
}

#[test]
fn a_multishot_accept_with_more_connections_than_room_loses_none() {
    const CONNECTIONS: usize = 100;
    for mode in MODES {
        run_on(builder(mode).entries(1), mode, async {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let listener = Fd::new_prompt(OwnedFd::from(listener));
            let mut accepts = accept_many(&listener);
            // Armed before the connections come, and not looked at until all are there.
            assert!(futures::poll!(accepts.next()).is_pending());
            until_operations(1).await;
            let clients: Vec<TcpStream> =
                (0..CONNECTIONS).map(|_| TcpStream::connect(address).unwrap()).collect();
            let mut accepted = Vec::new();
            for _ in 0..CONNECTIONS {
                accepted.push(accepts.next().await.unwrap().unwrap());
            }
            let mut peers: Vec<_> = accepted
                .iter()
                .map(|fd| socket2::SockRef::from(fd).peer_addr().unwrap().as_socket().unwrap())
                .collect();
            let mut expected: Vec<_> = clients.iter().map(|client| client.local_addr().unwrap()).collect();
            peers.sort();
            expected.sort();
            assert_eq!(peers, expected);
            drop((accepts, accepted));
            until_operations(0).await;
        });
    }
}
