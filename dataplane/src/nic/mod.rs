//! A host: a RoCEv2 NIC behind each port, RC queue pairs over NICs that obey PFC, and the ranks whose schedules it executes.

mod ahead;
pub mod arithmetic;
mod awake;
pub mod congestion;
pub mod copies;
mod feedback;
mod guests;
pub mod inject;
pub mod memory;
pub mod meters;
mod observed;
mod queue_pair;
mod ranks;
pub mod rc;
pub mod receive_buffer;
mod reconstruct;
pub mod schedule;
mod sending;
mod slot;
mod spares;
mod steady;
pub mod storm;
pub mod traced;
mod transfer;
pub mod work;

use std::collections::VecDeque;

use crate::event::Event;
use crate::frame::{Body, Frame, Station};
use crate::port::{Port, PortConfig};
use crate::priority::{Priority, PrioritySet, CLASS_SELECTORS, DSCPS};
use crate::timers::Timers;
use crate::units::Time;
use crate::wire::pfc::Pfc;
use crate::wire::roce::Opcode;
use crate::wire::sizes::LINE_OVERHEAD_BYTES;

use awake::Awake;
use congestion::{Control, Needs, Sending};
use copies::{Copies, CopyPair};
use feedback::Echo;
use guests::Guests;
use inject::Injector;
use memory::Memory;
use meters::Meters;
pub use queue_pair::QpConfig;
use queue_pair::QueuePair;
use ranks::RunningRank;
pub use ranks::{Lane, Rank};
use rc::code::Coder;
use rc::message::{self, FrameSizes};
use rc::qp::{Failure, Recovery, RequesterCounters, Rnr, Transport};
use rc::requester::Requester;
use rc::responder::Responder;
use receive_buffer::ReceiveBuffer;
use slot::{Slot, Slots};
use spares::Spares;
use storm::PauseStorm;

/// ECT(0): the transport understands congestion marks.
const ECN_CAPABLE: u8 = 2;

/// What a host runs: connections, pairs of ranks that copy, and the schedules of its ranks.
#[derive(Debug)]
pub struct Load {
    pub transport: Transport,
    pub congestion: Option<congestion::Config>,
    /// What acknowledgements travel on; `None`: what the data does.
    pub ack_dscp: Option<u8>,
    pub qps: Vec<QpConfig>,
    pub copies: Vec<CopyPair>,
    pub ranks: Vec<Rank>,
}

/// What belongs to one port of a host, beside the port itself.
#[derive(Debug)]
struct Nic {
    station: Station,
    /// The priority of each DSCP.
    priorities: [Priority; DSCPS],
    /// By class, connections with something to send and window to send it in, served in turn.
    active: Vec<VecDeque<usize>>,
    /// The class that may send next.
    turn: usize,
    /// What a tester puts on the link, if there is one.
    injector: Option<Box<Injector>>,
    /// What came in that no connection took, if anything did.
    meters: Option<Box<Meters>>,
    /// What the kernel puts on the link, if it heeds pauses.
    guests: Option<Box<Guests>>,
    /// The pauses that it asks for without need, if it does.
    storm: Option<Box<PauseStorm>>,
    /// Where packets wait that it cannot take in as fast as they come, if it is so slow.
    receive_buffer: Option<Box<ReceiveBuffer>>,
}

/// A host as a pure state machine with the five verbs; see `Switch` for the order in which drivers call them.
#[derive(Debug)]
pub struct Host {
    ports: Vec<Port>,
    /// By port.
    nics: Vec<Nic>,
    /// NICs that may have something to send.
    awake: Awake,
    slots: Slots,
    timers: Timers,
    /// Some NIC has a receive buffer.
    has_receive_buffer: bool,
    /// The priorities of its connections, ascending, at least one. They are served in turn.
    classes: Vec<Priority>,
    /// What the longest packet of the workload takes of a buffer.
    longest_bytes: u32,
    frames: Option<FrameSizes>,
    /// What congestion control has to be told, and what telemetry makes packets longer.
    needs: Needs,
    telemetry_bytes: u16,
    echo: Echo,
    /// The rate of a queue pair may have changed since that was last asked.
    rates_changed: bool,
    rnr: Option<Rnr>,
    qps: Vec<QueuePair>,
    /// What packets name and the index in `qps`, ascending.
    by_key: Vec<(u64, usize)>,
    ranks: Vec<RunningRank>,
    copies: Copies,
    coder: Coder,
    spares: Spares,
    events: VecDeque<Event>,
}

