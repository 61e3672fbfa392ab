//! Selective repeat on a wire under test control: what is sent again, what shows that it was lost again, and what waits for the timer.

mod common;

use _dataplane::nic::rc::message::Verb;
use _dataplane::nic::rc::qp::{Recovery, Transport};
use common::pair::{transport, Fate, Pair, Side};

const VERBS: [Verb; 2] = [Verb::Write, Verb::Send];
const MTU: u64 = 256;

/// Three losses, two of them neighbours: three packets are sent again and no other, and nothing waits for a timeout.
#[test]
fn selective_repeat_sends_again_what_was_lost_and_nothing_else() {
    for verb in VERBS {
        let selective = Transport { recovery: Recovery::SelectiveRepeat, window: 64, ..transport(verb) };
        let mut pair = Pair::new(selective, &[60 * MTU]);
        let mut seen = std::collections::HashSet::new();
        pair.run_with(|sent, _| {
            let unlucky = sent.is_data() && [5, 6, 40].contains(&sent.packet.psn) && seen.insert(sent.packet.psn);
            if unlucky {
                Fate::Drop
            } else {
                Fate::Deliver
            }
        });
        pair.assert_delivered();
        let counters = pair.counters();
        assert_eq!((counters.retransmitted, counters.naks_rx, counters.timeouts), (3, 3, 0));
    }
}

/// Packets that are lost again when they are sent again are noticed when one comes that was asked for after them: at once, not one
/// after the other. Only those are sent again, and nothing waits for the timer.
#[test]
fn selective_repeat_notices_the_loss_of_what_it_repeats() {
    let selective = Transport { recovery: Recovery::SelectiveRepeat, window: 256, ..transport(Verb::Write) };
    let mut pair = Pair::new(selective, &[300 * MTU]);
    let mut copies = [0; 300];
    pair.run_with(|sent, _| {
        let losses = [(5, 2), (9, 2), (11, 1), (200, 1)].iter().find(|(psn, _)| *psn == sent.packet.psn);
        let Some((psn, losses)) = losses.filter(|_| sent.is_data()) else { return Fate::Deliver };
        copies[*psn as usize] += 1;
        if copies[*psn as usize] <= *losses {
            Fate::Drop
        } else {
            Fate::Deliver
        }
    });
    pair.assert_delivered();
    let counters = pair.counters();
    assert_eq!((counters.retransmitted, counters.naks_rx, counters.timeouts), (6, 6, 0));
}

/// A packet that is lost again, with nothing asked for after it, is noticed when a later one that is lost has been sent again.
#[test]
fn selective_repeat_notices_a_repeat_that_is_lost_alone() {
    let selective = Transport { recovery: Recovery::SelectiveRepeat, window: 256, ..transport(Verb::Write) };
    let mut pair = Pair::new(selective, &[300 * MTU]);
    let (mut copies, mut others) = (0, 0);
    pair.run_with(|sent, _| {
        let first = sent.is_data() && sent.packet.psn == 5;
        copies += usize::from(first);
        let later = sent.is_data() && sent.packet.psn == 200;
        others += usize::from(later);
        if (first && copies <= 2) || (later && others == 1) {
            Fate::Drop
        } else {
            Fate::Deliver
        }
    });
    pair.assert_delivered();
    let counters = pair.counters();
    assert_eq!((counters.retransmitted, counters.naks_rx, counters.timeouts), (3, 3, 0));
}

/// The NAK for packet 5 is lost: packet 9, asked for after it, comes first and shows that. Nothing else is sent again.
#[test]
fn selective_repeat_notices_the_loss_of_a_nak() {
    let selective = Transport { recovery: Recovery::SelectiveRepeat, window: 256, ..transport(Verb::Write) };
    let mut pair = Pair::new(selective, &[300 * MTU]);
    let mut lost = std::collections::HashSet::new();
    pair.run_with(|sent, _| {
        let data = sent.is_data() && [5, 9, 200].contains(&sent.packet.psn);
        let unlucky = data || (sent.is_nak() && sent.packet.psn == 5);
        if unlucky && lost.insert((sent.is_data(), sent.packet.psn)) {
            Fate::Drop
        } else {
            Fate::Deliver
        }
    });
    pair.assert_delivered();
    let counters = pair.counters();
    assert_eq!((counters.retransmitted, counters.naks_rx, counters.timeouts), (3, 3, 0));
}

/// Nothing arrives from packet 5 on. The newest packet, sent again, shows the gap before it, and all of it is asked for at once.
#[test]
fn a_gap_that_reaches_to_the_end_takes_one_timeout() {
    for verb in VERBS {
        let selective = Transport { recovery: Recovery::SelectiveRepeat, window: 64, ..transport(verb) };
        let mut pair = Pair::new(selective, &[60 * MTU]);
        pair.run_with(
            |sent, number| if sent.is_data() && (5..60).contains(&number) { Fate::Drop } else { Fate::Deliver },
        );
        pair.assert_delivered();
        let counters = pair.counters();
        // Packet 4 as well, the oldest that is not acknowledged.
        assert_eq!((counters.timeouts, counters.retransmitted), (1, 56));
    }
}

/// Every third packet is lost, and everything that the peer says until the timer runs out: one timeout makes up for all of it.
#[test]
fn what_was_requested_in_vain_is_requested_again_after_one_timeout() {
    let selective = Transport { recovery: Recovery::SelectiveRepeat, window: 64, ..transport(Verb::Write) };
    let mut pair = Pair::new(selective, &[60 * MTU]);
    pair.run_with(|sent, number| match sent.from {
        Side::A if number < 60 && number % 3 == 1 => Fate::Drop,
        Side::B if sent.at < selective.timeout => Fate::Drop,
        _ => Fate::Deliver,
    });
    pair.assert_delivered();
    let counters = pair.counters();
    // The 20 that were lost; and packets 0 and 59, the oldest that is not acknowledged and the newest.
    assert_eq!((counters.timeouts, counters.retransmitted), (1, 22));
}

/// With nothing behind it that is lost as well, it waits for the timer, which sends all that is still missing.
#[test]
fn selective_repeat_survives_the_loss_of_what_it_repeats() {
    let selective = Transport { recovery: Recovery::SelectiveRepeat, window: 64, ..transport(Verb::Write) };
    let mut pair = Pair::new(selective, &[60 * MTU]);
    let mut copies = [0; 64];
    pair.run_with(|sent, _| {
        if !sent.is_data() || ![5, 9].contains(&sent.packet.psn) {
            return Fate::Deliver;
        }
        let copy = &mut copies[sent.packet.psn as usize];
        *copy += 1;
        if *copy <= 2 {
            Fate::Drop
        } else {
            Fate::Deliver
        }
    });
    pair.assert_delivered();
    let counters = pair.counters();
    // Both twice, and packets 4 and 59, which have arrived without an acknowledgement: the sender cannot know.
    assert_eq!((counters.retransmitted, counters.timeouts), (6, 1));
}
