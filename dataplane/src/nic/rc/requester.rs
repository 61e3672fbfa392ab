//! The sending end of an RC connection: numbers packets, sends them within a window, and sends again what was lost.

mod answers;
mod control;
mod steady;

use std::collections::{BTreeMap, VecDeque};

use super::chunks::Timers;
use super::code::{parity_bytes, Code};
use super::message::{self, Place};
use super::qp::{Failure, Recovery, RequesterCounters, Transport, PSN_MASK};
use super::resend::Resend;
use super::round_trips::RoundTrips;
use crate::frame::Packet;
use crate::units::Time;
use crate::wire::roce::{Opcode, Peth, Syndrome};

/// A message on its way: packets `first..end`.
#[derive(Debug)]
struct Message {
    first: u64,
    end: u64,
    offset: u64,
    remote: u64,
    bytes: u64,
}

impl Message {
    fn packets(&self) -> std::ops::Range<u64> {
        self.first..self.end
    }
}

/// A block whose data has left: packets `first..first + data` of the data, and the parity packet that is next.
#[derive(Copy, Clone, Debug)]
struct Block {
    first: u64,
    data: u8,
    parity: u8,
    index: u8,
}

/// A data packet to send: its headers, and where its payload lies in local memory. Of a parity packet, where the block's lies.
#[derive(Debug, PartialEq)]
pub struct Segment {
    pub packet: Packet,
    pub offset: u64,
    pub bytes: u32,
}

