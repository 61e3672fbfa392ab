//! The invariant CRC of RoCEv2 over IPv4 (InfiniBand Architecture Specification, annex A17).
//!
//! It is the CRC-32 of Ethernet over 64 one bits, which stand for InfiniBand's local route header, and then over the
//! packet with every field that may change on the way replaced by ones: TOS, TTL and header checksum, UDP checksum, and
//! the BTH byte that holds FECN and BECN.

use super::sizes::{BTH_BYTES, ICRC_BYTES, IPV4_HEADER_BYTES, UDP_HEADER_BYTES};
use super::{split, Field, WireError};

const ROUTE_HEADER_BYTES: usize = 8;
const HEADERS_BYTES: usize = IPV4_HEADER_BYTES + UDP_HEADER_BYTES + BTH_BYTES;
const MASKED_BYTES: usize = ROUTE_HEADER_BYTES + HEADERS_BYTES;

mod field {
    use super::{Field, HEADERS_BYTES, IPV4_HEADER_BYTES, ROUTE_HEADER_BYTES, UDP_HEADER_BYTES};

    const IP: usize = ROUTE_HEADER_BYTES;
    const UDP: usize = IP + IPV4_HEADER_BYTES;
    const BTH: usize = UDP + UDP_HEADER_BYTES;

    pub const HEADERS: Field<{ IP }, { HEADERS_BYTES }> = Field;
    pub const TOS: Field<{ IP + 1 }, 1> = Field;
    pub const TTL: Field<{ IP + 8 }, 1> = Field;
    pub const IP_CHECKSUM: Field<{ IP + 10 }, 2> = Field;
    pub const UDP_CHECKSUM: Field<{ UDP + 6 }, 2> = Field;
    pub const CONGESTION: Field<{ BTH + 4 }, 1> = Field;
}

/// Compute the ICRC of `packet`, from the IPv4 header to the last pad byte; its bytes are in the order of travel.
///
/// # Errors
/// `Truncated` if the IPv4, UDP and BTH headers (40 bytes) are not all there.
#[inline]
pub fn icrc(packet: &[u8]) -> Result<[u8; ICRC_BYTES], WireError> {
    let (headers, rest) = split::<HEADERS_BYTES>(packet, "RoCEv2 headers")?;
    let mut masked = [0xff; MASKED_BYTES];
    field::HEADERS.set(&mut masked, *headers);
    field::TOS.set(&mut masked, [0xff]);
    field::TTL.set(&mut masked, [0xff]);
    field::IP_CHECKSUM.set(&mut masked, [0xff; 2]);
    field::UDP_CHECKSUM.set(&mut masked, [0xff; 2]);
    field::CONGESTION.set(&mut masked, [0xff]);
    let mut crc = crc32fast::Hasher::new();
    crc.update(&masked);
    crc.update(rest);
    Ok(crc.finalize().to_le_bytes())
}

/// Verify the ICRC that ends `packet`, which starts at its IPv4 header and is not followed by padding.
///
/// # Errors
/// `BadIcrc`, or `Truncated` below 44 bytes.
#[inline]
pub fn verify(packet: &[u8]) -> Result<(), WireError> {
    let (covered, found) = packet.split_last_chunk::<ICRC_BYTES>().ok_or(WireError::Truncated {
        what: "ICRC",
        need: ICRC_BYTES,
        have: packet.len(),
    })?;
    let computed = icrc(covered)?;
    if *found != computed {
        return Err(WireError::BadIcrc { found: *found, computed });
    }
    Ok(())
}
