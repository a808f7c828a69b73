//! Signals that the image before this one has blocked, so that none of them ends this one while it starts.

use std::cell::Cell;
use std::io;
use std::sync::OnceLock;

use crate::sys;

/// The variable in which an upgrade names the signals that it has blocked: `1,15`.
pub(crate) const VARIABLE: &str = "REPOLL_SIGNALS_BLOCKED";

static HANDED_OVER: OnceLock<Vec<i32>> = OnceLock::new();

thread_local! {
    static UNBLOCKED: Cell<bool> = const { Cell::new(false) };
}

/// Unblocks, in the calling thread, what the image before has blocked, once: what was not listened for by now has its
/// default action from here on. Does nothing in a process that was not started by an upgrade.
///
/// # Errors
///
/// Those of `pthread_sigmask(3)`.
pub(crate) fn unblock_handed_over() -> io::Result<()> {
    let numbers = HANDED_OVER.get_or_init(|| parse(&std::env::var(VARIABLE).unwrap_or_default()));
    if numbers.is_empty() || UNBLOCKED.replace(true) {
        return Ok(());
    }
    sys::signal::unblock(numbers)
}

/// The numbers in the variable; whatever else is in it was not put there by an upgrade.
fn parse(value: &str) -> Vec<i32> {
    value.split(',').filter_map(|number| number.trim().parse().ok()).filter(|&number| number > 0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_numbers_of_signals_are_taken() {
        assert_eq!(parse("1,15"), [1, 15]);
        assert_eq!(parse("15"), [15]);
        assert_eq!(parse(""), [0; 0]);
        assert_eq!(parse(" 2, x,,-1,0,99999999999,17"), [2, 17]);
    }
}
