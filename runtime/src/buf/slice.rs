//! A range of a buffer, as a buffer.

use std::fmt;
use std::ops::{Bound, Deref, RangeBounds};

use super::{IoBuf, IoBufMut};

/// A buffer narrowed to a range of its bytes, made by [`IoBuf::slice`].
///
/// Writes send the initialised bytes inside the range, reads fill the range; [`into_inner`](Slice::into_inner) gives the
/// whole buffer back.
///
/// # Examples
///
/// ```
/// use runtime::buf::IoBuf;
///
/// let slice = b"0123456789".to_vec().slice(2..).slice(..3);
/// assert_eq!(&slice[..], b"234");
/// assert_eq!(slice.into_inner().into_inner().len(), 10);
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Slice<B> {
    buf: B,
    begin: usize,
    /// Exclusive; `usize::MAX` where the range has no end.
    end: usize,
}

impl<B: IoBuf> Slice<B> {
    pub(super) fn new(buf: B, range: impl RangeBounds<usize>) -> Self {
        let begin = match range.start_bound() {
            Bound::Included(&begin) => begin,
            Bound::Excluded(&before) => before + 1,
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(&last) => last.saturating_add(1),
            Bound::Excluded(&end) => end,
            Bound::Unbounded => usize::MAX,
        };
        assert!(begin <= end, "the slice starts at {begin}, after its end {end}");
        assert!(begin <= buf.bytes_init(), "the slice starts at {begin}, after the initialised bytes");
        Slice { buf, begin, end }
    }

    /// The whole buffer.
    pub fn into_inner(self) -> B {
        self.buf
    }

    /// The whole buffer, borrowed.
    pub fn get_ref(&self) -> &B {
        &self.buf
    }

    /// Where the slice starts in the buffer.
    pub fn begin(&self) -> usize {
        self.begin
    }
}

// SAFETY: a part of a buffer that keeps the same promise; `begin` is within the initialised bytes, checked when the slice
// was made, and only `set_init` (never below `begin`) changes those.
unsafe impl<B: IoBuf> IoBuf for Slice<B> {
    fn stable_ptr(&self) -> *const u8 {
        // SAFETY: `begin` is within the buffer's bytes.
        unsafe { self.buf.stable_ptr().add(self.begin) }
    }
    fn bytes_init(&self) -> usize {
        self.buf.bytes_init().min(self.end).saturating_sub(self.begin)
    }
}

// SAFETY: as above.
unsafe impl<B: IoBufMut> IoBufMut for Slice<B> {
    fn stable_mut_ptr(&mut self) -> *mut u8 {
        // SAFETY: `begin` is within the buffer's bytes.
        unsafe { self.buf.stable_mut_ptr().add(self.begin) }
    }
    fn bytes_total(&self) -> usize {
        self.buf.bytes_total().min(self.end).saturating_sub(self.begin)
    }
    unsafe fn set_init(&mut self, len: usize) {
        // SAFETY: the first `begin` bytes were initialised before, the caller promises the `len` after them.
        unsafe { self.buf.set_init(self.begin + len) };
    }
}

impl<B: IoBuf> Deref for Slice<B> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl<B: IoBuf> fmt::Debug for Slice<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slice").field("begin", &self.begin).field("bytes", &self.bytes_init()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_of_a_vec_appends() {
        let mut buf = Vec::with_capacity(8);
        buf.extend_from_slice(b"ab");
        let mut slice = buf.slice(2..6);
        assert_eq!((slice.bytes_init(), slice.bytes_total()), (0, 4));
        // SAFETY: the slice has room for two bytes.
        unsafe { slice.stable_mut_ptr().copy_from(b"cd".as_ptr(), 2) };
        // SAFETY: two bytes have just been written.
        unsafe { slice.set_init(2) };
        assert_eq!(&slice[..], b"cd");
        assert_eq!(slice.into_inner(), b"abcd");
    }

    #[test]
    #[should_panic(expected = "after the initialised bytes")]
    fn a_slice_past_the_initialised_bytes_would_expose_garbage() {
        let _ = Vec::<u8>::with_capacity(8).slice(1..);
    }

    #[test]
    fn an_end_beyond_the_buffer_is_clamped() {
        assert_eq!(&b"abc".to_vec().slice(1..100)[..], b"bc");
    }
}
