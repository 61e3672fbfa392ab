//! The queue of a large fabric: a wheel of buckets, each of which stands for a short span of time. Only the bucket whose turn it is has
//! to be in order, and what is in it is known before it happens.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::timers::Due;
use crate::units::Time;

/// Picoseconds in a bucket, as a power of two: 1.02 ns, a sixth of the shortest frame at 100 Gbit/s. In a fabric of a thousand hosts some
/// ten events share one.
const BUCKET_LOG2: u32 = 10;

/// Buckets, a power of two. All of them together are the horizon, 8.4 µs; beyond it lie long links and the timers of connections.
const BUCKETS: usize = 8192;

/// A bit for each.
const WORDS: usize = BUCKETS / 64;

/// No slot.
const NONE: u32 = u32::MAX;

/// A slot: when it is due, and its neighbours in the list of its bucket.
#[derive(Copy, Clone, Debug)]
struct Entry {
    at: Time,
    next: u32,
    previous: u32,
}

/// Where a slot stands follows from its time and the bucket whose turn it is: nowhere if it is never due, in `active` if its bucket has
/// come, in the list of its bucket, or beyond the horizon.
#[derive(Debug)]
pub(super) struct Wheel {
    entries: Vec<Entry>,
    /// The number of the bucket whose turn it is, counted from time 0.
    turn: u64,
    /// What is due within that bucket or before it, the next one last.
    active: Vec<Due>,
    /// The first slot in the list of each bucket, by its number modulo `BUCKETS`, and a bit for each that has one.
    buckets: Box<[u32; BUCKETS]>,
    filled: Box<[u64; WORDS]>,
    /// At least one instant of each slot beyond the horizon, its own or an earlier one. `listed` says which of a slot's counts.
    beyond: BinaryHeap<Reverse<Due>>,
    listed: Vec<Time>,
}

impl Wheel {
    /// A wheel on which nothing is due, at `now`.
    pub fn new(slots: usize, now: Time) -> Wheel {
        Wheel {
            entries: vec![Entry { at: Time::NEVER, next: NONE, previous: NONE }; slots],
            turn: number(now),
            active: Vec::new(),
            buckets: Box::new([NONE; BUCKETS]),
            filled: Box::new([0; WORDS]),
            beyond: BinaryHeap::new(),
            listed: vec![Time::NEVER; slots],
        }
    }

    #[inline]
    pub fn get(&self, slot: usize) -> Time {
        self.entries[slot].at
    }

    /// The earliest instant, `Time::NEVER` if there is none.
    pub fn next(&self) -> Time {
        if let Some(due) = self.active.last() {
            return due.at();
        }
        if let Some(bucket) = self.first_filled() {
            return self.list(bucket).map(Due::at).min().unwrap_or(Time::NEVER);
        }
        self.beyond.iter().map(|Reverse(listed)| self.get(listed.slot())).min().unwrap_or(Time::NEVER)
    }

