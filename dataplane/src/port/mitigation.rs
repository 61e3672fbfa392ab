//! What a watchdog sees of a port's pauses, and does about them.

use super::Port;
use crate::frame::Frame;
use crate::priority::{Priority, PrioritySet};
use crate::units::Time;

impl Port {
    /// Let frames of `priority` leave whatever the peer asks, from now on, or obey it again.
    pub fn set_deaf(&mut self, priority: Priority, deaf: bool, now: Time) {
        self.touch(PrioritySet::only(priority));
        if deaf {
            self.deaf.insert(priority);
            self.pauses[priority].update(Time::ZERO, Time::ZERO, now);
        } else {
            self.deaf.remove(priority);
        }
    }

    /// The pause of `priority` that has not run out, if there is one: since when, without a break, and until when.
    pub fn pause_at(&self, priority: Priority, now: Time) -> Option<(Time, Time)> {
        let pause = self.pauses[priority];
        (self.pausable.contains(priority) && now < pause.until).then_some((pause.from, pause.until))
    }

    /// Take away all that waits of `priority`.
    pub fn flush(&mut self, priority: Priority) -> impl Iterator<Item = Box<Frame>> {
        self.touch(PrioritySet::only(priority));
        self.vacate(priority);
        self.queues[priority].flush()
    }
}
