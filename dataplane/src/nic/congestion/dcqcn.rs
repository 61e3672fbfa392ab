//! DCQCN's reaction point: a sending rate that notifications cut and time and bytes raise (Zhu et al., SIGCOMM 2015, section 3.1).

use super::{Algorithm, Notification};
use crate::steady::{Reason, Visitor};
use crate::units::{Rate, Time};

/// A byte counter that never comes round. Time alone then leads from recovery to one additive step and on to hyper increase,
/// as in the simulator of HPCC (Li et al., SIGCOMM 2019).
pub const NO_BYTE_COUNTER: u64 = u64::MAX;

/// The parameters, named as the paper names them; rates in bit/s.
#[derive(Copy, Clone, PartialEq, Debug, serde::Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "Dcqcn"))]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Gain of the estimate of congestion.
    pub g: f64,
    pub initial_alpha: f64,
    /// Each time that so long passes without a notification, alpha decays. Above zero.
    #[serde(rename = "alpha_timer_ps")]
    pub alpha_timer: Time,
    /// What makes an increase due: so much time, or so many bytes.
    #[serde(rename = "increase_timer_ps")]
    pub increase_timer: Time,
    #[serde(rename = "byte_counter_bytes")]
    pub byte_counter: u64,
    /// Increases of each kind that only recover, before the target rises.
    pub fast_recovery_rounds: u32,
    #[serde(rename = "additive_bps")]
    pub additive: u64,
    #[serde(rename = "hyper_bps")]
    pub hyper: u64,
    #[serde(rename = "minimum_bps")]
    pub minimum: u64,
    /// The least time between two cuts, and between two notifications of a flow.
    #[serde(rename = "cut_interval_ps")]
    pub cut_interval: Time,
    #[serde(rename = "notify_interval_ps")]
    pub notify_interval: Time,
    /// DSCP of notifications.
    pub notify_dscp: u8,
}

impl Config {
    /// What is wrong with the figures, if anything.
    pub fn fault(&self) -> Option<&'static str> {
        let shares = (0.0..=1.0).contains(&self.g) && (0.0..=1.0).contains(&self.initial_alpha);
        let timers = self.alpha_timer > Time::ZERO && self.increase_timer > Time::ZERO;
        match (shares, timers && self.byte_counter > 0 && self.minimum > 0, self.notify_dscp < 64) {
            (false, ..) => Some("g and alpha are shares"),
            (_, false, _) => Some("timers, byte counter and minimum rate must be positive"),
            (.., false) => Some("a DSCP is below 64"),
            _ => None,
        }
    }

    pub fn notification(&self) -> Notification {
        Notification { interval: self.notify_interval, dscp: self.notify_dscp }
    }
}

/// Alpha below this is none: a cut by it would be no cut.
const NO_ALPHA: f64 = 1e-20;

/// The rate of one flow. Rates are in bit/s.
#[derive(Clone, Debug)]
pub struct Dcqcn {
    config: Config,
    line: u64,
    current: u64,
    target: u64,
    alpha: f64,
    bytes: u64,
    byte_rounds: u32,
    timer_rounds: u32,
    increase_at: Time,
    last_cut: Option<Time>,
}

impl Dcqcn {
    pub fn new(config: Config, line: Rate) -> Dcqcn {
        Dcqcn {
            config,
            line: line.bps(),
            current: line.bps(),
            target: line.bps(),
            alpha: config.initial_alpha,
            bytes: 0,
            byte_rounds: 0,
            timer_rounds: 0,
            increase_at: Time::NEVER,
            last_cut: None,
        }
    }

    /// Let alpha decay once for each alpha timer that has run out since the last cut, at line rate too. One that runs out now has not:
    /// the notification came first.
    fn decay(&mut self, now: Time) {
        let Some(cut) = self.last_cut else { return };
        let times = now.since(cut).ps().saturating_sub(1) / self.config.alpha_timer.ps();
        for _ in 0..times {
            self.alpha *= 1.0 - self.config.g;
            if self.alpha < NO_ALPHA {
                self.alpha = 0.0;
                break;
            }
        }
    }

    /// Fast recovery, then additive, then hyper increase: by how often each of timer and byte counter came round.
    fn increase(&mut self) {
        let config = &self.config;
        let rounds = config.fast_recovery_rounds;
        let (fewer, more) = (self.byte_rounds.min(self.timer_rounds), self.byte_rounds.max(self.timer_rounds));
        let step = if config.byte_counter == NO_BYTE_COUNTER && more > rounds + 1 {
            config.hyper
        } else if fewer > rounds {
            config.hyper * u64::from(fewer - rounds)
        } else if more > rounds {
            config.additive
        } else {
            0
        };
        self.target = self.target.saturating_add(step).min(self.line);
        // Rounded up, so that halving the distance arrives.
        self.current = (self.target + self.current).div_ceil(2);
    }
}

