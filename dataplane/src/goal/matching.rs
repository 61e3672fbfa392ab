//! Which receive gets which message: the trace carried out once on a network in which nothing waits for anything else.
//!
//! The rules are those of `testbed/replay/matching.py`, and so is the order of events, to the turn. What is in memory is what is
//! under way: ops that wait for some of what they require, messages until they are received, and a bit an op.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::io;
use std::sync::Arc;

use super::found::{Channel, Match, MatchError, MatchFault, Message, Place, Roots, What};
use super::spool::{Record, Spool, Window};
use super::waiting::{Key, Waiting};
use super::{Kind, Op, ANY_SOURCE};

/// That of 100 Gbit/s.
const PS_PER_BYTE: u64 = 80;
/// Messages between two ranks that can be under way at once: as many as a job has channels for them.
const MOST_CHANNELS: usize = 1 << 11;
/// Of ops that are under way or wait for some of what they require, some hundred bytes each.
pub const MOST_LIVE: usize = 1 << 22;
/// What a message may hold at most: IBTA volume 1, chapter 9.
const MAX_MESSAGE_BYTES: u64 = 1 << 31;
const WINDOW_BLOCKS: usize = 1 << 12;
const BUSY: u64 = u64::MAX;

#[derive(Debug)]
pub struct Matching {
    pub(super) spool: Arc<Spool>,
    window: Window,
    turn: u64,
    now_ps: u64,
    event: u64,
    ended: u64,
    events: BinaryHeap<Reverse<(u64, u64, What, Place)>>,
    roots: Roots,
    missing: HashMap<Place, u32>,
    /// By rank, how many have begun, and a bit for each that has.
    pub(super) begun: Vec<(u64, Vec<u64>)>,
    messages: HashMap<Place, Message>,
    /// Receives that have begun and not ended: their turn of beginning, and the send once there is one.
    receives: HashMap<Place, (u64, Option<Place>)>,
    pub(super) unexpected: Vec<Waiting<Place>>,
    pub(super) posted: Vec<Waiting<u32>>,
    last_ps: HashMap<Place, u64>,
    /// By rank and cpu: the calcs that wait for their turn, the running one first, and how many have begun.
    queued: HashMap<(u32, u8), (VecDeque<u32>, u64)>,
    channels: HashMap<Place, Vec<Channel>>,
    /// By rank, what is found and not taken; none where nobody takes it.
    found: Option<Vec<HashMap<u32, Match>>>,
}

impl Matching {
    /// `is_kept`: what is found is kept until `take` asks for it.
    pub fn new(spool: Arc<Spool>, is_kept: bool) -> Matching {
        let ranks = spool.ranks();
        let bits = |ops: u32| vec![0; (ops as usize).div_ceil(64)];
        Matching {
            window: Window::new(WINDOW_BLOCKS),
            turn: ranks.iter().map(|rank| u64::from(rank.roots)).sum(),
            now_ps: 0,
            event: 0,
            ended: 0,
            events: BinaryHeap::new(),
            roots: Roots::default(),
            missing: HashMap::new(),
            begun: ranks.iter().map(|rank| (0, bits(rank.ops))).collect(),
            messages: HashMap::new(),
            receives: HashMap::new(),
            unexpected: ranks.iter().map(|_| Waiting::default()).collect(),
            posted: ranks.iter().map(|_| Waiting::default()).collect(),
            last_ps: HashMap::new(),
            queued: HashMap::new(),
            channels: HashMap::new(),
            found: is_kept.then(|| ranks.iter().map(|_| HashMap::new()).collect()),
            spool,
        }
    }

    /// How many ops have ended.
    pub fn ended(&self) -> u64 {
        self.ended
    }

    /// Sender, receiver and channel of all messages so far that leave their rank.
    pub fn talks(&self) -> Vec<(u32, u32, u32)> {
        let each = self.channels.iter().filter(|((source, target), _)| source != target);
        let mut talks: Vec<_> = each
            .flat_map(|((source, target), channels)| (0..channels.len() as u32).map(|one| (*source, *target, one)))
            .collect();
        talks.sort_unstable();
        talks
    }

    /// What is found of an op, which it forgets; carries the trace out until it is.
    pub fn take(&mut self, rank: u32, op: u32) -> Result<Option<Match>, MatchError> {
        loop {
            let found = self.found.as_mut().and_then(|found| found.get_mut(rank as usize));
            if let Some(known) = found.and_then(|found| found.remove(&op)) {
                return Ok(Some(known));
            }
            if !self.advance(1)? {
                return Ok(None);
            }
        }
    }

    /// Carry out so many events; false once there are no more, and then nothing waits.
    pub fn advance(&mut self, events: u64) -> Result<bool, MatchError> {
        for _ in 0..events {
            if !self.step()? {
                let faults = self.stuck()?;
                return if faults.is_empty() { Ok(false) } else { Err(MatchError::Faults(faults)) };
            }
        }
        Ok(true)
    }

