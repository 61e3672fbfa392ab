//! Between frames as values and frames as bytes: where a real wire, a kernel or a capture file wants them.

use std::collections::HashMap;

use crate::frame::{Body, Buffer, Frame, Packet, Station};
use crate::plan::{Plan, PlanError, StationKind};
use crate::priority::{Priority, PrioritySet, PRIORITIES};
use crate::wire::credit;
use crate::wire::ethernet::{beyond_tags, Ethernet, Mac, ETHERTYPE_IPV4};
use crate::wire::ipv4::{set_ecn_ce, Ecn, Ipv4, PROTOCOL_UDP};
use crate::wire::pfc::{self, MacControl, Pfc};
use crate::wire::roce::{
    build_frame, parse_frame, parse_frame_in_transit, Aeth, Bth, Opcode, Reth, RoceFrame, RocePacket, Syndrome,
    DEFAULT_PKEY,
};
use crate::wire::sizes::{
    AETH_BYTES, BTH_BYTES, ETHERNET_HEADER_BYTES, IPV4_HEADER_BYTES, PETH_BYTES, RETH_BYTES, UDP_HEADER_BYTES,
};
use crate::wire::stamp::Stamp;
use crate::wire::udp::{Udp, ROCE_PORT};
use crate::wire::WireError;

const TTL: u8 = 64;
const CE: u8 = Ecn::Ce as u8;
/// Bytes before the BTH: Ethernet, IPv4, UDP.
const BTH_AT: usize = ETHERNET_HEADER_BYTES + IPV4_HEADER_BYTES + UDP_HEADER_BYTES;
const ECN_MASK: u8 = 3;

/// Where a frame was read: a switch forwards what it need not understand, a NIC takes only sound RoCEv2 packets for itself.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Reader {
    Switch,
    Nic,
}

/// Addresses of a plan, both ways.
#[derive(Debug)]
pub struct Codec {
    by_mac: HashMap<Mac, Station>,
    addresses: Vec<(Mac, [u8; 4])>,
    nic: Vec<bool>,
    ports: Vec<Vec<Mac>>,
}

impl Codec {
    pub fn new(plan: &Plan) -> Result<Codec, PlanError> {
        let mut codec = Codec { by_mac: HashMap::new(), addresses: Vec::new(), nic: Vec::new(), ports: Vec::new() };
        for (index, station) in plan.stations.iter().enumerate() {
            let mac = parse_mac(&station.mac)?;
            codec.by_mac.insert(mac, Station(index as u32));
            codec.addresses.push((mac, station.ip.octets()));
            codec.nic.push(station.kind == StationKind::Nic);
        }
        for node in &plan.nodes {
            let macs: Result<_, _> = node.ports().iter().map(|port| parse_mac(&port.mac)).collect();
            codec.ports.push(macs?);
        }
        Ok(codec)
    }

    pub fn mac(&self, station: Station) -> Option<Mac> {
        Some(self.addresses.get(station.0 as usize)?.0)
    }

    /// Write the bytes of a frame that leaves `port` of `node` into `out`, in place of what it holds.
    ///
    /// A frame that was read from an interface leaves as it came, but for a congestion mark; a lengths-only payload becomes zeros.
    pub fn encode(&self, node: usize, port: u16, frame: &Frame, out: &mut Vec<u8>) -> Result<(), WireError> {
        out.clear();
        match (&frame.body, &frame.bytes) {
            (Body::Pause(pfc), None) => {
                out.extend_from_slice(&pfc.build(self.ports[node][usize::from(port)]));
                Ok(())
            }
            (Body::Credit(credit), _) => {
                out.extend_from_slice(&credit.build(self.ports[node][usize::from(port)]));
                Ok(())
            }
            (Body::Roce(_), Some(bytes)) if frame.payload_at > 0 => {
                out.extend_from_slice(bytes);
                mark(frame, out);
                Ok(())
            }
            (Body::Roce(packet), _) => self.encode_packet(frame, packet, out),
            (Body::Opaque | Body::Pause(_), bytes) => {
                out.extend_from_slice(bytes.as_deref().map_or(&[][..], |bytes| bytes));
                mark(frame, out);
                Ok(())
            }
        }
    }

    /// Do as `encode` and take the frame's own bytes where they leave as they came; the frame is left with what `out` held.
    pub fn encode_from(&self, node: usize, port: u16, frame: &mut Frame, out: &mut Vec<u8>) -> Result<(), WireError> {
        match (&frame.body, &mut frame.bytes) {
            (Body::Opaque, Some(bytes)) => {
                std::mem::swap(out, bytes);
                mark(frame, out);
            }
            (Body::Roce(_), Some(bytes)) if frame.payload_at > 0 => {
                std::mem::swap(out, bytes);
                mark(frame, out);
            }
            _ => return self.encode(node, port, frame, out),
        }
        Ok(())
    }

