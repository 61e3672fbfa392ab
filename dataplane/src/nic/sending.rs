//! The sending half of a NIC: whose turn it is, the next packet of a connection, and the timers that send again or raise rates.

use super::rc::message;
use super::slot::Slot;
use super::{Nic, QpConfig, ECN_CAPABLE};
use crate::event::Event;
use crate::frame::{Body, Frame, Packet};
use crate::priority::{Priority, PrioritySet};
use crate::units::Time;
use crate::wire::roce::Opcode;
use crate::wire::sizes::{FCS_BYTES, LINE_OVERHEAD_BYTES};

impl Nic {
    /// The connection whose turn it is. Those that pace themselves wait for their time; the port is woken for the first of them.
    pub(super) fn next_ready(&mut self, now: Time) -> Option<usize> {
        let mut earliest = Time::NEVER;
        for _ in 0..self.active.len() {
            let index = self.active.pop_front()?;
            let qp = &mut self.qps[index];
            if !qp.requester.can_send() {
                qp.active = false;
            } else if qp.ready_at <= now {
                return Some(index);
            } else {
                earliest = earliest.min(qp.ready_at);
                self.active.push_back(index);
            }
        }
        let wake = if self.port.is_idle() { earliest } else { earliest.min(self.port.next_start(now)) };
        if wake != Time::NEVER {
            self.timers.set(Slot::Port.index(), wake);
        }
        None
    }

    /// Let the connection whose turn it is keep it until there is credit.
    pub(super) fn await_credit(&mut self, index: usize, now: Time) {
        self.active.push_front(index);
        self.port.await_credit(self.priority, self.longest_bytes, now);
        self.arm_port(now);
    }

    /// What comes in is dealt with at once, and takes no room.
    pub(super) fn pass_credit(&mut self, frame: &Frame) {
        let priority = Priority::of_dscp(frame.dscp);
        self.port.reserve_credit(priority, frame.buffer_bytes());
        self.port.return_credit(priority, frame.buffer_bytes());
    }

    /// Wake when the line is free and the pause over, if anything waits.
    pub(super) fn arm_port(&mut self, now: Time) {
        let may_send = !self.active.is_empty() && self.port.has_credit(self.priority, self.longest_bytes);
        let data = if may_send { PrioritySet::only(self.priority) } else { PrioritySet::NONE };
        let next = self.port.next_start(now).min(self.port.next_start_of(data, now));
        self.timers.set(Slot::Port.index(), next);
    }

    pub(super) fn send_data(&mut self, index: usize, now: Time) -> Frame {
        let qp = &mut self.qps[index];
        let segment = qp.requester.send(now);
        if qp.requester.can_send() {
            self.active.push_back(index);
        } else {
            qp.active = false;
        }
        self.timers.set_if_idle(Slot::Retransmit(index).index(), qp.requester.deadline());
        let padded = segment.bytes + u32::from(segment.packet.pad);
        let len = message::overhead_bytes(segment.packet.opcode) + padded as u16;
        if let Some(rate) = &mut qp.rate {
            let wire_bytes = u64::from(len) + (FCS_BYTES + LINE_OVERHEAD_BYTES) as u64;
            rate.sent(wire_bytes);
            qp.ready_at = now + rate.rate().map_or(Time::ZERO, |rate| rate.serialisation(wire_bytes));
        }
        let config = qp.config;
        let payload = if segment.packet.opcode == Opcode::Parity {
            self.parity_payload(index, &segment)
        } else {
            let payload = self.memory.get(segment.offset, u64::from(segment.bytes));
            payload.filter(|payload| !payload.is_empty()).map(<[u8]>::to_vec)
        };
        Frame { bytes: payload.map(Box::new), len, ..self.frame_to(config, segment.packet) }
    }

    pub(super) fn frame_to(&self, config: QpConfig, packet: Packet) -> Frame {
        Frame {
            bytes: None,
            dst: config.peer,
            src: self.station,
            len: message::overhead_bytes(packet.opcode),
            entropy: config.entropy,
            ingress: 0,
            payload_at: 0,
            priority: self.priority,
            dscp: self.dscp,
            ecn: ECN_CAPABLE,
            of_kernel: false,
            body: Body::Roce(packet),
        }
    }

    /// The timer of a connection fired: it may have been armed for a packet acknowledged since.
    pub(super) fn retransmit(&mut self, index: usize, now: Time) {
        let qp = &mut self.qps[index];
        if qp.requester.deadline() <= now {
            qp.requester.time_out(now);
            if qp.requester.failure().is_some() {
                self.events.push_back(Event::QpFailed { qpn: qp.config.qpn });
                return;
            }
        }
        self.timers.set(Slot::Retransmit(index).index(), qp.requester.deadline());
        self.activate(index);
    }

    /// A timer of a connection's rate fired.
    pub(super) fn adapt(&mut self, index: usize, now: Time) {
        if let Some(rate) = &mut self.qps[index].rate {
            rate.handle_timeout(now);
            self.timers.set(Slot::Rate(index).index(), rate.deadline());
        }
    }

    pub(super) fn activate(&mut self, index: usize) {
        let qp = &mut self.qps[index];
        if !qp.active && qp.requester.can_send() {
            qp.active = true;
            self.active.push_back(index);
        }
    }

    pub(super) fn post(&mut self, index: usize, offset: u64, remote: u64, bytes: u64) {
        let qp = &mut self.qps[index];
        let qpn = qp.config.qpn;
        let message = qp.requester.post(offset, remote, bytes);
        self.events.push_back(Event::SendPosted { qpn, message, bytes });
        self.activate(index);
    }
}
