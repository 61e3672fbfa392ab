//! Receiver not ready: a SEND that finds no receive waits as long as it is told, and comes again until there is one or retries run out.

mod common;

use _dataplane::event::Event;
use _dataplane::nic::rc::code::Code;
use _dataplane::nic::rc::message::Verb;
use _dataplane::nic::rc::qp::{rnr_delay, Failure, Recovery, Rnr, Transport, RNR_FOR_EVER};
use _dataplane::units::Time;
use _dataplane::wire::roce::{Opcode, Syndrome};
use common::frames::ns;
use common::pair::{transport, Fate, Pair, Side, QPN};
use proptest::prelude::*;
use rand_core::{Rng, SeedableRng};
use rand_pcg::Pcg64;

const MTU: u64 = 256;
const RECOVERIES: [Recovery; 3] =
    [Recovery::GoBackN, Recovery::SelectiveRepeat, Recovery::Erasure(Code { data: 4, parity: 2 })];

fn posted(timer: u8, retries: u32) -> Transport {
    Transport { rnr: Some(Rnr { timer, retries }), ..transport(Verb::Send) }
}

/// From IBTA's table: 0.01 ms is the shortest, 655.36 ms the longest wait, and codes beyond five bits are none.
#[test]
fn timer_codes_stand_for_the_times_of_the_table() {
    for (timer, us) in [(0, 655_360), (1, 10), (5, 60), (12, 640), (16, 2_560), (31, 491_520), (33, 10)] {
        assert_eq!(rnr_delay(timer), ns(1_000 * us), "{timer}");
    }
}

/// The receive is posted after 65 µs; the message comes after 1, and again every 20 µs and what the packet and its answer take.
#[test]
fn a_message_comes_again_until_its_receive_is_posted() {
    for recovery in RECOVERIES {
        let mut pair = Pair::late(Transport { recovery, ..posted(2, RNR_FOR_EVER) }, &[3 * MTU], ns(65_000));
        pair.run();
        pair.assert_delivered();
        let counters = pair.counters();
        assert_eq!((counters.rnr_naks_rx, counters.naks_rx, counters.timeouts), (3, 0, 0), "{recovery:?}");
        let naks: Vec<_> = pair.from(Side::B).filter(|sent| !sent.is_ack()).collect();
        assert!(naks.iter().all(|nak| nak.packet.psn == 0 && nak.packet.syndrome == Syndrome::RnrNak { timer: 2 }));
        let starts: Vec<Time> =
            pair.from(Side::A).filter(|sent| sent.packet.opcode == Opcode::SendFirst).map(|sent| sent.at).collect();
        for (nak, again) in naks.iter().zip(starts.iter().skip(1)) {
            assert!(again.since(nak.at) >= ns(20_000), "{recovery:?}: told at {:?}, back at {again:?}", nak.at);
        }
        assert_eq!(counters.retransmitted, 3 * 3);
    }
}

/// Receives are posted one by one, each late: what came before one that is missing is acknowledged by the RNR NAK itself.
#[test]
fn each_message_waits_for_its_own_receive() {
    for recovery in RECOVERIES {
        let seldom = Transport { recovery, window: 64, ack_every: 60, ..posted(1, RNR_FOR_EVER) };
        let mut pair = Pair::late(seldom, &[2 * MTU, 5, 0, 9 * MTU], ns(30_000));
        pair.run();
        pair.assert_delivered();
        assert!(pair.counters().rnr_naks_rx >= 4 && pair.counters().timeouts == 0, "{recovery:?}");
    }
}

#[test]
fn writes_and_receives_that_are_always_there_know_no_rnr() {
    for transport in [Transport { verb: Verb::Write, ..posted(1, 0) }, transport(Verb::Send)] {
        let mut pair = Pair::late(transport, &[3 * MTU, 9], ns(65_000));
        pair.run();
        pair.assert_delivered();
        assert_eq!((pair.counters().rnr_naks_rx, pair.counters().retransmitted), (0, 0));
    }
}

#[test]
fn the_connection_fails_when_rnr_retries_run_out() {
    for retries in [0, 2, 6] {
        let mut pair = Pair::late(posted(3, retries), &[2 * MTU], ns(10_000_000));
        pair.run();
        assert_eq!(pair.counters().rnr_naks_rx, u64::from(retries) + 1);
        assert!(pair.a.counters().all(|(_, _, failure)| failure == Some(Failure::RnrRetryExceeded)));
        assert_eq!(pair.events_a.iter().filter(|event| **event == Event::QpFailed { qpn: QPN }).count(), 1);
        assert!(!pair.a.is_finished());
        pair.assert_untouched(64, 2 * MTU);
    }
}

/// Two messages, each of which needs two retries: with two allowed, the first one's progress restores them for the second.
#[test]
fn progress_restores_the_rnr_retries() {
    let mut pair = Pair::late(posted(3, 2), &[MTU, MTU], ns(60_000));
    pair.run();
    pair.assert_delivered();
    assert_eq!(pair.counters().rnr_naks_rx, 4);
}

proptest! {
    #![proptest_config(common::cases(150))]

    /// Late receives on an unruly wire: every message arrives exactly once, in order, in its place.
    #[test]
    fn late_receives_cost_time_only(
        seed in any::<u64>(),
        sizes in prop::collection::vec(0u64..20 * MTU, 1..8),
        window in 5u64..40,
        delay in 1u64..200_000,
        timer in 1u8..12,
        faults in 0u32..20,
        recovery in prop::sample::select(&RECOVERIES[..]),
    ) {
        let mut random = Pcg64::seed_from_u64(seed);
        let patient = Transport { window, recovery, retries: 1_000, ..posted(timer, RNR_FOR_EVER) };
        let mut pair = Pair::late(patient, &sizes, ns(delay));
        pair.run_with(|_, _| {
            if random.next_u32() % 100 >= faults {
                return Fate::Deliver;
            }
            match random.next_u32() % 3 {
                0 => Fate::Drop,
                1 => Fate::Twice,
                _ => Fate::Late(ns(u64::from(random.next_u32() % 100_000))),
            }
        });
        pair.assert_delivered();
    }
}
