//! A lossless switch: store and forward, ingress accounting, PFC towards the senders.
//!
//! The road of a frame: `handle_frame` → forwarding → buffer admission (→ XOFF) → egress queue → `poll_transmit` (→ XON).

mod ahead;
pub mod buffer;
pub mod config;
mod credits;
pub mod defective;
pub mod defects;
pub mod ecn;
pub mod forward;
pub mod group;
pub mod long_pauses;
mod observed;
mod pausing;
pub mod pool;
pub mod queue;
pub mod queue_map;
mod slot;
mod steady;
pub mod stop_requests;
mod telemetry;
pub mod watchdog;

use std::collections::VecDeque;

use crate::event::{Cause, Event};
use crate::frame::{Body, Frame};
use crate::pause::PauseSender;
use crate::port::Port;
use crate::priority::{Priority, PrioritySet, DSCPS, PRIORITIES};
use crate::timers::Timers;
use crate::units::Time;
use crate::wire::ipv4::Ecn;

use buffer::{Buffer, Place};
use config::SwitchConfig;
use defects::Defects;
use ecn::Marker;
use forward::Table;
use long_pauses::LongPauses;
use queue_map::{Class, QueueMap};
use slot::Slot;
use stop_requests::StopRequests;
use watchdog::Watchdog;

/// A switch as a pure state machine with the five verbs. Drivers call, after each verb that takes a time, `poll_event` until it
/// returns `None`, then `poll_transmit` likewise, then `poll_timeout`.
#[derive(Debug)]
pub struct Switch {
    ports: Vec<Port>,
    senders: Vec<PauseSender>,
    buffer: Buffer,
    table: Table,
    pfc: bool,
    /// Pauses of other priorities than these are counted only.
    heeded: PrioritySet,
    /// Of the pauses that it asks for.
    defects: Defects,
    /// Queue and group of each DSCP.
    classes: [Class; DSCPS],
    queue_map: Option<QueueMap>,
    /// Lossless priorities, and where what may not use them goes instead; nowhere if there are no others.
    lossless: PrioritySet,
    demotion: Option<Class>,
    /// Marks frames as they leave.
    marker: Option<Marker>,
    /// The watchdog, which samples the ports, and the record by which its findings can be judged.
    watchdog: Option<Box<Watchdog>>,
    long_pauses: Option<Box<LongPauses>>,
    /// What its groups asked of peers, and why, if that is recorded.
    stop_requests: StopRequests,
    /// By `Slot`.
    timers: Timers,
    /// Ports that may have something to send now.
    ready: Vec<u16>,
    events: VecDeque<Event>,
}

impl Switch {
    /// Make a switch. Its defects show in the pauses that it asks for alone; those of what comes in are in a `Defective`.
    pub fn new(config: SwitchConfig) -> Switch {
        let SwitchConfig { ports, buffer, table, pfc, dscp_to_priority, lossless, .. } = config;
        let lossy = |class: &Class| !lossless.contains(class.queue);
        let class = |priority| config.queue_map.map_or(Class::own(priority), |map| map.class(priority));
        let classes = dscp_to_priority.map(class);
        Switch {
            senders: ports.iter().map(|port| PauseSender::new(port.rate)).collect(),
            timers: Timers::new(Slot::count(ports.len())),
            watchdog: config.watchdog.map(|watchdog| Box::new(Watchdog::new(watchdog, ports.len()))),
            long_pauses: config.long_pauses.map(|at_least| Box::new(LongPauses::new(at_least, ports.len()))),
            stop_requests: StopRequests::default(),
            ports: ports.into_iter().map(Port::new).collect(),
            buffer,
            table,
            pfc,
            heeded: config.heeded,
            lossless,
            demotion: [classes[0]].into_iter().chain(Priority::ALL.map(class)).find(lossy),
            defects: config.defects,
            classes,
            queue_map: config.queue_map,
            marker: config.marker,
            ready: Vec::new(),
            events: VecDeque::new(),
        }
    }

    pub fn ports(&self) -> &[Port] {
        &self.ports
    }

    /// A port whose line is about to change: to be polled afterwards.
    pub fn port_mut(&mut self, port: u16) -> &mut Port {
        self.ready.push(port);
        &mut self.ports[usize::from(port)]
    }

