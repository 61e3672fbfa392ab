//! What a switch tells of itself to whoever records it.

use super::Switch;
use crate::credit_waits::CreditWaits;
use crate::port::Port;
use crate::priority::PrioritySet;
use crate::units::Time;

impl Switch {
    /// The priorities of a port of which something may have changed since they were last taken.
    pub fn take_touched(&mut self, port: u16, now: Time) -> PrioritySet {
        self.ports[usize::from(port)].take_touched(now)
    }

    /// The waits for credit of its ports that need any.
    pub fn credit_waits_mut(&mut self) -> impl Iterator<Item = &mut CreditWaits> {
        self.ports.iter_mut().filter_map(Port::credit_waits_mut)
    }
}
