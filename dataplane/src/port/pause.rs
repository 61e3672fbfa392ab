//! The pause timer of one priority (IEEE 802.1Q clause 36).

use super::Port;
use crate::priority::{Priority, PrioritySet};
use crate::units::Time;
use crate::wire::pfc::Pfc;

/// Pause of one priority: frames may not start in `[from, until)`.
#[derive(Copy, Clone, Default, Debug)]
pub(super) struct Pause {
    pub from: Time,
    pub until: Time,
    /// Paused time of the windows before this one.
    spent: Time,
}

impl Pause {
    #[inline]
    pub fn holds(&self, now: Time) -> bool {
        self.from <= now && now < self.until
    }

    /// Take a new pause time; it replaces the remaining one (802.1Q 36.1.3.2), and zero ends the pause at once.
    pub fn update(&mut self, span: Time, response: Time, now: Time) {
        let running = now < self.until;
        if span == Time::ZERO {
            self.close(now);
            self.until = self.until.min(now);
        } else if running {
            self.until = (now + span).max(self.from);
        } else {
            self.close(now);
            self.from = now + response;
            self.until = (now + span).max(self.from);
        }
    }

    fn close(&mut self, now: Time) {
        self.spent = self.total(now);
        self.from = self.until.min(now);
    }

    pub fn total(&self, now: Time) -> Time {
        self.spent + self.until.min(now).since(self.from)
    }
}

impl Port {
    /// Heed PAUSE frames, as a port does in the beginning, or not: the link runs something else than PFC.
    pub fn set_pfc(&mut self, pfc: bool) {
        self.pfc = pfc;
    }

    pub fn runs_pfc(&self) -> bool {
        self.pfc
    }

    /// Obey a PAUSE frame that has just arrived. An all-zero enable vector changes nothing.
    pub fn pause(&mut self, pfc: &Pfc, now: Time) {
        self.ignore_pause(pfc.class_enable);
        self.obey_pause(pfc, now);
    }

    /// Obey a PAUSE frame that is counted elsewhere.
    pub fn obey_pause(&mut self, pfc: &Pfc, now: Time) {
        self.touch(pfc.class_enable);
        for priority in pfc.class_enable {
            if !self.deaf.contains(priority) {
                let span = self.rate.quanta(pfc.quanta[priority]);
                self.pauses[priority].update(span, self.response, now);
                self.pausable.insert(priority);
            }
        }
    }

    /// Count a PAUSE frame for priorities, and do no more.
    pub fn ignore_pause(&mut self, priorities: PrioritySet) {
        priorities.into_iter().for_each(|priority| self.counters[priority].pause_rx += 1);
    }

    /// How long `priority` has been paused up to `now`.
    pub fn paused_time(&self, priority: Priority, now: Time) -> Time {
        self.pauses[priority].total(now)
    }

    #[inline]
    pub fn is_paused(&self, priority: Priority, now: Time) -> bool {
        self.pausable.contains(priority) && self.pauses[priority].holds(now)
    }

    /// The priorities that may not start a frame at `now`.
    #[inline]
    pub(super) fn paused(&mut self, now: Time) -> PrioritySet {
        let mut paused = PrioritySet::NONE;
        for priority in self.pausable {
            if self.pauses[priority].holds(now) {
                paused.insert(priority);
            } else if self.pauses[priority].until <= now {
                self.pausable.remove(priority);
            }
        }
        paused
    }

    /// From `at` on, the first moment at which `priority` is not paused.
    pub fn pause_end(&self, priority: Priority, at: Time) -> Time {
        if self.is_paused(priority, at) {
            self.pauses[priority].until
        } else {
            at
        }
    }

    /// Whether frames of `priority` stand here that the peer keeps from leaving.
    pub fn waits(&self, priority: Priority, now: Time) -> bool {
        let queue = &self.queues[priority];
        !queue.is_empty() && (self.is_paused(priority, now) || !self.has_credit(priority, queue.first_bytes()))
    }

    /// Whether another queue than that of `priority` holds frames.
    pub fn holds_others(&self, priority: Priority) -> bool {
        !self.occupied.without(PrioritySet::only(priority)).is_empty()
    }
}
