//! Golden frames: read, understood, and written again to the same bytes.

mod common;

use std::path::Path;

use _dataplane::nic::rc::code::Coder;
use _dataplane::wire::ethernet::{Ethernet, ETHERTYPE_IPV4};
use _dataplane::wire::ipv4::{self, Ecn, Ipv4, PROTOCOL_UDP};
use _dataplane::wire::roce::{
    build_frame, parse_frame, parse_frame_in_transit, Aeth, Bth, Nak, Opcode, Peth, Reth, RoceFrame, RocePacket,
    Syndrome, DEFAULT_PKEY,
};
use _dataplane::wire::sizes::{ETHERNET_HEADER_BYTES, ICRC_BYTES, IPV4_HEADER_BYTES};
use _dataplane::wire::udp::{Udp, ROCE_PORT};
use _dataplane::wire::{icrc, WireError};
use common::goldens::golden;

const SENDER: [u8; 6] = [2, 0, 0, 0, 0, 1];
const RECEIVER: [u8; 6] = [2, 0, 0, 0, 0, 2];
const A: [u8; 4] = [10, 0, 0, 1];
const B: [u8; 4] = [10, 0, 0, 2];
const LAB_A: [u8; 4] = [198, 18, 0, 1];
const LAB_B: [u8; 4] = [198, 18, 0, 2];

const TTL_AT: usize = ETHERNET_HEADER_BYTES + 8;
const UDP_CHECKSUM_AT: usize = ETHERNET_HEADER_BYTES + IPV4_HEADER_BYTES + 6;
const BTH_AT: usize = UDP_CHECKSUM_AT + 2;
const CONGESTION_AT: usize = BTH_AT + 4;

fn ip(dscp: u8, ecn: Ecn, identification: u16, src: [u8; 4], dst: [u8; 4]) -> Ipv4 {
    Ipv4 { dscp, ecn, identification, dont_fragment: true, ttl: 64, protocol: PROTOCOL_UDP, src, dst }
}

fn bth(opcode: Opcode, dest_qp: u32, psn: u32) -> Bth {
    Bth {
        opcode,
        solicited: false,
        migration: false,
        pkey: DEFAULT_PKEY,
        fecn: false,
        becn: false,
        dest_qp,
        ack_request: false,
        psn,
    }
}

/// A frame from `SENDER` to `RECEIVER` without extension headers.
fn frame(ip: Ipv4, src_port: u16, bth: Bth, payload: &[u8]) -> RoceFrame<'_> {
    RoceFrame {
        ethernet: Ethernet { dst: RECEIVER, src: SENDER, ethertype: ETHERTYPE_IPV4 },
        ip,
        udp: Udp { src_port, dst_port: ROCE_PORT },
        packet: RocePacket { bth, reth: None, aeth: None, peth: None, payload },
    }
}

fn write_only() -> RoceFrame<'static> {
    const SIXTEEN: &[u8] = &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
    let header = bth(Opcode::WriteOnly, 0x11, 0x12_3456);
    let mut frame = frame(ip(3, Ecn::NotEct, 1, A, B), 49152, header, SIXTEEN);
    frame.packet.bth.ack_request = true;
    frame.packet.reth = Some(Reth { va: 0x1000, rkey: 0x1234, dma_bytes: 16 });
    frame
}

fn ack() -> RoceFrame<'static> {
    let header = bth(Opcode::Ack, 0x22, 0x12_3456);
    let mut frame = frame(ip(3, Ecn::NotEct, 3, B, A), 49152, header, &[]);
    frame.packet.aeth = Some(Aeth { syndrome: Syndrome::ACK, msn: 1 });
    frame
}

fn cnp() -> RoceFrame<'static> {
    let header = bth(Opcode::Cnp, 0x22, 0);
    let mut frame = frame(ip(48, Ecn::NotEct, 2, B, A), 49152, header, &[]);
    frame.packet.bth.becn = true;
    frame
}

fn send_last_padded() -> RoceFrame<'static> {
    let header = bth(Opcode::SendLast, 0x11, 0xff_fffe);
    let ip = ip(24, Ecn::Ect0, 9, LAB_A, LAB_B);
    let mut frame = frame(ip, 0xc011, header, b"lossless fabric!!");
    frame.packet.bth.ack_request = true;
    frame
}

