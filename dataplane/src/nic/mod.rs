//! A RoCEv2 NIC: RC queue pairs over one port that obeys PFC, and the rank whose schedule it executes.

pub mod memory;
pub mod message;
pub mod qp;
pub mod schedule;

use std::collections::VecDeque;

use crate::event::Event;
use crate::frame::{Body, Frame, Packet, Priority, Station};
use crate::port::{Port, PortConfig};
use crate::timers::Timers;
use crate::units::Time;
use crate::wire::roce::{Nak, Opcode, Syndrome};

use memory::Memory;
use message::{Place, Verb};
use qp::{Failure, Requester, RequesterCounters, Responder, Transport, Verdict};
use schedule::{Action, Schedule};

const PORT_SLOT: usize = 0;
const CALC_SLOT: usize = 1;
const QP_SLOTS: usize = 2;
/// ECT(0): the transport understands congestion marks.
const ECN_CAPABLE: u8 = 2;

/// One end of a connection as the plan gives it.
#[derive(Copy, Clone, Debug)]
pub struct QpConfig {
    pub qpn: u32,
    pub peer: Station,
    pub entropy: u16,
}

/// What a NIC runs: connections, and the schedule of its rank.
#[derive(Debug)]
pub struct Rank {
    pub transport: Transport,
    pub priority: Priority,
    pub dscp: u8,
    pub qps: Vec<QpConfig>,
    pub schedule: Schedule,
    pub memory: Memory,
}

#[derive(Debug)]
struct QueuePair {
    config: QpConfig,
    requester: Requester,
    responder: Responder,
    /// Listed in `Nic::active`.
    active: bool,
}

/// A NIC as a pure state machine with the five verbs; see `Switch` for the order in which drivers call them.
#[derive(Debug)]
pub struct Nic {
    station: Station,
    port: Port,
    timers: Timers,
    priority: Priority,
    dscp: u8,
    qps: Vec<QueuePair>,
    /// QP number and index in `qps`, ascending.
    by_qpn: Vec<(u32, usize)>,
    /// Connections with something to send and window to send it in, served in turn.
    active: VecDeque<usize>,
    schedule: Schedule,
    pub memory: Memory,
    events: VecDeque<Event>,
    running: bool,
}

impl Nic {
    pub fn new(station: Station, port: PortConfig) -> Nic {
        Nic {
            station,
            port: Port::new(port),
            timers: Timers::new(QP_SLOTS),
            priority: 0,
            dscp: 0,
            qps: Vec::new(),
            by_qpn: Vec::new(),
            active: VecDeque::new(),
            schedule: Schedule::default(),
            memory: Memory::default(),
            events: VecDeque::new(),
            running: false,
        }
    }

    pub fn port(&self) -> &Port {
        &self.port
    }

    /// The port, whose line is about to change: to be polled afterwards.
    pub fn port_mut(&mut self) -> &mut Port {
        &mut self.port
    }

    pub fn station(&self) -> Station {
        self.station
    }

    /// Forget the last workload and take a new one; nothing is sent before `start`.
    pub fn load(&mut self, rank: Rank) {
        let queue_pair = |config: &QpConfig| QueuePair {
            config: *config,
            requester: Requester::new(rank.transport, config.qpn),
            responder: Responder::new(&rank.transport),
            active: false,
        };
        self.qps = rank.qps.iter().map(queue_pair).collect();
        self.by_qpn = self.qps.iter().enumerate().map(|(index, qp)| (qp.config.qpn, index)).collect();
        self.by_qpn.sort_unstable();
        self.timers = Timers::new(QP_SLOTS + self.qps.len());
        self.active.clear();
        self.priority = rank.priority;
        self.dscp = rank.dscp;
        self.schedule = rank.schedule;
        self.memory = rank.memory;
        self.running = false;
    }

    /// Forget the last workload; packets of it that are still under way find no connection.
    pub fn unload(&mut self) {
        self.qps.clear();
        self.by_qpn.clear();
        self.active.clear();
        self.timers = Timers::new(QP_SLOTS);
        self.schedule = Schedule::default();
        self.memory = Memory::default();
        self.running = false;
    }

    /// Begin the loaded schedule.
    pub fn start(&mut self, now: Time) {
        self.running = true;
        self.run_schedule(now);
    }

    pub fn is_finished(&self) -> bool {
        self.schedule.is_finished()
    }

    pub fn counters(&self) -> impl Iterator<Item = (QpConfig, &RequesterCounters, Option<Failure>)> {
        self.qps.iter().map(|qp| (qp.config, &qp.requester.counters, qp.requester.failure()))
    }

