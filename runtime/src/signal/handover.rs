//! Signals that the image before this one has blocked, so that none of them ends this one while it starts.

use std::cell::Cell;
use std::io;
use std::sync::OnceLock;

use crate::sys;

/// The variable in which an upgrade names the signals that it has blocked, for the process that it leaves: `1234:1,15`.
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

/// The variable's value for the next image, which has this process's id; empty if there are no signals.
pub(crate) fn describe_held_back(numbers: &[i32]) -> String {
    let numbers: Vec<String> = numbers.iter().map(i32::to_string).collect();
    if numbers.is_empty() { String::new() } else { format!("{}:{}", std::process::id(), numbers.join(",")) }
}

/// The numbers in the variable, if they are for this process, and not for one that it descends from.
fn parse(value: &str) -> Vec<i32> {
    let Some((pid, numbers)) = value.split_once(':') else { return Vec::new() };
    if pid.parse() != Ok(std::process::id()) {
        return Vec::new();
    }
    numbers.split(',').filter_map(|number| number.trim().parse().ok()).filter(|&number| number > 0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_numbers_of_signals_are_taken() {
        let parse_own = |numbers: &str| parse(&format!("{}:{numbers}", std::process::id()));
        assert_eq!(parse(&describe_held_back(&[1, 15])), [1, 15]);
        assert_eq!(parse_own(" 2, x,,-1,0,99999999999,17"), [2, 17]);
        assert_eq!(describe_held_back(&[]), "");
        for of_nobody in ["", "15", "1:15"] {
            assert_eq!(parse(of_nobody), [0; 0]);
        }
    }
}
