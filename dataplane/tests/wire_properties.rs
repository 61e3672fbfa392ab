//! Properties of the wire formats: what is built reads back, what is damaged is refused, and no bytes panic.

use _dataplane::priority::{Priority, PrioritySet};
use _dataplane::wire::credit::{self, Credit};
use _dataplane::wire::ethernet::{self, Ethernet, ETHERTYPE_IPV4};
use _dataplane::wire::heartbeat::{self, Heartbeat, Phase, HEARTBEAT_BYTES};
use _dataplane::wire::ipv4::{self, Ecn, Ipv4, PROTOCOL_UDP};
use _dataplane::wire::pfc::{self, MacControl, Pfc};
use _dataplane::wire::roce::{
    build_frame, parse_frame, parse_frame_in_transit, Aeth, Bth, Nak, Opcode, Peth, Reth, RoceFrame, RocePacket,
    Syndrome,
};
use _dataplane::wire::sizes::ETHERNET_HEADER_BYTES;
use _dataplane::wire::udp::{Udp, ROCE_PORT};
use _dataplane::wire::{icrc, WireError};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use rand_pcg::rand_core::{Rng, SeedableRng};
use rand_pcg::Pcg64Mcg;

const ECNS: [Ecn; 4] = [Ecn::NotEct, Ecn::Ect1, Ecn::Ect0, Ecn::Ce];
const NAKS: [Nak; 4] = [Nak::PsnSequenceError, Nak::InvalidRequest, Nak::RemoteAccess, Nak::RemoteOperational];

fn ipv4() -> impl Strategy<Value = Ipv4> {
    let ecn = prop::sample::select(&ECNS[..]);
    let addresses = any::<([u8; 4], [u8; 4])>();
    (0..64u8, ecn, any::<(u16, bool, u8)>(), addresses).prop_map(
        |(dscp, ecn, (identification, dont_fragment, ttl), (src, dst))| Ipv4 {
            dscp,
            ecn,
            identification,
            dont_fragment,
            ttl,
            protocol: PROTOCOL_UDP,
            src,
            dst,
        },
    )
}

fn syndrome() -> impl Strategy<Value = Syndrome> {
    prop_oneof![
        (0..32u8).prop_map(|credits| Syndrome::Ack { credits }),
        (0..32u8).prop_map(|timer| Syndrome::RnrNak { timer }),
        prop::sample::select(&NAKS[..]).prop_map(Syndrome::Nak),
    ]
}

fn bth() -> impl Strategy<Value = Bth> {
    let opcode = prop::sample::select(&Opcode::ALL[..]);
    let numbers = (0..1u32 << 24, 0..1u32 << 24);
    (opcode, any::<[bool; 5]>(), any::<u16>(), numbers).prop_map(|(opcode, flags, pkey, (dest_qp, psn))| Bth {
        opcode,
        solicited: flags[0],
        migration: flags[1],
        pkey,
        fecn: flags[2],
        becn: flags[3],
        dest_qp,
        ack_request: flags[4],
        psn,
    })
}

/// A frame without its payload, and the payload, which is empty where the opcode allows none.
fn frame() -> impl Strategy<Value = (RoceFrame<'static>, Vec<u8>)> {
    let edges = any::<([u8; 6], [u8; 6], u16)>();
    let reth = any::<(u64, u32, u32)>();
    let aeth = (syndrome(), 0..1u32 << 24);
    let peth = any::<(u8, u8, u8, bool)>();
    let data = prop::collection::vec(any::<u8>(), 0..300);
    (edges, ipv4(), bth(), reth, aeth, peth, data).prop_map(
        |(
            (dst, src, src_port),
            ip,
            bth,
            (va, rkey, dma_bytes),
            (syndrome, msn),
            (data, parity, index, starts),
            bytes,
        )| {
            let extension = bth.opcode.extension();
            let reth = Reth { va, rkey, dma_bytes };
            let frame = RoceFrame {
                ethernet: Ethernet { dst, src, ethertype: ETHERTYPE_IPV4 },
                ip,
                udp: Udp { src_port, dst_port: ROCE_PORT },
                packet: RocePacket {
                    bth,
                    reth: extension.reth.then_some(reth),
                    aeth: extension.aeth.then_some(Aeth { syndrome, msn }),
                    peth: extension.peth.then_some(Peth { data, parity, index, starts }),
                    payload: &[],
                },
            };
            let payload = if extension.payload { bytes } else { Vec::new() };
            (frame, payload)
        },
    )
}

fn with_payload<'a>(mut frame: RoceFrame<'a>, payload: &'a [u8]) -> RoceFrame<'a> {
    frame.packet.payload = payload;
    frame
}

fn build(frame: &RoceFrame<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    build_frame(frame, &mut bytes).unwrap();
    bytes
}

/// Where the IPv4 packet in `frame` ends, by its total length.
fn packet_end(frame: &[u8]) -> usize {
    ETHERNET_HEADER_BYTES + usize::from(u16::from_be_bytes([frame[16], frame[17]]))
}

