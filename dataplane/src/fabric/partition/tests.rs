use super::*;

/// Fifty events in a microsecond, each of 200 ns; threads meet in 4 µs.
const PRICES: Prices = Prices { event_ns: 200.0, events_per_ps: 50e-6, meeting_ns: 4_000.0 };

fn link(a: usize, b: usize, us: u64) -> Link {
    Link { nodes: (a, b), delay: Time::from_ns(us * 1_000) }
}

/// Nodes with these loads, all of one tier.
fn tasks(loads: &[u64]) -> Vec<Task> {
    loads.iter().map(|load| Task { load: *load, tier: 0 }).collect()
}

fn homes(loads: &[u64], links: &[Link], shards: usize) -> Vec<usize> {
    partition(&tasks(loads), links, shards, &PRICES).expect("it can be cut").homes
}

/// The loads of the shards, the least first.
fn filled(loads: &[u64], homes: &[usize]) -> Vec<u64> {
    let mut filled = vec![0; homes.iter().max().expect("nodes") + 1];
    homes.iter().zip(loads).for_each(|(home, load)| filled[*home] += load);
    filled.sort_unstable();
    filled
}

fn crossing(links: &[Link], homes: &[usize]) -> usize {
    links.iter().filter(|link| homes[link.nodes.0] != homes[link.nodes.1]).count()
}

/// Pods of two leaves and two spines with two hosts a leaf, and core switches that each join all pods.
fn clos(pods: usize, cores: usize) -> (usize, Vec<Link>) {
    let mut links = Vec::new();
    for pod in 0..pods {
        let first = pod * 8;
        for leaf in 0..2 {
            links.extend((0..2).map(|spine| link(first + leaf, first + 2 + spine, 1)));
            links.extend((0..2).map(|host| link(first + leaf, first + 4 + 2 * leaf + host, 1)));
        }
        links.extend((0..cores).map(|core| link(first + 2 + core % 2, pods * 8 + core, 1)));
    }
    (pods * 8 + cores, links)
}

#[test]
fn two_sites_are_cut_at_the_span() {
    let links = [link(0, 1, 1), link(1, 2, 1), link(2, 3, 1_500), link(3, 4, 1), link(4, 5, 1)];
    let cut = homes(&[1; 6], &links, 2);
    assert_eq!(cut[..3], [cut[0]; 3]);
    assert_eq!(cut[3..], [1 - cut[0]; 3]);
    let cut = partition(&tasks(&[1; 6]), &links, 2, &PRICES).expect("it can be cut");
    assert!((cut.event_ns - 100.0).abs() < 0.1, "{}: a meeting each 1.5 ms costs nothing", cut.event_ns);
}

#[test]
fn short_links_are_cut_where_there_is_enough_to_do_between_two_meetings() {
    // A ring of 20 nodes with links of 1 µs, but two of 2 µs that lie side by side.
    let links: Vec<Link> = (0..20).map(|node| link(node, (node + 1) % 20, if node < 2 { 2 } else { 1 })).collect();
    let cut = |events_per_us: f64| {
        let prices = Prices { events_per_ps: events_per_us * 1e-6, ..PRICES };
        partition(&tasks(&[1; 20]), &links, 2, &prices).expect("it can be cut")
    };
    let busy = cut(450.0);
    assert_eq!((filled(&[1; 20], &busy.homes), crossing(&links, &busy.homes)), (vec![10, 10], 2));
    assert!(busy.event_ns < 115.0, "{}: half of 200 ns, and 4 µs a turn of 450 events", busy.event_ns);
    let idle = cut(1.0);
    assert_eq!(filled(&[1; 20], &idle.homes), [1, 19], "twice as long a turn is worth more than the balance");
    assert!(idle.event_ns > 200.0, "and nothing is worth a meeting");
}

#[test]
fn a_better_balance_is_worth_a_shorter_lookahead() {
    // A small site far away from two large ones that are 100 µs apart.
    let links = [link(0, 1, 1_500), link(1, 2, 1), link(1, 3, 100), link(3, 4, 1)];
    let cut = homes(&[1, 10, 10, 10, 10], &links, 2);
    assert!(cut[1] == cut[2] && cut[3] == cut[4] && cut[1] != cut[3], "{cut:?}");
}

