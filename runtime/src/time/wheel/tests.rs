//! Plain tests of the wheel, and the check of its invariants.

use super::place::BITS;
use super::*;

/// Ticks in a slot of a level.
pub(super) fn span(level: u32) -> u64 {
    1 << (level * BITS)
}

/// Fails unless the invariants of the module's documentation hold.
pub(super) fn check<T>(wheel: &Wheel<T>) {
    let mut linked = 0;
    for (index, slot) in wheel.slots.iter().enumerate() {
        let (level, bit) = (index / SLOTS, index % SLOTS);
        assert_eq!(
            wheel.occupied[level] >> bit & 1 == 1,
            slot.head != NONE,
            "bitmap, level {level} slot {bit}"
        );
        assert_eq!(slot.head == NONE, slot.tail == NONE);
        if slot.head == NONE {
            assert_eq!(slot.earliest, u64::MAX, "an empty slot bounds nothing");
            continue;
        }
        let (mut previous, mut next) = (NONE, slot.head);
        while next != NONE {
            let node = &wheel.nodes[next as usize];
            assert!(node.deadline >= wheel.now);
            assert_eq!(node.previous, previous);
            assert!(slot.earliest <= node.deadline);
            assert_eq!(node.deadline >> (level as u32 * BITS), slot.earliest >> (level as u32 * BITS));
            assert_eq!(Place::of(node.deadline, wheel.now).index(), index, "out of place");
            // Apart from `Place::of`: the digits above the level agree with the clock, its own is ahead.
            let above = (level as u32 + 1) * BITS;
            assert_eq!(node.deadline.checked_shr(above), wheel.now.checked_shr(above));
            assert!(level == 0 || node.deadline >> (above - BITS) > wheel.now >> (above - BITS));
            assert!(previous == NONE || wheel.nodes[previous as usize].serial < node.serial, "out of order");
            linked += 1;
            (previous, next) = (next, node.next);
        }
        assert_eq!(slot.tail, previous);
    }
    assert_eq!(linked, wheel.len());
}

/// What an advance to `now` fires.
fn fired<T>(wheel: &mut Wheel<T>, now: u64) -> Vec<T> {
    let mut fired = Vec::new();
    wheel.advance(now, &mut fired);
    check(wheel);
    fired
}

#[test]
fn fires_at_the_first_advance_that_reaches_the_deadline() {
    for level in 0..11 {
        for deadline in [span(level) - 1, span(level), span(level) + 1, 3 * span(level) + 7] {
            let mut wheel = Wheel::new();
            wheel.insert(deadline, deadline);
            if deadline > 0 {
                assert_eq!(fired(&mut wheel, deadline - 1), []);
            }
            assert_eq!(wheel.next_deadline(), Some(deadline));
            assert_eq!(fired(&mut wheel, deadline), [deadline]);
            assert_eq!(fired(&mut wheel, deadline + 1), []);
            assert_eq!(wheel.next_deadline(), None);
        }
    }
}

#[test]
fn a_deadline_in_the_past_fires_at_the_next_advance_whatever_its_tick() {
    let mut wheel = Wheel::new();
    wheel.advance(1000, &mut Vec::new());
    for again in [1000, 999, 0] {
        wheel.insert(1001, "ahead");
        wheel.insert(1000, "now");
        wheel.insert(3, "past");
        assert_eq!(wheel.next_deadline(), Some(1000));
        assert_eq!(fired(&mut wheel, again), ["now", "past"]);
        assert_eq!(wheel.now(), 1000);
    }
    assert_eq!(fired(&mut wheel, 1001), ["ahead"; 3]);
}

#[test]
fn ties_fire_in_the_order_of_insertion_from_whatever_distance_they_were_inserted() {
    let deadline = 5 * span(3) + 9 * span(2) + 2 * span(1) + 1;
    let mut wheel = Wheel::new();
    let approach = [0, 5 * span(3), 5 * span(3) + 9 * span(2) - 1, deadline - 1, deadline];
    for (order, now) in approach.into_iter().enumerate() {
        wheel.advance(now - (now == deadline) as u64, &mut Vec::new());
        wheel.insert(deadline + 1, 100 + order);
        wheel.insert(deadline, order);
    }
    assert_eq!(fired(&mut wheel, u64::MAX), [0, 1, 2, 3, 4, 100, 101, 102, 103, 104]);
}

