//! One RC connection: the requester numbers, sends and resends packets; the responder takes them in order and acknowledges.
//!
//! Sequence numbers are 64 bits inside and 24 bits on the wire; a window below 2^23 packets makes that unambiguous (IBTA volume 1, 9.7.1).

use std::collections::VecDeque;

use super::message::{self, Place, Verb};
use crate::frame::Packet;
use crate::units::Time;
use crate::wire::roce::Syndrome;

const PSN_MASK: u64 = 0xff_ffff;
const PSN_HALF: u64 = 0x80_0000;

/// What both ends of a connection agree on.
#[derive(Copy, Clone, Debug)]
pub struct Transport {
    pub verb: Verb,
    pub mtu: u32,
    /// An acknowledgement is asked for at least every so many packets.
    pub ack_every: u64,
    /// Packets sent and not yet acknowledged, at most.
    pub window: u64,
    pub timeout: Time,
    pub retries: u32,
    /// Number of the first packet, each way.
    pub first_psn: u64,
}

/// A message on its way: packets `first..end`.
#[derive(Debug)]
struct Message {
    first: u64,
    end: u64,
    offset: u64,
    remote: u64,
    bytes: u64,
}

/// A data packet to send: its headers, and where its payload lies in local memory.
#[derive(Debug, PartialEq)]
pub struct Segment {
    pub packet: Packet,
    pub offset: u64,
    pub bytes: u32,
}

#[derive(Clone, Default, Debug)]
pub struct RequesterCounters {
    pub packets_tx: u64,
    pub retransmitted: u64,
    pub acks_rx: u64,
    pub naks_rx: u64,
    pub timeouts: u64,
}

/// What ended a connection.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Failure {
    RetryExceeded,
    /// The responder refused a packet: a NAK other than for a sequence error.
    Refused,
}

impl Failure {
    /// The `error` of a QP in run.json.
    pub fn name(self) -> &'static str {
        match self {
            Failure::RetryExceeded => "retry exceeded",
            Failure::Refused => "refused by the peer",
        }
    }
}

/// The sending end. Go-back-N: after a NAK or a timeout everything from the first packet not acknowledged is sent again.
#[derive(Debug)]
pub struct Requester {
    transport: Transport,
    dst_qp: u32,
    messages: VecDeque<Message>,
    /// Messages finished before `messages[0]`.
    finished: u64,
    /// Index in `messages` of the one that `next` belongs to.
    current: usize,
    /// One past the last packet posted, the next to send, the oldest not acknowledged, one past the highest ever sent.
    posted: u64,
    next: u64,
    unacknowledged: u64,
    high: u64,
    deadline: Time,
    retries_left: u32,
    failure: Option<Failure>,
    pub counters: RequesterCounters,
}

impl Requester {
    pub fn new(transport: Transport, dst_qp: u32) -> Requester {
        let first = transport.first_psn;
        Requester {
            transport,
            dst_qp,
            messages: VecDeque::new(),
            finished: 0,
            current: 0,
            posted: first,
            next: first,
            unacknowledged: first,
            high: first,
            deadline: Time::NEVER,
            retries_left: transport.retries,
            failure: None,
            counters: RequesterCounters::default(),
        }
    }

    /// Queue a message; an empty one still takes a packet. Returns its number on this connection, from 0.
    pub fn post(&mut self, offset: u64, remote: u64, bytes: u64) -> u64 {
        let packets = bytes.div_ceil(u64::from(self.transport.mtu)).max(1);
        let first = self.posted;
        self.posted += packets;
        self.messages.push_back(Message { first, end: self.posted, offset, remote, bytes });
        self.finished + self.messages.len() as u64 - 1
    }

    #[inline]
    pub fn can_send(&self) -> bool {
        self.failure.is_none() && self.next < self.posted && self.next - self.unacknowledged < self.transport.window
    }