    /// Share a port among priorities by other weights. To be polled afterwards.
    pub fn set_weights(&mut self, port: u16, weights: [u32; PRIORITIES]) {
        self.port_mut(port).set_weights(weights);
    }

    /// Forward what is for a station by these ports from now on.
    pub fn set_route(&mut self, station: u32, ports: &[u16]) {
        self.table.set_route(station, ports);
    }

    /// Record what its groups ask of peers, and why: so many requests at most. To be called before any frame comes.
    pub fn record(&mut self, bound: usize) {
        self.stop_requests = match bound {
            0 => StopRequests::default(),
            _ => StopRequests::new(&self.classes, self.ports.len(), &self.buffer, bound),
        };
    }

    pub fn stop_requests(&self) -> &StopRequests {
        &self.stop_requests
    }

    pub fn stop_requests_mut(&mut self) -> &mut StopRequests {
        &mut self.stop_requests
    }

    /// Which queue and which group frames of a priority stand in, if not those of its number.
    pub fn queue_map(&self) -> Option<&QueueMap> {
        self.queue_map.as_ref()
    }

    /// Whether the peer behind `port` is kept from sending what is counted in `group`.
    pub fn holds_back(&self, port: u16, group: Priority) -> bool {
        self.senders[usize::from(port)].is_asserted(group) || self.ports[usize::from(port)].grants_credit(group)
    }

