//! Two NICs on one wire that the test controls: `a` sends messages to `b`, and the test decides what becomes of each frame.

use _dataplane::event::Event;
use _dataplane::frame::{Body, Frame, Packet, Station};
use _dataplane::nic::memory::Memory;
use _dataplane::nic::rc::message::Verb;
use _dataplane::nic::rc::qp::{Recovery, RequesterCounters, Transport};
use _dataplane::nic::schedule::{Op, Schedule};
use _dataplane::nic::{Host, Lane, Load, QpConfig, Rank};
use _dataplane::priority::Priority;
use _dataplane::units::Time;
use _dataplane::wire::roce::{Opcode, Syndrome};
use rand_core::{Rng, SeedableRng};
use rand_pcg::Pcg64;

use super::frames::{gbps, ns, strict};

pub const QPN: u32 = 17;
/// Bytes between messages in memory, which nobody may touch.
const GUARD: u64 = 64;
const UNTOUCHED: u8 = 0xa5;
pub const PRIORITY: Priority = Priority::P3;
/// What a frame takes from end to end of the wire.
pub const DELAY: Time = Time::from_ns(1_000);

/// What the wire does with a frame.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Fate {
    Deliver,
    Drop,
    Twice,
    /// Arrive this much later, after frames sent behind it.
    Late(Time),
}

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Side {
    A,
    B,
}

/// A packet that one side put on the wire.
#[derive(Copy, Clone, Debug)]
pub struct Sent {
    pub at: Time,
    pub from: Side,
    pub packet: Packet,
}

impl Sent {
    pub fn is_data(&self) -> bool {
        self.packet.opcode != Opcode::Ack
    }

    pub fn is_ack(&self) -> bool {
        !self.is_data() && matches!(self.packet.syndrome, Syndrome::Ack { .. })
    }

    pub fn is_nak(&self) -> bool {
        !self.is_data() && matches!(self.packet.syndrome, Syndrome::Nak(_))
    }
}

/// A transport with an MTU of 256 bytes, an acknowledgement every 4 packets, a window of 16, and 3 retries of 65.536 µs.
pub fn transport(verb: Verb) -> Transport {
    Transport {
        verb,
        mtu: 256,
        ack_every: 4,
        window: 16,
        timeout: ns(4_096 << 4),
        retries: 3,
        rnr: None,
        first_psn: 0,
        recovery: Recovery::GoBackN,
        frames: None,
    }
}

pub struct Pair {
    pub a: Host,
    pub b: Host,
    pub now: Time,
    /// Frames on their way: arrival, number, receiver.
    wire: Vec<(Time, u64, Side, Box<Frame>)>,
    numbers: u64,
    pub sent: Vec<Sent>,
    pub events_a: Vec<Event>,
    pub events_b: Vec<Event>,
    sizes: Vec<u64>,
    offsets: Vec<u64>,
}

impl Pair {
    /// Two NICs at 100 Gb/s, 1 µs apart; `a` has messages of these sizes for `b`.
    pub fn new(transport: Transport, sizes: &[u64]) -> Pair {
        Pair::late(transport, sizes, Time::ZERO)
    }

    /// The same, but `b` begins to post its receives after `delay`, and then each so much after the one before.
    pub fn late(transport: Transport, sizes: &[u64], delay: Time) -> Pair {
        let (mut offsets, mut end) = (Vec::new(), GUARD);
        for size in sizes {
            offsets.push(end);
            end += size + GUARD;
        }
        let place = |(size, offset): (&u64, &u64)| (*offset, *size);
        let sends = sizes.iter().zip(&offsets).map(place);
        let sends = sends.map(|(offset, bytes)| (Op::Send { qp: 0, offset, bytes, remote: offset }, vec![]));
        let recvs = sizes.iter().zip(&offsets).map(place);
        let recvs = recvs.map(|(offset, bytes)| Op::Recv { qp: 0, offset, bytes });
        let recvs = recvs.enumerate().flat_map(|(number, recv)| match delay {
            Time::ZERO => vec![(recv, vec![])],
            duration => {
                let before = number.checked_sub(1).map(|before| 2 * before);
                vec![(Op::Calc { duration }, before.into_iter().collect()), (recv, vec![2 * number])]
            }
        });
        let bytes = end;
        let host = |station: u32, peer: u32, ops: Vec<(Op, Vec<usize>)>| {
            let mut host = Host::new(vec![(Station(station), strict(gbps(100)))]);
            let end = station as u8;
            let peer = Station(peer);
            let (priority, dscp) = (PRIORITY, 24);
            let qp = QpConfig { qpn: QPN, end, peer, entropy: 49_169, nic: 0, rank: 0, lane: 0, priority, dscp };
            let memory = Memory::new(bytes).unwrap();
            let rank = Rank { schedule: Schedule::new(ops, 1).into(), memory, lanes: vec![Lane::Qp(0)] };
            let (qps, copies, ranks) = (vec![qp], vec![], vec![rank]);
            host.load(Load { transport, congestion: None, ack_dscp: None, qps, copies, ranks });
            host
        };
        let (mut a, mut b) = (host(0, 1, sends.collect()), host(1, 0, recvs.collect()));
        Pcg64::seed_from_u64(end).fill_bytes(a.memory_mut(0).unwrap().get_mut(0, end).expect("all of it"));
        b.memory_mut(0).unwrap().get_mut(0, end).expect("all of it").fill(UNTOUCHED);
        Pair {
            a,
            b,
            now: Time::ZERO,
            wire: Vec::new(),
            numbers: 0,
            sent: Vec::new(),
            events_a: Vec::new(),
            events_b: Vec::new(),
            sizes: sizes.to_vec(),
            offsets,
        }
    }

