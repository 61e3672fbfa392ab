//! The timers of a switch, and their slots in one table.

/// What a timer of a switch is for.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum Slot {
    /// A port may send again.
    Port(u16),
    /// The pauses asked of the peer behind a port are to be renewed.
    Refresh(u16),
    Watchdog,
}

impl Slot {
    /// Return how many slots a switch of so many ports has.
    pub const fn count(ports: usize) -> usize {
        2 * ports + 1
    }

    #[inline]
    pub const fn index(self, ports: usize) -> usize {
        match self {
            Slot::Port(port) => port as usize,
            Slot::Refresh(port) => ports + port as usize,
            Slot::Watchdog => 2 * ports,
        }
    }

    /// Return what the timer in a slot is for.
    #[inline]
    pub const fn of(index: usize, ports: usize) -> Slot {
        if index < ports {
            Slot::Port(index as u16)
        } else if index < 2 * ports {
            Slot::Refresh((index - ports) as u16)
        } else {
            Slot::Watchdog
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_slot_is_of_one_timer() {
        for index in 0..Slot::count(5) {
            assert_eq!(Slot::of(index, 5).index(5), index);
        }
        assert_eq!(Slot::of(Slot::count(5) - 1, 5), Slot::Watchdog);
    }
}
