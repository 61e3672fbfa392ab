//! The real clock on veth pairs: what goes through the kernel, what gets lost there, and how links change. Needs root, and fails without.
#![cfg(feature = "live")]

mod common;

use std::time::{Duration, Instant};

use _dataplane::emulation::Progress;
use _dataplane::units::Time;
use common::clocked::{exchange, in_memory, messages, run, run_to_end, took_ps, turn_for, turn_until};
use common::veth_lab::{drain, kernel_frames, kernel_of, losses, received, replace, send, stray, strays, Veths};
use serde_json::json;

#[test]
fn frames_go_through_the_kernel_as_if_they_went_through_memory() {
    let veths = Veths::new(2);
    let mut clock = veths.clock(1_000);
    let real = run_to_end(&mut clock, &exchange(100_000));
    let exact = run_to_end(&mut in_memory(2, 10), &exchange(100_000));
    for key in ["conservation", "drops", "violations"] {
        assert_eq!(real[key], exact[key], "{key}");
    }
    let (real_ps, exact_ps) = (took_ps(&real), took_ps(&exact));
    assert!(real_ps.abs_diff(exact_ps) < exact_ps / 4, "{real_ps} and {exact_ps}");
    let figures = clock.fidelity();
    assert_eq!((figures.socket_drops, figures.overflow), (0, 0));
    assert!(figures.lost_in_kernel.is_empty() && figures.refused.is_empty() && figures.kernel_drops.is_empty());
    assert!(figures.cpu_share > 0.0 && figures.cpu_share <= 1.0, "{figures:?}");
    let timed: Vec<_> = figures.delays.iter().map(|delay| (delay.link, delay.way)).collect();
    assert_eq!(timed, [(0, 0), (0, 1), (1, 0), (1, 1)]);
    assert!(figures.delays.iter().all(|delay| delay.count > 0 && delay.mean_ns >= 5), "{figures:?}");
    // The lab's figures are the run's as long as there was only one.
    let of_lab = clock.telemetry();
    assert_eq!((of_lab.ranks_finished, of_lab.fidelity.lateness_ns.max), (2, figures.lateness_ns.max));
    clock.close();
}

#[test]
fn frames_that_leave_later_than_the_network_may_notice_are_counted() {
    let veths = Veths::new(2);
    // No machine hands a frame over within the nanosecond that three frame times of 100 Gbit/s are at this dilation.
    let mut clock = veths.clock(1);
    clock.begin_span(None);
    let busy = run_to_end(&mut clock, &exchange(400_000));
    let first = clock.fidelity();
    assert!(first.lateness_ns.max > 1_000 && first.late_frames > 0, "{first:?}");
    assert!(busy["fidelity"]["late_frames"].as_u64() == Some(first.late_frames));
    clock.begin_span(None);
    let second = clock.fidelity();
    assert_eq!((second.late_frames, second.lateness_ns.max), (0, 0));
    assert_eq!(clock.telemetry().fidelity.late_frames, first.late_frames);
}

#[test]
fn what_kernels_send_reaches_kernels_and_is_counted_by_itself() {
    let veths = Veths::new(3);
    let mut clock = veths.clock(10);
    let (from, to, other) = (veths.kernel(0), veths.kernel(1), veths.kernel(2));
    let frames = strays(0, 1, 1..6, 200);
    send(&from, &frames);
    assert_eq!(received(&mut clock, &to, kernel_of(1), 5), [1, 2, 3, 4, 5]);
    assert_eq!(kernel_frames(&clock), [5, 5, 0, 0]);
    // They have left the fabric: time does not wait for them to come back, nor are they lost.
    let until = clock.emulation.fabric.now() + Time::from_ns(10_000);
    turn_until(&mut clock, |clock| clock.has_come(until));
    assert!(clock.fidelity().lost_in_kernel.is_empty(), "{:?}", clock.fidelity());
    // Nobody else hears of them, and none comes twice.
    send(&other, &[stray(kernel_of(2), kernel_of(1), 9, 60)]);
    assert_eq!(received(&mut clock, &to, kernel_of(1), 1), [9]);
    assert_eq!(clock.report()["conservation"]["sent"], 0);
    assert_eq!(clock.progress(), Progress::Complete);
    // They go on while a workload runs, which they do not disturb.
    clock.load(&exchange(50_000)).unwrap();
    send(&from, &frames);
    assert_eq!(run(&mut clock), Progress::Complete);
    assert_eq!(received(&mut clock, &to, kernel_of(1), 5), [1, 2, 3, 4, 5]);
    let report = clock.report();
    assert_eq!((&report["violations"], &report["drops"]["lossless"]), (&json!([]), &json!(0)));
    assert_eq!(kernel_frames(&clock), [11, 11, 0, 0]);
    assert!(clock.fidelity().kernel_drops.is_empty());
}

