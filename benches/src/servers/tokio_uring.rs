//! tokio-uring: a ring under a current-thread tokio runtime, which waits for it with epoll.

use std::io;

use ::tokio_uring::buf::BoundedBuf;
use ::tokio_uring::net::{TcpListener, TcpStream};

use super::{Config, RING_ENTRIES, announce, ended, peer_ring};
use crate::sides::Mode;

/// Serves until the process is killed.
pub(crate) fn serve(config: &Config, mode: Mode) -> io::Result<()> {
    let &Config { addr, size } = config;
    let mut ring = peer_ring(mode);
    if mode == Mode::Entered {
        // Not DEFER_TASKRUN: it waits with epoll and takes completions without entering the ring.
        ring.setup_coop_taskrun();
    }
    ::tokio_uring::builder().entries(RING_ENTRIES).uring_builder(&ring).start(async {
        let listener = TcpListener::bind(addr)?;
        announce(listener.local_addr()?)?;
        loop {
            let (stream, _) = listener.accept().await?;
            ::tokio_uring::spawn(async move { ended(echo(stream, size).await) });
        }
    })
}

async fn echo(stream: TcpStream, size: usize) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buf = Vec::with_capacity(size);
    loop {
        let (result, filled) = stream.read(buf).await;
        let count = result?;
        if count == 0 {
            return Ok(());
        }
        // A read never shortens the buffer: only this much of it is new.
        let (result, written) = stream.write_all(filled.slice(..count)).await;
        result?;
        buf = written.into_inner();
    }
}
