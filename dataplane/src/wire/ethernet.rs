//! Ethernet II framing (IEEE 802.3 clause 3), untagged.

use super::sizes::{ETHERNET_HEADER_BYTES as HEADER_BYTES, FCS_BYTES, SHORTEST_FRAME_BYTES, VLAN_TAG_BYTES};
use super::{split, Field, WireError};

pub type Mac = [u8; 6];

pub const ETHERTYPE_IPV4: u16 = 0x0800;
/// IEEE 802.1Q, customer and service tags.
pub const ETHERTYPE_VLAN: u16 = 0x8100;
pub const ETHERTYPE_SERVICE_VLAN: u16 = 0x88a8;
pub const ETHERTYPE_MAC_CONTROL: u16 = 0x8808;
/// Local Experimental EtherType 1 (IEEE 802, clause 9.2.4).
pub const ETHERTYPE_EXPERIMENTAL: u16 = 0x88b5;

/// The shortest frame, without FCS; shorter payloads are padded with zeros.
pub const MIN_FRAME_BYTES: usize = SHORTEST_FRAME_BYTES - FCS_BYTES;

mod field {
    use super::Field;
    pub const DST: Field<0, 6> = Field;
    pub const SRC: Field<6, 6> = Field;
    pub const ETHERTYPE: Field<12, 2> = Field;
}

/// Hold an Ethernet II header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ethernet {
    pub dst: Mac,
    pub src: Mac,
    pub ethertype: u16,
}

impl Ethernet {
    /// Read the header of a frame without FCS; return it and all that follows, padding included.
    ///
    /// # Errors
    /// `Truncated` below 14 bytes.
    #[inline]
    pub fn parse(frame: &[u8]) -> Result<(Self, &[u8]), WireError> {
        let (header, payload) = split::<HEADER_BYTES>(frame, "Ethernet header")?;
        let ethernet =
            Self { dst: field::DST.get(header), src: field::SRC.get(header), ethertype: field::ETHERTYPE.u16(header) };
        Ok((ethernet, payload))
    }

    /// Append the header.
    #[inline]
    pub fn emit(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_bytes());
    }

    pub(super) fn to_bytes(self) -> [u8; HEADER_BYTES] {
        let mut header = [0; HEADER_BYTES];
        field::DST.set(&mut header, self.dst);
        field::SRC.set(&mut header, self.src);
        field::ETHERTYPE.set(&mut header, self.ethertype.to_be_bytes());
        header
    }
}

/// Return the EtherType behind the VLAN tags of a frame, two at most, and where its packet begins.
///
/// # Errors
/// `Truncated` below 14 bytes.
pub fn beyond_tags(frame: &[u8]) -> Result<(u16, usize), WireError> {
    let (ethernet, mut rest) = Ethernet::parse(frame)?;
    let (mut ethertype, mut at) = (ethernet.ethertype, HEADER_BYTES);
    for _ in 0..2 {
        if !matches!(ethertype, ETHERTYPE_VLAN | ETHERTYPE_SERVICE_VLAN) {
            break;
        }
        let Some((tag, behind)) = rest.split_first_chunk::<VLAN_TAG_BYTES>() else { break };
        let [_, _, high, low] = *tag;
        (ethertype, at, rest) = (u16::from_be_bytes([high, low]), at + VLAN_TAG_BYTES, behind);
    }
    Ok((ethertype, at))
}

/// Compute the frame check sequence of a frame, its bytes in the order of travel (IEEE 802.3 clause 3.2.9).
pub fn fcs(frame: &[u8]) -> [u8; FCS_BYTES] {
    crc32fast::hash(frame).to_le_bytes()
}
