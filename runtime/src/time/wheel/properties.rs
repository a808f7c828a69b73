//! The wheel against a sorted map, and its promises to a caller who sleeps until the next deadline.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::place::BITS;
use super::tests::{check, span};
use super::*;

/// A tick, told by where the clock and the earlier deadlines are, to hit the places where digits carry.
#[derive(Clone, Debug)]
enum When {
    Past(u64),
    Ahead {
        level: u32,
        slots: u64,
    },
    Boundary {
        level: u32,
        slots: u64,
        offset: i64,
    },
    /// The deadline of an earlier insert, or next to it.
    Again {
        which: usize,
        offset: i64,
    },
    Last(u64),
    Any(u64),
    Next,
}

impl When {
    fn tick(&self, wheel: &Wheel<u64>, inserted: &[(Key, u64, u64)]) -> u64 {
        let now = wheel.now();
        match *self {
            Self::Past(ticks) => now.saturating_sub(ticks),
            Self::Ahead { level, slots } => now.saturating_add(slots.saturating_mul(span(level))),
            Self::Boundary { level, slots, offset } => {
                let slots = (now / span(level)).saturating_add(slots);
                slots.saturating_mul(span(level)).saturating_add_signed(offset)
            }
            Self::Again { which, offset } => match inserted.len() {
                0 => now,
                len => inserted[len - 1 - which % len].1.saturating_add_signed(offset),
            },
            Self::Last(before) => u64::MAX - before,
            Self::Any(tick) => tick,
            Self::Next => wheel.next_deadline().unwrap_or(now),
        }
    }
}

/// Mostly near ticks, so that a sequence has a long way to the end of time.
fn when() -> impl Strategy<Value = When> {
    let level = prop_oneof![8 => 0..3_u32, 2 => 3..6_u32, 1 => 6..11_u32];
    prop_oneof![
        2 => (0..100_u64).prop_map(When::Past),
        8 => (level.clone(), 0..70_u64).prop_map(|(level, slots)| When::Ahead { level, slots }),
        6 => (level, 0..3_u64, -1..2_i64)
            .prop_map(|(level, slots, offset)| When::Boundary { level, slots, offset }),
        6 => (0..20_usize, -1..2_i64).prop_map(|(which, offset)| When::Again { which, offset }),
    ]
}

fn deadline() -> impl Strategy<Value = When> {
    prop_oneof![
        20 => when(),
        1 => (0..3_u64).prop_map(When::Last),
        1 => any::<u64>().prop_map(When::Any),
    ]
}

fn target() -> impl Strategy<Value = When> {
    prop_oneof![
        20 => when(),
        10 => Just(When::Next),
        1 => any::<u64>().prop_map(|tick| When::Any(tick >> (tick % 64))),
    ]
}

/// Where a sequence starts: at 0, or just before a carry into any digit.
fn origin() -> impl Strategy<Value = u64> {
    prop_oneof![
        2 => Just(0_u64),
        4 => (0..11_u32, 1..16_u64, 0..130_u64)
            .prop_map(|(level, slots, back)| (slots * span(level)).saturating_sub(back)),
        1 => (0..200_u64).prop_map(|back| u64::MAX - back),
    ]
}

#[derive(Clone, Debug)]
enum Op {
    Insert(When),
    /// Of any key ever made, counted from the newest.
    Remove(usize),
    Replace(usize),
    Advance(When),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => deadline().prop_map(Op::Insert),
        3 => (0..40_usize).prop_map(Op::Remove),
        1 => (0..40_usize).prop_map(Op::Replace),
        4 => target().prop_map(Op::Advance),
    ]
}

/// The wheel and, to compare, the same entries in a map by deadline and then by number of insert.
struct Pair {
    wheel: Wheel<u64>,
    model: BTreeMap<(u64, u64), u64>,
    /// Key, deadline, and number of each insert.
    inserted: Vec<(Key, u64, u64)>,
    removed: bool,
    values: u64,
}

impl Pair {
    fn at(origin: u64) -> Self {
        let mut wheel = Wheel::new();
        wheel.advance(origin, &mut Vec::new());
        Self { wheel, model: BTreeMap::new(), inserted: Vec::new(), removed: false, values: 0 }
    }

    fn value(&mut self) -> u64 {
        self.values += 1;
        self.values
    }

    fn insert(&mut self, when: &When) {
        let deadline = when.tick(&self.wheel, &self.inserted);
        let (value, number) = (self.value(), self.inserted.len() as u64);
        let key = self.wheel.insert(deadline, value);
        let counted = deadline.max(self.wheel.now());
        self.model.insert((counted, number), value);
        self.inserted.push((key, counted, number));
    }

    fn pick(&self, which: usize) -> Option<(Key, u64, u64)> {
        let len = self.inserted.len();
        (len > 0).then(|| self.inserted[len - 1 - which % len])
    }

    fn advance(&mut self, now: u64) {
        let clock = self.wheel.now().max(now);
        let later = match clock.checked_add(1) {
            Some(after) => self.model.split_off(&(after, 0)),
            None => BTreeMap::new(),
        };
        let due: Vec<u64> = std::mem::replace(&mut self.model, later).into_values().collect();
        // What `fired` held before must stay.
        let mut fired = vec![0];
        self.wheel.advance(now, &mut fired);
        assert_eq!(fired[0], 0);
        assert_eq!(&fired[1..], due, "fired in the advance to {now}");
        assert_eq!(self.wheel.now(), clock);
    }

