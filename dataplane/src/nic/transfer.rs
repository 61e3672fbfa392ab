//! The receiving half of NICs: data packets into memory, acknowledgements and notifications back, and what comes of those.

use super::congestion::{Algorithm, Notification};
use super::rc::message::{self, Place, Verb};
use super::rc::qp::PSN_MASK;
use super::rc::responder::{Unit, Verdict};
use super::slot::Slot;
use super::{Host, QpConfig};
use crate::event::Event;
use crate::frame::{Body, Frame, Packet};
use crate::units::Time;
use crate::wire::ipv4::Ecn;
use crate::wire::roce::{Nak, Opcode, Syndrome};

impl Host {
    pub(super) fn handle_data(
        &mut self,
        index: usize,
        mut frame: Box<Frame>,
        packet: &Packet,
        data: (Verb, Place),
        now: Time,
    ) {
        if self.qps[index].responder.has_refused() {
            return;
        }
        if frame.ecn == Ecn::Ce as u8 {
            self.notify(index, now);
        }
        let mut acknowledge = self.note(&mut frame);
        if self.qps[index].responder.is_chunked() {
            return self.handle_unit(index, frame, packet, data.1, now);
        }
        // Where blocks are coded, a packet that is new may make one whole, or show that one will not be.
        let coded = self.qps[index].responder.blocks().is_some().then(|| self.qps[index].responder.number(packet.psn));
        match self.receive(index, &frame, packet, data) {
            Verdict::Accept { psn, offset, arrived } => {
                acknowledge |= packet.ack_request;
                if !self.accept(index, &frame, (psn, offset), arrived, now) {
                    return self.refuse(index, Nak::RemoteAccess, packet.psn);
                }
                self.spares.give(frame);
                acknowledge |= self.deliver_kept(index, now);
                if let Some(at) = coded {
                    acknowledge |= self.reconstruct(index, at, false, now);
                }
            }
            Verdict::Duplicate => acknowledge |= packet.ack_request,
            Verdict::Gap { missing, keep } => {
                if keep {
                    self.qps[index].responder.keep(packet.psn, frame);
                    if let Some(at) = coded {
                        acknowledge |= self.reconstruct(index, at, false, now);
                    }
                }
                for psn in missing {
                    self.respond(index, Syndrome::Nak(Nak::PsnSequenceError), (psn & PSN_MASK) as u32);
                }
            }
            Verdict::NotReady => self.defer(index, packet.psn),
            Verdict::Invalid => self.refuse(index, Nak::InvalidRequest, packet.psn),
        }
        for psn in self.qps[index].responder.drain_overtaken() {
            self.respond(index, Syndrome::Nak(Nak::PsnSequenceError), (psn & PSN_MASK) as u32);
        }
        if acknowledge {
            self.acknowledge(index);
        }
    }

    /// Take a packet of a unit that arrives whole or not at all, and acknowledge that one alone once it is there.
    fn handle_unit(&mut self, index: usize, frame: Box<Frame>, packet: &Packet, place: Place, now: Time) {
        let responder = &mut self.qps[index].responder;
        let number = responder.number(packet.psn);
        match responder.accept_unit(packet, place.starts(), frame) {
            Unit::Partial => return,
            Unit::Known => {}
            Unit::Whole => {
                self.deliver_kept(index, now);
            }
        }
        let responder = &self.qps[index].responder;
        if packet.ack_request && responder.has(number) && !responder.has_refused() {
            self.respond(index, Syndrome::ACK, packet.psn);
        }
    }

    /// Acknowledge all that was taken.
    pub(super) fn acknowledge(&mut self, index: usize) {
        let psn = self.qps[index].responder.acknowledged_psn();
        self.respond(index, Syndrome::ACK, psn);
    }

    /// Have the responder judge a packet.
    fn receive(&mut self, index: usize, frame: &Frame, packet: &Packet, (verb, place): (Verb, Place)) -> Verdict {
        let qp = &mut self.qps[index];
        let bytes =
            u64::from(frame.len.saturating_sub(message::around_bytes(packet, self.frames, self.telemetry_bytes)));
        let wants_receive =
            self.rnr.is_some() && verb == Verb::Send && place.starts() && qp.responder.is_due(packet.psn);
        let (schedule, lane) = (&self.ranks[qp.config.rank as usize].schedule, qp.config.lane as usize);
        if wants_receive && !schedule.is_posted(lane, qp.responder.message()) {
            return qp.responder.defer();
        }
        // Without a receive a length has all the room there is, and bytes have no place: storing them fails.
        let buffer = schedule.receive_buffer(lane, qp.responder.message()).unwrap_or((u64::MAX, u64::MAX));
        qp.responder.receive(packet, verb, place, bytes, buffer)
    }

    /// Take a packet that is in order; false if its payload has no place.
    fn accept(&mut self, index: usize, frame: &Frame, at: (u64, u64), arrived: Option<(u64, u64)>, now: Time) -> bool {
        let (psn, offset) = at;
        if !self.store(self.qps[index].config.rank as usize, offset, frame.payload()) {
            return false;
        }
        self.events.push_back(Event::Accepted { qp: index as u32, psn });
        if let Some((message, bytes)) = arrived {
            self.complete(index, message, bytes, now);
        }
        true
    }