#[test]
fn frames_that_nobody_can_read_are_counted_where_they_came_in() {
    let veths = Veths::new(2);
    let mut clock = veths.clock(10);
    // Truncated RoCEv2 to a NIC, from a kernel, and a frame from the far side that its NIC cannot read.
    let to_nic = stray(kernel_of(0), 2, 7, 60);
    send(&veths.kernel(0), std::slice::from_ref(&to_nic));
    turn_until(&mut clock, |clock| clock.report()["drops"]["malformed"] == 1);
    assert_eq!(kernel_frames(&clock), [1, 0, 1, 0]);
}

#[test]
fn a_kernel_that_sends_faster_than_nominal_time_goes_loses_what_finds_no_room() {
    let veths = Veths::new(2);
    let mut clock = veths.clock(1_000_000);
    let from = veths.kernel(0);
    let frames = strays(0, 1, 0..100, 4_200);
    // 4 MiB wait at most, a thousand of these.
    for _ in 0..12 {
        send(&from, &frames);
        turn_for(&mut clock, Duration::from_millis(3));
    }
    turn_until(&mut clock, |clock| !clock.fidelity().kernel_drops.is_empty());
    let drops = clock.fidelity().kernel_drops;
    assert!(drops.keys().eq(["h0:eth1"]) && drops["h0:eth1"] < 250, "{drops:?}");
    clock.begin_span(None);
    assert!(clock.fidelity().kernel_drops.is_empty());
    assert_eq!(clock.telemetry().fidelity.kernel_drops, drops);
}

#[test]
fn a_frame_too_long_to_receive_is_one_for_which_there_was_no_room() {
    let veths = Veths::with_mtu(2, 16_000);
    let mut clock = veths.clock(10);
    send(&veths.kernel(0), &[stray(kernel_of(0), kernel_of(1), 1, 12_000)]);
    turn_until(&mut clock, |clock| clock.fidelity().overflow == 1);
    clock.begin_span(None);
    assert_eq!((clock.fidelity().overflow, clock.telemetry().fidelity.overflow), (0, 1));
    send(&veths.kernel(0), &[stray(kernel_of(0), kernel_of(1), 1, 12_000)]);
    turn_until(&mut clock, |clock| clock.fidelity().overflow == 1);
    assert_eq!(clock.telemetry().fidelity.overflow, 2);
    // Counts of the lab begin anew with its links.
    clock.hold(&[]).unwrap();
    drain(&mut clock);
    losses(&mut clock);
    assert_eq!((clock.fidelity().overflow, clock.telemetry().fidelity.overflow), (0, 0));
}

#[test]
fn frames_that_a_full_queue_of_the_kernel_turns_away_are_sent_again() {
    let veths = Veths::new(2);
    let mut plan = veths.plan();
    // Time does not wait for what a netem may hold.
    plan["links"][1]["emulation"] = json!("netem");
    let mut clock = common::clocked::clock(&plan, 1_000, &veths.all());
    veths.tc(1, "qdisc add dev p1 root tbf rate 1mbit burst 5000 limit 9000");
    // 5 us of the network are 5 ms of the wall, and what gets through in these is 625 bytes.
    let report = run_to_end(&mut clock, &messages(2, &[(0, 1, 60_000)], 4_000_000_000));
    let figures = clock.fidelity();
    assert!(figures.turned_away.keys().eq(["leaf0:eth2"]), "{figures:?}");
    assert_eq!((figures.overflow, figures.lost_in_kernel.len()), (0, 0), "{figures:?}");
    assert_eq!(report["conservation"]["sent"], report["conservation"]["delivered"]);
    clock.begin_span(None);
    assert!(clock.fidelity().turned_away.is_empty());
    assert!(clock.telemetry().fidelity.turned_away == figures.turned_away);
}