impl Host {
    /// A host with a NIC, by its station, behind each port.
    pub fn new(nics: Vec<(Station, PortConfig)>) -> Host {
        let (stations, ports): (Vec<_>, Vec<_>) = nics.into_iter().map(|(at, port)| (at, Port::new(port))).unzip();
        let nic = |station| Nic {
            station,
            priorities: CLASS_SELECTORS,
            active: vec![VecDeque::new()],
            turn: 0,
            injector: None,
            meters: None,
            guests: None,
            storm: None,
            receive_buffer: None,
        };
        let slots = Slots { nics: ports.len() };
        Host {
            slots,
            timers: Timers::new(slots.count(0)),
            awake: Awake::new(ports.len()),
            nics: stations.into_iter().map(nic).collect(),
            ports,
            has_receive_buffer: false,
            classes: vec![Priority::P0],
            longest_bytes: 0,
            frames: None,
            needs: Needs::NOTHING,
            telemetry_bytes: 0,
            echo: Echo::default(),
            rates_changed: false,
            rnr: None,
            qps: Vec::new(),
            by_key: Vec::new(),
            ranks: Vec::new(),
            copies: Copies::default(),
            coder: Coder::default(),
            spares: Spares::default(),
            events: VecDeque::new(),
        }
    }

    pub fn ports(&self) -> &[Port] {
        &self.ports
    }

    /// A port, whose line is about to change: call `poll_transmit` afterwards.
    pub fn port_mut(&mut self, port: u16) -> &mut Port {
        self.awake.set(usize::from(port));
        &mut self.ports[usize::from(port)]
    }

    /// Forget the last workload and take a new one; nothing is sent before `start`.
    pub fn load(&mut self, load: Load) {
        let mut classes: Vec<_> = load.qps.iter().map(|config| config.priority).collect();
        classes.sort_unstable();
        classes.dedup();
        if !classes.is_empty() {
            self.classes = classes;
        }
        self.needs = load.congestion.map_or(Needs::NOTHING, |control| control.needs());
        self.telemetry_bytes = self.needs.telemetry_bytes.unwrap_or(0);
        self.longest_bytes = load.transport.longest_bytes() + u32::from(self.telemetry_bytes);
        self.echo = Echo::default();
        let sending = Sending {
            payload_bytes: u64::from(load.transport.mtu),
            packet_bytes: u64::from(self.longest_bytes) + LINE_OVERHEAD_BYTES as u64,
            timeout: load.transport.timeout,
        };
        let queue_pair = |config: &QpConfig| QueuePair {
            config: *config,
            class: self.classes.binary_search(&config.priority).unwrap_or(0),
            ack: load
                .ack_dscp
                .map_or((config.priority, config.dscp), |dscp| (self.priority_of(config.nic.into(), dscp), dscp)),
            requester: Requester::new(load.transport, config.qpn),
            responder: Responder::new(&load.transport),
            control: load
                .congestion
                .map(|control| Box::new(Control::new(control, self.ports[usize::from(config.nic)].rate(), sending))),
            ready_at: Time::ZERO,
            notify_at: Time::ZERO,
            active: false,
            parity: Vec::new(),
        };
        self.qps = load.qps.iter().map(queue_pair).collect();
        self.by_key = self.qps.iter().enumerate().map(|(index, qp)| (qp.config.key(), index)).collect();
        self.by_key.sort_unstable();
        self.ranks = load.ranks.into_iter().map(RunningRank::new).collect();
        self.copies.load(load.copies, self.ranks.len());
        self.reset();
        self.begin_control();
        self.frames = load.transport.frames;
        self.rates_changed = true;
        self.rnr = load.transport.rnr;
        let has_memory = self.ranks.iter().any(|rank| !rank.memory.is_empty());
        if let (Recovery::Erasure(code), true) = (load.transport.recovery, has_memory) {
            self.coder.prepare(code, load.transport.mtu as usize);
        }
    }

    /// Forget the last workload; packets of it that are still under way find no connection.
    pub fn unload(&mut self) {
        self.qps.clear();
        self.by_key.clear();
        self.ranks.clear();
        self.copies.load(Vec::new(), 0);
        self.reset();
    }

    /// Begin with the timers of what does not belong to a workload.
    fn reset(&mut self) {
        self.timers = Timers::new(self.slots.count(self.qps.len()));
        for nic in 0..self.nics.len() {
            self.nics[nic].active.clear();
            self.nics[nic].active.resize_with(self.classes.len(), VecDeque::new);
            self.nics[nic].turn = 0;
            self.arm_storm(nic);
            self.awake.set(nic);
        }
    }

    /// Begin the loaded schedules.
    pub fn start(&mut self, now: Time) {
        for (nic, state) in self.nics.iter_mut().enumerate() {
            if let Some(injector) = &mut state.injector {
                injector.start(now);
                self.awake.set(nic);
            }
        }
        for rank in 0..self.ranks.len() {
            self.ranks[rank].running = true;
            self.run_rank(rank, now);
        }
    }

