//! A RoCEv2 NIC: RC queue pairs over one port that obeys PFC, and the rank whose schedule it executes.

pub mod arithmetic;
mod execution;
pub mod inject;
pub mod memory;
pub mod rc;
pub mod receive_buffer;
mod reconstruct;
pub mod schedule;
mod sending;
mod slot;
pub mod storm;
mod transfer;

use std::collections::VecDeque;

use crate::event::Event;
use crate::frame::{Body, Frame, Station};
use crate::port::{Port, PortConfig};
use crate::priority::{Priority, PrioritySet};
use crate::timers::Timers;
use crate::units::Time;
use crate::wire::pfc::Pfc;
use crate::wire::roce::Opcode;

use inject::Injector;
use memory::Memory;
use rc::code::Coder;
use rc::dcqcn::{Dcqcn, DcqcnConfig};
use rc::message;
use rc::qp::{Failure, Recovery, RequesterCounters, Rnr, Transport};
use rc::requester::Requester;
use rc::responder::Responder;
use receive_buffer::ReceiveBuffer;
use schedule::Schedule;
use slot::Slot;
use storm::PauseStorm;

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
    /// The reaction point, with congestion control; the next packet may start at `ready_at`.
    rate: Option<Dcqcn>,
    ready_at: Time,
    /// When the notification point may send the next CNP.
    notify_at: Time,
    /// Listed in `Nic::active`.
    active: bool,
    /// Payloads of the parity packets that are next to be sent, for a rank with memory.
    parity: Vec<Vec<u8>>,
}

/// A NIC as a pure state machine with the five verbs; see `Switch` for the order in which drivers call them.
#[derive(Debug)]
pub struct Nic {
    station: Station,
    port: Port,
    timers: Timers,
    priority: Priority,
    dscp: u8,
    /// What the longest packet of the workload takes of a buffer.
    longest_bytes: u32,
    congestion: Option<DcqcnConfig>,
    rnr: Option<Rnr>,
    qps: Vec<QueuePair>,
    /// QP number and index in `qps`, ascending.
    by_qpn: Vec<(u32, usize)>,
    /// Connections with something to send and window to send it in, served in turn.
    active: VecDeque<usize>,
    schedule: Schedule,
    pub memory: Memory,
    coder: Coder,
    events: VecDeque<Event>,
    running: bool,
    /// What a tester puts on the link, if there is one.
    injector: Option<Box<Injector>>,
    /// The pauses that it asks for without need, if it does.
    storm: Option<Box<PauseStorm>>,
    /// Where packets wait that it cannot take in as fast as they come, if it is so slow.
    receive_buffer: Option<Box<ReceiveBuffer>>,
}

impl Nic {
    pub fn new(station: Station, port: PortConfig) -> Nic {
        Nic {
            station,
            port: Port::new(port),
            timers: Timers::new(Slot::count(0)),
            priority: Priority::P0,
            dscp: 0,
            longest_bytes: 0,
            congestion: None,
            rnr: None,
            qps: Vec::new(),
            by_qpn: Vec::new(),
            active: VecDeque::new(),
            schedule: Schedule::default(),
            memory: Memory::default(),
            coder: Coder::default(),
            events: VecDeque::new(),
            running: false,
            injector: None,
            storm: None,
            receive_buffer: None,
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
            rate: rank.transport.congestion.map(|config| Dcqcn::new(config, self.port.rate())),
            ready_at: Time::ZERO,
            notify_at: Time::ZERO,
            active: false,
            parity: Vec::new(),
        };
        self.qps = rank.qps.iter().map(queue_pair).collect();
        self.by_qpn = self.qps.iter().enumerate().map(|(index, qp)| (qp.config.qpn, index)).collect();
        self.by_qpn.sort_unstable();
        self.timers = Timers::new(Slot::count(self.qps.len()));
        self.arm_storm();
        self.active.clear();
        self.priority = rank.priority;
        self.dscp = rank.dscp;
        self.longest_bytes = rank.transport.longest_bytes();
        self.congestion = rank.transport.congestion;
        self.rnr = rank.transport.rnr;
        self.schedule = rank.schedule;
        self.memory = rank.memory;
        if let (Recovery::Erasure(code), false) = (rank.transport.recovery, self.memory.is_empty()) {
            self.coder.prepare(code, rank.transport.mtu as usize);
        }
        self.running = false;
    }