    fn encode_packet(&self, frame: &Frame, packet: &Packet, out: &mut Vec<u8>) -> Result<(), WireError> {
        let unknown = ([0; 6], [0; 4]);
        let (src_mac, src_ip) = self.addresses.get(frame.src.0 as usize).copied().unwrap_or(unknown);
        let (dst_mac, dst_ip) = self.addresses.get(frame.dst.0 as usize).copied().unwrap_or(unknown);
        let extension = packet.opcode.extension();
        let zeros;
        let payload = if frame.payload().is_empty() && extension.payload {
            let around = crate::nic::rc::message::overhead_bytes(packet.opcode) + u16::from(packet.pad);
            zeros = vec![0; usize::from(frame.len.saturating_sub(around))];
            &zeros[..]
        } else {
            frame.payload()
        };
        let bth = Bth {
            opcode: packet.opcode,
            solicited: false,
            migration: true,
            pkey: DEFAULT_PKEY,
            fecn: false,
            becn: packet.marked || packet.opcode == Opcode::Cnp,
            dest_qp: packet.dst_qp,
            ack_request: packet.ack_request,
            psn: packet.psn,
        };
        // One memory region a rank, its key the QP's number.
        let reth = Reth { va: packet.va, rkey: packet.dst_qp, dma_bytes: packet.dma_bytes };
        let aeth = Aeth { syndrome: packet.syndrome, msn: packet.msn };
        let ip = Ipv4 {
            dscp: frame.dscp,
            ecn: ecn(frame.ecn),
            identification: packet.psn as u16,
            dont_fragment: true,
            ttl: TTL,
            protocol: PROTOCOL_UDP,
            src: src_ip,
            dst: dst_ip,
        };
        let packet = RocePacket {
            bth,
            reth: extension.reth.then_some(reth),
            aeth: extension.aeth.then_some(aeth),
            peth: extension.peth.then(|| packet.peth()),
            payload,
        };
        let ethernet = Ethernet { dst: dst_mac, src: src_mac, ethertype: ETHERTYPE_IPV4 };
        let udp = Udp { src_port: frame.entropy, dst_port: ROCE_PORT };
        build_frame(&RoceFrame { ethernet, ip, udp, packet }, out)
    }

    /// Read a frame; `None` if it is none of the reader's business (damaged, cut short).
    pub fn decode(&self, bytes: &[u8], reader: Reader) -> Option<Frame> {
        self.decode_into(bytes, reader, &mut Vec::new())
    }

    /// Do as `decode` and keep the bytes in a buffer from `spare`, if there is one.
    pub fn decode_into(&self, bytes: &[u8], reader: Reader, spare: &mut Vec<Buffer>) -> Option<Frame> {
        let (ethernet, _) = Ethernet::parse(bytes).ok()?;
        match pfc::parse(bytes) {
            Ok(None) => {}
            Ok(Some(MacControl::Pfc(pfc))) => {
                return Some(frame(Station::UNKNOWN, Station::UNKNOWN, bytes, Body::Pause(pfc)))
            }
            // Taken from the line and without effect.
            Ok(Some(_)) | Err(_) => {
                let none = Pfc { class_enable: PrioritySet::NONE, quanta: [0; PRIORITIES] };
                let control = frame(Station::UNKNOWN, Station::UNKNOWN, bytes, Body::Pause(none));
                return Some(Frame { bytes: Some(Box::new(bytes.to_vec().into())), ..control });
            }
        }
        match credit::parse(bytes) {
            Ok(None) => {}
            Ok(Some(credit)) => return Some(frame(Station::UNKNOWN, Station::UNKNOWN, bytes, Body::Credit(credit))),
            Err(_) => return None,
        }
        let station = |mac| self.by_mac.get(&mac).copied().unwrap_or(Station::UNKNOWN);
        let (mut dst, src) = (station(ethernet.dst), station(ethernet.src));
        // A kernel that resolves no addresses sends its broadcasts to its own address: nobody's, as a broadcast's is.
        if dst == src {
            dst = Station::UNKNOWN;
        }
        let mut decoded = frame(dst, src, bytes, Body::Opaque);
        let mut buffer = spare.pop().unwrap_or_default();
        buffer.clear();
        buffer.extend_from_slice(bytes);
        decoded.bytes = Some(buffer);
        let (_, at) = beyond_tags(bytes).ok()?;
        let Ok((ip, datagram)) = Ipv4::parse(&bytes[at..]) else {
            return taken(decoded, reader);
        };
        decoded.dscp = ip.dscp;
        decoded.ecn = ip.ecn as u8;
        decoded.entropy = ports_hash(&ip, datagram);
        if !self.nic.get(dst.0 as usize).is_some_and(|nic| *nic) {
            return (reader == Reader::Switch).then_some(decoded);
        }
        let parsed = if reader == Reader::Nic { parse_frame(bytes) } else { parse_frame_in_transit(bytes) };
        match parsed {
            Ok(roce) => {
                decoded.entropy = roce.udp.src_port;
                let extension = roce.packet.bth.opcode.extension();
                let headers = BTH_BYTES
                    + if extension.reth { RETH_BYTES } else { 0 }
                    + if extension.aeth { AETH_BYTES } else { 0 }
                    + if extension.peth { PETH_BYTES } else { 0 };
                decoded.payload_at = (BTH_AT + headers) as u16;
                decoded.body = Body::Roce(packet_of(&roce.packet));
                if extension.payload {
                    let end = usize::from(decoded.payload_at) + roce.packet.payload.len();
                    // A NIC needs the payload only; a switch forwards the frame with its pad and ICRC.
                    if let (Reader::Nic, Some(bytes)) = (reader, &mut decoded.bytes) {
                        bytes.truncate(end);
                    }
                }
                Some(decoded)
            }
            Err(_) => taken(decoded, reader),
        }
    }
}

