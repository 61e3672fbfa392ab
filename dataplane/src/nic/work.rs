//! What a rank works off: a schedule that is in memory whole, or a trace that stays on disk.

use super::schedule::{Action, Schedule};
use super::traced::Traced;
use crate::units::Time;

#[derive(Debug)]
pub enum Work {
    Planned(Schedule),
    Traced(Box<Traced>),
}

impl From<Schedule> for Work {
    fn from(schedule: Schedule) -> Work {
        Work::Planned(schedule)
    }
}

impl Work {
    pub fn is_finished(&self) -> bool {
        match self {
            Work::Planned(schedule) => schedule.is_finished(),
            Work::Traced(traced) => traced.is_finished(),
        }
    }

    /// How many ops have finished.
    pub fn finished(&self) -> u64 {
        match self {
            Work::Planned(schedule) => schedule.finished(),
            Work::Traced(traced) => traced.finished(),
        }
    }

    /// The calcs that have ended, by op, and when; of a trace those before and behind all its ops.
    pub fn slept(&self) -> &[(usize, Time)] {
        match self {
            Work::Planned(schedule) => schedule.slept(),
            Work::Traced(traced) => traced.slept(),
        }
    }

    pub fn traced(&self) -> Option<&Traced> {
        match self {
            Work::Planned(_) => None,
            Work::Traced(traced) => Some(traced),
        }
    }

    /// When the next `calc` ends.
    pub fn next_wake(&self) -> Time {
        match self {
            Work::Planned(schedule) => schedule.next_wake(),
            Work::Traced(traced) => traced.next_wake(),
        }
    }

    /// Finish the calcs that end at `now` or before.
    pub fn wake(&mut self, now: Time) {
        match self {
            Work::Planned(schedule) => schedule.wake(now),
            Work::Traced(traced) => traced.wake(now),
        }
    }

    /// What to do next at `now`; `None` when all that is left waits for the network or a calc.
    pub fn next(&mut self, now: Time) -> Option<Action> {
        match self {
            Work::Planned(schedule) => schedule.next(now),
            Work::Traced(traced) => traced.next(now),
        }
    }

    /// The oldest unposted send of a connection, if it is ready. Call it again until it returns `None`.
    pub fn next_send(&mut self, qp: usize) -> Option<Action> {
        match self {
            Work::Planned(schedule) => schedule.next_send(qp),
            Work::Traced(traced) => traced.next_send(qp),
        }
    }

    /// Where message number `message` of `qp` belongs, and its bytes; `None` if nobody expects it, and of lengths that have no place.
    pub fn receive_buffer(&self, qp: usize, message: u64) -> Option<(u64, u64)> {
        match self {
            Work::Planned(schedule) => schedule.receive_buffer(qp, message),
            Work::Traced(_) => None,
        }
    }

    /// Whether the receive of message number `message` of `qp` has been posted: all that it required is finished.
    pub fn is_posted(&self, qp: usize, message: u64) -> bool {
        match self {
            Work::Planned(schedule) => schedule.is_posted(qp, message),
            Work::Traced(traced) => traced.is_posted(qp, message),
        }
    }

    /// A message arrived whole on `qp`.
    pub fn arrived(&mut self, qp: usize) {
        match self {
            Work::Planned(schedule) => schedule.arrived(qp),
            Work::Traced(traced) => traced.arrived(qp),
        }
    }

    /// The send with message number `message` of `qp` was acknowledged.
    pub fn sent(&mut self, qp: usize, message: u64) {
        match self {
            Work::Planned(schedule) => schedule.sent(qp, message),
            Work::Traced(traced) => traced.sent(qp),
        }
    }

    /// A reduce or a copy is over.
    pub fn finish(&mut self, index: usize) {
        if let Work::Planned(schedule) = self {
            schedule.finish(index);
        }
    }
}
