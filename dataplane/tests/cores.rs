//! A run is the same on one core and on several, threads or none, however it is sliced: hash, report, and where it ends.

mod common;

use std::cell::Cell;

use _dataplane::emulation::Emulation;
use _dataplane::fabric::{Spread, Turns};
use _dataplane::watch::series::SeriesPlan;
use common::credits::credited;
use common::lab::{finish, started, started_on, Message, Shape, Transport};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde_json::{json, Value};

/// Leaves with hosts close by, joined by long links over one or two spines: each leaf can have a core to itself.
fn shape() -> impl Strategy<Value = Shape> {
    let size = (2usize..5, 1usize..3, 1usize..4);
    let delays = (0u64..300_000, prop::sample::select(&[1u64, 40_000, 500_000, 3_000_000, 500_000_000][..]));
    let loss = prop::sample::select(&[0.0, 1e-3, 2e-2][..]);
    (size, delays, 1_000u64..60_000, loss, any::<u64>()).prop_map(|(size, delays, xoff_bytes, loss, seed)| Shape {
        leaves: size.0,
        spines: size.1,
        hosts_per_leaf: size.2,
        host_gbps: 100,
        spine_gbps: 50,
        host_delay_ps: delays.0,
        spine_delay_ps: delays.1,
        xoff_bytes,
        hysteresis_bytes: 1_000,
        loss,
        seed,
    })
}

fn messages(hosts: usize) -> impl Strategy<Value = Vec<Message>> {
    let message = (0..hosts, 1..hosts, 0u64..300_000);
    prop::collection::vec(message, 1..20).prop_map(move |drawn| {
        let message = |(number, (src, step, bytes)): (usize, (usize, usize, u64))| {
            let after = (number % 3 == 2).then(|| number - 1);
            Message { src, dst: (src + step) % hosts, bytes, after }
        };
        drawn.into_iter().enumerate().map(message).collect()
    })
}

/// Changes of links while the run is on: delays that grow, shrink and vanish, outages, losses, rates, drains.
fn changes(links: usize) -> impl Strategy<Value = Vec<Value>> {
    let what = prop_oneof![
        prop::sample::select(&[0u64, 1, 30_000_000, 2_000_000_000][..]).prop_map(|ps| json!({"delay_ps": ps})),
        Just(json!({"jitter_ps": 5_000_000})),
        any::<bool>().prop_map(|up| json!({"up": up})),
        any::<bool>().prop_map(|drain| json!({"drain": drain})),
        Just(json!({"loss_process": {"kind": "bernoulli", "probability": 0.01}})),
        Just(json!({"rate_bps": 10_000_000_000u64})),
    ];
    let change = (0..links, 0usize..2, 0u64..2_000_000_000, what).prop_map(|(link, way, at_ps, what)| {
        let mut change = json!({"link": link, "way": way, "at_ps": at_ps});
        change.as_object_mut().expect("an object").extend(what.as_object().expect("an object").clone());
        change
    });
    prop::collection::vec(change, 0..8)
}

#[derive(Clone, Debug)]
struct Run {
    shape: Shape,
    messages: Vec<Message>,
    changes: Vec<Value>,
    window_packets: u64,
    timeout_ps: u64,
    /// Links run credits of so many blocks instead of PFC.
    credits: Option<u64>,
}

fn run() -> impl Strategy<Value = Run> {
    let credits = prop::option::of(20u64..2_000);
    let rest = (1u64..100, prop::sample::select(&[50_000_000u64, 4_000_000_000][..]), credits);
    (shape(), rest).prop_flat_map(|(shape, (window_packets, timeout_ps, credits))| {
        let links = shape.leaves * (shape.hosts_per_leaf + shape.spines);
        (messages(shape.hosts()), changes(links)).prop_map(move |(messages, changes)| Run {
            shape: shape.clone(),
            messages,
            changes,
            window_packets,
            timeout_ps,
            credits,
        })
    })
}

impl Run {
    /// Run to the end in slices of `budget` events, twice: a second workload follows the first where that ended.
    fn on(&self, spread: Spread, budget: u64) -> (Turns, Vec<Value>) {
        let transport = Transport {
            verb: "write",
            mtu_bytes: 1_024,
            window_packets: self.window_packets,
            ack_every: 4,
            timeout_ps: self.timeout_ps,
        };
        let plan = self.shape.plan();
        let plan = self.credits.map_or(plan.clone(), |blocks| credited(plan, |_| blocks, 1 + blocks / 64));
        let mut lab: Emulation = started_on(&plan, self.shape.hosts(), &self.messages, &transport);
        lab.fabric.spread(spread);
        lab.record_series(SeriesPlan { period_ps: 1_000_000, points: 300, changes: 20_000 });
        lab.impair(&json!(self.changes).to_string()).expect("sound changes");
        // The changes count from the next start; the schedules have begun already and do not begin twice.
        lab.start();
        let mut reports = Vec::new();
        for _ in 0..2 {
            let progress = finish(&mut lab, budget);
            reports.push(json!({"progress": format!("{progress:?}"), "report": lab.report(None).json()}));
            let workload = common::lab::workload(self.shape.hosts(), &self.messages, &transport);
            lab.load(&workload.to_string()).expect("a sound workload");
            lab.start();
        }
        reports.push(json!({"series": lab.series()}));
        (lab.fabric.turns(), reports)
    }
}

