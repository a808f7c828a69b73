//! An async runtime for Linux on io_uring submission-queue polling.
//!
//! One kernel thread, the *poller*, submits the I/O of every core, so that a core's executor makes no system call while
//! there is work. Tasks stay on their core and need not be `Send`; buffers are owned by the operation while the kernel
//! uses them and come back with its result.
//!
//! ```
//! use runtime::buf::IoBuf;
//!
//! #[runtime::main]
//! async fn main() -> std::io::Result<()> {
//!     let zeroes = runtime::fd::Fd::new(std::fs::File::open("/dev/zero")?.into());
//!     let read = runtime::spawn(async move { runtime::op::read_at(&zeroes, Vec::with_capacity(8), 0).await });
//!     let (result, buf) = read.await?;
//!     assert_eq!((result?, buf.as_bytes()), (8, &[0; 8][..]));
//!     Ok(())
//! }
//! ```
//!
//! Sockets are in the crate `repoll-net` (`net`), files in `repoll-fs` (`fs`). [`Builder`] has all options;
//! [`metrics()`] shows what the cores are doing. ARCHITECTURE.md in the repository is the map of the code.

#[cfg(not(target_os = "linux"))]
compile_error!("repoll is built on io_uring, which only Linux has (6.1 or later)");

mod blocking;
mod builder;
mod contain;
mod context;
mod cores;
mod error;
mod executor;
mod metrics;
mod owner;
mod private;
mod reactor;
mod ring;
mod sys;
mod worker;

pub mod buf;
pub mod fd;
pub mod guard;
pub mod op;
pub mod process;
pub mod signal;
pub mod task;
pub mod time;

pub use blocking::spawn_blocking;
pub use builder::{Builder, Cores, Runtime};
pub use cores::{core, cores, metrics, on_every_core, spawn, spawn_on};
pub use error::{BuildError, BuildErrorKind};
pub use metrics::{CoreMetrics, Metrics, ReplaceReason, Replaced, Replacement};
#[cfg(feature = "macros")]
pub use repoll_macros::{main, test};
pub use ring::Mode;
pub use task::{JoinError, JoinHandle};

/// What the attribute macros expand to; not for direct use.
#[doc(hidden)]
pub mod __private {
    use std::error::Error;

    /// Reports why a runtime could not be built, and ends the process with code 1.
    #[allow(
        clippy::print_stderr,
        reason = "the main function of a program that can't start has nothing else to report to"
    )]
    pub fn build_failed(error: crate::BuildError) -> ! {
        eprintln!("error: {error}");
        let mut source = error.source();
        while let Some(cause) = source {
            eprintln!("caused by: {cause}");
            source = cause.source();
        }
        std::process::exit(1)
    }
}
