//! The in-flight table: where operations live while the kernel may touch them.
//!
//! A slot is two things under one index. Its *storage* holds the operation itself: chunks of raw memory that are
//! allocated once, never move and are never handed out by reference, so that the kernel's pointers stay good while the
//! table grows. Its *entry* holds what the reactor knows about it; entries may move.
//!
//! An operation is stored inline if it fits ([`INLINE_BYTES`]), else in a box whose pointer is stored: nothing is allocated
//! per operation unless it is unusually large. The type is erased; a [`Vtable`] brings it back.

use std::alloc::{self, Layout};
use std::cell::UnsafeCell;
use std::collections::VecDeque;
use std::mem::MaybeUninit;
use std::ptr::NonNull;
use std::task::Waker;

use io_uring::squeue;
use slab::Slab;

use crate::op::request::{Completion, Request};

/// Operations up to this size live in their slot. Every operation of this crate with a `Vec` fits.
const INLINE_BYTES: usize = 160;
const CHUNK_SLOTS: usize = 64;

#[repr(C, align(16))]
struct Storage(UnsafeCell<MaybeUninit<[u8; INLINE_BYTES]>>);

/// Names a slot and one use of it. As `user_data` it lets the kernel's answer find the slot, and nothing but that use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Key {
    pub(super) index: u32,
    generation: u32,
}

impl Key {
    /// An index that no slot has; the generation then tells the kinds of bookkeeping requests apart.
    pub(super) const fn reserved(generation: u32) -> Self {
        Key { index: u32::MAX, generation }
    }

    pub(super) const fn user_data(self) -> u64 {
        (self.generation as u64) << 32 | self.index as u64
    }

    pub(super) const fn from_user_data(user_data: u64) -> Self {
        Key { index: user_data as u32, generation: (user_data >> 32) as u32 }
    }
}

/// The operations on a type-erased request.
pub(super) struct Vtable {
    /// See [`Request::WAITS`] and [`Request::ACCEPTS`].
    pub(super) waits: bool,
    pub(super) accepts: bool,
    pub(super) prepare: unsafe fn(*mut u8) -> squeue::Entry,
    pub(super) again: unsafe fn(*mut u8, i32) -> bool,
    pub(super) discard: unsafe fn(*mut u8, std::io::Result<u32>),
    pub(super) drop: unsafe fn(*mut u8),
}

const fn is_inline<O>() -> bool {
    size_of::<O>() <= INLINE_BYTES && align_of::<O>() <= align_of::<Storage>()
}

/// # Safety
///
/// `storage` holds an `O`, placed by [`Slots::insert`].
unsafe fn locate<O>(storage: *mut u8) -> *mut O {
    // SAFETY: a large operation's storage holds the pointer of its box.
    if is_inline::<O>() { storage.cast() } else { unsafe { storage.cast::<*mut O>().read() } }
}

struct VtableOf<O>(std::marker::PhantomData<O>);

impl<O: Request> VtableOf<O> {
    const VTABLE: Vtable = Vtable {
        waits: O::WAITS,
        accepts: O::ACCEPTS,
        prepare: Self::prepare,
        again: Self::again,
        discard: Self::discard,
        drop: Self::drop,
    };

    /// # Safety (of all four)
    ///
    /// `storage` holds an `O`, which nobody else uses during the call.
    unsafe fn prepare(storage: *mut u8) -> squeue::Entry {
        // SAFETY: see above.
        unsafe { (*locate::<O>(storage)).prepare() }
    }

    unsafe fn again(storage: *mut u8, errno: i32) -> bool {
        // SAFETY: see above.
        unsafe { (*locate::<O>(storage)).again(errno) }
    }

    unsafe fn discard(storage: *mut u8, result: std::io::Result<u32>) {
        // SAFETY: see above.
        unsafe { (*locate::<O>(storage)).discard(result) }
    }

    unsafe fn drop(storage: *mut u8) {
        // SAFETY: see above; the value is not used again.
        unsafe {
            if is_inline::<O>() {
                storage.cast::<O>().drop_in_place();
            } else {
                drop(Box::from_raw(locate::<O>(storage)));
            }
        }
    }
}

/// Where an operation is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lifecycle {
    /// Waits for room, or for a ring: the kernel does not know it. Next: InFlight, or Orphaned if its future is dropped.
    Queued,
    /// The kernel may touch its memory. Next: Done with the last CQE, or Orphaned if its future is dropped. Queued again if
    /// it comes back undone.
    InFlight,
    /// As InFlight, but its ring is to be replaced and it has been asked to come back. Next: Queued if it does so undone.
    Recalled,
    /// As InFlight, but its future has had it cancelled and awaits what became of it. Next: Done, or Orphaned.
    Cancelled,
    /// The last CQE has come; its results wait for the future.
    Done,
    /// Its future is gone. Frees itself with its last CQE or, if it is still in the backlog, when it is found there.
    Orphaned,
    /// Never had a future, but is to be carried out. Frees itself with its last CQE.
    Detached,
    /// The reactor shut down before the last CQE came. Its memory is leaked; it can't be awaited any more.
    Lost,
}

