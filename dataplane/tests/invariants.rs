//! The checkers themselves: each invariant, broken on purpose, is reported once, with its place and time; kept, it is silent.

mod common;

use std::collections::{HashMap, HashSet};

use _dataplane::clock::virtual_clock;
use _dataplane::credit::Grant;
use _dataplane::event::{Event, Transmission};
use _dataplane::frame::Frame;
use _dataplane::priority::Priority;
use _dataplane::units::Time;
use _dataplane::watch::{match_up, Flow, Violation, Watch};
use _dataplane::wire::credit::Credit;
use common::frames::{frame, gbps, ns, pause, pfc};
use common::lab::{started, Message, Shape, Transport};

const QPN: u32 = 17;

/// The observer of a node of one port at 100 Gb/s that answers a PAUSE frame within 1 µs, and has one connection.
fn watch() -> Watch {
    let mut watch = Watch::new(vec![(gbps(100), ns(1_000))]);
    watch.load(1, 1, 0, Time::ZERO, false);
    watch
}

fn transmit(watch: &mut Watch, at: Time, frame: &Frame) {
    watch.transmission(&Transmission { node: 0, port: 0, at, frame });
}

fn paused(watch: &mut Watch, times: &[(Priority, u16)], at: Time) {
    watch.event(&Event::PauseReceived { port: 0, pfc: pfc(times), request: None }, at);
}

fn posted(message: u64) -> Event {
    Event::SendPosted { qpn: QPN, end: 0, message, bytes: 100 }
}

fn arrived(message: u64, bytes: u64) -> Event {
    Event::MessageArrived { qpn: QPN, end: 1, message, bytes }
}

#[test]
fn a_frame_that_starts_during_a_pause_is_a_violation() {
    let mut watch = watch();
    let data = frame(0, 1, Priority::P3, 1_000);
    paused(&mut watch, &[(Priority::P3, 1_000)], Time::ZERO);
    transmit(&mut watch, Time::from_ps(999_999), &data);
    transmit(&mut watch, ns(2_000), &frame(0, 1, Priority::P4, 1_000));
    transmit(&mut watch, ns(2_000), &pause(&[(Priority::P3, 0)]));
    transmit(&mut watch, ns(5_120), &data);
    assert_eq!(watch.violations, [], "response time, other priorities, PAUSE frames, and the end of the pause");
    transmit(&mut watch, ns(1_000), &data);
    transmit(&mut watch, Time::from_ps(5_119_999), &data);
    assert_eq!(watch.violation_count, 2);
    assert_eq!(watch.violations[0].0, ns(1_000), "{:?}", watch.violations);
}

#[test]
fn a_frame_that_starts_without_credit_is_a_violation() {
    let mut watch = watch();
    watch.grant(0, &[Grant { priority: Priority::P3, block_bytes: 64, blocks: 20, update_blocks: 1 }]);
    let ten_blocks = frame(0, 1, Priority::P3, 640);
    transmit(&mut watch, ns(1), &ten_blocks);
    transmit(&mut watch, ns(2), &ten_blocks);
    transmit(&mut watch, ns(3), &frame(0, 1, Priority::P4, 1_000));
    transmit(&mut watch, ns(4), &pause(&[(Priority::P3, 0)]));
    let update = Credit { priority: Priority::P3, request: false, sent: 0, limit: 30 };
    watch.event(&Event::CreditReceived { port: 0, credit: update }, ns(5));
    transmit(&mut watch, ns(6), &ten_blocks);
    assert_eq!(watch.violations, [], "within credit, of another priority, a control frame");
    transmit(&mut watch, ns(7), &frame(0, 1, Priority::P3, 64));
    assert_eq!(watch.violations, [(ns(7), "port 0: a frame of priority 3 starts without credit".to_owned())]);
}

#[test]
fn the_checker_knows_xon_and_renewals() {
    let mut watch = watch();
    let data = frame(0, 1, Priority::P3, 1_000);
    paused(&mut watch, &[(Priority::P3, 1_000)], Time::ZERO);
    paused(&mut watch, &[(Priority::P3, 1_000)], ns(4_000));
    transmit(&mut watch, ns(5_200), &data);
    assert_eq!(watch.violation_count, 1, "renewed: no new response time");
    paused(&mut watch, &[(Priority::P3, 0)], ns(6_000));
    transmit(&mut watch, ns(6_000), &data);
    assert_eq!(watch.violation_count, 1, "XON ends a pause at once");
}

#[test]
fn a_gap_in_the_accepted_numbers_is_a_violation() {
    let mut watch = watch();
    for psn in [0, 1, 2] {
        watch.event(&Event::Accepted { qp: 0, psn }, ns(psn));
    }
    assert_eq!(watch.violation_count, 0);
    watch.event(&Event::Accepted { qp: 0, psn: 4 }, ns(4));
    watch.event(&Event::Accepted { qp: 0, psn: 5 }, ns(5));
    watch.event(&Event::Accepted { qp: 0, psn: 5 }, ns(6));
    assert_eq!(watch.violation_count, 2, "{:?}", watch.violations);
    assert!(watch.violations[0].1.contains("PSN 4 accepted, 3 was due"), "{:?}", watch.violations);
}

#[test]
fn a_packet_on_a_connection_that_nobody_loaded_is_a_violation() {
    let mut watch = watch();
    watch.event(&Event::Accepted { qp: 1, psn: 0 }, ns(1_000));
    assert_eq!(watch.violations, [(ns(1_000), "connection 1: PSN 0 accepted, none was loaded".to_owned())]);
}

