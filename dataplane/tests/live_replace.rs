//! Links of a lab under the real clock that change: frames under way arrive, what waits is kept, and what is lost is said. Needs root.
#![cfg(feature = "live")]

mod common;

use std::time::{Duration, Instant};

use _dataplane::clock::real::RealClock;
use _dataplane::emulation::Emulation;
use _dataplane::units::Time;
use common::clocked::{exchange, messages, run_to_end, turn_for, turn_until};
use common::veth_lab::{drain, kernel_frames, kernel_of, losses, received, replace, send, stray, strays, Veths};
use serde_json::json;

#[test]
fn a_fabric_that_is_held_drains_while_kernels_wait() {
    let veths = Veths::new(2);
    let mut clock = veths.clock(10);
    clock.load(&exchange(200_000)).unwrap();
    clock.start(Time::NEVER);
    turn_until(&mut clock, |clock| clock.emulation.fabric.in_flight(true) > 0);
    assert!(!clock.is_drained().unwrap(), "it is not held");
    clock.hold(&[]).unwrap();
    clock.hold(&[]).unwrap();
    assert!(!clock.is_drained().unwrap());
    let (from, to) = (veths.kernel(0), veths.kernel(1));
    let frames = strays(0, 1, 1..4, 100);
    send(&from, &frames);
    drain(&mut clock);
    assert_eq!(clock.emulation.fabric.in_flight(true), 0);
    assert_eq!(kernel_frames(&clock), [0, 0, 0, 0]);
    assert_eq!(losses(&mut clock), json!([]));
    assert_eq!(received(&mut clock, &to, kernel_of(1), 3), [1, 2, 3]);
    assert_eq!(losses(&mut clock), json!([]));
}

#[test]
fn what_has_come_by_a_link_that_leaves_is_taken_first() {
    let veths = Veths::new(2);
    let mut clock = veths.clock(10);
    let (from, to) = (veths.kernel(0), veths.kernel(1));
    // More than one batch.
    let frames = strays(0, 1, 0..150, 100);
    send(&from, &frames);
    send(&to, &[stray(kernel_of(1), kernel_of(0), 1, 100)]);
    clock.hold(&[("leaf0".into(), "eth1".into())]).unwrap();
    drain(&mut clock);
    assert!(received(&mut clock, &to, kernel_of(1), 150).into_iter().eq(0..150));
    assert_eq!(kernel_frames(&clock), [150, 150, 0, 0]);
    send(&from, &frames[..1]);
    turn_for(&mut clock, Duration::from_millis(20));
    assert_eq!(kernel_frames(&clock), [150, 150, 0, 0], "it is empty, and held like the others");
    assert_eq!(losses(&mut clock), json!([]));
    turn_until(&mut clock, |clock| kernel_frames(clock) == [152, 152, 0, 0]);
}

#[test]
fn another_plan_keeps_the_sockets_that_stay_and_what_waits_in_them() {
    let veths = Veths::new(2);
    let mut clock = veths.clock(10);
    run_to_end(&mut clock, &exchange(20_000));
    clock.hold(&[]).unwrap();
    let (from, to) = (veths.kernel(0), veths.kernel(1));
    let frames = strays(0, 1, 1..4, 100);
    send(&from, &frames);
    drain(&mut clock);
    let before = clock.emulation.fabric.now();
    let mut plan = veths.plan();
    plan["links"][0]["delay_ps"] = json!(5_000_000);
    let mut attachments = veths.all();
    attachments.reverse();
    replace(&mut clock, &plan, &attachments);
    assert!(clock.emulation.fabric.now() >= before);
    turn_for(&mut clock, Duration::from_millis(5));
    assert_eq!(kernel_frames(&clock), [0, 0, 0, 0], "hosts' kernels are still held");
    assert_eq!(losses(&mut clock), json!([]));
    assert_eq!(received(&mut clock, &to, kernel_of(1), 3), [1, 2, 3]);
    let report = run_to_end(&mut clock, &exchange(20_000));
    assert_eq!(report["conservation"]["sent"], report["conservation"]["delivered"]);
    let delays = clock.fidelity().delays;
    let long: Vec<_> = delays.iter().filter(|delay| delay.link == 0).map(|delay| delay.mean_ns >= 5_000).collect();
    assert_eq!(long, [true, true], "{delays:?}");
}