    pub fn handle_frame(&mut self, frame: Frame, now: Time) {
        match frame.body {
            Body::Pause(pfc) => {
                self.port.pause(&pfc, now);
                self.events.push_back(Event::PauseReceived { port: 0, pfc });
            }
            Body::Roce(packet) => {
                let counters = &mut self.port.counters[usize::from(self.priority & 7)];
                counters.frames_rx += 1;
                counters.bytes_rx += u64::from(frame.buffer_bytes());
                let Some(index) = self.find(packet.dst_qp, frame.src) else { return };
                match message::decode(packet.opcode) {
                    Some(data) => self.handle_data(index, &frame, &packet, data, now),
                    None => self.handle_response(index, &packet, now),
                }
            }
            Body::Opaque => {}
        }
    }

    /// The connection that a packet belongs to.
    #[inline]
    fn find(&self, qpn: u32, peer: Station) -> Option<usize> {
        let position = self.by_qpn.binary_search_by_key(&qpn, |(qpn, _)| *qpn).ok()?;
        let index = self.by_qpn[position].1;
        (self.qps[index].config.peer == peer).then_some(index)
    }

    pub fn handle_timeout(&mut self, now: Time) {
        while let Some(slot) = self.timers.pop(now) {
            match slot {
                PORT_SLOT => {}
                CALC_SLOT => {
                    self.schedule.wake(now);
                    self.run_schedule(now);
                }
                _ => self.retransmit(slot - QP_SLOTS, now),
            }
        }
    }

    /// The next frame to put on the link at `now`: acknowledgements first, then data of the connections in turn.
    #[inline]
    pub fn poll_transmit(&mut self, now: Time) -> Option<Frame> {
        if self.port.is_busy(now) {
            self.arm_port(now);
            return None;
        }
        if !self.port.is_empty() {
            if let Some(frame) = self.port.dequeue(now) {
                return Some(frame);
            }
        }
        if self.port.is_paused(self.priority, now) || self.port.is_held() {
            self.arm_port(now);
            return None;
        }
        while let Some(index) = self.active.pop_front() {
            if self.qps[index].requester.can_send() {
                let frame = self.send_data(index, now);
                self.port.transmit(&frame, now);
                return Some(frame);
            }
            self.qps[index].active = false;
        }
        None
    }

    pub fn poll_timeout(&self) -> Time {
        self.timers.next()
    }

    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Wake when the line is free and the pause over, if anything waits.
    fn arm_port(&mut self, now: Time) {
        let data = if self.active.is_empty() { 0 } else { 1 << self.priority };
        let next = self.port.next_start(now).min(self.port.next_start_of(data, now));
        self.timers.set(PORT_SLOT, next);
    }

    fn send_data(&mut self, index: usize, now: Time) -> Frame {
        let qp = &mut self.qps[index];
        let segment = qp.requester.send(now);
        if qp.requester.can_send() {
            self.active.push_back(index);
        } else {
            qp.active = false;
        }
        self.timers.set_if_idle(QP_SLOTS + index, qp.requester.deadline());
        let padded = segment.bytes + u32::from(segment.packet.pad);
        let config = qp.config;
        let payload = self.memory.get(segment.offset, u64::from(segment.bytes)).filter(|payload| !payload.is_empty());
        Frame {
            bytes: payload.map(|payload| Box::new(payload.to_vec())),
            len: message::overhead_bytes(segment.packet.opcode) + padded as u16,
            ..self.frame_to(config, segment.packet)
        }
    }

