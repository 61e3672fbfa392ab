//! What both ends of an RC connection agree on, and what a connection counts.
//!
//! Sequence numbers are 64 bits inside and 24 bits on the wire; a window below 2^23 packets makes that unambiguous (IBTA volume 1, 9.7.1).

use super::code::Code;
use super::dcqcn::DcqcnConfig;
use super::message::Verb;
use crate::units::Time;

pub(super) const PSN_MASK: u64 = 0xff_ffff;
pub(super) const PSN_HALF: u64 = 0x80_0000;

/// How lost packets are made good.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Recovery {
    /// After a NAK or a timeout everything from the first missing packet is sent again.
    GoBackN,
    /// The responder keeps what comes out of order and names each missing packet, which alone is sent again.
    SelectiveRepeat,
    /// Parity behind each block of a message makes up for what the block lost; what it cannot is named and sent again.
    Erasure(Code),
}

/// What both ends of a connection agree on.
#[derive(Copy, Clone, Debug)]
pub struct Transport {
    pub verb: Verb,
    pub recovery: Recovery,
    pub mtu: u32,
    /// An acknowledgement is asked for at least every so many packets.
    pub ack_every: u64,
    /// Packets sent and not yet acknowledged, at most.
    pub window: u64,
    pub timeout: Time,
    pub retries: u32,
    /// Number of the first packet, each way.
    pub first_psn: u64,
    pub congestion: Option<DcqcnConfig>,
}

#[derive(Clone, Default, Debug)]
pub struct RequesterCounters {
    pub packets_tx: u64,
    pub retransmitted: u64,
    pub acks_rx: u64,
    pub naks_rx: u64,
    pub timeouts: u64,
    /// Erasure: blocks sent, parity packets among `packets_tx`, and blocks of which a packet was asked for again.
    pub blocks: u64,
    pub parity_tx: u64,
    pub blocks_asked: u64,
}

/// What ended a connection.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Failure {
    RetryExceeded,
    /// The responder refused a packet: a NAK other than for a sequence error.
    Refused,
}

impl Failure {
    /// The `error` of a QP in run.json.
    pub fn name(self) -> &'static str {
        match self {
            Failure::RetryExceeded => "retry exceeded",
            Failure::Refused => "refused by the peer",
        }
    }
}