    /// The queues, by port, in which frames stand that came in by `ingress` and are counted in one of `groups`.
    pub fn queues_of(&self, ingress: u16, groups: PrioritySet) -> impl Iterator<Item = (u16, Priority)> + '_ {
        let inside = move |class: &&Class| groups.contains(class.group);
        let queues: PrioritySet = self.classes.iter().filter(inside).map(|class| class.queue).collect();
        let counted = move |frame: &Frame| frame.ingress == ingress && groups.contains(frame.group);
        let all = self
            .ports
            .iter()
            .zip(0..)
            .flat_map(move |(port, number)| queues.into_iter().map(move |queue| (port, number, queue)));
        all.filter(move |(port, _, queue)| port.queue(*queue).any(counted)).map(|(_, number, queue)| (number, queue))
    }

    pub fn buffer(&self) -> &Buffer {
        &self.buffer
    }

    /// From here on count anew what buffer and queues hold at most.
    pub fn restart_marks(&mut self) {
        self.buffer.restart_marks();
        self.ports.iter_mut().for_each(Port::restart_marks);
    }

    /// Take a frame whose last bit arrived on `port`.
    pub fn handle_frame(&mut self, port: u16, mut frame: Box<Frame>, now: Time) {
        if frame.is_control() {
            return self.handle_control(port, &frame, now);
        }
        let class = self.classes[usize::from(frame.dscp & 63)];
        let Class { queue: priority, group } = if frame.of_kernel { self.demoted(port, class) } else { class };
        (frame.priority, frame.group) = (priority, group);
        frame.ingress = port;
        let bytes = u64::from(frame.buffer_bytes());
        let ingress = &mut self.ports[usize::from(port)];
        ingress.reserve_credit(priority, frame.buffer_bytes());
        ingress.touch(PrioritySet::only(group));
        let counters = &mut ingress.counters[group];
        counters.frames_rx += 1;
        counters.bytes_rx += bytes;
        let Some(egress) = self.table.lookup(&frame) else {
            return self.drop_frame(&frame, Cause::Unroutable);
        };
        if self.watchdog.as_ref().is_some_and(|watchdog| watchdog.discards(egress, priority)) {
            return self.discard(egress, &frame);
        }
        frame.detoured |= self.table.is_detoured(&frame, egress);
        match self.buffer.admit(Place::of(&frame, egress), bytes) {
            Ok(demand) => {
                self.stop_requests.enter(&frame, egress);
                self.answer(port, group, demand, now);
            }
            Err(cause) => return self.drop_frame(&frame, cause),
        }
        self.ports[usize::from(egress)].enqueue(frame);
        self.wake(egress, now);
    }

    /// Let a port send what has joined a queue, unless it is busy and its timer set for when it no longer is.
    #[inline]
    fn wake(&mut self, port: u16, now: Time) {
        let free_at = self.ports[usize::from(port)].free_at(now);
        if free_at == now || self.timers.get(Slot::Port(port).index(self.ports.len())) != free_at {
            self.ready.push(port);
        }
    }

    /// The port by which a frame would leave, and its queue there; `None` where the plan has no route.
    pub fn destination(&self, frame: &Frame) -> Option<(u16, Priority)> {
        Some((self.table.lookup(frame)?, self.classes[usize::from(frame.dscp & 63)].queue))
    }

    /// Where a frame of a host's kernel stands that asks for a class.
    fn demoted(&mut self, port: u16, asked: Class) -> Class {
        match self.demotion.filter(|_| self.lossless.contains(asked.queue)) {
            Some(lossy) => {
                self.ports[usize::from(port)].counters[asked.group].demoted += 1;
                lossy
            }
            None => asked,
        }
    }

    /// Handle a control frame of the peer behind `port`; it is not forwarded.
    fn handle_control(&mut self, port: u16, frame: &Frame, now: Time) {
        match frame.body {
            Body::Pause(said) => self.handle_pause(port, said, frame.request(), now),
            Body::Credit(credit) => self.handle_credit(port, credit, now),
            Body::Roce(_) | Body::Opaque => {}
        }
        self.ready.push(port);
    }

    pub fn handle_timeout(&mut self, now: Time) {
        let ports = self.ports.len();
        while let Some(slot) = self.timers.pop(now) {
            match Slot::of(slot, ports) {
                Slot::Port(port) => self.ready.push(port),
                Slot::Refresh(port) => self.refresh(port, now),
                Slot::Watchdog => self.poll_watchdog(now),
            }
        }
    }

    /// The next frame to put on a link at `now`, with its port.
    #[inline]
    pub fn poll_transmit(&mut self, now: Time) -> Option<(u16, Box<Frame>)> {
        while let Some(port) = self.ready.pop() {
            let egress = &mut self.ports[usize::from(port)];
            // One at a time: the line is busy with it.
            let frame = egress.dequeue(now);
            let next = egress.next_start(now);
            self.timers.set(Slot::Port(port).index(self.ports.len()), next);
            if let Some(mut frame) = frame {
                if !frame.is_control() {
                    self.mark(port, &mut frame);
                    self.stamp(port, &mut frame, now);
                    self.stop_requests.leave(&frame, port);
                    let demand = self.buffer.release(Place::of(&frame, port), u64::from(frame.buffer_bytes()));
                    self.answer(frame.ingress, frame.group, demand, now);
                    self.return_credit(&frame);
                } else if let Body::Credit(credit) = frame.body {
                    self.tell_credit(port, credit.priority, now);
                }
                return Some((port, frame));
            }
        }
        None
    }

    pub fn poll_timeout(&self) -> Time {
        self.timers.next()
    }

    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Mark a frame that leaves a long queue, if its transport understands marks.
    #[inline]
    fn mark(&mut self, port: u16, frame: &mut Frame) {
        let Some(marker) = &mut self.marker else { return };
        if frame.ecn == Ecn::NotEct as u8 {
            return;
        }
        let egress = &mut self.ports[usize::from(port)];
        if marker.marks(port, frame.priority, egress.queue_bytes(frame.priority) + u64::from(frame.buffer_bytes())) {
            frame.ecn = Ecn::Ce as u8;
            egress.counters[frame.priority].ecn_marked += 1;
        }
    }

    fn drop_frame(&mut self, frame: &Frame, cause: Cause) {
        self.drop_at(frame.ingress, frame, cause);
    }

    /// Lose a frame, and count that at `port`.
    fn drop_at(&mut self, port: u16, frame: &Frame, cause: Cause) {
        let (priority, packet) = (frame.priority, frame.is_packet());
        if let Some(pauses) = &mut self.long_pauses {
            pauses.drop_bytes((frame.ingress, frame.group), u64::from(frame.buffer_bytes()));
        }
        if cause == Cause::Headroom {
            self.stop_requests.lose(frame.ingress, frame.group);
        }
        let counters = &mut self.ports[usize::from(port)].counters[priority];
        counters.drops[cause as usize] += 1;
        self.events.push_back(Event::Dropped { port, priority, cause, packet });
        self.return_credit(frame);
    }
}
