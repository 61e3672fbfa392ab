//! The watchdog of a switch: when it fires and when not, what it drops and what it leaves alone, and when all is as before.

mod common;

use _dataplane::event::{Cause, Event};
use _dataplane::priority::{Priority, PrioritySet};
use _dataplane::switch::config::SwitchConfig;
use _dataplane::switch::watchdog::{Action, WatchdogConfig};
use _dataplane::units::Time;
use common::bench::{small_buffer, Bench};
use common::frames::{frame, ns, pause};
use proptest::prelude::*;

const XOFF: u16 = u16::MAX;
const LOSSLESS: Priority = Priority::P3;
const PORTS: u16 = 4;
const MS: u64 = 1_000_000;
const DETECTION: Time = Time::from_ns(20 * MS);
const RESTORATION: Time = Time::from_ns(30 * MS);
const POLL: Time = Time::from_ns(8 * MS);

/// A switch of four ports whose watchdog guards priorities 3 and 4.
fn guarded(action: Action) -> Bench {
    guarded_within([DETECTION, RESTORATION, POLL], action)
}

fn guarded_within([detection, restoration, poll]: [Time; 3], action: Action) -> Bench {
    let config = WatchdogConfig { detection, restoration, poll, action, priorities: PrioritySet::from_bits(0b1_1000) };
    Bench::of(SwitchConfig { watchdog: Some(config), ..Bench::config(PORTS, small_buffer(PORTS)) })
}

/// Keep `port` paused on priority 3 from now until `until` and a little longer.
fn storm(bench: &mut Bench, port: u16, until: Time) {
    while bench.now < until {
        bench.arrive(port, pause(&[(LOSSLESS, XOFF)]));
        bench.run_until((bench.now + ns(300_000)).min(until));
    }
}

/// Do so, and say XON then.
fn storm_and_end(bench: &mut Bench, port: u16, until: Time) {
    storm(bench, port, until);
    bench.arrive(port, pause(&[(LOSSLESS, 0)]));
}

fn detected(bench: &Bench) -> Vec<(u16, Time)> {
    let watchdog = bench.switch.watchdog().expect("there is one");
    watchdog.storms().iter().map(|storm| (storm.port, storm.detected)).collect()
}

fn restored(bench: &Bench) -> Vec<Option<Time>> {
    bench.switch.watchdog().expect("there is one").storms().iter().map(|storm| storm.restored).collect()
}

fn departures(bench: &Bench, port: u16, priority: Priority) -> usize {
    bench.sent.iter().filter(|sent| (sent.port, sent.frame.priority) == (port, priority)).count()
}

/// The first look later than the detection time after the storm began: within (detection, detection + poll], whatever the phase.
#[test]
fn a_storm_is_detected_at_the_first_poll_after_the_detection_time() {
    for begin_ns in [0, 1, 3 * MS + 17, 4 * MS, 5 * MS, 8 * MS, 12 * MS - 1, 12 * MS, 12 * MS + 1] {
        let mut bench = guarded(Action::Drop);
        bench.run_until(ns(begin_ns));
        storm(&mut bench, 1, ns(begin_ns) + DETECTION + POLL);
        let after = detected(&bench)[0].1.since(ns(begin_ns));
        assert!(DETECTION < after && after <= DETECTION + POLL, "{} ps after the beginning", after.ps());
        assert_eq!(detected(&bench)[0].1.ps() % POLL.ps(), 0);
        let earlier = detected(&bench)[0].1.since(POLL);
        assert!(earlier.since(ns(begin_ns)) <= DETECTION, "a look earlier would have been too early");
    }
}

#[test]
fn a_storm_no_longer_than_the_detection_time_loses_nothing() {
    let mut bench = guarded(Action::Drop);
    bench.arrive(0, frame(0, 1, LOSSLESS, 1_000));
    storm_and_end(&mut bench, 1, DETECTION);
    bench.run_until(ns(200 * MS));
    assert_eq!((detected(&bench), departures(&bench, 1, LOSSLESS)), (vec![], 1));
    assert_eq!(bench.switch.poll_timeout(), Time::NEVER, "nothing is paused: nobody looks");
}

#[test]
fn bursts_of_half_the_detection_time_never_fire() {
    let mut bench = guarded(Action::Drop);
    for _ in 0..20 {
        let until = bench.now + ns(10 * MS);
        storm_and_end(&mut bench, 1, until);
        bench.arrive(0, frame(0, 1, LOSSLESS, 1_000));
        bench.run_until(until + ns(1_000));
    }
    assert_eq!((detected(&bench), bench.dropped(Cause::Watchdog)), (vec![], 0));
    assert_eq!(departures(&bench, 1, LOSSLESS), 20);
}

