//! How long links really take: now and then one frame of each direction is recognised at the far end, by its bytes.

use std::hash::{DefaultHasher, Hasher};

use crate::units::Time;

/// A frame that is not seen again after so long (nominal) is lost, and the next one is taken.
const PATIENCE: Time = Time::from_ns(10_000_000_000);
/// Bytes by which a frame is recognised: all headers, with their packet numbers.
const HEAD_BYTES: usize = 64;

/// One direction of a link between two sockets.
#[derive(Debug, Default)]
pub struct Probe {
    /// A frame on its way: its hash, when its last bit left the sending port.
    waiting: Option<(u64, Time)>,
    delays: Option<Delays>,
    /// Those when the span began.
    before: Option<Delays>,
}

/// Delays seen since the direction last changed.
#[derive(Copy, Clone, Debug)]
pub struct Delays {
    pub count: u64,
    sum: Time,
}

impl Delays {
    pub fn mean(&self) -> Time {
        Time::from_ps(self.sum.ps() / self.count)
    }
}

impl Probe {
    /// A frame goes into the kernel whose last bit left its port at `sent`.
    #[inline]
    pub fn sent(&mut self, bytes: &[u8], sent: Time) {
        if self.waiting.is_none_or(|(_, since)| since + PATIENCE < sent) {
            self.waiting = Some((hash(bytes), sent));
        }
    }

    /// A frame came out of the kernel at the far end.
    #[inline]
    pub fn received(&mut self, bytes: &[u8], now: Time) {
        let Some((wanted, sent)) = self.waiting else { return };
        if hash(bytes) != wanted {
            return;
        }
        self.waiting = None;
        let delays = self.delays.get_or_insert(Delays { count: 0, sum: Time::ZERO });
        delays.count += 1;
        delays.sum += now.since(sent);
    }

    /// The direction changed: what was measured is of the past.
    pub fn reset(&mut self) {
        *self = Probe::default();
    }

    pub fn delays(&self) -> Option<Delays> {
        self.delays
    }

    /// A span begins here.
    pub fn begin_span(&mut self) {
        self.before = self.delays;
    }

    /// Delays of the span, as far as the direction did not change in it.
    pub fn delays_of_span(&self) -> Option<Delays> {
        let (Some(now), Some(before)) = (self.delays, self.before) else { return self.delays };
        let count = now.count - before.count;
        (count > 0).then(|| Delays { count, sum: now.sum - before.sum })
    }
}

fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write_usize(bytes.len());
    hasher.write(&bytes[..bytes.len().min(HEAD_BYTES)]);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_frame_at_a_time_is_timed_and_others_are_not_mistaken_for_it() {
        let mut probe = Probe::default();
        probe.sent(b"first", Time::from_ns(100));
        probe.sent(b"second", Time::from_ns(200));
        probe.received(b"stranger", Time::from_ns(500));
        assert!(probe.delays().is_none());
        probe.received(b"first", Time::from_ns(1_100));
        probe.received(b"second", Time::from_ns(1_200));
        probe.sent(b"third", Time::from_ns(2_000));
        probe.received(b"third", Time::from_ns(5_000));
        let delays = probe.delays().expect("two frames were timed");
        assert_eq!((delays.count, delays.mean()), (2, Time::from_ns(2_000)));
    }

    #[test]
    fn a_lost_frame_does_not_stop_the_clock_for_ever() {
        let mut probe = Probe::default();
        probe.sent(b"lost", Time::ZERO);
        probe.sent(b"next", PATIENCE + Time::from_ns(1));
        probe.received(b"next", PATIENCE + Time::from_ns(11));
        assert_eq!(probe.delays().map(|delays| delays.mean()), Some(Time::from_ns(10)));
    }
}
