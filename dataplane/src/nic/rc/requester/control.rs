//! What congestion control asks of the sending end of a connection, and what it says to it.

use super::super::round_trips::RoundTrips;
use super::Requester;
use crate::units::Time;

impl Requester {
    /// From now on note when packets are sent. To be called before the first.
    pub fn measure(&mut self) {
        self.round_trips = Some(Box::new(RoundTrips::new(self.next)));
    }

    /// The oldest packet not acknowledged, and the next to send.
    pub fn unacknowledged(&self) -> u64 {
        self.unacknowledged
    }

    pub fn next(&self) -> u64 {
        self.next
    }

    /// Packets sent and not yet acknowledged.
    pub fn in_flight(&self) -> u64 {
        self.next - self.unacknowledged
    }

    /// Bytes of payload before a packet, were all before it full.
    pub fn position(&self, psn: u64) -> u64 {
        (psn - self.transport.first_psn) * u64::from(self.transport.mtu)
    }

    /// How long the last packet took that was acknowledged since this was last asked; `None` if one was sent more than once.
    pub fn round_trip(&mut self, now: Time) -> Option<Time> {
        self.round_trips.as_mut()?.acknowledge(self.unacknowledged, now)
    }

    /// Have so many packets under way at most. If those that are under way ask for no acknowledgement, one more may leave, which
    /// does: otherwise nothing would come that opens the window.
    pub fn limit(&mut self, packets: u64) {
        let in_flight = self.in_flight();
        let silent =
            in_flight > 0 && self.round_trips.as_ref().is_some_and(|trips| trips.is_silent(self.unacknowledged));
        let least = if silent { in_flight + 1 } else { 1 };
        self.window = packets.max(least).min(self.transport.window);
    }
}