#[test]
fn only_the_stormed_queue_is_flushed() {
    let mut bench = guarded(Action::Drop);
    bench.arrive(1, pause(&[(LOSSLESS, XOFF)]));
    for _ in 0..12 {
        bench.arrive(0, frame(0, 1, LOSSLESS, 1_000));
    }
    assert_eq!(bench.pauses(LOSSLESS).len(), 1, "the sender is stopped");
    storm(&mut bench, 1, ns(24 * MS));
    let at = detected(&bench);
    assert_eq!(at, [(1, ns(24 * MS))]);
    assert_eq!(bench.dropped(Cause::Watchdog), 12);
    assert_eq!(bench.switch.ports()[1].counters[3].drops[Cause::Watchdog as usize], 12, "counted where the storm is");
    assert_eq!((bench.waiting(), bench.switch.buffer().used().0), (0, 0));
    assert_eq!(bench.pauses(LOSSLESS).last(), Some(&(ns(24 * MS), 0, 0)), "and the sender is let go");
    // While it lasts: what comes for that queue is dropped, and nothing else.
    bench.arrive(1, pause(&[(LOSSLESS, XOFF)]));
    bench.arrive(0, frame(0, 1, LOSSLESS, 1_000));
    bench.arrive(0, frame(0, 1, Priority::P4, 1_000));
    bench.arrive(0, frame(0, 2, LOSSLESS, 1_000));
    bench.run_until(bench.now + ns(1_000));
    assert_eq!(bench.dropped(Cause::Watchdog), 13);
    assert_eq!(
        [departures(&bench, 1, LOSSLESS), departures(&bench, 1, Priority::P4), departures(&bench, 2, LOSSLESS)],
        [0, 1, 1]
    );
    assert_eq!(bench.switch.watchdog().map(|watchdog| watchdog.storms()[0].dropped), Some(13));
}

#[test]
fn to_forward_is_to_ignore_pauses_and_lose_nothing() {
    let mut bench = guarded(Action::Forward);
    bench.arrive(1, pause(&[(LOSSLESS, XOFF)]));
    (0..12).for_each(|_| bench.arrive(0, frame(0, 1, LOSSLESS, 1_000)));
    storm(&mut bench, 1, ns(23 * MS));
    assert_eq!(departures(&bench, 1, LOSSLESS), 0);
    storm(&mut bench, 1, ns(26 * MS));
    bench.arrive(0, frame(0, 1, LOSSLESS, 1_000));
    bench.run_until(ns(27 * MS));
    assert_eq!((departures(&bench, 1, LOSSLESS), bench.dropped(Cause::Watchdog)), (13, 0));
    let counters = &bench.switch.ports()[1];
    assert_eq!(counters.paused_time(Priority::P3, bench.now), ns(24 * MS), "paused until the watchdog said otherwise");
    assert!(counters.counters[3].pause_rx > 80, "they are still counted");
}

#[test]
fn a_queue_is_restored_at_the_first_poll_after_the_restoration_time() {
    for storm_ns in [25 * MS, 31 * MS + 5, 32 * MS, 40 * MS - 1, 47 * MS] {
        let mut bench = guarded(Action::Drop);
        storm_and_end(&mut bench, 1, ns(storm_ns));
        bench.run_until(ns(storm_ns) + RESTORATION + POLL);
        let quiet = restored(&bench)[0].expect("restored").since(ns(storm_ns));
        assert!(RESTORATION < quiet && quiet <= RESTORATION + POLL, "{} ps after the last pause", quiet.ps());
        bench.arrive(0, frame(0, 1, LOSSLESS, 1_000));
        assert_eq!((departures(&bench, 1, LOSSLESS), bench.dropped(Cause::Watchdog)), (1, 0));
        let said: Vec<&Event> =
            bench.events.iter().filter(|event| !matches!(event, Event::PauseReceived { .. })).collect();
        let (port, priority) = (1, LOSSLESS);
        assert_eq!(said, [&Event::StormDetected { port, priority }, &Event::StormOver { port, priority }]);
        assert_eq!(bench.switch.poll_timeout(), Time::NEVER);
    }
}

#[test]
fn a_pause_in_between_puts_restoration_off_and_afterwards_pauses_are_obeyed_again() {
    let mut bench = guarded(Action::Drop);
    storm_and_end(&mut bench, 1, ns(25 * MS));
    bench.run_until(ns(50 * MS));
    bench.arrive(1, pause(&[(LOSSLESS, 1)]));
    bench.run_until(ns(75 * MS));
    assert_eq!(restored(&bench), [None]);
    bench.run_until(ns(88 * MS));
    assert_eq!(restored(&bench), [Some(ns(88 * MS))]);
    bench.arrive(1, pause(&[(LOSSLESS, XOFF)]));
    bench.arrive(0, frame(0, 1, LOSSLESS, 1_000));
    assert_eq!(departures(&bench, 1, LOSSLESS), 0, "paused");
    storm(&mut bench, 1, ns(130 * MS));
    assert_eq!(detected(&bench), [(1, ns(24 * MS)), (1, ns(112 * MS))], "and stormed anew");
}

