//! Taking a fabric whole periods ahead.

use super::observer::PSN_MASK;
use super::{Period, Reason, Sender, Visitor};
use crate::units::Time;

/// Takes a fabric, which stands where the second snapshot of a period was taken, so many periods ahead.
#[derive(Debug)]
pub struct Shifter<'a> {
    period: &'a Period,
    periods: u64,
    now: Time,
    counts: std::slice::Iter<'a, u64>,
    countdowns: std::slice::Iter<'a, u64>,
}

impl Shifter<'_> {
    /// `now`: when the fabric is there, before it is shifted.
    pub fn new(period: &Period, periods: u64, now: Time) -> Shifter<'_> {
        Shifter { period, periods, now, counts: period.counts.iter(), countdowns: period.countdowns.iter() }
    }

    /// How far everything moves in time.
    pub fn span(&self) -> Time {
        Time::from_ps(self.period.length.ps() * self.periods)
    }

    fn packets(&self, sender: Sender) -> u64 {
        self.period.packets.get(&sender).map_or(0, |sent| sent * self.periods)
    }
}

impl Visitor for Shifter<'_> {
    fn same(&mut self, _: u64) {}

    fn fixed(&mut self, _: u64, _: Reason) {}

    fn instant(&mut self, at: &mut Time) {
        // What is due now is still to come.
        if *at >= self.now && *at != Time::NEVER {
            *at += self.span();
        }
    }

    fn until(&mut self, _: Time) {}

    fn count(&mut self, count: &mut u64) {
        let grown = self.counts.next().copied().unwrap_or(0);
        *count = count.wrapping_add(grown.wrapping_mul(self.periods));
    }

    fn countdown(&mut self, left: &mut u64) {
        *left -= self.countdowns.next().copied().unwrap_or(0) * self.periods;
    }

    fn number(&mut self, sender: Sender, number: &mut u64) {
        *number += self.packets(sender);
    }

    fn psn(&mut self, sender: Sender, psn: &mut u32) {
        *psn = ((u64::from(*psn) + self.packets(sender)) & PSN_MASK) as u32;
    }

    fn refuse(&mut self, _: Reason) {}
}
