//! A lossless switch: store and forward, ingress accounting, PFC towards the senders.
//!
//! The road of a frame: `handle_frame` → forwarding → buffer admission (→ XOFF) → egress queue → `poll_transmit` (→ XON).

pub mod buffer;
pub mod defects;
pub mod ecn;
pub mod forward;
pub mod group;
pub mod long_pauses;
pub mod pool;
pub mod queue;
pub mod watchdog;

use std::collections::VecDeque;

use crate::event::{Cause, Event};
use crate::frame::{Body, Frame};
use crate::pause::PauseSender;
use crate::port::{Port, PortConfig};
use crate::priority::{Priority, PrioritySet, PRIORITIES};
use crate::timers::Timers;
use crate::units::Time;
use crate::wire::ipv4::Ecn;
use crate::wire::pfc::Pfc;

use buffer::{Buffer, Place};
use defects::{Defect, Defects};
use ecn::Marker;
use forward::Table;
use group::Demand;
use long_pauses::LongPauses;
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
    defects: Defects,
    dscp_to_priority: [Priority; 64],
    /// Lossless priorities, and where what may not use them goes instead; nowhere if there are no others.
    lossless: PrioritySet,
    demotion: Option<Priority>,
    /// Marks frames of these priorities as they leave.
    marker: Option<Marker>,
    marked: PrioritySet,
    /// The watchdog, which samples the ports, and the record by which its findings can be judged.
    watchdog: Option<Box<Watchdog>>,
    long_pauses: Option<Box<LongPauses>>,
    /// Slots 0..n wake port i; slots n..2n refresh the pauses of port i; slot 2n is the watchdog's.
    timers: Timers,
    /// Ports that may have something to send now.
    ready: Vec<u16>,
    events: VecDeque<Event>,
}

impl Switch {
    pub fn new(
        ports: Vec<PortConfig>,
        buffer: Buffer,
        table: Table,
        pfc: bool,
        dscp_to_priority: [Priority; 64],
    ) -> Switch {
        Switch {
            senders: ports.iter().map(|port| PauseSender::new(port.rate)).collect(),
            timers: Timers::new(2 * ports.len() + 1),
            ports: ports.into_iter().map(Port::new).collect(),
            buffer,
            table,
            pfc,
            heeded: PrioritySet::ALL,
            lossless: PrioritySet::NONE,
            demotion: None,
            defects: Defects::default(),
            dscp_to_priority,
            marker: None,
            marked: PrioritySet::NONE,
            watchdog: None,
            long_pauses: None,
            ready: Vec::new(),
            events: VecDeque::new(),
        }
    }

    /// Mark frames of `priorities` that leave long queues.
    pub fn with_marking(mut self, marker: Option<Marker>, priorities: PrioritySet) -> Switch {
        self.marker = marker;
        self.marked = priorities;
        self
    }

    /// Heed the pauses of `priorities`, the lossless ones, and no others.
    pub fn with_heeded(mut self, priorities: PrioritySet) -> Switch {
        self.heeded = priorities;
        self
    }

    /// Keep what hosts' kernels send out of `priorities`, the lossless ones: it goes where DSCP 0 does, or else where there is
    /// room for lossy frames.
    pub fn with_lossless(mut self, priorities: PrioritySet) -> Switch {
        let lossy = |priority: &Priority| !priorities.contains(*priority);
        self.lossless = priorities;
        self.demotion = [self.dscp_to_priority[0]].into_iter().chain(Priority::ALL).find(lossy);
        self
    }

    /// Do things wrong on purpose.
    pub fn with_defects(mut self, defects: Defects) -> Switch {
        self.defects = defects;
        self
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
        if !self.defects.has(Defect::KeepsWeights) {
            self.port_mut(port).set_weights(weights);
        }
    }

    /// Whether the peer behind `port` is kept from sending `priority`.
    pub fn holds_back(&self, port: u16, priority: Priority) -> bool {
        self.senders[usize::from(port)].is_asserted(priority) || self.ports[usize::from(port)].grants_credit(priority)
    }

