//! What both ends of an RC connection agree on, and what a connection counts.
//!
//! Sequence numbers are 64 bits inside and 24 bits on the wire; a window below 2^23 packets makes that unambiguous (IBTA volume 1, 9.7.1).

use super::code::Code;
use super::message::{overhead_bytes, FrameSizes, Verb, LEAST_FRAME_BYTES};
use crate::units::Time;
use crate::wire::roce::Opcode;
use crate::wire::sizes::FCS_BYTES;

pub(in crate::nic) const PSN_MASK: u64 = 0xff_ffff;
pub(in crate::nic) const PSN_HALF: u64 = 0x80_0000;

/// How lost packets are made good.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Recovery {
    /// After a NAK or a timeout everything from the first missing packet is sent again.
    GoBackN,
    /// The responder keeps what comes out of order and names each missing packet, which alone is sent again.
    SelectiveRepeat,
    /// Parity behind each block of a message makes up for what the block lost; what it cannot is named and sent again.
    Erasure(Code),
    /// Chunks of so many packets arrive whole or not at all, and are sent again by timers of their own; nothing is asked for.
    Timer { chunk: u64 },
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
    /// Receives count only when they are posted (SEND); `None`: there is always one.
    pub rnr: Option<Rnr>,
    /// Number of the first packet, each way.
    pub first_psn: u64,
    /// How long frames are; `None`: as RoCEv2 has them.
    pub frames: Option<FrameSizes>,
}

impl Transport {
    /// What the longest packet takes of a buffer: a payload of `mtu` bytes, all headers, and FCS. Parity, where there is some, is
    /// longest.
    pub fn longest_bytes(&self) -> u32 {
        let longest = if matches!(self.recovery, Recovery::Erasure(_)) { Opcode::Parity } else { Opcode::WriteOnly };
        let around = self.frames.map_or(overhead_bytes(longest), |sizes| sizes.header_bytes - LEAST_FRAME_BYTES);
        u32::from(around) + self.mtu + FCS_BYTES as u32
    }
}

/// What becomes of a message that comes before its receive is posted: the responder says when to try again, a code of the table
/// below, and the requester does so `retries` times without progress, or for ever if that is `RNR_FOR_EVER`.
#[derive(Copy, Clone, PartialEq, Eq, Debug, serde::Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Rnr {
    pub timer: u8,
    pub retries: u32,
}

pub const RNR_FOR_EVER: u32 = 7;

/// Units of 10 µs by the code of an RNR NAK's timer (IBTA volume 1, 9.7.5.2.8).
#[rustfmt::skip]
const RNR_TIMERS: [u64; 32] = [
    65536, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192,
    256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096, 6144, 8192, 12288, 16384, 24576, 32768, 49152,
];

/// How long an RNR NAK with this timer code, of five bits, asks its requester to wait.
pub fn rnr_delay(timer: u8) -> Time {
    Time::from_ns(10_000 * RNR_TIMERS[usize::from(timer & 31)])
}

#[derive(Clone, Default, Debug)]
pub struct RequesterCounters {
    pub packets_tx: u64,
    pub retransmitted: u64,
    pub acks_rx: u64,
    pub naks_rx: u64,
    pub rnr_naks_rx: u64,
    pub timeouts: u64,
    /// Erasure: blocks sent, parity packets among `packets_tx`, and blocks of which a packet was asked for again.
    pub blocks: u64,
    pub parity_tx: u64,
    pub blocks_asked: u64,
}

impl RequesterCounters {
    /// Count what another workload's connection did too.
    pub fn add(&mut self, other: &RequesterCounters) {
        self.packets_tx += other.packets_tx;
        self.retransmitted += other.retransmitted;
        self.acks_rx += other.acks_rx;
        self.naks_rx += other.naks_rx;
        self.rnr_naks_rx += other.rnr_naks_rx;
        self.timeouts += other.timeouts;
        self.blocks += other.blocks;
        self.parity_tx += other.parity_tx;
        self.blocks_asked += other.blocks_asked;
    }
}

/// What ended a connection.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Failure {
    RetryExceeded,
    RnrRetryExceeded,
    /// The responder refused a packet: a NAK other than for a sequence error.
    Refused,
}

impl Failure {
    /// The `error` of a QP in run.json.
    pub fn name(self) -> &'static str {
        match self {
            Failure::RetryExceeded => "retry exceeded",
            Failure::RnrRetryExceeded => "rnr retry exceeded",
            Failure::Refused => "refused by the peer",
        }
    }
}
