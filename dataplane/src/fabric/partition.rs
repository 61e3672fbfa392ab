//! Where to cut a fabric so that several cores can run it: into parts with equal work, along few links, and those long ones if that
//! costs no balance.

mod bisect;

use std::collections::{HashMap, VecDeque};

use crate::units::Time;
use bisect::Graph;

/// Delays that differ by less than this, in percent, are not told apart.
const ALIKE_PERCENT: u64 = 125;

/// What a node has to do, in any unit, and how many links it is from a host at least.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Task {
    pub load: u64,
    pub tier: usize,
}

/// A link between two nodes, and the least that a frame takes over it.
#[derive(Copy, Clone, Debug)]
pub struct Link {
    pub nodes: (usize, usize),
    pub delay: Time,
}

/// What events take, and threads to meet.
#[derive(Copy, Clone, Debug)]
pub struct Prices {
    pub event_ns: f64,
    /// In the whole fabric, while something happens in it.
    pub events_per_ps: f64,
    pub meeting_ns: f64,
}

impl Prices {
    /// What an event takes, in nanoseconds, where the busiest core has `share` of them and threads meet once in a lookahead.
    pub fn cut(&self, share: f64, lookahead: Time) -> f64 {
        self.event_ns * share + self.meeting_ns / (self.events_per_ps * lookahead.ps() as f64)
    }
}

/// The shard of each node, and what an event takes then.
#[derive(Clone, PartialEq, Debug)]
pub struct Partition {
    pub homes: Vec<usize>,
    pub event_ns: f64,
}

/// Give every node to one of `shards`, or fewer if there are fewer nodes that can be kept apart. `None` if all belong together.
///
/// Nodes joined by links shorter than a threshold stay together; of all thresholds the one is taken with which an event takes least.
pub fn partition(tasks: &[Task], links: &[Link], shards: usize, prices: &Prices) -> Option<Partition> {
    let cut = |threshold: Time| {
        let graph = group(tasks, links, threshold);
        let homes = graph.cut(shards);
        let share = graph.heaviest(&homes) as f64 / graph.load().max(1) as f64;
        let homes = graph.spread_out(&homes);
        let lookahead = lookahead(links, &homes)?;
        Some(Partition { event_ns: prices.cut(share, lookahead), homes })
    };
    let cuts = thresholds(links).into_iter().filter_map(cut);
    cuts.min_by(|one, other| one.event_ns.total_cmp(&other.event_ns))
}

/// The share of the busiest shard.
pub fn heaviest_share(tasks: &[Task], homes: &[usize]) -> f64 {
    let mut filled = vec![0u64; homes.iter().max().map_or(1, |most| most + 1)];
    homes.iter().zip(tasks).for_each(|(home, task)| filled[*home] += task.load);
    let all: u64 = filled.iter().sum();
    filled.into_iter().max().unwrap_or(0) as f64 / all.max(1) as f64
}

/// The shortest link that is cut.
pub fn lookahead(links: &[Link], homes: &[usize]) -> Option<Time> {
    let cut = links.iter().filter(|link| homes[link.nodes.0] != homes[link.nodes.1]);
    cut.map(|link| link.delay).min()
}

/// Delays of links that take any time, the shortest of those that are alike.
fn thresholds(links: &[Link]) -> Vec<Time> {
    let mut delays: Vec<Time> = links.iter().map(|link| link.delay).filter(|delay| *delay > Time::ZERO).collect();
    delays.sort_unstable();
    delays.dedup_by(|next, kept| next.ps() / ALIKE_PERCENT <= kept.ps() / 100);
    delays
}

/// How many links each node is from the nearest of `hosts`; where none is reached, none.
pub fn tiers(nodes: usize, links: &[Link], hosts: impl Iterator<Item = usize>) -> Vec<usize> {
    let mut neighbours = vec![Vec::new(); nodes];
    for link in links {
        neighbours[link.nodes.0].push(link.nodes.1);
        neighbours[link.nodes.1].push(link.nodes.0);
    }
    let mut tiers = vec![None; nodes];
    let mut reached: VecDeque<usize> = hosts.inspect(|host| tiers[*host] = Some(0)).collect();
    while let Some(node) = reached.pop_front() {
        let next = tiers[node].map(|tier: usize| tier + 1);
        for neighbour in &neighbours[node] {
            if tiers[*neighbour].is_none() {
                tiers[*neighbour] = next;
                reached.push_back(*neighbour);
            }
        }
    }
    tiers.into_iter().map(Option::unwrap_or_default).collect()
}

/// The graph of what stays together: nodes joined by links that take less than `threshold`.
fn group(tasks: &[Task], links: &[Link], threshold: Time) -> Graph {
    let mut parent: Vec<usize> = (0..tasks.len()).collect();
    fn root(parent: &mut [usize], mut node: usize) -> usize {
        while parent[node] != node {
            parent[node] = parent[parent[node]];
            node = parent[node];
        }
        node
    }
    for link in links.iter().filter(|link| link.delay < threshold) {
        let (a, b) = (root(&mut parent, link.nodes.0), root(&mut parent, link.nodes.1));
        parent[a.max(b)] = a.min(b);
    }
    let mut numbers = HashMap::new();
    let group_of: Vec<usize> = (0..tasks.len())
        .map(|node| {
            let next = numbers.len();
            *numbers.entry(root(&mut parent, node)).or_insert(next)
        })
        .collect();
    let ends = links.iter().map(|link| (group_of[link.nodes.0], group_of[link.nodes.1]));
    Graph::new(tasks, group_of.clone(), numbers.len(), ends)
}

#[cfg(test)]
mod tests;
