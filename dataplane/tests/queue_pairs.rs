//! Two NICs on a wire under test control: messages arrive exactly once and in place, whatever the wire does, until retries run out.

mod common;

use _dataplane::event::Event;
use _dataplane::frame::{Body, Frame, Packet, Station};
use _dataplane::nic::rc::code::Code;
use _dataplane::nic::rc::message::Verb;
use _dataplane::nic::rc::qp::{Failure, Recovery, Transport};
use _dataplane::nic::rc::requester::Requester;
use _dataplane::nic::rc::responder::{Responder, Verdict};
use _dataplane::priority::Priority;
use _dataplane::units::Time;
use _dataplane::wire::roce::{Nak, Opcode, Syndrome};
use common::frames::{frame, gbps, ns, pause};
use common::pair::{transport, Fate, Pair, Sent, Side, DELAY, PRIORITY, QPN};
use proptest::prelude::*;
use rand_core::{Rng, SeedableRng};
use rand_pcg::Pcg64;

const VERBS: [Verb; 2] = [Verb::Write, Verb::Send];
const MTU: u64 = 256;
const RECOVERIES: [Recovery; 6] = [
    Recovery::GoBackN,
    Recovery::SelectiveRepeat,
    Recovery::Erasure(Code { data: 5, parity: 2 }),
    Recovery::Erasure(Code { data: 1, parity: 1 }),
    Recovery::Timer { chunk: 4 },
    Recovery::Timer { chunk: 1 },
];

/// Drop the frame with this number among those of `side`, once.
fn dropping(side: Side, numbers: &[usize]) -> impl FnMut(&Sent, usize) -> Fate + '_ {
    move |sent, number| if sent.from == side && numbers.contains(&number) { Fate::Drop } else { Fate::Deliver }
}

#[test]
fn messages_of_every_size_arrive_once_and_in_place() {
    let sizes = [0, 1, 2, 3, MTU - 1, MTU, MTU + 1, 2 * MTU, 10 * MTU + 5, 0, 100 * MTU];
    for verb in VERBS {
        let mut pair = Pair::new(transport(verb), &sizes);
        pair.run();
        pair.assert_delivered();
        let counters = pair.counters();
        assert_eq!((counters.retransmitted, counters.naks_rx, counters.timeouts), (0, 0, 0));
        let packets: u64 = sizes.iter().map(|size| size.div_ceil(MTU).max(1)).sum();
        assert_eq!(counters.packets_tx, packets);
    }
}

#[test]
fn a_lost_packet_is_requested_and_everything_after_it_sent_again() {
    for verb in VERBS {
        let mut pair = Pair::new(transport(verb), &[8 * MTU]);
        pair.run_with(dropping(Side::A, &[2]));
        pair.assert_delivered();
        let naks: Vec<_> = pair.from(Side::B).filter(|sent| sent.is_nak()).map(|sent| sent.packet).collect();
        assert_eq!(naks.len(), 1, "one NAK a gap");
        assert_eq!((naks[0].psn, naks[0].syndrome), (2, Syndrome::Nak(Nak::PsnSequenceError)));
        assert_eq!(pair.psns(), [0, 1, 2, 3, 4, 5, 6, 7, 2, 3, 4, 5, 6, 7]);
        assert_eq!((pair.counters().retransmitted, pair.counters().timeouts), (6, 0));
    }
}

#[test]
fn a_lost_acknowledgement_is_made_good_by_the_next() {
    let mut pair = Pair::new(transport(Verb::Write), &[12 * MTU]);
    pair.run_with(dropping(Side::B, &[0]));
    pair.assert_delivered();
    assert_eq!(pair.counters().retransmitted, 0);
}

