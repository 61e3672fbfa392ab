//! The part of a fabric that one core runs: nodes, the directions that leave them, the frames in flight towards them, and what is
//! about to happen to them. A fabric that runs on one core is one shard.

use super::queue::Queue;
use super::sampler::Sampler;
use super::Node;
use crate::capture::Capture;
use crate::event::{Cause, Transmission};
use crate::frame::Frame;
use crate::link::{Direction, Flight};
use crate::priority::PRIORITIES;
use crate::switch::defective::Defective;
use crate::units::Time;
use crate::watch::series::Recorder;
use crate::watch::Watch;

/// The port of a slot that stands for a node's timer.
const TIMER: u16 = u16::MAX;

/// No direction.
pub(super) const NOWHERE: u32 = u32::MAX;

/// A node with what the shard keeps beside it. What each event needs fits two cache lines.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct PlacedNode {
    pub node: Node,
    /// What a defective switch does wrong with what comes in.
    pub defective: Option<Box<Defective>>,
    /// Where its series are recorded, and whether it was called since it was last sampled.
    pub recorder: Option<Box<Recorder>>,
    pub touched: bool,
    /// Its number in the plan.
    pub number: u32,
    /// The slot of its port 0; the one after its last port is that of its timer.
    first: u32,
    pub watch: Watch,
}

impl PlacedNode {
    pub fn new(number: u32, node: Node, watch: Watch) -> PlacedNode {
        PlacedNode { node, watch, defective: None, recorder: None, touched: false, number, first: 0 }
    }

    pub fn slot(&self, port: u16) -> usize {
        self.first as usize + usize::from(port)
    }

    /// Do to a frame what a defective switch does before it deals with it as a sound one.
    #[cold]
    fn alter(&mut self, port: u16, frame: &mut Frame, now: Time) {
        if let (Some(defective), Node::Switch(switch)) = (&mut self.defective, &mut self.node) {
            defective.alter(switch, port, frame, now);
        }
    }

    /// Do to a queue what a defective switch does when a frame has joined it.
    #[cold]
    fn reorder(&mut self) {
        if let (Some(defective), Node::Switch(switch)) = (&self.defective, &mut self.node) {
            defective.reorder(switch);
        }
    }

    /// Share a port among priorities by other weights.
    pub fn set_weights(&mut self, port: u16, weights: [u32; PRIORITIES]) {
        if !self.defective.as_ref().is_some_and(|defective| defective.keeps_weights()) {
            self.node.set_weights(port, weights);
        }
    }

    pub fn timer(&self) -> usize {
        self.first as usize + self.node.ports().len()
    }
}

/// A direction that leaves a port, and the shard and slot where its frames arrive.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Line {
    pub direction: Direction,
    pub shard: u32,
    pub slot: u32,
}

const _: () = assert!(std::mem::size_of::<Option<Line>>() == 64, "a cache line");

/// A frame on its way into another shard.
#[derive(Debug)]
pub(super) struct Crossing {
    slot: u32,
    pub arrival: Time,
    frame: Box<Frame>,
}

#[derive(Debug)]
pub(super) struct Shard {
    pub number: u32,
    pub nodes: Vec<PlacedNode>,
    /// By slot: the node, and the port or `TIMER`. Slots are in the order in which events of one instant are taken.
    pub slots: Vec<(u32, u16)>,
    /// By slot: the direction that enters the port; `NOWHERE` if none does, and for timers.
    pub entering: Vec<u32>,
    pub lines: Vec<Option<Line>>,
    pub flights: Vec<Flight>,
    pub queue: Queue,
    /// By shard: what was sent there and has not been handed over.
    pub outboxes: Vec<Vec<Crossing>>,
    pub now: Time,
    pub capture: Option<Box<Capture>>,
    /// Where series are recorded.
    pub sampler: Option<Sampler>,
}