/// A frame that is no RoCEv2 packet: a switch forwards any, a NIC takes a tester's.
fn taken(frame: Frame, reader: Reader) -> Option<Frame> {
    let stamped = || frame.bytes.as_deref().is_some_and(|bytes| Stamp::read(bytes).is_some());
    (reader == Reader::Switch || stamped()).then_some(frame)
}

/// Write a congestion mark into a frame that leaves as it came.
fn mark(frame: &Frame, out: &mut [u8]) {
    if frame.ecn == CE {
        // What only looks like IPv4 has no field for it.
        let _ = set_ecn_ce(out);
    }
}

fn frame(dst: Station, src: Station, bytes: &[u8], body: Body) -> Frame {
    Frame {
        bytes: None,
        dst,
        src,
        len: u16::try_from(bytes.len()).unwrap_or(u16::MAX),
        entropy: 0,
        ingress: 0,
        payload_at: 0,
        priority: Priority::P0,
        group: Priority::P0,
        dscp: 0,
        ecn: 0,
        of_kernel: false,
        detoured: false,
        unpadded: false,
        body,
    }
}

fn packet_of(packet: &RocePacket<'_>) -> Packet {
    let reth = packet.reth.unwrap_or(Reth { va: 0, rkey: 0, dma_bytes: 0 });
    let aeth = packet.aeth.unwrap_or(Aeth { syndrome: Syndrome::ACK, msn: 0 });
    Packet {
        va: reth.va,
        dst_qp: packet.bth.dest_qp,
        psn: packet.bth.psn,
        dma_bytes: reth.dma_bytes,
        msn: packet.peth.map_or(aeth.msn, Packet::peth_word),
        syndrome: aeth.syndrome,
        opcode: packet.bth.opcode,
        pad: (packet.payload.len().wrapping_neg() & 3) as u8,
        ack_request: packet.bth.ack_request,
        marked: packet.bth.becn && packet.bth.opcode == Opcode::Ack,
    }
}

/// What tells apart the kernel's flows between two hosts: their ports, where the protocol has some.
fn ports_hash(ip: &Ipv4, datagram: &[u8]) -> u16 {
    let word = |at: usize| datagram.get(at..at + 2).map_or(0, |word| u16::from_be_bytes([word[0], word[1]]));
    match ip.protocol {
        6 | PROTOCOL_UDP => word(0) ^ word(2).rotate_left(5),
        _ => 0,
    }
}

fn ecn(bits: u8) -> Ecn {
    match bits & ECN_MASK {
        0 => Ecn::NotEct,
        1 => Ecn::Ect1,
        2 => Ecn::Ect0,
        _ => Ecn::Ce,
    }
}

fn parse_mac(text: &str) -> Result<Mac, PlanError> {
    let mut mac = [0; 6];
    let mut parts = text.split(':');
    for byte in &mut mac {
        let part = parts.next().and_then(|part| u8::from_str_radix(part, 16).ok());
        *byte = part.ok_or_else(|| PlanError::Invalid(format!("{text:?} is no MAC address")))?;
    }
    match parts.next() {
        None => Ok(mac),
        Some(_) => Err(PlanError::Invalid(format!("{text:?} is no MAC address"))),
    }
}
