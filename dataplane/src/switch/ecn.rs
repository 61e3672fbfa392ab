//! Congestion marking when a frame leaves its queue: never below Kmin, always above Kmax, in between with growing probability.

use rand_core::{Rng, SeedableRng};
use rand_pcg::Pcg64;

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
    config: EcnConfig,
    random: Pcg64,
}

impl Marker {
    pub fn new(config: EcnConfig, seed: u64) -> Marker {
        Marker { config, random: Pcg64::seed_from_u64(seed) }
    }

    /// Whether a frame is marked that leaves a queue of `queued` bytes, its own included.
    pub fn marks(&mut self, queued: u64) -> bool {
        let EcnConfig { kmin_bytes, kmax_bytes, pmax } = self.config;
        if queued <= kmin_bytes {
            return false;
        }
        if queued > kmax_bytes {
            return true;
        }
        let probability = pmax * (queued - kmin_bytes) as f64 / (kmax_bytes - kmin_bytes) as f64;
        ((self.random.next_u64() >> 11) as f64) < probability * (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: EcnConfig = EcnConfig { kmin_bytes: 400_000, kmax_bytes: 1_600_000, pmax: 0.2 };

    #[test]
    fn marks_follow_the_curve() {
        let mut marker = Marker::new(CONFIG, 1);
        for (queued, share) in [(400_000, 0.0), (700_000, 0.05), (1_000_000, 0.1), (1_600_000, 0.2), (1_600_001, 1.0)] {
            let marked = (0..100_000).filter(|_| marker.marks(queued)).count() as f64 / 1e5;
            // Four standard deviations of the largest spread here.
            assert!((marked - share).abs() < 0.005, "{queued}: {marked}");
        }
    }

    #[test]
    fn equal_thresholds_are_a_step() {
        let mut marker = Marker::new(EcnConfig { kmin_bytes: 10, kmax_bytes: 10, pmax: 0.5 }, 1);
        assert_eq!((marker.marks(10), marker.marks(11)), (false, true));
    }
}