#[test]
fn a_lost_tail_is_sent_again_when_the_timer_runs_out() {
    for exponent in [0, 4, 14] {
        let timeout = ns(4_096 << exponent);
        let mut pair = Pair::new(Transport { timeout, ..transport(Verb::Send) }, &[MTU]);
        pair.run_with(dropping(Side::A, &[0]));
        pair.assert_delivered();
        let starts: Vec<Time> = pair.from(Side::A).map(|sent| sent.at).collect();
        assert_eq!(starts, [Time::ZERO, timeout]);
        assert_eq!(pair.counters().timeouts, 1);
    }
}

#[test]
fn a_duplicate_is_acknowledged_again_and_not_delivered_again() {
    // The acknowledgement of the only packet is lost: the packet comes again.
    let mut pair = Pair::new(transport(Verb::Send), &[100]);
    pair.run_with(dropping(Side::B, &[0]));
    pair.assert_delivered();
    assert_eq!(pair.psns(), [0, 0]);
    let acks: Vec<u32> = pair.from(Side::B).filter(|sent| sent.is_ack()).map(|sent| sent.packet.psn).collect();
    assert_eq!(acks, [0, 0]);
}

#[test]
fn the_connection_fails_once_when_retries_run_out_and_is_silent_then() {
    let mut pair = Pair::new(transport(Verb::Write), &[MTU, MTU]);
    pair.run_with(|sent, _| if sent.from == Side::A { Fate::Drop } else { Fate::Deliver });
    let timeout = transport(Verb::Write).timeout;
    let starts: Vec<Time> = pair.from(Side::A).filter(|sent| sent.packet.psn == 0).map(|sent| sent.at).collect();
    let wanted: Vec<Time> = (0..=3).map(|retry| Time::from_ps(retry * timeout.ps())).collect();
    assert_eq!(starts, wanted);
    assert_eq!(pair.now.ps(), 4 * timeout.ps(), "the last chance waits as long as the others");
    let failed = pair.events_a.iter().filter(|event| **event == Event::QpFailed { qpn: QPN }).count();
    assert_eq!(failed, 1);
    assert!(pair.a.counters().all(|(_, _, failure)| failure == Some(Failure::RetryExceeded)));
    assert!(!pair.a.is_finished() && !pair.b.is_finished());
}

#[test]
fn progress_restores_the_retries() {
    // Every first and second copy of each packet is lost: two timeouts a packet, six in all, with three retries.
    let one = Transport { window: 1, retries: 2, ..transport(Verb::Write) };
    let mut pair = Pair::new(one, &[3 * MTU]);
    pair.run_with(dropping(Side::A, &[0, 1, 3, 4, 6, 7]));
    pair.assert_delivered();
    assert_eq!((pair.counters().timeouts, pair.psns()), (6, vec![0, 0, 0, 1, 1, 1, 2, 2, 2]));
}

#[test]
fn no_more_than_a_window_is_ever_outstanding() {
    for window in [1, 2, 7, 16] {
        let mut pair = Pair::new(Transport { window, ack_every: 64, ..transport(Verb::Write) }, &[50 * MTU]);
        pair.run();
        pair.assert_delivered();
        assert_eq!(pair.counters().retransmitted, 0);
        for sent in pair.from(Side::A) {
            let known = pair.from(Side::B).take_while(|ack| ack.at + DELAY < sent.at).last();
            let acknowledged = known.map_or(0, |ack| u64::from(ack.packet.psn) + 1);
            assert!(u64::from(sent.packet.psn) < acknowledged + window, "window {window}");
        }
    }
}

#[test]
fn acknowledgements_are_requested_as_often_as_agreed() {
    let mut pair = Pair::new(Transport { ack_every: 4, window: 1_000, ..transport(Verb::Write) }, &[18 * MTU, MTU]);
    pair.run();
    pair.assert_delivered();
    let acks: Vec<u32> = pair.from(Side::B).map(|sent| sent.packet.psn).collect();
    assert_eq!(acks, [3, 7, 11, 15, 17, 18], "every fourth packet, and the end of each message");
    let msns: Vec<u32> = pair.from(Side::B).map(|sent| sent.packet.msn).collect();
    assert_eq!(msns, [0, 0, 0, 0, 1, 2]);
}

