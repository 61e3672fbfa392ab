//! The sending half of NICs: whose turn it is, the next packet of a connection, and the timers that send again or raise rates.

use super::congestion::Algorithm;
use super::rc::message;
use super::slot::Slot;
use super::{Host, QpConfig, ECN_CAPABLE};
use crate::event::Event;
use crate::frame::{Body, Frame, Packet};
use crate::priority::{Priority, PrioritySet};
use crate::units::Time;
use crate::wire::roce::Opcode;
use crate::wire::sizes::{FCS_BYTES, LINE_OVERHEAD_BYTES};

impl Host {
    /// The next frame of a NIC at `now`: a tester's, then acknowledgements, then data of the connections in turn.
    #[inline]
    pub(super) fn poll_nic(&mut self, nic: usize, now: Time) -> Option<Box<Frame>> {
        if self.nics[nic].injector.is_some() {
            if let Some(frame) = self.next_injected(nic, now) {
                return Some(frame);
            }
        }
        if self.nics[nic].guests.is_some() {
            if let Some(frame) = self.next_guest(nic, now) {
                return Some(frame);
            }
        }
        let port = &mut self.ports[nic];
        if port.is_busy(now) {
            self.arm_port(nic, Time::NEVER, now);
            return None;
        }
        if !port.is_idle() {
            if let Some(frame) = port.dequeue(now) {
                return Some(frame);
            }
        }
        if port.is_held() {
            self.arm_port(nic, Time::NEVER, now);
            return None;
        }
        let (classes, first) = (self.classes.len(), self.nics[nic].turn);
        let (mut earliest, mut blocked) = (Time::NEVER, false);
        for class in (first..classes).chain(0..first) {
            let priority = self.classes[class];
            if self.ports[nic].is_paused(priority, now) {
                blocked = true;
                continue;
            }
            let index = match self.next_ready(nic, class, now) {
                Ok(index) => index,
                Err(at) => {
                    earliest = earliest.min(at);
                    continue;
                }
            };
            if !self.ports[nic].has_credit(priority, self.longest_bytes) {
                // It keeps its turn until there is credit.
                self.nics[nic].active[class].push_front(index);
                self.ports[nic].await_credit(priority, self.longest_bytes, now);
                blocked = true;
                continue;
            }
            self.nics[nic].turn = if class + 1 < classes { class + 1 } else { 0 };
            let frame = self.send_data(index, now);
            self.ports[nic].transmit(&frame, now);
            return Some(frame);
        }
        if blocked {
            self.arm_port(nic, earliest, now);
        } else {
            self.await_pace(nic, earliest, now);
        }
        None
    }

    /// The connection of a class whose turn it is; where all of them pace themselves, when the first of them may send.
    fn next_ready(&mut self, nic: usize, class: usize, now: Time) -> Result<usize, Time> {
        let mut earliest = Time::NEVER;
        let active = &mut self.nics[nic].active[class];
        for _ in 0..active.len() {
            let Some(index) = active.pop_front() else { break };
            let qp = &mut self.qps[index];
            if !qp.requester.can_send() {
                qp.active = false;
            } else if qp.ready_at <= now {
                return Ok(index);
            } else {
                earliest = earliest.min(qp.ready_at);
                active.push_back(index);
            }
        }
        Err(earliest)
    }

    /// Wake for the first connection that may send, if some pace themselves.
    fn await_pace(&mut self, nic: usize, earliest: Time, now: Time) {
        let port = &mut self.ports[nic];
        let wake = if port.is_idle() { earliest } else { earliest.min(port.next_start(now)) };
        if wake != Time::NEVER {
            self.timers.set(self.slots.index(Slot::Port(nic)), wake);
        }
    }

    /// What comes in is dealt with at once, and takes no room.
    pub(super) fn pass_credit(&mut self, nic: usize, frame: &Frame, priority: Priority) {
        self.ports[nic].reserve_credit(priority, frame.buffer_bytes());
        self.ports[nic].return_credit(priority, frame.buffer_bytes());
    }