#[test]
fn what_is_lost_with_a_link_is_said_by_port() {
    let veths = Veths::new(2);
    let mut clock = veths.clock(10);
    let (from, to) = (veths.kernel(0), veths.kernel(1));
    let frames = strays(0, 1, 1..4, 100);
    clock.hold(&[]).unwrap();
    send(&from, &frames);
    send(&to, &[stray(kernel_of(1), kernel_of(0), 7, 100)]);
    let mut attachments = veths.all();
    attachments[1].fresh = true;
    replace(&mut clock, &veths.plan(), &attachments);
    assert_eq!(losses(&mut clock), json!([{"port": "leaf0:eth1", "cause": "on a link that went", "frames": 3}]));
    // What waited in the socket that stayed has come, and the one that was opened anew receives.
    send(&from, &frames[..1]);
    assert_eq!(received(&mut clock, &to, kernel_of(1), 1), [1]);
    turn_until(&mut clock, |clock| kernel_frames(clock) == [2, 2, 0, 0]);
    assert_eq!(clock.fidelity().socket_drops, 0);
}

#[test]
fn what_is_under_way_when_a_plan_is_replaced_is_lost_and_counted() {
    let veths = Veths::new(2);
    let mut plan = veths.plan();
    plan["links"][1]["delay_ps"] = json!(10_000_000);
    let mut clock = common::clocked::clock(&plan, 1_000, &veths.all());
    clock.load(&messages(2, &[(0, 1, 400_000)], 4_000_000_000)).unwrap();
    clock.start(Time::NEVER);
    let strays = strays(0, 1, 0..60, 4_000);
    send(&veths.kernel(0), &strays);
    // Some frames of the kernel are on the long link, and some wait for the line of their host.
    turn_until(&mut clock, |clock| {
        clock.emulation.fabric.in_flight(true) > 3 && clock.emulation.fabric.in_flight(false) > 3
    });
    clock.hold(&[]).unwrap();
    let [sent, ..] = kernel_frames(&clock);
    let waiting = strays.len() as u64 - sent;
    let under_way = clock.emulation.fabric.in_flight(true) + clock.emulation.fabric.in_flight(false) + waiting;
    assert!(waiting > 3, "{waiting}");
    replace(&mut clock, &veths.plan(), &veths.all());
    let lost = losses(&mut clock);
    assert_eq!(lost, json!([{"port": null, "cause": "not arrived in time", "frames": under_way}]));
    assert_eq!(clock.emulation.fabric.in_flight(true), 0);
}

/// At this dilation a frame of 200 bytes takes 20 ms of the wall, and the link 5.
#[test]
fn frames_of_kernels_that_wait_for_their_line_or_are_on_a_link_are_waited_for() {
    let veths = Veths::new(2);
    let mut clock = veths.clock(1_000_000);
    send(&veths.kernel(0), &strays(0, 1, 0..4, 200));
    turn_until(&mut clock, |clock| kernel_frames(clock)[0] == 1);
    clock.hold(&[]).unwrap();
    drain(&mut clock);
    assert_eq!(kernel_frames(&clock), [4, 4, 0, 0]);
}

/// A netem may keep a frame for as long as it likes, so that it is not known to be lost.
#[test]
fn frames_that_a_netem_may_hold_are_given_up_when_nothing_has_moved_for_a_while() {
    let veths = Veths::new(2);
    let mut plan = veths.plan();
    plan["links"].as_array_mut().unwrap().iter_mut().for_each(|link| link["emulation"] = json!("netem"));
    let mut clock = common::clocked::clock(&plan, 10, &veths.all());
    veths.lose(1);
    send(&veths.kernel(0), &strays(0, 1, 0..1, 100));
    clock.load(&messages(2, &[(0, 1, 1_000)], 4_000_000_000)).unwrap();
    clock.start(Time::NEVER);
    turn_until(&mut clock, |clock| clock.report()["ports"]["leaf0:eth2"]["priorities"]["3"]["frames_tx"] == 1);
    clock.hold(&[]).unwrap();
    let began = Instant::now();
    drain(&mut clock);
    assert!(began.elapsed() >= Duration::from_millis(100), "{:?}", began.elapsed());
    assert_eq!(losses(&mut clock), json!([]));
}

#[test]
fn a_plan_that_asks_for_what_is_not_there_changes_nothing() {
    let veths = Veths::new(2);
    let mut clock = veths.clock(10);
    let mut attachments = veths.all();
    attachments[0].interface = "eth9".into();
    let refused = clock.replace(Emulation::new(&veths.plan().to_string()).unwrap(), &attachments).unwrap_err();
    assert!(refused.to_string().contains("eth9"), "{refused}");
    attachments[0].port = "eth7".into();
    let refused = clock.replace(Emulation::new(&veths.plan().to_string()).unwrap(), &attachments).unwrap_err();
    assert!(refused.to_string().contains("h0:eth7: no such port"), "{refused}");
    run_to_end(&mut clock, &exchange(20_000));
    let some = &veths.all()[1..];
    let missing = RealClock::new(Emulation::new(&veths.plan().to_string()).unwrap(), 1, some).map(|_| ()).unwrap_err();
    assert!(missing.to_string().contains("h0: port 0 has no attachment"), "{missing}");
}
