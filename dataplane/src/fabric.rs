//! The fabric: nodes wired by links, one event queue, one step at a time. Both clocks run this; they differ in when they call it
//! and in what becomes of a frame that reaches the end of a link.
//!
//! Equal times have a documented order: by node, then arrivals by port before timers. No two frames arrive on one port at one
//! instant, so the order is total and does not depend on how events came into the queue.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::event::{Cause, Event, Transmission};
use crate::frame::Frame;
use crate::impair::{Change, Timeline};
use crate::link::Direction;
use crate::nic::inject::Train;
use crate::nic::Nic;
use crate::port::Port;
use crate::switch::Switch;
use crate::units::{Rate, Time};
use crate::watch::Watch;

/// Slot of a node's timer in the event order: after every port.
const TIMER_SLOT: u32 = u32::MAX;

#[derive(Debug)]
pub enum Node {
    Switch(Box<Switch>),
    Host(Box<Nic>),
}

impl Node {
    #[inline]
    fn handle_frame(&mut self, port: u16, frame: Frame, now: Time) {
        match self {
            Node::Switch(switch) => switch.handle_frame(port, frame, now),
            Node::Host(nic) => nic.handle_frame(frame, now),
        }
    }

    #[inline]
    fn handle_timeout(&mut self, now: Time) {
        match self {
            Node::Switch(switch) => switch.handle_timeout(now),
            Node::Host(nic) => nic.handle_timeout(now),
        }
    }

    #[inline]
    fn poll_transmit(&mut self, now: Time) -> Option<(u16, Frame)> {
        match self {
            Node::Switch(switch) => switch.poll_transmit(now),
            Node::Host(nic) => nic.poll_transmit(now).map(|frame| (0, frame)),
        }
    }

    #[inline]
    fn poll_timeout(&self) -> Time {
        match self {
            Node::Switch(switch) => switch.poll_timeout(),
            Node::Host(nic) => nic.poll_timeout(),
        }
    }

    #[inline]
    fn poll_event(&mut self) -> Option<Event> {
        match self {
            Node::Switch(switch) => switch.poll_event(),
            Node::Host(nic) => nic.poll_event(),
        }
    }

    pub fn ports(&self) -> &[Port] {
        match self {
            Node::Switch(switch) => switch.ports(),
            Node::Host(nic) => std::slice::from_ref(nic.port()),
        }
    }

    fn port_mut(&mut self, port: u16) -> &mut Port {
        match self {
            Node::Switch(switch) => switch.port_mut(port),
            Node::Host(nic) => nic.port_mut(),
        }
    }

    pub fn is_host(&self) -> bool {
        matches!(self, Node::Host(_))
    }
}

/// What the next event asks of the driver.
pub enum Step {
    /// A frame reached the end of a link: hand it to `Fabric::receive`, or put it on a real wire.
    Arrival { direction: u32, frame: Frame },
    /// The fabric dealt with it: a timer of a node, a change of a link.
    Done,
}

/// Nodes, links and what is about to happen to them.
#[derive(Debug)]
pub struct Fabric {
    pub nodes: Vec<Node>,
    pub directions: Vec<Direction>,
    /// `first_port[n] + p` numbers port p of node n.
    first_port: Vec<u32>,
    /// By port number: the direction that leaves it and the one that enters it; `u32::MAX` where nothing is plugged in.
    outgoing: Vec<u32>,
    incoming: Vec<u32>,
    queue: BinaryHeap<Reverse<(Time, u64)>>,
    /// By node: when its timer event is due; older entries in the queue are stale.
    wakes: Vec<Time>,
    /// By direction: the (node, port) it leaves.
    senders: Vec<(u32, u16)>,
    timeline: Timeline,
    now: Time,
    pub watch: Watch,
}

impl Fabric {
    /// Wire `nodes` by `directions`; each direction comes with the (node, port) it leaves.
    pub fn new(nodes: Vec<Node>, directions: Vec<((usize, u16), Direction)>, watch: Watch) -> Fabric {
        let mut first_port = Vec::with_capacity(nodes.len() + 1);
        let mut ports = 0;
        for node in &nodes {
            first_port.push(ports);
            ports += node.ports().len() as u32;
        }
        let mut outgoing = vec![u32::MAX; ports as usize];
        let mut incoming = vec![u32::MAX; ports as usize];
        for (index, ((node, port), direction)) in directions.iter().enumerate() {
            outgoing[(first_port[*node] + u32::from(*port)) as usize] = index as u32;
            incoming[(first_port[direction.to_node as usize] + u32::from(direction.to_port)) as usize] = index as u32;
        }
        Fabric {
            senders: directions.iter().map(|((node, port), _)| (*node as u32, *port)).collect(),
            timeline: Timeline::default(),
            wakes: vec![Time::NEVER; nodes.len()],
            nodes,
            directions: directions.into_iter().map(|(_, direction)| direction).collect(),
            first_port,
            outgoing,
            incoming,
            queue: BinaryHeap::new(),
            now: Time::ZERO,
            watch,
        }
    }