    /// Wake when the line is free and a pause over, if anything waits, or `earliest`.
    fn arm_port(&mut self, nic: usize, earliest: Time, now: Time) {
        let port = &mut self.ports[nic];
        let mut data = PrioritySet::NONE;
        for (priority, active) in self.classes.iter().zip(&self.nics[nic].active) {
            if !active.is_empty() && port.has_credit(*priority, self.longest_bytes) {
                data.insert(*priority);
            }
        }
        let next = port.next_start(now).min(port.next_start_of(data, now)).min(earliest);
        self.timers.set(self.slots.index(Slot::Port(nic)), next);
    }

    fn send_data(&mut self, index: usize, now: Time) -> Box<Frame> {
        let slot = self.slots.index(Slot::Retransmit(index));
        let qp = &mut self.qps[index];
        let segment = qp.requester.send(now);
        if qp.requester.can_send() {
            self.nics[usize::from(qp.config.nic)].active[qp.class].push_back(index);
        } else {
            qp.active = false;
        }
        self.timers.set_if_idle(slot, qp.requester.deadline());
        let len = message::around_bytes(&segment.packet, self.frames, self.telemetry_bytes) + segment.bytes as u16;
        if let Some(control) = &mut qp.control {
            let wire_bytes = u64::from(len) + (FCS_BYTES + LINE_OVERHEAD_BYTES) as u64;
            let before = control.rate();
            control.sent(wire_bytes);
            self.rates_changed |= control.rate() != before;
            qp.ready_at = now + control.pace(wire_bytes);
        }
        let config = qp.config;
        let payload = if segment.packet.opcode == Opcode::Parity {
            self.parity_payload(index, &segment)
        } else {
            let payload = self.ranks[config.rank as usize].memory.get(segment.offset, u64::from(segment.bytes));
            payload.filter(|payload| !payload.is_empty()).map(<[u8]>::to_vec)
        };
        let frame = Frame { bytes: self.attach(payload), len, ..self.frame_to(config, segment.packet) };
        self.spares.make(frame)
    }

    #[inline]
    pub(super) fn frame_to(&self, config: QpConfig, packet: Packet) -> Frame {
        Frame {
            bytes: None,
            dst: config.peer,
            src: self.nics[usize::from(config.nic)].station,
            len: message::around_bytes(&packet, self.frames, self.telemetry_bytes),
            entropy: config.entropy,
            ingress: 0,
            payload_at: 0,
            priority: config.priority,
            group: config.priority,
            dscp: config.dscp,
            ecn: ECN_CAPABLE,
            of_kernel: false,
            detoured: false,
            unpadded: self.frames.is_some(),
            body: Body::Roce(packet),
        }
    }

    /// The timer of a connection fired: it may have been armed for a packet acknowledged since.
    pub(super) fn retransmit(&mut self, index: usize, now: Time) {
        let slot = self.slots.index(Slot::Retransmit(index));
        let qp = &mut self.qps[index];
        if qp.requester.deadline() <= now {
            qp.requester.time_out(now);
            self.tell_timeout(index, now);
            let qp = &mut self.qps[index];
            if qp.requester.failure().is_some() {
                self.events.push_back(Event::QpFailed { qpn: qp.config.qpn });
                return;
            }
        }
        self.timers.set(slot, self.qps[index].requester.deadline());
        self.activate(index);
    }

    /// A timer of a connection's rate fired.
    pub(super) fn adapt(&mut self, index: usize, now: Time) {
        let slot = self.slots.index(Slot::Rate(index));
        if let Some(control) = &mut self.qps[index].control {
            control.handle_timeout(now);
            self.rates_changed = true;
            self.timers.set(slot, control.deadline());
        }
    }

    pub(super) fn activate(&mut self, index: usize) {
        let qp = &mut self.qps[index];
        let nic = usize::from(qp.config.nic);
        self.awake.set(nic);
        if !qp.active && qp.requester.can_send() {
            qp.active = true;
            self.nics[nic].active[qp.class].push_back(index);
        }
    }

    pub(super) fn post(&mut self, index: usize, offset: u64, remote: u64, bytes: u64) {
        let qp = &mut self.qps[index];
        let QpConfig { qpn, end, .. } = qp.config;
        let message = qp.requester.post(offset, remote, bytes);
        self.events.push_back(Event::SendPosted { qpn, end, message, bytes });
        self.activate(index);
    }
}
