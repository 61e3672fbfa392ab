//! NSCC: the sender-based window of Ultra Ethernet, by marks, delay and losses together, as uet-htsim has it. All is scaled from a
//! network of 100 Gb/s and 12 µs.

use super::{packets_of, Ack, Algorithm, Loss, Needs};
use crate::steady::{Reason, Visitor};
use crate::units::{Rate, Time};

/// Bytes under way in the network that the constants were chosen for, and its round trip in ps.
const REFERENCE_BYTES: f64 = 150_000.0;
const REFERENCE_RTT: f64 = 12e6;
/// A window adapts at once where no more than the largest one over this was achieved.
const GATE: f64 = 8.0;
/// Target delays above which a round trip adapts at once.
const ADAPT_TARGETS: f64 = 4.0;
/// Packets after whose acknowledgement an increase is made.
const ADJUST_PACKETS: f64 = 8.0;
/// A delay below which a path counts as idle, in ps.
const IDLE: f64 = 1e6;
/// The share of the round trip that a long delay without a mark counts as.
const UNMARKED: f64 = 0.25;

/// The parameters; what has no unit is a factor.
#[derive(Copy, Clone, PartialEq, Debug, serde::Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "Nscc"))]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The longest round trip of the network without queues.
    #[serde(rename = "base_rtt_ps")]
    pub base_rtt: Time,
    /// The delay in queues that windows aim at.
    #[serde(rename = "target_ps")]
    pub target: Time,
    /// Packets by which a window grows in a round trip: in proportion to what lacks of the target, and where the target is passed
    /// without a mark. A share of a packet that it always grows by, and the share of what was acknowledged on an idle path.
    pub proportional_packets: f64,
    pub fair_packets: f64,
    pub eta_packets: f64,
    pub fast: f64,
    /// How much of a window a decrease takes, and what it takes at most.
    pub gamma: f64,
    pub most_decrease: f64,
    /// Weight of the newest delay.
    pub delay_weight: f64,
    /// The largest window, and the first, in bandwidth-delay products.
    pub most_products: f64,
    pub initial_products: f64,
}

impl Config {
    /// What is wrong with the figures, if anything.
    pub fn fault(&self) -> Option<&'static str> {
        let shares = [self.gamma, self.most_decrease, self.delay_weight];
        let shares = shares.iter().all(|share| (0.0..=1.0).contains(share));
        let steps = [self.proportional_packets, self.fair_packets, self.eta_packets, self.fast];
        let positive = self.base_rtt > Time::ZERO && self.target > Time::ZERO;
        match (shares, positive, steps.iter().all(|step| *step >= 0.0)) {
            (false, ..) => Some("gamma, the largest decrease and the weight of a delay are shares"),
            (_, false, _) => Some("base round trip and target must be positive"),
            (.., false) => Some("steps must not be negative"),
            _ if self.most_products <= 0.0 || self.initial_products <= 0.0 => Some("windows must be positive"),
            _ => None,
        }
    }

    pub const NEEDS: Needs = Needs { marks: true, delays: true, ..Needs::NOTHING };
}

/// The window of one flow, in whole bytes of the line. Times are in ps, the average one a whole number of them.
#[derive(Clone, Debug)]
pub struct Nscc {
    config: Config,
    packet_bytes: u64,
    payload_bytes: f64,
    most: u64,
    scale: f64,
    /// The least round trip seen, no longer than that of the configuration.
    least_rtt: f64,
    window: u64,
    average: f64,
    increase: f64,
    received: f64,
    idle_bytes: f64,
    adjusted_at: Time,
    decreased_at: Time,
    adapt: Adapt,
}

/// Quick adapt: what has been achieved since when, and what is to be ignored after it acted.
#[derive(Clone, Default, Debug)]
struct Adapt {
    end: Time,
    achieved: u64,
    triggered: bool,
    to_ignore: u64,
    ignored: u64,
}

impl Nscc {
    /// For packets of so many bytes on the line, so many of them payload.
    pub fn new(config: Config, line: Rate, packet_bytes: u64, payload_bytes: u64) -> Nscc {
        let product = (u128::from(line.bps()) * u128::from(config.base_rtt.ps()) / 8_000_000_000_000) as f64;
        let most = ((product * config.most_products) as u64).max(packet_bytes);
        Nscc {
            config,
            packet_bytes,
            payload_bytes: payload_bytes as f64,
            most,
            scale: product / REFERENCE_BYTES,
            least_rtt: config.base_rtt.ps() as f64,
            window: ((product * config.initial_products) as u64).clamp(packet_bytes, most),
            average: 0.0,
            increase: 0.0,
            received: 0.0,
            idle_bytes: 0.0,
            adjusted_at: Time::ZERO,
            decreased_at: Time::ZERO,
            adapt: Adapt::default(),
        }
    }

    fn target(&self) -> f64 {
        self.config.target.ps() as f64
    }

