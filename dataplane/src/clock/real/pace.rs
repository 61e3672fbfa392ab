//! How nominal time follows the wall: slower by the dilation, held back when the machine stalls, halted where it is set to.

use std::time::Instant;

use crate::units::Time;

/// A frame that leaves later than so many steps is late: frame times of the fastest link.
const LATE_STEPS: u64 = 3;

/// Nominal time, as of the last look at the wall.
pub struct Pace {
    dilation: u64,
    epoch: Instant,
    at: Time,
    /// What it may advance by from one look to the next, beside what was slept through.
    step: Time,
    /// Where it rests until it is told to go on.
    halt: Time,
    /// Where it is held until others have come as far.
    horizon: Time,
    /// It stands still until frames have come out of the kernel.
    stands: bool,
    /// Wall nanoseconds that it is behind, halted or held back, and of these the ones held back.
    behind_ns: u64,
    held_ns: u64,
    /// Of the span, the workloads that are over; and the one that runs: when it started, and both figures then.
    past: Shares,
    running: Option<(Instant, u64, u64)>,
}

/// Wall nanoseconds that were held back, of all in which time was meant to pass.
#[derive(Copy, Clone, Default)]
struct Shares {
    held_ns: u64,
    elapsed_ns: u64,
}

impl Pace {
    /// Begin at nominal zero. `dilation` is wall time by nominal time.
    pub fn new(dilation: u64, step: Time) -> Pace {
        let now = Instant::now();
        Pace {
            dilation: dilation.max(1),
            epoch: now,
            at: Time::ZERO,
            step,
            halt: Time::NEVER,
            horizon: Time::NEVER,
            stands: false,
            behind_ns: 0,
            held_ns: 0,
            past: Shares::default(),
            running: Some((now, 0, 0)),
        }
    }

    pub fn dilation(&self) -> u64 {
        self.dilation
    }

    pub fn at(&self) -> Time {
        self.at
    }

    /// The latest time to which the next look can lead.
    pub fn next(&self) -> Time {
        (self.at + self.step).min(self.halt).min(self.horizon)
    }

    /// How late a frame may leave without the network noticing.
    pub fn late_after(&self) -> Time {
        Time::from_ps(self.step.ps().saturating_mul(LATE_STEPS))
    }

    pub fn set_step(&mut self, step: Time) {
        self.step = step;
    }

    /// Quiesce at `halt`, or here if that is over; `Time::NEVER` goes on.
    pub fn halt_at(&mut self, halt: Time) {
        self.halt = halt.max(self.at);
    }

    /// Hold time at `horizon`, or here if that is over, until told otherwise; `Time::NEVER` does not hold it.
    pub fn hold_at(&mut self, horizon: Time) {
        self.horizon = horizon.max(self.at);
    }

    /// Stand still from now on, or go on.
    pub fn stand(&mut self, stands: bool) {
        self.stands = stands;
    }

    pub fn is_held(&self) -> bool {
        self.at >= self.horizon
    }

    pub fn is_halted(&self) -> bool {
        self.at >= self.halt
    }

    /// A span begins: shares count the workloads from here on.
    pub fn begin_span(&mut self) {
        self.past = Shares::default();
        self.running = None;
    }

    /// A workload starts now.
    pub fn start(&mut self) {
        self.stop();
        self.running = Some((Instant::now(), self.behind_ns, self.held_ns));
    }

    /// The workload is over.
    pub fn stop(&mut self) {
        self.past = self.shares();
        self.running = None;
    }

    pub fn is_running(&self) -> bool {
        self.running.is_some()
    }

    fn shares(&self) -> Shares {
        let Some((started_at, behind_before_ns, held_before_ns)) = self.running else { return self.past };
        let rested_ns = (self.behind_ns - self.held_ns) - (behind_before_ns - held_before_ns);
        let elapsed_ns = started_at.elapsed().as_nanos() as u64;
        Shares {
            held_ns: self.past.held_ns + self.held_ns - held_before_ns,
            elapsed_ns: self.past.elapsed_ns + elapsed_ns.saturating_sub(rested_ns),
        }
    }

