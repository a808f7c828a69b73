//! "This core": the executor, the reactor and the timers of the calling thread, where they meet.

use std::cell::RefCell;
use std::io;
use std::mem::ManuallyDrop;
use std::rc::Rc;
use std::sync::Arc;

use crate::executor::pool::Pool;
use crate::executor::{Entered, Executor};
use crate::reactor::Reactor;
use crate::time::timers::Timers;

thread_local! {
    /// Without a destructor, so that other thread-locals may own a runtime.
    static CURRENT: ManuallyDrop<RefCell<Option<Rc<Core>>>> = const { ManuallyDrop::new(RefCell::new(None)) };
}

/// One core's parts. Used by its thread only.
pub(crate) struct Core {
    pub(crate) index: usize,
    pub(crate) executor: Rc<Executor>,
    pub(crate) reactor: Rc<Reactor>,
    pub(crate) timers: Rc<Timers>,
    pub(crate) pool: Arc<Pool>,
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

/// The error of an operation that needs a core where there is none.
pub(crate) fn no_runtime() -> io::Error {
    io::Error::other(
        "this needs a repoll runtime on its thread: call it inside #[runtime::main] or Runtime::block_on",
    )
}