/// What the reactor knows about an operation.
pub(super) struct Entry {
    generation: u32,
    pub(super) lifecycle: Lifecycle,
    /// The ring that has it; [`NO_RING`] while the kernel does not know it.
    pub(super) ring: u32,
    /// How often it has come back undone in a row though nobody here had asked for that.
    pub(super) returns: u8,
    pub(super) vtable: &'static Vtable,
    pub(super) waker: Option<Waker>,
    pub(super) results: Results,
}

/// No ring has this number.
pub(super) const NO_RING: u32 = 0;

/// Completions that nobody has taken yet, oldest first. A single-shot request has one, which needs no allocation.
#[derive(Default)]
pub(super) struct Results {
    first: Option<Completion>,
    rest: VecDeque<Completion>,
}

impl Results {
    pub(super) fn push(&mut self, completion: Completion) {
        if self.first.is_none() && self.rest.is_empty() {
            self.first = Some(completion);
        } else {
            self.rest.push_back(completion);
        }
    }

    pub(super) fn pop(&mut self) -> Option<Completion> {
        self.first.take().or_else(|| self.rest.pop_front())
    }

    /// How many of them are no errors.
    pub(super) fn successes(&self) -> usize {
        self.first.iter().chain(&self.rest).filter(|completion| completion.result >= 0).count()
    }
}

/// The table. Dropping it leaks the operations that are still in it, with their storage.
#[derive(Default)]
pub(super) struct Slots {
    entries: Slab<Entry>,
    chunks: Vec<NonNull<Storage>>,
    generation: u32,
    /// The kernel may still write to the storage: it is never freed.
    leaked: bool,
}

impl Slots {
    const CHUNK: Layout = match Layout::array::<Storage>(CHUNK_SLOTS) {
        Ok(layout) => layout,
        Err(_) => unreachable!(),
    };

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The storage of slot `index`; the pointer stays good as long as the table lives.
    pub(super) fn storage(&self, index: u32) -> *mut u8 {
        let (chunk, slot) = (index as usize / CHUNK_SLOTS, index as usize % CHUNK_SLOTS);
        // SAFETY: `slot` is within the chunk, which is allocated until the table is dropped.
        unsafe { UnsafeCell::raw_get(&raw const (*self.chunks[chunk].as_ptr().add(slot)).0).cast() }
    }

    /// Moves an operation into a free slot.
    pub(super) fn insert<O: Request>(&mut self, op: O, lifecycle: Lifecycle) -> Key {
        let vacant = self.entries.vacant_key();
        assert!(vacant < u32::MAX as usize, "4 billion operations in flight");
        while vacant / CHUNK_SLOTS >= self.chunks.len() {
            // SAFETY: the layout has a size.
            let chunk = unsafe { alloc::alloc(Self::CHUNK) };
            self.chunks
                .push(NonNull::new(chunk.cast()).unwrap_or_else(|| alloc::handle_alloc_error(Self::CHUNK)));
        }
        self.generation = self.generation.wrapping_add(1);
        let index = self.entries.insert(Entry {
            generation: self.generation,
            lifecycle,
            ring: NO_RING,
            returns: 0,
            vtable: &VtableOf::<O>::VTABLE,
            waker: None,
            results: Results::default(),
        }) as u32;
        let storage = self.storage(index);
        // SAFETY: the slot was free, so its storage is nobody's; it is large and aligned enough by `is_inline`.
        unsafe {
            if is_inline::<O>() {
                storage.cast::<O>().write(op);
            } else {
                storage.cast::<*mut O>().write(Box::into_raw(Box::new(op)));
            }
        }
        Key { index, generation: self.generation }
    }

    pub(super) fn get_mut(&mut self, key: Key) -> Option<&mut Entry> {
        self.entries.get_mut(key.index as usize).filter(|entry| entry.generation == key.generation)
    }

