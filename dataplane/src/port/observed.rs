//! Which priorities of a port whoever records it has to look at.

use super::Port;
use crate::priority::PrioritySet;
use crate::units::Time;

impl Port {
    /// Something of these priorities may have changed.
    #[inline]
    pub fn touch(&mut self, priorities: PrioritySet) {
        self.touched = self.touched | priorities;
    }

    /// The priorities of which something may have changed since they were last taken. Those with a pause that runs at `now`, or is
    /// about to, stay touched: it ends without anybody's doing.
    pub fn take_touched(&mut self, now: Time) -> PrioritySet {
        let touched = self.touched;
        let pausable = touched & self.pausable;
        self.touched = pausable.into_iter().filter(|priority| self.pause_at(*priority, now).is_some()).collect();
        touched
    }

    /// Whether some priority is touched.
    pub fn is_touched(&self) -> bool {
        !self.touched.is_empty()
    }
}
