//! Which priorities of a port whoever records it has to look at.

use super::Port;
use crate::priority::PrioritySet;

impl Port {
    /// Something of these priorities may have changed.
    #[inline]
    pub fn touch(&mut self, priorities: PrioritySet) {
        self.touched = self.touched | priorities;
    }

    /// The priorities of which something may have changed since they were last taken.
    pub fn take_touched(&mut self) -> PrioritySet {
        std::mem::take(&mut self.touched)
    }
}
