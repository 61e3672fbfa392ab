//! 200,000 hostile frames: whatever bytes reach a codec, a switch or a NIC, nothing panics and every frame is accounted for.

mod common;

use _dataplane::codec::{Codec, Reader};
use _dataplane::credit::Grant;
use _dataplane::event::Event::{CreditReceived, PauseReceived};
use _dataplane::frame::{Body, Frame, Packet, Station};
use _dataplane::nic::rc::message::{self, Verb};
use _dataplane::plan::Plan;
use _dataplane::priority::{Priority, PrioritySet};
use _dataplane::units::Time;
use _dataplane::wire::credit::Credit;
use _dataplane::wire::pfc::Pfc;
use _dataplane::wire::roce::{Nak, Opcode, Syndrome};
use common::bench::{small_buffer, Bench};
use common::frames::{frame, ns};
use common::lab::Shape;
use common::pair::{transport, Pair, QPN};
use rand_core::{Rng, SeedableRng};
use rand_pcg::Pcg64;

const FRAMES: u32 = 200_000;
/// Jumbo frames of 9216 bytes with a VLAN tag and room for a header nobody thought of.
const LONGEST_BYTES: usize = 9_234;
const PORTS: u16 = 4;
const GRANTS: [Grant; 2] = [
    Grant { priority: Priority::P3, block_bytes: 64, blocks: 234, update_blocks: 20 },
    Grant { priority: Priority::P0, block_bytes: 208, blocks: 80, update_blocks: 1 },
];
/// The switch's place among the nodes, after the hosts.
const SWITCH: usize = 4;
const MAC_CONTROL: [u8; 2] = [0x88, 0x08];
const EXPERIMENTAL: [u8; 2] = [0x88, 0xb5];

/// Four hosts on one switch, two stations each.
fn codec() -> Codec {
    let shape = Shape {
        leaves: 1,
        spines: 0,
        hosts_per_leaf: PORTS.into(),
        host_gbps: 100,
        spine_gbps: 100,
        host_delay_ps: 0,
        spine_delay_ps: 0,
        xoff_bytes: 10_000,
        hysteresis_bytes: 2_000,
        loss: 0.0,
        seed: 1,
    };
    let plan = Plan::parse(&shape.plan().to_string()).expect("a sound plan");
    Codec::new(&plan).expect("sound addresses")
}

struct Fuzzer {
    random: Pcg64,
    codec: Codec,
}

impl Fuzzer {
    fn new(seed: u64) -> Fuzzer {
        Fuzzer { random: Pcg64::seed_from_u64(seed), codec: codec() }
    }

    fn below(&mut self, bound: usize) -> usize {
        self.random.next_u64() as usize % bound
    }

    /// Bytes of a frame that began as a sound one more often than not.
    fn bytes(&mut self) -> Vec<u8> {
        let mut bytes = match self.below(9) {
            0 => self.noise(),
            1 => self.pause(),
            8 => self.credit(),
            2 => self.foreign(),
            _ => self.packet(),
        };
        match self.below(6) {
            0 => {
                for _ in 0..1 + self.below(6) {
                    let at = self.below(bytes.len().max(1));
                    if let Some(byte) = bytes.get_mut(at) {
                        *byte ^= 1 << self.below(8);
                    }
                }
            }
            1 => {
                let length = self.below(bytes.len() + 1);
                bytes.truncate(length);
            }
            2 => {
                let length = bytes.len() + self.below(LONGEST_BYTES + 1 - bytes.len());
                bytes.resize(length, 0x5a);
            }
            _ => {}
        }
        bytes
    }

    fn noise(&mut self) -> Vec<u8> {
        let mut bytes = vec![0; self.below(400)];
        self.random.fill_bytes(&mut bytes);
        bytes
    }