impl Shard {
    /// A shard of nodes in the order of the plan, each with the time of its timer, to which nothing is connected yet.
    pub fn new(number: u32, nodes: Vec<(PlacedNode, Time)>, now: Time) -> Shard {
        let mut slots = Vec::new();
        let mut wakes = Vec::new();
        let settle = |(index, (mut placed, wake)): (u32, (PlacedNode, Time))| {
            placed.first = slots.len() as u32;
            let ports = placed.node.ports().len() as u16;
            slots.extend((0..ports).chain([TIMER]).map(|port| (index, port)));
            wakes.push((placed.timer(), wake));
            placed
        };
        let nodes = (0..).zip(nodes).map(settle).collect();
        let mut queue = Queue::new(slots.len(), now);
        wakes.into_iter().for_each(|(slot, wake)| queue.set(slot, wake));
        Shard {
            number,
            nodes,
            lines: slots.iter().map(|_| None).collect(),
            flights: slots.iter().map(|_| Flight::default()).collect(),
            entering: vec![NOWHERE; slots.len()],
            queue,
            slots,
            outboxes: Vec::new(),
            now,
            capture: None,
            sampler: None,
        }
    }

    /// Let a direction, with what is in flight on it, end at the port of a slot.
    pub fn connect(&mut self, slot: usize, direction: u32, flight: Flight) {
        self.entering[slot] = direction;
        self.queue.set(slot, flight.next_arrival());
        self.flights[slot] = flight;
    }

    /// The nodes, each with the time of its timer; what is connected to them is lost.
    pub fn dissolve(self) -> impl Iterator<Item = (PlacedNode, Time)> {
        let queue = self.queue;
        self.nodes.into_iter().map(move |placed| {
            let wake = queue.get(placed.timer());
            (placed, wake)
        })
    }

    /// Run the events due by `until`, which is not `Time::NEVER`, at most `budget`. Return how many there were.
    pub fn run(&mut self, until: Time, budget: u64) -> u64 {
        if self.sampler.is_some() {
            return self.run_sampled(until, budget);
        }
        self.run_events(until, budget)
    }

    /// The same, without samples.
    pub fn run_events(&mut self, until: Time, budget: u64) -> u64 {
        let mut left = budget;
        while left > 0 {
            let is_next_bucket = self.queue.is_worked_off();
            let Some(event) = self.queue.take(until) else { break };
            if is_next_bucket {
                self.read_ahead();
            }
            if let Some((slot, frame)) = self.handle(event) {
                let (index, port) = self.slots[slot];
                self.receive(index as usize, port, frame);
            }
            left -= 1;
        }
        budget - left
    }

    /// Go on to an event that was taken from the queue. Handle a timer, or return the frame that arrived and its slot.
    #[inline]
    pub fn handle(&mut self, (at, slot): (Time, usize)) -> Option<(usize, Box<Frame>)> {
        debug_assert!(at >= self.now, "time goes forward");
        self.now = at;
        let (index, port) = self.slots[slot];
        let placed = &mut self.nodes[index as usize];
        placed.watch.events += 1;
        if port == TIMER {
            placed.node.handle_timeout(at);
            // Which sets the timer of the node, due or never.
            self.drain(index as usize);
            return None;
        }
        let flight = &mut self.flights[slot];
        let frame = flight.arrive();
        self.queue.set(slot, flight.next_arrival());
        frame.map(|frame| (slot, frame))
    }

    /// Hand a frame to a port, at the current time.
    #[inline]
    pub fn receive(&mut self, index: usize, port: u16, mut frame: Box<Frame>) {
        let placed = &mut self.nodes[index];
        if placed.node.is_host() && !frame.is_control() {
            placed.watch.tally(frame.is_packet()).delivered += 1;
        }
        if placed.defective.is_some() {
            placed.alter(port, &mut frame, self.now);
        }
        if self.capture.is_some() {
            self.capture_arrival(index, port, &frame);
        }
        let placed = &mut self.nodes[index];
        placed.node.handle_frame(port, frame, self.now);
        if placed.defective.is_some() {
            placed.reorder();
        }
        self.drain(index);
    }

