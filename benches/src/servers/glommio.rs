//! glommio: one executor, free to run on any processor.

use std::io;
use std::time::Duration;

use ::glommio::net::{TcpListener, TcpStream};
use ::glommio::{CpuSet, LocalExecutorBuilder, Placement};
use futures_lite::{AsyncReadExt, AsyncWriteExt};

use super::{Config, RING_ENTRIES, announce, ended};

/// Longer than a round trip, far shorter than what a poller of another side spins.
const SPIN: Duration = Duration::from_micros(500);

/// Serves until the process is killed.
pub(crate) fn serve(config: &Config, spin: bool) -> io::Result<()> {
    let &Config { addr, size } = config;
    let builder = if spin {
        // It spins only where its placement is given; all processors leave it as free as the others.
        LocalExecutorBuilder::new(Placement::Fenced(CpuSet::online()?)).spin_before_park(SPIN)
    } else {
        LocalExecutorBuilder::new(Placement::Unbound)
    };
    builder.ring_depth(RING_ENTRIES as usize).make()?.run(async {
        let listener = TcpListener::bind(addr)?;
        announce(listener.local_addr()?)?;
        loop {
            let stream = listener.accept().await?;
            ::glommio::spawn_local(async move { ended(echo(stream, size).await) }).detach();
        }
    })
}

async fn echo(mut stream: TcpStream, size: usize) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buf = vec![0; size];
    loop {
        let count = stream.read(&mut buf).await?;
        if count == 0 {
            return Ok(());
        }
        stream.write_all(&buf[..count]).await?;
    }
}
