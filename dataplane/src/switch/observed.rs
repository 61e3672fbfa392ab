//! What a switch tells of itself to whoever records it.

use super::Switch;
use crate::priority::PrioritySet;
use crate::units::Time;

impl Switch {
    /// The priorities of a port of which something may have changed since they were last taken.
    pub fn take_touched(&mut self, port: u16, now: Time) -> PrioritySet {
        self.ports[usize::from(port)].take_touched(now)
    }
}
