//! Snapshots of a fabric, and what two of them a period apart say.

use std::collections::HashMap;

use super::{Head, Reason, Sender, Visitor};
use crate::units::Time;

/// The bits of a packet's number that frames carry.
pub(super) const PSN_MASK: u64 = 0xff_ffff;

/// A fabric at one instant.
#[derive(Debug)]
pub struct Snapshot {
    pub at: Time,
    heads: Vec<Head>,
    index: HashMap<Sender, usize>,
    same: Vec<u64>,
    fixed: Vec<(u64, Reason)>,
    counts: Vec<u64>,
    countdowns: Vec<u64>,
    /// The first instant at which something happens that is not of the period.
    until: Time,
    refused: Option<Reason>,
}

/// What recurs: how long a period takes, and what it adds to each count and to the numbers of each sender's packets.
#[derive(Debug)]
pub struct Period {
    pub length: Time,
    /// So many more pass before something else happens, as far as the fabric itself knows.
    pub most: u64,
    pub(super) counts: Vec<u64>,
    pub(super) countdowns: Vec<u64>,
    pub(super) packets: HashMap<Sender, u64>,
}

impl Snapshot {
    /// Begin a snapshot of a fabric whose senders are there.
    pub fn new(at: Time, heads: Vec<Head>) -> Snapshot {
        let index = heads.iter().enumerate().map(|(index, head)| (head.sender, index)).collect();
        let (same, fixed, counts, countdowns) = Default::default();
        Snapshot { at, heads, index, same, fixed, counts, countdowns, until: Time::NEVER, refused: None }
    }

    /// How many values it has.
    pub fn size(&self) -> usize {
        self.same.len() + self.fixed.len() + self.counts.len()
    }

    /// Why no steady state is known of this fabric as it is.
    pub fn refused(&self) -> Option<Reason> {
        self.refused
    }

    /// Compare with an earlier snapshot: the period between them, or why there is none. With `Unsettled` one may follow
    /// from the same earlier snapshot.
    pub fn since(&self, before: &Snapshot) -> Result<Period, Reason> {
        if let Some(reason) = self.refused.or(before.refused) {
            return Err(reason);
        }
        if self.fixed != before.fixed {
            let differ = self.fixed.iter().zip(&before.fixed).find(|(now, then)| now != then);
            return Err(differ.map_or(Reason::Messages, |(now, _)| now.1));
        }
        if self.same != before.same || self.counts.len() != before.counts.len() {
            return Err(Reason::Unsettled);
        }
        let length = self.at.since(before.at);
        let mut most = self.until.since(self.at).ps().saturating_sub(1) / length.ps().max(1);
        let mut packets = HashMap::with_capacity(self.heads.len());
        for (now, then) in self.heads.iter().zip(&before.heads) {
            let sent = now.next.wrapping_sub(then.next);
            if now.sender != then.sender || sent > now.next {
                return Err(Reason::Messages);
            }
            most = most.min(now.room.checked_div(sent).unwrap_or(u64::MAX));
            packets.insert(now.sender, sent);
        }
        let mut countdowns = Vec::with_capacity(self.countdowns.len());
        for (now, then) in self.countdowns.iter().zip(&before.countdowns) {
            let Some(passed) = then.checked_sub(*now) else { return Err(Reason::Losses) };
            most = most.min(now.checked_div(passed).unwrap_or(u64::MAX));
            countdowns.push(passed);
        }
        // What nothing happens in is no period.
        if length == Time::ZERO || packets.values().all(|sent| *sent == 0) {
            return Err(Reason::Messages);
        }
        let counts = self.counts.iter().zip(&before.counts).map(|(now, then)| now.wrapping_sub(*then)).collect();
        Ok(Period { length, most, counts, countdowns, packets })
    }

    fn next_of(&mut self, sender: Sender) -> u64 {
        match self.index.get(&sender) {
            Some(index) => self.heads[*index].next,
            None => {
                // A packet of a workload that was given up.
                self.refuse(Reason::Messages);
                0
            }
        }
    }
}

impl Visitor for Snapshot {
    #[inline]
    fn same(&mut self, value: u64) {
        self.same.push(value);
    }

    #[inline]
    fn fixed(&mut self, value: u64, reason: Reason) {
        self.fixed.push((value, reason));
    }

    #[inline]
    fn instant(&mut self, at: &mut Time) {
        self.same.push(if *at == Time::NEVER { u64::MAX } else { at.since(self.at).ps() });
    }

    fn until(&mut self, at: Time) {
        self.fixed(at.ps(), Reason::Timers);
        self.until = self.until.min(at);
    }

    #[inline]
    fn count(&mut self, count: &mut u64) {
        self.counts.push(*count);
    }

    fn countdown(&mut self, left: &mut u64) {
        self.countdowns.push(*left);
    }

    fn number(&mut self, sender: Sender, number: &mut u64) {
        let next = self.next_of(sender);
        self.same(number.wrapping_sub(next));
    }

    fn psn(&mut self, sender: Sender, psn: &mut u32) {
        let next = self.next_of(sender);
        self.same(u64::from(*psn).wrapping_sub(next) & PSN_MASK);
    }

    fn refuse(&mut self, reason: Reason) {
        self.refused.get_or_insert(reason);
    }
}
