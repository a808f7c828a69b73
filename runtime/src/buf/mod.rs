//! Buffers that an operation owns while the kernel reads or fills them.
//!
//! An operation takes its buffer by value and gives it back with the result, so the kernel never holds a pointer into
//! memory that the caller may free or change: whoever drops, leaks or forgets the future, the buffer stays with the
//! operation until its last completion. Two traits say what the kernel may touch: [`IoBuf`] the initialised bytes (for
//! writes), [`IoBufMut`] the whole capacity (for reads). They are implemented for `Vec<u8>`, `Box<[u8]>`, `[u8; N]`,
//! `String`, `&'static [u8]`, `&'static str`, `Rc<[u8]>`, `Arc<[u8]>` and [`AlignedBuf`]; [`Slice`] narrows any of them.
//!
//! A read fills a buffer *from its start up to its capacity* and says how much; a `Vec` is left with exactly that
//! length. To keep what is in it already, read into a slice: `buf.slice(len..)`.
#![allow(
    unsafe_code,
    reason = "the buffer traits promise stable addresses; an aligned buffer owns raw memory"
)]

mod aligned;
mod slice;

use std::rc::Rc;
use std::sync::Arc;

pub use aligned::AlignedBuf;
pub use slice::Slice;

/// A buffer whose initialised bytes the kernel may read.
///
/// # Safety
///
/// As long as the value is neither moved, changed nor dropped, [`stable_ptr`](IoBuf::stable_ptr) returns the same
/// pointer each time and it is valid for reads of [`bytes_init`](IoBuf::bytes_init) bytes, from any thread. The methods
/// neither panic nor call into the runtime.
pub unsafe trait IoBuf: 'static {
    /// The first byte.
    fn stable_ptr(&self) -> *const u8;

    /// How many bytes from there on are initialised.
    fn bytes_init(&self) -> usize;

    /// Narrows the buffer to `range` of its bytes: an operation then uses only those. [`Slice::into_inner`] gives the
    /// buffer back.
    ///
    /// # Panics
    ///
    /// If the range starts after its end.
    ///
    /// # Examples
    ///
    /// ```
    /// use runtime::buf::IoBuf;
    ///
    /// let slice = b"hello world".to_vec().slice(..5);
    /// assert_eq!(slice.as_bytes(), b"hello");
    /// ```
    fn slice(self, range: impl std::ops::RangeBounds<usize>) -> Slice<Self>
    where
        Self: Sized,
    {
        Slice::new(self, range)
    }

    /// The initialised bytes.
    fn as_bytes(&self) -> &[u8] {
        // SAFETY: the trait's contract: valid for reads of that many initialised bytes, borrowed with `self`.
        unsafe { std::slice::from_raw_parts(self.stable_ptr(), self.bytes_init()) }
    }
}

/// A buffer that the kernel may fill.
///
/// # Safety
///
/// As for [`IoBuf`], with [`stable_mut_ptr`](IoBufMut::stable_mut_ptr) valid for writes of
/// [`bytes_total`](IoBufMut::bytes_total) bytes and equal to [`stable_ptr`](IoBuf::stable_ptr). No other handle to the
/// same bytes may read or write them while this one is owned by an operation.
pub unsafe trait IoBufMut: IoBuf {
    /// The first byte.
    fn stable_mut_ptr(&mut self) -> *mut u8;

    /// How many bytes from there on may be written.
    fn bytes_total(&self) -> usize;

    /// Records that a read has filled the first `len` bytes. Buffers with a length (`Vec`) take it on; others ignore it.
    ///
    /// # Safety
    ///
    /// The first `len` bytes are initialised, and `len <= bytes_total()`.
    unsafe fn set_init(&mut self, len: usize);
}

// SAFETY: a Vec's bytes live on the heap until it is changed or dropped.
unsafe impl IoBuf for Vec<u8> {
    fn stable_ptr(&self) -> *const u8 {
        self.as_ptr()
    }
    fn bytes_init(&self) -> usize {
        self.len()
    }
}

// SAFETY: as above, the whole capacity is allocated and exclusively the Vec's.
unsafe impl IoBufMut for Vec<u8> {
    fn stable_mut_ptr(&mut self) -> *mut u8 {
        self.as_mut_ptr()
    }
    fn bytes_total(&self) -> usize {
        self.capacity()
    }
    unsafe fn set_init(&mut self, len: usize) {
        // SAFETY: the caller promises that `len` bytes are initialised and within the capacity.
        unsafe { self.set_len(len) };
    }
}

/// Implements the traits for types that deref to a `[u8]` of fixed length which stays put while the value does.
macro_rules! fixed_bytes {
    (read: $([$($generics:tt)*] $ty:ty),*) => {$(
        // SAFETY: the bytes belong to the value (or are shared and immutable) and stay where they are until it moves or drops.
        unsafe impl<$($generics)*> IoBuf for $ty {
            fn stable_ptr(&self) -> *const u8 {
                <[u8]>::as_ptr(self.as_ref())
            }
            fn bytes_init(&self) -> usize {
                <[u8]>::len(self.as_ref())
            }
        }
    )*};
    (write: $([$($generics:tt)*] $ty:ty),*) => {$(
        // SAFETY: the bytes are exclusively the value's and all initialised, so nothing has to be recorded.
        unsafe impl<$($generics)*> IoBufMut for $ty {
            fn stable_mut_ptr(&mut self) -> *mut u8 {
                <[u8]>::as_mut_ptr(self.as_mut())
            }
            fn bytes_total(&self) -> usize {
                self.bytes_init()
            }
            unsafe fn set_init(&mut self, _len: usize) {}
        }
    )*};
}

fixed_bytes!(read: [] Box<[u8]>, [const N: usize] [u8; N], [] &'static [u8], [] &'static str, [] String, [] Rc<[u8]>, [] Arc<[u8]>);
fixed_bytes!(write: [] Box<[u8]>, [const N: usize] [u8; N]);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vec_is_filled_to_its_capacity_and_takes_the_length() {
        let mut buf = Vec::with_capacity(8);
        buf.extend_from_slice(b"abc");
        assert_eq!((buf.bytes_init(), buf.bytes_total()), (3, 8));
        // SAFETY: three bytes are initialised, so two are.
        unsafe { buf.set_init(2) };
        assert_eq!(buf.as_bytes(), b"ab");
    }

    #[test]
    fn fixed_buffers_keep_their_length() {
        let mut buf: Box<[u8]> = vec![7; 4].into();
        // SAFETY: all four bytes are initialised.
        unsafe { buf.set_init(1) };
        assert_eq!(buf.as_bytes(), [7; 4]);
        assert_eq!("hi".as_bytes(), IoBuf::as_bytes(&"hi"));
        assert_eq!(IoBuf::as_bytes(&Rc::<[u8]>::from([1, 2])), [1, 2]);
    }
}
