//! When the priorities of a port had a frame to send and no credit for it.

use crate::priority::{Priority, PRIORITIES};
use crate::units::Time;

/// One such time.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct CreditWait {
    pub priority: Priority,
    pub from: Time,
    /// `None`: it waits still.
    pub to: Option<Time>,
}

/// The waits of a port: how long they were, and so many of them one by one.
#[derive(Default, Debug)]
pub struct CreditWaits {
    /// Since when a priority waits, and for how many bytes.
    open: [Option<(Time, u32)>; PRIORITIES],
    spent: [Time; PRIORITIES],
    kept: Vec<CreditWait>,
    bound: usize,
    left_out: u64,
    left_out_from: Option<Time>,
    left_out_time: Time,
}

impl CreditWaits {
    /// Keep so many waits at most from now on.
    pub fn set_bound(&mut self, bound: usize) {
        self.bound = bound;
    }

    /// A frame of so many bytes is there and may not start.
    pub fn open(&mut self, priority: Priority, frame_bytes: u32, now: Time) {
        let since = self.open[priority].map_or(now, |(since, _)| since);
        self.open[priority] = Some((since, frame_bytes));
    }

    /// For how many bytes a priority waits, if it does.
    pub fn waits_for(&self, priority: Priority) -> Option<u32> {
        self.open[priority].map(|(_, frame_bytes)| frame_bytes)
    }

    /// A priority waits no longer.
    pub fn close(&mut self, priority: Priority, now: Time) {
        let Some((from, _)) = self.open[priority].take() else { return };
        self.spent[priority] += now.since(from);
        if now == from || self.bound == 0 {
            return;
        }
        if self.kept.len() < self.bound {
            self.kept.push(CreditWait { priority, from, to: Some(now) });
        } else {
            self.left_out += 1;
            self.left_out_from.get_or_insert(from);
            self.left_out_time += now.since(from);
        }
    }

    /// How long a priority has waited up to `now`.
    pub fn total(&self, priority: Priority, now: Time) -> Time {
        self.spent[priority] + self.open[priority].map_or(Time::ZERO, |(since, _)| now.since(since))
    }

    /// The waits that are kept, those that are not over last.
    pub fn kept(&self) -> impl Iterator<Item = CreditWait> + '_ {
        let since = |priority: Priority| self.open[priority].filter(|_| self.bound > 0).map(|(since, _)| since);
        let open = crate::priority::PrioritySet::ALL.into_iter();
        let open = open.filter_map(move |priority| Some(CreditWait { priority, from: since(priority)?, to: None }));
        self.kept.iter().copied().chain(open)
    }

    /// How many were not kept, when the first of them began, and what they came to.
    pub fn left_out(&self) -> (u64, Option<Time>, Time) {
        (self.left_out, self.left_out_from, self.left_out_time)
    }

    /// Forget the waits that are over, one by one.
    pub fn restart(&mut self) {
        self.kept.clear();
        (self.left_out, self.left_out_from, self.left_out_time) = (0, None, Time::ZERO);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ps: u64) -> Time {
        Time::from_ps(ps)
    }

    #[test]
    fn a_wait_is_one_until_it_is_over_and_beyond_the_bound_it_is_counted() {
        let mut waits = CreditWaits::default();
        waits.set_bound(1);
        for (from, to) in [(10, 15), (20, 20), (30, 37)] {
            waits.open(Priority::P3, 100, at(from));
            waits.open(Priority::P3, 200, at(to));
            assert_eq!(waits.waits_for(Priority::P3), Some(200));
            waits.close(Priority::P3, at(to));
            waits.close(Priority::P3, at(to + 1));
        }
        waits.open(Priority::P5, 100, at(40));
        let kept: Vec<_> = waits.kept().map(|wait| (wait.priority, wait.from.ps(), wait.to.map(Time::ps))).collect();
        assert_eq!(kept, [(Priority::P3, 10, Some(15)), (Priority::P5, 40, None)]);
        assert_eq!((waits.left_out(), waits.total(Priority::P3, at(99))), ((1, Some(at(30)), at(7)), at(12)));
        waits.restart();
        assert_eq!((waits.kept().count(), waits.left_out().0), (1, 0), "what waits still is of the next span, too");
    }
}
