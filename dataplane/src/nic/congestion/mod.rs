//! Congestion control of one connection: what a sender learns of its path goes in; a rate, a window and the next timer come out.
//!
//! Each algorithm is a file and a variant of `Config` and `Control`. It implements `Algorithm` as far as it needs to: what it does not
//! hear of does nothing, and what it does not limit is unlimited. Nothing here knows a port, a packet or another connection.

pub mod dcqcn;
pub mod dctcp;
pub mod hpcc;
pub mod nscc;
pub mod swift;
#[cfg(test)]
mod testing;
pub mod timely;

use dcqcn::Dcqcn;
use dctcp::Dctcp;
use hpcc::Hpcc;
use nscc::Nscc;
use swift::Swift;
use timely::Timely;

use crate::frame::Hop;
use crate::steady::Visitor;
use crate::units::{Rate, Time};

/// The algorithm by name with its parameters, as the plan states them.
#[derive(Copy, Clone, PartialEq, Debug, serde::Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "CongestionControl"))]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Config {
    Dcqcn(dcqcn::Config),
    Timely(timely::Config),
    Swift(swift::Config),
    Dctcp(dctcp::Config),
    Hpcc(hpcc::Config),
    Nscc(nscc::Config),
}

impl Config {
    /// What is wrong with the figures, if anything.
    pub fn fault(&self) -> Option<&'static str> {
        match self {
            Config::Dcqcn(config) => config.fault(),
            Config::Timely(config) => config.fault(),
            Config::Swift(config) => config.fault(),
            Config::Dctcp(config) => config.fault(),
            Config::Hpcc(config) => config.fault(),
            Config::Nscc(config) => config.fault(),
        }
    }

    /// What it has to be told.
    pub fn needs(&self) -> Needs {
        match self {
            Config::Dcqcn(config) => Needs { notification: Some(config.notification()), ..Needs::NOTHING },
            Config::Timely(_) => timely::Config::NEEDS,
            Config::Swift(_) => swift::Config::NEEDS,
            Config::Dctcp(_) => dctcp::Config::NEEDS,
            Config::Hpcc(config) => config.needs(),
            Config::Nscc(_) => nscc::Config::NEEDS,
        }
    }
}

/// Packets (CNP) by which a receiver tells of marks: how far apart those of a connection are at least, and their DSCP.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Notification {
    pub interval: Time,
    pub dscp: u8,
}

/// What an algorithm has to be told.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Needs {
    /// The receiver notifies of marks.
    pub notification: Option<Notification>,
    /// Acknowledgements say whether their packet was marked, and a marked one is acknowledged at once.
    pub marks: bool,
    /// How long packets and their acknowledgements took.
    pub delays: bool,
    /// Switches write what they hold into data, and acknowledgements bring it back; so many bytes of each packet are for that.
    pub telemetry_bytes: Option<u16>,
}

impl Needs {
    pub const NOTHING: Needs = Needs { notification: None, marks: false, delays: false, telemetry_bytes: None };

    /// Whether acknowledgements and losses mean anything to it.
    pub fn hears_acknowledgements(&self) -> bool {
        self.marks || self.delays || self.telemetry_bytes.is_some()
    }
}

/// What all connections of a transport have in common.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Sending {
    /// Of the payload of a full packet, and of that packet on the line.
    pub payload_bytes: u64,
    pub packet_bytes: u64,
    /// After which something is sent again.
    pub timeout: Time,
}

/// An acknowledgement. Positions are bytes of payload from the start of the connection.
#[derive(Copy, Clone, Debug)]
pub struct Ack<'a> {
    pub now: Time,
    /// One past the last byte acknowledged, and one past the last sent.
    pub acknowledged: u64,
    pub next: u64,
    /// Packets that it acknowledges first, and those still under way.
    pub packets: u64,
    pub in_flight: u64,
    /// A packet came marked.
    pub marked: bool,
    /// From the start of the packet's first sending to this; `None` if it may be of another sending.
    pub delay: Option<Time>,
    /// What the switches on the packet's path said, the first one first.
    pub hops: &'a [Hop],
}

/// Packets that are missing: the receiver says so, or the retransmission timer ran out.
#[derive(Copy, Clone, Debug)]
pub struct Loss {
    pub now: Time,
    pub packets: u64,
    pub in_flight: u64,
    pub by_timeout: bool,
}

