//! How a run gets on: when it is looked at, and when it is over.

use super::Emulation;
use crate::units::Time;

/// How a slice of a run ended.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Progress {
    Running,
    Complete,
    /// Nothing more will happen, or nothing has moved for longer than every retry takes.
    Stalled,
    /// The limit of the workload was reached before it was complete.
    Expired,
}

/// When the virtual clock samples a run: at whole multiples of a period of nominal time, once all that was due until then has taken
/// place on every node, and nothing later. The period comes from the plan alone, so that where a run ends depends neither on how
/// it is sliced nor on how many cores it has. A multiple up to which nothing happened since the last one is passed over.
#[derive(Debug)]
pub(crate) struct SampleGrid {
    every: Time,
    pub(crate) next: Time,
}

/// The shortest period, for fabrics of short links, and the longest. In between it is the delay of the longest link: cores that
/// share a run need not meet more often than that.
const SAMPLE_AT_LEAST_EVERY: Time = Time::from_ns(10_000_000);
const SAMPLE_AT_MOST_EVERY: Time = Time::from_ns(100_000);

impl SampleGrid {
    pub(super) fn new(delays: impl Iterator<Item = Time>) -> SampleGrid {
        let longest = delays.max().unwrap_or(Time::ZERO);
        SampleGrid { every: longest.clamp(SAMPLE_AT_MOST_EVERY, SAMPLE_AT_LEAST_EVERY), next: Time::ZERO }
    }

    pub(super) fn start(&mut self, now: Time) {
        self.follow(now + Time::from_ps(1));
    }

    /// The next look is at the first multiple of the period at or after `event`.
    pub(crate) fn follow(&mut self, event: Time) {
        let every = self.every.ps();
        self.next = Time::from_ps(event.ps().div_ceil(every).saturating_mul(every));
    }
}

impl Emulation {
    pub fn is_complete(&self) -> bool {
        self.finish().is_some_and(|finish| finish <= self.deadline())
    }

    /// The instant at which the workload is given up: what happens then still counts, what would happen later does not.
    pub fn deadline(&self) -> Time {
        self.started + self.limit
    }

    /// The deadline came before the workload was complete.
    pub fn is_expired(&self) -> bool {
        self.fabric.now() >= self.deadline() && !self.is_complete()
    }

    /// Nothing of the workload has moved for longer than every retry takes.
    pub fn is_stalled(&self) -> bool {
        !self.is_complete() && self.fabric.now() > self.fabric.last_progress() + self.patience
    }

    /// Whether the workload is over: every rank has finished and no frame is under way, nothing moves any more, or its time is up.
    pub fn progress(&self) -> Progress {
        if self.is_stalled() {
            Progress::Stalled
        } else if self.is_complete() && self.fabric.in_flight(true) == 0 {
            Progress::Complete
        } else if self.is_expired() {
            Progress::Expired
        } else {
            Progress::Running
        }
    }

    /// Sample the run. This is the point at which all nodes can be seen at one nominal time: whatever watches a fabric as a whole
    /// is called from here. The virtual clock samples at each point of its `SampleGrid`, the real one whenever progress is
    /// requested. What waits is given `patience` at least to move by itself.
    pub fn sample(&mut self, now: Time, patience: Time) -> Progress {
        self.detect_deadlocks(now, patience);
        self.progress()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn the_period_follows_the_longest_link_within_bounds() {
        for (delays_ns, every_ns) in
            [(&[][..], MS / 10), (&[1, 500], MS / 10), (&[500, 3 * MS / 2], 3 * MS / 2), (&[15 * MS], 10 * MS)]
        {
            let grid = SampleGrid::new(delays_ns.iter().map(|ns| Time::from_ns(*ns)));
            assert_eq!(grid.every, Time::from_ns(every_ns), "{delays_ns:?}");
        }
    }

    #[test]
    fn samples_lie_on_the_grid_and_a_start_is_before_the_next() {
        let mut samples = SampleGrid::new([].into_iter());
        let grid = Time::from_ns(MS / 10);
        samples.start(Time::ZERO);
        assert_eq!(samples.next, grid);
        samples.start(grid);
        assert_eq!(samples.next, grid + grid);
        samples.follow(grid + grid);
        assert_eq!(samples.next, grid + grid);
        samples.follow(Time::from_ns(MS));
        assert_eq!(samples.next, Time::from_ns(MS));
        samples.follow(Time::NEVER);
        assert_eq!(samples.next, Time::NEVER);
    }
}
