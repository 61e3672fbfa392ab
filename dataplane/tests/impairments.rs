//! Links that change while a workload runs: what is asked for happens when it is asked for, and to no other frame.

mod common;

use _dataplane::emulation::{Emulation, Progress};
use common::lab::{finish, is_delivered, started, Message, Shape, Transport};
use serde_json::{json, Value};

const MESSAGES: [Message; 1] = [Message { src: 0, dst: 1, bytes: 4_000_000, after: None }];
const TRANSPORT: Transport =
    Transport { verb: "write", mtu_bytes: 4_096, window_packets: 64, ack_every: 8, timeout_ps: 500_000_000 };
/// One switch, two hosts at 100 Gb/s, 1 µs away each: link 0 is host 0's.
const SHAPE: Shape = Shape {
    leaves: 1,
    spines: 0,
    hosts_per_leaf: 2,
    host_gbps: 100,
    spine_gbps: 100,
    host_delay_ps: 1_000_000,
    spine_delay_ps: 0,
    xoff_bytes: 100_000,
    hysteresis_bytes: 10_000,
    loss: 0.0,
    seed: 1,
};

/// Which way of link 0 host 0 sends on.
fn outward() -> usize {
    let plan = SHAPE.plan();
    let host = plan["nodes"].as_array().unwrap().iter().position(|node| node["kind"] == "host").unwrap();
    usize::from(plan["links"][0]["a"][0] != json!(host))
}

/// The transfer with these changes of host 0's link; each of them names only what changes.
fn run(changes: &[Value]) -> (Emulation, Progress, Value) {
    let mut lab = started(&SHAPE, &MESSAGES, &TRANSPORT);
    let whole = changes.iter().map(|change| {
        let mut whole = json!({"link": 0, "way": outward()});
        whole.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        whole
    });
    lab.impair(&Value::from_iter(whole).to_string()).unwrap();
    // The changes count from the next start; the schedules have begun already and do not begin twice.
    lab.start();
    let progress = finish(&mut lab, u64::MAX);
    let report = lab.report(None).json();
    (lab, progress, report)
}

fn completion_ns(report: &Value) -> u64 {
    report["flows"][0]["completion_ns"].as_u64().unwrap()
}

#[test]
fn an_empty_request_changes_nothing() {
    let (lab, progress, report) = run(&[]);
    assert_eq!(progress, Progress::Complete);
    assert!(is_delivered(&lab, &MESSAGES) && report["violations"] == json!([]), "{report}");
    // 977 frames of 4178 bytes and more, and the way of the last one: 326 µs and a little.
    assert!((326_000..330_000).contains(&completion_ns(&report)), "{}", completion_ns(&report));
}

#[test]
fn an_outage_with_drain_costs_time_and_no_frame() {
    let outage = [
        json!({"at_ps": 100_000_000, "drain": true}),
        json!({"at_ps": 101_000_000, "up": false}),
        json!({"at_ps": 201_000_000, "up": true, "drain": false}),
    ];
    let (_, progress, report) = run(&outage);
    assert_eq!(progress, Progress::Complete);
    assert_eq!(report["drops"], json!({"lossless": 0, "lossy": 0, "link": 0, "outage": 0, "malformed": 0}));
    assert_eq!(
        report["qps"][0]["retransmitted"].as_u64().unwrap() + report["qps"][1]["retransmitted"].as_u64().unwrap(),
        0
    );
    let (_, _, quiet) = run(&[]);
    let longer = completion_ns(&report) - completion_ns(&quiet);
    assert!((100_500..101_500).contains(&longer), "stopped for 101 µs: {longer}");
}

#[test]
fn an_outage_without_drain_cuts_frames_which_are_counted_and_sent_again() {
    let outage = [json!({"at_ps": 100_000_000, "up": false}), json!({"at_ps": 110_000_000, "up": true})];
    let (lab, progress, report) = run(&outage);
    assert_eq!(progress, Progress::Complete);
    assert!(is_delivered(&lab, &MESSAGES));
    let cut = report["drops"]["outage"].as_u64().unwrap();
    // 10 µs are thirty frame times of 334 ns; the one on the line when it was cut counts too.
    assert!((29..=32).contains(&cut), "{cut}");
    assert_eq!(report["conservation"]["dropped"].as_u64(), Some(cut));
    assert_eq!(report["violations"], json!([]));
    let log: Vec<u64> =
        report["impairments"].as_array().unwrap().iter().map(|entry| entry["at_ps"].as_u64().unwrap()).collect();
    assert_eq!(log, [100_000_000, 110_000_000]);
}

#[test]
fn loss_hits_the_window_and_nothing_else() {
    let certain = json!({"kind": "bernoulli", "probability": 1.0});
    let window =
        [json!({"at_ps": 50_000_000, "loss_process": certain}), json!({"at_ps": 55_000_000, "loss_process": null})];
    let (_, progress, report) = run(&window);
    assert_eq!(progress, Progress::Complete);
    let lost = report["drops"]["link"].as_u64().unwrap();
    assert!((14..=15).contains(&lost), "5 µs are fifteen frame times: {lost}");
}

#[test]
fn a_shorter_delay_never_lets_frames_overtake() {
    let jump = [
        json!({"at_ps": 0, "delay_ps": 50_000_000}),
        json!({"at_ps": 60_000_000, "delay_ps": 0, "jitter_ps": 3_000_000}),
    ];
    let (lab, progress, report) = run(&jump);
    assert_eq!((progress, is_delivered(&lab, &MESSAGES)), (Progress::Complete, true));
    assert_eq!(report["qps"].as_array().unwrap().iter().map(|qp| qp["naks_rx"].as_u64().unwrap()).sum::<u64>(), 0);
}

#[test]
fn a_slower_line_takes_longer_and_loses_nothing() {
    let (_, progress, report) = run(&[json!({"at_ps": 0, "rate_bps": 50_000_000_000u64})]);
    let (_, _, quiet) = run(&[]);
    assert_eq!(progress, Progress::Complete);
    let ratio = completion_ns(&report) as f64 / completion_ns(&quiet) as f64;
    assert!((1.97..2.0).contains(&ratio), "{ratio}");
    assert_eq!(report["drops"]["lossless"], 0);
}

#[test]
fn a_link_that_stays_down_stalls_the_workload() {
    let (_, progress, report) = run(&[json!({"at_ps": 100_000_000, "up": false})]);
    assert_eq!(progress, Progress::Stalled);
    assert_eq!(report["violations"], json!([]));
    assert!(report["qps"].as_array().unwrap().iter().any(|qp| qp["error"] == "retry exceeded"));
}
