//! A frame as it moves between state machines: header fields and a length, with bytes only where a wire or a payload needs them.

use crate::priority::Priority;
use crate::units::Time;
use crate::wire::credit::Credit;
use crate::wire::pfc::Pfc;
use crate::wire::roce::{Opcode, Peth, Syndrome};
use crate::wire::sizes::{FCS_BYTES, ICRC_BYTES, LINE_OVERHEAD_BYTES, SHORTEST_FRAME_BYTES};

/// Index into the plan's stations: what stands for a MAC address inside the fabric.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Hash)]
pub struct Station(pub u32);

impl Station {
    /// An address that the plan does not know (broadcast, multicast, strangers).
    pub const UNKNOWN: Station = Station(u32::MAX);
}

/// What a RoCEv2 packet says, header by header: BTH, then RETH or AETH where the opcode carries one. No packet has both an AETH
/// and a PETH, so the word of the one that it has is in `msn`.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Packet {
    pub va: u64,
    pub dst_qp: u32,
    pub psn: u32,
    pub dma_bytes: u32,
    pub msn: u32,
    pub syndrome: Syndrome,
    pub opcode: Opcode,
    /// Bytes that fill the payload up to a multiple of four, 0 to 3.
    pub pad: u8,
    pub ack_request: bool,
    /// Of an acknowledgement: its packet came marked for congestion (BECN).
    pub marked: bool,
}

impl Packet {
    /// The parity extended transport header, of a parity packet.
    pub fn peth(&self) -> Peth {
        Peth::from_bytes(&self.msn.to_be_bytes())
    }

    /// A parity extended transport header as `msn` holds it.
    pub fn peth_word(peth: Peth) -> u32 {
        u32::from_be_bytes(peth.to_bytes())
    }
}

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Body {
    Roce(Packet),
    /// A MAC control frame: one that is not PFC enables no priority, and keeps its bytes.
    Pause(Pfc),
    Credit(Credit),
    /// Anything else: forwarded, never interpreted.
    Opaque,
}

/// What a switch says of the port by which a packet left it.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Hop {
    pub at: Time,
    /// Bytes of line time sent before the packet, and those of its queue behind it.
    pub sent_bytes: u64,
    pub queued_bytes: u64,
    pub rate_bps: u64,
}

/// What a frame has on the heap: its bytes, which it is to whoever asks for no more, and telemetry.
#[derive(Clone, Default, Debug, PartialEq, Eq)]
pub struct Attached {
    pub bytes: Vec<u8>,
    /// What switches on its path said, where they are to say something.
    pub hops: Option<Vec<Hop>>,
}

impl From<Vec<u8>> for Attached {
    fn from(bytes: Vec<u8>) -> Attached {
        Attached { bytes, hops: None }
    }
}

impl std::ops::Deref for Attached {
    type Target = Vec<u8>;
    fn deref(&self) -> &Vec<u8> {
        &self.bytes
    }
}

impl std::ops::DerefMut for Attached {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }
}

/// Bytes of a frame on the heap; a thin pointer keeps the frame within a cache line.
pub type Buffer = Box<Attached>;

/// Frames that are kept, each where it was made.
#[allow(clippy::vec_box)]
pub type Frames = Vec<Box<Frame>>;

/// A frame: one cache line, made by whoever sends it and travelling in a `Box` until somebody takes it in or loses it. Queues and
/// links hold its address alone, so that it is written once and never copied. It begins where a line does: cores that had two frames
/// in one line would take it from one another all the time.
#[derive(Clone, Debug)]
#[repr(align(64))]
pub struct Frame {
    /// The payload (`payload_at` 0) or, for a frame read from an interface, the whole frame with the payload at `payload_at`.
    pub bytes: Option<Buffer>,
    pub dst: Station,
    pub src: Station,
    /// Bytes from the destination MAC to the end of the payload, without FCS.
    pub len: u16,
    /// What tells flows between the same two stations apart for ECMP: the UDP source port of RoCEv2.
    pub entropy: u16,
    /// The port by which the frame entered the node that holds it.
    pub ingress: u16,
    pub payload_at: u16,
    /// What it travels on; in a switch the egress queue that it stands in.
    pub priority: Priority,
    /// In a switch, the priority group of its ingress port that it is counted in.
    pub group: Priority,
    pub dscp: u8,
    pub ecn: u8,
    /// A host's kernel sent it that heeds no pause: no switch lets it into a lossless priority.
    pub of_kernel: bool,
    /// Some switch sent it another way than planned, since links failed.
    pub detoured: bool,
    /// It may be shorter than Ethernet frames are: its transport has frames of sizes of its own.
    pub unpadded: bool,
    pub body: Body,
}