    /// Have a frame reach one side at `at`, from nowhere.
    pub fn inject(&mut self, at: Time, to: Side, frame: impl Into<Box<Frame>>) {
        self.numbers += 1;
        self.wire.push((at, self.numbers, to, frame.into()));
    }

    /// Run on a wire that loses nothing.
    pub fn run(&mut self) {
        self.run_with(|_, _| Fate::Deliver);
    }

    /// Run until both sides are drained; `fate` decides about each frame by its number among those of its side, from 0.
    pub fn run_with(&mut self, mut fate: impl FnMut(&Sent, usize) -> Fate) {
        self.a.start(self.now);
        self.b.start(self.now);
        self.settle(&mut fate);
        for _ in 0..1_000_000 {
            let arrival = self.wire.iter().map(|(at, ..)| *at).min().unwrap_or(Time::NEVER);
            let next = arrival.min(self.a.poll_timeout()).min(self.b.poll_timeout());
            if next == Time::NEVER {
                return;
            }
            assert!(next >= self.now, "a timer in the past");
            self.now = next;
            self.deliver();
            if self.a.poll_timeout() <= self.now {
                self.a.handle_timeout(self.now);
            }
            if self.b.poll_timeout() <= self.now {
                self.b.handle_timeout(self.now);
            }
            self.settle(&mut fate);
        }
        panic!("the pair never drains");
    }

    fn deliver(&mut self) {
        let now = self.now;
        let (mut due, rest): (Vec<_>, Vec<_>) = self.wire.drain(..).partition(|(at, ..)| *at <= now);
        self.wire = rest;
        due.sort_by_key(|(at, number, ..)| (*at, *number));
        for (_, _, to, frame) in due {
            match to {
                Side::A => self.a.handle_frame(0, frame, now),
                Side::B => self.b.handle_frame(0, frame, now),
            }
        }
    }

    fn settle(&mut self, fate: &mut impl FnMut(&Sent, usize) -> Fate) {
        while let Some(event) = self.a.poll_event() {
            self.events_a.push(event);
        }
        while let Some(event) = self.b.poll_event() {
            self.events_b.push(event);
        }
        while let Some((_, frame)) = self.a.poll_transmit(self.now) {
            self.transmit(Side::A, frame, fate);
        }
        while let Some((_, frame)) = self.b.poll_transmit(self.now) {
            self.transmit(Side::B, frame, fate);
        }
    }

    fn transmit(&mut self, from: Side, frame: Box<Frame>, fate: &mut impl FnMut(&Sent, usize) -> Fate) {
        let Body::Roce(packet) = frame.body else { panic!("a NIC sent {frame:?}") };
        let (to, earlier) = (if from == Side::A { Side::B } else { Side::A }, self.from(from).count());
        let sent = Sent { at: self.now, from, packet };
        self.sent.push(sent);
        let arrival = self.now + gbps(100).serialisation(frame.wire_bytes()) + DELAY;
        let arrivals = match fate(&sent, earlier) {
            Fate::Deliver => vec![arrival],
            Fate::Drop => vec![],
            Fate::Twice => vec![arrival, arrival],
            Fate::Late(by) => vec![arrival + by],
        };
        for at in arrivals {
            self.numbers += 1;
            self.wire.push((at, self.numbers, to, frame.clone()));
        }
    }

    /// What one side sent, in order.
    pub fn from(&self, side: Side) -> impl Iterator<Item = &Sent> {
        self.sent.iter().filter(move |sent| sent.from == side)
    }

    /// PSNs of the data packets that `a` sent, in order.
    pub fn psns(&self) -> Vec<u32> {
        self.from(Side::A).map(|sent| sent.packet.psn).collect()
    }

    pub fn counters(&self) -> RequesterCounters {
        self.a.counters().next().expect("one connection").1.clone()
    }

    /// Check that every message arrived once, in order, whole and in its place, and nothing else was written.
    pub fn assert_delivered(&self) {
        let arrived = self.events_b.iter().filter(|event| matches!(event, Event::MessageArrived { .. }));
        let wanted = self.sizes.iter().zip(0..);
        let wanted = wanted.map(|(&bytes, message)| Event::MessageArrived { qpn: QPN, end: 1, message, bytes });
        assert!(arrived.cloned().eq(wanted), "messages arrived: {:?}", self.events_b);
        let finished = self.events_a.iter().filter(|event| matches!(event, Event::SendFinished { .. }));
        let wanted = (0..self.sizes.len() as u64).map(|message| Event::SendFinished { qpn: QPN, message });
        assert!(finished.cloned().eq(wanted), "sends finished: {:?}", self.events_a);
        for events in [&self.events_a, &self.events_b] {
            assert_eq!(events.iter().filter(|event| matches!(event, Event::RankFinished { rank: 0 })).count(), 1);
        }
        self.assert_memory();
    }

    /// Check the memory of `b`: messages where they belong, guards untouched.
    pub fn assert_memory(&self) {
        let mut end = 0;
        for (&offset, &size) in self.offsets.iter().zip(&self.sizes) {
            self.assert_untouched(end, offset - end);
            assert!(
                self.a.memory(0).unwrap().get(offset, size) == self.b.memory(0).unwrap().get(offset, size),
                "payload at {offset}"
            );
            end = offset + size;
        }
        self.assert_untouched(end, GUARD);
    }

    pub fn assert_untouched(&self, offset: u64, bytes: u64) {
        let bytes = self.b.memory(0).unwrap().get(offset, bytes).expect("within memory");
        assert!(bytes.iter().all(|byte| *byte == UNTOUCHED), "memory was written at or after {offset}");
    }
}
