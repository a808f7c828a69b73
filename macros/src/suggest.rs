//! Guesses what a misspelt name was meant to be.

use crate::options::{Spec, TABLE};
use crate::values::Mode;

/// The option that `name` was probably meant to be.
pub(crate) fn option(name: &str) -> Option<&'static Spec> {
    let name = name.to_ascii_lowercase();
    TABLE
        .iter()
        .find(|spec| spec.aliases.contains(&name.as_str()) || words(spec.name) == words(&name))
        .or_else(|| nearest(&name, TABLE.iter().map(|spec| (spec.name, spec))))
}

/// The mode that `name` was probably meant to be.
pub(crate) fn mode(name: &str) -> Option<Mode> {
    let name = name.to_ascii_lowercase();
    match name.as_str() {
        "sqpoll" | "sq_poll" | "poll" | "poller" | "polling" => Some(Mode::Polled),
        "enter" | "defer_taskrun" | "syscall" => Some(Mode::Entered),
        _ => nearest(&name, Mode::ALL.map(|mode| (mode.name(), mode))),
    }
}

/// `max_blocking_threads` has the words of `blocking_threads_max`.
fn words(name: &str) -> Vec<&str> {
    let mut words: Vec<&str> = name.split('_').collect();
    words.sort_unstable();
    words
}

/// The candidate that differs least, unless it differs in more than a third of its letters: a wild guess misleads.
fn nearest<'a, T>(name: &str, candidates: impl IntoIterator<Item = (&'a str, T)>) -> Option<T> {
    candidates
        .into_iter()
        .map(|(candidate, value)| (distance(name, candidate), candidate.len(), value))
        .filter(|(distance, length, _)| *distance <= (length / 3).max(1))
        .min_by_key(|(distance, ..)| *distance)
        .map(|(.., value)| value)
}

/// How many letters to insert, remove, replace or swap with a neighbour to make `a` of `b`.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    // rows[i][j]: the distance between the first i letters of `a` and the first j of `b`.
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                let least = replaced.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
                let swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
                if swapped { least.min(rows[i - 2][j - 2] + 1) } else { least }
            };
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn suggests(name: &str, expected: Option<&str>) {
        assert_eq!(option(name).map(|spec| spec.name), expected, "for `{name}`");
    }

    #[test]
    fn near_misses() {
        suggests("core", Some("cores"));
        suggests("croes", Some("cores"));
        suggests("Cores", Some("cores"));
        suggests("entires", Some("entries"));
        suggests("poller_idle", Some("poller_idle_ms"));
        suggests("poler_cpu", Some("poller_cpu"));
        suggests("shutdown", Some("shutdown_ms"));
    }

    #[test]
    fn the_same_words_in_another_order() {
        suggests("max_blocking_threads", Some("blocking_threads_max"));
        suggests("cpu_poller", Some("poller_cpu"));
    }

    #[test]
    fn names_that_others_use() {
        suggests("worker_threads", Some("cores"));
        suggests("flavor", Some("mode"));
        suggests("sq_thread_idle", Some("poller_idle_ms"));
    }

    #[test]
    fn no_wild_guesses() {
        suggests("start_paused", None);
        suggests("x", None);
        suggests("", None);
    }

    #[test]
    fn modes() {
        assert_eq!(mode("Polled"), Some(Mode::Polled));
        assert_eq!(mode("sqpoll"), Some(Mode::Polled));
        assert_eq!(mode("enterd"), Some(Mode::Entered));
        assert_eq!(mode("adaptive"), None);
    }

    #[test]
    fn an_alias_is_never_the_name_of_an_option() {
        for alias in TABLE.iter().flat_map(|spec| spec.aliases) {
            assert!(TABLE.iter().all(|spec| spec.name != *alias), "{alias}");
        }
    }
}