    fn step(&mut self) -> Result<bool, MatchError> {
        self.event += 1;
        if let Some(place) = self.next_root()? {
            self.begin(place)?;
        } else {
            let Some(Reverse((now_ps, _, what, place))) = self.events.pop() else { return Ok(false) };
            self.now_ps = now_ps;
            match what {
                What::Begin => self.begin(place)?,
                What::End => self.end(place)?,
                What::Land => self.land(place)?,
            }
        }
        if self.event.is_multiple_of(1 << 12) {
            self.check_live()?;
        }
        Ok(true)
    }

    fn check_live(&self) -> Result<(), MatchError> {
        let kept: usize = self.found.iter().flatten().map(HashMap::len).sum();
        let live = self.events.len() + self.missing.len() + self.messages.len() + self.receives.len() + kept;
        if live <= MOST_LIVE {
            return Ok(());
        }
        let message = format!("more than {MOST_LIVE} ops are under way or wait at once; replay a part of the trace");
        Err(MatchError::Faults(vec![MatchFault { rank: 0, op: None, message, other: None }]))
    }

    fn next_root(&mut self) -> Result<Option<Place>, MatchError> {
        const PIECE: u32 = 1 << 10;
        loop {
            if let Some(op) = self.roots.ahead.pop_front() {
                return Ok(Some((self.roots.rank, op)));
            }
            let Some(extent) = self.spool.ranks().get(self.roots.rank as usize) else { return Ok(None) };
            let piece = PIECE.min(extent.roots - self.roots.read);
            if piece == 0 {
                self.roots = Roots { rank: self.roots.rank + 1, ..Roots::default() };
                continue;
            }
            let ahead = self.window.roots(&self.spool, self.roots.rank, self.roots.read, piece)?;
            self.roots.ahead.extend(ahead);
            self.roots.read += piece;
        }
    }

    pub(super) fn record(&mut self, (rank, op): Place) -> io::Result<Record> {
        self.window.record(&self.spool, rank, op)
    }

    fn at(&mut self, at_ps: u64, what: What, place: Place) {
        self.turn += 1;
        self.events.push(Reverse((at_ps, self.turn, what, place)));
    }
}

/// Ops as they begin and end.
impl Matching {
    fn begin(&mut self, place: Place) -> Result<(), MatchError> {
        let record = self.record(place)?;
        let (rank, op) = place;
        match record.op.kind {
            Kind::Calc => {
                let (queue, _) = self.queued.entry((rank, record.op.cpu)).or_default();
                queue.push_back(op);
                if queue.len() == 1 {
                    self.begin_calc(place, &record)?;
                }
                Ok(())
            }
            Kind::Send => {
                let begun = self.mark_begun(place, &record)?;
                self.send(place, begun, &record.op)
            }
            Kind::Recv => {
                let begun = self.mark_begun(place, &record)?;
                self.receives.insert(place, (begun, None));
                let allowed = key_of(&record.op);
                let sent = self.unexpected.get_mut(rank as usize).and_then(|waiting| waiting.take_allowed(allowed));
                match sent {
                    Some(sent) => self.meet(sent, place, &record.op)?,
                    None => {
                        if let Some(posted) = self.posted.get_mut(rank as usize) {
                            posted.add(allowed, op);
                        }
                    }
                }
                Ok(())
            }
        }
    }

    fn begin_calc(&mut self, place: Place, record: &Record) -> Result<(), MatchError> {
        let (_, count) = self.queued.entry((place.0, record.op.cpu)).or_default();
        let number = *count;
        *count += 1;
        let begun = self.mark_begun(place, record)?;
        self.find(place, Match { turn: 0, begun, channel: 0, number, peer: place.0, source: 0 });
        self.at(self.now_ps.saturating_add(record.op.amount), What::End, place);
        Ok(())
    }

    /// Note that an op has begun, and let go what waits for that; the answer is as the how manieth of its rank.
    fn mark_begun(&mut self, place: Place, record: &Record) -> io::Result<u64> {
        let (rank, op) = place;
        let mut count = 0;
        if let Some((begun, bits)) = self.begun.get_mut(rank as usize) {
            count = *begun;
            *begun += 1;
            if let Some(word) = bits.get_mut(op as usize / 64) {
                *word |= 1 << (op % 64);
            }
        }
        self.release(rank, record.starters)?;
        Ok(count)
    }

    fn release(&mut self, rank: u32, links: (u32, u32)) -> io::Result<()> {
        for op in self.window.links(&self.spool, rank, links)? {
            let open = match self.missing.get(&(rank, op)) {
                Some(open) => *open,
                None => self.record((rank, op))?.open,
            };
            if open > 1 {
                self.missing.insert((rank, op), open - 1);
            } else {
                self.missing.remove(&(rank, op));
                self.at(self.now_ps, What::Begin, (rank, op));
            }
        }
        Ok(())
    }

