//! Selective repeat on a wire under test control: what is sent again, what shows that it was lost again, and what waits for the timer.

mod common;

use _dataplane::nic::message::Verb;
use _dataplane::nic::qp::{Recovery, Transport};
use common::pair::{transport, Fate, Pair};

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

/// A packet that is lost again when it is sent again is noticed when one behind it is reported missing; the next one, lost
/// twice too, when the first is repaired. Only those are sent again, and nothing waits for the timer.
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
    // Packet 4 as well: it arrived, but drew no acknowledgement, and the NAK of one like it might have been lost.
    assert_eq!((counters.retransmitted, counters.naks_rx, counters.timeouts), (7, 4, 0));
}

/// The NAK for packet 5 is lost. Packet 9 is sent again and stays unacknowledged; the NAK of a later one shows that, and all that
/// might be missing before it is sent again: packets 4 to 7, up to where the next acknowledgement is due.
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
    assert_eq!((counters.retransmitted, counters.naks_rx, counters.timeouts), (7, 2, 0));
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
    // Both twice, and packet 4, which has arrived without an acknowledgement: the sender cannot know.
    assert_eq!((counters.retransmitted, counters.timeouts), (5, 1));
}
