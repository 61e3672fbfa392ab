//! Everything observable: counters, the event-log hash, captures and the invariants all read this one vocabulary.

use crate::frame::Frame;
use crate::priority::Priority;
use crate::units::Time;
use crate::wire::credit::Credit;
use crate::wire::pfc::Pfc;

/// Why a frame was lost. Every loss has exactly one.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Hash)]
pub enum Cause {
    /// A lossless priority group had used up its headroom.
    Headroom,
    /// A lossy queue or the whole buffer was full.
    Buffer,
    /// The link corrupted it.
    Link,
    /// The link was down, or was cut while the frame was leaving.
    Outage,
    /// The watchdog flushed its queue.
    Watchdog,
    /// No route to its destination (broadcast and strangers: this fabric never floods).
    Unroutable,
    /// The receive buffer of a NIC was full.
    Receiver,
    /// It cannot be read: damaged or cut short by whoever sent it (real clock only).
    Malformed,
}

impl Cause {
    pub const ALL: [Cause; 8] = [
        Cause::Headroom,
        Cause::Buffer,
        Cause::Link,
        Cause::Outage,
        Cause::Watchdog,
        Cause::Unroutable,
        Cause::Receiver,
        Cause::Malformed,
    ];

    /// The key under `drops` in run.json.
    pub fn name(self) -> &'static str {
        match self {
            Cause::Headroom => "headroom",
            Cause::Buffer => "buffer",
            Cause::Link => "link",
            Cause::Outage => "outage",
            Cause::Watchdog => "watchdog",
            Cause::Unroutable => "unroutable",
            Cause::Receiver => "receiver",
            Cause::Malformed => "malformed",
        }
    }
}

/// What a node says of itself. Frames put on a link are not repeated here: the driver sees each of them in `poll_transmit`.
#[derive(Clone, PartialEq, Debug)]
pub enum Event {
    /// `packet`: a NIC's RoCEv2 packet, not a frame of a host's kernel.
    Dropped {
        port: u16,
        priority: Priority,
        cause: Cause,
        packet: bool,
    },
    PauseReceived {
        port: u16,
        pfc: Pfc,
        /// What it stands for, see `Frame::request`.
        request: Option<u32>,
    },
    CreditReceived {
        port: u16,
        credit: Credit,
    },
    /// The watchdog takes the pauses of a priority for a storm and heeds them no longer.
    StormDetected {
        port: u16,
        priority: Priority,
    },
    /// It heeds them again.
    StormOver {
        port: u16,
        priority: Priority,
    },
    /// A NIC passed a data packet of its connection number `qp` up to the verbs layer.
    Accepted {
        qp: u32,
        psn: u64,
    },
    /// The `message`-th message towards this `end` of the QP, 0 or 1, arrived whole, with `bytes`.
    MessageArrived {
        qpn: u32,
        end: u8,
        message: u64,
        bytes: u64,
    },
    /// The `message`-th message was posted for sending at this `end` of the QP.
    SendPosted {
        qpn: u32,
        end: u8,
        message: u64,
        bytes: u64,
    },
    /// The last packet of the `message`-th message was acknowledged.
    SendFinished {
        qpn: u32,
        message: u64,
    },
    /// The retry count ran out: nothing more is sent on the QP.
    QpFailed {
        qpn: u32,
    },
    /// Every op of the schedule has finished, of this rank of the host.
    RankFinished {
        rank: u32,
    },
}

/// A frame whose first bit leaves a port at `at`.
pub struct Transmission<'a> {
    pub node: u32,
    pub port: u16,
    pub at: Time,
    pub frame: &'a Frame,
}
