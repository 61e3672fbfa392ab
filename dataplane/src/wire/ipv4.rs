//! IPv4 headers (RFC 791) with DSCP (RFC 2474) and ECN (RFC 3168); no options, no fragments.

use super::sizes::IPV4_HEADER_BYTES as HEADER_BYTES;
use super::{at_most, ethernet, prefix, split, Field, WireError};

pub const PROTOCOL_UDP: u8 = 17;

const VERSION_AND_IHL: u8 = 0x45;
const MAX_DSCP: u32 = 63;
const MAX_PAYLOAD_BYTES: usize = 0xffff - HEADER_BYTES;
const DONT_FRAGMENT: u16 = 0x4000;
const MORE_FRAGMENTS_AND_OFFSET: u16 = 0x3fff;

mod field {
    use super::Field;
    pub const VERSION_AND_IHL: Field<0, 1> = Field;
    pub const TOS: Field<1, 1> = Field;
    pub const TOTAL_BYTES: Field<2, 2> = Field;
    pub const IDENTIFICATION: Field<4, 2> = Field;
    pub const FLAGS_AND_OFFSET: Field<6, 2> = Field;
    pub const TTL: Field<8, 1> = Field;
    pub const PROTOCOL: Field<9, 1> = Field;
    pub const CHECKSUM: Field<10, 2> = Field;
    pub const SRC: Field<12, 4> = Field;
    pub const DST: Field<16, 4> = Field;
}

/// Name the four ECN codepoints (RFC 3168 section 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Ecn {
    NotEct = 0,
    Ect1 = 1,
    Ect0 = 2,
    Ce = 3,
}

impl Ecn {
    #[inline]
    fn from_tos(tos: u8) -> Self {
        match tos & 3 {
            0 => Self::NotEct,
            1 => Self::Ect1,
            2 => Self::Ect0,
            _ => Self::Ce,
        }
    }
}

/// Hold an IPv4 header; total length and checksum are derived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ipv4 {
    /// 0 to 63.
    pub dscp: u8,
    pub ecn: Ecn,
    pub identification: u16,
    pub dont_fragment: bool,
    pub ttl: u8,
    pub protocol: u8,
    pub src: [u8; 4],
    pub dst: [u8; 4],
}

impl Ipv4 {
    /// Read the header and verify its checksum; return it and the payload that its total length bounds, without
    /// Ethernet padding.
    ///
    /// # Errors
    /// `Truncated`, `BadVersion`, `BadLength`, `Options`, `Fragment`, `BadChecksum`.
    #[inline]
    pub fn parse(bytes: &[u8]) -> Result<(Self, &[u8]), WireError> {
        let (header, rest) = split::<HEADER_BYTES>(bytes, "IPv4 header")?;
        check_version_and_ihl(field::VERSION_AND_IHL.u8(header))?;
        let total_bytes = usize::from(field::TOTAL_BYTES.u16(header));
        let payload_bytes = total_bytes
            .checked_sub(HEADER_BYTES)
            .ok_or(WireError::BadLength { what: "IPv4 packet", found: total_bytes })?;
        let payload = prefix(rest, payload_bytes, "IPv4 payload")?;
        let flags_and_offset = field::FLAGS_AND_OFFSET.u16(header);
        if flags_and_offset & MORE_FRAGMENTS_AND_OFFSET != 0 {
            return Err(WireError::Fragment);
        }
        if sum(header) != 0xffff {
            let found = field::CHECKSUM.u16(header);
            return Err(WireError::BadChecksum { found });
        }
        let tos = field::TOS.u8(header);
        let ipv4 = Self {
            dscp: tos >> 2,
            ecn: Ecn::from_tos(tos),
            identification: field::IDENTIFICATION.u16(header),
            dont_fragment: flags_and_offset & DONT_FRAGMENT != 0,
            ttl: field::TTL.u8(header),
            protocol: field::PROTOCOL.u8(header),
            src: field::SRC.get(header),
            dst: field::DST.get(header),
        };
        Ok((ipv4, payload))
    }

    /// Append the header of a packet with `payload_bytes` of payload.
    ///
    /// # Errors
    /// `TooLarge` if the DSCP needs more than 6 bits, `BadLength` if the packet would exceed 65535 bytes.
    #[inline]
    pub fn emit(&self, payload_bytes: usize, out: &mut Vec<u8>) -> Result<(), WireError> {
        out.extend_from_slice(&self.to_bytes(payload_bytes)?);
        Ok(())
    }