    /// The slots whose bucket has come, without those that were taken.
    pub fn at_hand(&self) -> impl Iterator<Item = usize> + '_ {
        self.active.iter().map(|due| due.slot())
    }

    /// Whether the next `take` comes to another bucket.
    #[inline]
    pub fn is_worked_off(&self) -> bool {
        self.active.is_empty()
    }

    /// Take the earliest slot that is due at `until` or before; it is never due until it is set again.
    #[inline]
    pub fn take(&mut self, until: Time) -> Option<(Time, usize)> {
        if self.active.is_empty() {
            self.turn_to(until);
        }
        let due = self.active.pop_if(|due| due.at() <= until)?;
        self.entries[due.slot()].at = Time::NEVER;
        Some((due.at(), due.slot()))
    }

    /// Let a slot be due at `at`, and no more when it was.
    #[inline]
    pub fn set(&mut self, slot: usize, at: Time) {
        let before = self.entries[slot].at;
        if before == at {
            return;
        }
        if before != Time::NEVER {
            self.unlink(slot, before);
        }
        self.entries[slot].at = at;
        if at != Time::NEVER {
            self.link(slot, at);
        }
    }

    #[inline]
    fn link(&mut self, slot: usize, at: Time) {
        let ahead = number(at).saturating_sub(self.turn);
        if ahead == 0 {
            let due = Due::new(at, slot);
            let place = self.active.partition_point(|other| *other > due);
            self.active.insert(place, due);
        } else if ahead < BUCKETS as u64 {
            let bucket = bucket(at);
            let first = std::mem::replace(&mut self.buckets[bucket], slot as u32);
            self.entries[slot] = Entry { at, next: first, previous: NONE };
            if first != NONE {
                self.entries[first as usize].previous = slot as u32;
            }
            self.filled[bucket / 64] |= 1 << (bucket % 64);
        } else if at < self.listed[slot] {
            self.listed[slot] = at;
            self.beyond.push(Reverse(Due::new(at, slot)));
        }
    }

    #[inline]
    fn unlink(&mut self, slot: usize, at: Time) {
        let ahead = number(at).saturating_sub(self.turn);
        if ahead == 0 {
            let due = Due::new(at, slot);
            let place = self.active.partition_point(|other| *other > due);
            self.active.remove(place);
        } else if ahead < BUCKETS as u64 {
            let Entry { next, previous, .. } = self.entries[slot];
            if next != NONE {
                self.entries[next as usize].previous = previous;
            }
            if previous != NONE {
                self.entries[previous as usize].next = next;
                return;
            }
            let bucket = bucket(at);
            self.buckets[bucket] = next;
            if next == NONE {
                self.filled[bucket / 64] &= !(1 << (bucket % 64));
            }
        }
    }

    /// Let the next bucket that holds something have its turn, if it begins at `until` or before.
    fn turn_to(&mut self, until: Time) {
        let next = match self.first_filled() {
            Some(bucket) => self.turn + (bucket.wrapping_sub(self.turn as usize) % BUCKETS) as u64,
            None => match self.first_beyond() {
                Some(at) => number(at),
                None => return,
            },
        };
        if next > number(until) {
            return;
        }
        let before = std::mem::replace(&mut self.turn, next);
        let bucket = next as usize % BUCKETS;
        let mut slot = std::mem::replace(&mut self.buckets[bucket], NONE);
        self.filled[bucket / 64] &= !(1 << (bucket % 64));
        while slot != NONE {
            let entry = self.entries[slot as usize];
            self.active.push(Due::new(entry.at, slot as usize));
            slot = entry.next;
        }
        if self.active.len() > 1 {
            self.active.sort_unstable_by_key(|due| Reverse(*due));
        }
        self.approach(before);
    }

    /// The turn has passed from a bucket to another one: put what the horizon has reached into its bucket.
    fn approach(&mut self, before: u64) {
        while let Some(Reverse(listed)) = self.beyond.peek().copied() {
            if number(listed.at()) - self.turn >= BUCKETS as u64 {
                return;
            }
            self.beyond.pop();
            let slot = listed.slot();
            if self.listed[slot] != listed.at() {
                continue;
            }
            self.listed[slot] = Time::NEVER;
            let at = self.entries[slot].at;
            // What was within the horizon is in its bucket already.
            if at != Time::NEVER && number(at).saturating_sub(before) >= BUCKETS as u64 {
                self.link(slot, at);
            }
        }
    }

    /// The earliest instant beyond the horizon, with nothing within it. What is listed too early is listed anew.
    fn first_beyond(&mut self) -> Option<Time> {
        while let Some(Reverse(listed)) = self.beyond.peek().copied() {
            let slot = listed.slot();
            let at = self.entries[slot].at;
            if at == listed.at() {
                return Some(at);
            }
            self.beyond.pop();
            if self.listed[slot] == listed.at() {
                self.listed[slot] = Time::NEVER;
                if at != Time::NEVER {
                    self.link(slot, at);
                }
            }
        }
        None
    }

    /// The next bucket after the one whose turn it is that holds something.
    #[inline]
    fn first_filled(&self) -> Option<usize> {
        let start = (self.turn as usize + 1) % BUCKETS;
        let (first, bits) = (start / 64, u64::MAX << (start % 64));
        let word = self.filled[first] & bits;
        if word != 0 {
            return Some(first * 64 + word.trailing_zeros() as usize);
        }
        let following = (first + 1..WORDS).chain(0..=first).find(|word| self.filled[*word] != 0)?;
        Some(following * 64 + self.filled[following].trailing_zeros() as usize)
    }

    /// The slots in the list of a bucket.
    fn list(&self, bucket: usize) -> impl Iterator<Item = Due> + '_ {
        let first = Some(self.buckets[bucket]).filter(|slot| *slot != NONE);
        let follow = |slot: &u32| Some(self.entries[*slot as usize].next).filter(|slot| *slot != NONE);
        std::iter::successors(first, follow).map(|slot| Due::new(self.get(slot as usize), slot as usize))
    }
}

/// The number of the bucket that an instant is in, from time 0.
#[inline]
fn number(at: Time) -> u64 {
    at.ps() >> BUCKET_LOG2
}

/// The place of that bucket on the wheel.
#[inline]
fn bucket(at: Time) -> usize {
    number(at) as usize % BUCKETS
}
