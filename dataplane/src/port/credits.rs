//! The credits of a port: what its frames need to start, and what is told to the far end of the link as frames come and go.

use super::Port;
use crate::credit::{ask_every, Credits, Grant};
use crate::credit_waits::CreditWaits;
use crate::frame::{Body, Frame};
use crate::priority::{Priority, PrioritySet};
use crate::units::Time;
use crate::wire::credit::Credit;

impl Port {
    /// Run credits: `granted` by the far end of the link, and `granting` to it.
    pub fn set_credits(&mut self, granted: &[Grant], granting: &[Grant]) {
        self.credits = Some(Box::new(Credits::new(granted, granting)));
    }

    /// Obey a credit frame that has just arrived.
    pub fn handle_credit(&mut self, credit: &Credit, now: Time) {
        let Some(credits) = &mut self.credits else { return };
        self.counters[credit.priority].credit_rx += 1;
        credits.handle(credit, now);
    }

    /// A frame came in by this port, and takes room until `return_credit`.
    #[inline]
    pub fn reserve_credit(&mut self, priority: Priority, bytes: u32) {
        if let Some(credits) = &mut self.credits {
            credits.reserve(priority, bytes);
        }
    }

    /// Whether at least half of what is granted to the far end is held here.
    pub fn holds_most_of_credit(&self, priority: Priority) -> bool {
        self.credits.as_ref().is_some_and(|credits| credits.holds_most(priority))
    }

    /// Whether frames of `priority` have waited for credit since the last one left.
    pub fn awaits_credit(&self, priority: Priority) -> bool {
        self.credits.as_ref().is_some_and(|credits| credits.waits().waits_for(priority).is_some())
    }

    /// The times for which frames here waited for credit; `None` where none is needed.
    pub fn credit_waits(&self) -> Option<&CreditWaits> {
        self.credits.as_ref().map(|credits| credits.waits())
    }

    pub fn credit_waits_mut(&mut self) -> Option<&mut CreditWaits> {
        self.credits.as_mut().map(|credits| credits.waits_mut())
    }

    /// A frame that came in by this port takes no room any more; the answer is whether the port has something to tell, and is to be polled.
    #[inline]
    pub fn return_credit(&mut self, priority: Priority, bytes: u32) -> bool {
        self.credits.as_mut().is_some_and(|credits| credits.release(priority, bytes))
    }

    /// Whether the far end has room for a frame.
    #[inline]
    pub fn has_credit(&self, priority: Priority, bytes: u32) -> bool {
        self.credits.as_ref().is_none_or(|credits| credits.admits(priority, bytes))
    }

    /// Whether the far end needs leave from here for each frame of `priority`.
    pub fn grants_credit(&self, priority: Priority) -> bool {
        self.credits.as_ref().is_some_and(|credits| credits.grants(priority))
    }

    /// How long a frame may lack credit that the far end could give, beyond the way there and back: until the sender requests it.
    pub fn request_delay(&self) -> Time {
        if self.credits.is_some() {
            ask_every(self.rate)
        } else {
            Time::ZERO
        }
    }

    /// Note that a frame, though in no queue, waits for credit.
    pub fn await_credit(&mut self, priority: Priority, bytes: u32, now: Time) {
        if let Some(credits) = &mut self.credits {
            credits.wait(priority, bytes, now);
        }
    }

    /// How long frames of `priority` have waited for credit up to `now`.
    pub fn credit_wait(&self, priority: Priority, now: Time) -> Time {
        self.credits.as_ref().map_or(Time::ZERO, |credits| credits.wait_time(priority, now))
    }

    /// The priorities whose first frame lacks credit.
    #[inline]
    pub(super) fn starved(&self) -> PrioritySet {
        let Some(credits) = &self.credits else { return PrioritySet::NONE };
        let credited = self.occupied & credits.credited();
        let lacks = |priority: &Priority| !credits.admits(*priority, self.queues[*priority].first_bytes());
        credited.into_iter().filter(lacks).collect()
    }

    /// Whether the first frame of a queue waits for credit.
    pub fn starves(&self, priority: Priority) -> bool {
        self.starved().contains(priority)
    }

    /// When a frame that has credit could start, or a credit frame has to.
    pub(super) fn next_start_with_credit(&self, now: Time) -> Time {
        let due = self.credits.as_ref().map_or(Time::NEVER, |credits| credits.next_due());
        let start = self.next_start_of(self.occupied.without(self.starved()), now);
        start.min(due.max(self.busy_until).max(now))
    }

    /// Note that the first frames of `priorities` wait for credit.
    pub(super) fn note_starved(&mut self, priorities: PrioritySet, now: Time) {
        for priority in priorities {
            self.await_credit(priority, self.queues[priority].first_bytes(), now);
        }
    }

    /// The credit frame that is due, if one is.
    #[inline]
    pub(super) fn next_credit_frame(&mut self, now: Time) -> Option<Box<Frame>> {
        let credits = self.credits.as_mut().filter(|credits| credits.next_due() <= now)?;
        let credit = credits.next_frame(self.rate, now)?;
        self.counters[credit.priority].credit_tx += 1;
        Some(Box::new(Frame::control(Body::Credit(credit))))
    }
}
