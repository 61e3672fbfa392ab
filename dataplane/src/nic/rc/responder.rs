//! The receiving end of an RC connection: takes packets in order, keeps or refuses those that are not, and says what is missing.

mod erasure;
mod steady;

use std::collections::BTreeMap;

use super::blocks::{Arrived, Blocks};
use super::chunks::Attempts;
use super::message::{Place, Verb};
use super::pending_naks::PendingNaks;
use super::qp::{Recovery, Transport, PSN_HALF, PSN_MASK};
use crate::frame::{Frame, Packet};

/// What the responder makes of a data packet.
#[derive(Debug, PartialEq)]
pub enum Verdict {
    /// In order: put the payload at `offset`; if the packet ended the message, its number and bytes.
    Accept { psn: u64, offset: u64, arrived: Option<(u64, u64)> },
    /// Seen before; acknowledge again if asked.
    Duplicate,
    /// Packets before it have not come; those in `missing` (perhaps none) are to be asked for. If `keep`, it will be wanted.
    Gap { missing: std::ops::Range<u64>, keep: bool },
    /// It would begin a message that has no receive: to be sent again later, and all behind it.
    NotReady,
    /// Not a packet of this message, or more than its receive has room for (IBTA volume 1, 9.7.4: NAK invalid request).
    Invalid,
}

/// What a packet is to the unit that it is part of, where units arrive whole or not at all.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Unit {
    /// There, before this packet came.
    Known,
    /// Not whole yet, or not any more.
    Partial,
    /// Whole with this packet, and kept.
    Whole,
}

/// The receiving end.
#[derive(Debug)]
pub struct Responder {
    recovery: Recovery,
    window: u64,
    expected: u64,
    /// One past the highest packet that came or was asked for.
    asked: u64,
    /// What came out of order, by number (selective repeat, erasure).
    kept: BTreeMap<u64, Box<Frame>>,
    /// What is missing, in the order of the NAKs, and what of it is to be asked for again (selective repeat).
    wanted: PendingNaks,
    overtaken: Vec<u64>,
    /// Parity of blocks that lack packets (erasure).
    blocks: Option<Box<Blocks>>,
    /// Units of which a part has come (timer).
    attempts: Option<Box<Attempts>>,
    /// Messages that arrived whole.
    arrived: u64,
    /// Where the next payload goes, and the bytes of the message so far, while inside one.
    offset: u64,
    bytes: u64,
    inside: bool,
    refused: bool,
    /// Nothing is taken until the expected packet comes again.
    deferred: bool,
}

impl Responder {
    pub fn new(transport: &Transport) -> Responder {
        Responder {
            recovery: transport.recovery,
            window: transport.window,
            expected: transport.first_psn,
            asked: transport.first_psn,
            kept: BTreeMap::new(),
            wanted: PendingNaks::default(),
            overtaken: Vec::new(),
            blocks: Blocks::of(transport).map(Box::new),
            attempts: Attempts::of(transport).map(Box::new),
            arrived: 0,
            offset: 0,
            bytes: 0,
            inside: false,
            refused: false,
            deferred: false,
        }
    }

    /// The PSN that an acknowledgement names: the last one taken.
    pub fn acknowledged_psn(&self) -> u32 {
        (self.expected.wrapping_sub(1) & PSN_MASK) as u32
    }

    /// Keep a packet for which `receive` said so.
    pub fn keep(&mut self, psn: u32, frame: Box<Frame>) {
        self.kept.insert(self.expected + self.ahead(psn), frame);
    }

    /// The next packet in order, if it came early and was kept.
    pub fn next_kept(&mut self) -> Option<Box<Frame>> {
        if self.kept.is_empty() {
            return None;
        }
        self.kept.remove(&self.expected)
    }

    /// The full number of a 24-bit PSN: of those that end so the one nearest to the expected packet.
    pub fn number(&self, psn: u32) -> u64 {
        let ahead = self.ahead(psn);
        if ahead < PSN_HALF {
            self.expected + ahead
        } else {
            self.expected.saturating_sub(PSN_MASK + 1 - ahead)
        }
    }

