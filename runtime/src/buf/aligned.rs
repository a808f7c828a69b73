//! Memory at an alignment of one's choice, as `O_DIRECT` wants it.

use std::alloc::{self, Layout};
use std::fmt;
use std::io;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

use super::{IoBuf, IoBufMut};

/// A buffer at a chosen alignment, for files opened with `O_DIRECT` (`open(2)`, NOTES).
///
/// Its length starts at 0 and becomes what a read has filled; [`set_len`](AlignedBuf::set_len) changes it by hand.
///
/// # Examples
///
/// ```
/// use runtime::buf::{AlignedBuf, IoBuf};
///
/// let buf = AlignedBuf::new(64 * 1024, 4096)?;
/// assert_eq!(buf.stable_ptr() as usize % 4096, 0);
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct AlignedBuf {
    ptr: NonNull<u8>,
    layout: Layout,
    len: usize,
}

// SAFETY: the buffer owns its memory alone; moving it to another thread moves nothing that is shared.
unsafe impl Send for AlignedBuf {}
// SAFETY: shared access only reads.
unsafe impl Sync for AlignedBuf {}

impl AlignedBuf {
    /// Allocates `capacity` zeroed bytes at a multiple of `align`.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if `capacity` is 0 or `align` is not a power of two, `OutOfMemory` if there is not that much memory.
    pub fn new(capacity: usize, align: usize) -> io::Result<Self> {
        let layout = Layout::from_size_align(capacity, align)
            .ok()
            .filter(|layout| layout.size() > 0)
            .ok_or_else(|| {
                io::Error::new(
                    io::ErrorKind::InvalidInput,
                    "capacity 0 or an alignment that is no power of two",
                )
            })?;
        // SAFETY: the layout's size is not 0.
        let ptr = unsafe { alloc::alloc_zeroed(layout) };
        let ptr = NonNull::new(ptr).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(AlignedBuf { ptr, layout, len: 0 })
    }

    /// How many bytes fit.
    pub fn capacity(&self) -> usize {
        self.layout.size()
    }

    /// Sets how many bytes count as the buffer's contents. Bytes never written are 0.
    ///
    /// # Panics
    ///
    /// If `len` is more than the capacity.
    pub fn set_len(&mut self, len: usize) {
        assert!(len <= self.capacity(), "length {len} in a buffer of {} bytes", self.capacity());
        self.len = len;
    }
}

impl Drop for AlignedBuf {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with the same layout, freed only here.
        unsafe { alloc::dealloc(self.ptr.as_ptr(), self.layout) };
    }
}

// SAFETY: the memory is the buffer's alone and stays put until it is dropped; all of it is initialised (zeroed at first).
unsafe impl IoBuf for AlignedBuf {
    fn stable_ptr(&self) -> *const u8 {
        self.ptr.as_ptr()
    }
    fn bytes_init(&self) -> usize {
        self.len
    }
}

// SAFETY: as above.
unsafe impl IoBufMut for AlignedBuf {
    fn stable_mut_ptr(&mut self) -> *mut u8 {
        self.ptr.as_ptr()
    }
    fn bytes_total(&self) -> usize {
        self.capacity()
    }
    unsafe fn set_init(&mut self, len: usize) {
        self.set_len(len);
    }
}

impl Deref for AlignedBuf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl DerefMut for AlignedBuf {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: `len` initialised bytes, exclusively ours while `self` is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.ptr.as_ptr(), self.len) }
    }
}

impl fmt::Debug for AlignedBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AlignedBuf")
            .field("len", &self.len)
            .field("capacity", &self.capacity())
            .field("align", &self.layout.align())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_layouts_are_errors() {
        for (capacity, align) in [(0, 512), (512, 3), (512, 0), (usize::MAX, 4096)] {
            assert_eq!(AlignedBuf::new(capacity, align).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        }
    }

    #[test]
    fn contents_follow_the_length() {
        let mut buf = AlignedBuf::new(4096, 512).unwrap();
        assert!(buf.is_empty());
        buf.set_len(2);
        buf.copy_from_slice(b"ab");
        assert_eq!(&buf[..], b"ab");
    }
}
