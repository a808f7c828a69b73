//! A core's run queue, the registry of its tasks, and the door through which other threads reach it.
//!
//! The executor knows no I/O: it takes tasks that want to be polled, from its own thread through the [`Executor`]'s queue and
//! from others through the [`Remote`]'s inbox, and polls them in the order in which they came. What wakes a sleeping core
//! is an event counter that the reactor polls; the executor only adds to it.
//!
//! **On the same core** nothing is locked and nothing is atomic but the task cell's own state: `schedule` finds that it is at
//! home (one look at a thread-local) and pushes onto a `VecDeque`.
//!
//! **After a fork** only the core of the forking thread is there; [`Remote::is_lost`] is true of the others. What is sent to
//! them is kept for ever: a future must not be dropped on another thread than its own, and that one does not exist. The core
//! that goes on gets an event counter of its own ([`Remote::renew`]) and wakes all that it has, so that whoever waits for
//! something lost looks again.
//!
//! **Ending.** [`Executor::end_tasks`] ends every task of the core on its own thread, before the inbox closes; see `task`.

pub(crate) mod pool;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Wake, Waker};
use std::thread;

use futures::task::AtomicWaker;
use slab::Slab;

use crate::contain::wake_all;
use crate::task::inbox::{Inbox, Pushed};
use crate::task::{Home, Runnable, UNREGISTERED, lost};
use crate::{owner, private, sys};

thread_local! {
    /// The executor whose thread this is.
    /// Without a destructor, so that other thread-locals may own a runtime.
    static CURRENT: ManuallyDrop<RefCell<Option<Rc<Executor>>>> = const { ManuallyDrop::new(RefCell::new(None)) };
}

/// What other threads leave in a core's inbox.
enum Message {
    /// A task of this core that wants to be polled.
    Run(Runnable),
    /// Wake the task that is registered under this key.
    WakeTask(usize),
    /// Poll the main future.
    WakeMain,
    /// Do this between two tasks.
    Errand(Errand),
    /// End.
    Stop,
}

/// What a core is asked to do on its own thread, between two tasks. An error means that the core can't go on.
pub(crate) type Errand = Box<dyn FnOnce() -> io::Result<()> + Send>;

/// The event counter that wakes a core.
pub(crate) struct Wakeup(ManuallyDrop<OwnedFd>);

impl Wakeup {
    fn new() -> io::Result<Arc<Self>> {
        let counter = sys::eventfd()?;
        private::note(counter.as_raw_fd());
        Ok(Arc::new(Wakeup(ManuallyDrop::new(counter))))
    }
}

impl AsFd for Wakeup {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Drop for Wakeup {
    fn drop(&mut self) {
        // Else a child of a fork has closed it, and the number may mean another file.
        if private::take(self.0.as_raw_fd()) {
            sys::close(self.0.as_raw_fd());
        }
    }
}

/// The part of a core that other threads see.
pub(crate) struct Remote {
    inbox: Inbox<Message>,
    wakeup: Arc<Wakeup>,
    /// Tasks are to end instead of being polled.
    closing: AtomicBool,
    /// The process that has this core: see `owner`.
    epoch: AtomicU64,
}

impl Remote {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Remote {
            inbox: Inbox::new(),
            wakeup: Wakeup::new()?,
            closing: AtomicBool::new(false),
            epoch: AtomicU64::new(owner::adopt()?),
        })
    }

    /// In a child of a fork, on the core's own thread: the event counter, which is still shared with the parent, gives its
    /// number to a new one, and the core is this process's.
    pub(crate) fn renew(&self) -> io::Result<()> {
        sys::renew_eventfd(self.wakeup.as_fd())?;
        self.epoch.store(owner::adopt()?, Ordering::Relaxed);
        Ok(())
    }

    /// Whether the core will do it: it has not ended.
    pub(crate) fn send_errand(&self, errand: Errand) -> bool {
        self.send(Message::Errand(errand)).is_ok()
    }

    /// The event counter that wakes the core: to be polled by its reactor.
    pub(crate) fn wakeup(&self) -> Arc<Wakeup> {
        Arc::clone(&self.wakeup)
    }

    /// Asks the core to end its tasks and its thread.
    pub(crate) fn stop(&self) {
        // A core whose inbox is closed has ended already.
        let _ = self.send(Message::Stop);
    }

    /// Gives the message back if the core has ended.
    fn send(&self, message: Message) -> Result<(), Message> {
        if self.is_lost() {
            std::mem::forget(message);
            return Ok(());
        }
        if self.inbox.push(message)? == Pushed::MustWake {
            sys::eventfd_add(self.wakeup.as_fd())
                .expect("an event counter that is only added to takes 2^64 - 1 wakes");
        }
        Ok(())
    }

    fn is_executor(&self, executor: &Executor) -> bool {
        ptr::eq(self, &*executor.remote)
    }
}

