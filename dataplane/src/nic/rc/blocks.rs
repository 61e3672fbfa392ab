//! The receiving end's blocks of an erasure code: which lack packets, which can be made whole, and what must be requested.
//!
//! Paths keep order. So a packet that has not come when one from behind its block does will not come by itself; and of packets a
//! whole block apart the later one is from behind the other's block, wherever that may end. A block of which some parity came is
//! whole as soon as any k of its packets are there, and once it has ended asks for as many as it lacks; one of which no parity
//! came asks for all that is missing.

use std::collections::{BTreeMap, BTreeSet};

use super::code::{parity_bytes, Code};
use super::message::{self, Place, Verb};
use super::qp::{Recovery, Transport, PSN_MASK};
use crate::frame::{Frame, Packet};
use crate::wire::roce::{Peth, Syndrome};

/// Packets that came: all before `expected`, and those kept.
#[derive(Copy, Clone)]
pub struct Arrived<'a> {
    pub expected: u64,
    pub kept: &'a BTreeMap<u64, Box<Frame>>,
}

impl<'a> Arrived<'a> {
    pub fn has(&self, psn: u64) -> bool {
        psn < self.expected || self.kept.contains_key(&psn)
    }

    /// Those of `first..end` that did not come.
    pub fn missing(self, first: u64, end: u64) -> impl Iterator<Item = u64> + 'a {
        (first.max(self.expected)..end).filter(move |psn| !self.has(*psn))
    }
}

/// A block that lacks packets and of which parity came.
#[derive(Debug)]
pub struct Block {
    pub first: u64,
    /// One past its last packet.
    pub end: u64,
    /// Where its bytes go (WRITE), and the bytes left of the message from its first packet on.
    pub va: u64,
    pub left: u64,
    /// It is the first of its message.
    pub starts: bool,
    /// Parity packets by their index.
    pub parity: BTreeMap<u8, Box<Frame>>,
    /// The last of its packets came.
    ended: bool,
}

impl Block {
    /// How many packets it lacks to be made whole.
    fn lacks(&self, arrived: Arrived) -> usize {
        arrived.missing(self.first, self.end).count().saturating_sub(self.parity.len())
    }
}

/// The blocks of one direction of a connection.
#[derive(Debug)]
pub struct Blocks {
    pub code: Code,
    pub verb: Verb,
    pub mtu: u64,
    window: u64,
    /// By number of the first packet.
    known: BTreeMap<u64, Block>,
    /// Those of them that have not requested what they lack.
    open: BTreeSet<u64>,
    /// Packets before this one, if missing, have been requested or are those of a known block.
    judged: u64,
    /// Packets that did not come and were rebuilt.
    pub recovered: u64,
}

impl Blocks {
    /// Those of a transport, if it codes.
    pub fn of(transport: &Transport) -> Option<Blocks> {
        let Recovery::Erasure(code) = transport.recovery else { return None };
        Some(Blocks {
            code,
            verb: transport.verb,
            mtu: u64::from(transport.mtu),
            window: transport.window,
            known: BTreeMap::new(),
            open: BTreeSet::new(),
            judged: transport.first_psn,
            recovered: 0,
        })
    }

    /// Begin anew with packet `expected`, which will be sent again, and all behind it.
    pub fn forget(&mut self, expected: u64) {
        self.known.clear();
        self.open.clear();
        self.judged = expected;
    }

    /// Bytes of the parity payloads of a block.
    pub fn parity_bytes(&self, block: &Block) -> u64 {
        parity_bytes(block.left.min(self.mtu))
    }

    /// The headers of a packet of a block as it would have come, but that it asks for an acknowledgement; and its payload's bytes.
    pub fn packet(&self, block: &Block, psn: u64, dst_qp: u32) -> (Packet, u64) {
        let left = block.left - (psn - block.first) * self.mtu;
        let bytes = left.min(self.mtu);
        let packet = Packet {
            va: block.va,
            dst_qp,
            psn: (psn & PSN_MASK) as u32,
            dma_bytes: block.left as u32,
            msn: 0,
            syndrome: Syndrome::ACK,
            opcode: message::encode(self.verb, Place::of(block.starts && psn == block.first, left <= self.mtu)),
            pad: (bytes.wrapping_neg() & 3) as u8,
            ack_request: true,
            marked: false,
        };
        (packet, bytes)
    }

