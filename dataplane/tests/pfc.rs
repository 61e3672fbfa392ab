//! PFC to the letter over a span: refreshes in flight, PAUSE frames that are lost, response time, what is no PFC at all, and who is paused.

mod common;

use _dataplane::codec::Reader;
use _dataplane::emulation::Emulation;
use _dataplane::event::Event;
use _dataplane::frame::Body;
use _dataplane::priority::{Priority, PrioritySet};
use _dataplane::switch::buffer::{Buffer, BufferConfig};
use _dataplane::switch::group::{GroupConfig, Threshold};
use _dataplane::switch::stop_requests::{Backlog, Share};
use _dataplane::units::Time;
use _dataplane::wire::pfc::Pfc;
use common::bench::{small_buffer, Bench};
use common::frames::{frame, gbps, ns, pause};
use common::lab::Shape;
use common::span::{Span, LONGEST_PAUSE, LOSSLESS, PAUSE_LINE, SLOT};
use proptest::prelude::*;

const XOFF: u16 = u16::MAX;
const DELAY: Time = Time::from_ps(400_000_000);
/// What the switch holds when it says XOFF and XON.
const XOFF_BYTES: u64 = 100_000;
const XON_BYTES: u64 = 60_000;

/// Two ports, with so much headroom that nothing is lost here, whatever PAUSE frame is.
fn deep() -> Bench {
    let mut buffer = Buffer::new(2, BufferConfig::plain(1_000_000_000, 4_000));
    let threshold = Threshold::Static { xoff_bytes: XOFF_BYTES, xon_bytes: XON_BYTES };
    buffer.add_group(0, LOSSLESS, GroupConfig { threshold, headroom_bytes: 500_000_000 });
    Bench::new(2, buffer)
}

/// A span of 80 km whose far sender has been stopped: the way on is shut, and `lost` PAUSE frames never arrive.
fn stopped(response: Time, lost: &[usize]) -> Span {
    let mut span = Span::new(deep(), DELAY, response, lost);
    span.shut(true);
    span.run_until(ns(3_000_000));
    assert!(span.said.iter().all(|(_, quanta)| *quanta == XOFF), "nothing but XOFF while the way is shut");
    span
}

/// The same, let go on after 3 ms; and the number of the PAUSE frame that says XON.
fn released(lost: &[usize]) -> (Span, usize) {
    let mut span = stopped(Time::ZERO, lost);
    span.shut(false);
    span.run_until(ns(5_000_000));
    let xon = span.said.iter().position(|(_, quanta)| *quanta == 0).expect("XON");
    (span, xon)
}

fn refresh_every(span: &Span) -> Time {
    span.said[1].0.since(span.said[0].0)
}

#[test]
fn a_sender_stays_quiet_from_the_first_pause_on_while_refreshes_are_in_flight() {
    let span = stopped(Time::ZERO, &[]);
    // 26 frames are more than 100,000 bytes.
    assert_eq!(span.said[0].0, Time::from_ps(26 * SLOT.ps()) + DELAY);
    let last = *span.starts.last().expect("it sent");
    assert!(
        last < span.heard(0) && span.heard(0).since(last) <= SLOT,
        "the last frame started before the pause arrived"
    );
    assert_eq!(span.gaps(), [], "and none since");
    let in_flight = span.said.iter().filter(|(at, _)| *at + PAUSE_LINE + DELAY > ns(3_000_000)).count() as u64;
    let spans = (PAUSE_LINE + DELAY).ps() / refresh_every(&span).ps();
    assert!(spans >= 2 && (spans..=spans + 1).contains(&in_flight), "{in_flight} refreshes in flight");
}

/// Draining a port is no reason to let its peer overrun the buffer.
#[test]
fn a_drained_port_still_says_stop() {
    let mut span = Span::new(deep(), DELAY, Time::ZERO, &[]);
    span.bench.switch.port_mut(0).hold(true);
    span.shut(true);
    span.bench.arrive(1, frame(1, 0, LOSSLESS, 1_000));
    span.run_until(ns(3_000_000));
    assert!(*span.starts.last().expect("it sent") < span.heard(0));
    assert_eq!(span.gaps(), []);
    assert_eq!(span.bench.waiting() as usize, span.starts.len() + 1, "nothing else left by either port");
}

