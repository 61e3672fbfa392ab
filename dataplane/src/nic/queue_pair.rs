//! One end of a connection: what the plan says of it, and what the NIC holds for it.

use super::congestion::Control;
use super::rc::requester::Requester;
use super::rc::responder::Responder;
use crate::frame::Station;
use crate::priority::Priority;
use crate::units::Time;

/// One end of a connection as the plan gives it.
#[derive(Copy, Clone, Debug)]
pub struct QpConfig {
    pub qpn: u32,
    /// 0 or 1: which end of the connection this is.
    pub end: u8,
    pub peer: Station,
    pub entropy: u16,
    /// The port that it uses.
    pub nic: u16,
    /// The rank that it belongs to, of those of the host, and its lane in the schedule of that rank.
    pub rank: u32,
    pub lane: u32,
    /// What its packets travel on.
    pub priority: Priority,
    pub dscp: u8,
}

impl QpConfig {
    /// What packets for this end name: the port that they come in by, and their QP number.
    pub(super) fn key(&self) -> u64 {
        u64::from(self.nic) << 32 | u64::from(self.qpn)
    }
}

/// One end of a connection as it stands.
#[derive(Debug)]
pub(super) struct QueuePair {
    pub config: QpConfig,
    /// Its priority, as an index of `Host::classes`.
    pub class: usize,
    /// Priority and DSCP of its acknowledgements.
    pub ack: (Priority, u8),
    pub requester: Requester,
    pub responder: Responder,
    /// Congestion control, if there is one; the next packet may start at `ready_at`.
    pub control: Option<Box<Control>>,
    pub ready_at: Time,
    /// When the notification point may send the next CNP.
    pub notify_at: Time,
    /// Listed in the `active` of its NIC.
    pub active: bool,
    /// Payloads of the parity packets that are next to be sent, for a rank with memory.
    pub parity: Vec<Vec<u8>>,
}