/// Compute the ICRC one bit at a time, from the definition.
fn icrc_by_bits(packet: &[u8]) -> [u8; 4] {
    const MASKED: [usize; 7] = [1, 8, 10, 11, 26, 27, 32];
    let packet = packet.iter().enumerate();
    let masked = packet.map(|(at, &byte)| if MASKED.contains(&at) { 0xff } else { byte });
    let mut crc = u32::MAX;
    for byte in [0xff; 8].into_iter().chain(masked) {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xedb8_8320 * (crc & 1));
        }
    }
    (!crc).to_le_bytes()
}

proptest! {
    #[test]
    fn built_frames_read_back(
        (header, payload) in frame(),
        stale in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let sent = with_payload(header, &payload);
        let mut bytes = stale;
        build_frame(&sent, &mut bytes).unwrap();
        prop_assert!(bytes.len() >= ethernet::MIN_FRAME_BYTES);
        prop_assert_eq!(parse_frame(&bytes), Ok(sent));
    }

    #[test]
    fn icrc_agrees_with_the_definition((header, payload) in frame()) {
        let bytes = build(&with_payload(header, &payload));
        let packet = &bytes[ETHERNET_HEADER_BYTES..];
        prop_assert_eq!(icrc::icrc(packet), Ok(icrc_by_bits(packet)));
    }

    #[test]
    fn every_shorter_frame_is_refused((header, payload) in frame()) {
        let sent = with_payload(header, &payload);
        let bytes = build(&sent);
        let end = packet_end(&bytes);
        for short in 0..end {
            let read = parse_frame(&bytes[..short]);
            prop_assert!(matches!(read, Err(WireError::Truncated { .. })), "{} bytes", short);
        }
        prop_assert_eq!(parse_frame(&bytes[..end]), Ok(sent));
    }

    #[test]
    fn marking_changes_the_codepoint_alone((header, payload) in frame()) {
        let sent = with_payload(header, &payload);
        let mut marked = build(&sent);
        prop_assert_eq!(ipv4::set_ecn_ce(&mut marked), Ok(sent.ip.ecn));
        let mut expected = sent;
        if sent.ip.ecn != Ecn::NotEct {
            expected.ip.ecn = Ecn::Ce;
        }
        prop_assert_eq!(marked, build(&expected));
    }

    #[test]
    fn pfc_reads_back(class_enable: u8, quanta: [u16; 8], src: [u8; 6]) {
        let request = Pfc { class_enable: PrioritySet::from_bits(class_enable), quanta };
        prop_assert_eq!(pfc::parse(&request.build(src)), Ok(Some(MacControl::Pfc(request))));
    }

    #[test]
    fn credit_reads_back(priority in 0..8u8, request: bool, sent: u32, limit: u32, src: [u8; 6]) {
        let credit = Credit { priority: Priority::from_bits(priority), request, sent, limit };
        prop_assert_eq!(credit::parse(&credit.build(src)), Ok(Some(credit)));
    }

    #[test]
    fn heartbeat_reads_back(key: u64, from: u16, numbers: [u32; 2], times: [u64; 9], phase in 0..3usize) {
        let phase = [Phase::Loaded, Phase::Ready, Phase::Running][phase];
        let [workload, finished] = numbers;
        let [at_ps, progress_ps, finish_ps, sent, accounted, wall_ns, echo_ns, kept_ns, begin_ns] = times;
        let told = Heartbeat {
            key, from, phase, workload, at_ps, progress_ps, finished, finish_ps, sent, accounted, wall_ns, echo_ns, kept_ns,
            begin_ns,
        };
        let bytes = told.build();
        prop_assert_eq!(heartbeat::parse(&bytes), Ok(Some(told)));
        for length in 0..HEARTBEAT_BYTES {
            prop_assert!(heartbeat::parse(&bytes[..length]).is_err());
        }
    }
}

#[test]
fn other_protocols_versions_and_phases_are_no_beats() {
    for (place, value) in [(0, b'X'), (3, 2), (14, 3)] {
        let mut bytes = Heartbeat::default().build();
        bytes[place] = value;
        assert_eq!(heartbeat::parse(&bytes), Ok(None), "byte {place}");
    }
}

#[test]
fn every_opcode_and_syndrome_byte_is_known_or_named_in_the_error() {
    for byte in 0..=255u8 {
        match Opcode::try_from(byte) {
            Ok(opcode) => assert_eq!(opcode as u8, byte),
            Err(error) => assert_eq!(error, WireError::UnknownOpcode { opcode: byte }),
        }
        let (kind, value) = (byte >> 5 & 3, byte & 31);
        let known = kind < 2 || kind == 3 && value < 4;
        let read = Syndrome::try_from(byte);
        assert_eq!(read.is_ok(), known, "{byte:#04x}");
    }
    let known = (0..=255u8).filter_map(|byte| Opcode::try_from(byte).ok());
    assert_eq!(known.collect::<Vec<_>>(), Opcode::ALL);
}

