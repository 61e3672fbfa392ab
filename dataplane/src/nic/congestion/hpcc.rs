//! HPCC: a rate and a window by what each hop of the path says of itself (Li et al., SIGCOMM 2019), as the authors' simulator has it.

use super::{packets_of, Ack, Algorithm, Needs};
use crate::frame::Hop;
use crate::steady::{Reason, Visitor};
use crate::units::{Rate, Time};

/// The parameters, named as the paper names them; rates in bit/s.
#[derive(Copy, Clone, PartialEq, Debug, serde::Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "Hpcc"))]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The utilisation that links are to have.
    pub target: f64,
    /// Additive steps before a rate is set by the utilisation again.
    pub stages: u32,
    #[serde(rename = "base_rtt_ps")]
    pub base_rtt: Time,
    #[serde(rename = "additive_bps")]
    pub additive: u64,
    #[serde(rename = "minimum_bps")]
    pub minimum: u64,
    /// What packets of data and acknowledgements take more than without telemetry.
    pub header_bytes: u16,
}

/// What telemetry makes a packet longer at most.
const MOST_HEADER_BYTES: u16 = 514;

impl Config {
    /// What is wrong with the figures, if anything.
    pub fn fault(&self) -> Option<&'static str> {
        let target = 0.0 < self.target && self.target <= 1.0;
        match (target, self.base_rtt > Time::ZERO && self.minimum > 0, self.header_bytes <= MOST_HEADER_BYTES) {
            (false, ..) => Some("the target is a share above 0"),
            (_, false, _) => Some("base round trip and minimum rate must be positive"),
            (.., false) => Some("telemetry has at most 514 bytes"),
            _ => None,
        }
    }

    pub fn needs(&self) -> Needs {
        Needs { telemetry_bytes: Some(self.header_bytes), ..Needs::NOTHING }
    }
}

/// The rate and window of one flow. Positions are bytes of its stream.
#[derive(Clone, Debug)]
pub struct Hpcc {
    config: Config,
    line: u64,
    packet_bytes: u64,
    /// Bytes that fill the path at line rate.
    product_bytes: u64,
    /// The rate that was committed last, and the one that holds.
    committed: u64,
    current: u64,
    utilisation: f64,
    stage: u32,
    /// What hops said last.
    hops: Vec<Hop>,
    update_after: u64,
}

impl Hpcc {
    /// For packets with so many bytes of payload.
    pub fn new(config: Config, line: Rate, packet_bytes: u64) -> Hpcc {
        let line = line.bps();
        let product = u128::from(line) * u128::from(config.base_rtt.ps()) / 8_000_000_000_000;
        Hpcc {
            config,
            line,
            packet_bytes,
            product_bytes: u64::try_from(product).unwrap_or(u64::MAX),
            committed: line,
            current: line,
            utilisation: 1.0,
            stage: 0,
            hops: Vec::new(),
            update_after: 0,
        }
    }

    /// Bytes that may be under way.
    fn window_bytes(&self) -> u64 {
        (u128::from(self.product_bytes) * u128::from(self.current) / u128::from(self.line)) as u64
    }

    /// The largest utilisation that hops say, over how long, in ps; `None` where time does not advance.
    fn measure(&self, hops: &[Hop]) -> Option<(f64, f64)> {
        let mut most: Option<(f64, f64)> = None;
        for (hop, before) in hops.iter().zip(&self.hops) {
            let span = hop.at.since(before.at).ps() as f64;
            if span <= 0.0 {
                continue;
            }
            let sent = hop.sent_bytes.wrapping_sub(before.sent_bytes) as f64 * 8e12 / span / hop.rate_bps as f64;
            let queued = hop.queued_bytes.min(before.queued_bytes) as f64 / self.product_bytes.max(1) as f64;
            let used = sent + queued * self.line as f64 / hop.rate_bps as f64;
            if most.is_none_or(|(utilisation, _)| used > utilisation) {
                most = Some((used, span));
            }
        }
        most
    }

    /// Take an acknowledgement's telemetry into the estimate, and set the rate by it.
    fn react(&mut self, ack: &Ack<'_>) {
        let Some((used, span)) = self.measure(ack.hops) else { return };
        let base = self.config.base_rtt.ps() as f64;
        let span = span.min(base);
        self.utilisation = ((base - span) * self.utilisation + span * used) / base;
        let excess = self.utilisation / self.config.target;
        let multiplies = excess >= 1.0 || self.stage >= self.config.stages;
        let (rate, stage) =
            if multiplies { ((self.committed as f64 / excess) as u64, 0) } else { (self.committed, self.stage + 1) };
        let least = self.config.minimum.min(self.line);
        self.current = rate.saturating_add(self.config.additive).clamp(least, self.line);
        if ack.acknowledged > self.update_after {
            (self.committed, self.stage) = (self.current, stage);
            self.update_after = ack.next;
        }
    }
}

impl Algorithm for Hpcc {
    fn rate(&self) -> Option<Rate> {
        Rate::from_bps(self.current)
    }

    /// A packet may leave while less than the window is under way.
    fn window(&self, _in_flight: u64) -> u64 {
        packets_of(self.window_bytes() + self.packet_bytes - 1, self.packet_bytes)
    }

