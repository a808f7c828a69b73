//! monoio: its io_uring driver, without timers.

use std::io;

use ::monoio::io::{AsyncReadRent, AsyncWriteRentExt};
use ::monoio::net::{TcpListener, TcpStream};
use ::monoio::{IoUringDriver, RuntimeBuilder};

use super::{Config, RING_ENTRIES, announce, ended, peer_ring};
use crate::sides::Mode;

/// Serves until the process is killed.
pub(crate) fn serve(config: &Config, mode: Mode) -> io::Result<()> {
    let &Config { addr, size } = config;
    let mut ring = peer_ring(mode);
    if mode == Mode::Entered {
        // It always waits by entering its ring, which is what this needs.
        ring.setup_defer_taskrun();
    }
    let builder = RuntimeBuilder::<IoUringDriver>::new().with_entries(RING_ENTRIES).uring_builder(ring);
    builder.build()?.block_on(async {
        let listener = TcpListener::bind(addr)?;
        announce(listener.local_addr()?)?;
        loop {
            let (stream, _) = listener.accept().await?;
            ::monoio::spawn(async move { ended(echo(stream, size).await) });
        }
    })
}

async fn echo(mut stream: TcpStream, size: usize) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buf = Vec::with_capacity(size);
    loop {
        let (result, filled) = stream.read(buf).await;
        if result? == 0 {
            return Ok(());
        }
        let (result, written) = stream.write_all(filled).await;
        result?;
        buf = written;
    }
}
