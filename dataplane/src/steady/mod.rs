//! What tells that a fabric in a steady state is where it was a period before, and takes it whole periods ahead.
//!
//! Every part of a fabric visits what it holds, each value by what a period does to it: it is the same again, it comes round in time,
//! it has grown, or it must not have changed at all. An `Observer` takes down a snapshot in this way. If two snapshots agree in all
//! that must be the same, what happens from the second on is what happened from the first on, one period later. For the machines
//! are deterministic and no value is left out: each part takes itself to pieces by a pattern without `..`, so that a new field does
//! not compile before its visit is written. A `Shifter` then visits the same values once more and takes them so many periods ahead.

mod frame;
mod observer;
mod shifter;
#[cfg(test)]
mod tests;

use crate::frame::Station;
use crate::units::Time;

pub use observer::{Period, Snapshot};
pub use shifter::Shifter;

/// Who numbers the packets of a connection in one direction: a station, and the number of the queue pair.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct Sender {
    pub station: Station,
    pub qpn: u32,
}

/// Why a fabric is run event by event at some time.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Reason {
    /// No state has come again yet.
    Unsettled,
    /// A message began or ended, a calculation ended, or nothing was sent.
    Messages,
    Timers,
    Pauses,
    Credits,
    /// Frames were lost, or are sent again.
    Losses,
    /// A link loses or delays each frame by chance.
    RandomLinks,
    /// Frames were marked, or a flow is below the rate of its line.
    Congestion,
    /// Frames carry bytes.
    Payload,
    /// Blocks or chunks of an erasure code or of timers.
    Coding,
    SlowReceivers,
    /// A tester's frames, storms, and switches with defects.
    Injected,
    Recording,
}

impl Reason {
    /// What it is called in a report.
    pub fn name(self) -> &'static str {
        match self {
            Reason::Unsettled => "no state has recurred yet",
            Reason::Messages => "messages began or ended",
            Reason::Timers => "a timer was due",
            Reason::Pauses => "pauses",
            Reason::Credits => "credits",
            Reason::Losses => "losses",
            Reason::RandomLinks => "links that lose or delay by chance",
            Reason::Congestion => "congestion control at work",
            Reason::Payload => "payload",
            Reason::Coding => "erasure codes or chunk timers",
            Reason::SlowReceivers => "slow receivers",
            Reason::Injected => "injected frames, storms or defects",
            Reason::Recording => "series or a capture",
        }
    }
}

/// What is done to the values of a fabric, one after the other, always in the same order.
pub trait Visitor {
    /// Part of the state as it stands, or in relation to what has been counted.
    fn same(&mut self, value: u64);

    /// What does not change in a steady state; if it does, for this reason there is none.
    fn fixed(&mut self, value: u64, reason: Reason);

    /// An instant that comes round with the state. Of one that has passed it does not matter when it was.
    fn instant(&mut self, at: &mut Time);

    /// An instant that does not come round, and at which something else will happen.
    fn until(&mut self, at: Time);

    /// A count that nothing depends on.
    fn count(&mut self, count: &mut u64);

    /// A count at whose end something else will happen.
    fn countdown(&mut self, left: &mut u64);

    /// The number of a packet of this sender.
    fn number(&mut self, sender: Sender, number: &mut u64);

    /// The number of a packet of this sender as frames carry it, in 24 bits.
    fn psn(&mut self, sender: Sender, psn: &mut u32);

    /// Here is what no steady state is known of.
    fn refuse(&mut self, reason: Reason);
}

/// Where a sender is: the packet that it sends next, and how many it can send before one that is not like those before it.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Head {
    pub sender: Sender,
    pub next: u64,
    pub room: u64,
}