#[test]
fn nothing_in_flight_outlives_xon() {
    let (span, xon) = released(&[]);
    assert!(span.said[xon - 1].0 + PAUSE_LINE + DELAY > span.said[xon].0, "a refresh was in flight when XON left");
    assert_eq!(span.gaps().len(), 1);
    assert_eq!(span.gaps()[0].1, span.heard(xon), "it goes on when XON arrives, not a picosecond later");
    assert_eq!(span.said.len(), xon + 1, "and is not stopped again: what comes in leaves");
}

#[test]
fn a_lost_xoff_costs_one_refresh() {
    let (kept, lost) = (stopped(Time::ZERO, &[]), stopped(Time::ZERO, &[0]));
    let every = refresh_every(&kept);
    assert_eq!(lost.heard(1), kept.heard(0) + every);
    let excess = (lost.starts.len() - kept.starts.len()) as u64;
    assert!(excess.abs_diff(every.ps() / SLOT.ps()) <= 1, "{excess} frames more");
    assert_eq!(lost.gaps(), []);
}

#[test]
fn a_lost_xon_costs_what_was_left_of_the_pause() {
    let (_, xon) = released(&[]);
    let (span, _) = released(&[xon]);
    let (_, resumed) = span.gaps()[0];
    assert_eq!(resumed, span.heard(xon - 1) + LONGEST_PAUSE, "the last refresh runs out");
    assert!(resumed.since(span.heard(xon)) <= LONGEST_PAUSE);
    assert_eq!(span.said.len(), xon + 1, "nobody said anything after XON");
}

#[test]
fn one_refresh_may_be_lost_and_the_pause_holds() {
    for lost in 1..6 {
        let span = stopped(Time::ZERO, &[lost]);
        assert_eq!(span.gaps(), [], "refresh {lost} lost");
    }
}

/// Even if each has to wait for a frame of the other direction that has just begun.
#[test]
fn one_refresh_may_be_lost_while_long_frames_delay_the_others() {
    let mut span = Span::new(deep(), DELAY, Time::ZERO, &[1, 3, 5, 7]);
    span.shut(true);
    let mut at = Time::ZERO;
    while at < ns(2_500_000) {
        // Back to back towards the sender, of another priority.
        span.bench.arrive(1, frame(1, 0, Priority::P0, 4_000));
        at += SLOT;
        span.run_until(at);
    }
    assert!(span.said.len() > 10);
    assert_eq!(span.gaps(), []);
}

#[test]
fn two_lost_refreshes_in_a_row_let_the_sender_go_on_until_the_next() {
    let span = stopped(Time::ZERO, &[1, 2]);
    let gaps = span.gaps();
    assert_eq!(gaps.len(), 1);
    let (resumed, next) = (gaps[0].1, span.heard(3));
    assert_eq!(resumed, span.heard(0) + LONGEST_PAUSE);
    assert!(resumed < next && *span.starts.last().expect("it sent") < next);
    let released = span.starts.iter().filter(|start| **start >= resumed).count() as u64;
    assert_eq!(released, next.since(resumed).ps().div_ceil(SLOT.ps()));
}

#[test]
fn a_slow_response_costs_its_time_once_and_not_at_every_refresh() {
    let response = ns(20_000);
    let (slow, quick) = (stopped(response, &[]), stopped(Time::ZERO, &[]));
    let excess = (slow.starts.len() - quick.starts.len()) as u64;
    assert!(excess.abs_diff(response.ps() / SLOT.ps()) <= 1, "{excess} frames more");
    assert_eq!(slow.gaps(), []);
}

/// A request of fewer quanta than are left shortens the pause of a switch's port; a longer one prolongs it.
#[test]
fn a_new_time_replaces_the_remaining_one_at_a_switch() {
    for quanta in [1u16, 1_000, 65_000] {
        let mut bench = Bench::new(2, small_buffer(2));
        bench.arrive(1, pause(&[(LOSSLESS, 30_000)]));
        bench.arrive(0, frame(0, 1, LOSSLESS, 1_000));
        bench.run_until(ns(50_000));
        bench.arrive(1, pause(&[(LOSSLESS, quanta)]));
        bench.run_until_drained();
        assert_eq!(bench.sent.len(), 1);
        assert_eq!(bench.sent[0].at, ns(50_000) + gbps(100).quanta(quanta));
    }
}

/// The bytes of a PFC frame for priority 3, with another source or opcode on request.
fn bytes(source: [u8; 6], opcode: u16, enable: u8) -> Vec<u8> {
    let mut quanta = [0; 8];
    quanta[3] = 1_000;
    let mut bytes = Pfc { class_enable: PrioritySet::from_bits(enable), quanta }.build(source).to_vec();
    bytes[14..16].copy_from_slice(&opcode.to_be_bytes());
    bytes
}