#[test]
fn parts_are_balanced_by_load_in_every_tier_and_joined_by_few_links() {
    for (pods, cores) in [(4, 4), (16, 8), (32, 16)] {
        let (nodes, links) = clos(pods, cores);
        let hosts = (0..pods * 8).filter(|node| node % 8 >= 4);
        let tiers = tiers(nodes, &links, hosts);
        assert_eq!((tiers[4], tiers[0], tiers[2], tiers[nodes - 1]), (0, 1, 2, 3));
        // A switch has the work of its ports, and pods in the first half have twice as much to do.
        let load = |node: usize| if tiers[node] == 0 { 1 } else { 4 } * if node < pods * 4 { 2 } else { 1 };
        let tasks: Vec<Task> = (0..nodes).map(|node| Task { load: load(node), tier: tiers[node] }).collect();
        for shards in [2, 3, 8] {
            let cut = partition(&tasks, &links, shards, &PRICES).expect("it can be cut").homes;
            assert_eq!(cut.iter().max(), Some(&(shards - 1)));
            for tier in 0..4 {
                let of_tier: Vec<Task> =
                    tasks.iter().map(|task| Task { load: task.load * u64::from(task.tier == tier), ..*task }).collect();
                let all: u64 = of_tier.iter().map(|task| task.load).sum();
                // Within the halves of a switch for each time that it was cut in two.
                let most = 1.03 / shards as f64 + 8.0 / all as f64;
                let share = heaviest_share(&of_tier, &cut);
                assert!(share <= most, "{share} of tier {tier}, {shards} shards, {pods} pods");
            }
        }
        let cut = partition(&tasks, &links, 2, &PRICES).expect("it can be cut").homes;
        // Half of the links to core switches have to be cut.
        let least = pods * cores / 2;
        assert!(2 * crossing(&links, &cut) <= 3 * least, "{} links, not {least}", crossing(&links, &cut));
    }
}

/// Leaves that are all joined to all spines: either part has half of both.
#[test]
fn spines_are_shared_out_like_leaves() {
    let pairs = (0..16).flat_map(|leaf| (0..8).map(move |spine| link(leaf, 16 + spine, 1)));
    let hosts = (0..256).map(|host| link(host / 16, 24 + host, 1));
    let links: Vec<Link> = pairs.chain(hosts).collect();
    let tier = tiers(280, &links, 24..280);
    let load = |node: usize| [1, 24, 16][tier[node]];
    let tasks: Vec<Task> = (0..280).map(|node| Task { load: load(node), tier: tier[node] }).collect();
    let cut = partition(&tasks, &links, 2, &PRICES).expect("it can be cut").homes;
    let ones = |nodes: std::ops::Range<usize>| nodes.filter(|node| cut[*node] == 1).count();
    assert_eq!((ones(0..16), ones(16..24), ones(24..280)), (8, 4, 128));
    assert_eq!(crossing(&links, &cut), 64, "leaf to spine, and no host is apart from its leaf");
}

#[test]
fn what_cannot_be_kept_apart_is_not() {
    assert_eq!(partition(&tasks(&[1, 1]), &[link(0, 1, 0)], 2, &PRICES), None, "a link that takes no time");
    assert_eq!(partition(&[], &[], 2, &PRICES), None);
    let links = [link(0, 1, 0), link(1, 2, 5), link(2, 3, 0)];
    let cut = homes(&[5, 5, 5, 5], &links, 8);
    assert!(cut[0] == cut[1] && cut[2] == cut[3] && cut[0] != cut[2], "two groups, two shards: {cut:?}");
}

#[test]
fn three_sites_share_two_cores() {
    let links = [link(0, 1, 1_000), link(1, 2, 1_500), link(2, 0, 2_000)];
    assert_eq!(filled(&[5, 3, 3], &homes(&[5, 3, 3], &links, 2)), [5, 6]);
    assert_eq!(filled(&[5, 3, 3], &homes(&[5, 3, 3], &links, 3)), [3, 3, 5]);
}

#[test]
fn delays_that_are_alike_are_one_threshold() {
    let links: Vec<Link> = [100, 110, 120, 130, 1_000, 0].iter().map(|us| link(0, 1, *us)).collect();
    assert_eq!(thresholds(&links), [100, 130, 1_000].map(|us| Time::from_ns(us * 1_000)));
}
