//! Copies between ranks of one host: a message takes its length at the rate of the host, and then arrives after a latency.
//!
//! An accelerator sends one copy at a time, and takes in one at a time. Copies begin in the order in which they are posted, each
//! as soon as both its ends are free.

use std::collections::BTreeMap;

use super::Host;
use crate::event::Event;
use crate::units::{Rate, Time};

/// How fast ranks of a host copy.
#[derive(Copy, Clone, Debug)]
pub struct Local {
    pub rate: Rate,
    pub latency: Time,
}

/// Two ranks of a host that copy to each other: by end the rank, and the lane in its schedule.
#[derive(Copy, Clone, Debug)]
pub struct CopyPair {
    pub qpn: u32,
    pub ends: [(usize, usize); 2],
}

/// A copy under way, from the end `from` of a pair.
#[derive(Copy, Clone, Debug)]
struct Copy {
    pair: usize,
    from: u8,
    message: u64,
    offset: u64,
    bytes: u64,
}

/// What becomes free when, of one rank.
#[derive(Copy, Clone, Default, Debug)]
struct Engines {
    sending: Time,
    taking: Time,
}

#[derive(Debug, Default)]
pub(super) struct Copies {
    local: Option<Local>,
    pairs: Vec<CopyPair>,
    /// By pair and end: messages posted.
    posted: Vec<[u64; 2]>,
    /// By rank.
    engines: Vec<Engines>,
    /// By arrival, and of equal ones in the order in which they were posted.
    under_way: BTreeMap<(Time, u64), Copy>,
    count: u64,
}

impl Copies {
    pub fn new(local: Option<Local>) -> Copies {
        Copies { local, ..Copies::default() }
    }

    /// Forget what was under way, and serve other pairs.
    pub fn load(&mut self, pairs: Vec<CopyPair>, ranks: usize) {
        let posted = vec![[0; 2]; pairs.len()];
        *self = Copies { pairs, posted, engines: vec![Engines::default(); ranks], ..Copies::new(self.local) };
    }

    /// How many copies have begun.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// When the next copy arrives.
    pub fn next(&self) -> Time {
        self.under_way.keys().next().map_or(Time::NEVER, |(at, _)| *at)
    }

    /// Begin a copy; the answer is the number of its message.
    fn post(&mut self, pair: usize, from: u8, offset: u64, bytes: u64, now: Time) -> u64 {
        let end = usize::from(from);
        let message = self.posted[pair][end];
        self.posted[pair][end] += 1;
        let [(sender, _), (taker, _)] = [end, 1 - end].map(|end| self.pairs[pair].ends[end]);
        let begins = now.max(self.engines[sender].sending).max(self.engines[taker].taking);
        let (time, latency) = match self.local {
            Some(local) => (local.rate.serialisation(bytes), local.latency),
            None => (Time::ZERO, Time::ZERO),
        };
        let done = begins + time;
        self.engines[sender].sending = done;
        self.engines[taker].taking = done;
        self.under_way.insert((done + latency, self.count), Copy { pair, from, message, offset, bytes });
        self.count += 1;
        message
    }
}

impl Host {
    /// Let ranks reach each other by memory.
    pub fn with_copies(mut self, local: Option<Local>) -> Host {
        self.copies = Copies::new(local);
        self
    }

    pub(super) fn post_copy(&mut self, pair: usize, from: u8, offset: u64, bytes: u64, now: Time) {
        let message = self.copies.post(pair, from, offset, bytes, now);
        let qpn = self.copies.pairs[pair].qpn;
        self.events.push_back(Event::SendPosted { qpn, end: from, message, bytes });
    }

    /// Deliver the copies that have arrived by `now`.
    pub(super) fn finish_copies(&mut self, now: Time) {
        while let Some(entry) = self.copies.under_way.first_entry() {
            if entry.key().0 > now {
                return;
            }
            let copy = entry.remove();
            let CopyPair { qpn, ends } = self.copies.pairs[copy.pair];
            let to = 1 - copy.from;
            let [(sender, sends), (taker, takes)] = [copy.from, to].map(|end| ends[usize::from(end)]);
            self.deliver(sender, (taker, takes), &copy);
            self.events.push_back(Event::MessageArrived { qpn, end: to, message: copy.message, bytes: copy.bytes });
            self.ranks[taker].schedule.arrived(takes);
            self.run_rank(taker, now);
            self.events.push_back(Event::SendFinished { qpn, message: copy.message });
            self.ranks[sender].schedule.sent(sends, copy.message);
            self.run_rank(sender, now);
        }
    }

    /// Put the bytes of a copy where the receive says. Ranks that exchange lengths have none.
    fn deliver(&mut self, sender: usize, (taker, lane): (usize, usize), copy: &Copy) {
        let Some((offset, room)) = self.ranks[taker].schedule.receive_buffer(lane, copy.message) else { return };
        let Ok([from, into]) = self.ranks.get_disjoint_mut([sender, taker]) else { return };
        let source = from.memory.get(copy.offset, copy.bytes);
        if let (Some(source), Some(target)) = (source, into.memory.get_mut(offset, copy.bytes.min(room))) {
            target.copy_from_slice(&source[..target.len()]);
        }
    }
}
