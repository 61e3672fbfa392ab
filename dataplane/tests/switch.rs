//! One switch on a bench: thresholds to the byte, PAUSE frames to the right peer in time, drops where they belong, ECMP by flow.

mod common;

use std::collections::BTreeMap;

use _dataplane::event::{Cause, Event};
use _dataplane::frame::{Frame, Station};
use _dataplane::port::Port;
use _dataplane::priority::{Priority, PrioritySet};
use _dataplane::switch::config::SwitchConfig;
use _dataplane::units::Time;
use common::bench::{small_buffer, Bench};
use common::frames::{frame, gbps, ns, pause, pfc, strict};
use proptest::prelude::*;

const XOFF: u16 = u16::MAX;
const LOSSLESS: Priority = Priority::P3;

/// A switch of four ports whose port 1 has been told to send nothing of priorities 3 and 4.
fn blocked() -> Bench {
    let mut bench = Bench::new(4, small_buffer(4));
    bench.arrive(1, pause(&[(Priority::P3, XOFF), (Priority::P4, XOFF)]));
    bench
}

fn fill(bench: &mut Bench, port: u16, frames: usize, bytes: u16) {
    (0..frames).for_each(|_| bench.arrive(port, frame(port.into(), 1, LOSSLESS, bytes)));
}

#[test]
fn xoff_is_sent_when_a_group_exceeds_its_threshold_and_not_before() {
    let mut bench = blocked();
    fill(&mut bench, 0, 10, 1_000);
    assert_eq!(bench.pauses(LOSSLESS), []);
    fill(&mut bench, 0, 1, 64);
    assert_eq!(bench.pauses(LOSSLESS), [(Time::ZERO, 0, XOFF)]);
    fill(&mut bench, 0, 2, 1_000);
    assert_eq!(bench.pauses(LOSSLESS).len(), 1, "asked once, it holds");
    assert_eq!(bench.switch.ports()[0].counters[3].pause_tx, 1);
    assert_eq!(bench.pauses(Priority::P4), [], "nobody spoke of priority 4");
}

#[test]
fn xon_is_sent_when_a_group_is_back_at_its_threshold() {
    let mut bench = blocked();
    fill(&mut bench, 0, 12, 1_000);
    bench.now = ns(10);
    bench.arrive(1, pause(&[(Priority::P3, 0)]));
    bench.run_until_drained();
    let departures: Vec<Time> = bench.sent.iter().filter(|sent| sent.port == 1).map(|sent| sent.at).collect();
    assert_eq!(departures.len(), 12);
    // 12,000 bytes held; the fourth frame to leave brings it down to 8,000.
    let xon = bench.pauses(LOSSLESS)[1];
    assert_eq!(xon, (departures[3], 0, 0));
    assert_eq!(bench.pauses(LOSSLESS).len(), 2);
}

#[test]
fn a_kernels_frame_goes_where_dscp_0_does_instead_of_into_a_lossless_priority() {
    let lossless = PrioritySet::only(Priority::P3) | PrioritySet::only(Priority::P4);
    let mut bench = Bench::of(SwitchConfig { lossless, ..Bench::config(4, small_buffer(4)) });
    let of_kernel = |priority| Frame { of_kernel: true, ..frame(0, 1, priority, 1_000) };
    [Priority::P3, Priority::P4, Priority::P4, Priority::P5]
        .into_iter()
        .for_each(|priority| bench.arrive(0, of_kernel(priority)));
    bench.arrive(0, frame(0, 1, Priority::P3, 1_000));
    let counters = &bench.switch.ports()[0].counters;
    assert_eq!([0, 3, 4, 5].map(|priority: usize| counters[priority].frames_rx), [3, 1, 0, 1]);
    assert_eq!([0, 3, 4, 5].map(|priority: usize| counters[priority].demoted), [0, 1, 2, 0]);
}