impl Frame {
    /// `ingress` of a frame that a tester put on a host's link: it need not obey PFC.
    pub const OUTSIDE: u16 = u16::MAX;

    /// A frame between the two ends of a link, of the shortest length.
    pub fn control(body: Body) -> Frame {
        Frame {
            bytes: None,
            dst: Station::UNKNOWN,
            src: Station::UNKNOWN,
            len: (SHORTEST_FRAME_BYTES - FCS_BYTES) as u16,
            entropy: 0,
            ingress: 0,
            payload_at: 0,
            priority: Priority::P7,
            group: Priority::P7,
            dscp: 0,
            ecn: 0,
            of_kernel: false,
            detoured: false,
            unpadded: false,
            body,
        }
    }

    /// Of a PAUSE frame: the number of its sender's request that it stands for (of a switch, how often the port has asked; of a
    /// host, why it asks). `None` where it came over a real wire, which has no room for it.
    pub fn request(&self) -> Option<u32> {
        (self.src != Station::UNKNOWN).then_some(self.src.0)
    }

    /// Let a PAUSE frame stand for a request of its sender. It has no station that it comes from.
    pub fn set_request(&mut self, number: u32) {
        self.src = Station(number);
    }

    /// Bytes charged to a buffer: the frame with its FCS.
    #[inline]
    pub fn buffer_bytes(&self) -> u32 {
        let bytes = u32::from(self.len) + FCS_BYTES as u32;
        if self.unpadded {
            bytes
        } else {
            bytes.max(SHORTEST_FRAME_BYTES as u32)
        }
    }

    /// Bytes of line time the frame takes: FCS, padding, preamble and gap included.
    #[inline]
    pub fn wire_bytes(&self) -> u64 {
        u64::from(self.buffer_bytes() + LINE_OVERHEAD_BYTES as u32)
    }

    /// The payload where the frame carries real bytes; empty for frames that carry lengths only.
    pub fn payload(&self) -> &[u8] {
        let bytes = self.bytes.as_deref().map_or(&[][..], |bytes| &bytes[..]);
        let end = match &self.body {
            // A frame read in transit still has pad and ICRC.
            Body::Roce(packet) if self.payload_at > 0 => {
                bytes.len().min(usize::from(self.len.saturating_sub(ICRC_BYTES as u16 + u16::from(packet.pad))))
            }
            _ => bytes.len(),
        };
        bytes.get(usize::from(self.payload_at)..end).unwrap_or(&[])
    }

    /// What switches said, of a packet that collects that or an acknowledgement that brings it back.
    pub fn hops(&self) -> &[Hop] {
        self.bytes.as_deref().and_then(|attached| attached.hops.as_deref()).unwrap_or_default()
    }

    /// True for a RoCEv2 packet, of whatever kind.
    #[inline]
    pub fn is_packet(&self) -> bool {
        matches!(self.body, Body::Roce(_))
    }

    /// True for a frame between the two ends of a link, which is in no tally, no buffer and no flow: PAUSE and credit frames.
    #[inline]
    pub fn is_control(&self) -> bool {
        matches!(self.body, Body::Pause(_) | Body::Credit(_))
    }

    /// True for a RoCEv2 packet that carries message data (not an ACK, NAK or CNP).
    pub fn is_data(&self) -> bool {
        matches!(&self.body, Body::Roce(packet) if packet.opcode.extension().payload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_fits_a_cache_line() {
        assert!(std::mem::size_of::<Frame>() <= 64, "{}", std::mem::size_of::<Frame>());
    }
}
