//! What a responder has asked for and not got yet, in the order of asking (selective repeat).
//!
//! Packets are sent again in the order in which they were asked for, and paths keep order. So when one of them comes, those that were
//! asked for before it and have not come were lost again, or the NAKs for them were: each is to be asked for once more. The sender
//! cannot see that, as acknowledgements name the oldest missing packet alone.

use std::collections::BTreeMap;

#[derive(Debug, Default)]
pub struct Asked {
    /// Packets by the number of the NAK, and NAKs by the number of the packet.
    packets: BTreeMap<u64, u64>,
    naks: BTreeMap<u64, u64>,
    sent: u64,
}

impl Asked {
    pub fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    /// A NAK for this packet is sent.
    pub fn ask(&mut self, psn: u64) {
        if let Some(before) = self.naks.insert(psn, self.sent) {
            self.packets.remove(&before);
        }
        self.packets.insert(self.sent, psn);
        self.sent += 1;
    }

    /// A packet came. If it was asked for, those that it overtook are asked for again: the answer is which.
    pub fn came(&mut self, psn: u64) -> Vec<u64> {
        let Some(nak) = self.naks.remove(&psn) else { return Vec::new() };
        let later = self.packets.split_off(&nak);
        let overtaken: Vec<u64> = std::mem::replace(&mut self.packets, later).into_values().collect();
        self.packets.remove(&nak);
        overtaken.iter().for_each(|&psn| self.ask(psn));
        overtaken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(packets: &[u64]) -> Asked {
        let mut asked = Asked::default();
        packets.iter().for_each(|&psn| asked.ask(psn));
        asked
    }

    #[test]
    fn what_comes_in_order_overtakes_nothing() {
        let mut asked = asked(&[3, 7, 8]);
        for psn in [3, 7, 8] {
            assert!(asked.came(psn).is_empty());
        }
        assert!(asked.is_empty());
    }

    #[test]
    fn what_was_overtaken_is_asked_for_again_behind_all_others() {
        let mut asked = asked(&[3, 7, 8, 12]);
        assert_eq!(asked.came(8), [3, 7]);
        // 12 was asked for before 3 and 7 were again.
        assert!(asked.came(12).is_empty());
        assert_eq!(asked.came(7), [3]);
        assert!(asked.came(3).is_empty());
        assert!(asked.is_empty());
    }

    #[test]
    fn what_was_not_asked_for_or_came_already_says_nothing() {
        let mut asked = asked(&[3, 7]);
        assert!(asked.came(5).is_empty());
        assert_eq!(asked.came(7), [3]);
        assert!(asked.came(7).is_empty());
    }
}
