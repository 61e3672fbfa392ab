//! Messages cut into packets: the opcode says which verb a packet belongs to and where it stands in its message.

use crate::frame::Packet;
use crate::wire::roce::Opcode;
use crate::wire::sizes::{AETH_BYTES, FCS_BYTES, LINE_OVERHEAD_BYTES, PETH_BYTES, RETH_BYTES, ROCE_OVERHEAD_BYTES};

#[derive(Copy, Clone, PartialEq, Eq, Debug, serde::Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    Send,
    Write,
}

/// Where a packet stands in its message.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Place {
    First,
    Middle,
    Last,
    Only,
}

impl Place {
    pub fn of(is_first: bool, is_last: bool) -> Place {
        match (is_first, is_last) {
            (true, true) => Place::Only,
            (true, false) => Place::First,
            (false, true) => Place::Last,
            (false, false) => Place::Middle,
        }
    }

    pub fn starts(self) -> bool {
        matches!(self, Place::First | Place::Only)
    }

    pub fn ends(self) -> bool {
        matches!(self, Place::Last | Place::Only)
    }
}

pub fn encode(verb: Verb, place: Place) -> Opcode {
    match (verb, place) {
        (Verb::Send, Place::First) => Opcode::SendFirst,
        (Verb::Send, Place::Middle) => Opcode::SendMiddle,
        (Verb::Send, Place::Last) => Opcode::SendLast,
        (Verb::Send, Place::Only) => Opcode::SendOnly,
        (Verb::Write, Place::First) => Opcode::WriteFirst,
        (Verb::Write, Place::Middle) => Opcode::WriteMiddle,
        (Verb::Write, Place::Last) => Opcode::WriteLast,
        (Verb::Write, Place::Only) => Opcode::WriteOnly,
    }
}

/// The verb and place of a data opcode; `None` for all others, parity among them.
pub fn decode(opcode: Opcode) -> Option<(Verb, Place)> {
    Some(match opcode {
        Opcode::SendFirst => (Verb::Send, Place::First),
        Opcode::SendMiddle => (Verb::Send, Place::Middle),
        Opcode::SendLast => (Verb::Send, Place::Last),
        Opcode::SendOnly => (Verb::Send, Place::Only),
        Opcode::WriteFirst => (Verb::Write, Place::First),
        Opcode::WriteMiddle => (Verb::Write, Place::Middle),
        Opcode::WriteLast => (Verb::Write, Place::Last),
        Opcode::WriteOnly => (Verb::Write, Place::Only),
        Opcode::ReadRequest | Opcode::Ack | Opcode::Cnp | Opcode::Parity => return None,
    })
}

/// What frames take besides the payload of data, where they are not as long as RoCEv2 frames are: on the line, with preamble and
/// gap, which stand in no buffer. Only the virtual clock knows such frames.
#[derive(Copy, Clone, PartialEq, Eq, Debug, serde::Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct FrameSizes {
    /// Around the payload of data and parity, which is not padded.
    pub header_bytes: u16,
    /// A whole acknowledgement, NAK or notification of congestion.
    pub ack_bytes: u16,
}

/// What any frame has around it on the line and behind it, and so the least that `FrameSizes` may say.
pub const LEAST_FRAME_BYTES: u16 = (FCS_BYTES + LINE_OVERHEAD_BYTES) as u16;
pub const MOST_HEADER_BYTES: u16 = 1_024;

/// Bytes of the frame of a packet besides its payload, without FCS; telemetry takes so many of data and acknowledgements.
#[inline]
pub fn around_bytes(packet: &Packet, sizes: Option<FrameSizes>, telemetry_bytes: u16) -> u16 {
    let telemetry = if packet.opcode == Opcode::Cnp { 0 } else { telemetry_bytes };
    telemetry
        + match sizes {
            None => overhead_bytes(packet.opcode) + u16::from(packet.pad),
            Some(sizes) if packet.opcode.extension().payload => sizes.header_bytes - LEAST_FRAME_BYTES,
            Some(sizes) => sizes.ack_bytes - LEAST_FRAME_BYTES,
        }
}

/// Bytes of a frame with this opcode besides its padded payload, without FCS.
pub fn overhead_bytes(opcode: Opcode) -> u16 {
    let extension = opcode.extension();
    let reth = if extension.reth { RETH_BYTES } else { 0 };
    let aeth = if extension.aeth { AETH_BYTES } else { 0 };
    let peth = if extension.peth { PETH_BYTES } else { 0 };
    (ROCE_OVERHEAD_BYTES + reth + aeth + peth + extension.reserved_bytes) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decode_inverts_encode() {
        for verb in [Verb::Send, Verb::Write] {
            for place in [Place::First, Place::Middle, Place::Last, Place::Only] {
                assert_eq!(decode(encode(verb, place)), Some((verb, place)));
            }
        }
        assert_eq!(decode(Opcode::Ack), None);
    }
}