#[test]
fn the_last_tick_of_all_can_be_waited_for() {
    let mut wheel = Wheel::new();
    wheel.insert(u64::MAX, 1);
    wheel.insert(u64::MAX - 1, 0);
    assert_eq!(fired(&mut wheel, u64::MAX - 2), []);
    assert_eq!(fired(&mut wheel, u64::MAX - 1), [0]);
    assert_eq!(wheel.next_deadline(), Some(u64::MAX));
    assert_eq!(fired(&mut wheel, u64::MAX), [1]);
    let key = wheel.insert(u64::MAX, 2);
    wheel.insert(0, 3);
    assert_eq!(wheel.remove(key), Some(2));
    assert_eq!(fired(&mut wheel, u64::MAX), [3]);
}

#[test]
fn a_stale_key_finds_nothing_though_its_index_is_used_again() {
    let mut wheel = Wheel::new();
    let removed = wheel.insert(10, 'a');
    assert_eq!(wheel.remove(removed), Some('a'));
    let shot = wheel.insert(10, 'b');
    assert_eq!(fired(&mut wheel, 10), ['b']);
    let live = wheel.insert(20, 'c');
    assert!(removed.index == live.index && shot.index == live.index, "the index is not used again");
    for stale in [removed, shot] {
        assert_ne!(stale, live);
        assert_eq!(wheel.get_mut(stale), None);
        assert_eq!(wheel.remove(stale), None);
    }
    *wheel.get_mut(live).unwrap() = 'd';
    assert_eq!(wheel.len(), 1);
    assert_eq!(fired(&mut wheel, 20), ['d']);
}

#[test]
fn entries_are_removed_from_anywhere_in_a_list() {
    for mask in 0..16_u32 {
        let mut wheel = Wheel::new();
        let keys: Vec<Key> = (0..4).map(|value| wheel.insert(100, value)).collect();
        for value in (0..4).filter(|value| mask >> value & 1 == 1) {
            assert_eq!(wheel.remove(keys[value as usize]), Some(value));
            check(&wheel);
        }
        let left: Vec<u32> = (0..4).filter(|value| mask >> value & 1 == 0).collect();
        assert_eq!(wheel.next_deadline(), (!left.is_empty()).then_some(100));
        assert_eq!(fired(&mut wheel, 100), left);
    }
}

#[test]
fn the_next_deadline_may_be_that_of_a_removed_entry_but_only_once() {
    let mut wheel = Wheel::new();
    let removed = wheel.insert(130, 0);
    wheel.insert(140, 1);
    wheel.remove(removed);
    assert_eq!(wheel.next_deadline(), Some(130));
    assert_eq!(fired(&mut wheel, 130), []);
    assert_eq!(wheel.next_deadline(), Some(140));
}

#[test]
fn a_steady_state_allocates_nothing() {
    let mut wheel = Wheel::new();
    let mut keys: Vec<Key> = (0..1000).map(|tick| wheel.insert(tick, tick)).collect();
    let (capacity, mut fired, mut removed) = (wheel.nodes.capacity(), Vec::new(), 0);
    for round in 0..100_000 {
        let key = &mut keys[round as usize % 1000];
        removed += wheel.remove(*key).is_some() as usize;
        *key = wheel.insert(round + round * 7919 % 3000, round);
        wheel.advance(round, &mut fired);
    }
    assert!(fired.len() > 10_000 && removed > 10_000, "{} fired, {removed} removed", fired.len());
    assert_eq!(wheel.nodes.capacity(), capacity);
}

#[test]
fn a_million_timers_fire_in_order_and_in_time_but_for_those_removed() {
    const COUNT: u64 = 1_000_000;
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let mut wheel = Wheel::new();
    let timers: Vec<(u64, Key)> = (0..COUNT)
        .map(|number| {
            let deadline = random(if number % 10 == 0 { 1 << 40 } else { 600_000 });
            (deadline, wheel.insert(deadline, (deadline, number)))
        })
        .collect();
    for (number, &(deadline, key)) in (0..).zip(&timers).skip(1).step_by(2) {
        assert_eq!(wheel.remove(key), Some((deadline, number)));
    }
    check(&wheel);
    assert_eq!(wheel.len() as u64, COUNT / 2);

    let (mut total, mut last, mut fired) = (0, None, Vec::new());
    let (mut before, mut now) = (None, 0);
    while now < 1 << 41 {
        wheel.advance(now, &mut fired);
        total += fired.len() as u64;
        for (deadline, number) in fired.drain(..) {
            assert!(number % 2 == 0 && timers[number as usize].0 == deadline);
            assert!(deadline <= now && Some(deadline) > before, "{deadline} fired at {now}");
            assert!(Some((deadline, number)) > last);
            last = Some((deadline, number));
        }
        before = Some(now);
        now += 1 + if now < 600_000 { random(50) } else { random(1 << 30) };
    }
    assert_eq!(total, COUNT / 2);
    assert!(wheel.is_empty());
}