#[test]
fn a_paused_nic_sends_nothing_and_goes_on_at_the_picosecond() {
    let mut pair = Pair::new(transport(Verb::Write), &[4 * MTU]);
    pair.a.handle_frame(0, pause(&[(PRIORITY, 1_000)]).into(), Time::ZERO);
    pair.run();
    pair.assert_delivered();
    assert_eq!(pair.sent[0].at, gbps(100).quanta(1_000));
    let mut other = Pair::new(transport(Verb::Write), &[4 * MTU]);
    other.a.handle_frame(0, pause(&[(Priority::P4, 1_000)]).into(), Time::ZERO);
    other.run();
    assert_eq!(other.sent[0].at, Time::ZERO);
}

/// Nothing can be acknowledged that has not left: while the port is paused no retry is spent, however long it takes.
#[test]
fn a_pause_longer_than_all_retries_fails_no_connection() {
    let mut pair = Pair::new(transport(Verb::Write), &[MTU]);
    let renewals = 4;
    for renewal in 0..renewals {
        pair.inject(ns(1_000 + renewal * 300_000), Side::A, pause(&[(PRIORITY, u16::MAX)]));
    }
    pair.run_with(dropping(Side::A, &[0]));
    pair.assert_delivered();
    let end = ns(1_000 + (renewals - 1) * 300_000) + gbps(100).quanta(u16::MAX);
    assert!(end.ps() > 16 * transport(Verb::Write).timeout.ps(), "four times what the retries last");
    let starts: Vec<Time> = pair.from(Side::A).map(|sent| sent.at).collect();
    assert_eq!(starts, [Time::ZERO, end]);
    assert_eq!(pair.counters().timeouts, 1);
}

/// A data packet for `b` that the harness forges.
fn forged(src: u32, packet: Packet, payload: &[u8]) -> Frame {
    let len = 74 + payload.len() as u16;
    let bytes = (!payload.is_empty()).then(|| Box::new(payload.to_vec().into()));
    Frame { bytes, len, src: Station(src), body: Body::Roce(packet), ..frame(src, 1, PRIORITY, 64) }
}

fn write_only(psn: u32, va: u64, bytes: u32) -> Packet {
    Packet {
        va,
        dst_qp: QPN,
        psn,
        dma_bytes: bytes,
        msn: 0,
        syndrome: Syndrome::ACK,
        opcode: Opcode::WriteOnly,
        pad: 0,
        ack_request: true,
        marked: false,
    }
}

/// What `b` answers to the packet that it was handed.
fn answer(pair: &mut Pair) -> Syndrome {
    match pair.b.poll_transmit(Time::ZERO).map(|(_, frame)| frame.body) {
        Some(Body::Roce(packet)) => packet.syndrome,
        other => panic!("no answer: {other:?}"),
    }
}

#[test]
fn a_write_outside_the_memory_is_refused_and_ends_the_connection() {
    let mut pair = Pair::new(transport(Verb::Write), &[100]);
    for va in [200, u64::MAX, u64::MAX - 99, 129] {
        let mut fresh = Pair::new(transport(Verb::Write), &[100]);
        fresh.b.handle_frame(0, forged(0, write_only(0, va, 100), &[7; 100]).into(), Time::ZERO);
        fresh.assert_untouched(0, 228);
        assert_eq!(answer(&mut fresh), Syndrome::Nak(Nak::RemoteAccess), "a write of 100 bytes at {va}");
        // What follows on a connection in error is not taken either.
        fresh.b.handle_frame(0, forged(0, write_only(1, 64, 100), &[7; 100]).into(), Time::ZERO);
        fresh.assert_untouched(0, 228);
    }
    let refusal = Packet { opcode: Opcode::Ack, syndrome: Syndrome::Nak(Nak::RemoteAccess), ..write_only(0, 0, 0) };
    for _ in 0..3 {
        pair.a.handle_frame(0, Box::new(Frame { src: Station(1), ..forged(1, refusal, &[]) }), Time::ZERO);
    }
    pair.run();
    assert_eq!(pair.sent.len(), 0, "a failed connection is silent");
    assert_eq!(pair.events_a.iter().filter(|event| matches!(event, Event::QpFailed { .. })).count(), 1);
}