#[test]
fn frames_that_an_interface_refuses_are_counted_and_not_waited_for() {
    let veths = Veths::new(2);
    let mut clock = veths.clock(100);
    veths.pair.set_link(0, "down");
    clock.load(&messages(2, &[(0, 1, 20_000)], 1_000_000)).unwrap();
    assert_eq!(run(&mut clock), Progress::Stalled);
    let figures = clock.fidelity();
    assert!(figures.refused.keys().eq(["h0:eth1"]) && figures.refused["h0:eth1"] >= 5, "{figures:?}");
    assert!(figures.lost_in_kernel.is_empty() && figures.overflow == 0, "{figures:?}");
    clock.begin_span(None);
    assert!(clock.fidelity().refused.is_empty());
    assert_eq!(clock.telemetry().fidelity.refused, figures.refused);
}

#[test]
fn a_frame_that_the_kernel_loses_is_named_after_its_sender() {
    let veths = Veths::new(2);
    let mut clock = veths.clock(100);
    veths.lose(1);
    clock.load(&messages(2, &[(0, 1, 5_000)], 1_000_000)).unwrap();
    assert_eq!(run(&mut clock), Progress::Stalled);
    let lost = clock.fidelity().lost_in_kernel;
    assert!(lost.keys().eq(["leaf0:eth2"]), "{lost:?}");
    clock.begin_span(None);
    assert!(clock.fidelity().lost_in_kernel.is_empty());
    assert_eq!(clock.telemetry().fidelity.lost_in_kernel, lost);
}

#[test]
fn a_workload_that_is_done_waits_a_second_for_frames_that_the_kernel_has_lost() {
    let veths = Veths::new(2);
    let mut clock = veths.clock(10);
    veths.lose(1);
    clock.load(&messages(2, &[(0, 1, 5_000)], 1_000_000_000)).unwrap();
    clock.start(Time::NEVER);
    turn_until(&mut clock, |clock| !clock.fidelity().lost_in_kernel.is_empty());
    veths.lose_no_more(1);
    // What was lost is sent again.
    turn_until(&mut clock, |clock| clock.emulation.is_complete());
    let done = Instant::now();
    assert_eq!(run(&mut clock), Progress::Complete);
    assert!(done.elapsed() >= Duration::from_millis(990), "{:?}", done.elapsed());
    let again = Instant::now();
    assert_eq!(clock.progress(), Progress::Complete);
    assert!(again.elapsed() < Duration::from_millis(500));
    let report = clock.report();
    assert!(report["conservation"]["sent"].as_u64() > report["conservation"]["delivered"].as_u64());
}

#[test]
fn time_stands_still_while_the_kernel_keeps_a_frame_unless_a_netem_is_to_keep_it() {
    let veths = Veths::new(2);
    let mut clock = veths.clock(100);
    let quick_ps = took_ps(&run_to_end(&mut clock, &exchange(50_000)));
    veths.tc(1, "qdisc add dev p1 root tbf rate 16mbit burst 5000 limit 1mb");
    let slow_ps = took_ps(&run_to_end(&mut clock, &exchange(50_000)));
    // 50 kB at 16 Mbit/s take 25 ms: 250 µs, if time went on.
    assert!(slow_ps < 2 * quick_ps.max(10_000_000), "{quick_ps} and {slow_ps}");
    let mut plan = veths.plan();
    plan["links"].as_array_mut().unwrap().iter_mut().for_each(|link| link["emulation"] = json!("netem"));
    clock.hold(&[]).unwrap();
    drain(&mut clock);
    replace(&mut clock, &plan, &veths.all());
    losses(&mut clock);
    let imposed_ps = took_ps(&run_to_end(&mut clock, &exchange(50_000)));
    assert!(imposed_ps > 200_000_000, "{imposed_ps}");
}
