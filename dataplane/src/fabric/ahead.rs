//! Reading ahead. In a large fabric an event finds little of what it needs in the caches, and where the one part is says another: it
//! waits for the memory time and again. So what the events of a bucket need is read when its turn comes, and these reads wait side by
//! side. Nothing depends on them; that their sum goes into a black box keeps the compiler from leaving them out.

use super::node::Node;
use super::shard::Shard;

impl Shard {
    /// Read what the events at hand need.
    pub(super) fn read_ahead(&self) {
        std::hint::black_box(self.queue.at_hand().map(|slot| self.read(slot)).fold(0, u64::wrapping_add));
    }

    /// Read what the event of a slot needs.
    fn read(&self, slot: usize) -> u64 {
        let (index, port) = self.slots[slot];
        let placed = &self.nodes[index as usize];
        let (read, egress) = match (&placed.node, self.flights[slot].first()) {
            (Node::Switch(switch), Some(frame)) => switch.read_arrival(port, frame),
            (Node::Switch(switch), None) => switch.read_timeout(),
            (Node::Host(host), Some(frame)) => (host.read_arrival(port, frame), None),
            (Node::Host(_), None) => (0, None),
        };
        let line = egress.and_then(|egress| self.lines[placed.slot(egress)].as_ref());
        let flight = line.filter(|line| line.shard == self.number).map(|line| &self.flights[line.slot as usize]);
        placed.watch.events.wrapping_add(read).wrapping_add(flight.map_or(0, |flight| flight.last_arrival().ps()))
    }
}
