//! Random fabrics under random workloads: what must hold in every one of them.

mod common;

use std::cell::Cell;

use _dataplane::emulation::{Emulation, Progress};
use common::credits::credited;
use common::lab::{
    buffered_bytes, drain, finish, is_delivered, pauses_sent, started, started_on, Message, Shape, Transport, LOSSLESS,
};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

const ALL_AT_ONCE: u64 = u64::MAX;

fn shape() -> impl Strategy<Value = Shape> {
    let size = (1usize..4, 1usize..3, 1usize..4);
    let rates = (prop::sample::select(&[25u64, 100][..]), prop::sample::select(&[25u64, 50, 100, 400][..]));
    let delays = (0u64..2_000_000, 0u64..40_000_000);
    let thresholds = (0u64..40_000, 0u64..10_000);
    (size, rates, delays, thresholds, any::<u64>()).prop_map(|(size, rates, delays, thresholds, seed)| {
        let (leaves, spines, hosts_per_leaf) = size;
        Shape {
            leaves,
            spines: if leaves == 1 { 0 } else { spines },
            // A workload needs two hosts.
            hosts_per_leaf: if leaves == 1 { hosts_per_leaf + 1 } else { hosts_per_leaf },
            host_gbps: rates.0,
            spine_gbps: rates.1,
            host_delay_ps: delays.0,
            spine_delay_ps: delays.1,
            xoff_bytes: thresholds.0,
            hysteresis_bytes: thresholds.1.min(thresholds.0),
            loss: 0.0,
            seed,
        }
    })
}

fn messages(hosts: usize) -> impl Strategy<Value = Vec<Message>> {
    let message = (0..hosts, 1..hosts, 0u64..150_000, prop::option::of(any::<prop::sample::Index>()));
    prop::collection::vec(message, 1..25).prop_map(move |drawn| {
        let message =
            |(number, (src, step, bytes, after)): (usize, (usize, usize, u64, Option<prop::sample::Index>))| {
                let after = after.filter(|_| number > 0).map(|after| after.index(number));
                Message { src, dst: (src + step) % hosts, bytes, after }
            };
        drawn.into_iter().enumerate().map(message).collect()
    })
}

fn transport() -> impl Strategy<Value = Transport> {
    let mtu = prop::sample::select(&[256u64, 1_024, 4_096][..]);
    (prop::sample::select(&["write", "send"][..]), mtu, 1u64..200, 1u64..32).prop_map(
        |(verb, mtu_bytes, window_packets, ack_every)| {
            // Longer than any queue here takes to drain: a timeout would hide a lost frame.
            Transport { verb, mtu_bytes, window_packets, ack_every, timeout_ps: 1_000_000_000_000 }
        },
    )
}

type Experiment = (Shape, Vec<Message>, Transport);

fn experiment() -> impl Strategy<Value = Experiment> {
    shape().prop_flat_map(|shape| {
        let hosts = shape.hosts();
        (Just(shape), messages(hosts), transport())
    })
}

fn check_accounts(lab: &Emulation) -> Result<(), TestCaseError> {
    let report = lab.report(None).json();
    prop_assert_eq!(&report["violations"], &serde_json::json!([]));
    let of = |key: &str| report["conservation"][key].as_u64().expect("a count");
    prop_assert_eq!(of("sent"), of("delivered") + of("dropped") + of("in_flight"));
    Ok(())
}