fn send_only_empty() -> RoceFrame<'static> {
    let header = bth(Opcode::SendOnly, 0x11, 7);
    let ip = ip(24, Ecn::Ect0, 9, LAB_A, LAB_B);
    let mut frame = frame(ip, 0xc011, header, &[]);
    frame.packet.bth.solicited = true;
    frame.packet.bth.ack_request = true;
    frame
}

fn nak_sequence_error() -> RoceFrame<'static> {
    let header = bth(Opcode::Ack, 0x11, 0x42);
    let ip = ip(24, Ecn::NotEct, 10, LAB_A, LAB_B);
    let mut frame = frame(ip, 0xc011, header, &[]);
    frame.packet.aeth = Some(Aeth { syndrome: Syndrome::Nak(Nak::PsnSequenceError), msn: 5 });
    frame
}

fn read_request() -> RoceFrame<'static> {
    let header = bth(Opcode::ReadRequest, 0x11, 0xff_ffff);
    let ip = ip(24, Ecn::Ect0, 9, LAB_A, LAB_B);
    let mut frame = frame(ip, 0xc011, header, &[]);
    frame.packet.bth.ack_request = true;
    frame.packet.reth = Some(Reth { va: 0x7f00_0000_1000, rkey: 0x1234, dma_bytes: 65536 });
    frame
}

/// The second of two parities of the bytes 0 to 47 in payloads of 16.
const PARITY: [u8; 16] =
    [0xde, 0x70, 0x20, 0x8e, 0x72, 0xdc, 0x8c, 0x22, 0x8c, 0x89, 0x85, 0x80, 0x8e, 0x8b, 0x87, 0x82];

fn parity() -> RoceFrame<'static> {
    let header = bth(Opcode::Parity, 0x11, 0x42);
    let ip = ip(24, Ecn::Ect0, 9, LAB_A, LAB_B);
    let mut frame = frame(ip, 0xc011, header, &PARITY);
    frame.packet.reth = Some(Reth { va: 0x2000, rkey: 0x1234, dma_bytes: 48 });
    frame.packet.peth = Some(Peth { data: 3, parity: 2, index: 1, starts: true });
    frame
}

/// The golden frames of RoCEv2 and what each says.
fn roce_goldens() -> [(&'static str, RoceFrame<'static>); 8] {
    [
        ("roce_write_only", write_only()),
        ("roce_ack", ack()),
        ("roce_cnp", cnp()),
        ("roce_send_last_padded", send_last_padded()),
        ("roce_send_only_empty", send_only_empty()),
        ("roce_nak_sequence_error", nak_sequence_error()),
        ("roce_read_request", read_request()),
        ("roce_parity", parity()),
    ]
}

fn build(frame: &RoceFrame<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    build_frame(frame, &mut bytes).unwrap();
    bytes
}

/// Where the ICRC of a golden frame stands.
fn icrc_at(frame: &[u8]) -> usize {
    ETHERNET_HEADER_BYTES + usize::from(frame[17]) - 4
}

#[test]
fn every_roce_file_is_tested() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/frames");
    let files = std::fs::read_dir(folder).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    let roce = names.filter(|name| name.starts_with("roce_")).count();
    assert_eq!(roce, roce_goldens().len());
}

#[test]
fn roce_frames_read_as_what_they_say() {
    for (name, expected) in roce_goldens() {
        assert_eq!(parse_frame(&golden(name)), Ok(expected), "{name}");
    }
}

/// The code itself is part of what both ends must agree on.
#[test]
fn the_golden_parity_is_that_of_its_block() {
    let block: Vec<Vec<u8>> = (0..3).map(|packet| (16 * packet..16 * packet + 16).collect()).collect();
    let parity = Coder::default().encode(block.iter().map(Vec::as_slice), 2, 16).unwrap();
    assert_eq!(parity[1], PARITY);
}

#[test]
fn roce_frames_are_written_byte_for_byte_into_a_used_buffer() {
    let mut out = vec![0xee; 9000];
    let capacity = out.capacity();
    for (name, frame) in roce_goldens() {
        build_frame(&frame, &mut out).unwrap();
        assert_eq!(out, golden(name), "{name}");
    }
    assert_eq!(out.capacity(), capacity, "the buffer is reused");
}

