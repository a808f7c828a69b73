//! A worker process: a planned fork, in whose child only one future runs.

use std::fmt::Display;
use std::future::Future;
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::pause::{self, Patience, Paused};
use super::worker::Worker;
use super::{Here, flush, release};
use crate::builder::Runtime;
use crate::cores::Cluster;
use crate::sys::signal::HeldBack;
use crate::sys::{self, Forked};
use crate::{cores, owner, private, signal};

/// The exit code of a worker whose future has panicked: the one that Rust programs end with.
const PANICKED: u8 = 101;

/// What a worker's future may end with: it becomes the exit code of the process.
pub trait Exit: sealed::Sealed {
    /// The exit code.
    #[doc(hidden)]
    fn code(self) -> u8;
}

mod sealed {
    pub trait Sealed {}
}

impl sealed::Sealed for () {}
impl Exit for () {
    fn code(self) -> u8 {
        0
    }
}

impl sealed::Sealed for u8 {}
impl Exit for u8 {
    fn code(self) -> u8 {
        self
    }
}

impl<E: Display> sealed::Sealed for Result<(), E> {}
impl<E: Display> Exit for Result<(), E> {
    /// 1 after an error, which is printed to the standard error.
    fn code(self) -> u8 {
        let Err(error) = self else { return 0 };
        // Nobody is left to be told that this fails.
        let _ = writeln!(io::stderr(), "error: {error}");
        1
    }
}

/// Forks a worker: a child process in which `future` runs, and nothing else of this runtime.
///
/// All cores come to a safe point first, and their requests are called back, so that none of them is half done while the
/// memory is copied (a device that writes into a page at that moment would write into one of the two copies). Then
///
/// - **here**, everything goes on as before, on the same rings; `future` is dropped without having been polled, and the
///   [`Worker`] is the handle to the child;
/// - **in the child**, `future` runs on a new runtime with the same options, with its own rings and poller; other cores start
///   when they are used. The tasks of this process are neither polled nor dropped there: two processes must not serve one
///   connection, and a destructor must not run twice. When `future` is ready the process ends with its output as exit code
///   ([`Exit`]: `()`, `Result<(), E>`, or the code itself as `u8`), without running what `atexit(3)` has registered.
///
/// The child has a copy of this process's descriptors. What the future needs it captures; the rest stays open until
/// [`release_inherited`](super::release_inherited) gives it up. Signals that are listened for here have their default action
/// there, until the worker listens itself. Threads of `spawn_blocking` and other threads do not exist there, and a lock that
/// one of them held stays locked: that is the one thing that no runtime can mend. The allocator and the runtime's own locks
/// are safe.
///
/// Blocks this core until all cores have come and the memory has been copied; call it from a task, on a core.
///
/// `fork(2)`.
///
/// # Errors
///
/// `TimedOut` if a core does not come to a safe point within five seconds: one of its tasks blocks; those of `fork(2)`
/// (`EAGAIN`: too many processes). Everything then goes on as before. An error of kind `Other` outside of a runtime.
///
/// # Examples
///
/// ```
/// #[runtime::main(cores = 1)]
/// async fn main() -> std::io::Result<()> {
///     let mut worker = runtime::guard::fork_worker(async {
///         runtime::time::sleep(std::time::Duration::from_millis(1)).await;
///         7_u8
///     })?;
///     assert_eq!(worker.wait().await?.code(), Some(7));
///     Ok(())
/// }
/// ```
pub fn fork_worker<F>(future: F) -> io::Result<Worker>
where
    F: Future + 'static,
    F::Output: Exit,
{
    let Here { core, cluster } = Here::find()?;
    flush();
    let paused = pause::all(&core, &cluster, Patience::SHORT)?;
    // Until the child has sorted out which signals are its own, none may come.
    let held_back = sys::signal::block_all()?;
    match sys::fork()? {
        Forked::Parent(pid) => {
            drop((held_back, paused));
            Worker::of_child(pid)
        }
        Forked::Child => {
            let _never = NeverBack;
            let code = match catch_unwind(AssertUnwindSafe(|| run(future, &cluster, paused, held_back))) {
                Ok(code) => code,
                Err(payload) => {
                    // Its destructor might panic in turn.
                    std::mem::forget(payload);
                    PANICKED
                }
            };
            flush();
            sys::exit_now(code.into())
        }
    }
}

/// Whatever happens in the child of a fork, its thread does not go back into the task that has forked.
pub(super) struct NeverBack;

impl Drop for NeverBack {
    fn drop(&mut self) {
        sys::exit_now(PANICKED.into());
    }
}

/// The life of the child.
fn run<F>(future: F, cluster: &Cluster, paused: Paused<'_>, held_back: HeldBack) -> u8
where
    F: Future,
    F::Output: Exit,
{
    match begin(cluster, paused, held_back) {
        // Dropping the runtime ends what the worker has spawned.
        Ok(runtime) => runtime.block_on(future).code(),
        Err(error) => Err::<(), _>(format!("a worker can't start its runtime: {error}")).code(),
    }
}

fn begin(cluster: &Cluster, paused: Paused<'_>, held_back: HeldBack) -> io::Result<Runtime> {
    owner::adopt()?;
    paused.leave_behind();
    cores::leave_for_good();
    private::close_inherited(None);
    signal::after_fork(false)?;
    drop(held_back);
    release::remember_inherited();
    cores::forget_others();
    // The core's pin is the parent's.
    let _ = sys::set_affinity(0, &cluster.options().usable_cpus);
    Ok(Runtime::start(cluster.options().clone())?)
}
