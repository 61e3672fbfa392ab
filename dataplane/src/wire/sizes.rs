//! Sizes that standards fix, each of them once: headers and trailers, frames, and what surrounds a frame on the line.
//!
//! `testbed/sizes.py` has the same ones under the same names; `tests/unit/test_sizes.py` compares the two.

/// Ethernet II header (IEEE 802.3 clause 3), untagged.
pub const ETHERNET_HEADER_BYTES: usize = 14;
pub const VLAN_TAG_BYTES: usize = 4;
pub const FCS_BYTES: usize = 4;
/// The shortest frame, with its FCS; shorter ones are padded with zeros. MAC control frames are no longer.
pub const SHORTEST_FRAME_BYTES: usize = 64;
/// Preamble with start delimiter, before a frame on the line, and the shortest gap behind it.
pub const PREAMBLE_BYTES: usize = 8;
pub const GAP_BYTES: usize = 12;
/// What a frame, FCS included, has around it on the line.
pub const LINE_OVERHEAD_BYTES: usize = PREAMBLE_BYTES + GAP_BYTES;

/// IPv4 without options (RFC 791), and UDP (RFC 768).
pub const IPV4_HEADER_BYTES: usize = 20;
pub const UDP_HEADER_BYTES: usize = 8;

/// Transport headers (IBTA volume 1, chapter 9), that of parity being this testbed's own.
pub const BTH_BYTES: usize = 12;
pub const RETH_BYTES: usize = 16;
pub const AETH_BYTES: usize = 4;
pub const PETH_BYTES: usize = 4;
/// Zeros that follow the BTH of a CNP.
pub const CNP_RESERVED_BYTES: usize = 16;
/// The invariant CRC at the end of a RoCEv2 packet (IBTA annex A17).
pub const ICRC_BYTES: usize = 4;
/// What a RoCEv2 frame has around its extension headers and padded payload, without FCS.
pub const ROCE_OVERHEAD_BYTES: usize =
    ETHERNET_HEADER_BYTES + IPV4_HEADER_BYTES + UDP_HEADER_BYTES + BTH_BYTES + ICRC_BYTES;

/// No standard limits jumbo frames; this is the MTU up to which switches commonly go.
pub const LONGEST_MTU_BYTES: usize = 9_216;
/// The longest frame that ports take, a VLAN tag included, without FCS.
pub const LONGEST_FRAME_BYTES: usize = LONGEST_MTU_BYTES + ETHERNET_HEADER_BYTES + VLAN_TAG_BYTES;
/// No frame takes more of the line: 9,258 bytes, in round figures.
pub const LONGEST_ON_LINE_BYTES: usize = 9_300;

/// The longest time that a PAUSE frame can ask for (IEEE 802.3 annex 31B), in quanta of 512 bits.
pub const LONGEST_PAUSE_QUANTA: usize = 65_535;

/// The least payload of a full packet whose sizes are not those of RoCEv2.
pub const LEAST_OWN_PAYLOAD_BYTES: usize = 64;

const _: () = assert!(LONGEST_FRAME_BYTES + FCS_BYTES + LINE_OVERHEAD_BYTES <= LONGEST_ON_LINE_BYTES);
