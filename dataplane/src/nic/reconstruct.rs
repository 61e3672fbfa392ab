//! Erasure at NICs: the parity of blocks that leave, and blocks that come with losses made whole.

use std::collections::HashMap;

use super::rc::blocks::Block;
use super::rc::message;
use super::rc::qp::PSN_MASK;
use super::rc::requester::Segment;
use super::{Host, QueuePair};
use crate::frame::{Frame, Packet};
use crate::units::Time;
use crate::wire::ipv4::Ecn;
use crate::wire::roce::{Nak, Syndrome};

impl Host {
    /// The payload of a parity packet; `None` for a rank without memory.
    pub(super) fn parity_payload(&mut self, index: usize, segment: &Segment) -> Option<Vec<u8>> {
        let peth = segment.packet.peth();
        let qp = &mut self.qps[index];
        let (mtu, left) = (qp.responder.blocks()?.mtu, u64::from(segment.packet.dma_bytes));
        let memory = &self.ranks[qp.config.rank as usize].memory;
        if peth.index == 0 && segment.bytes > 0 && !memory.is_empty() {
            let payload = |packet: u8| {
                let done = u64::from(packet) * mtu;
                memory.get(segment.offset + done, (left - done).min(mtu)).unwrap_or_default()
            };
            let data = (0..peth.data).map(payload);
            qp.parity = self.coder.encode(data, peth.parity, segment.bytes as usize).unwrap_or_default();
        }
        qp.parity.get_mut(usize::from(peth.index)).map(std::mem::take).filter(|payload| !payload.is_empty())
    }

    pub(super) fn handle_parity(&mut self, index: usize, frame: Box<Frame>, packet: &Packet, now: Time) {
        if self.qps[index].responder.has_refused() {
            return;
        }
        if frame.ecn == Ecn::Ce as u8 {
            self.notify(index, now);
        }
        let bytes = frame.len.saturating_sub(message::around_bytes(packet, self.frames, self.telemetry_bytes));
        let Some(first) = self.qps[index].responder.accept_parity(packet, u64::from(bytes), frame) else { return };
        if self.reconstruct(index, first, true, now) {
            self.acknowledge(index);
        }
    }

    /// After packet `at` has come, or parity of the block that starts there: make whole what can be, and ask for what must be.
    /// The answer is whether an acknowledgement is due.
    pub(super) fn reconstruct(&mut self, index: usize, at: u64, is_parity: bool, now: Time) -> bool {
        let (mut acknowledge, mut asked) = (false, Vec::new());
        if let Some(block) = self.qps[index].responder.complete_block(at) {
            let rebuilt = self.rebuild(index, &block);
            let responder = &mut self.qps[index].responder;
            match rebuilt {
                Some(rebuilt) => {
                    responder.keep_rebuilt(rebuilt);
                    acknowledge = self.deliver_kept(index, now);
                }
                // What it was made of cannot be its own: have it sent again.
                None => asked.extend(responder.arrived().missing(block.first, block.end)),
            }
        }
        if self.qps[index].responder.has_refused() {
            return false;
        }
        asked.extend(self.qps[index].responder.ask(at, is_parity));
        for psn in asked {
            self.respond(index, Syndrome::Nak(Nak::PsnSequenceError), (psn & PSN_MASK) as u32);
        }
        acknowledge
    }

    /// The packets that a block lacks, as they would have come; those of lengths only have no payload either.
    fn rebuild(&mut self, index: usize, block: &Block) -> Option<Vec<(u64, Box<Frame>)>> {
        let carried = block.parity.values().all(|frame| !frame.payload().is_empty());
        let has_memory = !self.ranks[self.qps[index].config.rank as usize].memory.is_empty();
        let mut payloads = if carried && has_memory { self.decode(index, block)? } else { HashMap::new() };
        let QueuePair { config, responder, .. } = &self.qps[index];
        let blocks = responder.blocks()?;
        let mut rebuilt = Vec::new();
        for psn in responder.arrived().missing(block.first, block.end) {
            let (packet, bytes) = blocks.packet(block, psn, config.qpn);
            let payload = payloads.remove(&psn).map(|mut payload| {
                payload.truncate(bytes as usize);
                Box::new(payload.into())
            });
            let len = message::around_bytes(&packet, self.frames, self.telemetry_bytes) + bytes as u16;
            let (src, dst) = (config.peer, self.nics[usize::from(config.nic)].station);
            let frame = Frame { bytes: payload, len, src, dst, ..self.frame_to(*config, packet) };
            rebuilt.push((psn, Box::new(frame)));
        }
        Some(rebuilt)
    }

    /// Payloads that a block lacks, from those that came: taken up to memory, or kept.
    fn decode(&mut self, index: usize, block: &Block) -> Option<HashMap<u64, Vec<u8>>> {
        let QueuePair { config, responder, .. } = &self.qps[index];
        let memory = &self.ranks[config.rank as usize].memory;
        let (blocks, arrived) = (responder.blocks()?, responder.arrived());
        let payload = |psn: u64| match arrived.kept.get(&psn) {
            Some(frame) => frame.payload(),
            None => memory.get(responder.place_of(psn, blocks.mtu), blocks.mtu).unwrap_or_default(),
        };
        let came = (block.first..block.end).filter(|psn| arrived.has(*psn));
        let data = came.map(|psn| ((psn - block.first) as usize, payload(psn)));
        let parity = block.parity.iter().map(|(index, frame)| (usize::from(*index), frame.payload()));
        let shape = ((block.end - block.first) as usize, blocks.code.parity, blocks.parity_bytes(block) as usize);
        let lost = self.coder.decode(shape, data, parity)?;
        Some(lost.into_iter().map(|(index, payload)| (block.first + index as u64, payload)).collect())
    }
}