    /// Take what came early and is in order now; returns whether one of them requests an acknowledgement.
    pub(super) fn deliver_kept(&mut self, index: usize, now: Time) -> bool {
        let mut requested = false;
        while let Some(frame) = self.qps[index].responder.next_kept() {
            let Body::Roce(packet) = frame.body else { continue };
            let Some(data) = message::decode(packet.opcode) else { continue };
            match self.receive(index, &frame, &packet, data) {
                Verdict::Accept { psn, offset, arrived } if self.accept(index, &frame, (psn, offset), arrived, now) => {
                    requested |= packet.ack_request;
                }
                Verdict::Accept { .. } => self.refuse(index, Nak::RemoteAccess, packet.psn),
                Verdict::NotReady => self.defer(index, packet.psn),
                _ => self.refuse(index, Nak::InvalidRequest, packet.psn),
            }
            if self.qps[index].responder.has_refused() {
                return false;
            }
        }
        requested
    }

    /// The notification point: tell the sender of a marked packet, not too often.
    pub(super) fn notify(&mut self, index: usize, now: Time) {
        let qp = &mut self.qps[index];
        let Some(Notification { interval, dscp }) = self.needs.notification else { return };
        if now < qp.notify_at {
            return;
        }
        qp.notify_at = now + interval;
        let end = qp.config;
        let frame = self.frame_to(end, response(end.qpn, Opcode::Cnp, 0));
        let priority = self.priority_of(usize::from(end.nic), dscp);
        let notification = Frame { dscp, priority, ecn: 0, ..frame };
        self.ports[usize::from(end.nic)].enqueue(Box::new(notification));
    }

    /// Put payload into memory; false if it lies outside. Lengths-only ranks and frames have nothing to put.
    fn store(&mut self, rank: usize, offset: u64, payload: &[u8]) -> bool {
        let memory = &mut self.ranks[rank].memory;
        if memory.is_empty() || payload.is_empty() {
            return true;
        }
        match memory.get_mut(offset, payload.len() as u64) {
            Some(place) => {
                place.copy_from_slice(payload);
                true
            }
            None => false,
        }
    }

    fn complete(&mut self, index: usize, message: u64, bytes: u64, now: Time) {
        let QpConfig { qpn, end, rank, lane, .. } = self.qps[index].config;
        self.events.push_back(Event::MessageArrived { qpn, end, message, bytes });
        self.ranks[rank as usize].schedule.arrived(lane as usize);
        self.run_rank(rank as usize, now);
    }

    pub(super) fn handle_response(&mut self, index: usize, packet: &Packet, frame: &Frame, now: Time) {
        let before = self.before(index);
        let (retransmission, pacing) = (self.slots.index(Slot::Retransmit(index)), self.slots.index(Slot::Rate(index)));
        let qp = &mut self.qps[index];
        if let (Opcode::Cnp, Some(control)) = (packet.opcode, &mut qp.control) {
            control.notified(now);
            self.rates_changed = true;
            self.timers.set(pacing, control.deadline());
            return;
        }
        if packet.opcode != Opcode::Ack || qp.requester.failure().is_some() {
            return;
        }
        let finished = match packet.syndrome {
            Syndrome::Ack { .. } => qp.requester.acknowledge(packet.psn, now),
            Syndrome::Nak(Nak::PsnSequenceError) => qp.requester.negative(packet.psn, now),
            Syndrome::RnrNak { timer } => {
                let finished = qp.requester.not_ready(packet.psn, timer, now);
                self.timers.set(retransmission, qp.requester.deadline());
                finished
            }
            Syndrome::Nak(_) => {
                qp.requester.fail();
                0..0
            }
        };
        let QpConfig { qpn, rank, lane, .. } = qp.config;
        if let Some(before) = before {
            self.tell(index, before, frame, packet.marked, now);
        }
        if self.qps[index].requester.failure().is_some() {
            self.events.push_back(Event::QpFailed { qpn });
        }
        self.activate(index);
        if finished.is_empty() {
            return;
        }
        for message in finished {
            self.events.push_back(Event::SendFinished { qpn, message });
            self.ranks[rank as usize].schedule.sent(lane as usize, message);
        }
        self.run_rank(rank as usize, now);
    }

    /// Acknowledge or refuse.
    pub(super) fn respond(&mut self, index: usize, syndrome: Syndrome, psn: u32) {
        let qp = &self.qps[index];
        let msn = qp.responder.msn();
        let marked = self.echo.is_marked();
        let packet = Packet { psn, msn, syndrome, marked, ..response(qp.config.qpn, Opcode::Ack, psn) };
        let (config, (priority, dscp)) = (qp.config, qp.ack);
        let bytes = self.echo.attached();
        let frame = Frame { bytes, priority, dscp, ..self.frame_to(config, packet) };
        self.ports[usize::from(config.nic)].enqueue(self.spares.make(frame));
    }

    /// A message found no receive: say when to try again.
    fn defer(&mut self, index: usize, psn: u32) {
        let timer = self.rnr.map_or(0, |rnr| rnr.timer);
        self.respond(index, Syndrome::RnrNak { timer }, psn);
    }

    fn refuse(&mut self, index: usize, why: Nak, psn: u32) {
        self.qps[index].responder.refuse();
        self.respond(index, Syndrome::Nak(why), psn);
    }
}

/// A packet without payload to the peer's end of a connection.
fn response(dst_qp: u32, opcode: Opcode, psn: u32) -> Packet {
    Packet {
        va: 0,
        dst_qp,
        psn,
        dma_bytes: 0,
        msn: 0,
        syndrome: Syndrome::ACK,
        opcode,
        pad: 0,
        ack_request: false,
        marked: false,
    }
}