impl Home for Remote {
    fn schedule(&self, task: Runnable) {
        let mut task = Some(task);
        with_current(|executor| {
            if self.is_executor(executor) {
                executor.queue.borrow_mut().extend(task.take());
            }
        });
        if let Some(task) = task
            && let Err(Message::Run(task)) = self.send(Message::Run(task))
        {
            // The core has ended, so the task was never polled, and polling it now just ends it.
            task.run();
        }
    }

    fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }

    fn is_here(&self) -> bool {
        with_current(|executor| self.is_executor(executor)) == Some(true)
    }

    fn is_lost(&self) -> bool {
        self.epoch.load(Ordering::Relaxed) != owner::epoch() && !Home::is_here(self)
    }

    fn register(&self, waker: &Waker) -> usize {
        with_current(|executor| executor.registry.borrow_mut().insert(waker.clone()))
            .expect("tasks are polled at home")
    }

    fn deregister(&self, key: usize) {
        let waker = with_current(|executor| executor.registry.borrow_mut().try_remove(key));
        drop(waker);
    }

    fn wake_registered(&self, key: usize) {
        let here = with_current(|executor| {
            let here = self.is_executor(executor);
            if here {
                executor.wake_registered(key);
            }
            here
        });
        if here != Some(true) {
            // A core that has ended has no task left to wake.
            let _ = self.send(Message::WakeTask(key));
        }
    }
}

fn with_current<R>(f: impl FnOnce(&Executor) -> R) -> Option<R> {
    CURRENT.with(|current| current.borrow().as_deref().map(f))
}

/// A core's run queue and tasks. Used by its thread only.
pub(crate) struct Executor {
    remote: Arc<Remote>,
    queue: RefCell<VecDeque<Runnable>>,
    /// Wakers of the tasks that have been polled and have not ended.
    registry: RefCell<Slab<Waker>>,
    main_woken: Cell<bool>,
    in_main: Cell<bool>,
    /// The task that is being polled: its key in the registry, or that it has none yet.
    running: Cell<Option<usize>>,
    stopped: Cell<bool>,
    errands: RefCell<VecDeque<Errand>>,
    /// Those on this core who wait for a task of another one.
    waiters: RefCell<Vec<Weak<Waiter>>>,
}

impl Executor {
    pub(crate) fn new(remote: Arc<Remote>) -> Rc<Self> {
        Rc::new(Executor {
            remote,
            queue: RefCell::default(),
            registry: RefCell::default(),
            main_woken: Cell::new(false),
            in_main: Cell::new(false),
            running: Cell::new(None),
            stopped: Cell::new(false),
            errands: RefCell::default(),
            waiters: RefCell::default(),
        })
    }

    pub(crate) fn remote(&self) -> &Arc<Remote> {
        &self.remote
    }

    /// Makes this the executor of the calling thread until the guard is dropped.
    pub(crate) fn enter(self: &Rc<Self>) -> Entered {
        Entered(CURRENT.with(|current| current.replace(Some(Rc::clone(self)))))
    }

    /// Queues a new task.
    pub(crate) fn push(&self, task: Runnable) {
        self.queue.borrow_mut().push_back(task);
    }

    /// Whether there is something to run now.
    pub(crate) fn has_work(&self) -> bool {
        self.main_woken.get() || !self.queue.borrow().is_empty() || !self.remote.inbox.is_empty()
    }

