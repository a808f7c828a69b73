//! The limit: the same done by a loop that knows its requests, on the `io-uring` crate.
//!
//! The last ones are cancelled first: the kernel finds a request in a list, and new ones are at its front. And the loop
//! waits for all that it can be given at once: a ring with deferred task work otherwise does 20 requests per system call.
#![allow(unsafe_code, reason = "pushes requests into a bare ring, and forks")]

use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

use io_uring::{IoUring, opcode, squeue, types};
use runtime::Mode;

use crate::place::Pinned;
use crate::report::{self, Stopwatch};
use crate::sockets::{Answers, ROOM, Sockets};
use crate::{Deed, Sample};

/// Sizes of the submission and of the completion queue.
#[derive(Clone, Copy)]
pub(crate) struct Queues(u32, u32);

/// The runtime's.
pub(crate) const SAME: Queues = Queues(256, 4096);
/// All that waits fits in.
pub(crate) const LARGE: Queues = Queues(4096, 32_768);

/// How long the poller looks for requests before it sleeps: the runtime's default.
const IDLE_MS: u32 = 10;

/// Cancels, which report only failures; and a request that does nothing.
const CANCEL: u64 = u64::MAX;
const NOP: u64 = u64::MAX - 1;

/// On a ring of its own.
pub(crate) fn measure(deed: Deed, mode: Mode, count: usize, queues: Queues) -> Sample {
    let pinned = Pinned::new();
    let sockets = Sockets::new(count);
    let mut receives =
        Receives { ring: Ring::open(mode, queues, &pinned), bytes: vec![0; sockets.len() * ROOM], sockets };
    receives.submit_all();
    receives.last();
    let sample = match deed {
        Deed::Replace => replace(&mut receives, || Ring::open(mode, queues, &pinned)),
        Deed::Fork => fork(&mut receives),
    };
    for _ in 0..2 {
        receives.all();
    }
    // Nothing may be written to `bytes` when it is gone.
    receives.cancel_all();
    sample
}

fn replace(receives: &mut Receives, open: impl FnOnce() -> Ring) -> Sample {
    let start = Stopwatch::start();
    receives.cancel_all();
    let old = std::mem::replace(&mut receives.ring, open());
    let ready = start.elapsed();
    receives.submit_all();
    receives.last();
    let (outage, cpu) = (start.elapsed(), start.cpu());
    drop(old);
    Sample { ready, outage, cpu, child: None, reported: None }
}

fn fork(receives: &mut Receives) -> Sample {
    let (mut from_child, to_parent) = UnixStream::pair().unwrap();
    let start = Stopwatch::start();
    receives.cancel_all();
    // SAFETY: the child calls nothing but write(2) and _exit(2).
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "fork failed");
    if pid == 0 {
        report::tell_time(&to_parent);
        // SAFETY: ends the process, and runs nothing of the parent's.
        unsafe { libc::_exit(0) };
    }
    receives.submit_all();
    let ready = start.elapsed();
    receives.last();
    let (outage, cpu) = (start.elapsed(), start.cpu());
    drop(to_parent);
    let mut bytes = Vec::new();
    from_child.read_to_end(&mut bytes).unwrap();
    // SAFETY: a null status is allowed.
    assert_eq!(unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) }, pid);
    Sample { ready, outage, cpu, child: Some(start.told(&bytes)), reported: None }
}

struct Receives {
    // First, so that it is closed before the rest goes.
    ring: Ring,
    bytes: Vec<u8>,
    sockets: Sockets<OwnedFd>,
}

impl Receives {
    fn entry(&mut self, index: usize) -> squeue::Entry {
        let (fd, buf) = (self.sockets.get(index).as_raw_fd(), &mut self.bytes[index * ROOM..][..ROOM]);
        opcode::Recv::new(types::Fd(fd), buf.as_mut_ptr(), ROOM as u32).build().user_data(index as u64)
    }

