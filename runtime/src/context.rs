//! "This core": the executor, the reactor and the timers of the calling thread, where they meet.

use std::cell::{Cell, RefCell};
use std::io;
use std::mem::ManuallyDrop;
use std::rc::Rc;

use crate::executor::{self, Entered, Executor};
use crate::owner::Owner;
use crate::reactor::Reactor;
use crate::time::timers::Timers;

thread_local! {
    /// Without a destructor, so that other thread-locals may own a runtime.
    static CURRENT: ManuallyDrop<RefCell<Option<Rc<Core>>>> = const { ManuallyDrop::new(RefCell::new(None)) };
}

/// One core's parts. Used by its thread only.
pub(crate) struct Core {
    pub(crate) index: usize,
    /// The process that the core works for. Set anew by whoever has made the core one of another process.
    pub(crate) owner: Cell<Owner>,
    pub(crate) executor: Rc<Executor>,
    pub(crate) reactor: Rc<Reactor>,
    pub(crate) timers: Rc<Timers>,
}

impl Core {
    /// Makes this the calling thread's core until the guard is dropped.
    pub(crate) fn enter(self: &Rc<Self>) -> CoreEntered {
        let executor = self.executor.enter();
        let former = CURRENT.with(|current| current.replace(Some(Rc::clone(self))));
        CoreEntered { former, _executor: executor }
    }
}

/// Restores the thread's former core.
pub(crate) struct CoreEntered {
    former: Option<Rc<Core>>,
    _executor: Entered,
}

impl Drop for CoreEntered {
    fn drop(&mut self) {
        CURRENT.with(|current| current.replace(self.former.take()));
    }
}

/// Calls `f` with this thread's core; `None` outside of a runtime.
pub(crate) fn with_core<R>(f: impl FnOnce(&Core) -> R) -> Option<R> {
    CURRENT.with(|current| current.borrow().as_deref().map(f))
}

/// This thread's core; `None` outside of a runtime.
pub(crate) fn current() -> Option<Rc<Core>> {
    CURRENT.with(|current| current.borrow().clone())
}

/// In a child of a fork: this thread has no core any more, and what it had is left as it is.
pub(crate) fn leave_for_good() {
    executor::leave_for_good();
    std::mem::forget(CURRENT.with(|current| current.take()));
}

/// The error of an operation that needs a core where there is none.
pub(crate) fn no_runtime() -> io::Error {
    io::Error::other(
        "this needs a repoll runtime on its thread: call it inside #[runtime::main] or Runtime::block_on",
    )
}