    /// Whether another thread has asked the core to end.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.get()
    }

    /// Fetches what other threads have sent.
    pub(crate) fn fetch(&self) {
        if !self.remote.inbox.is_empty() {
            self.remote.inbox.take(|message| self.receive(message));
        }
    }

    /// Runs at most `budget` tasks, after fetching what other threads have sent.
    pub(crate) fn run(&self, budget: usize) {
        self.fetch();
        for _ in 0..budget {
            // A statement of its own: the queue must not be borrowed while the task runs.
            let next = self.queue.borrow_mut().pop_front();
            let Some(task) = next else { return };
            self.running.set(Some(task.metadata().key()));
            task.run();
            self.running.set(None);
        }
    }

    fn receive(&self, message: Message) {
        match message {
            Message::Run(task) => self.push(task),
            Message::WakeTask(key) => self.wake_registered(key),
            Message::WakeMain => self.main_woken.set(true),
            Message::Stop => self.stopped.set(true),
            Message::Errand(errand) => self.errands.borrow_mut().push_back(errand),
        }
    }

    /// What another core has asked this one to do.
    pub(crate) fn next_errand(&self) -> Option<Errand> {
        self.errands.borrow_mut().pop_front()
    }

    /// How many tasks this core has, the main future among them.
    pub(crate) fn tasks(&self) -> usize {
        // In its first poll a task is neither registered nor queued.
        let first = self.running.get() == Some(UNREGISTERED);
        let others = usize::from(first) + usize::from(self.in_main.get());
        self.registry.borrow().len() + self.queue.borrow().len() + others
    }

    /// Notes that this core has a main future, until the guard is dropped.
    pub(crate) fn has_main(self: &Rc<Self>) -> HasMain {
        self.in_main.set(true);
        HasMain(Rc::clone(self))
    }

    /// In a child of a fork: wakes all that this core has, since what they wait for may be gone, and finds the tasks that a
    /// thread which does not exist here was about to queue.
    pub(crate) fn wake_all(&self) {
        self.fetch();
        self.errands.take();
        self.main_woken.set(true);
        let waiters = self.waiters.take();
        let mut wakers: Vec<Waker> =
            waiters.iter().filter_map(Weak::upgrade).filter_map(|waiter| waiter.waker.take()).collect();
        wake_all(&mut wakers);
        let registered = self.registry.borrow().iter().map(|(key, waker)| (key, waker.clone())).collect();
        lost::wake_and_find(registered, self.running.get(), &self.queue);
    }

    fn wake_registered(&self, key: usize) {
        let waker = self.registry.borrow().get(key).cloned();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn new_waiter(&self, core: usize) -> Arc<Waiter> {
        let mut waiters = self.waiters.borrow_mut();
        if waiters.len() == waiters.capacity() {
            waiters.retain(|waiter| waiter.strong_count() > 0);
            // So that the next look at all of them is as many additions away as there are.
            let live = waiters.len();
            waiters.reserve(live + 1);
        }
        let waiter = Arc::new(Waiter { waker: AtomicWaker::new(), core });
        waiters.push(Arc::downgrade(&waiter));
        waiter
    }

    /// Announces that the core is going to sleep; `false` if there is something to do after all.
    pub(crate) fn park(&self) -> bool {
        self.remote.inbox.park()
    }

    /// Takes the announcement back.
    pub(crate) fn unpark(&self) {
        self.remote.inbox.unpark();
    }

    /// Whether the main future was woken since the last call.
    pub(crate) fn take_main_woken(&self) -> bool {
        self.main_woken.replace(false)
    }

    /// A waker for the main future, which is no task.
    pub(crate) fn main_waker(&self) -> Waker {
        Waker::from(Arc::new(MainWaker(Arc::clone(&self.remote))))
    }

    /// Ends all tasks on this thread: their futures are dropped, their handles get an error. New ones end as well.
    pub(crate) fn end_tasks(&self) {
        self.remote.closing.store(true, Ordering::Relaxed);
        self.errands.take();
        loop {
            let wakers: Vec<Waker> = self.registry.borrow().iter().map(|(_, waker)| waker.clone()).collect();
            wakers.into_iter().for_each(Waker::wake);
            self.run(usize::MAX);
            self.errands.take();
            // A task that is registered still but not queued is on its way here: a thread has woken it and is about to push.
            let unfinished = !self.registry.borrow().is_empty() || !self.queue.borrow().is_empty();
            if !unfinished && self.remote.inbox.is_empty() {
                break;
            }
            thread::yield_now();
        }
    }

    /// Refuses messages from now on; every task must have ended. What arrived last is ended here.
    pub(crate) fn close(&self) {
        self.remote.inbox.close(|message| self.receive(message));
        self.errands.take();
        self.run(usize::MAX);
    }
}

/// Restores the thread's former executor.
pub(crate) struct Entered(Option<Rc<Executor>>);

impl Drop for Entered {
    fn drop(&mut self) {
        CURRENT.with(|current| current.replace(self.0.take()));
    }
}

/// A core's main future is being driven.
pub(crate) struct HasMain(Rc<Executor>);

impl Drop for HasMain {
    fn drop(&mut self) {
        self.0.in_main.set(false);
    }
}

/// The waker of somebody on a core who waits for a task of another core, or of none: a fork may leave that one behind.
pub(crate) struct Waiter {
    waker: AtomicWaker,
    /// Where he waits: the address of the core's remote part.
    core: usize,
}

/// Has this core wake `cx` if a fork leaves behind what he waits for. `waiter` is kept from one wait to the next. Does nothing
/// outside of a core.
pub(crate) fn wait_elsewhere(waiter: &mut Option<Arc<Waiter>>, cx: &Context<'_>) {
    with_current(|executor| {
        let core = Arc::as_ptr(&executor.remote).addr();
        let known = waiter.take().filter(|waiter| waiter.core == core);
        let known = known.unwrap_or_else(|| executor.new_waiter(core));
        known.waker.register(cx.waker());
        *waiter = Some(known);
    });
}

/// In a child of a fork: this thread has no executor any more, and what it had is left as it is.
pub(crate) fn leave_for_good() {
    std::mem::forget(CURRENT.with(|current| current.take()));
}

struct MainWaker(Arc<Remote>);

impl Wake for MainWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let here = with_current(|executor| {
            let here = self.0.is_executor(executor);
            if here {
                executor.main_woken.set(true);
            }
            here
        });
        if here != Some(true) {
            // A core that has ended has no main future.
            let _ = self.0.send(Message::WakeMain);
        }
    }
}
