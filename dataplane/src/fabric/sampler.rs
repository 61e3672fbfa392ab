//! At which instants a shard is sampled for series.

use crate::units::Time;
use crate::watch::series::SeriesPlan;

/// When a shard is sampled. Multiples up to which nothing happened since the last one are passed over.
#[derive(Copy, Clone, Debug)]
pub(super) struct Sampler {
    pub plan: SeriesPlan,
    /// Where points are counted from.
    pub origin: Time,
    /// The period has been doubled so often, as there were too many points.
    pub shift: u32,
    /// When the nodes are looked at next, for what happened by then.
    pub next: Time,
}

impl Sampler {
    /// How many periods an instant is after the origin, rounded up.
    pub fn number(&self, at: Time) -> u64 {
        at.since(self.origin).ps().div_ceil(self.plan.period_ps)
    }

    /// Look at the nodes next at the first point at or after `at`.
    pub fn follow(&mut self, at: Time) {
        let number = self.number(at);
        while number.div_ceil(1 << self.shift) > u64::from(self.plan.points) {
            self.shift += 1;
        }
        let number = number.div_ceil(1 << self.shift) << self.shift;
        self.next = self.origin + Time::from_ps(self.plan.period_ps.saturating_mul(number));
    }
}