    fn observe(&mut self, delay: f64) {
        let weight = self.config.delay_weight;
        self.average = (weight * delay + (1.0 - weight) * self.average).floor();
    }

    /// Cut the window to what was achieved of it, where that is little. Returns whether nothing else is to be done.
    fn adapt(&mut self, now: Time, delay: f64, by_loss: bool, in_flight: u64) -> bool {
        if now <= self.adapt.end {
            return false;
        }
        let is_due = self.adapt.triggered || by_loss || delay > ADAPT_TARGETS * self.target();
        let fails = (self.adapt.achieved as f64) < self.most as f64 / GATE;
        let acts = self.adapt.end > Time::ZERO && is_due && fails;
        if acts {
            self.window = self.adapt.achieved.max(self.packet_bytes);
            (self.adapt.to_ignore, self.adapt.ignored, self.adapt.triggered) =
                (in_flight * self.packet_bytes, 0, false);
        }
        self.adapt.achieved = 0;
        self.adapt.end = now + Time::from_ps((self.least_rtt + self.target()) as u64);
        acts
    }

    fn stop(&mut self) {
        (self.increase, self.received) = (0.0, 0.0);
    }

    /// Raise or cut by what mark and delay say together.
    fn judge(&mut self, ack: &Ack<'_>, delay: f64) {
        let (bytes, target, config) = ((ack.packets * self.packet_bytes) as f64, self.target(), self.config);
        match (ack.marked, delay >= target) {
            (false, true) => {
                self.idle_bytes = 0.0;
                self.increase += config.fair_packets * self.payload_bytes * self.scale * bytes;
            }
            (false, false) => self.raise(bytes, delay),
            (true, true) => {
                let rested = ack.now.since(self.decreased_at).ps() as f64 > self.least_rtt;
                if self.average > target && rested {
                    let factor = 1.0 - config.gamma * (self.average - target) / self.average;
                    self.window = (self.window as f64 * factor.max(1.0 - config.most_decrease)) as u64;
                    self.decreased_at = ack.now;
                }
            }
            // The path is to change, the window not.
            (true, false) => {}
        }
    }

    fn raise(&mut self, bytes: f64, delay: f64) {
        if delay < IDLE {
            self.idle_bytes += bytes;
            if self.idle_bytes > self.window as f64 {
                self.window += (self.config.fast * self.scale * bytes) as u64;
                return;
            }
        } else {
            self.idle_bytes = 0.0;
        }
        let longer = self.target() / REFERENCE_RTT;
        let slope = self.config.proportional_packets * self.payload_bytes * self.scale * longer / self.target();
        self.increase += slope * bytes * (self.target() - delay);
    }

    /// Make the increase that has gathered, once enough has been acknowledged or long enough ago.
    fn fulfil(&mut self, now: Time) {
        self.clip();
        let (since, base) = (now.since(self.adjusted_at), self.config.base_rtt);
        if self.received > ADJUST_PACKETS * self.packet_bytes as f64 || since > base {
            self.window += (self.increase / self.window as f64) as u64;
            if since >= base {
                self.window += (self.config.eta_packets * self.payload_bytes * self.scale) as u64;
                self.adjusted_at = now;
            }
            self.stop();
        }
        self.clip();
    }

    fn clip(&mut self) {
        self.window = self.window.clamp(self.packet_bytes, self.most);
    }
}

impl Algorithm for Nscc {
    /// A packet may leave where the window has room for it.
    fn window(&self, _in_flight: u64) -> u64 {
        packets_of(self.window, self.packet_bytes)
    }

    fn acknowledged(&mut self, ack: &Ack<'_>) {
        let Some(rtt) = ack.delay.map(|delay| delay.ps() as f64) else { return };
        self.least_rtt = self.least_rtt.min(rtt);
        let delay = rtt - self.least_rtt;
        let bytes = ack.packets * self.packet_bytes;
        self.adapt.achieved += bytes;
        self.adapt.ignored += bytes;
        self.received += bytes as f64;
        let is_long = !ack.marked && delay > self.target();
        self.observe(if is_long { UNMARKED * self.least_rtt } else { delay });
        if self.adapt.ignored < self.adapt.to_ignore && ack.marked {
            return self.stop();
        }
        if self.adapt(ack.now, delay, false, ack.in_flight) {
            return self.stop();
        }
        self.judge(ack, delay);
        self.fulfil(ack.now);
    }

    fn lost(&mut self, loss: &Loss) {
        let bytes = loss.packets * self.packet_bytes;
        if !loss.by_timeout {
            self.adapt.ignored += bytes;
            self.observe(self.config.base_rtt.ps() as f64);
            self.adapt.triggered = true;
            if self.adapt(loss.now, 0.0, true, loss.in_flight) {
                return self.stop();
            }
        }
        self.window = self.window.saturating_sub(bytes);
        self.clip();
    }

    fn visit(&self, visitor: &mut impl Visitor) {
        visitor.refuse(Reason::Congestion);
    }
}

#[cfg(test)]
mod tests;