#[test]
fn a_send_longer_than_its_receive_is_refused() {
    let mut pair = Pair::new(transport(Verb::Send), &[100, 300]);
    let send = Packet { opcode: Opcode::SendOnly, ..write_only(0, 0, 0) };
    pair.b.handle_frame(0, Box::new(Frame { len: 58 + 104, ..forged(0, send, &[7; 104]) }), Time::ZERO);
    pair.assert_untouched(0, 592);
    assert_eq!(answer(&mut pair), Syndrome::Nak(Nak::InvalidRequest));
}

#[test]
fn a_packet_in_the_middle_of_no_message_is_refused() {
    let mut pair = Pair::new(transport(Verb::Send), &[100]);
    let middle = Packet { opcode: Opcode::SendMiddle, ..write_only(0, 0, 0) };
    pair.b.handle_frame(0, Box::new(Frame { len: 58 + 64, ..forged(0, middle, &[7; 64]) }), Time::ZERO);
    assert_eq!(answer(&mut pair), Syndrome::Nak(Nak::InvalidRequest));
    pair.assert_untouched(0, 228);
}

fn any_packet(random: &mut Pcg64) -> Packet {
    let word = random.next_u64();
    let near = random.next_u32() & 0x1f;
    Packet {
        va: random.next_u64() >> (word & 63),
        dst_qp: if word & 64 == 0 { QPN } else { random.next_u32() & 0xff_ffff },
        psn: if word & 128 == 0 { near } else { random.next_u32() & 0xff_ffff },
        dma_bytes: random.next_u32(),
        msn: random.next_u32() & 0xff_ffff,
        syndrome: match word >> 8 & 7 {
            0 => Syndrome::Nak(Nak::RemoteAccess),
            1 | 2 => Syndrome::Nak(Nak::PsnSequenceError),
            3 => Syndrome::RnrNak { timer: 1 },
            _ => Syndrome::ACK,
        },
        opcode: Opcode::ALL[(word >> 11) as usize % Opcode::ALL.len()],
        pad: (word >> 20 & 3) as u8,
        ack_request: word >> 22 & 1 == 1,
        marked: false,
    }
}

/// A stranger's packets change nothing; the peer's own, be they ever so wild, never panic.
#[test]
fn wild_packets_do_no_harm() {
    let mut random = Pcg64::seed_from_u64(11);
    let mut pair = Pair::new(transport(Verb::Write), &[3 * MTU, 1, 7 * MTU]);
    for _ in 0..50_000 {
        let payload = vec![7; (random.next_u32() % 600) as usize];
        let wild = Frame { len: random.next_u32() as u16 | 64, ..forged(2, any_packet(&mut random), &payload) };
        pair.a.handle_frame(0, wild.clone().into(), Time::ZERO);
        pair.b.handle_frame(0, wild.into(), Time::ZERO);
    }
    pair.run();
    pair.assert_delivered();
    assert_eq!(pair.counters().retransmitted, 0);
    for seed in 0..500 {
        let mut random = Pcg64::seed_from_u64(seed);
        let recovery = RECOVERIES[seed as usize / 2 % RECOVERIES.len()];
        let verb = VERBS[seed as usize % 2];
        let mut pair = Pair::new(Transport { recovery, ..transport(verb) }, &[3 * MTU, 1]);
        pair.run_with(|sent, number| {
            assert!(number < 100_000, "{sent:?}");
            if random.next_u32() % 4 == 0 {
                Fate::Drop
            } else {
                Fate::Deliver
            }
        });
        for _ in 0..50 {
            let payload = vec![7; (random.next_u32() % 300) as usize];
            let wild = Frame { len: random.next_u32() as u16 | 64, ..forged(0, any_packet(&mut random), &payload) };
            pair.b.handle_frame(0, wild.clone().into(), pair.now);
            pair.a.handle_frame(0, Box::new(Frame { src: Station(1), ..wild }), pair.now);
            while pair.b.poll_transmit(pair.now).is_some() || pair.a.poll_transmit(pair.now).is_some() {}
        }
    }
}

