//! tokio: the current-thread runtime, which is its fastest for one thread.

use std::io;

use ::tokio::io::{AsyncReadExt, AsyncWriteExt};
use ::tokio::net::{TcpListener, TcpStream};
use ::tokio::runtime::Builder;

use super::{Config, announce, ended};

/// Serves until the process is killed.
pub(crate) fn serve(config: &Config) -> io::Result<()> {
    let &Config { addr, size } = config;
    Builder::new_current_thread().enable_io().build()?.block_on(async {
        let listener = TcpListener::bind(addr).await?;
        announce(listener.local_addr()?)?;
        loop {
            let (stream, _) = listener.accept().await?;
            ::tokio::spawn(async move { ended(echo(stream, size).await) });
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
