//! The ground that the tests of dead pollers stand on: on a bare ring, what the kernel does when a poller dies.
#![cfg(target_arch = "x86_64")]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]
#![allow(unsafe_code, reason = "pushes requests into a ring")]

mod common;
mod deaths;

use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use common::until_blocking;
use io_uring::{IoUring, opcode, squeue, types};

fn try_ring(attach: Option<&IoUring>) -> std::io::Result<IoUring> {
    let mut builder = IoUring::builder();
    builder.setup_single_issuer().setup_sqpoll(5);
    if let Some(ring) = attach {
        builder.setup_attach_wq(ring.as_raw_fd());
    }
    builder.build(8)
}

fn ring(attach: Option<&IoUring>) -> IoUring {
    try_ring(attach).unwrap()
}

fn receive(socket: &UnixStream, buf: &mut [u8]) -> squeue::Entry {
    opcode::Recv::new(types::Fd(socket.as_raw_fd()), buf.as_mut_ptr(), buf.len() as u32).build()
}

/// # Safety
///
/// That of `SubmissionQueue::push`.
unsafe fn push(ring: &mut IoUring, entry: squeue::Entry) {
    // SAFETY: the caller vouches for the entry.
    unsafe { ring.submission().push(&entry).unwrap() };
}

fn results(ring: &mut IoUring) -> Vec<(u64, i32)> {
    ring.completion().map(|cqe| (cqe.user_data(), cqe.result())).collect()
}

fn sq_thread(ring: &IoUring) -> i32 {
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", ring.as_raw_fd())).unwrap();
    info.lines().find_map(|line| line.strip_prefix("SqThread:")).unwrap().trim().parse().unwrap()
}

fn enter_error(ring: &IoUring) -> Option<i32> {
    ring.submitter().submit_and_wait(1).err().and_then(|error| error.raw_os_error())
}

#[test]
fn a_poller_dies_and_cancels_what_is_in_flight() {
    let _session = deaths::session();
    let (near, mut far) = UnixStream::pair().unwrap();
    let (mut done, mut pending, mut never) = ([0; 8], [0; 8], [0; 8]);
    let mut ring = ring(None);
    // SAFETY: the buffers and the sockets live longer than the requests.
    unsafe {
        push(&mut ring, receive(&near, &mut done).user_data(1));
        far.write_all(b"here").unwrap();
        assert_eq!(ring.submit_and_wait(1).unwrap(), 1);
        push(&mut ring, receive(&near, &mut pending).user_data(2));
        ring.submit().unwrap();
        until_blocking("the poller", || ring.submission().is_empty());
    }
    assert_eq!(&done[..4], b"here", "the poller works on our memory and our descriptors");
    assert_eq!(deaths::alive(), 1);
    assert_eq!(deaths::kill(), 1);
    assert_eq!((enter_error(&ring), sq_thread(&ring)), (Some(libc::EOWNERDEAD), -1));
    // SAFETY: as above.
    unsafe { push(&mut ring, receive(&near, &mut never).user_data(3)) };
    assert_eq!(enter_error(&ring), Some(libc::EOWNERDEAD));
    assert_eq!(results(&mut ring), [(1, 4), (2, -libc::ECANCELED)]);
    assert_eq!(ring.submission().len(), 1, "nobody takes what is in the queue");
    // Nothing has touched the socket since.
    far.write_all(b"there").unwrap();
    let mut buf = [0; 8];
    assert_eq!((&near).read(&mut buf).unwrap(), 5);
    assert_eq!((pending, never), ([0; 8], [0; 8]));
}

#[test]
fn attached_rings_share_a_poller_and_its_death() {
    let _session = deaths::session();
    let first = ring(None);
    let second = ring(Some(&first));
    assert_eq!(deaths::alive(), 1);
    until_blocking("the poller's id", || {
        let name = std::fs::read_to_string(format!("/proc/{}/comm", sq_thread(&first)));
        name.is_ok_and(|name| name.starts_with("iou-sqp-"))
    });
    until_blocking("the same id", || sq_thread(&first) == sq_thread(&second));
    deaths::kill();
    assert_eq!((enter_error(&first), enter_error(&second)), (Some(libc::EOWNERDEAD), Some(libc::EOWNERDEAD)));
    assert_eq!(try_ring(Some(&first)).err().unwrap().raw_os_error(), Some(libc::ENXIO));
    let third = ring(None);
    assert_eq!(deaths::alive(), 1);
    third.submit().unwrap();
    assert_ne!(sq_thread(&third), -1);
}

