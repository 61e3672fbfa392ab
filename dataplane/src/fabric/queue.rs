//! What a shard has ahead of it: for each slot at most one instant, taken in order of time and, of equal times, of slots.

use super::wheel::Wheel;
use crate::timers::tournament::Tournament;
use crate::units::Time;

/// Slots from which on a fabric is large: its frames and ports are more than a core's caches hold, which is some megabytes.
const LARGE_SLOTS: usize = 4096;

/// A tournament, which a small fabric keeps in the innermost cache; in a large one a wheel, which knows well before they happen what the
/// next events are.
#[derive(Debug)]
pub(super) enum Queue {
    Small(Tournament),
    Large(Wheel),
}

impl Queue {
    /// A queue in which nothing is due, at `now`.
    pub fn new(slots: usize, now: Time) -> Queue {
        if slots < LARGE_SLOTS {
            Queue::Small(Tournament::new(slots))
        } else {
            Queue::Large(Wheel::new(slots, now))
        }
    }

    #[inline]
    pub fn get(&self, slot: usize) -> Time {
        match self {
            Queue::Small(tournament) => tournament.get(slot),
            Queue::Large(wheel) => wheel.get(slot),
        }
    }

    /// Let a slot be due at `at`, and no more when it was.
    #[inline]
    pub fn set(&mut self, slot: usize, at: Time) {
        match self {
            Queue::Small(tournament) => tournament.set(slot, at),
            Queue::Large(wheel) => wheel.set(slot, at),
        }
    }

    /// The earliest instant, `Time::NEVER` if there is none.
    #[inline]
    pub fn next(&self) -> Time {
        match self {
            Queue::Small(tournament) => tournament.earliest().at(),
            Queue::Large(wheel) => wheel.next(),
        }
    }

    /// Take the earliest slot that is due at `until` or before, which is not `Time::NEVER`. It must be set anew before the next is taken.
    #[inline]
    pub fn take(&mut self, until: Time) -> Option<(Time, usize)> {
        match self {
            Queue::Small(tournament) => {
                let due = tournament.earliest();
                (due.at() <= until).then(|| (due.at(), due.slot()))
            }
            Queue::Large(wheel) => wheel.take(until),
        }
    }

    /// Whether `take` comes to the next bucket of a wheel.
    #[inline]
    pub fn is_worked_off(&self) -> bool {
        match self {
            Queue::Small(_) => false,
            Queue::Large(wheel) => wheel.is_worked_off(),
        }
    }

    /// The slots that share the bucket of the one that was taken last, and come after it; of a wheel.
    pub fn at_hand(&self) -> impl Iterator<Item = usize> + '_ {
        let wheel = if let Queue::Large(wheel) = self { Some(wheel) } else { None };
        wheel.into_iter().flat_map(Wheel::at_hand)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A bucket of a wheel, some buckets, the horizon and what lies beyond it.
    const SPANS_PS: [u64; 4] = [4, 1 << 13, 1 << 24, 1 << 30];

    #[derive(Clone, Debug)]
    enum Step {
        /// Set a slot so far ahead, or to never.
        Set(prop::sample::Index, Option<u64>),
        /// Take all that is due within a span.
        Run(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        let span = || prop::sample::select(&SPANS_PS[..]).prop_flat_map(|most| 0..most);
        prop_oneof![
            4 => (any::<prop::sample::Index>(), prop::option::weighted(0.9, span())).prop_map(|(slot, ps)| Step::Set(slot, ps)),
            1 => span().prop_map(Step::Run),
        ]
    }

    proptest! {
        /// Both kinds against a search for the minimum of a table.
        #[test]
        fn a_queue_is_a_table_with_its_minimum_known(
            slots in 1usize..100,
            start in prop::sample::select(&[0, 5_000, u64::MAX >> 2][..]),
            steps in prop::collection::vec(step(), 1..200),
        ) {
            let mut now = Time::from_ps(start);
            let mut queues = [Queue::Small(Tournament::new(slots)), Queue::Large(Wheel::new(slots, now))];
            let mut table = vec![Time::NEVER; slots];
            for step in steps {
                match step {
                    Step::Set(slot, ahead) => {
                        let (slot, at) = (slot.index(slots), ahead.map_or(Time::NEVER, |ps| now + Time::from_ps(ps)));
                        table[slot] = at;
                        for queue in &mut queues {
                            queue.set(slot, at);
                            prop_assert_eq!(queue.get(slot), at);
                        }
                    }
                    Step::Run(span) => {
                        let until = now + Time::from_ps(span);
                        loop {
                            let earliest = table.iter().copied().zip(0..).min().filter(|(at, _)| *at <= until);
                            for queue in &mut queues {
                                prop_assert_eq!(queue.take(until), earliest);
                            }
                            let Some((_, slot)) = earliest else { break };
                            table[slot] = Time::NEVER;
                            queues.iter_mut().for_each(|queue| queue.set(slot, Time::NEVER));
                        }
                        now = until;
                    }
                }
                for queue in &queues {
                    prop_assert_eq!(queue.next(), table.iter().copied().min().expect("a slot"));
                }
            }
        }
    }

    #[test]
    fn what_shares_a_bucket_is_at_hand_when_the_first_of_it_is_taken() {
        let mut queue = Queue::new(LARGE_SLOTS, Time::ZERO);
        for (slot, ps) in [(7, 5_000), (9, 5_100), (8, 5_100), (1, 9_000)] {
            queue.set(slot, Time::from_ps(ps));
        }
        assert!(queue.is_worked_off());
        assert_eq!(queue.take(Time::from_ps(20_000)), Some((Time::from_ps(5_000), 7)));
        assert!(!queue.is_worked_off());
        let mut at_hand: Vec<usize> = queue.at_hand().collect();
        at_hand.sort_unstable();
        assert_eq!(at_hand, [8, 9]);
    }
}