/// The sending end.
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
    /// Packets to send again before anything new (selective repeat).
    resend: Resend,
    /// Those reported missing and not acknowledged since, with what `next` was when they were last sent again: the first
    /// new packet behind them on the path. Zero until then.
    missing: BTreeMap<u64, u64>,
    /// The block whose parity is due before anything new (erasure).
    parity: Option<Block>,
    /// Packets under way at most: the window of the transport, or less if congestion control says so.
    window: u64,
    /// When packets were sent, for a congestion control that asks for it.
    round_trips: Option<Box<RoundTrips>>,
    /// The timers of the chunks, where nothing else repeats.
    chunks: Option<Box<Timers>>,
    deadline: Time,
    retries_left: u32,
    /// The peer was not ready: nothing is sent before `deadline`.
    waiting: bool,
    rnr_retries_left: u32,
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
            resend: Resend::default(),
            missing: BTreeMap::new(),
            parity: None,
            window: transport.window,
            round_trips: None,
            chunks: Timers::of(&transport).map(Box::new),
            deadline: Time::NEVER,
            retries_left: transport.retries,
            waiting: false,
            rnr_retries_left: transport.rnr.map_or(0, |rnr| rnr.retries),
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
        let fresh = self.next < self.posted && self.next - self.unacknowledged < self.window;
        self.failure.is_none() && !self.waiting && (fresh || !self.resend.is_empty() || self.parity.is_some())
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
        let again = self.resend.pop();
        if let (None, Some(block)) = (again, self.parity) {
            return self.send_parity(block);
        }
        let psn = again.unwrap_or(self.next);
        let index = if again.is_some() { self.message_of(psn) } else { self.current };
        let segment = self.segment(psn, &self.messages[index], again.is_some());
        if let Some(trips) = &mut self.round_trips {
            trips.send(psn, segment.packet.ack_request, now);
        }
        if let Some(chunks) = &mut self.chunks {
            let unit = chunks.unit(psn, &self.messages[index].packets());
            if psn + 1 == unit.end {
                chunks.start(unit, now);
            }
            self.deadline = chunks.deadline(self.unacknowledged);
        } else if psn == self.unacknowledged || self.deadline == Time::NEVER {
            self.deadline = now + self.transport.timeout;
        }
        if again.is_some() {
            if self.chunks.is_none() {
                self.missing.insert(psn, self.next);
            }
        } else {
            self.next += 1;
            if let Recovery::Erasure(code) = self.transport.recovery {
                self.parity = ended_block(&self.messages[index], code, self.next);
                self.counters.blocks += u64::from(self.parity.is_some() && psn >= self.high);
            }
            if self.next == self.messages[self.current].end {
                self.current += 1;
            }
        }
        self.counters.packets_tx += 1;
        self.counters.retransmitted += u64::from(psn < self.high);
        self.high = self.high.max(self.next);
        segment
    }

    /// Build the next parity packet of a block.
    fn send_parity(&mut self, block: Block) -> Segment {
        let next = Block { index: block.index + 1, ..block };
        self.parity = (next.index < block.parity).then_some(next);
        self.counters.packets_tx += 1;
        self.counters.parity_tx += 1;
        let message = &self.messages[self.message_of(block.first)];
        let done = (block.first - message.first) * u64::from(self.transport.mtu);
        let left = message.bytes - done;
        let peth = Peth { data: block.data, parity: block.parity, index: block.index, starts: done == 0 };
        let packet = Packet {
            va: message.remote.wrapping_add(done),
            dst_qp: self.dst_qp,
            psn: (block.first & PSN_MASK) as u32,
            dma_bytes: left as u32,
            msn: Packet::peth_word(peth),
            syndrome: Syndrome::ACK,
            opcode: Opcode::Parity,
            pad: 0,
            ack_request: false,
            marked: false,
        };
        let bytes = parity_bytes(left.min(u64::from(self.transport.mtu))) as u32;
        Segment { packet, offset: message.offset + done, bytes }
    }

    /// Index in `messages` of the one that an outstanding packet belongs to.
    fn message_of(&self, psn: u64) -> usize {
        self.messages.partition_point(|message| message.end <= psn)
    }

    fn segment(&self, psn: u64, message: &Message, again: bool) -> Segment {
        debug_assert!((message.first..message.end).contains(&psn));
        let transport = &self.transport;
        let place = Place::of(psn == message.first, psn + 1 == message.end);
        let done = (psn - message.first) * u64::from(transport.mtu);
        let bytes = (message.bytes - done).min(u64::from(transport.mtu)) as u32;
        let ack_request = match &self.chunks {
            Some(chunks) => psn + 1 == chunks.unit(psn, &message.packets()).end,
            None => {
                let window_closes = psn + 1 - self.unacknowledged >= self.window;
                again || place.ends() || (psn + 1).is_multiple_of(transport.ack_every) || window_closes
            }
        };
        let packet = Packet {
            va: message.remote,
            dst_qp: self.dst_qp,
            psn: (psn & PSN_MASK) as u32,
            dma_bytes: message.bytes as u32,
            msn: 0,
            syndrome: Syndrome::ACK,
            opcode: message::encode(transport.verb, place),
            pad: (bytes.wrapping_neg() & 3) as u8,
            ack_request,
            marked: false,
        };
        Segment { packet, offset: message.offset + done, bytes }
    }

    /// The retransmission timer ran out: send again, or fail once the retries are used up. Or the peer may be ready by now.
    pub fn time_out(&mut self, now: Time) {
        if std::mem::take(&mut self.waiting) {
            self.deadline = Time::NEVER;
            return;
        }
        if let Some(chunks) = &mut self.chunks {
            let units = chunks.run_out(self.unacknowledged, now);
            self.deadline = chunks.deadline(self.unacknowledged);
            return self.repeat_units(units);
        }
        self.counters.timeouts += 1;
        if self.retries_left == 0 {
            return self.give_up();
        }
        self.retries_left -= 1;
        match self.transport.recovery {
            Recovery::GoBackN => self.go_back(),
            Recovery::Timer { .. } => {}
            Recovery::SelectiveRepeat | Recovery::Erasure(_) => {
                // The oldest, and whatever else was reported missing: the packets sent again may have been lost as well. And the
                // newest, which show the peer a gap that reached to the end of what was sent, so that it asks for all of it: of
                // blocks that gap must be a block long.
                let newest = if let Recovery::Erasure(code) = self.transport.recovery { code.data } else { 1 };
                if self.unacknowledged < self.next {
                    self.resend.push(self.unacknowledged);
                }
                self.missing.keys().for_each(|&psn| self.resend.push(psn));
                for psn in self.unacknowledged.max(self.next.saturating_sub(newest.into()))..self.next {
                    self.resend.push(psn);
                }
                self.deadline = Time::NEVER;
            }
        }
    }

    /// Send chunks again whose timers ran out, or fail if one of them has none of its retries left.
    fn repeat_units(&mut self, units: Option<Vec<std::ops::Range<u64>>>) {
        self.counters.timeouts += units.as_ref().map_or(1, |units| units.len() as u64);
        match units {
            Some(units) => units.into_iter().flatten().for_each(|psn| self.resend.push(psn)),
            None => self.give_up(),
        }
    }

    fn give_up(&mut self) {
        self.failure = Some(Failure::RetryExceeded);
        self.deadline = Time::NEVER;
    }

    /// Stop for good (the responder refused a packet).
    pub fn fail(&mut self) {
        self.failure = Some(Failure::Refused);
        self.deadline = Time::NEVER;
    }
}

/// The block of a message, its last one perhaps of fewer packets, that ends before packet `next`; `None` inside a block.
fn ended_block(message: &Message, code: Code, next: u64) -> Option<Block> {
    let into = (next - message.first) % u64::from(code.data);
    if into > 0 && next < message.end {
        return None;
    }
    let data = if into > 0 { into as u8 } else { code.data };
    Some(Block { first: next - u64::from(data), data, parity: code.parity, index: 0 })
}