/// Damage `bytes` in one to three of the ways that links, bugs and attackers do.
fn mutate(bytes: &mut Vec<u8>, rng: &mut Pcg64Mcg) {
    let mut below = |bound: usize| (rng.next_u64() % bound.max(1) as u64) as usize;
    for _ in 0..=below(3) {
        let (at, other) = (below(bytes.len()), below(bytes.len()));
        let header_at = below(bytes.len().min(80));
        match below(8) {
            0 => bytes.truncate(at),
            1 => bytes.rotate_left(at),
            2 => bytes.extend((0..at).map(|n| n as u8)),
            3 if !bytes.is_empty() => bytes.swap(at, other),
            4 if !bytes.is_empty() => bytes[at] = below(256) as u8,
            _ if !bytes.is_empty() => bytes[header_at] ^= 1 << below(8),
            _ => bytes.push(at as u8),
        }
    }
}

/// Make the checksums right again, so that damage reaches the code behind them.
fn repair(bytes: &mut [u8]) {
    const IP: usize = ETHERNET_HEADER_BYTES;
    if bytes.len() < IP + 44 {
        return;
    }
    bytes[IP + 10..IP + 12].fill(0);
    let words = bytes[IP..IP + 20].chunks(2);
    let sum: u32 = words.map(|word| u32::from(word[0]) << 8 | u32::from(word[1])).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let checksum = !((folded & 0xffff) + (folded >> 16)) as u16;
    bytes[IP + 10..IP + 12].copy_from_slice(&checksum.to_be_bytes());
    let end = packet_end(bytes);
    if (IP + 44..=bytes.len()).contains(&end) {
        let icrc = icrc::icrc(&bytes[IP..end - 4]).unwrap();
        bytes[end - 4..end].copy_from_slice(&icrc);
    }
}

/// Hold every parser against `bytes`; return whether they are a RoCEv2 frame.
fn check(bytes: &mut [u8], rebuilt: &mut Vec<u8>) -> bool {
    if let Ok(Some(MacControl::Pfc(request))) = pfc::parse(bytes) {
        let again = pfc::parse(&request.build([0; 6]));
        assert_eq!(again, Ok(Some(MacControl::Pfc(request))));
    }
    if let Ok(Some(credit)) = credit::parse(bytes) {
        assert_eq!(credit::parse(&credit.build([0; 6])), Ok(Some(credit)));
    }
    if let Ok(Some(told)) = heartbeat::parse(bytes) {
        assert_eq!(heartbeat::parse(&told.build()), Ok(Some(told)));
    }
    let read = parse_frame(bytes);
    let valid = read.is_ok();
    match parse_frame_in_transit(bytes) {
        Ok(frame) => assert!(read == Ok(frame) || matches!(read, Err(WireError::BadIcrc { .. })), "{read:?}"),
        Err(error) => assert!(read == Err(error) || matches!(read, Err(WireError::BadIcrc { .. })), "{read:?}"),
    }
    if let Ok(frame) = read {
        build_frame(&frame, rebuilt).expect("what was read can be written");
        assert_eq!(parse_frame(rebuilt), Ok(frame));
    }
    let marked = ipv4::set_ecn_ce(bytes);
    assert!(marked.is_ok() || !valid, "{marked:?}: {bytes:02x?}");
    let still_valid = parse_frame(bytes).is_ok();
    assert_eq!(still_valid, valid, "by a mark: {bytes:02x?}");
    valid
}

#[test]
fn two_hundred_thousand_damaged_frames_do_no_harm() {
    const FRAMES: usize = 200_000;
    let mut rng = Pcg64Mcg::seed_from_u64(0x0b1d);
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut originals: Vec<Vec<u8>> = (0..200)
        .map(|_| {
            let (header, payload) = frame().new_tree(&mut runner).unwrap().current();
            build(&with_payload(header, &payload))
        })
        .collect();
    let pause = Pfc { class_enable: PrioritySet::ALL, quanta: [0xffff; 8] };
    originals.push(pause.build([2; 6]).to_vec());
    originals
        .push(Credit { priority: Priority::P7, request: true, sent: u32::MAX, limit: 1 << 31 }.build([2; 6]).to_vec());

    let (mut bytes, mut rebuilt, mut valid) = (Vec::new(), Vec::new(), 0);
    for round in 0..FRAMES {
        bytes.clear();
        if round % 10 == 0 {
            bytes.resize((rng.next_u64() % 200) as usize, 0);
            rng.fill_bytes(&mut bytes);
        } else {
            bytes.extend_from_slice(&originals[round % originals.len()]);
            mutate(&mut bytes, &mut rng);
        }
        if round % 2 == 1 {
            repair(&mut bytes);
        }
        valid += usize::from(check(&mut bytes, &mut rebuilt));
    }
    // Both outcomes must be common, else the damage is too great or too small to test anything.
    let tenth = FRAMES / 10;
    assert!((tenth..FRAMES - tenth).contains(&valid), "{valid} valid");
}
