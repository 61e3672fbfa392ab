//! Chunks: retransmission by timers alone, as in the model of SDR-RDMA (Khalilov et al., SC 2025).
//!
//! A connection's packets are numbered off into chunks of equal size. A unit is what a message has of a chunk. It is sent like a message
//! of an unreliable connection: packet by packet, and lost as a whole if one of them is. An acknowledgement of its last packet says that
//! all of it has come, and nothing of other units. Each has a timer, which starts when its last packet leaves; when it runs out, the
//! whole unit is sent again. Nobody asks for anything.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use super::qp::{Recovery, Transport};
use crate::frame::{Frame, Frames};
use crate::units::Time;

/// What a sender knows of its units: which have arrived, and when the timers of the others run out.
#[derive(Debug)]
pub struct Timers {
    /// Packets of a chunk, and the number of the connection's first packet.
    chunk: u64,
    first: u64,
    timeout: Time,
    retries: u32,
    /// Units that have arrived before others in front of them: one past the last packet by the first.
    arrived: BTreeMap<u64, u64>,
    /// Timers in the order in which they run out, and whose they are. Some may have arrived meanwhile.
    running: VecDeque<(Time, Range<u64>)>,
    /// How often the timer of a unit has run out, by its first packet.
    tries: BTreeMap<u64, u32>,
}

impl Timers {
    /// Those of a transport, if it repairs by them.
    pub fn of(transport: &Transport) -> Option<Timers> {
        let Recovery::Timer { chunk } = transport.recovery else { return None };
        let (arrived, running, tries) = Default::default();
        let &Transport { first_psn: first, timeout, retries, .. } = transport;
        Some(Timers { chunk, first, timeout, retries, arrived, running, tries })
    }

    /// What a message of packets `message` has of the chunk of packet `psn`.
    pub fn unit(&self, psn: u64, message: &Range<u64>) -> Range<u64> {
        let start = psn - (psn - self.first) % self.chunk;
        start.max(message.start)..(start + self.chunk).min(message.end)
    }

    /// The last packet of a unit leaves.
    pub fn start(&mut self, unit: Range<u64>, now: Time) {
        self.running.push_back((now + self.timeout, unit));
    }

    /// A unit has arrived. Given that all before `unacknowledged` have, returns before which packet all have now.
    pub fn arrive(&mut self, unit: Range<u64>, mut unacknowledged: u64) -> u64 {
        self.tries.remove(&unit.start);
        self.arrived.insert(unit.start, unit.end);
        while let Some(entry) = self.arrived.first_entry().filter(|entry| *entry.key() <= unacknowledged) {
            unacknowledged = unacknowledged.max(entry.remove());
        }
        unacknowledged
    }

    /// When the first timer of a unit runs out that has not arrived.
    pub fn deadline(&mut self, unacknowledged: u64) -> Time {
        while let Some((due, unit)) = self.running.front() {
            if unit.end > unacknowledged && !self.arrived.contains_key(&unit.start) {
                return *due;
            }
            self.running.pop_front();
        }
        Time::NEVER
    }

    /// The units whose timers have run out, to be sent again; `None` if one of them has been as often as may be.
    pub fn run_out(&mut self, unacknowledged: u64, now: Time) -> Option<Vec<Range<u64>>> {
        let mut units = Vec::new();
        while self.deadline(unacknowledged) <= now {
            let (_, unit) = self.running.pop_front()?;
            let tries = self.tries.entry(unit.start).or_default();
            *tries += 1;
            if *tries > self.retries {
                return None;
            }
            units.push(unit);
        }
        Some(units)
    }
}

/// The units that a receiver has a part of, each without a gap from its first packet on.
#[derive(Debug)]
pub struct Attempts {
    chunk: u64,
    first: u64,
    /// By the first packet of a unit: the packets so far.
    under_way: BTreeMap<u64, Frames>,
}

impl Attempts {
    /// Those of a transport, if units arrive whole or not at all.
    pub fn of(transport: &Transport) -> Option<Attempts> {
        let Recovery::Timer { chunk } = transport.recovery else { return None };
        Some(Attempts { chunk, first: transport.first_psn, under_way: BTreeMap::new() })
    }

    /// Take a packet of a unit that has not arrived. `starts` says that it is the first of its message, `ends` that it is the last of its
    /// unit; with that one, returns the first packet's number and all packets. A gap ends the attempt: the unit will be sent again.
    pub fn add(&mut self, psn: u64, frame: Box<Frame>, starts: bool, ends: bool) -> Option<(u64, Frames)> {
        if starts || (psn - self.first).is_multiple_of(self.chunk) {
            self.under_way.insert(psn, Vec::new());
        }
        let (&start, frames) = self.under_way.range_mut(..=psn).next_back()?;
        let due = start + frames.len() as u64;
        if psn > due {
            self.under_way.remove(&start);
        } else if psn == due {
            frames.push(frame);
            return ends.then(|| (start, self.under_way.remove(&start).unwrap_or_default()));
        }
        None
    }
}
