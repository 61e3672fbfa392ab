//! One egress port: who is served, what a PAUSE frame stops, and when the next frame starts, to the picosecond.

mod common;

use _dataplane::port::{Port, PortConfig};
use _dataplane::priority::Priority;
use _dataplane::units::Time;
use common::frames::{frame, gbps, ns, pause, pfc, ps, strict};
use proptest::prelude::*;

/// DWRR credit of weight 1 for a round.
const QUANTUM_BYTES: u64 = 9_300;
/// 1000 bytes of frame and 20 of preamble and gap at 100 Gb/s.
const SLOT_PS: u64 = 1_020 * 80;
/// One pause quantum at 100 Gb/s.
const PAUSE_QUANTUM_PS: u64 = 5_120;

/// A port at 100 Gb/s on which `frames` frames of 1000 bytes wait, of each of the priorities.
fn loaded(response: Time, priorities: &[u8], frames: usize) -> Port {
    let mut port = Port::new(PortConfig { response, ..strict(gbps(100)) });
    for &priority in priorities {
        (0..frames).for_each(|_| port.enqueue(frame(0, 1, Priority::from_bits(priority), 1_000).into()));
    }
    port
}

/// Let the port send from `now` until `until`, and write down what starts when.
fn run(port: &mut Port, mut now: Time, until: Time) -> Vec<(u64, u8)> {
    let mut starts = Vec::new();
    while now < until {
        while let Some(frame) = port.dequeue(now) {
            starts.push((now.ps(), frame.priority.number()));
        }
        let next = port.next_start(now);
        assert!(next > now, "the port asks to be woken at once, and does nothing");
        now = next;
    }
    starts
}

#[test]
fn frames_follow_each_other_at_line_rate() {
    let mut port = loaded(Time::ZERO, &[3], 3);
    assert_eq!(run(&mut port, ns(7), Time::NEVER), [(7_000, 3), (7_000 + SLOT_PS, 3), (7_000 + 2 * SLOT_PS, 3)]);
    assert_eq!(port.next_start(ns(7)), Time::NEVER);
    assert!(port.is_empty());
    assert_eq!(port.queue_bytes(Priority::P3), 0);
    assert_eq!(port.queue_marks(Priority::P3), (3_000, 0));
}

#[test]
fn strict_priorities_go_highest_first_and_before_weighted_ones() {
    let weights = [1, 0, 1, 0, 0, 0, 0, 0];
    let mut port = Port::new(PortConfig { weights, ..strict(gbps(100)) });
    for priority in [Priority::P0, Priority::P1, Priority::P2, Priority::P7, Priority::P3] {
        port.enqueue(frame(0, 1, priority, 500).into());
    }
    let order: Vec<u8> = run(&mut port, Time::ZERO, Time::NEVER).into_iter().map(|(_, priority)| priority).collect();
    assert_eq!(order, [7, 3, 1, 0, 2]);
}

/// After every whole round each queue has had its weight's worth of bytes, but for less than a frame it could not fit in.
#[test]
fn weights_divide_the_line_within_a_frame() {
    let mut port = Port::new(PortConfig { weights: [1, 2, 5, 0, 0, 0, 0, 0], ..strict(gbps(100)) });
    let lengths = [1_500u16, 9_216, 700];
    for (priority, length) in lengths.into_iter().enumerate() {
        (0..4_000).for_each(|_| port.enqueue(frame(0, 1, Priority::ALL[priority], length).into()));
    }
    let (mut sent, mut last, mut rounds, mut now) = ([0u64; 3], Priority::P0, 0, Time::ZERO);
    while rounds < 50 {
        let frame = port.dequeue(now).expect("no queue runs dry");
        if frame.priority < last {
            rounds += 1;
            for (priority, weight) in [1, 2, 5].into_iter().enumerate() {
                let missing = (rounds * weight * QUANTUM_BYTES).checked_sub(sent[priority]);
                let missing = missing.expect("no queue has more than its share");
                assert!(missing < u64::from(lengths[priority]), "round {rounds}: {missing} short on {priority}");
            }
        }
        last = frame.priority;
        sent[frame.priority.index()] += u64::from(frame.buffer_bytes());
        now = port.next_start(now);
    }
}