/// XOFF every 100 µs for 10 ms, then XON for ever, and a frame every 50 µs: of the 50 that wait when the storm is detected, at 3 ms,
/// and the 200 that come until 13 ms all are lost, and then none, however often XON is repeated.
#[test]
fn a_stream_of_xon_does_not_keep_a_queue_stormed() {
    for every_us in [50, 100, 1_900] {
        let mut bench = guarded_within([ns(2 * MS), ns(2 * MS), ns(MS)], Action::Drop);
        for at_us in (0..60_000).step_by(50) {
            bench.run_until(ns(at_us * 1_000));
            let (begins, ends) = (500, 10_500);
            if (begins..ends).contains(&at_us) && at_us % 100 == 0 {
                bench.arrive(1, pause(&[(LOSSLESS, XOFF)]));
            } else if at_us >= ends && (at_us - ends) % every_us == 0 {
                bench.arrive(1, pause(&[(LOSSLESS, 0)]));
            }
            bench.arrive(0, frame(0, 1, LOSSLESS, 64));
        }
        assert_eq!(detected(&bench), [(1, ns(3 * MS))]);
        assert_eq!(restored(&bench), [Some(ns(13 * MS))], "XON every {every_us} µs");
        assert_eq!(bench.dropped(Cause::Watchdog), 250);
    }
}

/// A pause that has run out was over when it did: XON behind it does not put restoration off. One before its end brings it forward.
#[test]
fn xon_counts_from_the_end_of_the_pause_that_it_ends_if_that_came_first() {
    for (last_quanta, xon_ns, restored_ms) in [(1, 47 * MS, 56), (XOFF, 25 * MS + 100_000, 56), (XOFF, 47 * MS, 56)] {
        let mut bench = guarded(Action::Drop);
        storm(&mut bench, 1, ns(25 * MS));
        bench.arrive(1, pause(&[(LOSSLESS, last_quanta)]));
        bench.run_until(ns(xon_ns));
        bench.arrive(1, pause(&[(LOSSLESS, 0), (Priority::P4, 0)]));
        bench.run_until(ns(100 * MS));
        assert_eq!(restored(&bench), [Some(ns(restored_ms * MS))]);
    }
}

#[test]
fn lossy_priorities_and_other_ports_are_not_watched_for() {
    let mut bench = guarded(Action::Drop);
    let end = ns(60 * MS);
    while bench.now < end {
        bench.arrive(2, pause(&[(Priority::P0, XOFF), (Priority::P5, XOFF)]));
        bench.run_until(bench.now + ns(300_000));
    }
    assert_eq!(detected(&bench), []);
    assert!(bench.switch.poll_timeout() > end + ns(400_000), "nobody looks");
}

proptest! {
    #![proptest_config(common::cases(60))]

    /// Whatever is paused, flushed and restored: frames are out, dropped or waiting, the memory is free in the end, nobody left paused.
    #[test]
    fn accounts_balance_through_storms(
        forward in any::<bool>(),
        steps in prop::collection::vec((0u16..4, 0u32..4, 3u8..5, 64u16..4_000, 0u64..4, any::<bool>()), 1..150),
    ) {
        let mut bench = guarded(if forward { Action::Forward } else { Action::Drop });
        for (port, dst, priority, bytes, wait_ms, stormy) in steps {
            let priority = Priority::from_bits(priority);
            for _ in 0..wait_ms * 4 {
                if stormy {
                    bench.arrive(dst as u16, pause(&[(priority, XOFF)]));
                }
                bench.arrive(1, pause(&[(LOSSLESS, XOFF)]));
                bench.run_until(bench.now + ns(250_000));
            }
            bench.arrive(port, frame(port.into(), dst, priority, bytes));
            let drops = bench.events.iter().filter(|event| matches!(event, Event::Dropped { .. })).count() as u64;
            prop_assert_eq!(bench.frames_in, bench.frames_out + drops + bench.waiting());
        }
        bench.run_until_drained();
        prop_assert_eq!((bench.waiting(), bench.switch.buffer().used().0), (0, 0));
        for (priority, port) in [Priority::P3, Priority::P4].into_iter().flat_map(|priority| (0..4).map(move |port| (priority, port))) {
            let last = bench.pauses(priority).into_iter().rfind(|(_, at, _)| *at == port);
            prop_assert!(last.is_none_or(|(_, _, quanta)| quanta == 0), "left paused: {:?}", last);
        }
        if forward {
            prop_assert_eq!(bench.dropped(Cause::Watchdog), 0);
        }
    }
}