    /// The ports in whose queues frames stand that came in by `ingress` on `priority`.
    pub fn queues_of(&self, ingress: u16, priority: Priority) -> impl Iterator<Item = u16> + '_ {
        let holds = move |port: &Port| port.queue(priority).any(|frame| frame.ingress == ingress);
        self.ports.iter().zip(0..).filter(move |(port, _)| holds(port)).map(|(_, number)| number)
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
    pub fn handle_frame(&mut self, port: u16, mut frame: Frame, now: Time) {
        if frame.is_control() {
            return self.handle_control(port, &frame, now);
        }
        let asked = self.dscp_to_priority[usize::from(frame.dscp & 63)];
        let priority = if frame.of_kernel { self.demoted(port, asked) } else { asked };
        frame.priority = priority;
        frame.ingress = port;
        let bytes = u64::from(frame.buffer_bytes());
        let ingress = &mut self.ports[usize::from(port)];
        ingress.reserve_credit(priority, frame.buffer_bytes());
        let counters = &mut ingress.counters[priority];
        counters.frames_rx += 1;
        counters.bytes_rx += bytes;
        let Some(egress) = self.table.lookup(&frame) else {
            return self.drop_frame(&frame, Cause::Unroutable);
        };
        if self.watchdog.as_ref().is_some_and(|watchdog| watchdog.discards(egress, priority)) {
            return self.discard(egress, &frame);
        }
        match self.buffer.admit(Place { ingress: port, egress, priority }, bytes) {
            Ok(demand) => self.answer(port, priority, demand, now),
            Err(cause) => return self.drop_frame(&frame, cause),
        }
        if self.defects.any() {
            self.mark_on_arrival(egress, &mut frame);
        }
        self.ports[usize::from(egress)].enqueue(frame);
        if self.defects.any() {
            self.reorder(egress, priority);
        }
        self.ready.push(egress);
    }

    /// The priority of a frame of a host's kernel that asks for `priority`.
    fn demoted(&mut self, port: u16, priority: Priority) -> Priority {
        match self.demotion.filter(|_| self.lossless.contains(priority)) {
            Some(lossy) => {
                self.ports[usize::from(port)].counters[priority].demoted += 1;
                lossy
            }
            None => priority,
        }
    }

    /// Handle a control frame of the peer behind `port`; it is not forwarded.
    fn handle_control(&mut self, port: u16, frame: &Frame, now: Time) {
        match frame.body {
            Body::Pause(said) => self.handle_pause(port, frame, said, now),
            Body::Credit(credit) => {
                self.ports[usize::from(port)].handle_credit(&credit, now);
                self.events.push_back(Event::CreditReceived { port, credit });
            }
            Body::Roce(_) | Body::Opaque => {}
        }
        self.ready.push(port);
    }

    fn handle_pause(&mut self, port: u16, frame: &Frame, said: Pfc, now: Time) {
        let at = &mut self.ports[usize::from(port)];
        let heeded = if at.runs_pfc() { self.heeded } else { PrioritySet::NONE };
        let mut pfc = Pfc { class_enable: said.class_enable & heeded, ..said };
        if self.defects.any() {
            pfc = self.defects.received(frame, said, heeded, at, now);
        }
        at.pause(&pfc, now);
        at.ignore_pause(said.class_enable.without(pfc.class_enable));
        self.events.push_back(Event::PauseReceived { port, pfc });
        self.observe_pause(port, &pfc, now);
    }

    pub fn handle_timeout(&mut self, now: Time) {
        let ports = self.ports.len();
        while let Some(slot) = self.timers.pop(now) {
            if slot < ports {
                self.ready.push(slot as u16);
            } else if slot < 2 * ports {
                self.refresh(slot - ports, now);
            } else {
                self.poll_watchdog(now);
            }
        }
    }

