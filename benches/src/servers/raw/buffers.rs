//! Buffers provided to the kernel, which picks one for each message that a multishot receive gets.

use std::alloc::{self, Layout};
use std::sync::atomic::{AtomicU16, Ordering};
use std::{io, slice};

use io_uring::types::BufRingEntry;

use super::ring::Ring;

/// The group that receive requests name.
pub(super) const GROUP: u16 = 0;

/// A power of two, enough for one message of each of a thousand connections.
const COUNT: u16 = 1024;
const PAGE: usize = 4096;

/// The buffers and the ring through which the kernel gets them. Their memory is never freed: the kernel may write to
/// it for as long as the process lives.
pub(super) struct Buffers {
    entries: *mut BufRingEntry,
    memory: *mut u8,
    size: usize,
    tail: u16,
}

impl Buffers {
    /// Makes buffers of that size and registers them with the ring.
    pub(super) fn new(ring: &Ring, size: usize) -> io::Result<Buffers> {
        let layout = Layout::array::<BufRingEntry>(COUNT.into()).and_then(|layout| layout.align_to(PAGE));
        let layout = layout.map_err(io::Error::other)?;
        // SAFETY: the layout's size is not zero.
        let entries = unsafe { alloc::alloc_zeroed(layout) }.cast::<BufRingEntry>();
        if entries.is_null() {
            alloc::handle_alloc_error(layout);
        }
        let memory = vec![0; usize::from(COUNT) * size].leak().as_mut_ptr();
        // SAFETY: the entries are page-aligned, as many as is said, and never freed.
        unsafe { ring.submitter().register_buf_ring_with_flags(entries as u64, COUNT, GROUP, 0)? };
        let mut buffers = Buffers { entries, memory, size, tail: 0 };
        for id in 0..COUNT {
            buffers.give(id);
        }
        Ok(buffers)
    }

    /// Lets the kernel use a buffer, again or for the first time.
    pub(super) fn give(&mut self, id: u16) {
        // SAFETY: the index is below COUNT, so it is inside the entries; the kernel reads this one only after
        // the tail has moved past it.
        let entry = unsafe { &mut *self.entries.add(usize::from(self.tail % COUNT)) };
        entry.set_addr(self.at(id) as u64);
        entry.set_len(self.size as u32);
        entry.set_bid(id);
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: `entries` is the start of the registered ring, where the tail is, aligned, shared with the
        // kernel and otherwise not referred to.
        let tail = unsafe { AtomicU16::from_ptr(BufRingEntry::tail(self.entries).cast_mut()) };
        tail.store(self.tail, Ordering::Release);
    }

    /// The first bytes of a buffer that the kernel has filled that far and that was not given back since.
    pub(super) fn filled(&self, id: u16, len: usize) -> &[u8] {
        assert!(len <= self.size);
        // SAFETY: inside the memory (see `at` and above), initialised, and the kernel's no more.
        unsafe { slice::from_raw_parts(self.at(id), len) }
    }

    fn at(&self, id: u16) -> *mut u8 {
        assert!(id < COUNT);
        // SAFETY: the memory holds COUNT buffers of that size.
        unsafe { self.memory.add(usize::from(id) * self.size) }
    }
}
