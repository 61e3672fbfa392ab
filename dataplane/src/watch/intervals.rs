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
        (self.left_out, self.left_out_from, self.left_out_time) = (0, None, Time::ZERO);
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
