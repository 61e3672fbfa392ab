//! Which shard a node belongs to, and moving nodes between shards. A run is the same however its nodes are arranged.

use super::pace::MEETING_NS;
use super::partition::{heaviest_share, lookahead, partition, tiers, Link, Prices, Task};
use super::shard::{Line, PlacedNode, Shard};
use super::{Direction, Fabric, Place};
use crate::link::Flight;
use crate::units::Time;

/// Several cores must be sooner done with an event than one by this factor,
const WORTH: f64 = 0.9;
/// and another cut of the fabric than the one there is by this.
const WORTH_MOVING: f64 = 0.98;
/// A port that sends all the time has a frame of this size on the line, and 1.6 events for each.
const FRAME_BITS: f64 = 8.0 * 4178.0;
const EVENTS_PER_FRAME: f64 = 1.6;
/// Fewer events of a node than this, in the mean, do not tell what nodes have to do.
const TELLING_EVENTS: u64 = 4;

/// How far a run may be spread.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Spread {
    cores: usize,
    extent: Extent,
}

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum Extent {
    /// As far as it pays: until something was measured, not at all.
    WhereItPays,
    /// From the beginning, a thread for each shard where that is sooner done.
    Asked,
    /// A thread for each shard in every turn.
    Forced,
}

impl Spread {
    pub const ONE_CORE: Spread = Spread { cores: 1, extent: Extent::WhereItPays };

    /// `cores` as asked for, wherever there is a link that takes any time; with fewer threads while that is sooner done.
    pub fn over(cores: usize) -> Spread {
        Spread { cores, extent: Extent::Asked }
    }

    /// As many threads as `cores` in every turn, however little there is to do.
    pub fn forced_over(cores: usize) -> Spread {
        Spread { cores, extent: Extent::Forced }
    }

    /// As many cores as there are, where it pays.
    pub fn where_it_pays() -> Spread {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Spread { cores, extent: Extent::WhereItPays }
    }

    /// Whether there may be more than one core.
    pub(super) fn is_wide(self) -> bool {
        self.cores > 1
    }

    pub(super) fn is_forced(self) -> bool {
        self.extent == Extent::Forced
    }
}

impl Fabric {
    /// Let the next runs use so many cores.
    pub fn spread(&mut self, spread: Spread) {
        self.spread = spread;
        self.arrange();
    }

    /// Arrange the nodes by what they had to do and by the links as they are now. Whoever writes a capture wants to see frames in
    /// order: one shard.
    pub(super) fn arrange(&mut self) {
        let cores = if self.shards[0].capture.is_some() { 1 } else { self.spread.cores };
        let homes = if cores > 1 { self.choose_homes(cores) } else { Some(vec![0; self.places.len()]) };
        if let Some(homes) =
            homes.filter(|homes| homes.iter().zip(&self.places).any(|(home, place)| *home != place.shard))
        {
            self.move_to(&homes);
        }
        self.note_lookahead();
        self.pace.recut(self.places.len() + self.ends.len());
        self.busy = self.events_of_nodes();
    }

    fn note_lookahead(&mut self) {
        self.lookahead = self.shards.iter().map(|shard| shard.lookahead()).min().unwrap_or(Time::NEVER);
    }

    /// A delay has changed: nodes move if they no longer can, or only now can, be kept apart.
    pub(super) fn rearrange(&mut self) {
        let before = self.lookahead;
        self.note_lookahead();
        if self.spread.is_wide() && (self.shards.len() == 1 || self.lookahead != before) {
            self.arrange();
        }
    }

    /// The shard of each node; `None` to leave all where they are.
    fn choose_homes(&self, cores: usize) -> Option<Vec<usize>> {
        if self.spread.extent == Extent::WhereItPays && self.pace.density().is_none() {
            return Some(vec![0; self.places.len()]);
        }
        let links = self.links();
        let tasks = self.tasks(&links);
        let prices = self.prices();
        let now: Vec<usize> = self.places.iter().map(|place| place.shard).collect();
        let as_it_is = match lookahead(&links, &now) {
            Some(lookahead) if lookahead > Time::ZERO => prices.cut(heaviest_share(&tasks, &now), lookahead),
            Some(_) => f64::INFINITY,
            None if self.spread.extent == Extent::WhereItPays => prices.event_ns,
            None => f64::INFINITY,
        };
        // Fewer cores are better where threads meet often, or where there is little to share out.
        let numbers = std::iter::successors(Some(cores), |cores| {
            (self.spread.extent == Extent::WhereItPays && *cores > 2).then(|| cores.div_ceil(2))
        });
        let best = numbers
            .filter_map(|shards| partition(&tasks, &links, shards, &prices))
            .min_by(|one, other| one.event_ns.total_cmp(&other.event_ns));
        let apart = best.as_ref().map_or(f64::INFINITY, |best| best.event_ns);
        if self.spread.extent == Extent::WhereItPays && prices.event_ns * WORTH < apart.min(as_it_is) {
            return Some(vec![0; self.places.len()]);
        }
        match best {
            Some(best) => (apart < as_it_is * WORTH_MOVING).then_some(best.homes),
            None => Some(vec![0; self.places.len()]),
        }
    }

    fn tasks(&self, links: &[Link]) -> Vec<Task> {
        let hosts = self.nodes().enumerate().filter(|(_, node)| node.is_host()).map(|(number, _)| number);
        let tiers = tiers(self.places.len(), links, hosts);
        self.loads().into_iter().zip(tiers).map(|(load, tier)| Task { load, tier }).collect()
    }

    /// What each node has to do: the events that it had since this was last asked, or the rates of its ports.
    fn loads(&self) -> Vec<u64> {
        let events = self.events_of_nodes();
        let since = events.iter().zip(self.busy.iter().chain(std::iter::repeat(&0)));
        let since: Vec<u64> = since.map(|(now, before)| now.saturating_sub(*before) + 1).collect();
        if since.iter().sum::<u64>() > (TELLING_EVENTS + 1) * since.len() as u64 {
            return since;
        }
        self.nodes().map(|node| node.ports().iter().map(|port| port.rate().bps()).sum()).collect()
    }

    fn events_of_nodes(&self) -> Vec<u64> {
        self.watches().map(|watch| watch.events).collect()
    }

    /// What was measured, or what would be if all ports sent all the time.
    fn prices(&self) -> Prices {
        let ports = self.nodes().flat_map(|node| node.ports());
        let rate: f64 = ports.map(|port| port.rate().bps() as f64).sum();
        let densest = rate / FRAME_BITS * EVENTS_PER_FRAME / 1e12;
        Prices {
            event_ns: self.pace.event_ns(),
            events_per_ps: self.pace.density().unwrap_or(densest).max(f64::MIN_POSITIVE),
            meeting_ns: MEETING_NS,
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
        let number = if self.shards.len() > 1 { self.shards.len() } else { 0 };
        self.shards.iter_mut().for_each(|shard| shard.outboxes.resize_with(number, Vec::new));
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