/// What a switch does on these bytes: for how long its port 1 then sends nothing of priority 3.
fn silence(bytes: &[u8]) -> Time {
    let shape = Shape {
        leaves: 1,
        spines: 0,
        hosts_per_leaf: 2,
        host_gbps: 100,
        spine_gbps: 100,
        host_delay_ps: 0,
        spine_delay_ps: 0,
        xoff_bytes: 1_000,
        hysteresis_bytes: 0,
        loss: 0.0,
        seed: 1,
    };
    let codec = Emulation::new(&shape.plan().to_string()).expect("a plan").codec;
    let mut bench = Bench::new(2, small_buffer(2));
    for reader in [Reader::Switch, Reader::Nic] {
        assert_eq!(codec.decode(bytes, reader).is_some(), codec.decode(bytes, Reader::Switch).is_some());
    }
    if let Some(request) = codec.decode(bytes, Reader::Switch) {
        assert!(matches!(request.body, Body::Pause(_)), "MAC control is never forwarded");
        bench.arrive(1, request);
    }
    bench.arrive(0, frame(0, 1, LOSSLESS, 1_000));
    bench.run_until_drained();
    assert!(bench.events.iter().all(|event| matches!(event, Event::PauseReceived { .. })));
    bench.sent[0].at
}

#[test]
fn what_stops_a_priority_and_what_does_not() {
    let (pfc, global) = (0x0101, 0x0001);
    let paused = gbps(100).quanta(1_000);
    assert_eq!(silence(&bytes([2, 0, 0, 0, 0, 1], pfc, 1 << 3)), paused);
    assert_eq!(silence(&bytes([0; 6], pfc, 1 << 3)), paused, "a zero source MAC counts");
    assert_eq!(
        silence(&bytes([2, 0, 0, 0, 0, 1], pfc, 0)),
        Time::ZERO,
        "an all-zero vector does not, whatever its times"
    );
    assert_eq!(silence(&bytes([2, 0, 0, 0, 0, 1], pfc, 1 << 4)), Time::ZERO, "nor another priority");
    // The time of a global PAUSE stands where the enable vector would.
    let mut stop_all = bytes([2, 0, 0, 0, 0, 1], global, 0);
    stop_all[16..18].copy_from_slice(&XOFF.to_be_bytes());
    assert_eq!(silence(&stop_all), Time::ZERO, "global PAUSE does nothing on a PFC port");
}

/// Port 1 is congested on one priority. Of all who send, only the port that fills it is stopped, and only on that priority.
#[test]
fn xoff_reaches_the_ingress_that_feeds_the_congestion_and_no_other() {
    let mut bench = Bench::new(5, small_buffer(5));
    bench.arrive(1, pause(&[(Priority::P3, XOFF)]));
    let mut at = Time::ZERO;
    for _ in 0..13 {
        bench.arrive(0, frame(0, 1, Priority::P3, 1_000));
        bench.arrive(0, frame(0, 4, Priority::P4, 1_000));
        bench.arrive(2, frame(2, 4, Priority::P3, 1_000));
        bench.arrive(3, frame(3, 1, Priority::P4, 1_000));
        at += Time::from_ps(2 * 1_020 * 80);
        bench.run_until(at);
    }
    assert_eq!(
        bench.pauses(Priority::P3).iter().map(|(_, port, quanta)| (*port, *quanta)).collect::<Vec<_>>(),
        [(0, XOFF)]
    );
    assert_eq!(bench.pauses(Priority::P4), []);
    let out = |port: u16, priority: Priority| {
        bench.sent.iter().filter(|sent| (sent.port, sent.frame.priority) == (port, priority)).count()
    };
    assert_eq!(
        [out(1, Priority::P3), out(1, Priority::P4), out(4, Priority::P3), out(4, Priority::P4)],
        [0, 13, 13, 13],
        "all others at full rate"
    );
    assert!(bench.events.iter().all(|event| matches!(event, Event::PauseReceived { .. })), "nothing is lost");
}

/// A switch that remembers what it asks its peers for, and why.
fn recording() -> Bench {
    let mut bench = Bench::new(5, small_buffer(5));
    bench.switch.record(8);
    bench
}

/// So many frames of 1,000 bytes from port to port, at once.
fn burst(bench: &mut Bench, from: u16, to: u16, frames: usize) {
    (0..frames).for_each(|_| bench.arrive(from, frame(from.into(), to.into(), Priority::P3, 1_000)));
}