    fn encoded(&mut self, frame: &Frame) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.codec.encode(0, 0, frame, &mut bytes).expect("a sound frame");
        bytes
    }

    /// PFC with any enable vector and any times, or another MAC control opcode.
    fn pause(&mut self) -> Vec<u8> {
        let mut quanta = [0; 8];
        quanta.fill_with(|| (self.random.next_u32() >> 22) as u16);
        let pfc = Pfc { class_enable: PrioritySet::from_bits(self.random.next_u32() as u8), quanta };
        let mut bytes = self.encoded(&Frame { body: Body::Pause(pfc), ..frame(0, 0, Priority::P7, 64) });
        if self.below(10) == 0 {
            bytes[15] = self.random.next_u32() as u8;
        }
        bytes
    }

    /// Counts that may be anything, or near to those of a link that has carried little.
    fn credit(&mut self) -> Vec<u8> {
        let shift = self.below(32);
        let (sent, limit) = (self.random.next_u32() >> shift, self.random.next_u32() >> shift);
        let credit =
            Credit { priority: Priority::from_bits(self.below(8) as u8), request: self.below(2) == 0, sent, limit };
        self.encoded(&Frame { body: Body::Credit(credit), ..frame(0, 0, Priority::P7, 64) })
    }

    /// A frame of another protocol between known or unknown stations.
    fn foreign(&mut self) -> Vec<u8> {
        let mut bytes = self.packet();
        let length = bytes.len();
        match self.below(3) {
            0 => bytes[12..14].copy_from_slice(&[0x08, 0x06]),
            1 => bytes[..6].fill(0xff),
            _ => self.random.fill_bytes(&mut bytes[14.min(length)..]),
        }
        bytes
    }

    /// A RoCEv2 packet of any opcode, from and to stations of the plan (NICs and kernels) or strangers.
    fn packet(&mut self) -> Vec<u8> {
        let opcode = Opcode::ALL[self.below(Opcode::ALL.len())];
        let payload = if opcode.extension().payload { self.below(1_100) } else { 0 };
        let pad = payload.wrapping_neg() & 3;
        let near = self.below(12) as u32;
        let packet = Packet {
            va: self.random.next_u64() >> self.below(64),
            dst_qp: if self.below(2) == 0 { QPN } else { self.random.next_u32() & 0xff_ffff },
            psn: if self.below(2) == 0 { near } else { self.random.next_u32() & 0xff_ffff },
            dma_bytes: self.random.next_u32(),
            msn: self.random.next_u32() & 0xff_ffff,
            syndrome: if self.below(4) == 0 { Syndrome::Nak(Nak::PsnSequenceError) } else { Syndrome::ACK },
            opcode,
            pad: pad as u8,
            ack_request: self.below(2) == 0,
            marked: false,
        };
        let (src, dst) = (self.below(9) as u32, self.below(9) as u32);
        let bytes = (payload > 0).then(|| Box::new(vec![0x77; payload].into()));
        let len = message::overhead_bytes(opcode) + (payload + pad) as u16;
        let dscp = self.below(64) as u8;
        let frame = Frame { bytes, len, dscp, body: Body::Roce(packet), ..frame(src, dst, Priority::P0, 64) };
        self.encoded(&frame)
    }
}

#[test]
fn a_switch_survives_any_frames_and_accounts_for_all() {
    let mut fuzzer = Fuzzer::new(1);
    // Station s is behind port s / 2; the last one has no route.
    let routes: Vec<Vec<u16>> = (0..8).map(|station| if station == 7 { vec![] } else { vec![station / 2] }).collect();
    let mut bench = Bench::with_routes(PORTS, small_buffer(PORTS), &routes, 1);
    bench.switch.port_mut(0).set_credits(&GRANTS, &GRANTS);
    let (mut wire, mut offered, mut pauses, mut ignored, mut out) = (Vec::new(), 0, 0, 0, 0);
    let (mut credits, mut told) = (0, 0);
    let (mut dropped, mut renewed) = (0, 0);
    for _ in 0..FRAMES {
        let bytes = fuzzer.bytes();
        match fuzzer.codec.decode(&bytes, Reader::Switch) {
            Some(frame) if matches!(frame.body, Body::Pause(_)) => {
                pauses += 1;
                bench.arrive(fuzzer.below(PORTS.into()) as u16, frame);
            }
            Some(frame) if frame.is_control() => {
                credits += 1;
                bench.arrive(fuzzer.below(PORTS.into()) as u16, frame);
            }
            Some(frame) => {
                assert_eq!(usize::from(frame.len), bytes.len());
                offered += 1;
                bench.arrive(fuzzer.below(PORTS.into()) as u16, frame);
            }
            None => {
                let ours = bytes.len() < 14 || [MAC_CONTROL, EXPERIMENTAL].contains(&[bytes[12], bytes[13]]);
                assert!(ours, "a switch ignored {bytes:02x?}");
                ignored += 1;
            }
        }
        bench.run_until(bench.now + ns(fuzzer.below(50) as u64));
        for sent in bench.sent.drain(..) {
            fuzzer.codec.encode(SWITCH, sent.port, &sent.frame, &mut wire).expect("what came in goes out");
            match sent.frame.body {
                Body::Pause(_) => renewed += 1,
                Body::Credit(_) => told += 1,
                _ => out += 1,
            }
        }
        dropped += bench
            .events
            .drain(..)
            .filter(|event| !matches!(event, PauseReceived { .. } | CreditReceived { .. }))
            .count() as u64;
        assert_eq!((bench.frames_in, bench.frames_out), (offered, out));
        assert_eq!(offered, out + dropped + bench.waiting());
    }
    // Enough of everything, or this test proves little.
    for (what, count) in
        [("out", out), ("dropped", dropped), ("pauses", pauses), ("sent pauses", renewed), ("ignored", ignored)]
            .into_iter()
            .chain([("credits", credits), ("sent credits", told)])
    {
        assert!(count > 500, "{what}: {count}");
    }
    calm(&mut bench);
    bench.run_until_drained();
    assert_eq!(bench.frames_in, bench.frames_out + dropped);
    assert_eq!((bench.waiting(), bench.switch.buffer().used().0), (0, 0));
}

