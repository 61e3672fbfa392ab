//! A fixed table of deadlines: one slot a purpose, the earliest known at once.

use crate::units::Time;

/// Deadlines by slot; setting one that is not the earliest costs O(1), moving the earliest costs one scan.
#[derive(Debug)]
pub struct Timers {
    deadlines: Vec<Time>,
    earliest: Time,
}

impl Timers {
    pub fn new(slots: usize) -> Timers {
        Timers { deadlines: vec![Time::NEVER; slots], earliest: Time::NEVER }
    }

    /// The earliest deadline, `Time::NEVER` if none is set.
    #[inline]
    pub fn next(&self) -> Time {
        self.earliest
    }

    #[inline]
    pub fn set(&mut self, slot: usize, at: Time) {
        let previous = std::mem::replace(&mut self.deadlines[slot], at);
        if at <= self.earliest {
            self.earliest = at;
        } else if previous == self.earliest {
            self.rescan();
        }
    }

    /// Set a slot that is not armed. For lazy timers: one that fires early looks at its real deadline and is set again.
    #[inline]
    pub fn set_if_idle(&mut self, slot: usize, at: Time) {
        if self.deadlines[slot] == Time::NEVER {
            self.set(slot, at);
        }
    }

    /// Take the lowest slot that is due at `now`, disarming it.
    pub fn pop(&mut self, now: Time) -> Option<usize> {
        if self.earliest > now {
            return None;
        }
        let slot = self.deadlines.iter().position(|&at| at <= now)?;
        self.deadlines[slot] = Time::NEVER;
        self.rescan();
        Some(slot)
    }

    fn rescan(&mut self) {
        self.earliest = self.deadlines.iter().copied().min().unwrap_or(Time::NEVER);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(timers.pop(at(80)), Some(0));
        assert_eq!(timers.pop(at(80)), Some(1));
        assert_eq!(timers.pop(at(80)), None);
        assert_eq!(timers.next(), at(90));
    }
}
