//! What a period does to a switch.

use super::slot::Slot;
use super::Switch;
use crate::steady::{Reason, Visitor};
use crate::units::Time;

impl Switch {
    /// Visit all that the switch holds at `now`.
    pub fn visit(&mut self, visitor: &mut impl Visitor, now: Time) {
        let Switch {
            ports,
            senders,
            buffer,
            table: _,
            pfc: _,
            heeded: _,
            defects,
            classes: _,
            queue_map: _,
            lossless: _,
            demotion: _,
            marker,
            // Both change with pauses and losses alone, as does the record of requests.
            watchdog: _,
            long_pauses: _,
            stop_requests,
            timers,
            ready,
            events,
        } = self;
        debug_assert!(ready.is_empty() && events.is_empty(), "it has been drained");
        if defects.any() {
            visitor.refuse(Reason::Injected);
        }
        if senders.iter().any(|sender| !sender.asserted().is_empty()) {
            visitor.refuse(Reason::Pauses);
        }
        stop_requests.visit(visitor, ports);
        ports.iter_mut().for_each(|port| port.visit(visitor, now));
        buffer.visit(visitor);
        if let Some(marker) = marker {
            marker.visit(visitor);
        }
        for index in 0..Slot::count(ports.len()) {
            let mut at = timers.get(index);
            match Slot::of(index, ports.len()) {
                Slot::Port(_) => {
                    visitor.instant(&mut at);
                    timers.set(index, at);
                }
                Slot::Refresh(_) | Slot::Watchdog => visitor.until(at),
            }
        }
    }
}