/// Be the honest far end of port 0: answer every question with all that was sent, until the switch has nothing left to ask.
fn calm(bench: &mut Bench) {
    let mut answered = 0;
    while bench.switch.poll_timeout() != Time::NEVER {
        bench.run_until(bench.switch.poll_timeout());
        for seen in std::mem::take(&mut bench.sent) {
            if let (0, Body::Credit(Credit { priority, request: true, sent, .. })) = (seen.port, seen.frame.body) {
                let grant = GRANTS.iter().find(|grant| grant.priority == priority).expect("a granted priority");
                let credit = Credit { priority, request: false, sent: 0, limit: sent.wrapping_add(grant.blocks) };
                bench.arrive(0, Frame::control(Body::Credit(credit)));
                answered += 1;
            }
        }
        assert!(answered < 10_000, "the switch asks for ever");
    }
}

/// A WRITE says itself where it goes, and the peer's may go anywhere in memory.
fn writes(frame: &Frame) -> bool {
    matches!(frame.body, Body::Roce(packet) if matches!(message::decode(packet.opcode), Some((Verb::Write, _))))
}

/// The same frames at a NIC with a connection: its peer's may fail the connection, nobody's may write outside the message's place.
#[test]
fn a_nic_survives_any_frames() {
    let mut fuzzer = Fuzzer::new(2);
    let (mut read, mut own) = (0u64, 0u64);
    for round in 0..100 {
        let verb = if round % 2 == 0 { Verb::Write } else { Verb::Send };
        let mut pair = Pair::new(transport(verb), &[3_000, 700]);
        pair.b.port_mut(0).set_credits(&GRANTS, &GRANTS);
        pair.b.start(pair.now);
        for _ in 0..FRAMES / 100 {
            let bytes = fuzzer.bytes();
            let Some(frame) = fuzzer.codec.decode(&bytes, Reader::Nic) else { continue };
            read += 1;
            if verb == Verb::Send && writes(&frame) {
                continue;
            }
            own += u64::from(frame.src == Station(0) && !frame.is_control());
            pair.now += ns(fuzzer.below(1_000) as u64);
            pair.b.handle_frame(0, frame.into(), pair.now);
            while pair.b.poll_event().is_some() {}
            while pair.b.poll_transmit(pair.now).is_some() {}
            if pair.b.poll_timeout() <= pair.now {
                pair.b.handle_timeout(pair.now);
            }
        }
        if verb == Verb::Send {
            pair.assert_untouched(0, 64);
            pair.assert_untouched(64 + 3_000, 64);
            pair.assert_untouched(64 + 3_000 + 64 + 700, 64);
        }
    }
    assert!(read > 50_000 && own > 2_000, "{read} frames read, {own} from the peer");
}

#[test]
fn the_longest_frame_and_the_shortest_pass_unharmed() {
    let mut fuzzer = Fuzzer::new(3);
    for length in [14, 59, 60, 1_514, LONGEST_BYTES] {
        let mut bytes = fuzzer.packet();
        bytes.resize(length, 0);
        bytes[..12].copy_from_slice(&[2, 0, 0, 0, 0, 3, 2, 0, 0, 0, 0, 1]);
        bytes[12..14].copy_from_slice(&[0x08, 0x06]);
        let decoded = fuzzer.codec.decode(&bytes, Reader::Switch).expect("a frame to forward");
        assert_eq!((decoded.src, decoded.dst), (Station(1), Station(3)));
        assert_eq!(fuzzer.encoded(&decoded), bytes);
    }
}
