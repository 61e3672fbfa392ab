//! When the packets under way were sent: what a round trip took is known of those that were sent once (Karn and Partridge, SIGCOMM 1987).

use std::collections::VecDeque;

use crate::units::Time;

#[derive(Debug)]
pub struct RoundTrips {
    /// Number of the packet that is first in `sent`.
    first: u64,
    /// By packet, when it was sent; `Time::NEVER` if that was more than once.
    sent: VecDeque<Time>,
    /// One past the last packet that asked for an acknowledgement.
    asked: u64,
}

impl RoundTrips {
    pub fn new(first: u64) -> RoundTrips {
        RoundTrips { first, sent: VecDeque::new(), asked: first }
    }

    /// A packet is sent.
    pub fn send(&mut self, psn: u64, asks: bool, now: Time) {
        if asks {
            self.asked = self.asked.max(psn + 1);
        }
        match usize::try_from(psn.saturating_sub(self.first)).ok().and_then(|at| self.sent.get_mut(at)) {
            Some(at) => *at = Time::NEVER,
            None => self.sent.push_back(now),
        }
    }

    /// All before a packet is acknowledged now. Returns how long the last of those that are it first took; `None` if there is no
    /// such packet, or one was sent more than once.
    pub fn acknowledge(&mut self, unacknowledged: u64, now: Time) -> Option<Time> {
        let mut last = None;
        while self.first < unacknowledged {
            let sent = self.sent.pop_front()?;
            self.first += 1;
            last = Some(sent.max(last.filter(|last| *last == Time::NEVER).unwrap_or(Time::ZERO)));
        }
        last.filter(|sent| *sent != Time::NEVER).map(|sent| now.since(sent))
    }

    /// Whether no packet behind this one has asked for an acknowledgement.
    pub fn is_silent(&self, unacknowledged: u64) -> bool {
        self.asked <= unacknowledged
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ns(ns: u64) -> Time {
        Time::from_ns(ns)
    }

    #[test]
    fn the_last_packet_acknowledged_counts_if_all_were_sent_once() {
        let mut trips = RoundTrips::new(7);
        (7..12).for_each(|psn| trips.send(psn, psn == 11, ns(10 * psn)));
        assert_eq!(trips.acknowledge(9, ns(200)), Some(ns(120)));
        assert_eq!(trips.acknowledge(9, ns(300)), None);
        trips.send(9, true, ns(310));
        assert_eq!(trips.acknowledge(11, ns(400)), None, "9 may have been the first or the second");
        assert_eq!(trips.acknowledge(12, ns(410)), Some(ns(300)));
    }

    #[test]
    fn a_stretch_that_asked_for_nothing_is_silent() {
        let mut trips = RoundTrips::new(0);
        (0..4).for_each(|psn| trips.send(psn, psn == 1, ns(psn)));
        assert!(!trips.is_silent(0) && !trips.is_silent(1) && trips.is_silent(2));
    }
}
