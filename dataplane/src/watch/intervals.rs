//! When the egress queues of a node stood still because of PAUSE: from the moment at which a pause takes hold to its end.

use crate::priority::Priority;
use crate::units::Time;

/// One such time of one queue.
#[derive(Copy, Clone, Debug)]
pub struct Interval {
    pub port: u16,
    pub priority: Priority,
    pub from: Time,
    /// `None`: it is not over yet, as far as was recorded.
    pub to: Option<Time>,
    /// What the PAUSE frames that began it and that renewed it last said of their sender's request.
    pub first: Option<u32>,
    pub last: Option<u32>,
}

/// Of an open interval that is not kept.
const LEFT_OUT: u32 = u32::MAX;

/// The intervals of one node, in the order in which they began.
#[derive(Default, Debug)]
pub struct Intervals {
    kept: Vec<Interval>,
    /// By queue: one more than the index of the interval that is open, 0 for none.
    open: Vec<u32>,
    bound: usize,
    /// Those that are not kept: how many, when the first began, and what they came to.
    left_out: u64,
    left_out_from: Option<Time>,
    left_out_time: Time,
}

impl Intervals {
    /// Keep so many at most from now on; 0: record nothing.
    pub fn set_bound(&mut self, bound: usize, ports: usize) {
        self.bound = bound;
        self.open = vec![0; if bound == 0 { 0 } else { ports * crate::priority::PRIORITIES }];
    }

    /// A queue stands still from `from` on.
    pub fn begin(&mut self, port: u16, priority: Priority, from: Time, number: Option<u32>) {
        let Some(open) = self.open.get_mut(priority.slot(port)) else { return };
        if self.kept.len() >= self.bound {
            self.left_out += 1;
            self.left_out_from.get_or_insert(from);
            *open = LEFT_OUT;
            return;
        }
        self.kept.push(Interval { port, priority, from, to: None, first: number, last: number });
        *open = self.kept.len() as u32;
    }

    /// Another PAUSE frame renews the pause of a queue.
    pub fn renew(&mut self, port: u16, priority: Priority, number: Option<u32>) {
        let Some(open) = self.open.get(priority.slot(port)) else { return };
        if let Some(interval) = (*open as usize).checked_sub(1).and_then(|index| self.kept.get_mut(index)) {
            interval.last = number;
        }
    }

    /// The pause of a queue, which took hold at `from`, is over at `to`.
    pub fn end(&mut self, port: u16, priority: Priority, from: Time, to: Time) {
        let Some(open) = self.open.get_mut(priority.slot(port)) else { return };
        match std::mem::take(open) {
            0 => {}
            LEFT_OUT => self.left_out_time += to.since(from),
            index => self.kept[index as usize - 1].to = Some(to.max(from)),
        }
    }

    /// Forget the intervals that are over; `over` says whether an open one has run out.
    pub fn restart(&mut self, over: impl Fn(u16, Priority) -> bool) {
        self.left_out = self.open.iter().filter(|open| **open == LEFT_OUT).count() as u64;
        (self.left_out_from, self.left_out_time) = (None, Time::ZERO);
        self.kept.retain(|interval| interval.to.is_none() && !over(interval.port, interval.priority));
        self.open.iter_mut().filter(|open| **open != LEFT_OUT).for_each(|open| *open = 0);
        for (index, interval) in self.kept.iter().enumerate() {
            self.open[interval.priority.slot(interval.port)] = index as u32 + 1;
        }
    }

    pub fn kept(&self) -> &[Interval] {
        &self.kept
    }

    /// How many were not kept, when the first of them began, and what those of them that are over came to.
    pub fn left_out(&self) -> (u64, Option<Time>, Time) {
        (self.left_out, self.left_out_from, self.left_out_time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ps: u64) -> Time {
        Time::from_ps(ps)
    }

    fn ends(intervals: &Intervals) -> Vec<(u64, Option<u64>)> {
        intervals.kept().iter().map(|kept| (kept.from.ps(), kept.to.map(Time::ps))).collect()
    }

    fn bound(bound: usize) -> Intervals {
        let mut intervals = Intervals::default();
        intervals.set_bound(bound, 2);
        intervals
    }

    #[test]
    fn a_renewed_interval_is_one_and_remembers_what_renewed_it() {
        let mut intervals = bound(9);
        intervals.begin(1, Priority::P3, at(10), Some(4));
        intervals.renew(1, Priority::P3, Some(5));
        intervals.renew(0, Priority::P3, Some(6));
        intervals.end(1, Priority::P3, at(10), at(30));
        intervals.end(1, Priority::P3, at(10), at(40));
        assert_eq!(ends(&intervals), [(10, Some(30))], "the second XON ends nothing");
        assert_eq!((intervals.kept()[0].first, intervals.kept()[0].last), (Some(4), Some(5)));
    }

    #[test]
    fn a_pause_called_off_before_it_takes_hold_is_empty() {
        let mut intervals = bound(9);
        intervals.begin(0, Priority::P3, at(10), None);
        intervals.end(0, Priority::P3, at(10), at(4));
        assert_eq!(ends(&intervals), [(10, Some(10))]);
    }

    #[test]
    fn beyond_the_bound_intervals_are_counted_with_their_time() {
        let mut intervals = bound(1);
        for from in [10, 20, 30] {
            intervals.begin(0, Priority::P3, at(from), None);
            intervals.end(0, Priority::P3, at(from), at(from + 7));
        }
        assert_eq!((ends(&intervals), intervals.left_out()), (vec![(10, Some(17))], (2, Some(at(20)), at(14))));
    }

    #[test]
    fn a_new_span_begins_with_the_intervals_that_are_open() {
        let mut intervals = bound(9);
        for (port, from) in [(0, 10), (1, 20)] {
            intervals.begin(port, Priority::P3, at(from), None);
        }
        intervals.end(0, Priority::P3, at(10), at(15));
        intervals.restart(|_, _| false);
        assert_eq!(ends(&intervals), [(20, None)]);
        intervals.end(1, Priority::P3, at(20), at(50));
        assert_eq!(ends(&intervals), [(20, Some(50))]);
    }

    #[test]
    fn without_a_bound_nothing_is_recorded() {
        let mut intervals = bound(0);
        intervals.begin(0, Priority::P3, at(1), None);
        intervals.end(0, Priority::P3, at(1), at(2));
        assert_eq!((ends(&intervals), intervals.left_out()), (vec![], (0, None, Time::ZERO)));
    }
}