#[test]
fn icrc_survives_a_router_that_marks() {
    for (name, mut routed) in roce_goldens() {
        let original = golden(name);
        routed.ip.ttl = 1;
        routed.ip.ecn = Ecn::Ce;
        let rebuilt = build(&routed);
        let at = icrc_at(&original);
        assert_eq!(rebuilt[at..at + 4], original[at..at + 4], "{name}");
        assert_eq!(parse_frame(&rebuilt), Ok(routed), "{name}");
    }
}

#[test]
fn icrc_covers_all_but_udp_checksum_and_congestion_bits() {
    for (name, _) in roce_goldens() {
        let original = golden(name);
        for at in UDP_CHECKSUM_AT..icrc_at(&original) + 4 {
            let mut damaged = original.clone();
            damaged[at] ^= 1;
            let refused = matches!(parse_frame(&damaged), Err(WireError::BadIcrc { .. }));
            let masked = at < BTH_AT || at == CONGESTION_AT;
            assert_eq!(refused, !masked, "{name}: byte {at}");
        }
    }
}

#[test]
fn a_switch_reads_a_damaged_payload_that_its_receiver_refuses() {
    let mut bytes = golden("roce_send_last_padded");
    let last = icrc_at(&bytes) - 4;
    bytes[last] ^= 0x80;
    let mut expected = send_last_padded();
    expected.packet.payload = b"lossless fabric!\xa1";
    assert_eq!(parse_frame_in_transit(&bytes), Ok(expected));
    assert!(matches!(parse_frame(&bytes), Err(WireError::BadIcrc { .. })));
}

#[test]
fn marking_keeps_a_damaged_header_detectable() {
    let mut bytes = golden("roce_send_last_padded");
    bytes[TTL_AT] ^= 0x10;
    assert_eq!(ipv4::set_ecn_ce(&mut bytes), Ok(Ecn::Ect0));
    let read = parse_frame(&bytes);
    assert!(matches!(read, Err(WireError::BadChecksum { .. })));
}

#[test]
fn marking_refuses_what_is_not_ipv4_and_leaves_it_alone() {
    let mut bytes = golden("pfc_xoff_priority_3");
    let marked = ipv4::set_ecn_ce(&mut bytes);
    assert_eq!(marked, Err(WireError::NotIpv4 { ethertype: 0x8808 }));
    assert_eq!(bytes, golden("pfc_xoff_priority_3"));
}

#[test]
fn foreign_frames_are_named() {
    let refused = |at: usize, value: u8| {
        let mut bytes = golden("roce_write_only");
        bytes[at] = value;
        parse_frame(&bytes).unwrap_err()
    };
    let what = "IPv4 header";
    let ethertype = WireError::NotIpv4 { ethertype: 0x8600 };
    assert_eq!(refused(12, 0x86), ethertype);
    assert_eq!(refused(14, 0x65), WireError::BadVersion { what, found: 6 });
    assert_eq!(refused(14, 0x46), WireError::Options { header_bytes: 24 });
    assert_eq!(refused(14, 0x44), WireError::BadLength { what, found: 16 });
    assert_eq!(refused(20, 0x20), WireError::Fragment);
    assert_eq!(refused(21, 0x01), WireError::Fragment);
    assert_eq!(refused(25, 0), WireError::BadChecksum { found: 0x2600 });
    assert_eq!(refused(36, 0x13), WireError::NotRoce { port: 0x13b7 });
    let what = "UDP payload";
    assert_eq!(refused(39, 0x37), WireError::BadLength { what, found: 47 });
}

#[test]
fn padding_behind_the_packet_is_ignored() {
    for (name, expected) in roce_goldens() {
        let padded = [golden(name), vec![7; 30]].concat();
        assert_eq!(parse_frame(&padded), Ok(expected), "{name}");
    }
}

/// Wrap a UDP payload in a golden frame's outer headers and give it a right ICRC.
fn wrap(udp_payload: &[u8]) -> Vec<u8> {
    let outer = write_only();
    let packet_bytes = udp_payload.len() + ICRC_BYTES;
    let mut bytes = Vec::new();
    outer.ethernet.emit(&mut bytes);
    outer.ip.emit(8 + packet_bytes, &mut bytes).unwrap();
    outer.udp.emit(packet_bytes, &mut bytes).unwrap();
    bytes.extend_from_slice(udp_payload);
    let icrc = icrc::icrc(&bytes[ETHERNET_HEADER_BYTES..]).unwrap();
    bytes.extend_from_slice(&icrc);
    bytes
}

