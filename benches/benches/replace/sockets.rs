//! The sockets that the receives wait on, and the bytes that show that each of them works.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Open files beside the sockets.
const OTHERS: u64 = 100;

/// Bytes that a receive has room for.
pub(crate) const ROOM: usize = 64;

/// Lets this process have as many open files as it may.
pub(crate) fn raise_limit() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
}

/// Whether a row of so many receives can be measured.
pub(crate) fn has_room_for(count: usize) -> bool {
    getrlimit(Resource::Nofile).current.is_none_or(|limit| count as u64 + OTHERS <= limit)
}

/// So many sockets, an even number, connected in pairs. On each a receive waits, and each is what its partner's byte is sent
/// from: it takes half the descriptors, and there may be just enough of them.
pub(crate) struct Sockets<S>(Vec<S>);

impl<S: From<OwnedFd> + AsFd> Sockets<S> {
    pub(crate) fn new(count: usize) -> Self {
        let pairs = (0..count / 2).map(|_| UnixStream::pair().unwrap());
        Sockets(
            pairs.flat_map(|(one, other)| [one, other]).map(|socket| OwnedFd::from(socket).into()).collect(),
        )
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn get(&self, index: usize) -> &S {
        &self.0[index]
    }

    /// The last one, which is behind all others in each queue.
    pub(crate) fn last(&self) -> Option<usize> {
        self.len().checked_sub(1)
    }

    /// Has a byte arrive.
    pub(crate) fn send_to(&self, index: usize) {
        let partner = self.get(index ^ 1);
        assert_eq!(rustix::io::write(partner, b"x").unwrap(), 1);
    }

    pub(crate) fn send_to_all(&self) {
        (0..self.len()).for_each(|index| self.send_to(index));
    }
}

/// Counts answers: each receive has to give one.
pub(crate) struct Answers(Vec<bool>);

impl Answers {
    pub(crate) fn none_of(count: usize) -> Self {
        Answers(vec![false; count])
    }

    /// A byte has come to a receive.
    pub(crate) fn note(&mut self, index: usize) {
        assert!(!std::mem::replace(&mut self.0[index], true), "receive {index} has had the same byte twice");
    }
}
