//! Repair by timers alone on a wire under test control: which chunks are sent again and when, and what an acknowledgement says.

mod common;

use _dataplane::nic::rc::message::Verb;
use _dataplane::nic::rc::qp::{Failure, Recovery, Transport};
use _dataplane::units::Time;
use common::frames::ns;
use common::pair::{transport, Fate, Pair, Side};

const MTU: u64 = 256;

/// Chunks of 4 packets, a window of 64, 3 retries of 65.536 µs.
fn chunked(verb: Verb) -> Transport {
    Transport { recovery: Recovery::Timer { chunk: 4 }, window: 64, ..transport(verb) }
}

fn acknowledged(pair: &Pair) -> Vec<u32> {
    pair.from(Side::B).map(|sent| sent.packet.psn).collect()
}

/// Packet 5 is lost: all of its chunk is sent again when that has been on its way for the timeout, and nothing else, in no time else.
#[test]
fn a_chunk_is_sent_again_whole_when_its_timer_runs_out() {
    for verb in [Verb::Write, Verb::Send] {
        let mut pair = Pair::new(chunked(verb), &[18 * MTU]);
        pair.run_with(|sent, number| if sent.from == Side::A && number == 5 { Fate::Drop } else { Fate::Deliver });
        pair.assert_delivered();
        assert_eq!(pair.psns(), (0..18).chain(4..8).collect::<Vec<_>>());
        let at = |number: usize| pair.from(Side::A).nth(number).expect("sent").at;
        assert_eq!(at(18), at(7) + chunked(verb).timeout, "from when its last packet left");
        let counters = pair.counters();
        assert_eq!((counters.retransmitted, counters.timeouts, counters.naks_rx), (4, 1, 0));
        assert_eq!(acknowledged(&pair), [3, 11, 15, 17, 7], "each chunk when it is whole");
    }
}

/// Chunks that are lost at the same time are repaired side by side, each as often as it is lost; the others wait for nobody.
#[test]
fn every_chunk_has_a_timer_of_its_own() {
    let mut pair = Pair::new(chunked(Verb::Write), &[40 * MTU]);
    let mut copies = [0; 40];
    pair.run_with(|sent, _| {
        let losses = [(2, 1), (17, 3), (33, 2)].iter().find(|(psn, _)| *psn == sent.packet.psn);
        let Some((psn, losses)) = losses.filter(|_| sent.is_data()) else { return Fate::Deliver };
        copies[*psn as usize] += 1;
        if copies[*psn as usize] <= *losses {
            Fate::Drop
        } else {
            Fate::Deliver
        }
    });
    pair.assert_delivered();
    assert_eq!((pair.counters().retransmitted, pair.counters().timeouts), (6 * 4, 6));
    let timeout = chunked(Verb::Write).timeout.ps();
    let last = pair.from(Side::A).last().expect("sent").at.ps();
    assert!((3 * timeout..3 * timeout + timeout / 4).contains(&last), "{last} ps");
}

/// Acknowledgements of others do not cover it: a chunk whose acknowledgement is lost comes again, and is acknowledged again.
#[test]
fn a_lost_acknowledgement_costs_a_timeout_and_no_delivery() {
    let mut pair = Pair::new(chunked(Verb::Write), &[12 * MTU]);
    pair.run_with(|sent, number| if sent.from == Side::B && number == 1 { Fate::Drop } else { Fate::Deliver });
    pair.assert_delivered();
    assert_eq!(acknowledged(&pair), [3, 7, 11, 7]);
    assert_eq!((pair.counters().retransmitted, pair.counters().timeouts), (4, 1));
}

/// A chunk of which another packet is lost each time lacks one each time, whatever came before: it arrives whole or not at all.
#[test]
fn parts_of_different_attempts_make_no_chunk() {
    let mut pair = Pair::new(chunked(Verb::Write), &[12 * MTU]);
    let lost = [4, 12 + 1, 16 + 2];
    pair.run_with(
        |sent, number| {
            if sent.from == Side::A && lost.contains(&number) {
                Fate::Drop
            } else {
                Fate::Deliver
            }
        },
    );
    pair.assert_delivered();
    assert_eq!(acknowledged(&pair), [3, 11, 7]);
    assert_eq!((pair.counters().retransmitted, pair.counters().timeouts), (3 * 4, 3));
}

/// Messages that share a chunk are units of it, each with a timer and an acknowledgement of its own.
#[test]
fn short_messages_share_a_chunk() {
    let mut pair = Pair::new(chunked(Verb::Send), &[MTU, 0, 5, 6 * MTU, MTU]);
    pair.run();
    pair.assert_delivered();
    assert_eq!(acknowledged(&pair), [0, 1, 2, 3, 7, 8, 9]);
    assert_eq!(pair.counters().timeouts, 0);
    let mut pair = Pair::new(chunked(Verb::Send), &[MTU, MTU, MTU, MTU, MTU]);
    pair.run_with(|sent, number| if sent.from == Side::A && number == 0 { Fate::Drop } else { Fate::Deliver });
    pair.assert_delivered();
    assert_eq!((acknowledged(&pair), pair.psns()), (vec![1, 2, 3, 4, 0], vec![0, 1, 2, 3, 4, 0]));
}

#[test]
fn a_chunk_that_never_arrives_ends_the_connection() {
    let mut pair = Pair::new(chunked(Verb::Write), &[16 * MTU]);
    pair.run_with(|sent, _| if sent.is_data() && sent.packet.psn == 6 { Fate::Drop } else { Fate::Deliver });
    assert!(pair.a.counters().all(|(_, _, failure)| failure == Some(Failure::RetryExceeded)));
    let starts: Vec<Time> = pair.from(Side::A).filter(|sent| sent.packet.psn == 6).map(|sent| sent.at).collect();
    assert_eq!(starts.len(), 4, "once, and three times more");
    assert!(pair.now.since(starts[3]) < chunked(Verb::Write).timeout + ns(1_000));
}
