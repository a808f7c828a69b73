//! The flag that ends a copy early: set by a signal or a failure, looked at by every step.

use std::cell::Cell;
use std::io;
use std::rc::Rc;

use futures::future::{Either, select};
use runtime::signal::{SignalKind, signal};

use super::failure::Failure;

#[derive(Clone, Copy)]
enum Reason {
    Signal(i32),
    Failure,
}

/// Whether, and why, the copy is to end.
#[derive(Clone)]
pub(crate) struct Stop(Rc<Cell<Option<Reason>>>);

impl Stop {
    /// Listens for `SIGINT` and `SIGTERM`, which from now on end the copy instead of the process.
    pub(crate) fn listen() -> io::Result<Self> {
        let stop = Stop(Rc::default());
        let mut interrupt = signal(SignalKind::INTERRUPT)?;
        let mut terminate = signal(SignalKind::TERMINATE)?;
        let set = stop.clone();
        runtime::spawn(async move {
            let (interrupted, terminated) = (Box::pin(interrupt.recv()), Box::pin(terminate.recv()));
            let (kind, received) = match select(interrupted, terminated).await {
                Either::Left((received, _)) => (SignalKind::INTERRUPT, received),
                Either::Right((received, _)) => (SignalKind::TERMINATE, received),
            };
            // An error means that the runtime ends, and with it the copy.
            if received.is_ok() {
                set.0.set(Some(Reason::Signal(kind.as_raw())));
            }
        });
        Ok(stop)
    }

    /// Ends the other parts of the copy because one has failed.
    pub(crate) fn because_of_failure(&self) {
        if self.0.get().is_none() {
            self.0.set(Some(Reason::Failure));
        }
    }

    /// # Errors
    ///
    /// Why the copy is to end, if it is.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        match self.0.get() {
            None => Ok(()),
            Some(Reason::Signal(number)) => Err(Failure::Signal(number)),
            Some(Reason::Failure) => Err(Failure::Elsewhere),
        }
    }
}
