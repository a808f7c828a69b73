//! Tasks on this core and on others, and what the runtime says of itself: the functions that users call.

use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;

use super::current;
use crate::context;
use crate::metrics::Metrics;
use crate::task::{self, Home, JoinHandle};

/// Starts a task on this core. It need not be `Send`: it never leaves the core.
///
/// # Panics
///
/// Outside of a runtime.
///
/// # Examples
///
/// ```
/// #[runtime::main]
/// async fn main() {
///     let answer = runtime::spawn(async { 6 * 7 });
///     assert_eq!(answer.await.unwrap(), 42);
/// }
/// ```
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + 'static,
    F::Output: 'static,
{
    let Some(executor) = context::with_core(|core| Rc::clone(&core.executor)) else {
        panic!("{}", context::no_runtime())
    };
    let (runnable, handle) = task::new_local(future, Arc::clone(executor.remote()) as Arc<dyn Home>);
    executor.push(runnable);
    handle
}

/// Starts a task on core `core` (counted from 0), which is started if it has not been. The closure travels there and
/// makes the future, which need not be `Send`. If the core can't be had, the handle says why.
///
/// # Panics
///
/// Outside of a runtime.
///
/// # Examples
///
/// ```
/// use std::rc::Rc;
///
/// #[runtime::main]
/// async fn main() {
///     let last = runtime::cores() - 1;
///     let handle = runtime::spawn_on(last, || async {
///         let not_send = Rc::new(5);
///         (runtime::core(), *not_send)
///     });
///     assert_eq!(handle.await.unwrap(), (last, 5));
///     assert!(runtime::spawn_on(9999, || async {}).await.is_err());
/// }
/// ```
pub fn spawn_on<M, F>(core: usize, make: M) -> JoinHandle<F::Output>
where
    M: FnOnce() -> F + Send + 'static,
    F: Future + 'static,
    F::Output: Send + 'static,
{
    match current().reach(core) {
        Ok(remote) => {
            let (runnable, handle) = task::new_remote(make, remote as Arc<dyn Home>);
            runnable.schedule();
            handle
        }
        Err(error) => JoinHandle::refused(error),
    }
}

/// Starts a task on every core, among them those that have not been started; the handles in the order of the cores.
///
/// # Panics
///
/// Outside of a runtime.
///
/// # Examples
///
/// ```
/// #[runtime::main]
/// async fn main() {
///     for (core, handle) in runtime::on_every_core(|core| async move { core }).into_iter().enumerate() {
///         assert_eq!(handle.await.unwrap(), core);
///     }
/// }
/// ```
pub fn on_every_core<M, F>(make: M) -> Vec<JoinHandle<F::Output>>
where
    M: Fn(usize) -> F + Clone + Send + 'static,
    F: Future + 'static,
    F::Output: Send + 'static,
{
    (0..cores())
        .map(|core| {
            let make = make.clone();
            spawn_on(core, move || make(core))
        })
        .collect()
}

/// How many cores this runtime has, started or not.
///
/// # Panics
///
/// Outside of a runtime.
pub fn cores() -> usize {
    current().cores.len()
}

/// The core that this task runs on, counted from 0.
///
/// # Panics
///
/// Outside of a runtime.
pub fn core() -> usize {
    match context::with_core(|core| core.index) {
        Some(index) => index,
        None => panic!("{}", context::no_runtime()),
    }
}

/// What this runtime's cores are doing.
///
/// # Panics
///
/// Outside of a runtime.
pub fn metrics() -> Metrics {
    current().metrics()
}
