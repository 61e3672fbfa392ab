//! Whole packets and frames.

use super::header::{pad_bytes, Aeth, Bth, Peth, Reth};
use crate::wire::ethernet::{self, Ethernet};
use crate::wire::icrc;
use crate::wire::ipv4::{self, Ipv4};
use crate::wire::sizes::{
    AETH_BYTES, BTH_BYTES, ETHERNET_HEADER_BYTES, ICRC_BYTES, IPV4_HEADER_BYTES, PETH_BYTES, RETH_BYTES,
    UDP_HEADER_BYTES,
};
use crate::wire::udp::{self, Udp};
use crate::wire::{prefix, WireError};

/// Hold what UDP carries, but for pad and ICRC. The extension headers are those of `bth.opcode.extension()`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RocePacket<'a> {
    pub bth: Bth,
    pub reth: Option<Reth>,
    pub aeth: Option<Aeth>,
    pub peth: Option<Peth>,
    pub payload: &'a [u8],
}

impl<'a> RocePacket<'a> {
    /// Read a UDP payload whose ICRC was verified and cut off.
    #[inline]
    fn parse(bytes: &'a [u8]) -> Result<Self, WireError> {
        let (bth, pad, mut rest) = Bth::parse(bytes)?;
        let extension = bth.opcode.extension();
        let (mut reth, mut aeth, mut peth) = (None, None, None);
        if extension.reth {
            let (header, after) = Reth::parse(rest)?;
            (reth, rest) = (Some(header), after);
        }
        if extension.aeth {
            let (header, after) = Aeth::parse(rest)?;
            (aeth, rest) = (Some(header), after);
        }
        if extension.peth {
            let (header, after) = Peth::parse(rest)?;
            (peth, rest) = (Some(header), after);
        }
        prefix(rest, extension.reserved_bytes, "CNP")?;
        let data = rest.get(extension.reserved_bytes..).unwrap_or_default();
        let bad_length = WireError::BadLength { what: "RoCEv2 payload", found: data.len() };
        // The ICRC stands on a four-byte boundary; the pad count says how much of the last word is not payload.
        if data.len() % 4 != 0 || (!extension.payload && !data.is_empty()) {
            return Err(bad_length);
        }
        let payload_bytes = data.len().checked_sub(pad).ok_or(bad_length)?;
        Ok(Self { bth, reth, aeth, peth, payload: data.get(..payload_bytes).unwrap_or_default() })
    }

    fn emit(&self, out: &mut Vec<u8>) -> Result<(), WireError> {
        self.bth.emit(self.payload.len(), out)?;
        if let Some(reth) = &self.reth {
            reth.emit(out);
        }
        if let Some(aeth) = &self.aeth {
            aeth.emit(out)?;
        }
        if let Some(peth) = self.peth {
            peth.emit(out);
        }
        out.extend_from_slice(self.payload);
        out.resize(out.len() + self.zero_bytes(), 0);
        Ok(())
    }

    /// Count the zeros between payload and ICRC.
    fn zero_bytes(&self) -> usize {
        pad_bytes(self.payload.len()) + self.bth.opcode.extension().reserved_bytes
    }

    /// Check that the headers are those of the opcode, and count the bytes of the packet without ICRC.
    fn check(&self) -> Result<usize, WireError> {
        let extension = self.bth.opcode.extension();
        let fits = self.reth.is_some() == extension.reth
            && self.aeth.is_some() == extension.aeth
            && self.peth.is_some() == extension.peth
            && (extension.payload || self.payload.is_empty());
        if !fits {
            return Err(WireError::WrongExtension { opcode: self.bth.opcode as u8 });
        }
        let reth_bytes = if extension.reth { RETH_BYTES } else { 0 };
        let aeth_bytes = if extension.aeth { AETH_BYTES } else { 0 };
        let peth_bytes = if extension.peth { PETH_BYTES } else { 0 };
        Ok(BTH_BYTES + reth_bytes + aeth_bytes + peth_bytes + self.payload.len() + self.zero_bytes())
    }
}

/// Hold a whole RoCEv2 frame.
///
/// To be built, its layers must lead to each other: EtherType IPv4, protocol UDP, destination port 4791.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoceFrame<'a> {
    pub ethernet: Ethernet,
    pub ip: Ipv4,
    pub udp: Udp,
    pub packet: RocePacket<'a>,
}