#[test]
fn enough_headroom_loses_nothing_and_every_message_arrives() {
    let pauses = Cell::new(0);
    let property = |(shape, messages, transport): (Shape, Vec<Message>, Transport)| {
        let mut lab = started(&shape, &messages, &transport);
        prop_assert_eq!(finish(&mut lab, ALL_AT_ONCE), Progress::Complete);
        check_accounts(&lab)?;
        prop_assert!(is_delivered(&lab, &messages));
        let report = lab.report(None).json();
        prop_assert_eq!(
            &report["drops"],
            &serde_json::json!({"lossless": 0, "lossy": 0, "link": 0, "outage": 0, "malformed": 0})
        );
        let flows = report["flows"].as_array().expect("a list");
        prop_assert_eq!(flows.len(), messages.len());
        prop_assert!(flows.iter().all(|flow| flow["completion_ns"].is_u64()));
        let retransmitted = |qp: &serde_json::Value| qp["retransmitted"].as_u64() != Some(0);
        prop_assert!(!report["qps"].as_array().expect("a list").iter().any(retransmitted));
        drain(&mut lab);
        check_accounts(&lab)?;
        prop_assert_eq!((buffered_bytes(&lab), lab.fabric.in_flight(true)), (0, 0));
        pauses.set(pauses.get() + pauses_sent(&lab));
        Ok(())
    };
    TestRunner::new(common::cases(150)).run(&experiment(), property).unwrap();
    assert!(pauses.get() > 1_000, "these fabrics paused {} times: they prove nothing", pauses.get());
}

#[test]
fn the_same_seed_gives_the_same_run_however_it_is_sliced() {
    let property = |((shape, messages, transport), slice): (Experiment, u64)| {
        let shape = Shape { loss: 1e-3, ..shape };
        let mut whole = started(&shape, &messages, &transport);
        let mut sliced = started(&shape, &messages, &transport);
        prop_assert_eq!(finish(&mut whole, ALL_AT_ONCE), finish(&mut sliced, slice));
        prop_assert_eq!(whole.report(None).json().to_string(), sliced.report(None).json().to_string());
        Ok(())
    };
    TestRunner::new(common::cases(40)).run(&(experiment(), 1u64..5_000), property).unwrap();
}

#[test]
fn losses_are_repaired_accounted_for_and_differ_by_seed() {
    let lost = Cell::new(0);
    let property = |(shape, messages, transport): (Shape, Vec<Message>, Transport)| {
        let run = |seed: u64| {
            let shape = Shape { loss: 5e-3, seed, ..shape.clone() };
            let transport = Transport { timeout_ps: 2_000_000_000, ..transport.clone() };
            let mut lab = started(&shape, &messages, &transport);
            let progress = finish(&mut lab, ALL_AT_ONCE);
            (lab, progress)
        };
        let ((one, progress), (other, _)) = (run(1), run(2));
        check_accounts(&one)?;
        check_accounts(&other)?;
        prop_assert_eq!(progress, Progress::Complete);
        prop_assert!(is_delivered(&one, &messages));
        let (losses, of_other) =
            (one.report(None).json()["drops"]["link"].clone(), other.report(None).json()["drops"]["link"].clone());
        lost.set(lost.get() + losses.as_u64().expect("a count"));
        if losses != of_other {
            prop_assert_ne!(one.fabric.hash(), other.fabric.hash());
        }
        Ok(())
    };
    TestRunner::new(common::cases(60)).run(&experiment(), property).unwrap();
    assert!(lost.get() > 100, "{} frames lost: this proves nothing", lost.get());
}

/// By credits of any size from one frame up, whatever links lose: nothing overflows, every message arrives, and in the end every
/// sender knows all its credits to be back and nobody asks any more.
#[test]
fn credits_lose_nothing_and_come_back() {
    let (waited, lost) = (Cell::new(0), Cell::new(0));
    let credits = (66u64..700, 1u64..64, prop::sample::select(&[0.0, 1e-3, 1e-2][..]));
    let property = |((shape, messages, transport), (blocks, update_blocks, loss)): (Experiment, (u64, u64, f64))| {
        let shape = Shape { loss, ..shape };
        let transport = Transport { timeout_ps: 4_000_000_000, ..transport };
        // Links differ, and an update is told before a frame could need it.
        let plan = credited(shape.plan(), |link| blocks + link as u64, update_blocks.min(1 + blocks - 66));
        let mut lab = started_on(&plan, shape.hosts(), &messages, &transport);
        prop_assert_eq!(finish(&mut lab, ALL_AT_ONCE), Progress::Complete);
        prop_assert!(is_delivered(&lab, &messages));
        drain(&mut lab);
        check_accounts(&lab)?;
        let report = lab.report(None).json();
        prop_assert_eq!((&report["drops"]["lossless"], &report["drops"]["lossy"]), (&0.into(), &0.into()));
        prop_assert_eq!((buffered_bytes(&lab), lab.fabric.in_flight(true), pauses_sent(&lab)), (0, 0, 0));
        let ports = lab.fabric.nodes().flat_map(|node| node.ports());
        waited.set(waited.get() + ports.filter(|port| port.credit_wait(LOSSLESS, lab.fabric.now()).ps() > 0).count());
        lost.set(lost.get() + report["drops"]["link"].as_u64().expect("a count"));
        Ok(())
    };
    TestRunner::new(common::cases(100)).run(&(experiment(), credits), property).unwrap();
    assert!(waited.get() > 100 && lost.get() > 1_000, "{} ports waited, {} frames lost", waited.get(), lost.get());
}

