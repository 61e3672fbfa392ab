//! What a frame needs at a port, read ahead of it (see `fabric::ahead`).

use super::Port;
use crate::priority::Priority;

impl Port {
    /// Read what a frame of `priority` needs; the sum has no meaning.
    #[inline]
    pub fn read(&self, priority: Priority) -> u64 {
        let (queue, counters) = (&self.queues[priority], &self.counters[priority]);
        self.busy_until.ps().wrapping_add(queue.bytes()).wrapping_add(counters.frames_tx)
    }
}
