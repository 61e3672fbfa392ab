//! Credit frames: flow control by absolute counts of buffer blocks, as InfiniBand's (IBTA volume 1, 7.9.4), carried by Ethernet.
//!
//! Ethernet has no such frame, so this one uses the EtherType that IEEE 802 keeps for local experiments, and the group address of MAC
//! control, so that no bridge forwards it. InfiniBand counts modulo 4096, which is 256 KiB; 32 bits reach over any distance.

use super::ethernet::{Ethernet, Mac, ETHERTYPE_EXPERIMENTAL, MIN_FRAME_BYTES};
use super::pfc::PFC_DST;
use super::sizes::ETHERNET_HEADER_BYTES;
use super::{at_most, split, Field, WireError};
use crate::priority::Priority;

/// Tells this use of the experimental EtherType from others: "FC", and a version.
const PROTOCOL: [u8; 3] = [b'F', b'C', 1];
const BODY_BYTES: usize = 13;
/// Bit of the flags.
const REQUEST: u8 = 1;

mod field {
    use super::{Field, ETHERNET_HEADER_BYTES};

    /// Within a frame.
    pub const ETHERNET: Field<0, { ETHERNET_HEADER_BYTES }> = Field;
    pub const BODY: Field<14, 13> = Field;

    /// Within the body.
    pub const PROTOCOL: Field<0, 3> = Field;
    pub const FLAGS: Field<3, 1> = Field;
    pub const PRIORITY: Field<4, 1> = Field;
    pub const SENT: Field<5, 4> = Field;
    pub const LIMIT: Field<9, 4> = Field;
}

/// Hold what one end of a link tells the other of one priority. Both counts wrap around.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Credit {
    pub priority: Priority,
    /// The receiver is asked to answer with its limit.
    pub request: bool,
    /// Blocks that the sender of this frame has sent so far (FCTBS).
    pub sent: u32,
    /// Blocks that its receiver may have sent in all (FCCL).
    pub limit: u32,
}

impl Credit {
    /// Build the whole frame, padded to the minimum length, without FCS.
    pub fn build(&self, src: Mac) -> [u8; MIN_FRAME_BYTES] {
        let ethernet = Ethernet { dst: PFC_DST, src, ethertype: ETHERTYPE_EXPERIMENTAL };
        let mut body = [0; BODY_BYTES];
        field::PROTOCOL.set(&mut body, PROTOCOL);
        field::FLAGS.set(&mut body, [if self.request { REQUEST } else { 0 }]);
        field::PRIORITY.set(&mut body, [self.priority.number()]);
        field::SENT.set(&mut body, self.sent.to_be_bytes());
        field::LIMIT.set(&mut body, self.limit.to_be_bytes());
        let mut frame = [0; MIN_FRAME_BYTES];
        field::ETHERNET.set(&mut frame, ethernet.to_bytes());
        field::BODY.set(&mut frame, body);
        frame
    }
}

/// Read a whole frame; `None` if it is no credit frame. Frames without padding are accepted, and unknown flags ignored.
///
/// # Errors
/// `Truncated` if the Ethernet header or the counts are cut short, `TooLarge` for a priority above 7.
#[inline]
pub fn parse(frame: &[u8]) -> Result<Option<Credit>, WireError> {
    let (ethernet, rest) = Ethernet::parse(frame)?;
    if ethernet.ethertype != ETHERTYPE_EXPERIMENTAL || ethernet.dst != PFC_DST || !rest.starts_with(&PROTOCOL) {
        return Ok(None);
    }
    let (body, _) = split::<BODY_BYTES>(rest, "credit frame")?;
    let priority = field::PRIORITY.u8(body);
    at_most("priority", u32::from(priority), 7)?;
    Ok(Some(Credit {
        priority: Priority::from_bits(priority),
        request: field::FLAGS.u8(body) & REQUEST != 0,
        sent: field::SENT.u32(body),
        limit: field::LIMIT.u32(body),
    }))
}
