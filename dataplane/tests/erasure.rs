//! Erasure on a wire under test control: what parity makes up for costs nothing, and what it does not is asked for once.

mod common;

use _dataplane::nic::rc::code::Code;
use _dataplane::nic::rc::message::Verb;
use _dataplane::nic::rc::qp::{Recovery, Transport};
use _dataplane::wire::roce::Opcode;
use common::pair::{transport, Fate, Pair, Sent, Side};
use proptest::prelude::*;

const MTU: u64 = 256;
const VERBS: [Verb; 2] = [Verb::Write, Verb::Send];

fn coded(verb: Verb, data: u8, parity: u8) -> Transport {
    Transport { recovery: Recovery::Erasure(Code { data, parity }), window: 64, ..transport(verb) }
}

/// What tells the packets of `a` apart: the number, and of parity its index.
fn name(sent: &Sent) -> (u32, Option<u8>) {
    (sent.packet.psn, (sent.packet.opcode == Opcode::Parity).then(|| sent.packet.peth().index))
}

/// Drop each of these packets of `a` the first time it is sent.
fn dropping(lost: &[(u32, Option<u8>)]) -> impl FnMut(&Sent, usize) -> Fate + '_ {
    let mut left = lost.to_vec();
    move |sent, _| match left.iter().position(|lost| sent.from == Side::A && *lost == name(sent)) {
        Some(at) => {
            left.swap_remove(at);
            Fate::Drop
        }
        None => Fate::Deliver,
    }
}

#[test]
fn parity_follows_each_block_and_the_short_one_at_the_end() {
    let mut pair = Pair::new(coded(Verb::Write, 4, 2), &[6 * MTU + 5, 0, MTU]);
    pair.run();
    pair.assert_delivered();
    let data = |psn: u32| (psn, None);
    let parity = |psn: u32| [(psn, Some(0)), (psn, Some(1))];
    let wanted = [
        &[data(0), data(1), data(2), data(3)][..],
        &parity(0),
        &[data(4), data(5), data(6)],
        &parity(4),
        &[data(7)],
        &parity(7),
        &[data(8)],
        &parity(8),
    ];
    assert_eq!(pair.from(Side::A).map(name).collect::<Vec<_>>(), wanted.concat());
    let counters = pair.counters();
    assert_eq!((counters.packets_tx, counters.parity_tx, counters.blocks), (9 + 8, 8, 4));
    assert_eq!((counters.retransmitted, counters.naks_rx, counters.blocks_asked), (0, 0, 0));
    assert_eq!(pair.b.recovered(17, 1), Some(0));
}

/// Every choice of two losses among the six packets of a block, first, last and only ones included, and in every message.
#[test]
fn as_many_losses_as_there_is_parity_cost_no_round_trip() {
    let blocks: [(u32, u8); 3] = [(0, 4), (4, 3), (7, 1)];
    for verb in VERBS {
        for (first, data) in blocks {
            let packets: Vec<_> = (0..data)
                .map(|index| (first + u32::from(index), None))
                .chain((0..2).map(|index| (first, Some(index))))
                .collect();
            for (at, one) in packets.iter().enumerate() {
                for two in &packets[at..] {
                    let mut pair = Pair::new(coded(verb, 4, 2), &[6 * MTU + 5, 17]);
                    pair.run_with(dropping(&[*one, *two]));
                    pair.assert_delivered();
                    let counters = pair.counters();
                    assert_eq!(
                        (counters.retransmitted, counters.naks_rx, counters.timeouts),
                        (0, 0, 0),
                        "{one:?} {two:?}"
                    );
                    let lost = [one, two].iter().filter(|(_, parity)| parity.is_none()).count() as u64;
                    let lost = if one == two { lost / 2 } else { lost };
                    assert_eq!(pair.b.recovered(17, 1), Some(lost));
                }
            }
        }
    }
}

/// Three of six are lost and two can be rebuilt: one packet is asked for, sent again, and the block is whole.
#[test]
fn one_loss_too_many_is_requested_alone() {
    for lost in [
        [(0, None), (1, None), (3, None)],
        [(1, None), (2, None), (0, Some(0))],
        [(0, None), (0, Some(0)), (0, Some(1))],
    ] {
        let mut pair = Pair::new(coded(Verb::Send, 4, 2), &[12 * MTU]);
        pair.run_with(dropping(&lost));
        pair.assert_delivered();
        let counters = pair.counters();
        assert_eq!((counters.retransmitted, counters.naks_rx, counters.timeouts), (1, 1, 0), "{lost:?}");
        assert_eq!(counters.blocks_asked, 1);
    }
}

/// Blocks that leave no trace: each missing packet is asked for when one a block behind it comes.
#[test]
fn a_hole_of_many_blocks_is_requested_at_once() {
    let mut pair = Pair::new(coded(Verb::Write, 4, 1), &[40 * MTU]);
    pair.run_with(
        |sent, number| if sent.from == Side::A && (3..23).contains(&number) { Fate::Drop } else { Fate::Deliver },
    );
    pair.assert_delivered();
    let counters = pair.counters();
    // 16 of the 20 packets lost are data, numbers 3 to 18 of five blocks; parity of the last block makes up for one of them.
    assert_eq!((counters.retransmitted, counters.naks_rx, counters.timeouts, counters.blocks_asked), (15, 15, 0, 5));
}

