//! The timers of a NIC, and their slots in one table.

/// What a timer of a NIC is for; connections are counted from 0.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum Slot {
    /// The port has something to send, or may send again.
    Port,
    /// An op of the schedule has finished.
    Calc,
    Inject,
    Storm,
    Retransmit(usize),
    /// The rate of a connection is to change.
    Rate(usize),
}

/// Slots before those of connections, which have two each.
const FIXED: usize = 4;

impl Slot {
    /// Return how many slots a NIC with so many connections has.
    pub const fn count(connections: usize) -> usize {
        FIXED + 2 * connections
    }

    #[inline]
    pub const fn index(self) -> usize {
        match self {
            Slot::Port => 0,
            Slot::Calc => 1,
            Slot::Inject => 2,
            Slot::Storm => 3,
            Slot::Retransmit(connection) => FIXED + 2 * connection,
            Slot::Rate(connection) => FIXED + 2 * connection + 1,
        }
    }

    /// Return what the timer in a slot is for.
    #[inline]
    pub const fn of(index: usize) -> Slot {
        match index {
            0 => Slot::Port,
            1 => Slot::Calc,
            2 => Slot::Inject,
            3 => Slot::Storm,
            index if (index - FIXED).is_multiple_of(2) => Slot::Retransmit((index - FIXED) / 2),
            index => Slot::Rate((index - FIXED) / 2),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_slot_is_of_one_timer() {
        for index in 0..Slot::count(3) {
            assert_eq!(Slot::of(index).index(), index);
        }
        assert_eq!(Slot::of(Slot::count(3) - 1), Slot::Rate(2));
    }
}