    /// How far a packet is ahead of the expected one.
    fn ahead(&self, psn: u32) -> u64 {
        u64::from(psn).wrapping_sub(self.expected) & PSN_MASK
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

    /// Whether this is the packet that is due.
    pub fn is_due(&self, psn: u32) -> bool {
        self.ahead(psn) == 0
    }

    /// The packet that is due has no receive: forget what came behind it, and take nothing until it comes again.
    pub fn defer(&mut self) -> Verdict {
        self.deferred = true;
        self.kept.clear();
        self.wanted = PendingNaks::default();
        self.asked = self.expected;
        if let Some(blocks) = &mut self.blocks {
            blocks.forget(self.expected);
        }
        Verdict::NotReady
    }

    /// Judge a packet of `bytes` payload; `buffer` is where a SEND's message goes and the room there (a WRITE says so itself).
    pub fn receive(&mut self, packet: &Packet, verb: Verb, place: Place, bytes: u64, buffer: (u64, u64)) -> Verdict {
        let ahead = self.ahead(packet.psn);
        if ahead >= PSN_HALF {
            return Verdict::Duplicate;
        }
        if !self.wanted.is_empty() {
            self.overtaken.extend(self.wanted.came(self.expected + ahead));
        }
        if ahead > 0 {
            return self.gap(ahead);
        }
        let held = if place.starts() { 0 } else { self.bytes };
        let overlong = verb == Verb::Send && held.saturating_add(bytes) > buffer.1;
        if place.starts() == self.inside || overlong {
            return Verdict::Invalid;
        }
        if place.starts() {
            self.offset = if verb == Verb::Write { packet.va } else { buffer.0 };
            self.bytes = 0;
        }
        let psn = self.expected;
        let offset = self.offset;
        self.deferred = false;
        self.expected += 1;
        self.asked = match self.recovery {
            Recovery::GoBackN => self.expected,
            Recovery::SelectiveRepeat | Recovery::Erasure(_) | Recovery::Timer { .. } => self.asked.max(self.expected),
        };
        self.offset = self.offset.saturating_add(bytes);
        self.bytes += bytes;
        self.inside = !place.ends();
        let arrived = place.ends().then_some((self.arrived, self.bytes));
        self.arrived += u64::from(place.ends());
        Verdict::Accept { psn, offset, arrived }
    }

    /// Packets to ask for again, now that one came that was asked for after them.
    pub fn drain_overtaken(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.overtaken)
    }

    pub fn arrived(&self) -> Arrived<'_> {
        Arrived { expected: self.expected, kept: &self.kept }
    }

    /// Whether packets count by units that arrive whole or not at all.
    pub fn is_chunked(&self) -> bool {
        self.attempts.is_some()
    }

    /// Take a packet of a unit; `starts` says that it is the first of its message.
    pub fn accept_unit(&mut self, packet: &Packet, starts: bool, frame: Box<Frame>) -> Unit {
        let number = self.number(packet.psn);
        if self.has(number) {
            return Unit::Known;
        }
        // A stranger's packet may be anywhere; the peer's lie within its window.
        let Some(attempts) = self.attempts.as_mut().filter(|_| number - self.expected < self.window) else {
            return Unit::Partial;
        };
        match attempts.add(number, frame, starts, packet.ack_request) {
            Some((first, frames)) => {
                self.kept.extend((first..).zip(frames));
                Unit::Whole
            }
            None => Unit::Partial,
        }
    }

    /// Whether a packet was taken or is kept.
    pub fn has(&self, number: u64) -> bool {
        number < self.expected || self.kept.contains_key(&number)
    }

    /// A packet came `ahead` of the expected one.
    fn gap(&mut self, ahead: u64) -> Verdict {
        let psn = self.expected + ahead;
        if self.deferred {
            return Verdict::Gap { missing: psn..psn, keep: false };
        }
        match self.recovery {
            // The first one behind a gap is answered, with the packet that everything is wanted from.
            Recovery::GoBackN => {
                let missing = self.asked..self.expected + 1;
                self.asked = self.expected + 1;
                Verdict::Gap { missing, keep: false }
            }
            // A stranger's packet may be anywhere; the peer's lie within its window.
            _ if ahead >= self.window => Verdict::Gap { missing: psn..psn, keep: false },
            _ if self.kept.contains_key(&psn) => {
                self.ask_anew(psn);
                Verdict::Duplicate
            }
            Recovery::SelectiveRepeat => {
                let missing = self.asked.min(psn)..psn;
                self.asked = self.asked.max(psn + 1);
                missing.clone().for_each(|psn| self.wanted.ask(psn));
                Verdict::Gap { missing, keep: true }
            }
            // Parity may make up for it: whether anything is to be asked for shows when the block has ended.
            Recovery::Erasure(_) => Verdict::Gap { missing: psn..psn, keep: true },
            // What is out of order is kept by units, before it comes here.
            Recovery::Timer { .. } => Verdict::Gap { missing: psn..psn, keep: false },
        }
    }
}
