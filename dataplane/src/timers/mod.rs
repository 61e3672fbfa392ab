//! A fixed table of deadlines, one slot a purpose, of which the earliest is known at once.

mod flat;
pub(crate) mod tournament;

use crate::units::Time;

use flat::Flat;
use tournament::Tournament;

/// A deadline in the upper half, and its slot in the lower: as numbers, earlier ones are less, and of equal ones that of the lower
/// slot. Their minimum takes no branch, which a processor could seldom predict.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Due(u128);

impl Due {
    /// Nothing is due.
    pub const NEVER: Due = Due::new(Time::NEVER, 0);

    #[inline]
    pub const fn new(at: Time, slot: usize) -> Due {
        Due((at.ps() as u128) << 64 | slot as u128)
    }

    #[inline]
    pub fn at(self) -> Time {
        Time::from_ps((self.0 >> 64) as u64)
    }

    #[inline]
    pub fn slot(self) -> usize {
        self.0 as usize
    }
}

/// Deadlines by slot. A switch or a NIC has few, and looking through them takes less than keeping them in order.
#[derive(Debug)]
pub struct Timers(Kind);

#[derive(Debug)]
enum Kind {
    Few(Flat),
    Many(Tournament),
}

impl Timers {
    pub fn new(slots: usize) -> Timers {
        Timers(if slots <= Flat::MOST_SLOTS { Kind::Few(Flat::new(slots)) } else { Kind::Many(Tournament::new(slots)) })
    }

    #[inline]
    fn first(&self) -> Due {
        match &self.0 {
            Kind::Few(few) => few.earliest(),
            Kind::Many(many) => many.earliest(),
        }
    }

    /// The earliest deadline, `Time::NEVER` if none is set.
    #[inline]
    pub fn next(&self) -> Time {
        self.first().at()
    }

    /// The earliest deadline and its slot; of equal ones the lowest slot.
    #[inline]
    pub fn earliest(&self) -> (Time, usize) {
        (self.first().at(), self.first().slot())
    }

    #[inline]
    pub fn get(&self, slot: usize) -> Time {
        match &self.0 {
            Kind::Few(few) => few.get(slot),
            Kind::Many(many) => many.get(slot),
        }
    }

    #[inline]
    pub fn set(&mut self, slot: usize, at: Time) {
        match &mut self.0 {
            Kind::Few(few) => few.set(slot, at),
            Kind::Many(many) => many.set(slot, at),
        }
    }

    /// Set a slot that is not armed. For lazy timers: one that fires early looks at its real deadline and is set again.
    #[inline]
    pub fn set_if_idle(&mut self, slot: usize, at: Time) {
        if self.get(slot) == Time::NEVER {
            self.set(slot, at);
        }
    }

    /// Take the earliest slot that is due at `now`, disarming it.
    #[inline]
    pub fn pop(&mut self, now: Time) -> Option<usize> {
        let (at, slot) = self.earliest();
        if at > now || at == Time::NEVER {
            return None;
        }
        self.set(slot, Time::NEVER);
        Some(slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(ps: u64) -> Time {
        Time::from_ps(ps)
    }

    #[test]
    fn earliest_follows_every_change() {
        let mut timers = Timers::new(3);
        assert_eq!(timers.next(), Time::NEVER);
        timers.set(1, at(50));
        timers.set(2, at(20));
        timers.set(0, at(70));
        assert_eq!(timers.next(), at(20));
        timers.set(2, at(90));
        assert_eq!(timers.next(), at(50));
        assert_eq!(timers.pop(at(49)), None);
        assert_eq!(timers.pop(at(80)), Some(1));
        assert_eq!(timers.pop(at(80)), Some(0));
        assert_eq!(timers.pop(at(80)), None);
        assert_eq!(timers.next(), at(90));
    }

    #[test]
    fn a_slot_that_is_armed_is_not_set_again() {
        let mut timers = Timers::new(2);
        timers.set_if_idle(1, at(30));
        timers.set_if_idle(1, at(10));
        assert_eq!((timers.get(1), timers.get(0), timers.next()), (at(30), Time::NEVER, at(30)));
        assert_eq!(timers.pop(at(30)), Some(1));
        timers.set_if_idle(1, at(40));
        assert_eq!(timers.earliest(), (at(40), 1));
    }

    proptest! {
        /// Against a plain table, few slots and many; few different times, so that many are equal.
        #[test]
        fn timers_are_a_table_with_its_minimum_known(
            slots in prop_oneof![1usize..20, 60usize..70],
            changes in prop::collection::vec((any::<prop::sample::Index>(), prop::option::of(0u64..6)), 1..80),
        ) {
            let mut timers = Timers::new(slots);
            let mut table = vec![Time::NEVER; slots];
            for (slot, ps) in changes {
                let (slot, at) = (slot.index(slots), ps.map_or(Time::NEVER, Time::from_ps));
                timers.set(slot, at);
                table[slot] = at;
                prop_assert_eq!(timers.get(slot), at);
                let earliest = table.iter().copied().zip(0..).min().expect("a slot");
                prop_assert_eq!(timers.earliest(), earliest);
            }
            let mut due: Vec<(Time, usize)> = table.into_iter().zip(0..).filter(|(at, _)| *at != Time::NEVER).collect();
            due.sort_unstable();
            for (_, slot) in due {
                prop_assert_eq!(timers.pop(at(6)), Some(slot));
            }
            prop_assert_eq!(timers.pop(Time::NEVER), None);
        }
    }
}
