//! Bytes come back as they were sent: sizes from one byte to a mebibyte, many connections, one core and two.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

#[path = "../../runtime/tests/common/mod.rs"]
mod common;

use std::net::SocketAddr;

use common::{MODES, until_operations};
use futures::StreamExt;
use net::{ListenOptions, TcpListener, TcpStream};
use runtime::buf::IoBuf;
use runtime::task::JoinSet;
use runtime::{Builder, Mode};

const CONNECTIONS: usize = 40;

/// Bytes that follow from `seed` (xorshift).
fn bytes(mut seed: u64, len: usize) -> Vec<u8> {
    seed = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    (0..len)
        .map(|_| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed as u8
        })
        .collect()
}

async fn echo(stream: TcpStream) {
    let mut buf = vec![0; 16 * 1024];
    loop {
        let result;
        (result, buf) = stream.read(buf).await;
        if result.unwrap() == 0 {
            return;
        }
        let result;
        (result, buf) = stream.write_all(buf).await;
        result.unwrap();
    }
}

async fn serve(listener: TcpListener, multishot: bool) {
    if multishot {
        let mut incoming = listener.incoming();
        while let Some(stream) = incoming.next().await {
            drop(runtime::spawn(echo(stream.unwrap())));
        }
    } else {
        loop {
            drop(runtime::spawn(echo(listener.accept().await.unwrap().0)));
        }
    }
}

async fn check(address: SocketAddr, seed: u64) {
    let (mut reader, writer) = TcpStream::connect(address).await.unwrap().split();
    for round in 0..4 {
        let len = match (seed + round) % 5 {
            0 => 1,
            1 => 4096,
            2 => 16 * 1024 + 1,
            3 => 1 << 20,
            _ => 1 + (seed as usize * 7919) % 100_000,
        };
        let sent = bytes(seed * 8 + round, len);
        let receiver = runtime::spawn(async move {
            let (result, buf) = reader.read_exact(Vec::with_capacity(len).slice(..len)).await;
            result.unwrap();
            (reader, buf.into_inner())
        });
        let (result, sent) = writer.write_all(sent).await;
        result.unwrap();
        let received;
        (reader, received) = receiver.await.unwrap();
        assert!(sent == received, "connection {seed}: {len} bytes came back changed");
    }
    // Half closed: the echo ends, and its end reads to the end.
    drop(writer);
    assert_eq!(reader.read(vec![0]).await.0.unwrap(), 0);
}

fn cases() -> impl Iterator<Item = (Mode, bool)> {
    MODES.into_iter().flat_map(|mode| [false, true].map(|multishot| (mode, multishot)))
}

#[test]
fn on_one_core() {
    for ((mode, multishot), entries) in cases().flat_map(|case| [2, 256].map(|entries| (case, entries))) {
        let builder = common::builder(mode).entries(entries);
        common::run_on(builder, mode, async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let server = runtime::spawn(serve(listener, multishot));
            let mut clients = JoinSet::new();
            (0..CONNECTIONS).for_each(|seed| clients.spawn(check(address, seed as u64)));
            while let Some(result) = clients.join_next().await {
                result.unwrap();
            }
            server.abort();
            assert!(server.await.unwrap_err().is_aborted());
            until_operations(0).await;
        });
    }
}

/// Every core listens on the same port and connects to it, so that most connections cross between them.
#[test]
fn on_two_cores() {
    for (mode, multishot) in cases() {
        let runtime = Builder::new().cores(2).pin(false).mode(mode).build().unwrap();
        runtime.block_on(async {
            let options = ListenOptions::new().reuse_port(true);
            let address = {
                let first = options.bind("127.0.0.1:0").await.unwrap();
                let address = first.local_addr().unwrap();
                drop(runtime::spawn(serve(first, multishot)));
                address
            };
            let (bound, mut is_bound) = futures::channel::mpsc::unbounded();
            drop(runtime::spawn_on(1, move || async move {
                let listener = options.bind(address).await.unwrap();
                assert_eq!(listener.local_addr().unwrap(), address);
                bound.unbounded_send(()).unwrap();
                serve(listener, multishot).await;
            }));
            is_bound.next().await.unwrap();
            let clients = runtime::on_every_core(move |core| async move {
                let mut clients = JoinSet::new();
                (0..CONNECTIONS).for_each(|n| clients.spawn(check(address, (core * 1000 + n) as u64)));
                clients.join_all().await.into_iter().for_each(|result| result.unwrap());
            });
            for client in clients {
                client.await.unwrap();
            }
            // The kernel spreads connections by a hash of their ports: both had some, with all but certainty.
            assert!(runtime::metrics().cores.iter().all(|core| core.mode == Some(mode)));
        });
    }
}