    fn submit_all(&mut self) {
        let entries: Vec<squeue::Entry> = (0..self.sockets.len()).map(|index| self.entry(index)).collect();
        self.ring.push(entries.into_iter(), |_, _| unreachable!("nothing has been sent"));
    }

    fn cancel_all(&mut self) {
        let mut left = self.sockets.len();
        let cancels = (0..left as u64).rev().map(|index| {
            let cancel = opcode::AsyncCancel::new(index).build().flags(squeue::Flags::SKIP_SUCCESS);
            cancel.user_data(CANCEL)
        });
        let mut note = |_, result| {
            assert_eq!(result, -libc::ECANCELED);
            left -= 1;
        };
        self.ring.push(cancels, &mut note);
        while left > 0 {
            self.ring.wait(left, |_, result| {
                assert_eq!(result, -libc::ECANCELED);
                left -= 1;
            });
        }
    }

    /// As the runtime's side does it.
    fn last(&mut self) {
        let Some(last) = self.sockets.last() else {
            let nop = opcode::Nop::new().build().user_data(NOP);
            self.ring.push(std::iter::once(nop), |_, _| ());
            return self.ring.wait(1, |_, result| assert_eq!(result, 0));
        };
        self.sockets.send_to(last);
        let mut answer = None;
        while answer.is_none() {
            self.ring.wait(1, |user_data, result| answer = Some((user_data, result)));
        }
        assert_eq!(answer, Some((last as u64, 1)));
        let again = self.entry(last);
        self.ring.push(std::iter::once(again), |_, _| unreachable!("nothing has been sent"));
    }

    fn all(&mut self) {
        let (mut answers, mut left) = (Answers::none_of(self.sockets.len()), self.sockets.len());
        self.sockets.send_to_all();
        while left > 0 {
            self.ring.wait(left, |user_data, result| {
                assert_eq!(result, 1);
                answers.note(user_data as usize);
                left -= 1;
            });
        }
        self.submit_all();
    }
}

/// A ring, and how it is driven.
struct Ring {
    uring: IoUring,
    mode: Mode,
}

impl Ring {
    fn open(mode: Mode, Queues(entries, cq_entries): Queues, pinned: &Pinned) -> Self {
        let mut builder = IoUring::builder();
        builder.dontfork().setup_cqsize(cq_entries).setup_single_issuer();
        match mode {
            Mode::Polled => builder.setup_sqpoll(IDLE_MS).setup_sqpoll_cpu(pinned.poller),
            Mode::Entered => builder.setup_defer_taskrun().setup_taskrun_flag(),
        };
        Ring { uring: builder.build(entries).unwrap(), mode }
    }

    /// Submits all of them; `each` gets the user data and the result of what completes meanwhile.
    fn push(&mut self, mut entries: impl Iterator<Item = squeue::Entry>, mut each: impl FnMut(u64, i32)) {
        let mut next = entries.next();
        loop {
            let mut queue = self.uring.submission();
            while let Some(entry) = &next {
                // SAFETY: what an entry names outlives its request, see `Receives`.
                if unsafe { queue.push(entry) }.is_err() {
                    break;
                }
                next = entries.next();
            }
            drop(queue);
            self.uring.submit().unwrap();
            if next.is_none() {
                return;
            }
            if self.mode == Mode::Polled {
                self.uring.submitter().squeue_wait().unwrap();
            }
            self.reap(&mut each);
        }
    }

    /// Takes what is there, task work that was deferred included.
    fn reap(&mut self, each: &mut impl FnMut(u64, i32)) {
        if self.uring.submission().taskrun() {
            self.uring.submit().unwrap();
        }
        for cqe in self.uring.completion() {
            assert_ne!(cqe.user_data(), CANCEL, "a cancel has failed with {}", cqe.result());
            each(cqe.user_data(), cqe.result());
        }
    }

    /// Waits for so many completions, or as many as the queue has room for, and takes them.
    fn wait(&mut self, want: usize, mut each: impl FnMut(u64, i32)) {
        self.uring.submit_and_wait(want).unwrap();
        self.reap(&mut each);
    }
}
