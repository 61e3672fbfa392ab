//! The eight 802.1p priorities, and sets of them.

use std::fmt;
use std::ops::{BitAnd, BitOr, Index, IndexMut, Not};

use serde::{Deserialize, Serialize};

pub const PRIORITIES: usize = 8;
pub const DSCPS: usize = 64;

/// The priority of each DSCP without a map of them: that of its class selector.
pub const CLASS_SELECTORS: [Priority; DSCPS] = {
    let mut table = [Priority::P0; DSCPS];
    let mut dscp = 0;
    while dscp < DSCPS {
        table[dscp] = Priority::of_dscp(dscp as u8);
        dscp += 1;
    }
    table
};

/// One of the eight 802.1p priorities: below 8 by construction. It indexes arrays of `PRIORITIES` entries.
#[derive(Copy, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(try_from = "u8", into = "u8")]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(with = "u8"))]
pub struct Priority(u8);

impl Priority {
    pub const P0: Priority = Priority(0);
    pub const P1: Priority = Priority(1);
    pub const P2: Priority = Priority(2);
    pub const P3: Priority = Priority(3);
    pub const P4: Priority = Priority(4);
    pub const P5: Priority = Priority(5);
    pub const P6: Priority = Priority(6);
    pub const P7: Priority = Priority(7);
    /// In ascending order.
    pub const ALL: [Priority; PRIORITIES] = [
        Priority::P0,
        Priority::P1,
        Priority::P2,
        Priority::P3,
        Priority::P4,
        Priority::P5,
        Priority::P6,
        Priority::P7,
    ];

    /// Return the priority that the low three bits of `bits` say.
    #[inline]
    pub const fn from_bits(bits: u8) -> Priority {
        Priority(bits & 7)
    }

    /// Return the priority whose class selector a DSCP belongs to: its upper three bits (RFC 2474, 4.2.2).
    #[inline]
    pub const fn of_dscp(dscp: u8) -> Priority {
        Priority::from_bits(dscp >> 3)
    }

    #[inline]
    pub const fn number(self) -> u8 {
        self.0
    }

    #[inline]
    pub const fn index(self) -> usize {
        // The mask costs nothing and tells the compiler that no bound need be checked.
        (self.0 & 7) as usize
    }

    /// Return the slot of this priority at `port` in a table by port and priority.
    #[inline]
    pub fn slot(self, port: u16) -> usize {
        usize::from(port) * PRIORITIES + self.index()
    }
}

impl TryFrom<u8> for Priority {
    type Error = String;

    fn try_from(number: u8) -> Result<Priority, String> {
        if usize::from(number) < PRIORITIES {
            Ok(Priority(number))
        } else {
            Err(format!("priority {number} is not between 0 and 7"))
        }
    }
}

impl From<Priority> for u8 {
    fn from(priority: Priority) -> u8 {
        priority.0
    }
}