/// What the observers of two nodes make of events of which the first node sees what is posted, and the second what arrives.
fn messages(events: &[Event]) -> (Vec<Flow>, Vec<Violation>) {
    let mut watches = [watch(), watch()];
    for (event, at) in events.iter().zip(5..) {
        watches[usize::from(matches!(event, Event::MessageArrived { .. }))].event(event, ns(at));
    }
    match_up(watches.iter(), &HashMap::from([(QPN, [0, 1])]), &HashSet::new())
}

#[test]
fn messages_complete_once_whole_and_only_if_posted() {
    let broken: [(&[Event], u32, &str); 4] = [
        (&[posted(0), arrived(0, 100), arrived(0, 100)], 1, "arrived twice"),
        (&[posted(0), arrived(0, 99)], 1, "has 99 bytes of 100"),
        (&[posted(0), arrived(1, 100)], 1, "never posted"),
        (&[posted(0), posted(0)], 0, "posted twice"),
    ];
    for (events, node, complaint) in broken {
        let (_, faults) = messages(events);
        assert_eq!(faults.len(), 1, "{complaint}");
        assert_eq!((faults[0].node, faults[0].at), (node, ns(4 + events.len() as u64)));
        assert!(faults[0].text.contains(complaint), "{faults:?}");
    }
    let (flows, faults) = messages(&[posted(0), posted(1), arrived(0, 100)]);
    let flow = |start, completion| Flow { src: 0, dst: 1, qpn: 17, bytes: 100, start: ns(start), completion };
    assert_eq!(flows, [flow(5, Some(ns(7))), flow(6, None)]);
    assert!(faults.is_empty(), "{faults:?}");
}

#[test]
fn a_rank_finishes_once() {
    let mut watch = watch();
    watch.event(&Event::SendFinished { qpn: QPN, message: 0 }, ns(11));
    watch.event(&Event::RankFinished { rank: 0 }, ns(11));
    assert_eq!((watch.violation_count, watch.finished.clone()), (0, vec![Some(ns(11))]));
    watch.event(&Event::RankFinished { rank: 0 }, ns(12));
    assert_eq!(watch.violation_count, 1);
    assert!(watch.violations[0].1.contains("finished twice"));
}

/// A frame that hides from the accounts is missed.
#[test]
fn a_frame_that_vanishes_breaks_conservation() {
    let shape = Shape {
        leaves: 1,
        spines: 0,
        hosts_per_leaf: 2,
        host_gbps: 100,
        spine_gbps: 100,
        host_delay_ps: 1_000_000,
        spine_delay_ps: 0,
        xoff_bytes: 100_000,
        hysteresis_bytes: 0,
        loss: 0.0,
        seed: 1,
    };
    let messages = [Message { src: 0, dst: 1, bytes: 50_000, after: None }];
    let transport =
        Transport { verb: "write", mtu_bytes: 1_024, window_packets: 64, ack_every: 8, timeout_ps: 100_000_000 };
    let mut lab = started(&shape, &messages, &transport);
    for _ in 0..20 {
        virtual_clock::advance(&mut lab, 1);
    }
    assert_eq!(lab.report(None).json()["violations"], serde_json::json!([]));
    let stolen = (0..lab.fabric.directions()).find_map(|direction| lab.fabric.cut(direction));
    assert!(stolen.is_some(), "frames are in flight");
    let violations = lab.report(None).json()["violations"].to_string();
    assert!(violations.contains("conservation"), "{violations}");
}

#[test]
fn the_log_tells_runs_apart_by_order_place_and_content() {
    let run = |frames: &[(u64, Frame)]| {
        let mut watch = watch();
        frames.iter().for_each(|(at, frame)| transmit(&mut watch, ns(*at), frame));
        watch.hash()
    };
    let (one, two) = (frame(0, 1, Priority::P3, 1_000), frame(0, 1, Priority::P3, 1_001));
    let runs = [
        run(&[]),
        run(&[(1, one.clone())]),
        run(&[(2, one.clone())]),
        run(&[(1, two.clone())]),
        run(&[(1, frame(0, 1, Priority::P4, 1_000))]),
        run(&[(1, frame(1, 0, Priority::P3, 1_000))]),
        run(&[(1, one.clone()), (2, two.clone())]),
        run(&[(1, two), (2, one)]),
    ];
    for (index, hash) in runs.iter().enumerate() {
        assert!(!runs[..index].contains(hash), "run {index} looks like another");
    }
}

#[test]
fn messages_that_are_put_together_are_one_flow_and_still_checked() {
    let (mut sender, mut receiver) = (watch(), watch());
    sender.load(1, 1, 0, Time::ZERO, true);
    receiver.load(1, 1, 0, Time::ZERO, true);
    let ends = HashMap::from([(QPN, [0, 1])]);
    let flows = |watches: [&Watch; 2]| match_up(watches.into_iter(), &ends, &HashSet::new());
    sender.event(&posted(0), ns(1));
    sender.event(&posted(1), ns(2));
    receiver.event(&arrived(0, 100), ns(5));
    let flow = Flow { src: 0, dst: 1, qpn: QPN, bytes: 200, start: ns(1), completion: None };
    assert_eq!(flows([&sender, &receiver]).0, std::slice::from_ref(&flow), "the second has not arrived");
    receiver.event(&arrived(1, 100), ns(9));
    let (complete, faults) = flows([&sender, &receiver]);
    assert_eq!(complete, [Flow { completion: Some(ns(9)), ..flow }]);
    assert!(faults.is_empty() && receiver.violation_count == 0);
    receiver.event(&arrived(1, 100), ns(10));
    assert_eq!(receiver.violation_count, 1, "a message that arrives twice");
}
