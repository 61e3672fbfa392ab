//! The sending end of an RC connection: numbers packets, sends them within a window, and sends again what was lost.

use std::collections::{BTreeMap, VecDeque};

use super::chunks::Timers;
use super::code::{parity_bytes, Code};
use super::message::{self, Place};
use super::qp::{rnr_delay, Failure, Recovery, RequesterCounters, Transport, PSN_HALF, PSN_MASK, RNR_FOR_EVER};
use super::resend::Resend;
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
        let fresh = self.next < self.posted && self.next - self.unacknowledged < self.transport.window;
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
                let window_closes = psn + 1 - self.unacknowledged >= transport.window;
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
        };
        Segment { packet, offset: message.offset + done, bytes }
    }

    /// Take an acknowledgement of all packets up to `psn`, or of the unit of a chunk that ends with it. Returns the numbers of the
    /// messages that finished with it.
    pub fn acknowledge(&mut self, psn: u32, now: Time) -> std::ops::Range<u64> {
        self.counters.acks_rx += 1;
        let Some(psn) = self.unwrap(psn) else { return self.finished..self.finished };
        let Some(mut chunks) = self.chunks.take() else { return self.advance(psn + 1, now) };
        let unit = chunks.unit(psn, &self.messages[self.message_of(psn)].packets());
        self.resend.forget(unit.clone());
        let finished = self.advance(chunks.arrive(unit, self.unacknowledged), now);
        self.deadline = chunks.deadline(self.unacknowledged);
        self.chunks = Some(chunks);
        finished
    }

    /// Take a NAK for a sequence error. Go-back-N: all before `psn` arrived, `psn` did not. Selective repeat: `psn` is missing.
    pub fn negative(&mut self, psn: u32, now: Time) -> std::ops::Range<u64> {
        self.counters.naks_rx += 1;
        // What is still to come of before the peer was not ready, it has forgotten.
        let psn = self.unwrap(psn).filter(|_| !self.waiting);
        let Some(psn) = psn else { return self.finished..self.finished };
        match self.transport.recovery {
            Recovery::GoBackN => {
                let finished = self.advance(psn, now);
                self.go_back();
                finished
            }
            // Nobody asks for packets of chunks.
            Recovery::Timer { .. } => self.finished..self.finished,
            Recovery::SelectiveRepeat | Recovery::Erasure(_) => {
                self.count_block(psn);
                self.missing.entry(psn).or_insert(0);
                self.resend.push(psn);
                self.repeat_first(psn + 1);
                self.finished..self.finished
            }
        }
    }

    /// Take an RNR NAK: all before `psn` arrived, `psn` found no receive, and all behind it was forgotten. It is sent again, whatever
    /// the recovery, when the time that the peer asks for is over.
    pub fn not_ready(&mut self, psn: u32, timer: u8, now: Time) -> std::ops::Range<u64> {
        self.counters.rnr_naks_rx += 1;
        let (psn, rnr) = (self.unwrap(psn).filter(|_| !self.waiting), self.transport.rnr);
        let (Some(psn), Some(rnr)) = (psn, rnr) else { return self.finished..self.finished };
        let finished = self.advance(psn, now);
        if self.rnr_retries_left == 0 && rnr.retries != RNR_FOR_EVER {
            self.failure = Some(Failure::RnrRetryExceeded);
            self.deadline = Time::NEVER;
            return finished;
        }
        self.rnr_retries_left = self.rnr_retries_left.saturating_sub(1);
        self.resend.clear();
        self.missing.clear();
        self.go_back();
        self.waiting = true;
        self.deadline = now + rnr_delay(timer);
        finished
    }

    /// Count the block of a packet that is missing, if it is the first of its block to be asked for.
    fn count_block(&mut self, psn: u64) {
        let Recovery::Erasure(code) = self.transport.recovery else { return };
        let message = &self.messages[self.message_of(psn)];
        let first = psn - (psn - message.first) % u64::from(code.data);
        let end = (first + u64::from(code.data)).min(message.end);
        self.counters.blocks_asked += u64::from(self.missing.range(first..end).next().is_none());
    }

    /// The peer answered to something that left when `next` was `heard` or later. Paths keep order, so if the first of the
    /// missing packets was sent again before that, and still is not acknowledged, it was lost again, or the NAK of one before it
    /// was. That one lies where the next acknowledgement would have been asked for. (Others may have arrived: what is behind the
    /// first draws no acknowledgement.)
    ///
    /// Under erasure only: selective repeat's responder asks for such packets itself, and draws wrong conclusions from what comes
    /// without having been asked for.
    fn repeat_first(&mut self, heard: u64) {
        if !matches!(self.transport.recovery, Recovery::Erasure(_)) {
            return;
        }
        if let Some((&psn, &behind)) = self.missing.first_key_value() {
            if behind > 0 && behind < heard {
                let unheard = self.unacknowledged..psn.min(self.unacknowledged + self.transport.ack_every);
                unheard.chain([psn]).for_each(|psn| self.resend.push(psn));
            }
        }
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
            self.rnr_retries_left = self.transport.rnr.map_or(0, |rnr| rnr.retries);
            let outstanding = self.next > unacknowledged;
            if !self.waiting {
                self.deadline = if outstanding { now + self.transport.timeout } else { Time::NEVER };
            }
        }
        if !self.missing.is_empty() {
            let later = self.missing.split_off(&self.unacknowledged);
            let repaired = std::mem::replace(&mut self.missing, later);
            self.resend.forget_before(self.unacknowledged);
            self.repeat_first(repaired.into_values().max().unwrap_or(0));
        }
        // Parity of what has arrived is of no use.
        self.parity = self.parity.filter(|block| block.first + u64::from(block.data) > self.unacknowledged);
        while self.messages.front().is_some_and(|message| message.end <= self.unacknowledged) {
            self.messages.pop_front();
            self.finished += 1;
            self.current = self.current.saturating_sub(1);
        }
        if self.next < self.unacknowledged {
            self.next = self.unacknowledged;
            self.current = 0;
            self.parity = None;
            if !self.waiting {
                self.deadline = Time::NEVER;
            }
        }
        before..self.finished
    }

    /// Send again from the oldest packet not acknowledged. The timer starts when that one leaves: a paused port spends no retries.
    fn go_back(&mut self) {
        self.next = self.unacknowledged;
        self.current = 0;
        self.parity = None;
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