    fn frame_to(&self, config: QpConfig, packet: Packet) -> Frame {
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
            body: Body::Roce(packet),
        }
    }

    fn handle_data(&mut self, index: usize, frame: &Frame, packet: &Packet, data: (Verb, Place), now: Time) {
        let (verb, place) = data;
        let qp = &mut self.qps[index];
        if qp.responder.has_refused() {
            return;
        }
        let around = u32::from(message::overhead_bytes(packet.opcode)) + u32::from(packet.pad);
        let bytes = u64::from(u32::from(frame.len).saturating_sub(around));
        // Without a receive a length has all the room there is, and bytes have no place: storing them fails.
        let buffer = self.schedule.receive_buffer(index, qp.responder.message()).unwrap_or((u64::MAX, u64::MAX));
        match qp.responder.receive(packet, verb, place, bytes, buffer) {
            Verdict::Accept { psn, offset, arrived } => {
                if !self.store(offset, frame.payload()) {
                    return self.refuse(index, Nak::RemoteAccess, packet.psn);
                }
                self.events.push_back(Event::Accepted { qp: index as u32, psn });
                if packet.ack_request {
                    let psn = self.qps[index].responder.acknowledged_psn();
                    self.respond(index, Syndrome::ACK, psn);
                }
                if let Some((message, bytes)) = arrived {
                    self.complete(index, message, bytes, now);
                }
            }
            Verdict::Duplicate if packet.ack_request => {
                let psn = qp.responder.acknowledged_psn();
                self.respond(index, Syndrome::ACK, psn);
            }
            Verdict::Gap { first: true } => {
                let psn = qp.responder.expected_psn();
                self.respond(index, Syndrome::Nak(Nak::PsnSequenceError), psn);
            }
            Verdict::Invalid => self.refuse(index, Nak::InvalidRequest, packet.psn),
            Verdict::Duplicate | Verdict::Gap { first: false } => {}
        }
    }

    /// Put payload into memory; false if it lies outside. Lengths-only ranks and frames have nothing to put.
    fn store(&mut self, offset: u64, payload: &[u8]) -> bool {
        if self.memory.is_empty() || payload.is_empty() {
            return true;
        }
        match self.memory.get_mut(offset, payload.len() as u64) {
            Some(place) => {
                place.copy_from_slice(payload);
                true
            }
            None => false,
        }
    }

    fn complete(&mut self, index: usize, message: u64, bytes: u64, now: Time) {
        let qpn = self.qps[index].config.qpn;
        self.events.push_back(Event::MessageArrived { qpn, message, bytes });
        self.schedule.arrived(index);
        self.run_schedule(now);
    }

    fn handle_response(&mut self, index: usize, packet: &Packet, now: Time) {
        let qp = &mut self.qps[index];
        if packet.opcode != Opcode::Ack || qp.requester.failure().is_some() {
            return;
        }
        let finished = match packet.syndrome {
            Syndrome::Ack { .. } => qp.requester.acknowledge(packet.psn, now),
            Syndrome::Nak(Nak::PsnSequenceError) => qp.requester.negative(packet.psn, now),
            // Receive buffers are always posted here, so nobody of ours sends RNR.
            Syndrome::RnrNak { .. } => return,
            Syndrome::Nak(_) => {
                qp.requester.fail();
                self.events.push_back(Event::QpFailed { qpn: qp.config.qpn });
                return;
            }
        };
        let qpn = qp.config.qpn;
        self.activate(index);
        if finished.is_empty() {
            return;
        }
        for message in finished {
            self.events.push_back(Event::SendFinished { qpn, message });
            self.schedule.sent(index, message);
        }
        self.run_schedule(now);
    }

    /// Acknowledge or refuse; the response rides the priority of the data.
    fn respond(&mut self, index: usize, syndrome: Syndrome, psn: u32) {
        let qp = &self.qps[index];
        let packet = Packet {
            va: 0,
            dst_qp: qp.config.qpn,
            psn,
            dma_bytes: 0,
            msn: qp.responder.msn(),
            syndrome,
            opcode: Opcode::Ack,
            pad: 0,
            ack_request: false,
        };
        let frame = self.frame_to(qp.config, packet);
        self.port.enqueue(frame);
    }

    fn refuse(&mut self, index: usize, why: Nak, psn: u32) {
        self.qps[index].responder.refuse();
        self.respond(index, Syndrome::Nak(why), psn);
    }

    /// The timer of a connection fired: it may have been armed for a packet acknowledged since.
    fn retransmit(&mut self, index: usize, now: Time) {
        let qp = &mut self.qps[index];
        if qp.requester.deadline() <= now {
            qp.requester.time_out();
            if qp.requester.failure().is_some() {
                self.events.push_back(Event::QpFailed { qpn: qp.config.qpn });
                return;
            }
        }
        self.timers.set(QP_SLOTS + index, qp.requester.deadline());
        self.activate(index);
    }

    fn activate(&mut self, index: usize) {
        let qp = &mut self.qps[index];
        if !qp.active && qp.requester.can_send() {
            qp.active = true;
            self.active.push_back(index);
        }
    }

    /// Do all that the schedule allows at `now`.
    fn run_schedule(&mut self, now: Time) {
        if !self.running {
            return;
        }
        while let Some(action) = self.schedule.next(now) {
            match action {
                Action::Send { qp, .. } => {
                    let mut next = Some(action);
                    while let Some(Action::Send { offset, bytes, remote, .. }) = next {
                        self.post(qp, offset, remote, bytes);
                        next = self.schedule.next_send(qp);
                    }
                }
                Action::Reduce { index, dtype, redop, dst, lhs, rhs, count } => {
                    if !self.memory.is_empty() {
                        // The plan was checked against the memory's size, so the ranges hold.
                        self.memory.reduce(dtype, redop, dst, lhs, rhs, count);
                    }
                    self.schedule.finish(index);
                }
            }
        }
        self.timers.set(CALC_SLOT, self.schedule.next_wake());
        if self.schedule.is_finished() {
            self.running = false;
            self.events.push_back(Event::RankFinished);
        }
    }

    fn post(&mut self, index: usize, offset: u64, remote: u64, bytes: u64) {
        let qp = &mut self.qps[index];
        let qpn = qp.config.qpn;
        let message = qp.requester.post(offset, remote, bytes);
        self.events.push_back(Event::SendPosted { qpn, message, bytes });
        self.activate(index);
    }
}
