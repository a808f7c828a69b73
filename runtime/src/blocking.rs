//! Closures that block, on threads of their own.

use crate::cores;
use crate::task::JoinHandle;

/// Runs a closure that blocks - a system call without an asynchronous form, a long computation - on a thread of the
/// runtime's pool, so that the core goes on. The pool grows to the builder's `blocking_threads_max`; more closures queue.
///
/// The handle's `abort` prevents a closure from beginning; one that runs can't be stopped. Shutdown waits for it until the
/// builder's `shutdown_ms` have passed.
///
/// # Panics
///
/// Outside of a runtime.
///
/// # Examples
///
/// ```
/// #[runtime::main]
/// async fn main() -> std::io::Result<()> {
///     let hosts = runtime::spawn_blocking(|| std::fs::read_to_string("/etc/hosts")).await??;
///     println!("{hosts}");
///     Ok(())
/// }
/// ```
pub fn spawn_blocking<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    cores::current().pool().spawn(f)
}
