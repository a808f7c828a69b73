//! Ours: one core, polled or entered, everything else as it is by default (the core's thread is pinned).

use std::io;

use net::{TcpListener, TcpStream};

use super::{Config, announce, ended};
use crate::sides::Mode;

/// Serves until the process is killed.
pub(crate) fn serve(config: &Config, mode: Mode) -> io::Result<()> {
    let &Config { addr, size } = config;
    let mode = match mode {
        Mode::Polled => runtime::Mode::Polled,
        Mode::Entered => runtime::Mode::Entered,
    };
    let runtime = runtime::Builder::new().cores(1).mode(mode).build()?;
    runtime.block_on(async {
        expect_mode(mode)?;
        let listener = TcpListener::bind(addr).await?;
        announce(listener.local_addr()?)?;
        loop {
            let (stream, _) = listener.accept().await?;
            runtime::spawn(async move { ended(echo(stream, size).await) });
        }
    })
}

/// A core that was refused a polled ring has an entered one: a figure of that would be another side's.
fn expect_mode(mode: runtime::Mode) -> io::Result<()> {
    let metrics = runtime::metrics();
    let core = metrics.cores.iter().find(|core| core.mode.is_some());
    if core.and_then(|core| core.mode) == Some(mode) {
        return Ok(());
    }
    let why = core.and_then(|core| core.why_not_polled.as_deref()).unwrap_or("no reason given");
    Err(io::Error::other(format!("the ring is not {mode:?}: {why}")))
}

async fn echo(stream: TcpStream, size: usize) -> io::Result<()> {
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