#[test]
fn malformed_packets_with_a_right_icrc_are_refused() {
    let read = |first: [u8; 2], rest: usize| {
        let mut udp_payload = vec![0; 12 + rest];
        udp_payload[..2].copy_from_slice(&first);
        parse_frame(&wrap(&udp_payload)).map(|frame| frame.packet.payload.len())
    };
    let (send, ack, cnp, read_request) = (0x04, 0x11, 0x81, 0x0c);
    let bad_length = |found| {
        let what = "RoCEv2 payload";
        Err(WireError::BadLength { what, found })
    };
    assert_eq!(read([send, 0x30], 8), Ok(5));
    assert_eq!(read([send, 0], 7), bad_length(7));
    assert_eq!(read([send, 0x10], 0), bad_length(0));
    assert_eq!(read([ack, 0], 4), Ok(0));
    assert_eq!(read([ack, 0], 8), bad_length(4));
    assert_eq!(read([cnp, 0], 16), Ok(0));
    assert_eq!(read([cnp, 0], 20), bad_length(4));
    assert_eq!(read([read_request, 0], 20), bad_length(4));
    let what = "BTH";
    assert_eq!(read([send, 0x01], 0), Err(WireError::BadVersion { what, found: 1 }));
    assert_eq!(read([0x05, 0], 0), Err(WireError::UnknownOpcode { opcode: 5 }));
    for (what, opcode, need) in [("AETH", ack, 4), ("CNP", cnp, 16), ("RETH", read_request, 16)] {
        let have = need - 4;
        let cut_short = WireError::Truncated { what, need, have };
        assert_eq!(read([opcode, 0], have), Err(cut_short));
    }
}

#[test]
fn builders_refuse_what_does_not_fit() {
    let refused = |change: fn(&mut RoceFrame<'_>)| {
        let mut frame = write_only();
        change(&mut frame);
        build_frame(&frame, &mut Vec::new()).unwrap_err()
    };
    let what = |error| match error {
        WireError::TooLarge { what, .. } => what,
        other => panic!("{other:?}"),
    };
    let wrong = |opcode| WireError::WrongExtension { opcode };
    assert_eq!(refused(|f| f.packet.reth = None), wrong(0x0a));
    assert_eq!(refused(|f| f.packet.bth.opcode = Opcode::Cnp), wrong(0x81));
    assert_eq!(refused(|f| f.packet.bth.opcode = Opcode::SendOnly), wrong(0x04));
    let acknowledge_with_payload = |f: &mut RoceFrame<'_>| {
        f.packet = RocePacket { payload: f.packet.payload, ..ack().packet };
    };
    assert_eq!(refused(acknowledge_with_payload), wrong(0x11));
    let dns = WireError::NotRoce { port: 53 };
    assert_eq!(refused(|f| f.udp.dst_port = 53), dns);
    let tcp = WireError::NotUdp { protocol: 6 };
    assert_eq!(refused(|f| f.ip.protocol = 6), tcp);
    let arp = WireError::NotIpv4 { ethertype: 0x0806 };
    assert_eq!(refused(|f| f.ethernet.ethertype = 0x0806), arp);
    assert_eq!(what(refused(|f| f.ip.dscp = 64)), "DSCP");
    assert_eq!(what(refused(|f| f.packet.bth.psn = 1 << 24)), "PSN");
    assert_eq!(what(refused(|f| f.packet.bth.dest_qp = 1 << 24)), "queue pair");
}

#[test]
fn the_largest_packet_fits_and_one_more_word_does_not() {
    const LARGEST: usize = 65_535 / 4 * 4 - 20 - 8 - 12 - 16 - 4;
    let data = vec![0x5a; LARGEST + 4];
    let mut frame = write_only();
    frame.packet.payload = &data[..LARGEST];
    assert_eq!(parse_frame(&build(&frame)), Ok(frame));
    frame.packet.payload = &data;
    let refused = build_frame(&frame, &mut Vec::new());
    assert!(matches!(refused, Err(WireError::BadLength { .. })));
}
