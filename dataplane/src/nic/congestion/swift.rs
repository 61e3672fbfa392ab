//! Swift: a window that keeps the delay at a target, which grows with hops and shrinks with the window (Kumar et al., SIGCOMM 2020),
//! with one window for fabric and ends, as csg-htsim has it. Below one packet it becomes a pace.

use super::{Ack, Algorithm, Loss, Needs};
use crate::steady::{Reason, Visitor};
use crate::units::Time;

/// The least window in bytes, and the largest in packets.
const LEAST_BYTES: f64 = 10.0;
const MOST_PACKETS: f64 = 1_000.0;
/// Timeouts in a row after which the window is the least one.
const MOST_TIMEOUTS: u32 = 5;

/// The parameters, named as the paper names them.
#[derive(Copy, Clone, PartialEq, Debug, serde::Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "Swift"))]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Target of a path of no hops, and what each hop adds.
    #[serde(rename = "base_target_ps")]
    pub base_target: Time,
    #[serde(rename = "hop_ps")]
    pub hop: Time,
    /// Links of the longest path.
    pub hops: u32,
    /// What flow scaling adds at most, from which window in packets on, and up to which.
    #[serde(rename = "scaling_range_ps")]
    pub scaling_range: Time,
    pub scaling_least_packets: f64,
    pub scaling_most_packets: f64,
    /// Packets by which a window grows in a round trip.
    pub additive_packets: f64,
    pub beta: f64,
    /// What a decrease takes of a window at most.
    pub most_decrease: f64,
    pub initial_packets: f64,
}

impl Config {
    /// What is wrong with the figures, if anything.
    pub fn fault(&self) -> Option<&'static str> {
        let shares = (0.0..=1.0).contains(&self.beta) && (0.0..1.0).contains(&self.most_decrease);
        let scaling = 0.0 < self.scaling_least_packets && self.scaling_least_packets < self.scaling_most_packets;
        let positive = self.base_target > Time::ZERO && self.additive_packets > 0.0 && self.initial_packets > 0.0;
        match (shares, scaling, positive) {
            (false, ..) => Some("beta and the largest decrease are shares"),
            (_, false, _) => Some("flow scaling begins at a smaller window than it ends at"),
            (.., false) => Some("target, additive step and initial window must be positive"),
            _ => None,
        }
    }

    pub const NEEDS: Needs = Needs { delays: true, ..Needs::NOTHING };
}

/// The window of one flow, in bytes.
#[derive(Clone, Debug)]
pub struct Swift {
    config: Config,
    packet_bytes: f64,
    longest_pace: Time,
    window: f64,
    smoothed: Option<f64>,
    last_decrease: Time,
    timeouts: u32,
}

impl Swift {
    /// For packets with so many bytes of payload, of which one is sent in so long at least.
    pub fn new(config: Config, packet_bytes: u64, longest_pace: Time) -> Swift {
        let packet_bytes = packet_bytes as f64;
        let window = (config.initial_packets * packet_bytes).min(MOST_PACKETS * packet_bytes);
        Swift { config, packet_bytes, longest_pace, window, smoothed: None, last_decrease: Time::ZERO, timeouts: 0 }
    }

    fn packets(&self) -> f64 {
        self.window / self.packet_bytes
    }

    /// The delay that the window as it is aims at, in ps.
    fn target(&self) -> f64 {
        let Config { base_target, hop, hops, scaling_range, .. } = self.config;
        let (least, most) = (self.config.scaling_least_packets, self.config.scaling_most_packets);
        let range = scaling_range.ps() as f64;
        let slope = range / (1.0 / least.sqrt() - 1.0 / most.sqrt());
        let scaled = slope / self.packets().sqrt() - slope / most.sqrt();
        (base_target.ps() + hop.ps() * u64::from(hops)) as f64 + scaled.clamp(0.0, range)
    }

    /// Whether a round trip has passed since the last decrease.
    fn may_decrease(&self, now: Time) -> bool {
        now.since(self.last_decrease).ps() as f64 >= self.smoothed.unwrap_or(0.0)
    }

    fn decrease(&mut self, factor: f64, now: Time) {
        self.window *= factor;
        self.last_decrease = now;
        self.clip();
    }

    fn clip(&mut self) {
        self.window = self.window.clamp(LEAST_BYTES, MOST_PACKETS * self.packet_bytes);
    }
}

impl Algorithm for Swift {
    fn window(&self, _in_flight: u64) -> u64 {
        (self.packets() as u64).max(1)
    }

    /// Below one packet, one packet in as many round trips as fit the window to one; no more rarely than something would be sent again.
    fn pace(&self, _wire_bytes: u64) -> Time {
        match self.smoothed {
            Some(smoothed) if self.packets() < 1.0 => {
                Time::from_ps((smoothed / self.packets()) as u64).min(self.longest_pace)
            }
            _ => Time::ZERO,
        }
    }

