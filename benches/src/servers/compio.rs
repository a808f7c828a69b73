//! compio: its io_uring driver.

use std::io;
use std::time::Duration;

use ::compio::BufResult;
use ::compio::buf::{IntoInner, IoBuf};
use ::compio::driver::ProactorBuilder;
use ::compio::io::{AsyncRead, AsyncWriteExt};
use ::compio::net::{TcpListener, TcpStream};
use ::compio::runtime::RuntimeBuilder;

use super::{Config, POLLER_IDLE_MS, RING_ENTRIES, announce, ended};
use crate::sides::Mode;

/// Serves until the process is killed.
pub(crate) fn serve(config: &Config, mode: Mode) -> io::Result<()> {
    let &Config { addr, size } = config;
    let mut driver = ProactorBuilder::new();
    driver.capacity(RING_ENTRIES).single_issuer(true);
    match mode {
        Mode::Polled => driver.sqpoll_idle(Duration::from_millis(POLLER_IDLE_MS.into())),
        Mode::Entered => driver.defer_taskrun(true).taskrun_flag(true),
    };
    RuntimeBuilder::new().with_proactor(driver).build()?.block_on(async {
        let listener = TcpListener::bind(addr).await?;
        announce(listener.local_addr()?)?;
        loop {
            let (stream, _) = listener.accept().await?;
            ::compio::runtime::spawn(async move { ended(echo(stream, size).await) }).detach();
        }
    })
}

async fn echo(mut stream: TcpStream, size: usize) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buf = Vec::with_capacity(size);
    loop {
        let BufResult(result, filled) = stream.read(buf).await;
        let count = result?;
        if count == 0 {
            return Ok(());
        }
        // A read never shortens the buffer: only this much of it is new.
        let BufResult(result, written) = stream.write_all(filled.slice(..count)).await;
        result?;
        buf = written.into_inner();
    }
}