    pub(super) fn to_bytes(self, payload_bytes: usize) -> Result<[u8; HEADER_BYTES], WireError> {
        at_most("DSCP", u32::from(self.dscp), MAX_DSCP)?;
        if payload_bytes > MAX_PAYLOAD_BYTES {
            return Err(WireError::BadLength { what: "IPv4 payload", found: payload_bytes });
        }
        let total_bytes = (HEADER_BYTES + payload_bytes) as u16;
        let flags = if self.dont_fragment { DONT_FRAGMENT } else { 0 };
        let mut header = [0; HEADER_BYTES];
        field::VERSION_AND_IHL.set(&mut header, [VERSION_AND_IHL]);
        field::TOS.set(&mut header, [self.dscp << 2 | self.ecn as u8]);
        field::TOTAL_BYTES.set(&mut header, total_bytes.to_be_bytes());
        field::IDENTIFICATION.set(&mut header, self.identification.to_be_bytes());
        field::FLAGS_AND_OFFSET.set(&mut header, flags.to_be_bytes());
        field::TTL.set(&mut header, [self.ttl]);
        field::PROTOCOL.set(&mut header, [self.protocol]);
        field::SRC.set(&mut header, self.src);
        field::DST.set(&mut header, self.dst);
        let checksum = !sum(&header);
        field::CHECKSUM.set(&mut header, checksum.to_be_bytes());
        Ok(header)
    }
}

/// Set ECN to CE in an Ethernet frame that carries IPv4, in place, and return the codepoint it had.
///
/// A Not-ECT packet is left as it is (RFC 3168 section 5: its sender would not understand the mark). The checksum is
/// updated incrementally (RFC 1624 equation 3), so a packet damaged before stays detectably damaged.
///
/// # Errors
/// `Truncated`, `NotIpv4`, `BadVersion`, `BadLength`, `Options`; the frame is then unchanged.
pub fn set_ecn_ce(frame: &mut [u8]) -> Result<Ecn, WireError> {
    let have = frame.len();
    let (ethertype, at) = ethernet::beyond_tags(frame)?;
    if ethertype != ethernet::ETHERTYPE_IPV4 {
        return Err(WireError::NotIpv4 { ethertype });
    }
    let header: &mut [u8; HEADER_BYTES] = frame
        .get_mut(at..)
        .and_then(|packet| packet.first_chunk_mut())
        .ok_or(WireError::Truncated { what: "IPv4 header", need: at + HEADER_BYTES, have })?;
    let version_and_ihl = field::VERSION_AND_IHL.u8(header);
    check_version_and_ihl(version_and_ihl)?;
    let tos = field::TOS.u8(header);
    let before = Ecn::from_tos(tos);
    if matches!(before, Ecn::Ect0 | Ecn::Ect1) {
        let marked = tos | Ecn::Ce as u8;
        let old_word = u16::from_be_bytes([version_and_ihl, tos]);
        let new_word = u16::from_be_bytes([version_and_ihl, marked]);
        let sum = u32::from(!field::CHECKSUM.u16(header)) + u32::from(!old_word) + u32::from(new_word);
        field::TOS.set(header, [marked]);
        field::CHECKSUM.set(header, (!fold(sum)).to_be_bytes());
    }
    Ok(before)
}

#[inline]
fn check_version_and_ihl(found: u8) -> Result<(), WireError> {
    if found == VERSION_AND_IHL {
        return Ok(());
    }
    if found >> 4 != 4 {
        return Err(WireError::BadVersion { what: "IPv4 header", found: found >> 4 });
    }
    let header_bytes = usize::from(found & 0xf) * 4;
    if header_bytes < HEADER_BYTES {
        return Err(WireError::BadLength { what: "IPv4 header", found: header_bytes });
    }
    Err(WireError::Options { header_bytes })
}

/// Add up the words of a header, checksum included: all ones if the checksum is right (RFC 1071).
#[inline]
fn sum(header: &[u8; HEADER_BYTES]) -> u16 {
    let (words, _) = header.as_chunks::<2>();
    fold(words.iter().map(|&word| u32::from(u16::from_be_bytes(word))).sum())
}

/// Fold a sum of up to 2^16 words into 16 bits with end-around carry.
#[inline]
fn fold(sum: u32) -> u16 {
    let once = (sum & 0xffff) + (sum >> 16);
    ((once & 0xffff) + (once >> 16)) as u16
}