#[test]
fn a_kernels_frame_takes_the_lowest_lossy_priority_where_that_of_dscp_0_is_lossless() {
    for (lossless, expected) in [(0b0000_1011, 2), (u8::MAX, 3)] {
        let lossless = PrioritySet::from_bits(lossless);
        let mut bench = Bench::of(SwitchConfig { lossless, ..Bench::config(4, small_buffer(4)) });
        bench.arrive(0, Frame { of_kernel: true, ..frame(0, 1, Priority::P3, 1_000) });
        let counters = &bench.switch.ports()[0].counters;
        assert_eq!(counters[expected].frames_rx, 1, "lossless {lossless:?}");
    }
}

#[test]
fn only_the_sender_that_fills_the_buffer_is_paused() {
    let mut bench = blocked();
    fill(&mut bench, 2, 9, 1_000);
    fill(&mut bench, 0, 11, 1_000);
    fill(&mut bench, 3, 10, 1_000);
    assert_eq!(bench.pauses(LOSSLESS), [(Time::ZERO, 0, XOFF)]);
}

#[test]
fn headroom_is_exact_to_the_byte() {
    let mut bench = blocked();
    fill(&mut bench, 0, 14, 1_000);
    fill(&mut bench, 0, 1, 936);
    assert_eq!(bench.dropped(Cause::Headroom), 0);
    fill(&mut bench, 0, 1, 65);
    assert_eq!(
        bench.events.last(),
        Some(&Event::Dropped { port: 0, priority: Priority::P3, cause: Cause::Headroom, packet: false })
    );
    fill(&mut bench, 0, 1, 64);
    assert_eq!(bench.dropped(Cause::Headroom), 1, "15,000 bytes fit");
    fill(&mut bench, 0, 1, 64);
    assert_eq!(bench.dropped(Cause::Headroom), 2);
    assert_eq!(bench.switch.ports()[0].counters[3].drops[Cause::Headroom as usize], 2);
    assert_eq!(bench.switch.buffer().group(0, Priority::P3).headroom_max(), 5_000);
    assert_eq!(bench.waiting(), 16);
}

#[test]
fn lossy_frames_drop_at_the_tail_and_harm_nobody() {
    let mut bench = Bench::new(4, small_buffer(4));
    bench.arrive(1, pause(&[(Priority::P0, XOFF)]));
    (0..5).for_each(|_| bench.arrive(0, frame(0, 1, Priority::P0, 1_000)));
    assert_eq!(bench.dropped(Cause::Buffer), 1, "4,000 bytes of queue");
    assert_eq!(bench.switch.ports()[0].counters[0].drops[Cause::Buffer as usize], 1);
    bench.arrive(0, frame(0, 1, LOSSLESS, 1_000));
    assert_eq!(bench.frames_out, 1, "the lossless frame passes");
    assert!(
        Priority::ALL.iter().all(|priority| bench.pauses(*priority).is_empty()),
        "no PAUSE frame for a lossy priority"
    );
}

#[test]
fn frames_to_strangers_are_counted_and_not_flooded() {
    let mut bench = Bench::new(4, small_buffer(4));
    bench.arrive(2, Frame { dst: Station::UNKNOWN, ..frame(0, 1, Priority::P0, 100) });
    bench.arrive(2, frame(0, 4_000_000, Priority::P5, 100));
    assert_eq!(bench.dropped(Cause::Unroutable), 2);
    assert_eq!((bench.frames_out, bench.waiting()), (0, 0));
    let counters = &bench.switch.ports()[2].counters;
    assert_eq!((counters[0].drops[Cause::Unroutable as usize], counters[5].drops[Cause::Unroutable as usize]), (1, 1));
}