    pub fn now(&self) -> Time {
        self.now
    }

    /// Let time pass without an event (the real clock's wall). Never goes back.
    pub fn advance_to(&mut self, now: Time) {
        self.now = self.now.max(now);
    }

    /// Whether nothing is under way and no timer runs: only a change of a link can happen next, if anything.
    pub fn is_quiet(&self) -> bool {
        self.queue.is_empty()
    }

    /// When the next event is due; `Time::NEVER` when nothing will ever happen again.
    pub fn next_event(&self) -> Time {
        self.queue.peek().map_or(Time::NEVER, |Reverse((at, _))| *at).min(self.timeline.next())
    }

    /// Take the next event, if it is due at `until` or before.
    #[inline]
    pub fn step(&mut self, until: Time) -> Option<Step> {
        let (at, key) = self.queue.peek().map_or((Time::NEVER, 0), |Reverse(event)| *event);
        if self.timeline.next() <= at.min(until) {
            return self.change();
        }
        if at > until || at == Time::NEVER {
            return None;
        }
        debug_assert!(at >= self.now, "time goes forward");
        self.queue.pop();
        self.now = at;
        self.watch.events += 1;
        let (node, slot) = ((key >> 32) as usize, key as u32);
        if slot == TIMER_SLOT {
            if self.wakes[node] == at {
                self.wakes[node] = Time::NEVER;
                self.nodes[node].handle_timeout(at);
                self.drain(node);
            }
            return Some(Step::Done);
        }
        let index = self.incoming[(self.first_port[node] + slot) as usize];
        let direction = &mut self.directions[index as usize];
        if direction.next_arrival() != at {
            // The frame that was to arrive was cut off after all.
            return Some(Step::Done);
        }
        let frame = direction.arrive()?;
        let next = direction.next_arrival();
        if next != Time::NEVER {
            self.queue.push(Reverse((next, key)));
        }
        Some(Step::Arrival { direction: index, frame })
    }

    /// Hand a frame to the node at the end of `direction`, at the current time.
    #[inline]
    pub fn receive(&mut self, direction: u32, frame: Frame) {
        let direction = &self.directions[direction as usize];
        self.receive_at(direction.to_node as usize, direction.to_port, frame);
    }

    /// Hand a frame to a port, at the current time.
    #[inline]
    pub fn receive_at(&mut self, node: usize, port: u16, frame: Frame) {
        if self.nodes[node].is_host() && !frame.is_control() {
            self.watch.tally(frame.is_packet()).delivered += 1;
        }
        self.nodes[node].handle_frame(port, frame, self.now);
        self.drain(node);
    }

    /// Put a frame of a host's kernel, come in at the far end already, on the link that leads to `port`: it has delay and loss to
    /// suffer like any other. Its time on the line has passed: the host shapes what its kernel sends.
    pub fn inject(&mut self, node: usize, port: u16, frame: Frame) {
        let index = self.incoming[(self.first_port[node] + u32::from(port)) as usize];
        self.watch.tally(frame.is_packet()).sent += 1;
        self.put(index, frame, self.now);
    }

    /// Put a train of frames on the link of a host: now, or with `later` so long after the next start.
    pub fn inject_train(&mut self, host: usize, train: Train, later: bool) {
        if let Node::Host(nic) = &mut self.nodes[host] {
            nic.inject(train, later, self.now);
            self.drain(host);
        }
    }

    /// The direction that enters a port; `None` where nothing is plugged in.
    pub fn entering(&self, node: usize, port: u16) -> Option<usize> {
        let index = self.incoming[(self.first_port[node] + u32::from(port)) as usize];
        (index != u32::MAX).then_some(index as usize)
    }

    /// Start the schedules of all loaded NICs, at the current time.
    pub fn start(&mut self) {
        self.timeline.start(self.now);
        for node in 0..self.nodes.len() {
            if let Node::Host(nic) = &mut self.nodes[node] {
                nic.start(self.now);
                self.drain(node);
            }
        }
    }

    /// Change links: now, or so long after the next start.
    pub fn impair(&mut self, changes: Vec<Change>) {
        for change in self.timeline.add(changes) {
            self.apply(change, self.now);
        }
    }

    /// Forget the changes that are still due.
    pub fn cancel_changes(&mut self) {
        self.timeline.clear();
    }

