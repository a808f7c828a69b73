//! The runtime's own descriptors, which a child of a fork inherits and has no use for: rings and wake-up counters.
//!
//! The threads that own them do not exist in the child, and nothing of theirs is dropped there. So every such descriptor is noted
//! here when it is opened, and the child closes what is noted. **Who takes the note out closes the descriptor**, and nobody
//! else: a number that has been closed may mean another file by the time that its former owner is dropped.
//!
//! The notes are atomics, because a fork may come at any moment. There is room for as many as a process can be expected to have;
//! what finds none is not closed in a child that nobody planned.

use std::os::fd::RawFd;
use std::sync::atomic::{AtomicI32, Ordering};

use crate::sys;

const NOTES_MAX: usize = 1024;
const NONE: RawFd = -1;

static NOTES: [AtomicI32; NOTES_MAX] = [const { AtomicI32::new(NONE) }; NOTES_MAX];

/// Notes a descriptor that this process has opened.
pub(crate) fn note(fd: RawFd) {
    for note in &NOTES {
        if note.compare_exchange(NONE, fd, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            return;
        }
    }
}

/// Takes a note out; whoever gets `true` closes the descriptor.
pub(crate) fn take(fd: RawFd) -> bool {
    let taken =
        |note: &AtomicI32| note.compare_exchange(fd, NONE, Ordering::Relaxed, Ordering::Relaxed).is_ok();
    NOTES.iter().any(taken)
}

/// In a child of a fork: closes all that the parent had, but `keep`. A number that the child has closed by itself is left
/// alone: it means another file, if it means any.
pub(crate) fn close_inherited(keep: Option<RawFd>) {
    for note in &NOTES {
        let fd = note.load(Ordering::Relaxed);
        if fd == NONE || Some(fd) == keep {
            continue;
        }
        note.store(NONE, Ordering::Relaxed);
        if sys::is_anonymous(fd, "[io_uring]") || sys::is_anonymous(fd, "[eventfd]") {
            sys::close(fd);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_taken_once() {
        // No process has a descriptor of that number.
        let fd = RawFd::MAX;
        assert!(!take(fd));
        note(fd);
        assert!(take(fd) && !take(fd));
    }
}
