//! The fabric: nodes wired by links, one event queue, one step at a time. Both clocks run this; they differ in when they call it
//! and in what becomes of a frame that reaches the end of a link.
//!
//! Equal times have a documented order: by node, then arrivals by port before timers. No two frames arrive on one port at one
//! instant, so the order is total and does not depend on how events came into the queue.

mod node;
mod totals;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use crate::capture::Capture;
use crate::event::{Cause, Transmission};
use crate::frame::Frame;
use crate::impair::{Change, Logged, Timeline};
use crate::link::Direction;
use crate::nic::inject::Train;
use crate::nic::Nic;
use crate::units::{Rate, Time};
use crate::watch::{match_up, Violation, Watch, MAX_VIOLATIONS};

pub use node::Node;
pub use totals::Totals;

/// Slot of a node's timer in the event order: after every port.
const TIMER_SLOT: u32 = u32::MAX;

/// What the next event asks of the driver.
pub enum Step {
    /// A frame reached the end of a link: hand it to `Fabric::receive`, or put it on a real wire.
    Arrival { direction: u32, frame: Frame },
    /// The fabric dealt with it: a timer of a node, a change of a link.
    Done,
}

/// A node with what the fabric keeps beside it.
#[derive(Debug)]
struct Site {
    node: Node,
    watch: Watch,
    /// When its timer event is due; older entries in the queue are stale.
    wake: Time,
    /// The number of its port 0 among the ports of all nodes.
    first_port: u32,
}

/// Nodes, links and what is about to happen to them.
#[derive(Debug)]
pub struct Fabric {
    sites: Vec<Site>,
    names: Vec<String>,
    pub directions: Vec<Direction>,
    /// By port number: the direction that leaves it and the one that enters it; `u32::MAX` where nothing is plugged in.
    outgoing: Vec<u32>,
    incoming: Vec<u32>,
    queue: BinaryHeap<Reverse<(Time, u64)>>,
    /// By direction: the (node, port) it leaves.
    senders: Vec<(u32, u16)>,
    timeline: Timeline,
    now: Time,
    /// The two ends (nodes) of a QP number of the loaded workload.
    ends: HashMap<u32, (u32, u32)>,
    /// What was found wrong with the messages of workloads before it.
    past_faults: Vec<Violation>,
    pub impairments: Vec<Logged>,
    pub capture: Option<Capture>,
}