    /// What the wall says nominal time is, without what it is behind.
    pub fn nominal(&self) -> Time {
        let wall_ns = self.epoch.elapsed().as_nanos().saturating_sub(u128::from(self.behind_ns));
        Time::from_ps((wall_ns * 1_000 / u128::from(self.dilation)) as u64)
    }

    /// Move on to the wall's time, by a step and by the `slept_ns` (wall) that were meant to pass, but not past the halt.
    pub fn tick(&mut self, slept_ns: u64) -> Time {
        let nominal = self.nominal();
        let slept = Time::from_ps((u128::from(slept_ns) * 1_000 / u128::from(self.dilation)) as u64);
        let free = (self.at + slept + self.step).min(self.horizon);
        // What passes while it stands is made up for by a step at most.
        let free = if self.stands { free.min(self.at + self.step) } else { free };
        let limit = free.min(self.halt);
        if nominal > limit {
            let behind_ns = u128::from(nominal.since(limit).ps()) * u128::from(self.dilation) / 1_000;
            self.behind_ns += behind_ns as u64;
            if free < self.halt {
                self.held_ns += behind_ns as u64;
            }
        }
        if !self.stands {
            self.at = nominal.min(limit).max(self.at);
        }
        self.at
    }

    /// Wall time from now until nominal `due`.
    pub fn wall_ns_until(&self, due: Time) -> u64 {
        let left = u128::from(due.since(self.nominal()).ps()) * u128::from(self.dilation) / 1_000;
        u64::try_from(left).unwrap_or(u64::MAX)
    }