/// One core, as many shards as are asked for with a thread each in every turn, with threads where they are sooner done, or as `auto`.
fn spreads() -> impl Strategy<Value = Spread> {
    let shards = prop::sample::select(&[2usize, 3, 8][..]);
    let way = prop::sample::select(&[Spread::forced_over, Spread::over][..]);
    prop_oneof![4 => (shards, way).prop_map(|(shards, way)| way(shards)), 1 => Just(Spread::where_it_pays())]
}

#[test]
fn one_core_and_several_make_the_same_run() {
    let spread = Cell::new(0);
    let apart = Cell::new(0);
    let property = |(run, way, budget): (Run, Spread, u64)| {
        let (_, alone) = run.on(Spread::ONE_CORE, u64::MAX);
        let (turns, together) = run.on(way, budget);
        prop_assert_eq!(alone, together);
        spread.set(spread.get() + usize::from(turns.shards > 1));
        apart.set(apart.get() + usize::from(turns.apart_turns > 0));
        Ok(())
    };
    let budgets = prop_oneof![1u64..3_000, Just(u64::MAX)];
    TestRunner::new(common::cases(40)).run(&(run(), spreads(), budgets), property).unwrap();
    assert!(spread.get() > 20, "only {} of these runs were spread", spread.get());
    assert!(apart.get() > 20, "only {} of these runs had threads", apart.get());
}

/// Leaves of four hosts with links of 1 µs throughout, all of them busy.
fn busy(leaves: usize) -> Run {
    let shape = Shape {
        leaves,
        spines: 2,
        hosts_per_leaf: 4,
        host_gbps: 100,
        spine_gbps: 400,
        host_delay_ps: 1_000_000,
        spine_delay_ps: 1_000_000,
        xoff_bytes: 100_000,
        hysteresis_bytes: 10_000,
        loss: 1e-4,
        seed: 7,
    };
    let hosts = shape.hosts();
    let message = |n| Message { src: n % hosts, dst: (n * 3 + 1 + n / hosts) % hosts, bytes: 400_000, after: None };
    Run {
        shape,
        messages: (0..2 * hosts).map(message).filter(|message| message.src != message.dst).collect(),
        changes: Vec::new(),
        window_packets: 4_000,
        timeout_ps: 4_000_000_000,
        credits: Some(20_000),
    }
}

#[test]
fn links_of_a_microsecond_are_cut_and_threads_make_the_same_run() {
    for leaves in [2, 6] {
        let run = busy(leaves);
        let (one, alone) = run.on(Spread::ONE_CORE, u64::MAX);
        assert_eq!((one.shards, one.turns), (1, 0));
        for shards in [2, 3, 8] {
            let (turns, together) = run.on(Spread::forced_over(shards), 1 << 16);
            assert_eq!(alone, together, "{leaves} leaves, {shards} shards");
            assert_eq!((turns.shards, turns.lookahead_ps), (shards, 1_000_000));
            assert!(turns.apart_turns > 100 && turns.apart_turns == turns.turns, "{turns:?}");
        }
        let (turns, together) = run.on(Spread::over(2), 1 << 16);
        assert_eq!(alone, together);
        assert!(turns.apart_turns > 0, "threads are tried: {turns:?}");
    }
}

/// Parts have equal work, also where few hosts have any: they are cut anew by what each node had to do.
#[test]
fn the_parts_are_balanced_by_what_nodes_had_to_do() {
    let mut run = busy(6);
    let few: Vec<Message> =
        (0..8).map(|n| Message { src: n, dst: (n + 4) % 8, bytes: 8_000_000, after: None }).collect();
    run.messages = few;
    let (_, alone) = run.on(Spread::ONE_CORE, u64::MAX);
    let (turns, together) = run.on(Spread::over(2), 1 << 12);
    assert_eq!(alone, together);
    let share = turns.longest_events as f64 / turns.events as f64;
    assert!(turns.shards == 2 && share < 0.7, "{share}: {turns:?}");
}

#[test]
fn a_fabric_is_cut_where_links_take_time_and_joined_where_they_no_longer_do() {
    let shape = Shape {
        leaves: 2,
        spines: 1,
        hosts_per_leaf: 2,
        host_gbps: 100,
        spine_gbps: 100,
        host_delay_ps: 0,
        spine_delay_ps: 100_000_000,
        xoff_bytes: 50_000,
        hysteresis_bytes: 0,
        loss: 0.0,
        seed: 1,
    };
    let messages = [Message { src: 0, dst: 3, bytes: 1_000_000, after: None }];
    let transport =
        Transport { verb: "write", mtu_bytes: 1_024, window_packets: 64, ack_every: 8, timeout_ps: 4_000_000_000 };
    let mut lab = started(&shape, &messages, &transport);
    assert_eq!(lab.fabric.turns().shards, 1);
    lab.fabric.spread(Spread::where_it_pays());
    assert_eq!(lab.fabric.turns().shards, 1, "nothing is known of what it takes");
    lab.fabric.spread(Spread::over(2));
    assert_eq!(lab.fabric.turns().shards, 2);
    let delays = |ps: u64| {
        let links = (0..lab.plan.links.len()).filter(|link| lab.plan.links[*link].delay_ps == 100_000_000);
        json!(links
            .flat_map(|link| [0, 1].map(|way| json!({"link": link, "way": way, "delay_ps": ps})))
            .collect::<Vec<_>>())
    };
    let (none, long) = (delays(0).to_string(), delays(100_000_000).to_string());
    lab.impair(&none).expect("sound changes");
    assert_eq!(lab.fabric.turns().shards, 1, "no link takes any time any more");
    lab.impair(&long).expect("sound changes");
    assert_eq!(lab.fabric.turns().shards, 2);
}