    fn acknowledged(&mut self, ack: &Ack<'_>) {
        let Some(delay) = ack.delay.map(|delay| delay.ps() as f64) else { return };
        self.timeouts = 0;
        let target = self.target();
        if delay < target {
            let bytes = ack.packets as f64 * self.packet_bytes * self.config.additive_packets;
            self.window += if self.packets() >= 1.0 { bytes * self.packet_bytes / self.window } else { bytes };
            self.clip();
        } else if self.may_decrease(ack.now) {
            let factor = 1.0 - self.config.beta * (delay - target) / delay;
            self.decrease(factor.max(1.0 - self.config.most_decrease), ack.now);
        }
        self.smoothed = Some(self.smoothed.map_or(delay, |smoothed| smoothed + (delay - smoothed) / 8.0));
    }

    fn lost(&mut self, loss: &Loss) {
        self.timeouts = if loss.by_timeout { self.timeouts + 1 } else { 0 };
        if self.timeouts >= MOST_TIMEOUTS {
            self.decrease(0.0, loss.now);
        } else if loss.by_timeout || self.may_decrease(loss.now) {
            self.decrease(1.0 - self.config.most_decrease, loss.now);
        }
    }

    fn visit(&self, visitor: &mut impl Visitor) {
        visitor.refuse(Reason::Congestion);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{ack, micros};
    use super::*;

    fn flow() -> Swift {
        let config = Config {
            base_target: Time::from_ns(20_000),
            hop: Time::from_ps(20_000_000_000 / 6_550),
            hops: 4,
            scaling_range: Time::from_ns(100_000),
            scaling_least_packets: 0.1,
            scaling_most_packets: 100.0,
            additive_packets: 1.0,
            beta: 0.8,
            most_decrease: 0.5,
            initial_packets: 15.0,
        };
        Swift::new(config, 4_000, micros(16_777))
    }

    /// Time and delay in µs; target in µs, window in packets, pace in µs.
    #[rustfmt::skip]
    const ACKS: [(u64, u64, f64, f64, f64); 13] = [
        (   50,  30,  37.379_794, 15.066_667, 0.0),
        (   55,  30,  37.361_119, 15.133_038, 0.0),
        (   60,  60,  37.342_650, 10.561_378, 0.0),
        (   70, 200,  38.996_556, 10.561_378, 0.0),
        (  150, 400,  38.996_556,  5.280_689, 0.0),
        (  600, 400,  43.158_723,  2.640_344, 0.0),
        ( 1100, 500,  49.044_915,  1.320_172, 0.0),
        ( 1700, 600,  57.369_249,  0.660_086, 353.635_776),
        ( 2400, 600,  69.141_634,  0.330_043, 846.105_690),
        ( 3100, 600,  85.790_300,  0.165_022, 1_935.171_120),
        ( 3800, 700, 109.335_070,  0.082_511, 4_447.017_172),
        ( 4700,  90, 132.213_740,  1.082_511, 0.0),
        ( 5700,  30,  60.334_439,  2.006_289, 0.0),
    ];

    #[test]
    fn the_window_holds_the_delay_at_its_target() {
        let mut flow = flow();
        for (at, delay, target, packets, pace) in ACKS {
            assert!((flow.target() / 1e6 - target).abs() < 2e-6, "{at}: {}", flow.target() / 1e6);
            flow.acknowledged(&Ack { now: micros(at), delay: Some(micros(delay)), packets: 1, ..ack(at, at) });
            assert!((flow.packets() - packets).abs() < 5.1e-7, "{at}: {}", flow.packets());
            let seen = flow.pace(4_000).ps() as f64 / 1e6;
            assert!((seen - pace).abs() <= 2e-8 * pace, "{at}: {seen}");
            assert_eq!(flow.window(0), (packets as u64).max(1));
        }
    }

    #[test]
    fn a_pace_is_no_longer_than_the_timeout() {
        let mut flow = flow();
        for round in 1..30 {
            flow.acknowledged(&Ack {
                now: micros(round * 10_000),
                delay: Some(micros(5_000)),
                packets: 1,
                ..ack(0, 0)
            });
        }
        assert_eq!((flow.packets(), flow.pace(4_000)), (LEAST_BYTES / 4_000.0, micros(16_777)));
    }

    #[test]
    fn losses_halve_it_and_the_fifth_timeout_leaves_the_least() {
        let mut flow = flow();
        let mut after = |at, by_timeout| {
            flow.lost(&Loss { now: micros(at), packets: 1, in_flight: 15, by_timeout });
            flow.packets()
        };
        assert_eq!(after(100, false), 7.5);
        assert_eq!([200, 300, 400, 500].map(|at| after(at, true)), [3.75, 1.875, 0.9375, 0.46875]);
        assert_eq!(after(600, true), LEAST_BYTES / 4_000.0);
    }

    #[test]
    fn it_grows_no_larger_than_its_bounds() {
        let mut flow = flow();
        for at in 1..1_000_000 {
            flow.acknowledged(&Ack { now: micros(at), delay: Some(micros(20)), packets: 1, ..ack(at, at) });
        }
        assert_eq!(flow.packets(), MOST_PACKETS);
    }
}
