//! Child processes.
//!
//! [`Command`] says what to run, as `std`'s does; spawning it gives a [`Child`], whose end is awaited and whose pipes
//! are read and written with owned buffers.
//!
//! ```
//! use runtime::process::{Command, Stdio};
//!
//! #[runtime::main]
//! async fn main() -> std::io::Result<()> {
//!     let mut command = Command::new("tr");
//!     command.args(["a-z", "A-Z"]).stdin(Stdio::piped()).stdout(Stdio::piped());
//!     let mut child = command.spawn().await?;
//!     let stdin = child.stdin.take().expect("it is piped");
//!     stdin.write_all("loud").await.0?;
//!     stdin.close().await?;
//!     let output = child.wait_with_output().await?;
//!     assert!(output.status.success());
//!     assert_eq!(output.stdout, b"LOUD");
//!     Ok(())
//! }
//! ```
//!
//! # Inside
//!
//! **A child is known by a pidfd** (`pidfd`), opened as soon as it is there: until we reap it, its number can't come to
//! mean another process, and afterwards the descriptor does not either. So a signal never reaches a stranger, and
//! neither `SIGCHLD` nor a thread is needed to learn of its end: a poll on the descriptor is one more operation of the
//! ring.
//!
//! **Spawning blocks** until the child has executed its program, or failed to, which is why it happens on a blocking
//! thread (`command`, `started`). It is `std` that does it, with `posix_spawn(3)` where it can.
//!
//! **Who is dropped is not forgotten** (`pidfd`): a task of the core reaps the child when it ends, so that no zombie
//! stays.
//!
//! **After a fork** the children are the parent's. In the other process waiting for one is `ECHILD`, and dropping one
//! does nothing to it.

mod child;
mod command;
mod pidfd;
mod pipes;
mod started;

pub use std::process::{ExitStatus, Output, Stdio};

pub use child::Child;
pub use command::Command;
pub(crate) use pidfd::Pidfd;
pub use pipes::{ChildStderr, ChildStdin, ChildStdout};
