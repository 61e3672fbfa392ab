//! What a period does to a direction of a link, and to what is in flight on it.

use super::{Direction, Flight};
use crate::steady::{Reason, Visitor};
use crate::units::Time;

impl Direction {
    /// Visit the sending end at `now`.
    pub fn visit(&mut self, visitor: &mut impl Visitor, now: Time) {
        let Direction {
            delay,
            last_sent,
            last_arrival,
            // For the real clock.
            lead_ps: _,
            sample: _,
            chance,
            is_clean: _,
            up,
        } = self;
        visitor.fixed(delay.ps() << 1 | u64::from(*up), Reason::Injected);
        visitor.instant(last_sent);
        visitor.instant(last_arrival);
        chance.visit(visitor, now);
    }
}

impl Flight {
    pub fn visit(&mut self, visitor: &mut impl Visitor) {
        visitor.same(self.0.len() as u64);
        for (arrival, frame) in &mut self.0 {
            visitor.instant(arrival);
            frame.visit(visitor);
        }
    }
}