/// The peer, as a port, must never once be free to send while the switch wants it quiet, whatever another priority does meanwhile.
#[test]
fn a_pause_is_renewed_before_it_expires() {
    let mut bench = blocked();
    fill(&mut bench, 0, 11, 1_000);
    let (hold, step) = (ns(3_000_000), ns(7_919));
    while bench.now < hold {
        // The way out stays shut for priority 3; priority 4 comes and goes, with XOFF and XON of its own.
        bench.arrive(1, pause(&[(Priority::P3, XOFF)]));
        let shut = (bench.now.ps() / 50_000_000).is_multiple_of(2);
        bench.arrive(1, pause(&[(Priority::P4, if shut { XOFF } else { 0 })]));
        if shut {
            bench.arrive(0, frame(0, 1, Priority::P4, 2_000));
        }
        bench.run_until(bench.now + step);
    }
    assert!(
        bench.pauses(Priority::P4).iter().filter(|(_, _, quanta)| *quanta == 0).count() > 10,
        "priority 4 came and went"
    );
    let mut peer = Port::new(strict(gbps(100)));
    let pauses = bench.pauses(LOSSLESS);
    assert!(pauses.iter().all(|(_, port, quanta)| (*port, *quanta) == (0, XOFF)));
    for pair in pauses.windows(2) {
        peer.pause(&pfc(&[(Priority::P3, XOFF)]), pair[0].0);
        assert!(peer.is_paused(Priority::P3, pair[1].0), "renewed too late, at {} ps", pair[1].0.ps());
    }
    let longest = gbps(100).quanta(XOFF);
    assert!(pauses[pauses.len() - 1].0 + longest > hold);
    assert!(pauses.len() as u64 <= 2 + 2 * hold.ps() / longest.ps(), "{} renewals are too many", pauses.len());
}

#[test]
fn a_flow_stays_on_one_path_and_flows_spread() {
    let routes = [vec![0], vec![1, 2, 3, 4]];
    let path = |hash_seed: u64, entropy: u16| {
        let mut bench = Bench::with_routes(5, small_buffer(5), &routes, hash_seed);
        (0..3).for_each(|_| bench.arrive(0, Frame { entropy, ..frame(0, 1, LOSSLESS, 500) }));
        bench.run_until_drained();
        let ports: Vec<u16> = bench.sent.iter().map(|sent| sent.port).collect();
        assert_eq!(ports, vec![ports[0]; 3], "entropy {entropy}");
        ports[0]
    };
    let mut flows: BTreeMap<u16, u32> = BTreeMap::new();
    (0..400).for_each(|entropy| *flows.entry(path(1, entropy)).or_default() += 1);
    // 100 a path expected, standard deviation 8.7: four of them.
    assert!(flows.len() == 4 && flows.values().all(|count| count.abs_diff(100) < 35), "{flows:?}");
    let moved = (0..400).filter(|&entropy| path(1, entropy) != path(2, entropy)).count();
    assert!(moved.abs_diff(300) < 35, "{moved} of 400 flows choose anew on a switch with another seed");
}

proptest! {
    #![proptest_config(common::cases(200))]

    /// Whatever comes in and however the ways out are paused: every frame is out, dropped or waiting, and in the end the memory is free.
    #[test]
    fn accounts_balance_and_return_to_zero(
        steps in prop::collection::vec((0u16..4, 0u32..5, 0u8..8, 64u16..9_216, 0u64..2_000, 0u16..2_000), 1..300),
    ) {
        let mut bench = Bench::new(4, small_buffer(4));
        for (port, dst, priority, bytes, wait, quanta) in steps {
            let priority = Priority::from_bits(priority);
            bench.run_until(bench.now + ns(wait));
            bench.arrive(port, frame(port.into(), dst, priority, bytes));
            if quanta < 300 {
                bench.arrive(port, pause(&[(priority, quanta)]));
            }
            let drops = bench.events.iter().filter(|event| matches!(event, Event::Dropped { .. })).count() as u64;
            prop_assert_eq!(bench.frames_in, bench.frames_out + drops + bench.waiting());
        }
        bench.run_until_drained();
        prop_assert_eq!((bench.waiting(), bench.switch.buffer().used().0), (0, 0));
        for priority in [Priority::P3, Priority::P4] {
            for port in 0..4 {
                let last = bench.pauses(priority).into_iter().rfind(|(_, at, _)| *at == port);
                prop_assert!(last.is_none_or(|(_, _, quanta)| quanta == 0), "left paused: {:?}", last);
            }
        }
    }
}
