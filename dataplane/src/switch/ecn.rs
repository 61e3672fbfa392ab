//! Congestion marking when a frame leaves its queue: never below Kmin, always above Kmax, in between with growing probability.

use rand_core::{Rng, SeedableRng};
use rand_pcg::Pcg64;

use crate::priority::{Priority, PRIORITIES};
use crate::steady::{Reason, Visitor};

/// Thresholds of an egress queue in bytes with FCS; `pmax` is the probability at Kmax.
#[derive(Copy, Clone, PartialEq, Debug, serde::Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct EcnConfig {
    pub kmin_bytes: u64,
    pub kmax_bytes: u64,
    pub pmax: f64,
}

impl EcnConfig {
    /// What is wrong with the figures, if anything.
    pub fn fault(&self) -> Option<String> {
        if self.kmin_bytes > self.kmax_bytes {
            return Some(format!("Kmin {} above Kmax {}", self.kmin_bytes, self.kmax_bytes));
        }
        (!(0.0..=1.0).contains(&self.pmax)).then(|| format!("Pmax {} is no probability", self.pmax))
    }
}

/// Marks by a generator of its own, so that a run can be repeated.
#[derive(Debug)]
pub struct Marker {
    /// The thresholds of each egress queue that marks, by port and priority.
    queues: Vec<Option<EcnConfig>>,
    /// No queue marks that holds no more.
    least_bytes: u64,
    random: Pcg64,
}

impl Marker {
    /// A marker of a switch with so many ports, none of whose queues marks.
    pub fn new(ports: usize, seed: u64) -> Marker {
        let queues = vec![None; ports * PRIORITIES];
        Marker { queues, least_bytes: u64::MAX, random: Pcg64::seed_from_u64(seed) }
    }

    /// Mark in the queue of a priority at a port.
    pub fn set(&mut self, port: u16, priority: Priority, config: EcnConfig) {
        self.least_bytes = self.least_bytes.min(config.kmin_bytes);
        self.queues[priority.slot(port)] = Some(config);
    }

    /// Whether a frame is marked that leaves a queue of `queued` bytes, its own included.
    #[inline]
    pub fn marks(&mut self, port: u16, priority: Priority, queued: u64) -> bool {
        if queued <= self.least_bytes {
            return false;
        }
        let Some(EcnConfig { kmin_bytes, kmax_bytes, pmax }) = self.queues[priority.slot(port)] else { return false };
        if queued <= kmin_bytes {
            return false;
        }
        if queued > kmax_bytes {
            return true;
        }
        let probability = pmax * (queued - kmin_bytes) as f64 / (kmax_bytes - kmin_bytes) as f64;
        ((self.random.next_u64() >> 11) as f64) < probability * (1u64 << 53) as f64
    }

    /// Nothing may have been drawn: the generator would say the same next.
    pub fn visit(&mut self, visitor: &mut impl Visitor) {
        let Marker { queues: _, least_bytes: _, random } = self;
        visitor.fixed(random.clone().next_u64(), Reason::Congestion);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marker(config: EcnConfig) -> Marker {
        let mut marker = Marker::new(2, 1);
        marker.set(1, Priority::P3, config);
        marker
    }

    const CONFIG: EcnConfig = EcnConfig { kmin_bytes: 400_000, kmax_bytes: 1_600_000, pmax: 0.2 };

    #[test]
    fn marks_follow_the_curve() {
        let (mut marker, priority) = (marker(CONFIG), Priority::P3);
        for (queued, share) in [(400_000, 0.0), (700_000, 0.05), (1_000_000, 0.1), (1_600_000, 0.2), (1_600_001, 1.0)] {
            let marked = (0..100_000).filter(|_| marker.marks(1, priority, queued)).count() as f64 / 1e5;
            // Four standard deviations of the largest spread here.
            assert!((marked - share).abs() < 0.005, "{queued}: {marked}");
        }
    }

    #[test]
    fn equal_thresholds_are_a_step() {
        let mut marker = marker(EcnConfig { kmin_bytes: 10, kmax_bytes: 10, pmax: 0.5 });
        let priority = Priority::P3;
        assert_eq!((marker.marks(1, priority, 10), marker.marks(1, priority, 11)), (false, true));
    }

    #[test]
    fn a_queue_marks_by_its_own_thresholds_alone() {
        let mut marker = marker(EcnConfig { kmin_bytes: 10, kmax_bytes: 10, pmax: 0.5 });
        marker.set(0, Priority::P4, EcnConfig { kmin_bytes: 20, kmax_bytes: 20, pmax: 0.5 });
        let (p3, p4) = (Priority::P3, Priority::P4);
        assert!(marker.marks(1, p3, 11) && !marker.marks(0, p4, 11) && marker.marks(0, p4, 21));
        assert!(!marker.marks(0, p3, 1_000) && !marker.marks(1, p4, 1_000));
    }
}