#[test]
fn the_same_seed_gives_the_same_credits_however_a_run_is_sliced() {
    let property = |((shape, messages, transport), slice): (Experiment, u64)| {
        let plan = credited(Shape { loss: 1e-3, ..shape.clone() }.plan(), |_| 200, 16);
        let mut whole = started_on(&plan, shape.hosts(), &messages, &transport);
        let mut sliced = started_on(&plan, shape.hosts(), &messages, &transport);
        prop_assert_eq!(finish(&mut whole, ALL_AT_ONCE), finish(&mut sliced, slice));
        prop_assert_eq!(whole.report(None).json().to_string(), sliced.report(None).json().to_string());
        Ok(())
    };
    TestRunner::new(common::cases(20)).run(&(experiment(), 1u64..5_000), property).unwrap();
}

/// Eight hosts send to one: the buffer that a switch was promised is used, paused for, and enough; with less it overflows.
#[test]
fn an_incast_needs_the_headroom_it_was_given() {
    let shape = Shape {
        leaves: 1,
        spines: 0,
        hosts_per_leaf: 9,
        host_gbps: 100,
        spine_gbps: 100,
        host_delay_ps: 5_000_000,
        spine_delay_ps: 0,
        xoff_bytes: 50_000,
        hysteresis_bytes: 5_000,
        loss: 0.0,
        seed: 1,
    };
    let messages: Vec<Message> = (1..9).map(|src| Message { src, dst: 0, bytes: 1_000_000, after: None }).collect();
    let transport =
        Transport { verb: "write", mtu_bytes: 4_096, window_packets: 1_000, ack_every: 16, timeout_ps: 1_000_000_000 };
    let mut lab = started(&shape, &messages, &transport);
    assert_eq!(finish(&mut lab, ALL_AT_ONCE), Progress::Complete);
    let report = lab.report(None).json();
    assert_eq!(report["drops"]["lossless"], 0);
    let used = report["ports"]["leaf0:eth2"]["priorities"]["3"]["headroom_bytes_max"].as_u64().expect("a count");
    let cable = 2 * 5_000_000 * 100 / 8_000;
    assert!(used > cable, "{used} bytes of headroom used, and the cable alone holds {cable}");
    // 8 MB of payload with their headers take 656 µs at 100 Gb/s: pausing must not leave the bottleneck idle.
    let flows = report["flows"].as_array().expect("a list").iter();
    let took = flows.map(|flow| flow["completion_ns"].as_u64().expect("a time")).max().expect("eight flows");
    assert!((656_000..680_000).contains(&took), "{took} ns");

    let mut plan = shape.plan();
    for group in plan["nodes"][9]["priority_groups"].as_array_mut().expect("groups") {
        group["headroom_bytes"] = serde_json::json!(cable / 2);
    }
    let mut lab = Emulation::new(&plan.to_string()).expect("a sound plan");
    lab.load(&common::lab::workload(9, &messages, &transport).to_string()).expect("a sound workload");
    lab.start();
    finish(&mut lab, ALL_AT_ONCE);
    assert_ne!(lab.report(None).json()["drops"]["lossless"], 0, "half the cable's bytes cannot be enough");
    check_accounts(&lab).unwrap();
}
