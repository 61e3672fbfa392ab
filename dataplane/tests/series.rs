//! Series: what is recorded is what the fabric held at each multiple of the period, to the byte.

mod common;

use _dataplane::clock::virtual_clock::run_until;
use _dataplane::emulation::{Emulation, Progress};
use _dataplane::fabric::Recording;
use _dataplane::units::Time;
use _dataplane::watch::series::{SeriesPlan, Subject};
use common::lab::{finish, workload, Message, Shape, Transport, LOSSLESS};

/// A packet of a SEND with 1024 bytes of payload, all headers and FCS; and with preamble and gap, what it takes of a line.
const FRAME_BYTES: u64 = 14 + 20 + 8 + 12 + 1_024 + 4 + 4;
const FRAME_PS: u64 = (FRAME_BYTES + 20) * 80;
const DELAY_PS: u64 = 7_000;
/// The switch of three hosts, which is the fourth node, and its port to the first of them.
const SWITCH: usize = 3;

fn shape(xoff_bytes: u64) -> Shape {
    Shape {
        leaves: 1,
        spines: 0,
        hosts_per_leaf: 3,
        host_gbps: 100,
        spine_gbps: 100,
        host_delay_ps: DELAY_PS,
        spine_delay_ps: 0,
        xoff_bytes,
        hysteresis_bytes: 1_000,
        loss: 0.0,
        seed: 1,
    }
}

/// Two hosts that send to the first one at once, recorded from the start on; nothing has happened yet.
fn incast(xoff_bytes: u64, packets: u64, plan: SeriesPlan) -> Emulation {
    let transport = Transport {
        verb: "send",
        mtu_bytes: 1_024,
        window_packets: 10_000,
        ack_every: 4,
        timeout_ps: 1_000_000_000_000,
    };
    let messages = [1, 2].map(|src| Message { src, dst: 0, bytes: packets * 1_024, after: None });
    let mut lab = Emulation::new(&shape(xoff_bytes).plan().to_string()).expect("a sound plan");
    lab.load(&workload(3, &messages, &transport).to_string()).expect("a sound workload");
    lab.record_series(plan);
    lab.start();
    lab
}

fn plan(period_ps: u64, points: u32) -> SeriesPlan {
    SeriesPlan { period_ps, points, changes: 1_000_000 }
}

/// The values of a track at every point.
fn dense(recording: &Recording, node: usize, wanted: Subject) -> Vec<u64> {
    let of_node = &recording.nodes.iter().find(|(number, _)| *number == node).expect("recorded").1;
    let track = of_node.iter().find(|(subject, _)| *subject == wanted).map(|(_, track)| track);
    let mut values = vec![0; recording.points as usize];
    for (point, value) in track.iter().flat_map(|track| track.points.iter().zip(&track.values)) {
        values[*point as usize..].fill(*value);
    }
    values
}

fn at_port(port: u16, quantity: &'static str) -> Subject {
    Subject::Port { port, priority: LOSSLESS, quantity }
}

/// Frame k of both hosts is in the switch at `delay + k·t`, and the k-th of all begins to leave then: between that and the next frame
/// time k frames wait, until all have come; from there on one fewer each time.
#[test]
fn a_two_to_one_incast_fills_the_queue_by_a_frame_each_frame_time() {
    const PACKETS: u64 = 100;
    const PERIOD_PS: u64 = 123_457;
    let mut lab = incast(1_000_000, PACKETS, plan(PERIOD_PS, 4_000));
    assert_eq!(finish(&mut lab, 1_000), Progress::Complete);
    let recording = lab.fabric.end_recording().expect("recorded");
    let queue = dense(&recording, SWITCH, at_port(0, "queue_bytes"));
    let sent = dense(&recording, SWITCH, at_port(0, "bytes_tx"));
    let [one, two] = [1, 2].map(|port| dense(&recording, SWITCH, at_port(port, "shared_bytes")));
    let mut fullest = 0;
    for point in 0..recording.points {
        let left = (point * PERIOD_PS).saturating_sub(DELAY_PS) / FRAME_PS;
        let waiting = if left <= PACKETS { left } else { (2 * PACKETS).saturating_sub(left) };
        let at = point as usize;
        assert_eq!(queue[at], waiting * FRAME_BYTES, "point {point}");
        assert_eq!(sent[at], left.min(2 * PACKETS) * FRAME_BYTES, "point {point}");
        assert_eq!(one[at] + two[at], queue[at], "point {point}");
        fullest = fullest.max(waiting);
    }
    assert!(fullest >= PACKETS - 1 && recording.points * PERIOD_PS > 2 * PACKETS * FRAME_PS, "{fullest}");
}