#[test]
fn a_paused_queue_leaves_its_share_to_the_others_and_saves_nothing_up() {
    let mut port = Port::new(PortConfig { weights: [1; 8], ..strict(gbps(100)) });
    (0..200).for_each(|_| port.enqueue(frame(0, 1, Priority::P0, 1_000).into()));
    (0..200).for_each(|_| port.enqueue(frame(0, 1, Priority::P1, 1_000).into()));
    port.pause(&pfc(&[(Priority::P0, 1_000)]), Time::ZERO);
    let end = 1_000 * PAUSE_QUANTUM_PS;
    let starts = run(&mut port, Time::ZERO, Time::NEVER);
    let before = starts.iter().filter(|(at, _)| *at < end).count() as u64;
    assert_eq!(before, end.div_ceil(SLOT_PS));
    assert!(starts.iter().take_while(|(at, _)| *at < end).all(|(_, priority)| *priority == 1));
    let after: Vec<u8> = starts.iter().filter(|(at, _)| *at >= end).take(40).map(|(_, priority)| *priority).collect();
    let share = after.iter().filter(|priority| **priority == 0).count();
    assert!((18..=22).contains(&share), "{share} of 40 frames once the pause is over");
}

#[test]
fn frames_may_start_until_the_response_time_is_over_and_none_after() {
    let mut port = loaded(ns(2_000), &[3], 100);
    port.pause(&pfc(&[(Priority::P3, 1_000)]), Time::ZERO);
    let starts = run(&mut port, Time::ZERO, Time::NEVER);
    let before: Vec<u64> = starts.iter().map(|(at, _)| *at).take_while(|at| *at < 2_000_000).collect();
    assert_eq!(before.len() as u64, 2_000_000u64.div_ceil(SLOT_PS));
    assert_eq!(starts[before.len()].0, 1_000 * PAUSE_QUANTUM_PS, "the first frame after the pause");
    assert_eq!(port.paused_time(Priority::P3, Time::NEVER).ps(), 1_000 * PAUSE_QUANTUM_PS - 2_000_000);
}

#[test]
fn a_pause_shorter_than_the_response_time_stops_nothing() {
    let mut port = loaded(ns(2_000), &[3], 100);
    port.pause(&pfc(&[(Priority::P3, 300)]), Time::ZERO);
    let starts = run(&mut port, Time::ZERO, Time::NEVER);
    assert_eq!(starts[99].0, 99 * SLOT_PS);
    assert_eq!(port.paused_time(Priority::P3, Time::NEVER), Time::ZERO);
}

#[test]
fn a_new_time_replaces_the_remaining_one() {
    for (second, end) in [(2_000, 100_000_000 + 2_000 * PAUSE_QUANTUM_PS), (10, 100_000_000 + 10 * PAUSE_QUANTUM_PS)] {
        let mut port = loaded(Time::ZERO, &[3], 1);
        port.pause(&pfc(&[(Priority::P3, u16::MAX)]), Time::ZERO);
        port.pause(&pfc(&[(Priority::P3, second)]), ns(100_000));
        assert_eq!(port.next_start(ns(100_000)).ps(), end);
        assert!(port.dequeue(ps(end - 1)).is_none());
        assert!(port.dequeue(ps(end)).is_some());
        assert_eq!(port.paused_time(Priority::P3, Time::NEVER).ps(), end);
    }
}

#[test]
fn xon_ends_a_pause_at_once() {
    let mut port = loaded(ns(2_000), &[3], 1);
    port.pause(&pfc(&[(Priority::P3, u16::MAX)]), Time::ZERO);
    assert!(port.dequeue(ns(5_000)).is_none());
    port.pause(&pfc(&[(Priority::P3, 0)]), ns(5_000));
    assert_eq!(port.next_start(ns(5_000)), ns(5_000));
    assert!(port.dequeue(ns(5_000)).is_some());
    assert_eq!(port.paused_time(Priority::P3, ns(9_000)), ns(3_000));
}

#[test]
fn a_request_that_enables_no_priority_does_nothing() {
    let mut port = loaded(Time::ZERO, &[0, 3, 7], 1);
    let mut empty = pfc(&[]);
    empty.quanta = [u16::MAX; 8];
    port.pause(&empty, Time::ZERO);
    assert_eq!(run(&mut port, Time::ZERO, Time::NEVER).len(), 3);
    assert!(port.counters.iter().all(|counters| counters.pause_rx == 0));
}