    fn acknowledged(&mut self, ack: &Ack<'_>) {
        if ack.hops.is_empty() {
            return;
        }
        if self.hops.len() == ack.hops.len() {
            self.react(ack);
        } else {
            self.update_after = ack.next;
        }
        self.hops.clear();
        self.hops.extend_from_slice(ack.hops);
    }

    fn visit(&self, visitor: &mut impl Visitor) {
        visitor.refuse(Reason::Congestion);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{ack, giga, line};
    use super::*;

    fn flow(stages: u32) -> Hpcc {
        let (additive, minimum) = (40_000_000, 1_000_000_000);
        let base_rtt = Time::from_ns(10_000);
        Hpcc::new(Config { target: 0.95, stages, base_rtt, additive, minimum, header_bytes: 42 }, line(), 1_000)
    }

    fn hop((ns, sent_bytes, queued_bytes): (u64, u64, u64), gigabits: u64) -> Hop {
        Hop { at: Time::from_ns(ns), sent_bytes, queued_bytes, rate_bps: gigabits * 1_000_000_000 }
    }

    /// What is acknowledged, what is next, what the hop says; utilisation, committed and current rate in Gb/s, window, stage.
    type Row = (u64, u64, (u64, u64, u64), f64, f64, f64, u64, u32);

    #[rustfmt::skip]
    const ONE_HOP: [Row; 5] = [
        ( 63_000, 188_000, (105_000, 1_342_720, 40_000), 1.001_760, 100.0,      94.873_094, 118_591, 0),
        (126_000, 230_000, (110_000, 1_405_440, 80_000), 1.162_640,  81.750_590, 81.750_590, 102_188, 0),
        (168_000, 260_000, (114_000, 1_455_360, 60_000), 1.288_944,  81.750_590, 60.293_246,  75_366, 0),
        (231_000, 300_000, (119_000, 1_517_440, 20_000), 1.221_112,  63.640_276, 63.640_276,  79_550, 0),
        (301_000, 360_000, (129_000, 1_630_080, 0),      0.901_120,  63.680_276, 63.680_276,  79_600, 1),
    ];

    #[test]
    fn one_hop() {
        let mut flow = flow(5);
        flow.acknowledged(&Ack { hops: &[hop((100_000, 1_280_000, 0), 100)], ..ack(1_000, 125_000) });
        for (acknowledged, next, said, utilisation, committed, current, window, stage) in ONE_HOP {
            flow.acknowledged(&Ack { hops: &[hop(said, 100)], ..ack(acknowledged, next) });
            assert!((flow.utilisation - utilisation).abs() < 5.1e-7, "{acknowledged}: {}", flow.utilisation);
            for (rate, expected) in [(flow.committed, committed), (flow.current, current)] {
                assert!((rate as f64 / 1e9 - expected).abs() < 5.1e-7, "{acknowledged}: {}", giga(rate));
            }
            assert_eq!((flow.window_bytes(), flow.stage), (window, stage), "{acknowledged}");
            assert_eq!(flow.window(0), window.div_ceil(1_000));
        }
    }

    #[test]
    fn five_additive_steps_and_then_by_utilisation() {
        let mut flow = flow(5);
        (flow.committed, flow.current) = (50_000_000_000, 50_000_000_000);
        let mut rates = Vec::new();
        for round in 0..8 {
            let said = hop((10_000 * round, 62_720 * round, 0), 100);
            flow.acknowledged(&Ack { hops: &[said], ..ack(50_000 * round + 1_000, 50_000 * (round + 1)) });
            rates.push(giga(flow.committed));
        }
        assert_eq!(
            rates[1..],
            ["50.040000", "50.080000", "50.120000", "50.160000", "50.200000", "95.085440", "95.125440"]
        );
        assert_eq!(flow.stage, 1);
    }

    #[test]
    fn the_fullest_of_two_hops_counts() {
        let mut flow = flow(0);
        let both = |a, b| [hop(a, 100), hop(b, 400)];
        flow.acknowledged(&Ack { hops: &both((1_000, 0, 0), (2_000, 0, 0)), ..ack(1_000, 125_000) });
        let said = both((11_000, 99_840, 8_000), (12_000, 480_000, 160_000));
        flow.acknowledged(&Ack { hops: &said, ..ack(126_000, 250_000) });
        assert!((flow.utilisation - 0.96).abs() < 1e-9);
        assert_eq!((giga(flow.current).as_str(), flow.window_bytes()), ("98.998333", 123_747));
        let said = both((21_000, 199_680, 8_000), (22_000, 960_000, 160_000));
        flow.acknowledged(&Ack { hops: &said, ..ack(251_000, 370_000) });
        assert!((flow.utilisation - 1.28).abs() < 1e-9);
        assert_eq!((giga(flow.current).as_str(), flow.window_bytes()), ("73.515326", 91_894));
    }

    #[test]
    fn another_path_begins_anew() {
        let mut flow = flow(5);
        flow.acknowledged(&Ack { hops: &[hop((1_000, 0, 0), 100)], ..ack(1_000, 2_000) });
        let longer = [hop((2_000, 90_000_000, 0), 100), hop((3_000, 5, 0), 100)];
        flow.acknowledged(&Ack { hops: &longer, ..ack(3_000, 4_000) });
        assert_eq!((flow.current, flow.utilisation), (100_000_000_000, 1.0));
    }
}
