//! Waiting for an instant.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::far_add;
use super::timers::Timers;
use super::wheel::Key;
use crate::context;

/// Waits until `duration` has passed.
///
/// # Panics
///
/// When polled outside of a runtime.
///
/// # Cancel safety
///
/// Dropping the future takes the timer out of the wheel.
///
/// # Examples
///
/// ```
/// use std::time::{Duration, Instant};
///
/// #[runtime::main]
/// async fn main() {
///     let start = Instant::now();
///     runtime::time::sleep(Duration::from_millis(5)).await;
///     assert!(start.elapsed() >= Duration::from_millis(5));
/// }
/// ```
pub fn sleep(duration: Duration) -> Sleep {
    sleep_until(far_add(Instant::now(), duration))
}

/// Waits until `deadline`. One that has passed is ready at once.
///
/// # Panics
///
/// When polled outside of a runtime.
///
/// # Cancel safety
///
/// Dropping the future takes the timer out of the wheel.
///
/// # Examples
///
/// ```
/// use std::time::{Duration, Instant};
///
/// #[runtime::main]
/// async fn main() {
///     let deadline = Instant::now() + Duration::from_millis(5);
///     runtime::time::sleep_until(deadline).await;
///     assert!(Instant::now() >= deadline);
/// }
/// ```
pub fn sleep_until(deadline: Instant) -> Sleep {
    Sleep { deadline, timer: None }
}

/// The future of [`sleep`] and [`sleep_until`].
#[must_use = "futures do nothing unless polled"]
pub struct Sleep {
    deadline: Instant,
    /// Where it waits: in the wheel of the core that polled it.
    timer: Option<(Rc<Timers>, Key)>,
}

impl Sleep {
    /// The instant it waits for.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Waits for another instant from now on, whether or not it has been ready.
    pub fn reset(&mut self, deadline: Instant) {
        self.cancel();
        self.deadline = deadline;
    }

    fn cancel(&mut self) {
        if let Some((timers, key)) = self.timer.take() {
            timers.remove(key);
        }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        if Instant::now() >= this.deadline {
            this.cancel();
            return Poll::Ready(());
        }
        let here = context::with_core(|core| Rc::clone(&core.timers));
        let here = here.unwrap_or_else(|| panic!("{}", context::no_runtime()));
        match &this.timer {
            Some((timers, key)) if Rc::ptr_eq(timers, &here) && timers.contains(*key) => {
                let replaced = timers.update(*key, cx.waker());
                drop(replaced);
            }
            _ => {
                this.cancel();
                let key = here.insert(this.deadline, cx.waker().clone());
                this.timer = Some((here, key));
            }
        }
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.cancel();
    }
}

impl fmt::Debug for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sleep").field("deadline", &self.deadline).finish()
    }
}