/// Full packets in a window of bytes, at least one.
fn packets_of(window_bytes: u64, packet_bytes: u64) -> u64 {
    (window_bytes / packet_bytes).max(1)
}

/// What a connection asks of its congestion control, and tells it.
pub trait Algorithm {
    /// The rate to send at now; `None`: that of the line.
    fn rate(&self) -> Option<Rate> {
        None
    }

    /// Packets that may be under way, at least one, where so many are.
    fn window(&self, _in_flight: u64) -> u64 {
        u64::MAX
    }

    /// How long after the start of a packet of so many bytes, on the line, the next one may start.
    fn pace(&self, wire_bytes: u64) -> Time {
        self.rate().map_or(Time::ZERO, |rate| rate.serialisation(wire_bytes))
    }

    /// When `handle_timeout` is due; `Time::NEVER` while nothing is.
    fn deadline(&self) -> Time {
        Time::NEVER
    }

    fn handle_timeout(&mut self, _now: Time) {}

    /// So many bytes were sent.
    fn sent(&mut self, _wire_bytes: u64) {}

    /// A notification of marks arrived.
    fn notified(&mut self, _now: Time) {}

    /// An acknowledgement arrived.
    fn acknowledged(&mut self, _ack: &Ack<'_>) {}

    /// Packets are missing.
    fn lost(&mut self, _loss: &Loss) {}

    /// Visit all that it holds; refuse where it would act.
    fn visit(&self, visitor: &mut impl Visitor);
}

/// The congestion control of one connection.
#[derive(Debug)]
pub enum Control {
    Dcqcn(Dcqcn),
    Timely(Timely),
    Swift(Swift),
    Dctcp(Dctcp),
    Hpcc(Hpcc),
    Nscc(Nscc),
}

/// Do the same to whichever algorithm it is.
macro_rules! each {
    ($control:expr, $algorithm:ident => $result:expr) => {
        match $control {
            Control::Dcqcn($algorithm) => $result,
            Control::Timely($algorithm) => $result,
            Control::Swift($algorithm) => $result,
            Control::Dctcp($algorithm) => $result,
            Control::Hpcc($algorithm) => $result,
            Control::Nscc($algorithm) => $result,
        }
    };
}

impl Control {
    /// For a connection whose NIC sends at `line`.
    pub fn new(config: Config, line: Rate, sending: Sending) -> Control {
        let Sending { payload_bytes, packet_bytes, timeout } = sending;
        match config {
            Config::Dcqcn(config) => Control::Dcqcn(Dcqcn::new(config, line)),
            Config::Timely(config) => Control::Timely(Timely::new(config, line)),
            Config::Swift(config) => Control::Swift(Swift::new(config, payload_bytes, timeout)),
            Config::Dctcp(config) => Control::Dctcp(Dctcp::new(config, line, payload_bytes)),
            Config::Hpcc(config) => Control::Hpcc(Hpcc::new(config, line, payload_bytes)),
            Config::Nscc(config) => Control::Nscc(Nscc::new(config, line, packet_bytes, payload_bytes)),
        }
    }
}

impl Algorithm for Control {
    #[inline]
    fn rate(&self) -> Option<Rate> {
        each!(self, algorithm => algorithm.rate())
    }

    #[inline]
    fn pace(&self, wire_bytes: u64) -> Time {
        each!(self, algorithm => algorithm.pace(wire_bytes))
    }

    fn window(&self, in_flight: u64) -> u64 {
        each!(self, algorithm => algorithm.window(in_flight))
    }

    fn deadline(&self) -> Time {
        each!(self, algorithm => algorithm.deadline())
    }

    fn handle_timeout(&mut self, now: Time) {
        each!(self, algorithm => algorithm.handle_timeout(now))
    }

    #[inline]
    fn sent(&mut self, wire_bytes: u64) {
        each!(self, algorithm => algorithm.sent(wire_bytes))
    }

    fn notified(&mut self, now: Time) {
        each!(self, algorithm => algorithm.notified(now))
    }

    fn acknowledged(&mut self, ack: &Ack<'_>) {
        each!(self, algorithm => algorithm.acknowledged(ack))
    }

    fn lost(&mut self, loss: &Loss) {
        each!(self, algorithm => algorithm.lost(loss))
    }

    fn visit(&self, visitor: &mut impl Visitor) {
        each!(self, algorithm => algorithm.visit(visitor))
    }
}
