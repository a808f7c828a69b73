//! Changing the process under a running runtime: fork, daemonise, exec, another identity; and surviving what happens to it.
//!
//! A ring with a poller belongs to the process that opened it, in ways that the kernel does not report. After a `fork` the
//! child's requests are carried out by the parent's poller, in the *parent's* memory, with a result that says success; after
//! `setuid` the poller opens files with the rights that were given up; after an exec or the creator's death it is gone, and
//! what was in flight with it. So the runtime looks after its rings: here is what happens in each case, and the calls for
//! those that are planned.
//!
//! | what happens | what becomes of requests in flight | by |
//! |---|---|---|
//! | the poller dies (`EOWNERDEAD`) | delivered if done, else submitted on a new ring; futures notice nothing | itself |
//! | the kernel replaces a dead poller | the ring stays; what came back cancelled is submitted again | itself |
//! | any code forks | the parent notices nothing; in the child they fail with `EOWNERDEAD` | itself |
//! | a worker is forked | go on in the parent | [`fork_worker`] |
//! | the process becomes a daemon | go on in the daemon | [`daemonize`] |
//! | another program takes over | called back; then gone with the tasks, but for what is handed over | [`Upgrade`] |
//! | an exec fails | go on | [`Upgrade`] |
//! | privileges are dropped | go on, under the new identity | [`drop_privileges`] |
//! | the process changed its identity | go on, under the new identity | [`identity_changed`] |
//! | a child is started by `posix_spawn`, `vfork` or [`process::Command`](crate::process::Command) | go on | nothing to do |
//!
//! # In a child that somebody has forked
//!
//! The thread that called `fork` is the only one there. If it is a core's, its tasks go on in the child too, from the copy of
//! the memory: new requests, timers, tasks, other cores and blocking closures work, on a ring and a poller that are made before
//! the first future is driven. Two things can't be had. Requests that were in flight are the parent's: they fail with
//! the raw errno `EOWNERDEAD`, and their buffers come back. Tasks of other cores, and closures on blocking threads, have no
//! thread: their handles give a [`JoinError`](crate::JoinError) that [`is_lost`](crate::JoinError::is_lost). A descriptor
//! that was being closed at that moment may stay open in the child. All tasks of the core exist twice from then on, so a
//! program that means to fork calls [`fork_worker`], in whose child nothing runs but what was asked for.
//!
//! On kernels before 6.5, a read with `O_DIRECT` that is under way during an unplanned fork may be written to the page that
//! the child gets instead of the parent's; the planned forks call everything back before.
//!
//! # Inside
//!
//! Whether this is still the process that opened a ring is read from a word that a fork wipes (`owner`), each time before
//! the ring is touched and before futures are driven. What becomes of the requests is `reactor::replace`'s affair. The
//! planned changes have all cores at a safe point first (`pause`). A core whose ring is gone gets another in `cores::recover`.

mod daemon;
mod fork;
mod identity;
mod inherit;
pub(crate) mod pause;
mod release;
mod upgrade;
mod worker;

use std::io::{self, Write};
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use crate::context::{self, Core};
use crate::cores::{self, Cluster};

pub use daemon::{Daemon, Daemonize, daemonize};
pub use fork::{Exit, fork_worker};
pub use identity::{drop_privileges, identity_changed};
pub use inherit::{inherited, inherited_connections};
pub use release::release_inherited;
pub use upgrade::Upgrade;
pub use worker::Worker;

/// The core and the runtime of the calling thread.
struct Here {
    core: Rc<Core>,
    cluster: Arc<Cluster>,
}

impl Here {
    /// # Errors
    ///
    /// If this thread is no core.
    fn find() -> io::Result<Self> {
        let core = context::current().ok_or_else(context::no_runtime)?;
        Ok(Here { core, cluster: cores::current() })
    }
}

/// How long [`flush`] may take.
const FLUSH_PATIENCE: Duration = Duration::from_secs(1);

/// Writes out what is in the buffers of the standard streams: else it would be written by both processes, or by none. On a
/// thread of its own, because another one may hold the lock of a stream, also one that does not exist in this process.
fn flush() {
    let (done, is_done) = mpsc::channel();
    let flushing = thread::Builder::new().spawn(move || {
        let _ = io::stdout().flush();
        let _ = io::stderr().flush();
        let _ = done.send(());
    });
    if flushing.is_ok() {
        let _ = is_done.recv_timeout(FLUSH_PATIENCE);
    }
}