    /// Let the next change of the timeline take place.
    fn change(&mut self) -> Option<Step> {
        let (due, change) = self.timeline.pop()?;
        self.now = self.now.max(due);
        self.apply(change, due);
        Some(Step::Done)
    }

    fn apply(&mut self, change: Change, asked: Time) {
        let now = self.now;
        // Directions come in pairs, a link each: forth and back.
        let index = 2 * change.link + change.way;
        let sender = self.senders[index];
        let direction = &mut self.directions[index];
        if let Some(ps) = change.delay_ps {
            direction.set_delay(Time::from_ps(ps));
        }
        if let Some(ps) = change.jitter_ps {
            direction.set_jitter(Time::from_ps(ps));
        }
        if let Some(plan) = &change.loss_process {
            direction.set_loss(plan.as_ref());
        }
        if let Some(frame) = change.up.and_then(|up| direction.set_up(up, now)) {
            let packet = (!frame.is_control()).then_some(frame.is_packet());
            self.watch.lost(sender, frame.priority, packet, Cause::Outage, now);
        }
        let port = self.nodes[sender.0 as usize].port_mut(sender.1);
        if let Some(rate) = change.rate_bps.and_then(Rate::from_bps) {
            port.set_rate(rate);
        }
        if let Some(held) = change.drain {
            port.hold(held);
        }
        self.watch.changed(sender, change, asked, now);
        self.drain(sender.0 as usize);
    }

    /// Put out what a node has to say after it was called: events, frames, its next timer.
    #[inline]
    fn drain(&mut self, node: usize) {
        let now = self.now;
        // Events first: what the node was told explains what it sends.
        while let Some(event) = self.nodes[node].poll_event() {
            self.watch.event(node as u32, &event, now);
        }
        while let Some((port, frame)) = self.nodes[node].poll_transmit(now) {
            self.transmit(node, port, frame);
        }
        let next = self.nodes[node].poll_timeout().max(now);
        if next < self.wakes[node] {
            self.wakes[node] = next;
            self.queue.push(Reverse((next, (node as u64) << 32 | u64::from(TIMER_SLOT))));
        }
    }

    #[inline]
    fn transmit(&mut self, node: usize, port: u16, frame: Frame) {
        let now = self.now;
        self.watch.transmission(&Transmission { node: node as u32, port, at: now, frame: &frame });
        if self.nodes[node].is_host() && !frame.is_control() {
            self.watch.tally(frame.is_packet()).sent += 1;
        }
        let index = self.outgoing[(self.first_port[node] + u32::from(port)) as usize];
        if index == u32::MAX {
            let packet = (!frame.is_control()).then_some(frame.is_packet());
            return self.watch.lost((node as u32, port), frame.priority, packet, Cause::Outage, now);
        }
        let rate = self.nodes[node].ports()[usize::from(port)].rate();
        let sent = now + rate.serialisation(frame.wire_bytes());
        self.put(index, frame, sent);
    }

    /// Put a frame on a link that its last bit leaves for at `sent`, and see to its arrival.
    #[inline]
    fn put(&mut self, index: u32, frame: Frame, sent: Time) {
        let now = self.now;
        let (priority, packet) = (frame.priority, (!frame.is_control()).then_some(frame.is_packet()));
        let direction = &mut self.directions[index as usize];
        let idle = direction.next_arrival() == Time::NEVER;
        if let Err(cause) = direction.send(frame, now, sent) {
            return self.watch.lost(self.senders[index as usize], priority, packet, cause, now);
        }
        if idle {
            let key = u64::from(direction.to_node) << 32 | u64::from(direction.to_port);
            self.queue.push(Reverse((direction.next_arrival(), key)));
        }
    }

    /// NICs' packets inside the fabric, or kernels' frames: waiting in a queue or in flight on a link.
    pub fn in_flight(&self, packets: bool) -> u64 {
        let flying = self.directions.iter().flat_map(Direction::in_flight);
        let switches = self.nodes.iter().filter(|node| !node.is_host());
        let waiting = switches.flat_map(|node| node.ports()).flat_map(Port::frames_waiting);
        flying.chain(waiting).filter(|frame| !frame.is_control() && frame.is_packet() == packets).count() as u64
    }

    /// Frames dropped by `cause` over all ports, of priorities that `select` chooses.
    pub fn drops(&self, cause: Cause, select: impl Fn(usize, u16, usize) -> bool) -> u64 {
        let mut total = 0;
        for (node, state) in self.nodes.iter().enumerate() {
            for (port, state) in state.ports().iter().enumerate() {
                for (priority, counters) in state.counters.iter().enumerate() {
                    if select(node, port as u16, priority) {
                        total += counters.drops[cause as usize];
                    }
                }
            }
        }
        total
    }
}
