//! A file that nobody can open before somebody lets him: the kernel asks for permission (`fanotify(7)`), and whoever wants to
//! open it waits so that no cancel and no signal but a deadly one gets him out.
#![allow(unsafe_code, reason = "asks for fanotify's events, and answers")]
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part of this")]

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

use runtime::op::{self, Op, Open, OpenHow};
use tempfile::TempDir;

use crate::common::work::c_path;

pub struct Gate {
    dir: TempDir,
    group: File,
    /// What those who wait would get.
    waiting: Mutex<Vec<OwnedFd>>,
}

impl Gate {
    /// # Errors
    ///
    /// Those of `fanotify_init(2)` and `fanotify_mark(2)`: without the privilege, or in a kernel that does not ask.
    pub fn new() -> io::Result<Self> {
        let dir = tempfile::tempdir()?;
        std::fs::write(dir.path().join("file"), "whole")?;
        let flags = libc::FAN_CLASS_CONTENT | libc::FAN_CLOEXEC | libc::FAN_NONBLOCK;
        // SAFETY: takes no pointers.
        let group = unsafe { libc::fanotify_init(flags, libc::O_RDONLY as u32) };
        if group < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just given us this descriptor; nobody else owns it.
        let group = unsafe { File::from_raw_fd(group) };
        let (path, events) = (c_path(dir.path()), libc::FAN_OPEN_PERM | libc::FAN_EVENT_ON_CHILD);
        // SAFETY: the path is a string that lives during the call.
        let marked = unsafe {
            libc::fanotify_mark(group.as_raw_fd(), libc::FAN_MARK_ADD, events, libc::AT_FDCWD, path.as_ptr())
        };
        if marked < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Gate { dir, group, waiting: Mutex::default() })
    }

    /// An open that waits for permission, once it has been polled; it does not wait where the ring is driven.
    pub fn open(&self) -> Op<Open> {
        let flags = libc::O_RDWR | libc::O_CREAT | libc::O_TRUNC;
        op::open(c_path(&self.dir.path().join("file")), OpenHow { flags, mode: 0o600 })
    }

    /// How many wait, since somebody was let in for the last time.
    pub fn waiting(&self) -> usize {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.extend(std::iter::from_fn(|| self.next_event()));
        waiting.len()
    }

    /// Lets those in who wait; returns how many.
    pub fn let_in(&self) -> usize {
        let count = self.waiting();
        for fd in self.waiting.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            let response = [fd.as_raw_fd().to_ne_bytes(), libc::FAN_ALLOW.to_ne_bytes()].concat();
            (&self.group).write_all(&response).expect("somebody waits for the answer");
        }
        count
    }

    fn next_event(&self) -> Option<OwnedFd> {
        let mut bytes = [0; size_of::<libc::fanotify_event_metadata>()];
        match (&self.group).read(&mut bytes) {
            Ok(len) => assert_eq!(len, bytes.len()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
            Err(error) => panic!("an event of fanotify: {error}"),
        }
        // SAFETY: the bytes are such a struct, of integers only.
        let event: libc::fanotify_event_metadata = unsafe { std::ptr::read_unaligned(bytes.as_ptr().cast()) };
        assert_eq!(event.mask, libc::FAN_OPEN_PERM);
        // SAFETY: the kernel has just given us this descriptor; nobody else owns it.
        Some(unsafe { OwnedFd::from_raw_fd(event.fd) })
    }
}
