//! Credits at a switch: those that its peers grant, and those that it grants.

use super::Switch;
use crate::event::Event;
use crate::frame::Frame;
use crate::priority::{Priority, PrioritySet};
use crate::units::Time;
use crate::wire::credit::Credit;

impl Switch {
    pub(super) fn handle_credit(&mut self, port: u16, credit: Credit, now: Time) {
        let at = &mut self.ports[usize::from(port)];
        if self.stop_requests.is_on() && at.awaits_credit(credit.priority) {
            self.stop_requests.stand(port, credit.priority, at);
        }
        at.handle_credit(&credit, now);
        self.events.push_back(Event::CreditReceived { port, credit });
    }

    /// A credit frame leaves by `port`. If the far end had to wait for it, that was for what is held here, where that is most.
    pub(super) fn tell_credit(&mut self, port: u16, priority: Priority, now: Time) {
        if self.stop_requests.is_on() && self.ports[usize::from(port)].holds_most_of_credit(priority) {
            self.stop_requests.tell((port, priority), &self.ports, now);
        }
    }

    /// A frame takes no room any more at the port it came in by.
    #[inline]
    pub(super) fn return_credit(&mut self, frame: &Frame) {
        self.ports[usize::from(frame.ingress)].touch(PrioritySet::only(frame.group));
        if self.ports[usize::from(frame.ingress)].return_credit(frame.priority, frame.buffer_bytes()) {
            self.ready.push(frame.ingress);
        }
    }
}
