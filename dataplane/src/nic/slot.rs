//! The timers of a host, and their slots in one table.

/// What a timer of a host is for; NICs and connections are counted from 0.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum Slot {
    /// An op of a schedule ends, or a copy arrives.
    Ranks,
    /// The port of a NIC has something to send, or may send again.
    Port(usize),
    Inject(usize),
    Storm(usize),
    /// A frame of the kernel may start.
    Guests(usize),
    Retransmit(usize),
    /// The rate of a connection is to change.
    Rate(usize),
}

/// Slots before those of NICs, and of each NIC.
const FIXED: usize = 1;
const OF_A_NIC: usize = 4;

/// The slots of a host with so many NICs: one, those of the NICs, and two of each connection.
#[derive(Copy, Clone, Debug)]
pub(super) struct Slots {
    pub nics: usize,
}

impl Slots {
    /// Return how many slots there are with so many connections.
    pub const fn count(self, connections: usize) -> usize {
        FIXED + OF_A_NIC * self.nics + 2 * connections
    }

    #[inline]
    pub const fn index(self, slot: Slot) -> usize {
        match slot {
            Slot::Ranks => 0,
            Slot::Port(nic) => FIXED + OF_A_NIC * nic,
            Slot::Inject(nic) => FIXED + OF_A_NIC * nic + 1,
            Slot::Storm(nic) => FIXED + OF_A_NIC * nic + 2,
            Slot::Guests(nic) => FIXED + OF_A_NIC * nic + 3,
            Slot::Retransmit(connection) => self.count(connection),
            Slot::Rate(connection) => self.count(connection) + 1,
        }
    }

    /// Return what the timer in a slot is for.
    #[inline]
    pub const fn of(self, index: usize) -> Slot {
        if index < FIXED {
            return Slot::Ranks;
        }
        if index < self.count(0) {
            let nic = (index - FIXED) / OF_A_NIC;
            return match (index - FIXED) % OF_A_NIC {
                0 => Slot::Port(nic),
                1 => Slot::Inject(nic),
                2 => Slot::Storm(nic),
                _ => Slot::Guests(nic),
            };
        }
        let connection = (index - self.count(0)) / 2;
        if (index - self.count(0)).is_multiple_of(2) {
            Slot::Retransmit(connection)
        } else {
            Slot::Rate(connection)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_slot_is_of_one_timer() {
        for slots in [Slots { nics: 1 }, Slots { nics: 3 }] {
            for index in 0..slots.count(3) {
                assert_eq!(slots.index(slots.of(index)), index);
            }
            assert_eq!(slots.of(slots.count(3) - 1), Slot::Rate(2));
        }
    }
}
