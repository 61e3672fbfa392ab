//! Byte-exact views and builders, one protocol a file.
//!
//! A header is a plain value: `parse` reads it from the front of a slice and returns it with what follows, `emit`
//! appends it to a buffer. Lengths, checksums and pad counts are derived when building and verified when parsing;
//! values do not store them, so they cannot disagree.
//!
//! No input makes this module panic: the lints below forbid every operation that could, and a field outside its header
//! does not compile.

#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::unreachable)]

pub mod credit;
pub mod ethernet;
pub mod heartbeat;
pub mod icrc;
pub mod ipv4;
pub mod pfc;
pub mod roce;
pub mod sizes;
pub mod stamp;
pub mod udp;

/// Say why bytes are not the frame they were taken for, or why a value cannot be put on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    #[error("{what} is cut short: {need} bytes needed, {have} present")]
    Truncated { what: &'static str, need: usize, have: usize },
    #[error("{what} cannot be {found} bytes long")]
    BadLength { what: &'static str, found: usize },
    #[error("{what} has version {found}")]
    BadVersion { what: &'static str, found: u8 },
    #[error("IPv4 options: a header of {header_bytes} bytes")]
    Options { header_bytes: usize },
    #[error("IPv4 fragment")]
    Fragment,
    #[error("IPv4 header checksum {found:04x} is wrong")]
    BadChecksum { found: u16 },
    #[error("not IPv4: EtherType {ethertype:04x}")]
    NotIpv4 { ethertype: u16 },
    #[error("not UDP: protocol {protocol}")]
    NotUdp { protocol: u8 },
    #[error("not RoCEv2: UDP destination port {port}")]
    NotRoce { port: u16 },
    #[error("ICRC {found:02x?}, computed {computed:02x?}")]
    BadIcrc { found: [u8; 4], computed: [u8; 4] },
    #[error("unknown BTH opcode {opcode:#04x}")]
    UnknownOpcode { opcode: u8 },
    #[error("unknown AETH syndrome {syndrome:#04x}")]
    UnknownSyndrome { syndrome: u8 },
    #[error("extension headers do not fit BTH opcode {opcode:#04x}")]
    WrongExtension { opcode: u8 },
    #[error("{what} {found} is above {max}")]
    TooLarge { what: &'static str, found: u32, max: u32 },
}

/// Name `N` bytes at offset `AT` of a fixed-size header.
///
/// All integers are in network byte order. Access outside the header is refused by the compiler, which is why reads and
/// writes return no error.
#[derive(Clone, Copy)]
struct Field<const AT: usize, const N: usize>;

impl<const AT: usize, const N: usize> Field<AT, N> {
    #[inline]
    #[allow(clippy::indexing_slicing, reason = "the bound is asserted at compile time")]
    fn get<const L: usize>(self, header: &[u8; L]) -> [u8; N] {
        const { assert!(AT + N <= L) };
        let mut value = [0; N];
        value.copy_from_slice(&header[AT..AT + N]);
        value
    }

    #[inline]
    #[allow(clippy::indexing_slicing, reason = "the bound is asserted at compile time")]
    fn set<const L: usize>(self, header: &mut [u8; L], value: [u8; N]) {
        const { assert!(AT + N <= L) };
        header[AT..AT + N].copy_from_slice(&value);
    }
}

impl<const AT: usize> Field<AT, 1> {
    #[inline]
    fn u8<const L: usize>(self, header: &[u8; L]) -> u8 {
        u8::from_be_bytes(self.get(header))
    }
}

impl<const AT: usize> Field<AT, 2> {
    #[inline]
    fn u16<const L: usize>(self, header: &[u8; L]) -> u16 {
        u16::from_be_bytes(self.get(header))
    }
}

impl<const AT: usize> Field<AT, 3> {
    #[inline]
    fn u24<const L: usize>(self, header: &[u8; L]) -> u32 {
        let [high, middle, low] = self.get(header);
        u32::from_be_bytes([0, high, middle, low])
    }

    /// Write `value`, or refuse it if it needs more than 24 bits.
    #[inline]
    fn set_u24<const L: usize>(self, header: &mut [u8; L], what: &'static str, value: u32) -> Result<(), WireError> {
        at_most(what, value, 0x00ff_ffff)?;
        let [_, high, middle, low] = value.to_be_bytes();
        self.set(header, [high, middle, low]);
        Ok(())
    }
}

impl<const AT: usize> Field<AT, 4> {
    #[inline]
    fn u32<const L: usize>(self, header: &[u8; L]) -> u32 {
        u32::from_be_bytes(self.get(header))
    }
}

impl<const AT: usize> Field<AT, 8> {
    #[inline]
    fn u64<const L: usize>(self, header: &[u8; L]) -> u64 {
        u64::from_be_bytes(self.get(header))
    }
}

/// Split a header of `N` bytes from the front of `bytes`.
#[inline]
fn split<'a, const N: usize>(bytes: &'a [u8], what: &'static str) -> Result<(&'a [u8; N], &'a [u8]), WireError> {
    bytes.split_first_chunk().ok_or(WireError::Truncated { what, need: N, have: bytes.len() })
}

/// Take the first `need` bytes of `bytes`.
#[inline]
fn prefix<'a>(bytes: &'a [u8], need: usize, what: &'static str) -> Result<&'a [u8], WireError> {
    bytes.get(..need).ok_or(WireError::Truncated { what, need, have: bytes.len() })
}

#[inline]
fn at_most(what: &'static str, found: u32, max: u32) -> Result<(), WireError> {
    if found > max {
        return Err(WireError::TooLarge { what, found, max });
    }
    Ok(())
}
