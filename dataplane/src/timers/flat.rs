//! Few deadlines: an array, in which those that are set are looked through when the earliest changes.

use super::Due;
use crate::units::Time;

/// Up to 64 deadlines, a bit for each that is set, and the earliest of them.
#[derive(Debug)]
pub(super) struct Flat {
    earliest: Due,
    armed: u64,
    deadlines: Box<[Time]>,
}

impl Flat {
    /// A bit of a word each.
    pub const MOST_SLOTS: usize = u64::BITS as usize;

    /// `slots` is at most `MOST_SLOTS`.
    pub fn new(slots: usize) -> Flat {
        debug_assert!(slots <= Flat::MOST_SLOTS);
        Flat { earliest: Due::NEVER, armed: 0, deadlines: vec![Time::NEVER; slots].into() }
    }

    #[inline]
    pub fn earliest(&self) -> Due {
        self.earliest
    }

    #[inline]
    pub fn get(&self, slot: usize) -> Time {
        self.deadlines[slot]
    }

    #[inline]
    pub fn set(&mut self, slot: usize, at: Time) {
        if self.deadlines[slot] == at {
            return;
        }
        self.deadlines[slot] = at;
        self.armed = self.armed & !(1 << slot) | u64::from(at != Time::NEVER) << slot;
        let due = Due::new(at, slot);
        if due <= self.earliest {
            self.earliest = due;
        } else if slot == self.earliest.slot() {
            self.earliest = self.first();
        }
    }

    /// The earliest of those that are set.
    #[inline]
    fn first(&self) -> Due {
        let (mut first, mut armed) = (Due::NEVER, self.armed);
        while armed != 0 {
            let slot = armed.trailing_zeros() as usize;
            first = first.min(Due::new(self.deadlines[slot], slot));
            armed &= armed - 1;
        }
        first
    }
}
