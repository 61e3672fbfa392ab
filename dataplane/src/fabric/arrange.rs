//! Which shard a node belongs to, and moving nodes between shards. A run is the same however its nodes are arranged.

use super::partition::{partition, Link};
use super::shard::{Line, PlacedNode, Shard};
use super::{Direction, Fabric, Place};
use crate::link::Flight;
use crate::units::Time;

/// How far a run may be spread.
#[derive(Copy, Clone, Debug)]
pub struct Spread {
    pub cores: usize,
    /// Links that take less are not cut: what the cores do between two meetings must be worth the meeting.
    pub least: Time,
}

impl Spread {
    pub const ONE_CORE: Spread = Spread { cores: 1, least: Time::NEVER };

    /// `cores` as asked for, wherever there is a link that takes any time.
    pub fn over(cores: usize) -> Spread {
        Spread { cores, least: Time::from_ps(1) }
    }

    /// As many cores as there are, where it pays: a busy 100G port starts sixty frames in 20 µs, and a meeting takes as long as a
    /// hundred events.
    pub fn where_it_pays() -> Spread {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Spread { cores, least: Time::from_ns(20_000) }
    }
}

impl Fabric {
    /// Let the next runs use so many cores.
    pub fn spread(&mut self, spread: Spread) {
        self.spread = spread;
        self.arrange();
    }

    /// Arrange the nodes for the links as they are now. Whoever writes a capture wants to see frames in order: one shard.
    pub(super) fn arrange(&mut self) {
        let cores = if self.shards[0].capture.is_some() { 1 } else { self.spread.cores };
        let loads: Vec<u64> =
            self.nodes().map(|node| node.ports().iter().map(|port| port.rate().bps()).sum()).collect();
        let homes = partition(&loads, &self.links(), cores, self.spread.least);
        if homes.iter().zip(&self.places).any(|(home, place)| *home != place.shard) {
            self.move_to(&homes);
        }
        self.lookahead = self.shards.iter().map(|shard| shard.lookahead()).min().unwrap_or(Time::NEVER);
    }

    /// A delay has changed: nodes move if they no longer can, or only now can, be kept apart.
    pub(super) fn rearrange(&mut self) {
        self.lookahead = self.shards.iter().map(|shard| shard.lookahead()).min().unwrap_or(Time::NEVER);
        if self.shards.len() == 1 || self.lookahead < self.spread.least {
            self.arrange();
        }
    }

    fn links(&self) -> Vec<Link> {
        let directions = self.ends.iter().enumerate().filter_map(|(index, ((from, _), (to, _)))| {
            let delay = self.direction(index)?.delay();
            Some(Link { nodes: (*from, *to), delay })
        });
        directions.collect()
    }

    /// Move every node to the shard that `homes` names, with all that is in flight and due.
    fn move_to(&mut self, homes: &[usize]) {
        let sampler = self.sampler();
        let capture = self.shards[0].capture.take();
        let moved: Vec<(Option<Line>, Flight)> = (0..self.ends.len()).map(|index| self.lift(index)).collect();
        let mut placed: Vec<(PlacedNode, Time)> =
            std::mem::take(&mut self.shards).into_iter().flat_map(|s| s.dissolve()).collect();
        placed.sort_by_key(|(placed, _)| placed.number);
        let mut shards: Vec<Vec<(PlacedNode, Time)>> = Vec::new();
        for (node, placed) in placed.into_iter().enumerate() {
            let shard = homes[node];
            shards.resize_with(shards.len().max(shard + 1), Vec::new);
            self.places[node] = Place { shard, index: shards[shard].len() };
            shards[shard].push(placed);
        }
        let shard = |(number, placed)| Shard::new(number as u32, placed, self.now);
        self.shards = shards.into_iter().enumerate().map(shard).collect();
        for (index, (line, flight)) in moved.into_iter().enumerate() {
            if let Some(line) = line {
                self.connect(index, line.direction, flight);
            }
        }
        self.shards.iter_mut().for_each(|shard| shard.sampler = sampler);
        self.shards[0].capture = capture;
    }

    /// Disconnect a direction.
    fn lift(&mut self, index: usize) -> (Option<Line>, Flight) {
        let (from, to) = self.ends[index];
        let (shard, slot) = self.slot_of(from);
        let line = shard.lines[slot].take();
        let (shard, slot) = self.slot_of(to);
        (line, std::mem::take(&mut shard.flights[slot]))
    }

    /// Connect a direction to the ports that it leaves and enters.
    pub(super) fn connect(&mut self, index: usize, direction: Direction, flight: Flight) {
        let (from, to) = self.ends[index];
        let (shard, slot) = self.slot_of(to);
        let number = shard.number;
        shard.connect(slot, index as u32, flight);
        let (shard, out) = self.slot_of(from);
        shard.lines[out] = Some(Line { direction, shard: number, slot: slot as u32 });
    }
}
