//! The schedule of a rank, as the NIC executes it.

use super::schedule::Action;
use super::slot::Slot;
use super::Nic;
use crate::event::Event;
use crate::units::Time;

impl Nic {
    /// Do all that the schedule allows at `now`.
    pub(super) fn run_schedule(&mut self, now: Time) {
        if !self.running {
            return;
        }
        while let Some(action) = self.schedule.next(now) {
            match action {
                Action::Send { qp, .. } => {
                    let mut next = Some(action);
                    while let Some(Action::Send { offset, bytes, remote, .. }) = next {
                        self.post(qp, offset, remote, bytes);
                        next = self.schedule.next_send(qp);
                    }
                }
                Action::Reduce { index, reduce } => {
                    if !self.memory.is_empty() {
                        // The plan was checked against the memory's size, so the ranges hold.
                        self.memory.reduce(&reduce);
                    }
                    self.schedule.finish(index);
                }
                Action::Copy { index, dst, src, bytes } => {
                    if !self.memory.is_empty() {
                        self.memory.copy(dst, src, bytes);
                    }
                    self.schedule.finish(index);
                }
            }
        }
        self.timers.set(Slot::Calc.index(), self.schedule.next_wake());
        if self.schedule.is_finished() {
            self.running = false;
            self.events.push_back(Event::RankFinished);
        }
    }
}
