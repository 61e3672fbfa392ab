//! Blocks of an erasure code at the receiving end.

use super::super::blocks::{Arrived, Block, Blocks};
use super::Responder;
use crate::frame::{Frame, Packet};

impl Responder {
    pub fn blocks(&self) -> Option<&Blocks> {
        self.blocks.as_deref()
    }

    /// Where the payload of a packet was put that is part of the message under way and was taken, as every one before the last of
    /// `mtu` bytes.
    pub fn place_of(&self, psn: u64, mtu: u64) -> u64 {
        self.offset.wrapping_sub((self.expected - psn) * mtu)
    }

    /// Take a parity packet with `bytes` of payload; the number of its block's first packet, if it can be one of this connection.
    pub fn accept_parity(&mut self, packet: &Packet, bytes: u64, frame: Box<Frame>) -> Option<u64> {
        if self.deferred {
            return None;
        }
        let first = self.number(packet.psn);
        let arrived = Arrived { expected: self.expected, kept: &self.kept };
        self.blocks.as_mut()?.add_parity(first, arrived, packet, bytes, frame).then_some(first)
    }

    /// The block of packet `at`, if it can be made whole; to be followed by `keep_rebuilt`.
    pub fn complete_block(&mut self, at: u64) -> Option<Block> {
        let arrived = Arrived { expected: self.expected, kept: &self.kept };
        self.blocks.as_mut()?.complete(at, arrived)
    }

    /// Packets to ask for now that packet `at` has come, or parity of the block that starts there.
    pub fn ask(&mut self, at: u64, is_parity: bool) -> Vec<u64> {
        let arrived = Arrived { expected: self.expected, kept: &self.kept };
        self.blocks.as_mut().map_or(Vec::new(), |blocks| blocks.ask(at, is_parity, arrived))
    }

    /// Keep packets that did not come as if they had.
    pub fn keep_rebuilt(&mut self, rebuilt: Vec<(u64, Box<Frame>)>) {
        if let Some(blocks) = &mut self.blocks {
            blocks.recovered += rebuilt.len() as u64;
        }
        self.kept.extend(rebuilt);
    }

    /// A packet that was kept came again. If it is the newest, the sender's timer ran out with everything sent: it has not heard of
    /// what is missing, or what it sent again was lost. All of that is asked for once more, after what it sent along has come.
    pub(super) fn ask_anew(&mut self, psn: u64) {
        if self.kept.last_key_value().is_none_or(|(newest, _)| *newest != psn) {
            return;
        }
        let arrived = Arrived { expected: self.expected, kept: &self.kept };
        match &self.blocks {
            Some(blocks) => self.overtaken.extend(blocks.lacking(psn, arrived)),
            None => {
                let missing: Vec<u64> = arrived.missing(self.expected, psn).collect();
                missing.iter().for_each(|&psn| self.wanted.ask(psn));
                self.overtaken = missing;
            }
        }
    }
}