    /// Forget the last workload; packets of it that are still under way find no connection.
    pub fn unload(&mut self) {
        self.qps.clear();
        self.by_qpn.clear();
        self.active.clear();
        self.timers = Timers::new(Slot::count(0));
        self.arm_storm();
        self.schedule = Schedule::default();
        self.memory = Memory::default();
        self.running = false;
    }

    /// Begin the loaded schedule.
    pub fn start(&mut self, now: Time) {
        self.running = true;
        if let Some(injector) = &mut self.injector {
            injector.start(now);
        }
        self.run_schedule(now);
    }

    /// The calcs of the rank that have ended, by op, and when.
    pub fn calcs(&self) -> &[(usize, Time)] {
        self.schedule.slept()
    }

    pub fn is_finished(&self) -> bool {
        self.schedule.is_finished()
    }

    pub fn counters(&self) -> impl Iterator<Item = (QpConfig, &RequesterCounters, Option<Failure>)> {
        self.qps.iter().map(|qp| (qp.config, &qp.requester.counters, qp.requester.failure()))
    }

    /// Packets of a connection that its erasure code rebuilt here; `None` where it has no code.
    pub fn recovered(&self, qpn: u32) -> Option<u64> {
        let qp = self.qps.iter().find(|qp| qp.config.qpn == qpn)?;
        qp.responder.blocks().map(|blocks| blocks.recovered)
    }

    pub fn handle_frame(&mut self, frame: Frame, now: Time) {
        match frame.body {
            Body::Pause(said) => {
                let heeded = if self.port.runs_pfc() { PrioritySet::ALL } else { PrioritySet::NONE };
                let pfc = Pfc { class_enable: said.class_enable & heeded, ..said };
                self.port.pause(&pfc, now);
                self.port.ignore_pause(said.class_enable.without(heeded));
                self.events.push_back(Event::PauseReceived { port: 0, pfc });
            }
            Body::Roce(_) => {
                let counters = &mut self.port.counters[self.priority];
                counters.frames_rx += 1;
                counters.bytes_rx += u64::from(frame.buffer_bytes());
                if self.receive_buffer.is_some() {
                    return self.hold(frame, now);
                }
                self.pass_credit(&frame);
                self.handle_packet(frame, now);
            }
            Body::Credit(credit) => {
                self.port.handle_credit(&credit, now);
                self.events.push_back(Event::CreditReceived { port: 0, credit });
            }
            Body::Opaque => self.pass_credit(&frame),
        }
    }

    /// Deal with a packet.
    #[inline]
    fn handle_packet(&mut self, frame: Frame, now: Time) {
        let Body::Roce(packet) = frame.body else { return };
        let Some(index) = self.find(packet.dst_qp, frame.src) else { return };
        match message::decode(packet.opcode) {
            Some(data) => self.handle_data(index, frame, &packet, data, now),
            None if packet.opcode == Opcode::Parity => self.handle_parity(index, frame, &packet, now),
            None => self.handle_response(index, &packet, now),
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
        if self.receive_buffer.is_some() {
            self.drain_receive_buffer(now);
        }
        while let Some(slot) = self.timers.pop(now) {
            match Slot::of(slot) {
                Slot::Port | Slot::Inject => {}
                Slot::Storm => self.emit_storm(now),
                Slot::Calc => {
                    self.schedule.wake(now);
                    self.run_schedule(now);
                }
                Slot::Retransmit(connection) => self.retransmit(connection, now),
                Slot::Rate(connection) => self.adapt(connection, now),
            }
        }
    }

    /// The next frame to put on the link at `now`: a tester's, then acknowledgements, then data of the connections in turn.
    #[inline]
    pub fn poll_transmit(&mut self, now: Time) -> Option<Frame> {
        if self.injector.is_some() {
            if let Some(frame) = self.next_injected(now) {
                return Some(frame);
            }
        }
        if self.port.is_busy(now) {
            self.arm_port(now);
            return None;
        }
        if !self.port.is_idle() {
            if let Some(frame) = self.port.dequeue(now) {
                return Some(frame);
            }
        }
        if self.port.is_paused(self.priority, now) || self.port.is_held() {
            self.arm_port(now);
            return None;
        }
        let index = self.next_ready(now)?;
        if !self.port.has_credit(self.priority, self.longest_bytes) {
            self.await_credit(index, now);
            return None;
        }
        let frame = self.send_data(index, now);
        self.port.transmit(&frame, now);
        Some(frame)
    }

    pub fn poll_timeout(&self) -> Time {
        match &self.receive_buffer {
            None => self.timers.next(),
            Some(buffer) => self.timers.next().min(buffer.deadline()),
        }
    }

    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }
}
