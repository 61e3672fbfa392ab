//! The directions of links, in pairs, and the ports that they join.

use super::shard::NOWHERE;
use super::{Fabric, PortId};
use crate::link::Direction;

impl Fabric {
    /// The direction that enters a port; `None` where nothing is plugged in.
    pub fn entering(&self, node: usize, port: u16) -> Option<usize> {
        let place = self.places[node];
        let shard = &self.shards[place.shard];
        let direction = shard.entering[shard.nodes[place.index].slot(port)];
        (direction != NOWHERE).then_some(direction as usize)
    }

    /// The direction that leaves a port; `None` where nothing is plugged in.
    pub fn leaving(&self, node: usize, port: u16) -> Option<usize> {
        self.entering(node, port).map(|direction| direction ^ 1)
    }

    /// How many directions there are; they are in pairs, a link each: forth and back.
    pub fn directions(&self) -> usize {
        self.ends.len()
    }

    /// The ports that a direction leaves and enters.
    pub fn ends(&self, direction: usize) -> (PortId, PortId) {
        self.ends[direction]
    }

    /// The sending end of a direction.
    pub fn direction(&self, direction: usize) -> Option<&Direction> {
        let (node, port) = self.ends[direction].0;
        let place = self.places[node];
        let shard = &self.shards[place.shard];
        shard.lines[shard.nodes[place.index].slot(port)].as_ref().map(|line| &line.direction)
    }

    pub fn direction_mut(&mut self, direction: usize) -> Option<&mut Direction> {
        let (shard, slot) = self.slot_of(self.ends[direction].0);
        shard.lines[slot].as_mut().map(|line| &mut line.direction)
    }
}
