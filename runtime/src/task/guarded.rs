//! The future inside a task: turns panics, aborts and shutdown into its output, and lets no panic out.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use super::{Header, JoinError};
use crate::contain::contain_panic;

/// The output of a task in its cell. If nobody takes it, it is dropped there, by whoever drops the cell's last reference;
/// its destructor, too, must not get a panic out.
pub(super) struct Outcome<T>(Option<Result<T, JoinError>>);

impl<T> Outcome<T> {
    pub(super) fn take(mut self) -> Result<T, JoinError> {
        self.0.take().expect("an outcome is taken once")
    }
}

impl<T> Drop for Outcome<T> {
    fn drop(&mut self) {
        if let Some(output) = self.0.take() {
            contain_panic(|| drop(output));
        }
    }
}

/// The panic of a destructor has nobody to go to; the hook has reported it. Its payload's destructor might panic in turn.
fn forget_panic(payload: Box<dyn Any + Send>) {
    std::mem::forget(payload);
}

pin_project! {
    /// A future that never panics: neither when polled nor when dropped.
    pub(super) struct Guarded<'a, F> {
        #[pin]
        future: Option<F>,
        header: &'a Header,
    }

    impl<F> PinnedDrop for Guarded<'_, F> {
        fn drop(this: Pin<&mut Self>) {
            if let Err(panic) = this.end() {
                forget_panic(panic);
            }
        }
    }
}

impl<'a, F> Guarded<'a, F> {
    pub(super) fn new(future: F, header: &'a Header) -> Self {
        Guarded { future: Some(future), header }
    }

    /// Drops the future in place, and says if that panicked.
    fn end(self: Pin<&mut Self>) -> Result<(), Box<dyn Any + Send>> {
        let mut this = self.project();
        this.header.deregister();
        catch_unwind(AssertUnwindSafe(|| this.future.set(None)))
    }
}

impl<F: Future> Future for Guarded<'_, F> {
    type Output = Outcome<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.as_mut().project();
        let header = *this.header;
        let output = match this.future.as_pin_mut() {
            Some(future) if !header.is_stopped() => {
                match catch_unwind(AssertUnwindSafe(|| future.poll(cx))) {
                    Ok(Poll::Ready(output)) => Ok(output),
                    Ok(Poll::Pending) => {
                        header.register(cx.waker());
                        if !header.is_stopped() {
                            return Poll::Pending;
                        }
                        Err(JoinError::aborted())
                    }
                    Err(panic) => Err(JoinError::panicked(panic)),
                }
            }
            _ => Err(JoinError::aborted()),
        };
        // An output that is there stays valid whatever a destructor does; else the first panic is the one reported.
        match (output, self.end()) {
            (Err(error), Err(panic)) if error.is_aborted() => {
                Poll::Ready(Outcome(Some(Err(JoinError::panicked(panic)))))
            }
            (output, ended) => {
                if let Err(panic) = ended {
                    forget_panic(panic);
                }
                Poll::Ready(Outcome(Some(output)))
            }
        }
    }
}
