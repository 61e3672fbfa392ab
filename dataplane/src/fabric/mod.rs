//! The fabric: nodes wired by links, and what is about to happen to them. Both clocks run this; they differ in when they call it
//! and in what becomes of a frame that reaches the end of a link.
//!
//! Equal times have a documented order: by node, then arrivals by port before timers. No two frames arrive on one port at one
//! instant, so the order is total and does not depend on how events came into the queue, nor on which core ran which node.

mod ahead;
mod arrange;
mod change;
mod directions;
mod guests;
pub mod impair;
mod meeting;
mod node;
mod pace;
mod partition;
mod queue;
mod sampler;
mod sampling;
mod shard;
mod steady;
mod stories;
mod totals;
mod turns;
mod wheel;
mod workers;

use std::collections::{HashMap, HashSet};

use crate::event::{Cause, Event};
use crate::fabric::impair::{Logged, Timeline};
use crate::frame::Frame;
use crate::link::{Direction, Flight};
use crate::nic::inject::Train;
use crate::nic::Host;
use crate::priority::Priority;
use crate::units::Time;
use crate::watch::{match_up, Violation, Watch, MAX_VIOLATIONS};

use pace::Pace;
use shard::{PlacedNode, Shard};
use workers::{exchange, WorkerPool};

pub use arrange::Spread;
pub use node::Node;
pub use sampling::Recording;
pub use steady::Anchor;
pub use totals::Totals;
pub use turns::Turns;

/// What the next event asks of the driver.
pub enum Step {
    /// A frame reached the end of a link: hand it to `Fabric::receive`, or put it on a real wire.
    Arrival { direction: u32, frame: Box<Frame> },
    /// The fabric dealt with it: a timer of a node, a change of a link.
    Done,
}

/// The shard of a node, and its place there.
#[derive(Copy, Clone, Debug)]
struct Place {
    shard: usize,
    index: usize,
}

/// A port of the plan: node and number.
type PortId = (usize, u16);

/// The two nodes of each connection, by its number.
type Peers = HashMap<u32, [u32; 2]>;

/// Nodes, links and what is about to happen to them.
#[derive(Debug)]
pub struct Fabric {
    shards: Vec<Shard>,
    spread: Spread,
    /// The shortest link between two shards.
    lookahead: Time,
    /// Threads for the shards, once they were worth it.
    workers: Option<WorkerPool>,
    pace: Pace,
    turns: Turns,
    /// Events of each node when the fabric was last cut.
    busy: Vec<u64>,
    /// By node.
    places: Vec<Place>,
    names: Vec<String>,
    /// By direction: the ports that it leaves and enters.
    ends: Vec<(PortId, PortId)>,
    timeline: Timeline,
    now: Time,
    /// The two nodes of a QP number of the loaded workload.
    peers: Peers,
    /// What was found wrong with the messages of workloads before it.
    past_faults: Vec<Violation>,
    /// Nodes that another agent has.
    pub elsewhere: HashSet<u32>,
    pub impairments: Vec<Logged>,
    /// Frames that have been handed out and that the driver keeps until they arrive: without a transport, and packets.
    pub ahead: [u64; 2],
}

impl Fabric {
    /// Wire `nodes`, each with its name and its observer, by `directions`, each with the ports that it leaves and enters.
    pub fn new(nodes: Vec<(String, Node, Watch)>, directions: Vec<(PortId, PortId, Direction)>) -> Fabric {
        let mut names = Vec::with_capacity(nodes.len());
        let mut placed = Vec::with_capacity(nodes.len());
        for (number, (name, node, watch)) in nodes.into_iter().enumerate() {
            names.push(name);
            placed.push((PlacedNode::new(number as u32, node, watch), Time::NEVER));
        }
        let ends: Vec<_> = directions.iter().map(|(from, to, _)| (*from, *to)).collect();
        let mut fabric = Fabric {
            places: (0..placed.len()).map(|index| Place { shard: 0, index }).collect(),
            shards: vec![Shard::new(0, placed, Time::ZERO)],
            spread: Spread::ONE_CORE,
            lookahead: Time::NEVER,
            workers: None,
            pace: Pace::default(),
            turns: Turns::default(),
            busy: Vec::new(),
            names,
            ends,
            timeline: Timeline::default(),
            now: Time::ZERO,
            peers: HashMap::new(),
            past_faults: Vec::new(),
            elsewhere: HashSet::new(),
            impairments: Vec::new(),
            ahead: [0; 2],
        };
        for (index, (.., direction)) in directions.into_iter().enumerate() {
            fabric.connect(index, direction, Flight::default());
        }
        fabric
    }

    fn placed(&self, node: usize) -> &PlacedNode {
        let place = self.places[node];
        &self.shards[place.shard].nodes[place.index]
    }

    fn placed_mut(&mut self, node: usize) -> &mut PlacedNode {
        let place = self.places[node];
        &mut self.shards[place.shard].nodes[place.index]
    }

    /// The shard of a node, told what time it is, and the node's place there.
    fn shard_of(&mut self, node: usize) -> (&mut Shard, usize) {
        let place = self.places[node];
        let shard = &mut self.shards[place.shard];
        shard.now = self.now;
        (shard, place.index)
    }

    /// How many shards the nodes are in: as many cores have something to do.
    pub fn shards(&self) -> usize {
        self.shards.len()
    }

    /// The shard and the slot of a port.
    fn slot_of(&mut self, (node, port): PortId) -> (&mut Shard, usize) {
        let (shard, index) = self.shard_of(node);
        let slot = shard.nodes[index].slot(port);
        (shard, slot)
    }

    pub fn nodes(&self) -> impl Iterator<Item = &Node> + Clone {
        (0..self.places.len()).map(|node| &self.placed(node).node)
    }

