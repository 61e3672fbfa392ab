//! Many deadlines: a tournament, in which one that changes is compared with one other a level.

use super::Due;
use crate::units::Time;

/// A binary tree in which every node holds the earlier of its two children, of equal ones that of the lower slot. Setting a deadline
/// replays the matches that it was or becomes part of, at most one a level.
#[derive(Debug)]
pub(crate) struct Tournament {
    /// Node n plays the winners of nodes 2n and 2n + 1; the leaves are the slots, from `leaves` on.
    tree: Vec<Due>,
    leaves: usize,
}

impl Tournament {
    pub fn new(slots: usize) -> Tournament {
        // One leaf is both leaf and root of its tree, and must not be node 0.
        let leaves = slots.next_power_of_two().max(2);
        let winner = |node: usize| {
            // Of all that are never due the lowest slot wins: the leftmost leaf below the node.
            let mut leaf = node.max(1);
            while leaf < leaves {
                leaf *= 2;
            }
            Due::new(Time::NEVER, leaf - leaves)
        };
        Tournament { tree: (0..2 * leaves).map(winner).collect(), leaves }
    }

    #[inline]
    pub fn earliest(&self) -> Due {
        self.tree[1]
    }

    #[inline]
    pub fn get(&self, slot: usize) -> Time {
        self.tree[self.leaves + slot].at()
    }

    #[inline]
    pub fn set(&mut self, slot: usize, at: Time) {
        let mut node = self.leaves + slot;
        let mut winner = Due::new(at, slot);
        while self.tree[node] != winner {
            self.tree[node] = winner;
            if node == 1 {
                return;
            }
            winner = winner.min(self.tree[node ^ 1]);
            node /= 2;
        }
    }
}
