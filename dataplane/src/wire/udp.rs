//! UDP headers (RFC 768).

use super::sizes::UDP_HEADER_BYTES as HEADER_BYTES;
use super::{prefix, split, Field, WireError};

/// The destination port of RoCEv2.
pub const ROCE_PORT: u16 = 4791;

const MAX_PAYLOAD_BYTES: usize = 0xffff - HEADER_BYTES;

mod field {
    use super::Field;
    pub const SRC_PORT: Field<0, 2> = Field;
    pub const DST_PORT: Field<2, 2> = Field;
    pub const LENGTH: Field<4, 2> = Field;
}

/// Hold the ports of a UDP header; the length is derived.
///
/// The checksum is written as zero (none) and not read: RoCEv2 packets are protected by the ICRC, and no other UDP is
/// terminated here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Udp {
    pub src_port: u16,
    pub dst_port: u16,
}

impl Udp {
    /// Read the header; return it and the payload that its length bounds.
    ///
    /// # Errors
    /// `Truncated`, or `BadLength` if the length field is below 8.
    #[inline]
    pub fn parse(bytes: &[u8]) -> Result<(Self, &[u8]), WireError> {
        let (header, rest) = split::<HEADER_BYTES>(bytes, "UDP header")?;
        let found = usize::from(field::LENGTH.u16(header));
        let payload_bytes =
            found.checked_sub(HEADER_BYTES).ok_or(WireError::BadLength { what: "UDP datagram", found })?;
        let payload = prefix(rest, payload_bytes, "UDP payload")?;
        let udp = Self { src_port: field::SRC_PORT.u16(header), dst_port: field::DST_PORT.u16(header) };
        Ok((udp, payload))
    }

    /// Append the header of a datagram with `payload_bytes` of payload.
    ///
    /// # Errors
    /// `BadLength` if the datagram would exceed 65535 bytes.
    #[inline]
    pub fn emit(&self, payload_bytes: usize, out: &mut Vec<u8>) -> Result<(), WireError> {
        out.extend_from_slice(&self.to_bytes(payload_bytes)?);
        Ok(())
    }

    pub(super) fn to_bytes(self, payload_bytes: usize) -> Result<[u8; HEADER_BYTES], WireError> {
        if payload_bytes > MAX_PAYLOAD_BYTES {
            return Err(WireError::BadLength { what: "UDP payload", found: payload_bytes });
        }
        let mut header = [0; HEADER_BYTES];
        field::SRC_PORT.set(&mut header, self.src_port.to_be_bytes());
        field::DST_PORT.set(&mut header, self.dst_port.to_be_bytes());
        field::LENGTH.set(&mut header, ((HEADER_BYTES + payload_bytes) as u16).to_be_bytes());
        Ok(header)
    }
}