impl From<Priority> for u64 {
    fn from(priority: Priority) -> u64 {
        u64::from(priority.0)
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl fmt::Debug for Priority {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl<T> Index<Priority> for [T; PRIORITIES] {
    type Output = T;

    #[inline]
    fn index(&self, priority: Priority) -> &T {
        &self[priority.index()]
    }
}

impl<T> IndexMut<Priority> for [T; PRIORITIES] {
    #[inline]
    fn index_mut(&mut self, priority: Priority) -> &mut T {
        &mut self[priority.index()]
    }
}

/// A set of priorities, a bit each: bit p stands for priority p.
#[derive(Copy, Clone, Default, PartialEq, Eq, Hash)]
pub struct PrioritySet(u8);

impl PrioritySet {
    pub const NONE: PrioritySet = PrioritySet(0);
    pub const ALL: PrioritySet = PrioritySet(u8::MAX);

    #[inline]
    pub const fn from_bits(bits: u8) -> PrioritySet {
        PrioritySet(bits)
    }

    #[inline]
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// Return the set of one priority.
    #[inline]
    pub const fn only(priority: Priority) -> PrioritySet {
        PrioritySet(1 << priority.index())
    }

    #[inline]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    #[inline]
    pub const fn contains(self, priority: Priority) -> bool {
        self.0 & (1 << priority.index()) != 0
    }

    #[inline]
    pub fn insert(&mut self, priority: Priority) {
        self.0 |= 1 << priority.index();
    }

    #[inline]
    pub fn remove(&mut self, priority: Priority) {
        self.0 &= !(1 << priority.index());
    }

    /// Return the lowest priority of the set.
    #[inline]
    pub fn lowest(self) -> Option<Priority> {
        (self.0 != 0).then(|| Priority::from_bits(self.0.trailing_zeros() as u8))
    }

    /// Return the only priority of the set; `None` if there are none or several.
    #[inline]
    pub fn single(self) -> Option<Priority> {
        self.lowest().filter(|_| self.0.is_power_of_two())
    }

    /// Return the set without the priorities of another.
    #[inline]
    pub const fn without(self, other: PrioritySet) -> PrioritySet {
        PrioritySet(self.0 & !other.0)
    }
}

impl BitAnd for PrioritySet {
    type Output = PrioritySet;

    #[inline]
    fn bitand(self, other: PrioritySet) -> PrioritySet {
        PrioritySet(self.0 & other.0)
    }
}

impl BitOr for PrioritySet {
    type Output = PrioritySet;

    #[inline]
    fn bitor(self, other: PrioritySet) -> PrioritySet {
        PrioritySet(self.0 | other.0)
    }
}

impl Not for PrioritySet {
    type Output = PrioritySet;

    #[inline]
    fn not(self) -> PrioritySet {
        PrioritySet(!self.0)
    }
}

impl FromIterator<Priority> for PrioritySet {
    fn from_iter<I: IntoIterator<Item = Priority>>(priorities: I) -> PrioritySet {
        priorities.into_iter().fold(PrioritySet::NONE, |set, priority| set | PrioritySet::only(priority))
    }
}

/// The priorities of a set, the lowest first.
#[derive(Clone, Debug)]
pub struct Members(PrioritySet);

impl Iterator for Members {
    type Item = Priority;

    #[inline]
    fn next(&mut self) -> Option<Priority> {
        let priority = self.0.lowest()?;
        self.0 .0 &= self.0 .0 - 1;
        Some(priority)
    }
}

impl IntoIterator for PrioritySet {
    type Item = Priority;
    type IntoIter = Members;

    #[inline]
    fn into_iter(self) -> Members {
        Members(self)
    }
}

impl fmt::Debug for PrioritySet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(*self).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_above_seven_are_no_priorities() {
        assert_eq!(serde_json::from_str::<Priority>("7").unwrap(), Priority::P7);
        let fault = serde_json::from_str::<Priority>("8").unwrap_err().to_string();
        assert!(fault.starts_with("priority 8 is not between 0 and 7"), "{fault}");
        assert_eq!(serde_json::to_string(&Priority::P3).unwrap(), "3");
    }

    #[test]
    fn a_dscp_has_the_priority_of_its_class_selector() {
        for (dscp, priority) in [(0, Priority::P0), (7, Priority::P0), (26, Priority::P3), (48, Priority::P6)] {
            assert_eq!(Priority::of_dscp(dscp), priority, "{dscp}");
        }
    }

    proptest! {
        #[test]
        fn a_set_holds_what_its_bits_say(bits: u8, other: u8) {
            let (set, two) = (PrioritySet::from_bits(bits), PrioritySet::from_bits(other));
            let members: Vec<u8> = set.into_iter().map(Priority::number).collect();
            let expected: Vec<u8> = (0..8).filter(|number| bits >> number & 1 == 1).collect();
            prop_assert_eq!(&members, &expected);
            prop_assert_eq!(set.lowest().map(Priority::number), expected.first().copied());
            prop_assert_eq!(set.single().is_some(), expected.len() == 1);
            prop_assert_eq!(set.into_iter().collect::<PrioritySet>(), set);
            prop_assert_eq!((set & two, set | two, set.without(two)), (
                PrioritySet::from_bits(bits & other),
                PrioritySet::from_bits(bits | other),
                PrioritySet::from_bits(bits & !other),
            ));
            for priority in Priority::ALL {
                let (mut with, mut without) = (set, set);
                with.insert(priority);
                without.remove(priority);
                prop_assert!(with.contains(priority) && !without.contains(priority));
                prop_assert_eq!(with == set, set.contains(priority));
            }
        }
    }
}
