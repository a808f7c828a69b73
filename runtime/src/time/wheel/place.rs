//! Where on a wheel a deadline belongs: the arithmetic of digits, which knows no entries.

/// The bits of a digit of a tick.
pub(crate) const BITS: u32 = 6;
/// The slots of a level; as many as the bits of the level's bitmap.
pub(crate) const SLOTS: usize = 1 << BITS;
/// The levels: one for each digit of a `u64`.
pub(crate) const LEVELS: usize = u64::BITS.div_ceil(BITS) as usize;

/// Where a slot is.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    /// The level, 0 being the lowest.
    pub(crate) level: usize,
    /// The slot in the level.
    pub(crate) slot: usize,
}

impl Place {
    /// The place of an entry with this deadline while the clock reads `now`, which must not be after the
    /// deadline.
    pub(crate) fn of(deadline: u64, now: u64) -> Self {
        debug_assert!(deadline >= now, "the deadline {deadline} has passed, it is {now}");
        // The lowest bit is set to give a deadline of `now` itself, which differs in no digit, the level of
        // its last.
        let level = (((deadline ^ now) | 1).ilog2() / BITS) as usize;
        let slot = (deadline >> (level as u32 * BITS)) as usize % SLOTS;
        Self { level, slot }
    }

    /// The place in an array of the slots of all levels, the lowest level first.
    pub(crate) fn index(self) -> usize {
        self.level * SLOTS + self.slot
    }

    /// Whether a clock that reads `now` has come to the slot here, or past it, if `inside` is any tick of the
    /// slot.
    pub(crate) fn is_reached(self, inside: u64, now: u64) -> bool {
        let shift = self.level as u32 * BITS;
        inside >> shift <= now >> shift
    }
}