    /// Take a parity packet with `bytes` of payload of the block that starts at `first`. False, and as good as lost, if it lies
    /// outside the window, is not of this code, or not of the length that its block's have.
    pub fn add_parity(&mut self, first: u64, arrived: Arrived, packet: &Packet, bytes: u64, frame: Box<Frame>) -> bool {
        let Peth { data, parity, index, starts } = packet.peth();
        let left = u64::from(packet.dma_bytes);
        let packets = left.div_ceil(self.mtu).max(1).min(u64::from(self.code.data));
        let fits = u64::from(data) == packets && parity == self.code.parity && index < parity;
        let end = first + packets;
        if !fits || first >= arrived.expected + self.window {
            return false;
        }
        let va = packet.va;
        let block = Block { first, end, va, left, starts, parity: BTreeMap::new(), ended: false };
        let carried = frame.payload().len() as u64;
        if bytes != self.parity_bytes(&block) || (carried > 0 && carried != bytes) {
            return false;
        }
        // Of a block that has come it is of no use.
        if arrived.missing(first, end).next().is_none() {
            return true;
        }
        let open = &mut self.open;
        let known = self.known.entry(first).or_insert_with(|| {
            open.insert(first);
            block
        });
        let agrees = (known.va, known.left, known.starts) == (va, left, starts);
        if agrees {
            known.ended |= index + 1 == parity;
            known.parity.insert(index, frame);
        }
        agrees
    }

    /// The block that packet `at` belongs to, if it can be made whole; it is forgotten here.
    pub fn complete(&mut self, at: u64, arrived: Arrived) -> Option<Block> {
        let (&first, block) = self.known.range(..=at).next_back()?;
        if at >= block.end || block.lacks(arrived) > 0 {
            return None;
        }
        self.open.remove(&first);
        self.known.remove(&first)
    }

    /// Packets to ask for now that packet `at` has come, or parity of the block that starts there.
    pub fn ask(&mut self, at: u64, is_parity: bool, arrived: Arrived) -> Vec<u64> {
        while let Some(whole) = self.known.first_entry().filter(|block| block.get().end <= arrived.expected) {
            self.open.remove(whole.key());
            whole.remove();
        }
        let mut requested = Vec::new();
        let behind = if is_parity { at } else { (at + 1).saturating_sub(u64::from(self.code.data)) };
        if behind > self.judged {
            let unknown = arrived.missing(self.judged, behind).filter(|psn| !self.knows(*psn));
            requested.extend(unknown);
            self.judged = behind;
        }
        if !self.open.is_empty() {
            self.ask_ended(at, arrived, &mut requested);
        }
        requested
    }

    /// Have known blocks that ended ask for what they lack, once.
    fn ask_ended(&mut self, at: u64, arrived: Arrived, requested: &mut Vec<u64>) {
        let known = &self.known;
        self.open.retain(|first| {
            let Some(block) = known.get(first).filter(|block| block.ended || block.end <= at) else {
                return known.contains_key(first);
            };
            requested.extend(arrived.missing(block.first, block.end).take(block.lacks(arrived)));
            false
        });
    }

    /// Everything that must come again, requested before or not, now that `newest` is the last packet that was sent.
    pub fn lacking(&self, newest: u64, arrived: Arrived) -> Vec<u64> {
        let unknown = arrived.missing(arrived.expected, newest).filter(|psn| !self.knows(*psn));
        let known = self.known.values();
        let known = known.flat_map(|block| arrived.missing(block.first, block.end).take(block.lacks(arrived)));
        unknown.chain(known).collect()
    }

    /// Whether a packet is of a known block, which asks for it if need be.
    fn knows(&self, psn: u64) -> bool {
        self.known.range(..=psn).next_back().is_some_and(|(_, block)| psn < block.end)
    }
}