#[test]
fn what_is_lost_with_nothing_behind_it_waits_for_the_timer() {
    let mut pair = Pair::new(coded(Verb::Write, 4, 1), &[4 * MTU]);
    pair.run_with(dropping(&[(2, None), (3, None), (0, Some(0))]));
    pair.assert_delivered();
    // All four: that packets 0 and 1 arrived was not acknowledged.
    assert_eq!((pair.counters().timeouts, pair.counters().retransmitted), (1, 4));
}

/// Nothing arrives from packet 2 on. The last block, sent again, shows the gap before it.
#[test]
fn a_hole_that_reaches_to_the_end_takes_one_timeout() {
    let mut pair = Pair::new(coded(Verb::Write, 4, 1), &[40 * MTU]);
    pair.run_with(
        |sent, number| if sent.from == Side::A && (2..50).contains(&number) { Fate::Drop } else { Fate::Deliver },
    );
    pair.assert_delivered();
    let counters = pair.counters();
    // 38 packets are missing; packet 0 is the oldest that is not acknowledged.
    assert_eq!((counters.timeouts, counters.retransmitted), (1, 39));
}

/// Two packets of each block are lost, and everything that the peer says until the timer runs out. The newest packet, sent again
/// then, has come before: so all that is missing is asked for once more, and not one packet a timeout.
#[test]
fn what_was_requested_in_vain_is_requested_again_after_one_timeout() {
    for verb in VERBS {
        let coded = coded(verb, 4, 1);
        let mut pair = Pair::new(coded, &[40 * MTU]);
        let mut first = dropping(&LOST);
        pair.run_with(|sent, number| match sent.from {
            Side::A => first(sent, number),
            Side::B if sent.at < coded.timeout => Fate::Drop,
            Side::B => Fate::Deliver,
        });
        pair.assert_delivered();
        let counters = pair.counters();
        // Packet 0, the oldest that is not acknowledged, and the last block; of the nine others one packet each, as their
        // parity makes up for the other.
        assert_eq!((counters.timeouts, counters.retransmitted), (1, 14));
    }
}

/// Packets 1 and 2 of each block of four.
const LOST: [(u32, Option<u8>); 20] = {
    let mut lost = [(0, None); 20];
    let mut at = 0;
    while at < 20 {
        lost[at].0 = (at as u32 / 2) * 4 + 1 + at as u32 % 2;
        at += 1;
    }
    lost
};

/// Parity of a block that was acknowledged before it could leave is not sent.
#[test]
fn parity_of_what_has_arrived_is_not_sent() {
    // A window of one block: the next one waits for the acknowledgement, which comes while parity is leaving.
    let long = Transport { window: 4, ..coded(Verb::Write, 4, 200) };
    let mut pair = Pair::new(long, &[8 * MTU]);
    pair.run();
    pair.assert_delivered();
    // An acknowledgement takes 2 µs and a packet 0.028 µs here: some 70 parity packets leave, and not 200, for each block.
    let counters = pair.counters();
    assert!((120..180).contains(&counters.parity_tx), "{}", counters.parity_tx);
    assert_eq!(counters.blocks, 2);
}

proptest! {
    #![proptest_config(common::cases(100))]

    /// Whatever data and parity are lost on the way there, as long as no block loses more than its parity nothing is sent again.
    #[test]
    fn losses_within_parity_are_free(
        verb in prop::sample::select(&VERBS[..]),
        sizes in prop::collection::vec(0u64..30 * MTU, 1..5),
        data in 1u8..12,
        parity in 1u8..5,
        picks in prop::collection::vec(any::<prop::sample::Index>(), 100),
    ) {
        let mut lost = Vec::new();
        let (mut psn, mut picks) = (0, picks.into_iter().cycle());
        for size in &sizes {
            let mut left = size.div_ceil(MTU).max(1) as u32;
            while left > 0 {
                let packets = left.min(u32::from(data));
                let mut block: Vec<_> = (psn..psn + packets).map(|psn| (psn, None)).collect();
                block.extend((0..parity).map(|index| (psn, Some(index))));
                for _ in 0..parity {
                    let at = picks.next().expect("endless").index(block.len());
                    lost.push(block.swap_remove(at));
                }
                psn += packets;
                left -= packets;
            }
        }
        let mut pair = Pair::new(coded(verb, data, parity), &sizes);
        pair.run_with(dropping(&lost));
        pair.assert_delivered();
        let counters = pair.counters();
        prop_assert_eq!((counters.retransmitted, counters.naks_rx, counters.timeouts), (0, 0, 0));
        let rebuilt = lost.iter().filter(|(_, parity)| parity.is_none()).count() as u64;
        prop_assert_eq!(pair.b.recovered(17, 1), Some(rebuilt));
    }
}
