//! In-band telemetry: what a switch writes into packets of data that collect it, as they leave.

use super::Switch;
use crate::frame::{Frame, Hop};
use crate::units::Time;
use crate::wire::sizes::LINE_OVERHEAD_BYTES;

impl Switch {
    /// Write the port's line and the queue behind a packet into it, if it collects that.
    #[inline]
    pub(super) fn stamp(&self, port: u16, frame: &mut Frame, now: Time) {
        if frame.bytes.is_some() && frame.is_data() {
            self.write_hop(port, frame, now);
        }
    }

    fn write_hop(&self, port: u16, frame: &mut Frame, now: Time) {
        let (wire_bytes, priority) = (frame.wire_bytes(), frame.priority);
        let Some(hops) = frame.bytes.as_mut().and_then(|attached| attached.hops.as_mut()) else { return };
        let egress = &self.ports[usize::from(port)];
        let counted = egress
            .counters
            .iter()
            .map(|counters| counters.bytes_tx + (counters.frames_tx * LINE_OVERHEAD_BYTES as u64));
        hops.push(Hop {
            at: now,
            // The packet itself has been counted.
            sent_bytes: counted.sum::<u64>().saturating_sub(wire_bytes),
            queued_bytes: egress.queue_bytes(priority),
            rate_bps: egress.rate().bps(),
        });
    }
}