/// Connections live longer than 2^24 packets: numbers wrap on the wire, and losses around the wrap are repaired like any other.
#[test]
fn sequence_numbers_wrap() {
    const WRAP: u64 = 1 << 24;
    const PER_MESSAGE: u64 = 1 << 20;
    let transport = Transport { window: 64, ack_every: 16, ..transport(Verb::Write) };
    let (mut requester, mut responder) = (Requester::new(transport, QPN), Responder::new(&transport));
    (0..17).for_each(|_| assert!(requester.post(0, 0, PER_MESSAGE * MTU) < 17));
    let lost = [WRAP - 40, WRAP - 1, WRAP, WRAP + 3];
    let (mut attempts, mut finished, mut arrived, mut accepted) = (0u64, 0, 0, 0);
    while requester.can_send() {
        let packet = requester.send(Time::ZERO).packet;
        let (verb, place) = _dataplane::nic::rc::message::decode(packet.opcode).expect("a data packet");
        // Each of these is lost the first time it is sent.
        attempts += 1;
        let repaired = requester.counters.naks_rx;
        if lost.get(repaired as usize).is_some_and(|psn| psn % WRAP == u64::from(packet.psn) && accepted == *psn) {
            let behind = requester.send(Time::ZERO).packet;
            let (verb, place) = _dataplane::nic::rc::message::decode(behind.opcode).expect("a data packet");
            let gap = Verdict::Gap { missing: accepted..accepted + 1, keep: false };
            assert_eq!(responder.receive(&behind, verb, place, MTU, (0, u64::MAX)), gap);
            finished += requester.negative((accepted % WRAP) as u32, Time::ZERO).count();
            continue;
        }
        match responder.receive(&packet, verb, place, MTU, (0, u64::MAX)) {
            Verdict::Accept { psn, arrived: message, .. } => {
                assert_eq!(psn, accepted);
                accepted += 1;
                arrived += u64::from(message.is_some());
            }
            verdict => panic!("{verdict:?} for PSN {}", packet.psn),
        }
        if packet.ack_request {
            finished += requester.acknowledge(responder.acknowledged_psn(), Time::ZERO).count();
        }
    }
    assert_eq!((accepted, arrived, finished), (17 * PER_MESSAGE, 17, 17));
    assert_eq!((requester.counters.naks_rx, attempts), (4, accepted + 4));
}

proptest! {
    #![proptest_config(common::cases(300))]

    /// Loss, duplication and reordering in both directions: every message arrives exactly once, in order, in its place.
    #[test]
    fn an_unruly_wire_costs_time_only(
        seed in any::<u64>(),
        verb in prop::sample::select(&VERBS[..]),
        sizes in prop::collection::vec(0u64..20 * MTU, 1..12),
        window in 1u64..40,
        ack_every in 1u64..20,
        faults in 1u32..25,
        recovery in prop::sample::select(&RECOVERIES[..]),
    ) {
        let mut random = Pcg64::seed_from_u64(seed);
        // A window holds a chunk.
        let window = if let Recovery::Timer { chunk } = recovery { window.max(chunk) } else { window };
        let patient = Transport { window, ack_every, recovery, retries: 1_000, ..transport(verb) };
        let mut pair = Pair::new(patient, &sizes);
        pair.run_with(|_, _| {
            if random.next_u32() % 100 >= faults {
                return Fate::Deliver;
            }
            match random.next_u32() % 3 {
                0 => Fate::Drop,
                1 => Fate::Twice,
                _ => Fate::Late(ns(u64::from(random.next_u32() % 100_000))),
            }
        });
        pair.assert_delivered();
    }
}