impl Algorithm for Dcqcn {
    fn rate(&self) -> Option<Rate> {
        Rate::from_bps(self.current)
    }

    /// At line rate there is none. Alpha needs no timer: what it has come to is reckoned at a cut.
    fn deadline(&self) -> Time {
        self.increase_at
    }

    /// A notification arrived: cut the rate in proportion to alpha, and begin to recover from there.
    fn notified(&mut self, now: Time) {
        let config = self.config;
        if self.last_cut.is_some_and(|cut| now.since(cut) < config.cut_interval) {
            return;
        }
        self.decay(now);
        self.last_cut = Some(now);
        self.target = self.current;
        let cut = self.current as f64 * (1.0 - self.alpha / 2.0);
        self.current = (cut as u64).max(config.minimum);
        self.alpha = (1.0 - config.g) * self.alpha + config.g;
        self.bytes = 0;
        self.byte_rounds = 0;
        self.timer_rounds = 0;
        self.increase_at = now + config.increase_timer;
    }

    fn sent(&mut self, bytes: u64) {
        if self.current >= self.line {
            return;
        }
        self.bytes += bytes;
        if self.bytes >= self.config.byte_counter {
            self.bytes -= self.config.byte_counter;
            self.byte_rounds += 1;
            self.increase();
        }
    }

    fn handle_timeout(&mut self, now: Time) {
        if self.increase_at <= now {
            self.timer_rounds += 1;
            self.increase_at = now + self.config.increase_timer;
            self.increase();
        }
        if self.current >= self.line {
            // Back at line rate there is nothing left to raise.
            self.increase_at = Time::NEVER;
        }
    }

