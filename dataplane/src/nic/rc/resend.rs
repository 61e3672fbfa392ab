//! Packets to be sent again, in the order in which that was asked: the responder concludes from the order in which they come.

use std::collections::{BTreeSet, VecDeque};

#[derive(Debug, Default)]
pub struct Resend {
    /// Some that are no longer waiting may still be in here.
    order: VecDeque<u64>,
    waiting: BTreeSet<u64>,
}

impl Resend {
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Add a packet behind all others; one that waits already keeps its place.
    pub fn push(&mut self, psn: u64) {
        if self.waiting.insert(psn) {
            self.order.push_back(psn);
        }
    }

    #[inline]
    pub fn pop(&mut self) -> Option<u64> {
        while let Some(psn) = self.order.pop_front() {
            if self.waiting.remove(&psn) {
                return Some(psn);
            }
        }
        None
    }

    /// These packets have arrived.
    pub fn forget(&mut self, packets: std::ops::Range<u64>) {
        if !self.waiting.is_empty() {
            packets.for_each(|psn| {
                self.waiting.remove(&psn);
            });
        }
    }

    pub fn clear(&mut self) {
        self.order.clear();
        self.waiting.clear();
    }

    /// All packets before this one have arrived.
    pub fn forget_before(&mut self, psn: u64) {
        self.waiting = self.waiting.split_off(&psn);
        if self.waiting.is_empty() {
            self.order.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_come_first_served_and_each_once() {
        let mut resend = Resend::default();
        [9, 4, 9, 7].into_iter().for_each(|psn| resend.push(psn));
        assert_eq!(std::iter::from_fn(|| resend.pop()).collect::<Vec<_>>(), [9, 4, 7]);
        assert!(resend.is_empty());
    }

    #[test]
    fn what_arrived_is_not_sent_again() {
        let mut resend = Resend::default();
        [9, 4, 7].into_iter().for_each(|psn| resend.push(psn));
        resend.forget_before(7);
        assert_eq!((resend.pop(), resend.pop()), (Some(9), Some(7)));
        resend.push(4);
        resend.forget_before(10);
        assert!(resend.is_empty());
        assert_eq!(resend.pop(), None);
    }

    #[test]
    fn what_is_forgotten_leaves_the_others_in_their_order() {
        let mut resend = Resend::default();
        [9, 4, 7, 5].into_iter().for_each(|psn| resend.push(psn));
        resend.forget(4..6);
        assert_eq!(std::iter::from_fn(|| resend.pop()).collect::<Vec<_>>(), [9, 7]);
        resend.push(3);
        resend.clear();
        assert!(resend.is_empty());
        resend.push(8);
        assert_eq!((resend.pop(), resend.pop()), (Some(8), None));
    }
}