#[test]
fn the_frame_in_flight_completes_and_control_frames_pass_next() {
    let mut port = loaded(Time::ZERO, &[3], 5);
    assert!(port.dequeue(Time::ZERO).is_some());
    port.pause(&pfc(&[(Priority::P3, u16::MAX)]), ns(1));
    port.enqueue_control(pause(&[(Priority::P3, 0)]).into());
    assert!(port.dequeue(ns(1)).is_none(), "nothing cuts into a frame");
    assert_eq!(port.next_start(ns(1)).ps(), SLOT_PS);
    assert_eq!(run(&mut port, ps(SLOT_PS), ns(100_000)), [(SLOT_PS, 7)]);
    assert_eq!(port.frames_waiting().count(), 4);
}

#[test]
fn control_frames_pass_even_when_every_priority_is_paused() {
    let mut port = loaded(Time::ZERO, &[0, 1, 2, 3, 4, 5, 6, 7], 2);
    let all = Priority::ALL.map(|priority| (priority, u16::MAX));
    port.pause(&pfc(&all), Time::ZERO);
    port.enqueue_control(pause(&[(Priority::P3, 1)]).into());
    assert_eq!(run(&mut port, Time::ZERO, ns(300_000)), [(0, 7)]);
}

#[test]
fn a_held_port_sends_control_frames_only() {
    let mut port = loaded(Time::ZERO, &[3], 2);
    port.hold(true);
    assert!(port.dequeue(Time::ZERO).is_none());
    assert_eq!(port.next_start(Time::ZERO), Time::NEVER);
    port.enqueue_control(pause(&[(Priority::P3, 1)]).into());
    assert_eq!(port.next_start(ns(5)), ns(5));
    assert_eq!(run(&mut port, ns(5), ns(100_000)), [(5_000, 7)]);
    port.hold(false);
    assert_eq!(run(&mut port, ns(100_000), Time::NEVER).len(), 2);
}

#[test]
fn other_priorities_do_not_notice() {
    let mut paused = loaded(Time::ZERO, &[3, 4], 50);
    paused.pause(&pfc(&[(Priority::P4, u16::MAX)]), Time::ZERO);
    let alone = run(&mut loaded(Time::ZERO, &[3], 50), Time::ZERO, Time::NEVER);
    assert_eq!(run(&mut paused, Time::ZERO, ns(300_000)), alone);
}

proptest! {
    #![proptest_config(common::cases(256))]

    /// Any sequence of requests pauses exactly the intervals that its sentences say: `is_paused`, `paused_time` and the next start.
    #[test]
    fn pauses_are_the_intervals_that_were_requested(
        response in 0u64..3_000_000,
        requests in prop::collection::vec((1u64..4_000_000, prop_oneof![Just(0u16), 1..2_000u16]), 1..40),
        probes in prop::collection::vec(0u64..100_000_000, 20),
    ) {
        let mut port = loaded(ps(response), &[3], 1);
        let mut intervals: Vec<(u64, u64)> = vec![(0, 0)];
        let mut now = 0;
        for (wait, quanta) in requests {
            now += wait;
            port.pause(&pfc(&[(Priority::P3, quanta)]), ps(now));
            let span = u64::from(quanta) * PAUSE_QUANTUM_PS;
            let last = intervals.last_mut().expect("never empty");
            if quanta == 0 {
                last.1 = last.1.min(now);
            } else if now < last.1 {
                last.1 = (now + span).max(last.0);
            } else {
                intervals.push((now + response, (now + span).max(now + response)));
            }
        }
        for probe in probes.into_iter().map(|probe| now + probe) {
            let covering = intervals.iter().find(|(from, until)| (*from..*until).contains(&probe));
            prop_assert_eq!(port.is_paused(Priority::P3, ps(probe)), covering.is_some());
            prop_assert_eq!(port.next_start(ps(probe)).ps(), covering.map_or(probe, |(_, until)| *until));
            let paused: u64 = intervals.iter().map(|(from, until)| (*until).min(probe).saturating_sub(*from)).sum();
            prop_assert_eq!(port.paused_time(Priority::P3, ps(probe)).ps(), paused);
        }
    }
}
