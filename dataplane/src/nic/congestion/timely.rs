//! TIMELY: a rate by the gradient of the round-trip time (Mittal et al., SIGCOMM 2015, algorithm 1), as the ns-3 family that began with
//! HPCC has it: one update per round trip, additive steps up to the fifth in a row, then larger ones.

use super::{Ack, Algorithm, Needs};
use crate::steady::{Reason, Visitor};
use crate::units::{Rate, Time};

/// Increases in a row after which they are hyper.
const HYPER_AFTER: u32 = 5;

/// The parameters, named as the paper names them; rates in bit/s.
#[derive(Copy, Clone, PartialEq, Debug, serde::Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "Timely"))]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Weight of the newest difference between two round trips.
    pub alpha: f64,
    /// How much of a rate a decrease takes.
    pub beta: f64,
    /// Below it a rate is always increased, above it always decreased.
    #[serde(rename = "low_ps")]
    pub low: Time,
    #[serde(rename = "high_ps")]
    pub high: Time,
    /// What gradients are normalised by.
    #[serde(rename = "minimum_rtt_ps")]
    pub minimum_rtt: Time,
    #[serde(rename = "additive_bps")]
    pub additive: u64,
    #[serde(rename = "hyper_bps")]
    pub hyper: u64,
    #[serde(rename = "minimum_bps")]
    pub minimum: u64,
}

impl Config {
    /// What is wrong with the figures, if anything.
    pub fn fault(&self) -> Option<&'static str> {
        let shares = (0.0..=1.0).contains(&self.alpha) && (0.0..=1.0).contains(&self.beta);
        let positive = self.minimum_rtt > Time::ZERO && self.minimum > 0;
        match (shares, positive, self.low <= self.high) {
            (false, ..) => Some("alpha and beta are shares"),
            (_, false, _) => Some("the minimum round trip and rate must be positive"),
            (.., false) => Some("the low threshold is above the high one"),
            _ => None,
        }
    }

    pub const NEEDS: Needs = Needs { delays: true, ..Needs::NOTHING };
}

/// The rate of one flow.
#[derive(Clone, Debug)]
pub struct Timely {
    config: Config,
    line: u64,
    current: u64,
    /// The round trip of the last update, and the running mean of differences, in ps.
    last: Option<Time>,
    difference: f64,
    increases: u32,
    /// The next update is due when all sent before the last one is acknowledged.
    update_after: u64,
}

impl Timely {
    pub fn new(config: Config, line: Rate) -> Timely {
        let line = line.bps();
        Timely { config, line, current: line, last: None, difference: 0.0, increases: 0, update_after: 0 }
    }

    /// The gradient of the round-trip time, in shares of the least one for each update.
    fn gradient(&self) -> f64 {
        self.difference / self.config.minimum_rtt.ps() as f64
    }

    fn update(&mut self, rtt: Time) {
        let config = self.config;
        let Some(last) = self.last.replace(rtt) else { return };
        let newest = rtt.ps() as f64 - last.ps() as f64;
        self.difference = (1.0 - config.alpha) * self.difference + config.alpha * newest;
        let gradient = self.gradient();
        if rtt < config.low {
            self.increase();
        } else if rtt > config.high {
            self.decrease(1.0 - config.beta * (1.0 - config.high.ps() as f64 / rtt.ps() as f64));
        } else if gradient <= 0.0 {
            self.increase();
        } else {
            self.decrease((1.0 - config.beta * gradient).max(0.0));
        }
    }

    fn increase(&mut self) {
        let step = if self.increases < HYPER_AFTER { self.config.additive } else { self.config.hyper };
        self.increases += 1;
        self.current = self.current.saturating_add(step).min(self.line);
    }

    fn decrease(&mut self, factor: f64) {
        self.increases = 0;
        self.current = ((self.current as f64 * factor) as u64).max(self.config.minimum);
    }
}

impl Algorithm for Timely {
    fn rate(&self) -> Option<Rate> {
        Rate::from_bps(self.current)
    }

    fn acknowledged(&mut self, ack: &Ack<'_>) {
        let Some(rtt) = ack.delay else { return };
        if self.last.is_some() && ack.acknowledged <= self.update_after {
            return;
        }
        self.update_after = ack.next;
        self.update(rtt);
    }

    fn visit(&self, visitor: &mut impl Visitor) {
        visitor.refuse(Reason::Congestion);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{ack, giga, line};
    use super::*;

    fn flow() -> Timely {
        let (low, high, minimum_rtt) = (Time::from_ns(50_000), Time::from_ns(500_000), Time::from_ns(20_000));
        let (additive, hyper, minimum) = (100_000_000, 500_000_000, 1_000_000_000);
        Timely::new(Config { alpha: 0.875, beta: 0.8, low, high, minimum_rtt, additive, hyper, minimum }, line())
    }

    /// Round trip in ns, gradient, rate in Gb/s.
    const UPDATES: [(u64, f64, f64); 13] = [
        (60_000, 0.0, 100.0),
        (66_000, 0.262_500, 79.0),
        (70_000, 0.207_813, 65.866_250),
        (69_000, -0.017_773, 65.966_250),
        (60_000, -0.395_972, 66.066_250),
        (600_000, 23.575_504, 57.257_417),
        (400_000, -5.803_062, 57.357_417),
        (300_000, -5.100_383, 57.457_417),
        (45_000, -11.793_798, 57.557_417),
        (44_000, f64::NAN, 57.657_417),
        (43_000, f64::NAN, 57.757_417),
        (42_000, f64::NAN, 58.257_417),
        (41_000, f64::NAN, 58.757_417),
    ];

    #[test]
    fn the_rate_follows_the_gradient() {
        let mut flow = flow();
        for (round, (rtt, gradient, rate)) in UPDATES.into_iter().enumerate() {
            let at = 1_000 * (round as u64 + 1);
            flow.acknowledged(&Ack { delay: Some(Time::from_ns(rtt)), ..ack(at, at) });
            assert!(gradient.is_nan() || (flow.gradient() - gradient).abs() < 5.1e-7, "{rtt}: {}", flow.gradient());
            assert_eq!(giga(flow.current), giga((rate * 1e9) as u64), "{rtt}");
        }
    }

    #[test]
    fn one_round_trip_has_one_update() {
        let mut flow = flow();
        let mut after = |acknowledged, next, rtt| {
            flow.acknowledged(&Ack { delay: Some(Time::from_ns(rtt)), ..ack(acknowledged, next) });
            flow.current
        };
        assert_eq!(after(1_000, 50_000, 60_000), 100_000_000_000);
        assert_eq!(after(50_000, 80_000, 66_000), 100_000_000_000);
        assert_eq!(after(50_001, 80_000, 66_000), 79_000_000_000);
        assert_eq!(after(80_000, 90_000, 90_000), 79_000_000_000);
    }

    #[test]
    fn no_decrease_goes_below_the_minimum() {
        let mut flow = flow();
        for round in 1..100 {
            let delay = Some(Time::from_ns(round * 100_000));
            flow.acknowledged(&Ack { delay, ..ack(round * 1_000, round * 1_000) });
        }
        assert_eq!(flow.current, 1_000_000_000);
    }
}
