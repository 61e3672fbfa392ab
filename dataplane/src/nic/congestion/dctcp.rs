//! DCTCP over RDMA: a rate that the share of marked packets cuts once a round trip (Alizadeh et al., SIGCOMM 2010), rate based as in
//! the ns-3 family that began with HPCC.

use super::{Ack, Algorithm, Needs};
use crate::steady::{Reason, Visitor};
use crate::units::Rate;

/// The parameters; rates in bit/s.
#[derive(Copy, Clone, PartialEq, Debug, serde::Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "Dctcp"))]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Gain of the estimate of the share of marked packets.
    pub g: f64,
    #[serde(rename = "additive_bps")]
    pub additive: u64,
    #[serde(rename = "minimum_bps")]
    pub minimum: u64,
}

impl Config {
    /// What is wrong with the figures, if anything.
    pub fn fault(&self) -> Option<&'static str> {
        match ((0.0..=1.0).contains(&self.g), self.minimum > 0) {
            (false, _) => Some("g is a share"),
            (_, false) => Some("the minimum rate must be positive"),
            _ => None,
        }
    }

    pub const NEEDS: Needs = Needs { marks: true, ..Needs::NOTHING };
}

/// The rate of one flow. Positions are bytes of its stream.
#[derive(Clone, Debug)]
pub struct Dctcp {
    config: Config,
    line: u64,
    packet_bytes: u64,
    current: u64,
    alpha: f64,
    marked: u64,
    /// Packets that the batch under way has, and where it ends; zero before the first.
    batch: u64,
    batch_end: u64,
    /// Where the cut is over that was made last, if it is not.
    reduced_until: Option<u64>,
}

impl Dctcp {
    /// For packets with so many bytes of payload.
    pub fn new(config: Config, line: Rate, packet_bytes: u64) -> Dctcp {
        let line = line.bps();
        Dctcp {
            config,
            line,
            packet_bytes,
            current: line,
            alpha: 1.0,
            marked: 0,
            batch: 0,
            batch_end: 0,
            reduced_until: None,
        }
    }

    /// Begin a batch of what is under way, and take the share of marks of the last one into the estimate.
    fn begin_batch(&mut self, ack: &Ack<'_>) {
        let first = self.batch == 0;
        if !first {
            let share = (self.marked as f64 / self.batch as f64).min(1.0);
            self.alpha = (1.0 - self.config.g) * self.alpha + self.config.g * share;
            self.marked = 0;
        }
        let from = if first { 0 } else { ack.acknowledged };
        self.batch = ack.next.saturating_sub(from) / self.packet_bytes + 1;
        self.batch_end = ack.next;
    }
}

impl Algorithm for Dctcp {
    fn rate(&self) -> Option<Rate> {
        Rate::from_bps(self.current)
    }

    fn acknowledged(&mut self, ack: &Ack<'_>) {
        self.marked += u64::from(ack.marked);
        let begins = ack.acknowledged > self.batch_end;
        if begins {
            self.begin_batch(ack);
        }
        if self.reduced_until.is_some_and(|end| ack.acknowledged > end) {
            self.reduced_until = None;
        }
        if self.reduced_until.is_some() {
            return;
        }
        if ack.marked {
            let cut = self.current as f64 * (1.0 - self.alpha / 2.0);
            self.current = (cut as u64).max(self.config.minimum);
            self.reduced_until = Some(ack.next);
        } else if begins {
            self.current = self.current.saturating_add(self.config.additive).min(self.line);
        }
    }

    fn visit(&self, visitor: &mut impl Visitor) {
        visitor.refuse(Reason::Congestion);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{ack, giga, line};
    use super::*;

    fn flow() -> Dctcp {
        Dctcp::new(Config { g: 1.0 / 16.0, additive: 615_000_000, minimum: 1_000_000_000 }, line(), 1_000)
    }

    /// Acknowledged, next, marked; alpha, rate in Gb/s, whether it is reduced, the batch. Not given: as before.
    #[rustfmt::skip]
    const ACKS: [(u64, u64, bool, f64, f64, bool, u64); 11] = [
        ( 1_000, 10_000, false, 1.0,       100.0,      false, 11),
        ( 2_000, 11_000, true,  1.0,        50.0,      true,  11),
        ( 3_000, 12_000, true,  1.0,        50.0,      true,  11),
        (10_000, 15_000, false, 1.0,        50.0,      true,  11),
        (11_000, 16_000, true,  0.954_545,  50.0,      true,   6),
        (13_000, 17_000, false, 0.954_545,  50.0,      false,  6),
        (17_000, 21_000, false, 0.894_886,  50.615,    false,  5),
        (18_000, 22_000, false, 0.894_886,  50.615,    false,  5),
        (22_000, 26_000, false, 0.838_956,  51.230,    false,  5),
        (23_000, 27_000, true,  0.838_956,  29.740_143, true,  5),
        (28_000, 30_000, false, 0.799_021,  30.355_143, false, 3),
    ];

    #[test]
    fn marks_cut_once_a_round_trip_by_their_share() {
        let mut flow = flow();
        for (acknowledged, next, marked, alpha, rate, reduced, batch) in ACKS {
            flow.acknowledged(&Ack { marked, ..ack(acknowledged, next) });
            assert!((flow.alpha - alpha).abs() < 5.1e-7, "{acknowledged}: {}", flow.alpha);
            assert!((flow.current as f64 / 1e9 - rate).abs() < 5.1e-7, "{acknowledged}: {}", giga(flow.current));
            assert_eq!((flow.reduced_until.is_some(), flow.batch), (reduced, batch), "{acknowledged}");
        }
    }

    /// With every packet marked alpha stays near 1, and each round trip nearly halves the rate.
    #[test]
    fn no_cut_goes_below_the_minimum() {
        let mut flow = flow();
        let mut least = flow.current;
        for packet in 1..200 {
            flow.acknowledged(&Ack { marked: true, ..ack(packet * 1_000, packet * 1_000 + 10_000) });
            assert!(flow.current <= least);
            least = flow.current;
        }
        assert_eq!((flow.current, flow.alpha > 0.8), (1_000_000_000, true));
    }
}
