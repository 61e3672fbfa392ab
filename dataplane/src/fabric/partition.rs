//! Where to cut a fabric so that several cores can run it: along links that take long.

use crate::units::Time;

/// What a longer lookahead is given up for: a speed-up that is better by this much, in percent.
const WORTH_PERCENT: u128 = 110;

/// A link between two nodes, and the least that a frame takes over it.
#[derive(Copy, Clone, Debug)]
pub struct Link {
    pub nodes: (usize, usize),
    pub delay: Time,
}

/// Give every node to one of at most `cores` shards; the answer is the shard of each node, all 0 if nothing is to be gained.
///
/// No link that takes less than `least` is cut. Nodes joined by shorter links than a threshold stay together; such groups are dealt
/// out, the largest first, each to the shard that has least to do. Of all thresholds the longest is taken, unless a shorter one
/// balances `loads` (what each node has to do, in any unit) much better: between two meetings of the cores lies the shortest link cut.
pub fn partition(loads: &[u64], links: &[Link], cores: usize, least: Time) -> Vec<usize> {
    let mut thresholds: Vec<Time> = links.iter().map(|link| link.delay).filter(|delay| *delay >= least).collect();
    thresholds.sort_unstable();
    thresholds.dedup();
    let total: u128 = loads.iter().map(|load| u128::from(*load)).sum();
    let (mut best, mut heaviest) = (vec![0; loads.len()], total);
    for threshold in thresholds.into_iter().rev().filter(|_| cores > 1) {
        let (shards, load) = deal(loads, &groups(loads.len(), links, threshold), cores);
        if u128::from(load) * WORTH_PERCENT < heaviest * 100 {
            (best, heaviest) = (shards, u128::from(load));
        }
    }
    best
}

/// The group of each node, as the lowest node in it: those joined by links that take less than `threshold`.
fn groups(nodes: usize, links: &[Link], threshold: Time) -> Vec<usize> {
    let mut parent: Vec<usize> = (0..nodes).collect();
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
    (0..nodes).map(|node| root(&mut parent, node)).collect()
}

/// Deal groups out to shards: the shard of each node, and the largest load of a shard.
fn deal(loads: &[u64], groups: &[usize], cores: usize) -> (Vec<usize>, u64) {
    let mut weights = vec![0u64; loads.len()];
    for (group, load) in groups.iter().zip(loads) {
        weights[*group] += load;
    }
    let mut order: Vec<usize> = (0..loads.len()).filter(|node| groups[*node] == *node).collect();
    order.sort_by_key(|group| std::cmp::Reverse(weights[*group]));
    let mut filled = vec![0u64; cores.min(order.len())];
    let mut home = vec![0; loads.len()];
    for group in order {
        let lightest = (0..filled.len()).min_by_key(|shard| filled[*shard]).unwrap_or(0);
        filled[lightest] += weights[group];
        home[group] = lightest;
    }
    (groups.iter().map(|group| home[*group]).collect(), filled.into_iter().max().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(a: usize, b: usize, us: u64) -> Link {
        Link { nodes: (a, b), delay: Time::from_ns(us * 1_000) }
    }

    fn us(us: u64) -> Time {
        Time::from_ns(us * 1_000)
    }

    /// Two sites of three nodes each, 1500 µs apart.
    fn two_sites() -> Vec<Link> {
        vec![link(0, 1, 1), link(1, 2, 1), link(2, 3, 1_500), link(3, 4, 1), link(4, 5, 1)]
    }

    #[test]
    fn two_sites_are_cut_at_the_span() {
        assert_eq!(partition(&[1; 6], &two_sites(), 2, us(20)), [0, 0, 0, 1, 1, 1]);
        assert_eq!(partition(&[1; 6], &two_sites(), 8, us(20)), [0, 0, 0, 1, 1, 1], "two groups, two shards");
    }

    #[test]
    fn short_links_are_not_cut_and_one_core_cuts_nothing() {
        assert_eq!(partition(&[1; 6], &two_sites(), 2, us(2_000)), [0; 6]);
        assert_eq!(partition(&[1; 6], &two_sites(), 1, us(20)), [0; 6]);
        assert_eq!(partition(&[], &[], 2, us(1)), [0; 0]);
    }

    #[test]
    fn a_better_balance_is_worth_a_shorter_lookahead() {
        // A small site far away from two large ones that are 100 µs apart.
        let links = [link(0, 1, 1_500), link(1, 2, 1), link(1, 3, 100), link(3, 4, 1)];
        assert_eq!(partition(&[1, 10, 10, 10, 10], &links, 2, us(20)), [0, 0, 0, 1, 1]);
        assert_eq!(
            partition(&[1, 10, 10, 10, 10], &links, 2, us(200)),
            [0; 5],
            "one part in forty is not worth a core"
        );
    }

    #[test]
    fn three_sites_share_two_cores() {
        let links = [link(0, 1, 1_000), link(1, 2, 1_500), link(2, 0, 2_000)];
        assert_eq!(partition(&[5, 3, 3], &links, 2, us(20)), [0, 1, 1]);
        assert_eq!(partition(&[5, 3, 3], &links, 3, us(20)), [0, 1, 2]);
    }
}
