//! A graph cut in two, and again, so that the parts have the loads that they should and few edges lie between them: a part grows from
//! the rim of the graph by whatever makes the cut smallest, then vertices change sides while that makes the cut smaller or the
//! balance better.
//!
//! Every tier is balanced by itself. What hosts send at once reaches leaves at one time and spines at another: a part with all spines
//! would have much to do while the other has little, and the other way round a microsecond later.

use std::collections::{BinaryHeap, VecDeque};

use super::Task;

/// Vertices may change sides as long as no side has more than this beyond what it should have of a tier, in thousandths of the tier.
const SLACK_PER_MILLE: u64 = 10;
/// How often every vertex at the cut is looked at.
const PASSES: usize = 4;

/// Vertices that are groups of nodes.
#[derive(Debug)]
pub(super) struct Graph {
    /// The vertex of each node.
    vertex_of: Vec<usize>,
    loads: Vec<u64>,
    tiers: Vec<usize>,
    /// The neighbours of each vertex, one after the other, and where those of the next begin.
    neighbours: Vec<u32>,
    first: Vec<usize>,
}

impl Graph {
    /// A graph of `vertices`, of which each node is in one, with an edge between the vertices of each pair in `ends`. The tier of a
    /// vertex is the least of its nodes'.
    pub fn new(
        tasks: &[Task],
        vertex_of: Vec<usize>,
        vertices: usize,
        ends: impl Iterator<Item = (usize, usize)> + Clone,
    ) -> Graph {
        let mut of_vertices = vec![0; vertices];
        let mut lowest = vec![usize::MAX; vertices];
        for (vertex, task) in vertex_of.iter().zip(tasks) {
            of_vertices[*vertex] += task.load;
            lowest[*vertex] = lowest[*vertex].min(task.tier);
        }
        let between = ends.filter(|(a, b)| a != b);
        let mut first = vec![0; vertices + 1];
        between.clone().for_each(|(a, b)| {
            first[a + 1] += 1;
            first[b + 1] += 1;
        });
        (0..vertices).for_each(|vertex| first[vertex + 1] += first[vertex]);
        let mut neighbours = vec![0; first[vertices]];
        let mut filled = first.clone();
        for (a, b) in between {
            for (from, to) in [(a, b), (b, a)] {
                neighbours[filled[from]] = to as u32;
                filled[from] += 1;
            }
        }
        Graph { vertex_of, loads: of_vertices, tiers: lowest, neighbours, first }
    }

    pub fn load(&self) -> u64 {
        self.loads.iter().sum()
    }

    /// What the part has to do that has most.
    pub fn heaviest(&self, parts: &[usize]) -> u64 {
        let mut filled = vec![0; parts.iter().max().map_or(1, |most| most + 1)];
        parts.iter().zip(&self.loads).for_each(|(part, load)| filled[*part] += load);
        filled.into_iter().max().unwrap_or(0)
    }

    /// The part of each node.
    pub fn spread_out(&self, parts: &[usize]) -> Vec<usize> {
        self.vertex_of.iter().map(|vertex| parts[*vertex]).collect()
    }

    /// The part of each vertex, of `parts` at most; none is empty.
    pub fn cut(&self, parts: usize) -> Vec<usize> {
        let mut homes = vec![0; self.loads.len()];
        let all: Vec<usize> = (0..self.loads.len()).collect();
        self.cut_into(&all, 0, parts.min(all.len()), &mut homes);
        homes
    }

    /// Give the vertices `within`, all of which are in part `first`, to `parts` parts from that one on.
    fn cut_into(&self, within: &[usize], first: usize, parts: usize, homes: &mut [usize]) {
        if parts < 2 {
            return;
        }
        let left = parts / 2;
        let mut halves = Halves::new(self, within, [first, first + left], [left, parts - left]);
        self.grow(within, &mut halves, homes);
        self.refine(within, &mut halves, homes);
        let (these, others): (Vec<_>, Vec<_>) = within.iter().partition(|vertex| homes[**vertex] == first);
        self.cut_into(&these, first, left, homes);
        self.cut_into(&others, first + left, parts - left, homes);
    }