    /// The next frame to put on a link at `now`, with its port.
    #[inline]
    pub fn poll_transmit(&mut self, now: Time) -> Option<(u16, Frame)> {
        while let Some(&port) = self.ready.last() {
            let egress = &mut self.ports[usize::from(port)];
            let frame = egress.dequeue(now);
            if frame.is_none() || egress.is_empty() {
                self.ready.pop();
                let next = egress.next_start(now);
                self.timers.set(usize::from(port), next);
            }
            if let Some(mut frame) = frame {
                if !frame.is_control() {
                    self.mark(port, &mut frame);
                    let place = Place { ingress: frame.ingress, egress: port, priority: frame.priority };
                    let demand = self.buffer.release(place, u64::from(frame.buffer_bytes()));
                    self.answer(frame.ingress, frame.priority, demand, now);
                    self.return_credit(&frame);
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
        let Some(marker) = self.marker.as_mut().filter(|_| !self.defects.has(Defect::MarksOnArrival)) else { return };
        if !self.marked.contains(frame.priority) || frame.ecn == Ecn::NotEct as u8 {
            return;
        }
        let egress = &mut self.ports[usize::from(port)];
        if marker.marks(egress.queue_bytes(frame.priority) + u64::from(frame.buffer_bytes())) {
            frame.ecn = Ecn::Ce as u8;
            egress.counters[frame.priority].ecn_marked += 1;
        }
    }

    /// Send what the buffer demands of the peer behind `port`.
    #[inline]
    fn answer(&mut self, port: u16, priority: Priority, demand: Demand, now: Time) {
        if demand == Demand::None || !self.pfc {
            return;
        }
        let sender = &mut self.senders[usize::from(port)];
        let frame = if demand == Demand::Xoff { sender.xoff(priority) } else { sender.xon(priority) };
        let Some(frame) = frame else { return };
        if let Some(pauses) = &mut self.long_pauses {
            pauses.note(demand, (port, priority), &self.ports, &self.buffer, now);
        }
        let refresh = self.ports.len() + usize::from(port);
        if demand == Demand::Xoff && sender.holds_one() {
            self.timers.set(refresh, now + sender.refresh_every());
        }
        self.ports[usize::from(port)].counters[priority].pause_tx += 1;
        self.send_control(port, frame);
    }

    /// Put a PAUSE frame before all that waits at `port`.
    fn send_control(&mut self, port: u16, mut frame: Frame) {
        if self.defects.any() {
            let Some(said) = self.defects.sent(port, self.ports.len(), frame) else { return };
            frame = said;
            self.repeat(port, &frame);
        }
        self.ports[usize::from(port)].enqueue_control(frame);
        self.ready.push(port);
    }

    /// A frame takes no room any more at the port it came in by.
    #[inline]
    fn return_credit(&mut self, frame: &Frame) {
        if self.ports[usize::from(frame.ingress)].return_credit(frame.priority, frame.buffer_bytes()) {
            self.ready.push(frame.ingress);
        }
    }

    fn refresh(&mut self, port: usize, now: Time) {
        let sender = &mut self.senders[port];
        if self.defects.has(Defect::NeverRefreshes) {
            return;
        }
        let Some(frame) = sender.refresh() else { return };
        sender.asserted().into_iter().for_each(|priority| self.ports[port].counters[priority].pause_tx += 1);
        self.timers.set(self.ports.len() + port, now + sender.refresh_every());
        self.send_control(port as u16, frame);
    }

    fn drop_frame(&mut self, frame: &Frame, cause: Cause) {
        self.drop_at(frame.ingress, frame, cause);
    }

    /// Lose a frame, and count that at `port`.
    fn drop_at(&mut self, port: u16, frame: &Frame, cause: Cause) {
        let (priority, packet) = (frame.priority, frame.is_packet());
        if let Some(pauses) = &mut self.long_pauses {
            pauses.drop_bytes((frame.ingress, priority), u64::from(frame.buffer_bytes()));
        }
        let counters = &mut self.ports[usize::from(port)].counters[priority];
        counters.drops[cause as usize] += 1;
        self.events.push_back(Event::Dropped { port, priority, cause, packet });
        self.return_credit(frame);
    }
}