#[test]
fn faults_come_as_ordered_and_only_then() {
    let _session = deaths::session_of_faults();
    let (near, mut far) = UnixStream::pair().unwrap();
    let (mut first, mut second) = ([0; 8], [0; 8]);
    let mut ring = ring(None);
    assert_eq!(deaths::alive(), 0);
    let error = |ring: &IoUring| ring.submit().err().and_then(|error| error.raw_os_error());
    // SAFETY: the buffers and the sockets live longer than the requests.
    unsafe {
        push(&mut ring, receive(&near, &mut first).user_data(1));
        push(&mut ring, receive(&near, &mut second).user_data(2));
    }
    ring.submit().unwrap();
    until_blocking("the poller", || ring.submission().is_empty());
    deaths::faults::spurious(2);
    let errors: Vec<_> = (0..3).map(|_| enter_now(&ring)).collect();
    assert_eq!(errors, [Some(libc::EOWNERDEAD), Some(libc::EOWNERDEAD), None]);
    deaths::faults::refork(1);
    assert_eq!((enter_now(&ring), error(&ring)), (None, None));
    until_blocking("both", || ring.completion().len() == 2);
    let mut results = results(&mut ring);
    results.sort_unstable();
    assert_eq!(results, [(1, -libc::ECANCELED), (2, -libc::ECANCELED)]);
    // fdinfo does not name it while it holds the ring's lock.
    until_blocking("the poller is named", || sq_thread(&ring) != -1);
    far.write_all(b"there").unwrap();
    assert_eq!((first, second), ([0; 8], [0; 8]));
}

/// Enters the ring, whether there is anything to do or not.
fn enter_now(ring: &IoUring) -> Option<i32> {
    // SAFETY: submits nothing and waits for nothing.
    let result = unsafe { ring.submitter().enter::<libc::sigset_t>(0, 0, 0, None) };
    result.err().and_then(|error| error.raw_os_error())
}

/// Kills the poller while this thread waits in `io_uring_enter`, and waits for a result until `patience` is over.
fn death_during_a_wait(ring: &IoUring, patience: Duration) -> Option<i32> {
    // SAFETY: takes nothing.
    let waiter = unsafe { libc::gettid() };
    let killer = thread::spawn(move || {
        let enter = format!("{} ", libc::SYS_io_uring_enter);
        until_blocking("the wait", || {
            std::fs::read_to_string(format!("/proc/self/task/{waiter}/syscall")).unwrap().starts_with(&enter)
        });
        assert_eq!(deaths::kill(), 1);
    });
    let timespec = types::Timespec::from(patience);
    let error = ring.submitter().submit_with_args(1, &types::SubmitArgs::new().timespec(&timespec)).err();
    killer.join().unwrap();
    error.and_then(|error| error.raw_os_error())
}

/// Why a core must not wait without a limit before the kernel has taken all that is in its queue.
#[test]
fn a_waiter_learns_of_a_death_only_by_what_it_cancels() {
    let _session = deaths::session();
    let nothing_in_flight = ring(None);
    assert_eq!(death_during_a_wait(&nothing_in_flight, Duration::from_millis(300)), Some(libc::ETIME));
    let (near, _far) = UnixStream::pair().unwrap();
    let (mut buf, mut ring) = ([0; 8], ring(None));
    // SAFETY: the buffer and the socket live longer than the request.
    unsafe { push(&mut ring, receive(&near, &mut buf)) };
    ring.submit().unwrap();
    until_blocking("the poller", || ring.submission().is_empty());
    assert_eq!(death_during_a_wait(&ring, common::PATIENCE), None);
    assert_eq!(results(&mut ring), [(0, -libc::ECANCELED)]);
}