    fn neighbours(&self, vertex: usize) -> impl Iterator<Item = usize> + '_ {
        self.neighbours[self.first[vertex]..self.first[vertex + 1]].iter().map(|neighbour| *neighbour as usize)
    }

    /// Put vertices into the second half and leave in the first what grew from the rim.
    fn grow(&self, within: &[usize], halves: &mut Halves, homes: &mut [usize]) {
        let [part, other] = halves.parts;
        let rim = self.last_reached(self.last_reached(within[0], part, homes), part, homes);
        within.iter().for_each(|vertex| homes[*vertex] = other);
        // By how much the cut grows less when a vertex joins.
        let mut gains: Vec<i64> =
            (0..self.loads.len()).map(|vertex| -(self.neighbours(vertex).count() as i64)).collect();
        let mut heap = BinaryHeap::from([(gains[rim], rim)]);
        let mut from = within.iter();
        loop {
            let vertex = match heap.pop() {
                Some((gain, vertex)) if homes[vertex] == other && gain == gains[vertex] => vertex,
                Some(_) => continue,
                // What is left is not joined to what there is.
                None => match from.next() {
                    Some(vertex) if homes[*vertex] == other => *vertex,
                    Some(_) => continue,
                    None => return,
                },
            };
            if !halves.has_room(self, vertex) {
                continue;
            }
            homes[vertex] = part;
            halves.take(self, vertex, 1, 0);
            for neighbour in self.neighbours(vertex).filter(|neighbour| homes[*neighbour] == other) {
                gains[neighbour] += 2;
                heap.push((gains[neighbour], neighbour));
            }
        }
    }

    /// The vertex of a part that is reached last from another.
    fn last_reached(&self, start: usize, part: usize, homes: &[usize]) -> usize {
        let mut seen = vec![false; self.loads.len()];
        let (mut queue, mut last) = (VecDeque::from([start]), start);
        seen[start] = true;
        while let Some(vertex) = queue.pop_front() {
            last = vertex;
            for neighbour in self.neighbours(vertex).filter(|neighbour| homes[*neighbour] == part) {
                if !std::mem::replace(&mut seen[neighbour], true) {
                    queue.push_back(neighbour);
                }
            }
        }
        last
    }

    /// Let vertices change sides.
    fn refine(&self, within: &[usize], halves: &mut Halves, homes: &mut [usize]) {
        for _ in 0..PASSES {
            let mut moved = false;
            for vertex in within {
                let side = usize::from(homes[*vertex] == halves.parts[1]);
                let [here, there] = [side, 1 - side].map(|side| halves.parts[side]);
                let gain = self.neighbours(*vertex).fold(0i64, |gain, neighbour| {
                    gain + i64::from(homes[neighbour] == there) - i64::from(homes[neighbour] == here)
                });
                if halves.may_change(self, *vertex, side, gain) {
                    homes[*vertex] = there;
                    halves.take(self, *vertex, side, 1 - side);
                    moved = true;
                }
            }
            if !moved {
                break;
            }
        }
    }
}

/// Two sides of a cut: what they have, and what they should have.
struct Halves {
    parts: [usize; 2],
    /// By tier, then by side.
    filled: Vec<[u64; 2]>,
    wanted: Vec<[u64; 2]>,
    /// How many vertices each side has, and has to have at least: one for each of its parts.
    sizes: [usize; 2],
    least: [usize; 2],
}

impl Halves {
    /// All vertices on the second side, as `grow` begins.
    fn new(graph: &Graph, within: &[usize], parts: [usize; 2], least: [usize; 2]) -> Halves {
        let tiers = within.iter().map(|vertex| graph.tiers[*vertex] + 1).max().unwrap_or(0);
        let mut filled = vec![[0; 2]; tiers];
        within.iter().for_each(|vertex| filled[graph.tiers[*vertex]][1] += graph.loads[*vertex]);
        let share = |[_, all]: &[u64; 2]| {
            let first = (u128::from(*all) * least[0] as u128 / (least[0] + least[1]) as u128) as u64;
            [first, all - first]
        };
        Halves { parts, wanted: filled.iter().map(share).collect(), filled, sizes: [0, within.len()], least }
    }

    fn take(&mut self, graph: &Graph, vertex: usize, from: usize, to: usize) {
        let (filled, load) = (&mut self.filled[graph.tiers[vertex]], graph.loads[vertex]);
        filled[from] -= load;
        filled[to] += load;
        self.sizes[from] -= 1;
        self.sizes[to] += 1;
    }

    /// Whether the first side may take a vertex: half of one too much is as near as half of one too little.
    fn has_room(&self, graph: &Graph, vertex: usize) -> bool {
        let (tier, load) = (graph.tiers[vertex], graph.loads[vertex]);
        let after = self.filled[tier][0] + load;
        let fits = after <= self.wanted[tier][0] || after - self.wanted[tier][0] <= load / 2;
        self.sizes[1] > self.least[1] && (fits || self.sizes[0] < self.least[0])
    }

    /// Whether a vertex may leave `side` if the cut is smaller by `gain` then.
    fn may_change(&self, graph: &Graph, vertex: usize, side: usize, gain: i64) -> bool {
        let (tier, load) = (graph.tiers[vertex], graph.loads[vertex]);
        let (filled, wanted) = (self.filled[tier], self.wanted[tier]);
        let slack = (wanted[0] + wanted[1]) * SLACK_PER_MILLE / 1_000;
        let excess = |side: usize, load: u64| load.saturating_sub(wanted[side]);
        let before = excess(side, filled[side]).max(excess(1 - side, filled[1 - side]));
        let after = excess(side, filled[side] - load).max(excess(1 - side, filled[1 - side] + load));
        let is_better = (gain > 0 && after <= before.max(slack)) || (after < before && before > slack);
        self.sizes[side] > self.least[side] && is_better
    }
}