    pub fn memory(&self, rank: usize) -> Option<&Memory> {
        self.ranks.get(rank).map(|rank| &rank.memory)
    }

    pub fn memory_mut(&mut self, rank: usize) -> Option<&mut Memory> {
        self.ranks.get_mut(rank).map(|rank| &mut rank.memory)
    }

    pub fn is_finished(&self) -> bool {
        self.ranks.iter().all(|rank| rank.schedule.is_finished())
    }

    pub fn counters(&self) -> impl Iterator<Item = (QpConfig, &RequesterCounters, Option<Failure>)> {
        self.qps.iter().map(|qp| (qp.config, &qp.requester.counters, qp.requester.failure()))
    }

    pub fn handle_frame(&mut self, port: u16, frame: Box<Frame>, now: Time) {
        let nic = usize::from(port);
        self.awake.set(nic);
        let state = &mut self.ports[nic];
        match frame.body {
            Body::Pause(said) => {
                let heeded = if state.runs_pfc() { PrioritySet::ALL } else { PrioritySet::NONE };
                let pfc = Pfc { class_enable: said.class_enable & heeded, ..said };
                state.pause(&pfc, now);
                state.ignore_pause(said.class_enable.without(heeded));
                let request = frame.request();
                self.events.push_back(Event::PauseReceived { port, pfc, request });
            }
            Body::Roce(_) => {
                let priority = self.priority_of(nic, frame.dscp);
                let counters = &mut self.ports[nic].counters[priority];
                counters.frames_rx += 1;
                counters.bytes_rx += u64::from(frame.buffer_bytes());
                if self.nics[nic].receive_buffer.is_some() {
                    return self.hold(nic, frame, priority, now);
                }
                self.pass_credit(nic, &frame, priority);
                self.handle_packet(nic, frame, now);
            }
            Body::Credit(credit) => {
                state.handle_credit(&credit, now);
                self.events.push_back(Event::CreditReceived { port, credit });
            }
            Body::Opaque => self.pass_opaque(nic, &frame, now),
        }
    }

    /// Deal with a packet.
    #[inline]
    fn handle_packet(&mut self, nic: usize, frame: Box<Frame>, now: Time) {
        let Body::Roce(packet) = frame.body else { return };
        let Some(index) = self.find(nic, packet.dst_qp, frame.src) else { return self.meter(nic, &frame, now) };
        match message::decode(packet.opcode) {
            Some(data) => self.handle_data(index, frame, &packet, data, now),
            None if packet.opcode == Opcode::Parity => self.handle_parity(index, frame, &packet, now),
            None => {
                self.handle_response(index, &packet, &frame, now);
                self.spares.give(frame);
            }
        }
    }

    /// The connection that a packet belongs to.
    #[inline]
    fn find(&self, nic: usize, qpn: u32, peer: Station) -> Option<usize> {
        let key = (nic as u64) << 32 | u64::from(qpn);
        let position = self.by_key.binary_search_by_key(&key, |(key, _)| *key).ok()?;
        let index = self.by_key[position].1;
        (self.qps[index].config.peer == peer).then_some(index)
    }

    pub fn handle_timeout(&mut self, now: Time) {
        if self.has_receive_buffer {
            (0..self.nics.len()).for_each(|nic| self.drain_receive_buffer(nic, now));
        }
        while let Some(slot) = self.timers.pop(now) {
            match self.slots.of(slot) {
                Slot::Ranks => self.wake_ranks(now),
                Slot::Port(nic) | Slot::Inject(nic) | Slot::Guests(nic) => self.awake.set(nic),
                Slot::Storm(nic) => {
                    self.awake.set(nic);
                    self.emit_storm(nic, now);
                }
                Slot::Retransmit(connection) => self.retransmit(connection, now),
                Slot::Rate(connection) => self.adapt(connection, now),
            }
        }
    }

    /// The next frame to put on a link at `now`, and the port that it leaves by: of the first port that has one.
    pub fn poll_transmit(&mut self, now: Time) -> Option<(u16, Box<Frame>)> {
        loop {
            let nic = self.awake.first()?;
            if let Some(frame) = self.poll_nic(nic, now) {
                return Some((nic as u16, frame));
            }
            self.awake.clear(nic);
        }
    }

    pub fn poll_timeout(&self) -> Time {
        if !self.has_receive_buffer {
            return self.timers.next();
        }
        let buffers = self.nics.iter().filter_map(|nic| nic.receive_buffer.as_ref());
        buffers.map(|buffer| buffer.deadline()).fold(self.timers.next(), Time::min)
    }

    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }
}