    /// Why nothing more is sent on the connection, if so.
    pub fn failure(&self) -> Option<Failure> {
        self.failure
    }

    /// When the retransmission timer runs out; `Time::NEVER` while nothing is outstanding.
    pub fn deadline(&self) -> Time {
        self.deadline
    }

    /// Build the next packet. Only to be called while `can_send`.
    pub fn send(&mut self, now: Time) -> Segment {
        debug_assert!(self.can_send());
        let transport = &self.transport;
        let psn = self.next;
        let current = &self.messages[self.current];
        debug_assert!((current.first..current.end).contains(&psn));
        let place = Place::of(psn == current.first, psn + 1 == current.end);
        let done = (psn - current.first) * u64::from(transport.mtu);
        let bytes = (current.bytes - done).min(u64::from(transport.mtu)) as u32;
        let window_closes = psn + 1 - self.unacknowledged >= transport.window;
        let packet = Packet {
            va: current.remote,
            dst_qp: self.dst_qp,
            psn: (psn & PSN_MASK) as u32,
            dma_bytes: current.bytes as u32,
            msn: 0,
            syndrome: Syndrome::ACK,
            opcode: message::encode(transport.verb, place),
            pad: (bytes.wrapping_neg() & 3) as u8,
            ack_request: place.ends() || (psn + 1).is_multiple_of(transport.ack_every) || window_closes,
        };
        let segment = Segment { packet, offset: current.offset + done, bytes };
        if psn == self.unacknowledged {
            self.deadline = now + transport.timeout;
        }
        self.next += 1;
        if self.next == self.messages[self.current].end {
            self.current += 1;
        }
        self.counters.packets_tx += 1;
        self.counters.retransmitted += u64::from(psn < self.high);
        self.high = self.high.max(self.next);
        segment
    }

    /// Take an acknowledgement of all packets up to `psn`. Returns the numbers of the messages that finished with it.
    pub fn acknowledge(&mut self, psn: u32, now: Time) -> std::ops::Range<u64> {
        self.counters.acks_rx += 1;
        match self.unwrap(psn) {
            Some(acknowledged) => self.advance(acknowledged + 1, now),
            None => self.finished..self.finished,
        }
    }

    /// Take a NAK for a sequence error: all before `psn` arrived, `psn` did not. Go back to it.
    pub fn negative(&mut self, psn: u32, now: Time) -> std::ops::Range<u64> {
        self.counters.naks_rx += 1;
        match self.unwrap(psn) {
            Some(expected) => {
                let finished = self.advance(expected, now);
                self.go_back();
                finished
            }
            None => self.finished..self.finished,
        }
    }

    /// The retransmission timer ran out: go back, or fail once the retries are used up.
    pub fn time_out(&mut self) {
        self.counters.timeouts += 1;
        if self.retries_left == 0 {
            self.failure = Some(Failure::RetryExceeded);
            self.deadline = Time::NEVER;
            return;
        }
        self.retries_left -= 1;
        self.go_back();
    }

    /// Stop for good (the responder refused a packet).
    pub fn fail(&mut self) {
        self.failure = Some(Failure::Refused);
        self.deadline = Time::NEVER;
    }

    /// The full number of a 24-bit PSN of an outstanding packet; `None` for a stale or foolish one.
    fn unwrap(&self, psn: u32) -> Option<u64> {
        let ahead = u64::from(psn).wrapping_sub(self.unacknowledged) & PSN_MASK;
        let full = self.unacknowledged + ahead;
        (ahead < PSN_HALF && full < self.high).then_some(full)
    }