    /// Wall nanoseconds that were held back while workloads of the span ran, and all in which time was meant to pass.
    pub fn held_of(&self) -> (u64, u64) {
        let Shares { held_ns, elapsed_ns } = self.shares();
        (held_ns, elapsed_ns.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Time = Time::from_ns(1_000);

    fn spin(ns: u128) {
        let began = Instant::now();
        while began.elapsed().as_nanos() < ns {}
    }

    #[test]
    fn a_stall_is_held_back_and_a_sleep_is_not() {
        let mut pace = Pace::new(1, STEP);
        pace.start();
        spin(200_000);
        let stalled = pace.tick(0);
        assert_eq!(stalled, STEP);
        spin(200_000);
        assert!(pace.tick(200_000) >= stalled + Time::from_ns(200_000));
        let (held_ns, elapsed_ns) = pace.held_of();
        assert!(held_ns >= 199_000 && held_ns < elapsed_ns, "{held_ns} of {elapsed_ns}");
    }

    #[test]
    fn shares_are_of_the_workloads_of_a_span() {
        let mut pace = Pace::new(1, STEP);
        spin(100_000);
        pace.tick(0);
        pace.begin_span();
        assert_eq!(pace.held_of(), (0, 1));
        for _ in 0..2 {
            pace.tick(0);
            pace.start();
            spin(100_000);
            pace.tick(0);
            pace.stop();
            spin(100_000);
        }
        let (held_ns, elapsed_ns) = pace.held_of();
        assert!((198_000..elapsed_ns).contains(&held_ns), "both workloads: {held_ns} of {elapsed_ns}");
        spin(100_000);
        pace.tick(0);
        assert_eq!(pace.held_of(), (held_ns, elapsed_ns), "what was between them or came after does not count");
    }

    #[test]
    fn time_is_held_at_the_horizon_and_that_counts_as_held() {
        let mut pace = Pace::new(1, STEP);
        pace.start();
        assert!(!pace.is_held());
        pace.hold_at(Time::from_ns(500));
        assert!(!pace.is_held(), "it has not come there");
        spin(200_000);
        assert_eq!(pace.tick(1_000_000), Time::from_ns(500));
        assert!(pace.is_held() && pace.next() == Time::from_ns(500));
        let (held_ns, elapsed_ns) = pace.held_of();
        assert!(held_ns >= 199_000 && held_ns < elapsed_ns, "{held_ns} of {elapsed_ns}");
        // A horizon that is over is here: time never goes back.
        pace.hold_at(Time::from_ns(100));
        assert_eq!(pace.tick(0), Time::from_ns(500));
        pace.hold_at(Time::NEVER);
        spin(10_000);
        assert_eq!(pace.tick(0), Time::from_ns(1_500));
    }

    #[test]
    fn time_that_stands_counts_as_held_and_goes_on_by_a_step() {
        let mut pace = Pace::new(1, STEP);
        pace.start();
        pace.stand(true);
        for _ in 0..5 {
            spin(50_000);
            assert_eq!(pace.tick(50_000), Time::ZERO);
        }
        let (held_ns, elapsed_ns) = pace.held_of();
        assert!(held_ns >= 240_000 && held_ns < elapsed_ns, "{held_ns} of {elapsed_ns}");
        pace.stand(false);
        assert_eq!(pace.tick(0), STEP);
        spin(10_000);
        assert_eq!(pace.tick(0), STEP + STEP);
    }

    /// At a dilation of 1000 a nanosecond of nominal time is a microsecond of the wall.
    #[test]
    fn a_dilated_clock_goes_slower_by_as_much() {
        let wall = Instant::now();
        let mut pace = Pace::new(1_000, STEP);
        assert_eq!(
            (pace.dilation(), pace.at(), pace.next(), pace.late_after()),
            (1_000, Time::ZERO, STEP, STEP + STEP + STEP)
        );
        pace.start();
        assert!(pace.is_running());
        spin(5_000_000);
        let nominal = pace.nominal();
        assert!(
            nominal >= Time::from_ns(5_000) && u128::from(nominal.ps()) <= wall.elapsed().as_nanos(),
            "{nominal:?}"
        );
        // Nothing was slept: all but a step is held back.
        assert_eq!(pace.tick(0), STEP);
        let (held_ns, elapsed_ns) = pace.held_of();
        assert!(
            held_ns >= 4_000_000 && u128::from(elapsed_ns) <= wall.elapsed().as_nanos(),
            "{held_ns} of {elapsed_ns}"
        );
        let (before, since) = (pace.nominal(), Instant::now());
        assert!(before >= STEP && before <= STEP + Time::from_ps(wall.elapsed().as_nanos() as u64 - 5_000_000));
        spin(3_000_000);
        let later = pace.tick(3_000_000);
        assert!(later >= Time::from_ns(4_000) && later <= Time::from_ns(5_000), "{later:?}");
        let left_ns = pace.wall_ns_until(later + Time::from_ns(1_000_000));
        assert!(
            left_ns <= 1_000_000_000 && u128::from(left_ns) >= 1_000_000_000 - since.elapsed().as_nanos(),
            "{left_ns}"
        );
        pace.stop();
        assert!(!pace.is_running());
        pace.set_step(STEP + STEP);
        assert_eq!(pace.next(), pace.at() + STEP + STEP);
    }

    #[test]
    fn time_halts_where_it_is_set_to_and_goes_on_from_there() {
        let mut pace = Pace::new(1, STEP);
        pace.start();
        pace.halt_at(Time::from_ns(500));
        spin(200_000);
        assert_eq!(pace.tick(1_000_000), Time::from_ns(500));
        assert!(pace.is_halted());
        spin(200_000);
        assert_eq!(pace.tick(0), Time::from_ns(500));
        // A halt that is over is here.
        pace.halt_at(Time::from_ns(100));
        assert!(pace.is_halted() && pace.next() == Time::from_ns(500));
        let (held_ns, elapsed_ns) = pace.held_of();
        assert_eq!(held_ns, 0);
        assert!(elapsed_ns < 400_000, "what was rested does not count: {elapsed_ns}");
        pace.halt_at(Time::NEVER);
        assert_eq!(pace.next(), Time::from_ns(1_500));
        spin(10_000);
        assert_eq!(pace.tick(0), Time::from_ns(1_500));
    }
}
