//! The receiving end of an RC connection: takes packets in order, keeps or refuses those that are not, and says what is missing.

use std::collections::BTreeMap;

use super::message::{Place, Verb};
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
    /// Not a packet of this message, or more than its receive has room for (IBTA volume 1, 9.7.4: NAK invalid request).
    Invalid,
}

/// The receiving end.
#[derive(Debug)]
pub struct Responder {
    recovery: Recovery,
    window: u64,
    expected: u64,
    /// One past the highest packet that came or was asked for.
    asked: u64,
    /// What came out of order, by number (selective repeat).
    kept: BTreeMap<u64, Frame>,
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
        Responder {
            recovery: transport.recovery,
            window: transport.window,
            expected: transport.first_psn,
            asked: transport.first_psn,
            kept: BTreeMap::new(),
            arrived: 0,
            offset: 0,
            bytes: 0,
            inside: false,
            refused: false,
        }
    }

    /// The PSN that an acknowledgement names: the last one taken.
    pub fn acknowledged_psn(&self) -> u32 {
        (self.expected.wrapping_sub(1) & PSN_MASK) as u32
    }

    /// Keep a packet for which `receive` said so.
    pub fn keep(&mut self, psn: u32, frame: Frame) {
        self.kept.insert(self.expected + self.ahead(psn), frame);
    }

    /// The next packet in order, if it came early and was kept.
    pub fn next_kept(&mut self) -> Option<Frame> {
        if self.kept.is_empty() {
            return None;
        }
        self.kept.remove(&self.expected)
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

    /// Judge a packet of `bytes` payload; `buffer` is where a SEND's message goes and the room there (a WRITE says so itself).
    pub fn receive(&mut self, packet: &Packet, verb: Verb, place: Place, bytes: u64, buffer: (u64, u64)) -> Verdict {
        let ahead = self.ahead(packet.psn);
        if ahead >= PSN_HALF {
            return Verdict::Duplicate;
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
        self.expected += 1;
        self.asked = match self.recovery {
            Recovery::GoBackN => self.expected,
            Recovery::SelectiveRepeat => self.asked.max(self.expected),
        };
        self.offset = self.offset.saturating_add(bytes);
        self.bytes += bytes;
        self.inside = !place.ends();
        let arrived = place.ends().then_some((self.arrived, self.bytes));
        self.arrived += u64::from(place.ends());
        Verdict::Accept { psn, offset, arrived }
    }

    /// A packet came `ahead` of the expected one.
    fn gap(&mut self, ahead: u64) -> Verdict {
        let psn = self.expected + ahead;
        match self.recovery {
            // The first one behind a gap is answered, with the packet that everything is wanted from.
            Recovery::GoBackN => {
                let missing = self.asked..self.expected + 1;
                self.asked = self.expected + 1;
                Verdict::Gap { missing, keep: false }
            }
            // A stranger's packet may be anywhere; the peer's lie within its window.
            Recovery::SelectiveRepeat if ahead >= self.window => Verdict::Gap { missing: psn..psn, keep: false },
            Recovery::SelectiveRepeat if self.kept.contains_key(&psn) => Verdict::Duplicate,
            Recovery::SelectiveRepeat => {
                let missing = self.asked.min(psn)..psn;
                self.asked = self.asked.max(psn + 1);
                Verdict::Gap { missing, keep: true }
            }
        }
    }
}