    pub fn node(&self, node: usize) -> &Node {
        &self.placed(node).node
    }

    pub fn host_mut(&mut self, node: usize) -> Option<&mut Host> {
        match &mut self.placed_mut(node).node {
            Node::Host(host) => Some(host),
            Node::Switch(_) => None,
        }
    }

    /// The observer of a node.
    pub fn watch(&self, node: usize) -> &Watch {
        &self.placed(node).watch
    }

    pub fn watch_mut(&mut self, node: usize) -> &mut Watch {
        &mut self.placed_mut(node).watch
    }

    pub fn watches(&self) -> impl Iterator<Item = &Watch> + Clone {
        (0..self.places.len()).map(|node| &self.placed(node).watch)
    }

    /// Observe another workload: `peers` are the ends of its QPs, `counts` how many connections and ranks each node has.
    pub fn watch_workload(&mut self, peers: Peers, counts: &[(usize, usize)], first_psn: u64, is_merged: bool) {
        let (_, faults) = match_up(self.watches(), &self.peers, &self.elsewhere);
        self.past_faults.extend(faults);
        self.peers = peers;
        self.restart_stories();
        let now = self.now;
        for (node, (connections, ranks)) in counts.iter().enumerate() {
            self.watch_mut(node).load(*connections, *ranks, first_psn, now, is_merged);
        }
    }

    pub fn now(&self) -> Time {
        self.now
    }

    /// Let time pass without an event (the real clock's wall). Never goes back.
    pub fn advance_to(&mut self, now: Time) {
        self.now = self.now.max(now);
        self.sample_past();
    }

    /// Whether nothing is under way and no timer runs: only a change of a link can happen next, if anything.
    pub fn is_quiet(&self) -> bool {
        self.next_of_nodes() == Time::NEVER
    }

    /// When the next event of a node is due.
    fn next_of_nodes(&self) -> Time {
        self.shards.iter().map(|shard| shard.queue.next()).min().unwrap_or(Time::NEVER)
    }

    /// When the next event is due; `Time::NEVER` when nothing will ever happen again.
    pub fn next_event(&self) -> Time {
        self.next_of_nodes().min(self.timeline.next())
    }

    /// Run events due by `until`, at most `budget` of them: a change of a link, or what can happen before the next one. The answer is
    /// how many there were, 0 if none is due. Several shards go on until none of them could have an effect on another any more; that
    /// may take more than `budget`.
    pub fn run(&mut self, until: Time, budget: u64) -> u64 {
        if self.change_due(until) {
            return 1;
        }
        let until = until.min(Time::from_ps(self.timeline.next().ps().saturating_sub(1)));
        let events =
            if self.spread.is_wide() { self.run_spread(until, budget) } else { self.shards[0].run(until, budget) };
        self.now = self.shards.iter().map(|shard| shard.now).max().unwrap_or(self.now).max(self.now);
        events
    }

    /// Put out what a node has to say after it was called from outside.
    fn drain(&mut self, node: usize) {
        let (shard, index) = self.shard_of(node);
        shard.drain(index);
        exchange(&mut self.shards);
    }

    /// Take the next event, if it is due at `until` or before, and leave to the caller what becomes of a frame that arrives.
    #[inline]
    pub fn step(&mut self, until: Time) -> Option<Step> {
        debug_assert!(self.shards.len() == 1, "frames are handed out by one shard only");
        if self.change_due(until) {
            return Some(Step::Done);
        }
        let shard = &mut self.shards[0];
        let next = shard.queue.next();
        if next > until || next == Time::NEVER {
            return None;
        }
        shard.sample_before(next);
        let taken = shard.queue.take(next).and_then(|event| shard.handle(event));
        self.now = shard.now;
        let Some((slot, frame)) = taken else { return Some(Step::Done) };
        Some(Step::Arrival { direction: shard.entering[slot], frame })
    }

    /// Hand a frame to the node at the end of `direction`, at the current time.
    #[inline]
    pub fn receive(&mut self, direction: u32, frame: Box<Frame>) {
        let (node, port) = self.ends[direction as usize].1;
        self.receive_at(node, port, frame);
    }

    /// Hand a frame to a port, at the current time.
    #[inline]
    pub fn receive_at(&mut self, node: usize, port: u16, frame: Box<Frame>) {
        let (shard, index) = self.shard_of(node);
        shard.receive(index, port, frame);
    }

    /// Count a frame that arrived at a port and cannot be read; of what can, `seen` tells. With `enters` it had not been sent by a node.
    pub fn reject_at(&mut self, node: usize, port: u16, seen: Option<&Frame>, enters: bool) {
        let (packet, priority) =
            seen.map_or((false, Priority::P0), |frame| (frame.is_packet(), Priority::of_dscp(frame.dscp)));
        let now = self.now;
        let placed = self.placed_mut(node);
        placed.node.port_mut(port).counters[priority].drops[Cause::Malformed as usize] += 1;
        placed.watch.tally(packet).sent += u64::from(enters);
        placed.watch.event(&Event::Dropped { port, priority, cause: Cause::Malformed, packet }, now);
        self.drain(node);
    }

    /// Put a train of frames on the link of a host's port: now, or with `later` so long after the next start.
    pub fn inject_train(&mut self, (node, port): PortId, train: Train, later: bool) {
        let now = self.now;
        if let Some(host) = self.host_mut(node) {
            host.inject(port, train, later, now);
            self.drain(node);
        }
    }

    /// Start the schedules of all loaded hosts, at the current time.
    pub fn start(&mut self) {
        let now = self.now;
        self.timeline.start(now);
        for node in 0..self.places.len() {
            self.watch_mut(node).last_progress = now;
            if let Some(host) = self.host_mut(node) {
                host.start(now);
                self.drain(node);
            }
        }
    }
}