/// Record with pauses, and hold every point against a fabric that is run to that instant and looked at.
#[test]
fn every_point_is_what_the_fabric_holds_at_that_instant() {
    const PERIOD_PS: u64 = 200_000;
    let mut lab = incast(20_000, 300, plan(PERIOD_PS, 4_000));
    assert_eq!(finish(&mut lab, 1_000), Progress::Complete);
    let recording = lab.fabric.end_recording().expect("recorded");
    let names = ["bytes_tx", "queue_bytes", "shared_bytes", "headroom_bytes", "paused", "paused_ns"];
    let mut seen = incast(20_000, 300, plan(PERIOD_PS, 4_000));
    let mut recorded = Vec::new();
    for node in 0..4 {
        for port in 0..if node == SWITCH { 3 } else { 1 } {
            recorded.push((node, port, names.map(|name| dense(&recording, node, at_port(port, name)))));
        }
    }
    let mut pauses = 0;
    for point in 0..recording.points {
        let at = Time::from_ps(point * PERIOD_PS);
        assert!(run_until(&mut seen, at, u64::MAX));
        for (node, number, values) in &recorded {
            let node = seen.fabric.node(*node);
            let port = &node.ports()[usize::from(*number)];
            let group = node.switch().map(|switch| switch.buffer().group(*number, LOSSLESS));
            let paused = port.is_paused(LOSSLESS, at);
            let expected = [
                port.counters[LOSSLESS].bytes_tx,
                port.queue_bytes(LOSSLESS),
                group.map_or(0, |group| group.shared()),
                group.map_or(0, |group| group.headroom()),
                u64::from(paused),
                port.paused_time(LOSSLESS, at).ns(),
            ];
            let values: Vec<u64> = values.iter().map(|values| values[point as usize]).collect();
            assert_eq!(values, expected, "{number} at point {point}");
            pauses += u64::from(paused);
        }
    }
    assert!(pauses > 10, "{pauses} points of a port in pause");
}

#[test]
fn many_points_come_to_between_half_the_bound_and_the_bound() {
    let mut lab = incast(20_000, 3_000, plan(10_000, 100));
    finish(&mut lab, 1_000);
    let coarse = lab.fabric.end_recording().expect("recorded");
    assert!((50..=101).contains(&coarse.points), "{}", coarse.points);
    let period_ps = coarse.period.ps();
    assert!(period_ps > 10_000 && (period_ps / 10_000).is_power_of_two(), "{period_ps}");
    let mut lab = incast(20_000, 3_000, plan(period_ps, 4_000));
    finish(&mut lab, 1_000);
    let fine = lab.fabric.end_recording().expect("recorded");
    for name in ["bytes_tx", "queue_bytes", "paused_ns"] {
        for (node, port) in [(1, 0), (SWITCH, 0), (SWITCH, 2)] {
            let track = at_port(port, name);
            assert_eq!(dense(&coarse, node, track), dense(&fine, node, track), "{name} of {node}");
        }
    }
}

/// With few changes allowed the period is doubled until they suffice; what is left is still what was held.
#[test]
fn memory_is_bounded_by_changes() {
    let few = SeriesPlan { period_ps: 10_000, points: 1_000_000, changes: 2_000 };
    let mut lab = incast(20_000, 3_000, few);
    finish(&mut lab, 1_000);
    let recording = lab.fabric.end_recording().expect("recorded");
    let changes: usize =
        recording.nodes.iter().flat_map(|(_, tracks)| tracks).map(|(_, track)| track.points.len()).sum();
    assert!(changes <= 2_000, "{changes}");
    let sent = dense(&recording, SWITCH, at_port(0, "bytes_tx"));
    assert_eq!(*sent.last().expect("points"), 6_000 * FRAME_BYTES);
}

/// A rank is as far as its finished ops, and nothing changes where it is looked at: events, hash and report are the same.
#[test]
fn recording_changes_nothing() {
    let mut plain = incast(20_000, 300, plan(1_000_000, 4_000));
    let _ = plain.series();
    finish(&mut plain, 1_000);
    let mut recorded = incast(20_000, 300, plan(1_000, 4_000));
    finish(&mut recorded, 1_000);
    assert_eq!(plain.report(None).json(), recorded.report(None).json());
    let recording = recorded.fabric.end_recording().expect("recorded");
    let steps = dense(&recording, 0, Subject::Rank(0));
    assert_eq!((steps[0], *steps.last().expect("points")), (0, 2), "both messages have arrived");
    assert!(recorded.fabric.end_recording().is_none() && plain.series().is_empty());
}
