//! Congestion control of one connection: what a sender learns of its path goes in; a rate, a window and the next timer come out.
//!
//! Each algorithm is a file and a variant of `Config` and `Control`. It implements `Algorithm` as far as it needs to: what it does not
//! hear of does nothing, and what it does not limit is unlimited. Nothing here knows a port, a packet or another connection.

pub mod dcqcn;

use dcqcn::Dcqcn;

use crate::steady::Visitor;
use crate::units::{Rate, Time};

/// The algorithm by name with its parameters, as the plan states them.
#[derive(Copy, Clone, PartialEq, Debug, serde::Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "CongestionControl"))]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Config {
    Dcqcn(dcqcn::Config),
}

impl Config {
    /// What is wrong with the figures, if anything.
    pub fn fault(&self) -> Option<&'static str> {
        match self {
            Config::Dcqcn(config) => config.fault(),
        }
    }

    /// How the receiver notifies the sender of marks, if it does.
    pub fn notification(&self) -> Option<Notification> {
        match self {
            Config::Dcqcn(config) => Some(config.notification()),
        }
    }
}

/// Packets (CNP) by which a receiver tells of marks: how far apart those of a connection are at least, and their DSCP.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Notification {
    pub interval: Time,
    pub dscp: u8,
}

/// What a connection asks of its congestion control, and tells it.
pub trait Algorithm {
    /// The rate to send at now; `None`: that of the line.
    fn rate(&self) -> Option<Rate> {
        None
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

    /// Visit all that it holds; refuse where it would act.
    fn visit(&self, visitor: &mut impl Visitor);
}

/// The congestion control of one connection.
#[derive(Debug)]
pub enum Control {
    Dcqcn(Dcqcn),
}

/// Do the same to whichever algorithm it is.
macro_rules! each {
    ($control:expr, $algorithm:ident => $result:expr) => {
        match $control {
            Control::Dcqcn($algorithm) => $result,
        }
    };
}

impl Control {
    /// For a connection whose NIC sends at `line`.
    pub fn new(config: Config, line: Rate) -> Control {
        match config {
            Config::Dcqcn(config) => Control::Dcqcn(Dcqcn::new(config, line)),
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

    fn visit(&self, visitor: &mut impl Visitor) {
        each!(self, algorithm => algorithm.visit(visitor))
    }
}
