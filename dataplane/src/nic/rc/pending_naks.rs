//! NAKs of a responder whose packets have not arrived yet, in the order in which they were sent (selective repeat).
//!
//! Packets are sent again in the order in which they were asked for, and paths keep order. So when one of them comes, those that were
//! asked for before it and have not come were lost again, or the NAKs for them were: each is to be asked for once more. The sender
//! cannot see that, as acknowledgements name the oldest missing packet alone.

use std::collections::BTreeMap;

#[derive(Debug, Default)]
pub struct PendingNaks {
    /// Packets by the number of the NAK, and NAKs by the number of the packet.
    packets: BTreeMap<u64, u64>,
    naks: BTreeMap<u64, u64>,
    sent: u64,
}

impl PendingNaks {
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

    fn pending(packets: &[u64]) -> PendingNaks {
        let mut naks = PendingNaks::default();
        packets.iter().for_each(|&psn| naks.ask(psn));
        naks
    }

    #[test]
    fn what_comes_in_order_overtakes_nothing() {
        let mut naks = pending(&[3, 7, 8]);
        for psn in [3, 7, 8] {
            assert!(naks.came(psn).is_empty());
        }
        assert!(naks.is_empty());
    }

    #[test]
    fn overtaken_packets_are_requested_again_behind_all_others() {
        let mut naks = pending(&[3, 7, 8, 12]);
        assert_eq!(naks.came(8), [3, 7]);
        // 12 was asked for before 3 and 7 were again.
        assert!(naks.came(12).is_empty());
        assert_eq!(naks.came(7), [3]);
        assert!(naks.came(3).is_empty());
        assert!(naks.is_empty());
    }

    #[test]
    fn unsolicited_and_duplicate_packets_trigger_no_nak() {
        let mut naks = pending(&[3, 7]);
        assert!(naks.came(5).is_empty());
        assert_eq!(naks.came(7), [3]);
        assert!(naks.came(7).is_empty());
    }
}