    fn advance(&mut self, unacknowledged: u64, now: Time) -> std::ops::Range<u64> {
        let before = self.finished;
        if unacknowledged > self.unacknowledged {
            self.unacknowledged = unacknowledged;
            self.retries_left = self.transport.retries;
            let outstanding = self.next > unacknowledged;
            self.deadline = if outstanding { now + self.transport.timeout } else { Time::NEVER };
        }
        while self.messages.front().is_some_and(|message| message.end <= self.unacknowledged) {
            self.messages.pop_front();
            self.finished += 1;
            self.current = self.current.saturating_sub(1);
        }
        if self.next < self.unacknowledged {
            self.go_back();
        }
        before..self.finished
    }

    /// Send again from the oldest packet not acknowledged. The timer starts when that one leaves: a paused port spends no retries.
    fn go_back(&mut self) {
        self.next = self.unacknowledged;
        self.current = 0;
        self.deadline = Time::NEVER;
    }
}

/// What the responder makes of a data packet.
#[derive(Debug, PartialEq)]
pub enum Verdict {
    /// In order: put the payload at `offset`; if the packet ended the message, its number and bytes.
    Accept { psn: u64, offset: u64, arrived: Option<(u64, u64)> },
    /// Seen before; acknowledge again if asked.
    Duplicate,
    /// A gap lies before it; the first such packet is answered with a NAK.
    Gap { first: bool },
    /// Not a packet of this message, or more than its receive has room for (IBTA volume 1, 9.7.4: NAK invalid request).
    Invalid,
}

/// The receiving end.
#[derive(Debug, Default)]
pub struct Responder {
    expected: u64,
    nak_sent: bool,
    /// Messages that arrived whole.
    arrived: u64,
    /// Where the next payload goes, and the bytes of the message so far, while inside one.
    offset: u64,
    bytes: u64,
    inside: bool,
    refused: bool,
}

impl Responder {
    pub fn new(transport: &Transport) -> Responder {
        Responder { expected: transport.first_psn, ..Responder::default() }
    }

    /// The PSN that an acknowledgement names: the last one taken.
    pub fn acknowledged_psn(&self) -> u32 {
        (self.expected.wrapping_sub(1) & PSN_MASK) as u32
    }

    pub fn expected_psn(&self) -> u32 {
        (self.expected & PSN_MASK) as u32
    }

    /// The message sequence number of an AETH.
    pub fn msn(&self) -> u32 {
        (self.arrived & PSN_MASK) as u32
    }

    /// Number of the message that the next packet belongs to.
    pub fn message(&self) -> u64 {
        self.arrived
    }

    /// Take nothing more: a refused packet puts the connection into error (IBTA volume 1, 9.9.3).
    pub fn refuse(&mut self) {
        self.refused = true;
    }

    pub fn has_refused(&self) -> bool {
        self.refused
    }

    /// Judge a packet of `bytes` payload; `buffer` is where a SEND's message goes and the room there (a WRITE says so itself).
    pub fn receive(&mut self, packet: &Packet, verb: Verb, place: Place, bytes: u64, buffer: (u64, u64)) -> Verdict {
        let ahead = u64::from(packet.psn).wrapping_sub(self.expected) & PSN_MASK;
        if ahead >= PSN_HALF {
            return Verdict::Duplicate;
        }
        if ahead > 0 {
            return Verdict::Gap { first: !std::mem::replace(&mut self.nak_sent, true) };
        }
        let held = if place.starts() { 0 } else { self.bytes };
        let overlong = verb == Verb::Send && held.saturating_add(bytes) > buffer.1;
        if place.starts() == self.inside || overlong {
            return Verdict::Invalid;
        }
        self.nak_sent = false;
        if place.starts() {
            self.offset = if verb == Verb::Write { packet.va } else { buffer.0 };
            self.bytes = 0;
        }
        let psn = self.expected;
        let offset = self.offset;
        self.expected += 1;
        self.offset = self.offset.saturating_add(bytes);
        self.bytes += bytes;
        self.inside = !place.ends();
        let arrived = place.ends().then_some((self.arrived, self.bytes));
        self.arrived += u64::from(place.ends());
        Verdict::Accept { psn, offset, arrived }
    }
}