/// Read a frame without FCS, from Ethernet to the ICRC, which is verified; Ethernet padding behind it is ignored.
///
/// Nothing is copied. Costs one pass of CRC-32 over the packet.
///
/// # Errors
/// `NotIpv4`, `NotUdp`, `NotRoce` for frames that are something else; `BadIcrc`; what the parsers of the headers
/// report; `BadLength` if UDP does not fill IPv4, or if payload and pad are not whole words or not allowed by the
/// opcode.
pub fn parse_frame(frame: &[u8]) -> Result<RoceFrame<'_>, WireError> {
    parse(frame, icrc::verify)
}

/// Read a frame like `parse_frame`, but leave the ICRC alone, as a switch does: it is the receiver's to check.
///
/// # Errors
/// As `parse_frame`, without `BadIcrc`.
pub fn parse_frame_in_transit(frame: &[u8]) -> Result<RoceFrame<'_>, WireError> {
    parse(frame, |_| Ok(()))
}

fn parse(frame: &[u8], verify: impl FnOnce(&[u8]) -> Result<(), WireError>) -> Result<RoceFrame<'_>, WireError> {
    let (ethernet, ip_packet) = Ethernet::parse(frame)?;
    expect_ipv4(&ethernet)?;
    let (ip, datagram) = Ipv4::parse(ip_packet)?;
    expect_udp(&ip)?;
    let (udp, udp_payload) = Udp::parse(datagram)?;
    expect_roce(&udp)?;
    if datagram.len() != UDP_HEADER_BYTES + udp_payload.len() {
        return Err(WireError::BadLength { what: "UDP payload", found: udp_payload.len() });
    }
    let unpadded = prefix(ip_packet, IPV4_HEADER_BYTES + datagram.len(), "IPv4 packet")?;
    verify(unpadded)?;
    let packet_bytes = udp_payload.len().saturating_sub(ICRC_BYTES);
    let packet = RocePacket::parse(prefix(udp_payload, packet_bytes, "RoCEv2 packet")?)?;
    Ok(RoceFrame { ethernet, ip, udp, packet })
}

/// Write a whole frame without FCS into `out`, in place of what it holds.
///
/// Pad, ICRC and Ethernet padding are added. Allocates only if `out` has too little capacity. Costs one copy of the
/// payload and one pass of CRC-32 over the packet.
///
/// # Errors
/// `WrongExtension` if headers or payload are not those of the opcode; `NotIpv4`, `NotUdp`, `NotRoce` if a layer does
/// not lead to the next; `TooLarge` or `BadLength` if a value does not fit its field. `out` then holds no frame.
pub fn build_frame(frame: &RoceFrame<'_>, out: &mut Vec<u8>) -> Result<(), WireError> {
    out.clear();
    expect_ipv4(&frame.ethernet)?;
    expect_udp(&frame.ip)?;
    expect_roce(&frame.udp)?;
    let packet_bytes = frame.packet.check()? + ICRC_BYTES;
    let datagram_bytes = UDP_HEADER_BYTES + packet_bytes;
    out.reserve(ETHERNET_HEADER_BYTES + IPV4_HEADER_BYTES + datagram_bytes);
    frame.ethernet.emit(out);
    frame.ip.emit(datagram_bytes, out)?;
    frame.udp.emit(packet_bytes, out)?;
    frame.packet.emit(out)?;
    let icrc = icrc::icrc(out.get(ETHERNET_HEADER_BYTES..).unwrap_or_default())?;
    out.extend_from_slice(&icrc);
    if out.len() < ethernet::MIN_FRAME_BYTES {
        out.resize(ethernet::MIN_FRAME_BYTES, 0);
    }
    Ok(())
}

#[inline]
fn expect_ipv4(ethernet: &Ethernet) -> Result<(), WireError> {
    match ethernet.ethertype {
        ethernet::ETHERTYPE_IPV4 => Ok(()),
        ethertype => Err(WireError::NotIpv4 { ethertype }),
    }
}

#[inline]
fn expect_udp(ip: &Ipv4) -> Result<(), WireError> {
    match ip.protocol {
        ipv4::PROTOCOL_UDP => Ok(()),
        protocol => Err(WireError::NotUdp { protocol }),
    }
}

#[inline]
fn expect_roce(udp: &Udp) -> Result<(), WireError> {
    match udp.dst_port {
        udp::ROCE_PORT => Ok(()),
        port => Err(WireError::NotRoce { port }),
    }
}