    fn apply(&mut self, op: &Op) {
        match op {
            Op::Insert(when) => self.insert(when),
            Op::Remove(which) => {
                if let Some((key, deadline, number)) = self.pick(*which) {
                    let expected = self.model.remove(&(deadline, number));
                    self.removed |= expected.is_some();
                    assert_eq!(self.wheel.remove(key), expected);
                }
            }
            Op::Replace(which) => {
                if let Some((key, deadline, number)) = self.pick(*which) {
                    let value = self.value();
                    let expected = self.model.get_mut(&(deadline, number));
                    let got = self.wheel.get_mut(key);
                    assert_eq!(got, expected);
                    got.into_iter()
                        .chain(self.model.get_mut(&(deadline, number)))
                        .for_each(|old| *old = value);
                }
            }
            Op::Advance(when) => self.advance(when.tick(&self.wheel, &self.inserted)),
        }
    }

    fn check(&self) {
        check(&self.wheel);
        assert_eq!(self.wheel.len(), self.model.len());
        assert_eq!(self.wheel.is_empty(), self.model.is_empty());
        let (now, next) = (self.wheel.now(), self.wheel.next_deadline());
        let Some((&(earliest, _), _)) = self.model.first_key_value() else {
            assert_eq!(next, None);
            return;
        };
        let next = next.expect("a wheel that is not empty has a next deadline");
        assert!(next <= earliest, "{next} is later than {earliest}");
        assert_eq!(next == now, earliest == now, "{next} spins or is late at {now}, with {earliest} first");
        assert!(next >= now);
        if !self.removed || earliest / SLOTS as u64 == now / SLOTS as u64 {
            assert_eq!(next, earliest);
        }
    }
}

proptest! {
    #[test]
    fn behaves_as_a_sorted_map(origin in origin(), ops in prop::collection::vec(op(), 1..200)) {
        let mut pair = Pair::at(origin);
        for op in &ops {
            pair.apply(op);
            pair.check();
        }
        pair.advance(u64::MAX);
        pair.check();
        for &(key, _, _) in &pair.inserted {
            prop_assert_eq!(pair.wheel.get_mut(key), None);
            prop_assert_eq!(pair.wheel.remove(key), None);
        }
    }

    #[test]
    fn a_caller_who_sleeps_until_the_next_deadline_is_always_in_time(
        origin in origin(),
        inserts in prop::collection::vec((deadline(), any::<bool>()), 1..100),
        remove in any::<bool>(),
    ) {
        let mut wheel = Wheel::new();
        wheel.advance(origin, &mut Vec::new());
        let mut inserted = Vec::new();
        for (index, (when, _)) in (0..).zip(&inserts) {
            let deadline = when.tick(&wheel, &inserted);
            inserted.push((wheel.insert(deadline, index), deadline.max(origin), index));
        }
        let mut left = Vec::new();
        for (&(key, deadline, index), (_, removed)) in inserted.iter().zip(&inserts) {
            if remove && *removed {
                prop_assert_eq!(wheel.remove(key), Some(index));
            } else {
                left.push(deadline);
            }
        }
        left.sort_unstable();
        let (mut times, mut idle, mut fired) = (Vec::new(), 0, Vec::new());
        while let Some(next) = wheel.next_deadline() {
            prop_assert!(idle <= inserts.len() * LEVELS, "the wheel gets nowhere");
            prop_assert!(next > wheel.now() || next == origin, "spins at {}", next);
            wheel.advance(next, &mut fired);
            check(&wheel);
            idle += fired.is_empty() as usize;
            for index in fired.drain(..) {
                prop_assert_eq!(inserted[index as usize].1, next);
                times.push(next);
            }
        }
        prop_assert_eq!(&times, &left);
        if !remove {
            prop_assert_eq!(idle, 0);
        }
    }

    #[test]
    fn removed_entries_wake_the_caller_no_more_often_than_promised(
        origin in origin(),
        digits in 1..12_u32,
        distance in any::<u64>(),
        decoys in prop::collection::vec(any::<u64>(), 0..20),
    ) {
        let ahead = distance >> u64::BITS.saturating_sub(digits * BITS);
        let deadline = origin.saturating_add(ahead);
        let mut wheel = Wheel::new();
        wheel.advance(origin, &mut Vec::new());
        wheel.insert(deadline, 0);
        let (mut idle, mut fired) = (0, Vec::new());
        while fired.is_empty() {
            let now = wheel.now();
            let starts = (0..11).map(|level| (now / span(level)).saturating_add(1).saturating_mul(span(level)));
            let within = decoys.iter().map(|decoy| now.saturating_add(decoy % (deadline - now).saturating_add(1)));
            let ends = (0..11).map(|level| deadline / span(level) * span(level));
            for decoy in starts.chain(within).chain(ends).filter(|&decoy| decoy > now) {
                let key = wheel.insert(decoy, 1);
                wheel.remove(key);
            }
            wheel.advance(wheel.next_deadline().unwrap(), &mut fired);
            idle += fired.is_empty() as u32;
            prop_assert!(idle <= digits.min(10), "{} idle wakes for {} ticks", idle, ahead);
        }
        prop_assert_eq!(wheel.now(), deadline);
    }
}