impl Fabric {
    /// Wire `nodes`, each with its name and its observer, by `directions`, each with the (node, port) it leaves.
    pub fn new(nodes: Vec<(String, Node, Watch)>, directions: Vec<((usize, u16), Direction)>) -> Fabric {
        let mut sites = Vec::with_capacity(nodes.len());
        let mut names = Vec::with_capacity(nodes.len());
        let mut ports = 0;
        for (name, node, watch) in nodes {
            let first_port = ports;
            ports += node.ports().len() as u32;
            sites.push(Site { node, watch, wake: Time::NEVER, first_port });
            names.push(name);
        }
        let mut outgoing = vec![u32::MAX; ports as usize];
        let mut incoming = vec![u32::MAX; ports as usize];
        for (index, ((node, port), direction)) in directions.iter().enumerate() {
            outgoing[(sites[*node].first_port + u32::from(*port)) as usize] = index as u32;
            let to = &sites[direction.to_node as usize];
            incoming[(to.first_port + u32::from(direction.to_port)) as usize] = index as u32;
        }
        Fabric {
            senders: directions.iter().map(|((node, port), _)| (*node as u32, *port)).collect(),
            timeline: Timeline::default(),
            sites,
            names,
            directions: directions.into_iter().map(|(_, direction)| direction).collect(),
            outgoing,
            incoming,
            queue: BinaryHeap::new(),
            now: Time::ZERO,
            ends: HashMap::new(),
            past_faults: Vec::new(),
            impairments: Vec::new(),
            capture: None,
        }
    }

    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.sites.iter().map(|site| &site.node)
    }

    pub fn node(&self, node: usize) -> &Node {
        &self.sites[node].node
    }

    pub fn nics_mut(&mut self) -> impl Iterator<Item = (usize, &mut Nic)> {
        self.sites.iter_mut().enumerate().filter_map(|(index, site)| Some((index, site.node.nic_mut()?)))
    }

    pub fn nic_mut(&mut self, node: usize) -> Option<&mut Nic> {
        self.sites.get_mut(node)?.node.nic_mut()
    }

    /// The observer of a node.
    pub fn watch(&self, node: usize) -> &Watch {
        &self.sites[node].watch
    }

    pub fn watch_mut(&mut self, node: usize) -> &mut Watch {
        &mut self.sites[node].watch
    }

    pub fn watches(&self) -> impl Iterator<Item = &Watch> + Clone {
        self.sites.iter().map(|site| &site.watch)
    }

    /// Observe another workload: `ends` are its QPs, `connections` how many each node has.
    pub fn watch_workload(&mut self, ends: HashMap<u32, (u32, u32)>, connections: &[usize], first_psn: u64) {
        let (_, faults) = match_up(self.watches(), &self.ends);
        self.past_faults.extend(faults);
        self.ends = ends;
        for (site, connections) in self.sites.iter_mut().zip(connections) {
            site.watch.load(*connections, first_psn, self.now);
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
        let (node, slot) = ((key >> 32) as usize, key as u32);
        let site = &mut self.sites[node];
        site.watch.events += 1;
        if slot == TIMER_SLOT {
            if site.wake == at {
                site.wake = Time::NEVER;
                site.node.handle_timeout(at);
                self.drain(node);
            }
            return Some(Step::Done);
        }
        let index = self.incoming[(site.first_port + slot) as usize];
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
        let site = &mut self.sites[node];
        if site.node.is_host() && !frame.is_control() {
            site.watch.tally(frame.is_packet()).delivered += 1;
        }
        site.node.handle_frame(port, frame, self.now);
        self.drain(node);
    }

    /// Put a frame of a host's kernel, come in at the far end already, on the link that leads to `port`: it has delay and loss to
    /// suffer like any other. Its time on the line has passed: the host shapes what its kernel sends.
    pub fn inject(&mut self, node: usize, port: u16, frame: Frame) {
        let site = &mut self.sites[node];
        let index = self.incoming[(site.first_port + u32::from(port)) as usize];
        site.watch.tally(frame.is_packet()).sent += 1;
        self.put(index, frame, self.now);
    }

    /// Put a train of frames on the link of a host: now, or with `later` so long after the next start.
    pub fn inject_train(&mut self, host: usize, train: Train, later: bool) {
        let now = self.now;
        if let Some(nic) = self.nic_mut(host) {
            nic.inject(train, later, now);
            self.drain(host);
        }
    }

    /// The direction that enters a port; `None` where nothing is plugged in.
    pub fn entering(&self, node: usize, port: u16) -> Option<usize> {
        let index = self.incoming[(self.sites[node].first_port + u32::from(port)) as usize];
        (index != u32::MAX).then_some(index as usize)
    }

    /// Start the schedules of all loaded NICs, at the current time.
    pub fn start(&mut self) {
        let now = self.now;
        self.timeline.start(now);
        for node in 0..self.sites.len() {
            self.sites[node].watch.last_progress = self.now;
            if let Some(nic) = self.nic_mut(node) {
                nic.start(now);
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
            self.sites[sender.0 as usize].watch.lost(sender.1, frame.priority, packet, Cause::Outage, now);
        }
        let site = &mut self.sites[sender.0 as usize];
        let port = site.node.port_mut(sender.1);
        let rate = change.rate_bps.and_then(Rate::from_bps);
        if let Some(rate) = rate {
            port.set_rate(rate);
        }
        if let Some(held) = change.drain {
            port.hold(held);
        }
        site.watch.changed(sender.1, rate, now);
        self.impairments.push(Logged { change, asked_ps: asked.ps(), at_ps: now.ps() });
        self.drain(sender.0 as usize);
    }

    /// Put out what a node has to say after it was called: events, frames, its next timer.
    #[inline]
    fn drain(&mut self, node: usize) {
        let now = self.now;
        let site = &mut self.sites[node];
        // Events first: what the node was told explains what it sends.
        while let Some(event) = site.node.poll_event() {
            site.watch.event(&event, now);
        }
        while let Some((port, frame)) = self.sites[node].node.poll_transmit(now) {
            self.transmit(node, port, frame);
        }
        let site = &mut self.sites[node];
        let next = site.node.poll_timeout().max(now);
        if next < site.wake {
            site.wake = next;
            self.queue.push(Reverse((next, (node as u64) << 32 | u64::from(TIMER_SLOT))));
        }
    }

    #[inline]
    fn transmit(&mut self, node: usize, port: u16, frame: Frame) {
        let now = self.now;
        let site = &mut self.sites[node];
        let seen = Transmission { node: node as u32, port, at: now, frame: &frame };
        site.watch.transmission(&seen);
        if let Some(capture) = &mut self.capture {
            capture.write(&seen);
        }
        if site.node.is_host() && !frame.is_control() {
            site.watch.tally(frame.is_packet()).sent += 1;
        }
        let index = self.outgoing[(site.first_port + u32::from(port)) as usize];
        if index == u32::MAX {
            let packet = (!frame.is_control()).then_some(frame.is_packet());
            return site.watch.lost(port, frame.priority, packet, Cause::Outage, now);
        }
        let rate = site.node.ports()[usize::from(port)].rate();
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
            let (node, port) = self.senders[index as usize];
            return self.sites[node as usize].watch.lost(port, priority, packet, cause, now);
        }
        if idle {
            let key = u64::from(direction.to_node) << 32 | u64::from(direction.to_port);
            self.queue.push(Reverse((direction.next_arrival(), key)));
        }
    }
}