    /// Poll a node that was called: its events, its frames, its next timer.
    #[inline]
    pub fn drain(&mut self, index: usize) {
        let now = self.now;
        let placed = &mut self.nodes[index];
        placed.touched = true;
        // Events first: what the node received explains what it sends.
        while let Some(event) = self.nodes[index].node.poll_event() {
            self.nodes[index].watch.event(&event, now);
            if self.capture.is_some() {
                self.capture_event(index, &event);
            }
        }
        if self.capture.is_some() {
            self.capture_settle(index);
        }
        while let Some((port, frame)) = self.nodes[index].node.poll_transmit(now) {
            self.transmit(index, port, frame);
        }
        let placed = &self.nodes[index];
        self.queue.set(placed.timer(), placed.node.poll_timeout().max(now));
    }

    #[inline]
    fn transmit(&mut self, index: usize, port: u16, frame: Box<Frame>) {
        let now = self.now;
        let placed = &mut self.nodes[index];
        let seen = Transmission { node: placed.number, port, at: now, frame: &frame };
        placed.watch.transmission(&seen);
        if self.capture.is_some() {
            self.capture_start(index, port, &frame);
        }
        let placed = &mut self.nodes[index];
        if placed.node.is_host() && !frame.is_control() {
            placed.watch.tally(frame.is_packet()).sent += 1;
        }
        let rate = placed.node.ports()[usize::from(port)].rate();
        let sent = now + rate.serialisation(frame.wire_bytes());
        self.send(index, port, frame, sent);
    }

    /// Send a frame on the line behind a port, that its last bit leaves for at `sent`, and see to its arrival.
    #[inline]
    pub fn send(&mut self, index: usize, port: u16, frame: Box<Frame>, sent: Time) {
        let placed = &mut self.nodes[index];
        let outcome = match &mut self.lines[placed.slot(port)] {
            Some(line) => line.direction.send(&frame, self.now, sent).map(|arrival| (line.shard, line.slot, arrival)),
            None => Err(Cause::Outage),
        };
        match outcome {
            Ok((shard, slot, arrival)) if shard == self.number => {
                if let Some(capture) = &mut self.capture {
                    capture.tracker.propagates(slot as usize);
                }
                self.propagate(slot as usize, arrival, frame);
            }
            Ok((shard, slot, arrival)) => self.outboxes[shard as usize].push(Crossing { slot, arrival, frame }),
            Err(cause) => {
                let packet = (!frame.is_control()).then_some(frame.is_packet());
                placed.watch.lost(port, frame.priority, packet, cause, self.now);
                if self.capture.is_some() {
                    self.capture_loss(index, port, frame.priority, cause);
                }
            }
        }
    }

    /// Take in the frames that another shard has sent. Each is in the cache of the core that sent it: all are looked at now, which
    /// fetches them side by side, since one at a time, as they arrive, would each be waited for.
    pub fn accept(&mut self, crossings: &mut Vec<Crossing>) {
        std::hint::black_box(crossings.iter().fold(0, |seen, crossing| seen ^ crossing.frame.len));
        for crossing in crossings.drain(..) {
            self.propagate(crossing.slot as usize, crossing.arrival, crossing.frame);
        }
    }

    /// Add a frame to a flight. Only the oldest frame of a flight is in the queue.
    #[inline]
    fn propagate(&mut self, slot: usize, arrival: Time, frame: Box<Frame>) {
        let flight = &mut self.flights[slot];
        if flight.next_arrival() == Time::NEVER {
            self.queue.set(slot, arrival);
        }
        flight.send(arrival, frame);
    }

    /// The least delay of a line into another shard: nothing that is sent from now on gets there sooner. `Time::NEVER` without any.
    pub fn lookahead(&self) -> Time {
        let crossing = self.lines.iter().flatten().filter(|line| line.shard != self.number);
        crossing.map(|line| line.direction.delay()).min().unwrap_or(Time::NEVER)
    }
}