    /// All that are in use.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (Key, &mut Entry)> {
        self.entries
            .iter_mut()
            .map(|(index, entry)| (Key { index: index as u32, generation: entry.generation }, entry))
    }

    /// How many operations were started before this one, counted from the last: what was started first has most.
    pub(super) fn age(&self, key: Key) -> u32 {
        self.generation.wrapping_sub(key.generation)
    }

    /// Moves an operation out and frees its slot.
    ///
    /// # Safety
    ///
    /// The slot of `key` is in use and holds an `O`, which the kernel does not touch.
    pub(super) unsafe fn remove<O: Request>(&mut self, key: Key) -> (O, Entry) {
        let storage = self.storage(key.index);
        let entry = self.entries.remove(key.index as usize);
        // SAFETY: the caller vouches for the type; the slot is free now, so the value is moved out just once.
        let op = unsafe {
            if is_inline::<O>() { storage.cast::<O>().read() } else { *Box::from_raw(locate::<O>(storage)) }
        };
        (op, entry)
    }

    /// The operation of `key`, for a look at a multishot request's own data.
    ///
    /// # Safety
    ///
    /// The slot of `key` is in use and holds an `O`; nobody else uses it while the pointer is used.
    pub(super) unsafe fn get_ptr<O: Request>(&self, key: Key) -> *mut O {
        // SAFETY: the caller vouches for the type.
        unsafe { locate::<O>(self.storage(key.index)) }
    }

    /// Frees a slot whose operation has been dropped in place.
    pub(super) fn free(&mut self, key: Key) {
        self.entries.remove(key.index as usize);
    }

    /// Gives up the storage without freeing it: the kernel may still write to it.
    pub(super) fn leak(&mut self) {
        self.leaked = true;
    }
}

impl Drop for Slots {
    fn drop(&mut self) {
        // An entry that is still there may be one that the kernel writes to, if the reactor could not be shut down.
        if self.leaked || !self.entries.is_empty() {
            return;
        }
        for chunk in &self.chunks {
            // SAFETY: allocated in `insert` with this layout.
            unsafe { alloc::dealloc(chunk.as_ptr().cast(), Self::CHUNK) };
        }
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;

    #[allow(dead_code, reason = "counts drops")]
    struct Small(Rc<()>);
    #[allow(dead_code, reason = "counts drops, and is large")]
    struct Large(Rc<()>, [u8; 4096]);

    // SAFETY: a no-op names no memory.
    unsafe impl Request for Small {
        fn prepare(&mut self) -> squeue::Entry {
            io_uring::opcode::Nop::new().build()
        }
    }
    // SAFETY: as above.
    unsafe impl Request for Large {
        fn prepare(&mut self) -> squeue::Entry {
            io_uring::opcode::Nop::new().build()
        }
    }

    #[test]
    fn storage_never_moves_while_the_table_grows() {
        let (mut slots, value) = (Slots::default(), Rc::new(()));
        let first = slots.insert(Small(value.clone()), Lifecycle::InFlight);
        let address = slots.storage(first.index);
        let keys: Vec<Key> =
            (0..10_000).map(|_| slots.insert(Small(value.clone()), Lifecycle::InFlight)).collect();
        assert_eq!(slots.storage(first.index), address);
        for key in keys.into_iter().chain([first]) {
            // SAFETY: the slot holds a `Small`.
            drop(unsafe { slots.remove::<Small>(key) });
        }
        assert_eq!((Rc::strong_count(&value), slots.len()), (1, 0));
    }

    #[test]
    fn a_key_does_not_outlive_its_use_of_the_slot() {
        let (mut slots, value) = (Slots::default(), Rc::new(()));
        let old = slots.insert(Small(value.clone()), Lifecycle::InFlight);
        // SAFETY: the slot holds a `Small`.
        drop(unsafe { slots.remove::<Small>(old) });
        let new = slots.insert(Small(value.clone()), Lifecycle::InFlight);
        assert_eq!(old.index, new.index);
        assert!(slots.get_mut(old).is_none() && slots.get_mut(new).is_some());
        assert_eq!(Key::from_user_data(new.user_data()), new);
        // SAFETY: as above.
        drop(unsafe { slots.remove::<Small>(new) });
    }

    #[test]
    fn a_large_operation_is_boxed_and_dropped_once() {
        let (mut slots, value) = (Slots::default(), Rc::new(()));
        let taken = slots.insert(Large(value.clone(), [1; 4096]), Lifecycle::InFlight);
        // SAFETY: the slot holds a `Large`.
        assert_eq!(unsafe { slots.remove::<Large>(taken) }.0.1[4095], 1);
        let dropped = slots.insert(Large(value.clone(), [2; 4096]), Lifecycle::InFlight);
        let storage = slots.storage(dropped.index);
        let vtable = slots.get_mut(dropped).unwrap().vtable;
        // SAFETY: as above; the slot is freed right after.
        unsafe { (vtable.drop)(storage) };
        slots.free(dropped);
        assert_eq!(Rc::strong_count(&value), 1);
    }

    #[test]
    fn results_keep_their_order() {
        let mut results = Results::default();
        for result in 0..3 {
            results.push(Completion { result, flags: 0 });
        }
        assert_eq!(results.pop().unwrap().result, 0);
        results.push(Completion { result: 3, flags: 0 });
        let rest: Vec<i32> =
            std::iter::from_fn(|| results.pop()).map(|completion| completion.result).collect();
        assert_eq!(rest, [1, 2, 3]);
    }
}