    /// At the rate of its line a flow stays where it is until it is cut, and it does not matter then what it did meanwhile.
    fn visit(&self, visitor: &mut impl Visitor) {
        let Dcqcn { config: _, line, current, target, alpha, bytes, byte_rounds, timer_rounds, increase_at, last_cut } =
            self;
        if current < line {
            visitor.refuse(Reason::Congestion);
        }
        let cut = last_cut.map_or(u64::MAX, Time::ps);
        let rounds = u64::from(*byte_rounds) << 32 | u64::from(*timer_rounds);
        for value in [*current, *target, alpha.to_bits(), *bytes, rounds, increase_at.ps(), cut] {
            visitor.fixed(value, Reason::Congestion);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: u64 = 100_000_000_000;

    /// The paper's parameters.
    fn paper() -> Config {
        Config {
            g: 1.0 / 256.0,
            initial_alpha: 1.0,
            alpha_timer: Time::from_ns(55_000),
            increase_timer: Time::from_ns(55_000),
            byte_counter: 10_000_000,
            fast_recovery_rounds: 5,
            additive: 40_000_000,
            hyper: 400_000_000,
            minimum: 40_000_000,
            cut_interval: Time::from_ns(50_000),
            notify_interval: Time::from_ns(50_000),
            notify_dscp: 48,
        }
    }

    fn flow() -> Dcqcn {
        Dcqcn::new(paper(), Rate::from_bps(LINE).unwrap())
    }

    #[test]
    fn the_first_cut_halves_and_a_second_too_soon_does_nothing() {
        let mut flow = flow();
        flow.notified(Time::from_ns(1));
        assert_eq!(flow.current, LINE / 2);
        flow.notified(Time::from_ns(49_000));
        assert_eq!(flow.current, LINE / 2);
        flow.notified(Time::from_ns(50_001));
        assert!(flow.current.abs_diff(LINE / 4) < LINE / 1_000, "{}", flow.current);
    }

    /// Five rounds of fast recovery leave 1/32 of the cut, and then the target creeps up by R_AI a round.
    #[test]
    fn fast_recovery_halves_the_distance_and_additive_increase_follows() {
        let mut flow = flow();
        flow.notified(Time::ZERO);
        flow.notified(Time::from_ns(50_000));
        let (start, target) = (flow.current, flow.target);
        let mut now = Time::from_ns(50_000);
        for _ in 0..5 {
            now += Time::from_ns(55_000);
            flow.handle_timeout(now);
        }
        assert!((target - flow.current).abs_diff((target - start) / 32) <= 5);
        flow.handle_timeout(now + Time::from_ns(55_000));
        assert_eq!(flow.target, target + 40_000_000);
    }

    /// Three notifications 50 µs apart at 40 Gb/s: target, rate and alpha after each step of the timer.
    #[test]
    fn rates_and_alpha_of_the_paper() {
        let mut flow = Dcqcn::new(paper(), Rate::from_bps(40_000_000_000).unwrap());
        for (step, rates) in [(40, 20), (20, 10), (10, 5)].into_iter().enumerate() {
            flow.notified(Time::from_ns(1_000 + 50_000 * step as u64));
            assert_eq!((flow.target / 1_000_000_000, flow.current / 1_000_000_000), rates);
        }
        let steps = [
            (10.0, 7.5, 0.996_094),
            (10.0, 8.75, 0.992_203),
            (10.0, 9.375, 0.988_327),
            (10.0, 9.687_5, 0.984_466),
            (10.0, 9.843_75, 0.980_621),
            (10.04, 9.941_875, f64::NAN),
            (10.08, 10.010_938, f64::NAN),
        ];
        for (target, current, alpha) in steps {
            let now = flow.deadline();
            flow.handle_timeout(now);
            let mut later = flow.clone();
            later.decay(now + Time::from_ps(1));
            assert!((flow.target as f64 / 1e9 - target).abs() < 5.1e-7, "{}", flow.target);
            assert!((flow.current as f64 / 1e9 - current).abs() < 5.1e-7, "{}", flow.current);
            assert!(alpha.is_nan() || (later.alpha - alpha).abs() < 5.1e-7, "{}", later.alpha);
        }
    }

    #[test]
    fn bytes_and_time_together_go_hyper() {
        let mut flow = flow();
        flow.notified(Time::ZERO);
        flow.notified(Time::from_ns(50_000));
        let target = flow.target;
        let mut now = Time::from_ns(50_000);
        for _ in 0..6 {
            now += Time::from_ns(55_000);
            flow.handle_timeout(now);
        }
        (0..5).for_each(|_| flow.sent(10_000_000));
        assert_eq!(flow.target, target + 6 * 40_000_000);
        flow.sent(10_000_000);
        assert_eq!(flow.target, target + 6 * 40_000_000 + 400_000_000);
    }

    #[test]
    fn without_a_byte_counter_time_alone_goes_hyper() {
        let config = Config { byte_counter: NO_BYTE_COUNTER, fast_recovery_rounds: 1, ..paper() };
        let mut flow = Dcqcn::new(config, Rate::from_bps(LINE).unwrap());
        flow.notified(Time::ZERO);
        flow.notified(Time::from_ns(50_000));
        let mut targets = vec![flow.target];
        for _ in 0..4 {
            flow.sent(10_000_000);
            flow.handle_timeout(flow.increase_at);
            targets.push(flow.target);
        }
        let steps: Vec<u64> = targets.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert_eq!(steps, [0, 40_000_000, 400_000_000, 400_000_000]);
    }

    /// Let the timers of a flow run until `now`, and cut it then; the cut, as a share of its rate.
    fn cut_at(flow: &mut Dcqcn, now: Time) -> f64 {
        while flow.deadline() < now {
            flow.handle_timeout(flow.deadline());
        }
        let before = flow.current;
        flow.notified(now);
        1.0 - flow.current as f64 / before as f64
    }

    /// The first cut leaves alpha at 1; so many timers of 55 µs later it is (255/256)^n, whether the flow recovers or rests.
    #[test]
    fn alpha_decays_for_ever() {
        for (after_us, timers) in [(55, 0), (56, 1), (1_000, 18), (40_000, 727), (2_000_000, 36_363)] {
            let mut flow = flow();
            let first = Time::from_ns(1_000_000);
            assert_eq!(cut_at(&mut flow, first), 0.5);
            let cut = cut_at(&mut flow, first + Time::from_ns(after_us * 1_000));
            let alpha = (255.0f64 / 256.0).powi(timers);
            assert!((cut - alpha / 2.0).abs() < 1e-6, "{cut} after {after_us} µs, not {}", alpha / 2.0);
        }
    }

    #[test]
    fn before_the_first_cut_alpha_is_what_it_was_given() {
        let mut flow = flow();
        assert_eq!(cut_at(&mut flow, Time::from_ns(10_000_000_000)), 0.5);
    }

    #[test]
    fn it_comes_back_to_line_rate_and_rests() {
        let mut flow = flow();
        flow.notified(Time::ZERO);
        while flow.deadline() != Time::NEVER {
            flow.handle_timeout(flow.deadline());
            assert!(flow.current <= LINE && flow.current >= LINE / 2);
        }
        assert_eq!(flow.current, LINE);
    }
}