    fn find(&mut self, (rank, op): Place, known: Match) {
        if let Some(found) = self.found.as_mut().and_then(|found| found.get_mut(rank as usize)) {
            found.insert(op, known);
        }
    }

    fn send(&mut self, place: Place, begun: u64, op: &Op) -> Result<(), MatchError> {
        if op.amount > MAX_MESSAGE_BYTES {
            let message =
                format!("sends {} bytes; a message of a trace on disk has at most {MAX_MESSAGE_BYTES}", op.amount);
            return Err(fault(place, op.line, message));
        }
        let ends = (place.0, op.peer);
        let last = self.last_ps.entry(ends).or_default();
        *last = (*last).max(self.now_ps.saturating_add(op.amount.saturating_mul(PS_PER_BYTE)));
        let end_ps = *last;
        self.turn += 1;
        let event = self.event;
        let channels = self.channels.entry(ends).or_default();
        let free = channels.iter().position(|channel| channel.end < event);
        let chosen = free.unwrap_or(channels.len());
        if chosen == MOST_CHANNELS {
            let message = format!("more than {chosen} messages to rank {} can be under way at once", op.peer);
            return Err(fault(place, op.line, message));
        }
        if free.is_none() {
            channels.push(Channel { end: BUSY, messages: 0 });
        }
        let mut number = 0;
        if let Some(channel) = channels.get_mut(chosen) {
            number = channel.messages;
            *channel = Channel { end: BUSY, messages: number + 1 };
        }
        let channel = chosen as u32;
        let Op { amount: bytes, tag, line, peer: target, .. } = *op;
        self.messages.insert(place, Message { turn: self.turn, channel, number, target, tag, bytes, line });
        self.find(place, Match { turn: self.turn, begun, channel, number, peer: target, source: place.1 });
        self.at(end_ps, What::Land, place);
        Ok(())
    }

    fn land(&mut self, place: Place) -> Result<(), MatchError> {
        let Some(message) = self.messages.get(&place).copied() else { return Ok(()) };
        let target = message.target as usize;
        let receive = self.posted.get_mut(target).and_then(|posted| posted.take_for(place.0, message.tag));
        if let Some(op) = receive {
            let receive = (message.target, op);
            let record = self.record(receive)?;
            self.meet(place, receive, &record.op)?;
        } else if let Some(unexpected) = self.unexpected.get_mut(target) {
            unexpected.add((Some(place.0), Some(message.tag)), place);
        }
        self.end(place)
    }

    /// Give a message to a receive.
    fn meet(&mut self, sent: Place, receive: Place, expected: &Op) -> Result<(), MatchError> {
        let Some(message) = self.messages.get(&sent).copied() else { return Ok(()) };
        if message.bytes != expected.amount {
            let (rank, bytes) = (sent.0, message.bytes);
            let message_ = format!("receives {} bytes, and rank {rank} sends {bytes}", expected.amount);
            let fault = MatchFault {
                rank: receive.0,
                op: Some((receive.1, expected.line)),
                message: message_,
                other: Some((sent.1, message.line)),
            };
            return Err(MatchError::Faults(vec![fault]));
        }
        let mut begun = 0;
        if let Some((turn, source)) = self.receives.get_mut(&receive) {
            begun = *turn;
            *source = Some(sent);
        }
        let Message { turn, channel, number, .. } = message;
        self.find(receive, Match { turn, begun, channel, number, peer: sent.0, source: sent.1 });
        self.at(self.now_ps, What::End, receive);
        Ok(())
    }

    fn end(&mut self, place: Place) -> Result<(), MatchError> {
        let record = self.record(place)?;
        let rank = place.0;
        self.ended += 1;
        match record.op.kind {
            Kind::Recv => {
                if let Some((_, Some(sent))) = self.receives.remove(&place) {
                    self.free(sent, rank);
                }
            }
            Kind::Calc => {
                let queue = self.queued.get_mut(&(rank, record.op.cpu)).map(|(queue, _)| queue);
                let next = queue.and_then(|queue| {
                    queue.pop_front();
                    queue.front().copied()
                });
                if let Some(op) = next {
                    let next = self.record((rank, op))?;
                    self.begin_calc((rank, op), &next)?;
                }
            }
            Kind::Send => {}
        }
        Ok(self.release(rank, record.enders)?)
    }

    /// The message of a send has been received: another may use its channel.
    fn free(&mut self, sent: Place, target: u32) {
        let Some(message) = self.messages.remove(&sent) else { return };
        let channels = self.channels.get_mut(&(sent.0, target));
        if let Some(channel) = channels.and_then(|channels| channels.get_mut(message.channel as usize)) {
            channel.end = self.event;
        }
    }
}

fn key_of(op: &Op) -> Key {
    ((op.peer != ANY_SOURCE).then_some(op.peer), (!op.any_tag).then_some(op.tag))
}

fn fault(place: Place, line: u32, message: String) -> MatchError {
    MatchError::Faults(vec![MatchFault { rank: place.0, op: Some((place.1, line)), message, other: None }])
}
