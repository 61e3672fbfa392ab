//! A fabric on one core, observed for its steady states and taken ahead in them.

use super::node::Node;
use super::shard::{PlacedNode, Shard};
use super::Fabric;
use crate::steady::{Head, Period, Reason, Shifter, Snapshot, Visitor};
use crate::units::Time;

/// A connection whose acknowledgements say when to look at a fabric.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Anchor {
    pub node: usize,
    pub connection: usize,
}

impl Fabric {
    /// Every sending end of a connection, and where it is.
    pub fn heads(&self) -> impl Iterator<Item = (Anchor, Head)> + '_ {
        let hosts = self.nodes().enumerate().filter_map(|(node, of)| Some((node, of.host()?)));
        hosts.flat_map(|(node, host)| {
            host.heads().enumerate().map(move |(connection, head)| (Anchor { node, connection }, head))
        })
    }

    /// How many acknowledgements a connection has had.
    pub fn acknowledgements(&self, anchor: Anchor) -> u64 {
        self.node(anchor.node).host().map_or(0, |host| host.acknowledgements(anchor.connection))
    }

    /// Run events as `run` does, but none behind the one with which a connection has had so many acknowledgements.
    pub fn run_to_acknowledgement(&mut self, until: Time, budget: u64, anchor: Anchor, count: u64) -> u64 {
        debug_assert!(self.shards.len() == 1, "a fabric that is taken ahead runs on one core");
        if self.change_due(until) {
            return 1;
        }
        let until = until.min(Time::from_ps(self.timeline.next().ps().saturating_sub(1)));
        let shard = &mut self.shards[0];
        let mut events = 0;
        while events < budget && shard.run(until, 1) > 0 {
            events += 1;
            let host = shard.nodes[anchor.node].node.host();
            if host.is_none_or(|host| host.acknowledgements(anchor.connection) >= count) {
                break;
            }
        }
        self.now = shard.now.max(self.now);
        events
    }

    /// Take a snapshot, between two events.
    pub fn snapshot(&mut self) -> Snapshot {
        let heads = self.heads().map(|(_, head)| head).collect();
        let mut snapshot = Snapshot::new(self.now, heads);
        // A change of a link or a route begins something new, whether the state shows it or not.
        snapshot.fixed(self.impairments.len() as u64, Reason::Injected);
        let now = self.now;
        let shard = &mut self.shards[0];
        shard.visit(&mut snapshot, now);
        snapshot
    }

    /// How many of these periods may be skipped at most, so that no change of a link and nothing at `until` is passed over.
    pub fn periods_before(&self, until: Time, period: &Period) -> u64 {
        let left = until.min(self.timeline.next()).since(self.now).ps().saturating_sub(1);
        period.most.min(left / period.length.ps().max(1))
    }

    /// Go so many periods ahead, from where the second of the two snapshots was taken that the period was seen between.
    pub fn skip(&mut self, period: &Period, periods: u64) {
        let mut shifter = Shifter::new(period, periods, self.now);
        let (before, after) = (self.now, self.now + shifter.span());
        let shard = &mut self.shards[0];
        shard.visit(&mut shifter, before);
        shard.now = after;
        shard.arm_all();
        self.now = after;
    }
}

impl Shard {
    fn visit(&mut self, visitor: &mut impl Visitor, now: Time) {
        let Shard {
            number: _,
            nodes,
            slots: _,
            entering: _,
            lines,
            flights,
            // What it says follows from the flights and the timers of nodes.
            queue: _,
            outboxes,
            now: _,
            capture,
            sampler,
        } = self;
        debug_assert!(outboxes.is_empty(), "there is one shard");
        if capture.is_some() || sampler.is_some() {
            visitor.refuse(Reason::Recording);
        }
        nodes.iter_mut().for_each(|placed| placed.visit(visitor, now));
        lines.iter_mut().flatten().for_each(|line| line.direction.visit(visitor, now));
        flights.iter_mut().for_each(|flight| flight.visit(visitor));
    }

    /// Set the queue anew by what flies and what nodes wait for.
    fn arm_all(&mut self) {
        for (slot, flight) in self.flights.iter().enumerate() {
            if self.lines_end_at(slot) {
                self.queue.set(slot, flight.next_arrival());
            }
        }
        for placed in &self.nodes {
            self.queue.set(placed.timer(), placed.node.poll_timeout().max(self.now));
        }
    }

    /// Whether a slot is that of a port with a link.
    fn lines_end_at(&self, slot: usize) -> bool {
        self.entering[slot] != super::shard::NOWHERE
    }
}

impl PlacedNode {
    fn visit(&mut self, visitor: &mut impl Visitor, now: Time) {
        if self.defective.is_some() {
            visitor.refuse(Reason::Injected);
        }
        match &mut self.node {
            Node::Switch(switch) => {
                switch.visit(visitor, now);
                self.watch.visit(visitor, std::iter::empty());
            }
            Node::Host(host) => {
                host.visit(visitor, now);
                self.watch.visit(visitor, host.peers());
            }
        }
    }
}