/// In which queues the bytes of a group stood, and why in the fullest of them.
type Held = (Vec<Share>, Option<(Backlog, u16)>);

/// Of each request of a switch, in which queues the bytes stood that its group held, and why in the fullest.
fn requests(bench: &Bench) -> Vec<Held> {
    let kept = bench.switch.stop_requests().kept();
    kept.map(|(request, shares)| (shares.to_vec(), request.backlog)).collect()
}

fn share(port: u16, bytes: u64, stood: bool) -> Share {
    Share { port, queue: Priority::P3, bytes, stood }
}

#[test]
fn a_request_remembers_in_which_queues_the_bytes_stand_and_which_stand_still() {
    let mut bench = recording();
    bench.arrive(1, pause(&[(Priority::P3, XOFF)]));
    burst(&mut bench, 0, 1, 9);
    // Of these the first is on the line already.
    burst(&mut bench, 0, 4, 2);
    assert_eq!(requests(&bench), []);
    burst(&mut bench, 0, 1, 1);
    assert_eq!(requests(&bench), [(vec![share(1, 10_000, true), share(4, 1_000, false)], None)]);
    let said: Vec<_> = bench.sent.iter().filter(|sent| sent.frame.is_control()).collect();
    assert_eq!(said.iter().map(|sent| sent.frame.request()).collect::<Vec<_>>(), [Some(1)]);
}

#[test]
fn a_queue_that_several_ports_fill_and_no_pause_holds_up_is_an_incast() {
    let mut bench = recording();
    burst(&mut bench, 2, 1, 3);
    burst(&mut bench, 0, 1, 11);
    assert_eq!(requests(&bench), [(vec![share(1, 11_000, false)], Some((Backlog::Incast, 2)))]);
}

#[test]
fn a_queue_stood_still_as_long_as_bytes_are_in_it_that_waited() {
    let mut bench = recording();
    bench.arrive(1, pause(&[(Priority::P3, XOFF)]));
    burst(&mut bench, 0, 1, 5);
    bench.arrive(1, pause(&[(Priority::P3, 0)]));
    burst(&mut bench, 0, 1, 7);
    // One of them has left, and four of the five that waited are still there.
    assert_eq!(requests(&bench), [(vec![share(1, 11_000, true)], None)]);
    bench.run_until(Time::from_ps(4 * 1_020 * 80));
    bench.arrive(2, frame(2, 1, Priority::P3, 1_000));
    burst(&mut bench, 0, 1, 5);
    let last = requests(&bench).pop().expect("a second request");
    assert_eq!(last, (vec![share(1, 11_000, false)], Some((Backlog::Incast, 2))));
}

#[test]
fn requests_beyond_the_bound_are_counted_from() {
    let mut bench = recording();
    bench.switch.record(1);
    for round in 0..2 {
        burst(&mut bench, round, 4, 12);
    }
    let kept = bench.switch.stop_requests();
    assert_eq!((kept.kept().count(), kept.left_out().collect::<Vec<_>>()), (1, vec![(1, 1)]));
}

proptest! {
    #![proptest_config(common::cases(60))]

    /// Whichever PAUSE frames are lost: a sender is never stopped for good, nor does it run on for longer than losses explain.
    #[test]
    fn any_losses_are_recovered_from(lost in prop::collection::vec(0usize..30, 0..15), delay in 0u64..800_000) {
        let mut span = Span::new(deep(), ns(delay), Time::ZERO, &lost);
        for round in 1..=4u64 {
            span.shut(round.is_multiple_of(2));
            span.run_until(ns(round * 1_500_000));
        }
        span.shut(false);
        let end = ns(4 * 1_500_000);
        span.run_until(end + LONGEST_PAUSE + ns(2 * delay + 2_000_000));
        prop_assert!(span.starts.last().is_some_and(|last| *last > end + LONGEST_PAUSE + ns(2 * delay)), "it sends again");
        let silent = span.gaps().iter().map(|(last, next)| next.since(*last)).max().unwrap_or(Time::ZERO);
        // Shut for one round, then what was held leaves, then at most a whole pause if XON is lost, and the way there.
        let longest = ns(1_500_000 + 2 * delay) + LONGEST_PAUSE;
        prop_assert!(silent <= longest + ns(2_000_000), "silent for {} ps", silent.ps());
        prop_assert_eq!(span.bench.events.len(), 0, "no frame is lost");
    }
}
