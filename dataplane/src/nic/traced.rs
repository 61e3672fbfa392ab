//! Execution of a rank of a trace, which stays on disk: an op is in memory from when it may begin until it has ended.
//!
//! What it does is what `Schedule` does with the same trace whole: a message is a calc that takes no time, the send or the receive,
//! and such a calc again; before all ops and behind them stands one more. Ops that may begin at one instant begin in the order
//! in which that schedule has them, so that no event differs.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, HashSet, VecDeque};

use super::schedule::Action;
use crate::goal::feed::RankFeed;
use crate::goal::found::Match;
use crate::goal::spool::Record;
use crate::goal::Kind;
use crate::units::Time;

/// The place of something in the schedule: by turn, by when its op began, and within the op.
type Key = (u64, u64, u8);

#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Step {
    Start,
    Calc(u32),
    Begin(u32),
    Carry(u32),
    End(u32),
    Over,
}

/// An op that has become ready and not ended.
#[derive(Copy, Clone, Debug)]
struct Live {
    record: Record,
    known: Match,
}

impl Live {
    fn key(&self, part: u8) -> Key {
        (self.known.turn, self.known.begun + 1, part)
    }
}

#[derive(Debug, Default)]
struct Connection {
    /// Sends that are ready, by the number of their message, and how many have been posted.
    sends: BTreeMap<u64, u32>,
    posted: u64,
    under_way: VecDeque<u32>,
    /// Receives that are ready, how many have ended, and how many messages have arrived.
    receives: BTreeMap<u64, u32>,
    ended: u64,
    arrived: u64,
}

/// Calcs of one cpu: how many have ended, and those that are ready before their turn.
#[derive(Debug, Default)]
struct Cpu {
    ended: u64,
    early: BTreeMap<u64, u32>,
}

/// For how long something was done, exposed and beside calcs.
#[derive(Copy, Clone, Default, Debug)]
pub struct Communication {
    pub exposed: Time,
    pub hidden: Time,
}

#[derive(Debug)]
pub struct Traced {
    feed: RankFeed,
    /// By peer and channel.
    lanes: HashMap<(u32, u32), usize>,
    connections: Vec<Connection>,
    missing: HashMap<u32, u32>,
    live: HashMap<u32, Live>,
    cpus: HashMap<u8, Cpu>,
    /// Sends of a rank to itself that have ended, and by send the receives that wait for one to.
    sent_to_self: HashSet<u32>,
    awaited_of_self: HashMap<u32, u32>,
    runnable: VecDeque<Step>,
    sleeping: BinaryHeap<Reverse<(Time, Key, Step)>>,
    slept: Vec<(usize, Time)>,
    unfinished: u64,
    is_over: bool,
    /// Calcs and messages under way, since when, and for how long it was which.
    calcs: u64,
    messages: u64,
    since: Time,
    communication: Communication,
    fault: Option<String>,
}

impl Traced {
    /// `lanes`: by peer and channel, what the rank calls its connections.
    pub fn new(feed: RankFeed, lanes: HashMap<(u32, u32), usize>) -> Traced {
        let mut connections = Vec::new();
        connections.resize_with(lanes.len(), Connection::default);
        Traced {
            unfinished: feed.ops(),
            feed,
            lanes,
            connections,
            missing: HashMap::new(),
            live: HashMap::new(),
            cpus: HashMap::new(),
            sent_to_self: HashSet::new(),
            awaited_of_self: HashMap::new(),
            runnable: VecDeque::from([Step::Start]),
            sleeping: BinaryHeap::new(),
            slept: Vec::new(),
            is_over: false,
            calcs: 0,
            messages: 0,
            since: Time::ZERO,
            communication: Communication::default(),
            fault: None,
        }
    }

    pub fn is_finished(&self) -> bool {
        self.is_over
    }

    /// How many ops have finished.
    pub fn finished(&self) -> u64 {
        self.feed.ops() - self.unfinished
    }

    /// When the first and the last of its calcs ended, the one before all ops and the one behind them.
    pub fn slept(&self) -> &[(usize, Time)] {
        &self.slept
    }

    pub fn communication(&self) -> Communication {
        self.communication
    }

    /// Why it cannot go on, if that is not the network.
    pub fn fault(&self) -> Option<&str> {
        self.fault.as_deref()
    }

    pub fn next_wake(&self) -> Time {
        self.sleeping.peek().map_or(Time::NEVER, |Reverse((at, ..))| *at)
    }

    pub fn wake(&mut self, now: Time) {
        while self.next_wake() <= now {
            let Some(Reverse((_, _, step))) = self.sleeping.pop() else { return };
            self.account(now);
            match step {
                Step::Start => self.slept.push((0, now)),
                Step::Over => self.slept.push((1, now)),
                Step::Calc(_) => self.calcs -= 1,
                Step::Begin(_) => self.messages += 1,
                Step::End(_) => self.messages -= 1,
                Step::Carry(_) => {}
            }
            self.finish(step);
        }
    }

    pub fn next(&mut self, now: Time) -> Option<Action> {
        while let Some(step) = self.runnable.pop_front() {
            match step {
                Step::Carry(op) => {
                    let Some(live) = self.live.get(&op).copied() else { continue };
                    let Some(lane) = self.lane(&live) else { continue };
                    let connection = &mut self.connections[lane];
                    if live.record.op.kind == Kind::Send {
                        connection.sends.insert(live.known.number, op);
                        if let Some(action) = self.next_send(lane) {
                            return Some(action);
                        }
                    } else {
                        connection.receives.insert(live.known.number, op);
                        self.match_receives(lane);
                    }
                }
                Step::Calc(op) => {
                    self.account(now);
                    self.calcs += 1;
                    let live = self.live.get(&op).copied();
                    let (duration, key) = live.map_or((0, (0, 0, 0)), |live| (live.record.op.amount, live.key(0)));
                    self.sleeping.push(Reverse((now + Time::from_ps(duration), key, step)));
                }
                _ => self.sleeping.push(Reverse((now, self.key(step), step))),
            }
        }
        None
    }

    pub fn next_send(&mut self, lane: usize) -> Option<Action> {
        let connection = &mut self.connections[lane];
        let op = connection.sends.remove(&connection.posted)?;
        connection.posted += 1;
        connection.under_way.push_back(op);
        let bytes = self.live.get(&op)?.record.op.amount;
        Some(Action::Send { qp: lane, offset: 0, bytes, remote: 0 })
    }

    pub fn is_posted(&self, lane: usize, message: u64) -> bool {
        let connection = self.connections.get(lane);
        connection.is_some_and(|one| message < one.ended || one.receives.contains_key(&message))
    }

    pub fn arrived(&mut self, lane: usize) {
        self.connections[lane].arrived += 1;
        self.match_receives(lane);
    }

    /// Messages of a connection are acknowledged in their order.
    pub fn sent(&mut self, lane: usize) {
        if let Some(op) = self.connections[lane].under_way.pop_front() {
            self.finish(Step::Carry(op));
        }
    }

    fn match_receives(&mut self, lane: usize) {
        loop {
            let connection = &mut self.connections[lane];
            if connection.ended >= connection.arrived {
                return;
            }
            let Some(op) = connection.receives.remove(&connection.ended) else { return };
            connection.ended += 1;
            self.finish(Step::Carry(op));
        }
    }

    fn lane(&self, live: &Live) -> Option<usize> {
        self.lanes.get(&(live.known.peer, live.known.channel)).copied()
    }

    fn key(&self, step: Step) -> Key {
        let of = |op: u32, part: u8| self.live.get(&op).map_or((0, 0, part), |live| live.key(part));
        match step {
            Step::Start => (0, 0, 0),
            Step::Calc(op) | Step::Begin(op) => of(op, 0),
            Step::Carry(op) => of(op, 1),
            Step::End(op) => of(op, 2),
            Step::Over => (u64::MAX, 0, 0),
        }
    }
}

/// What follows from what.
impl Traced {
    /// Something is over: what waited for it alone may run, in the order of the schedule.
    fn finish(&mut self, step: Step) {
        let mut ready = Vec::new();
        if let Err(error) = self.follow(step, &mut ready) {
            // What waits for it never runs, so that the workload stalls, and the fault says why.
            self.fault.get_or_insert(error);
        }
        ready.sort_unstable();
        self.runnable.extend(ready.into_iter().map(|(_, step)| step));
    }

    fn follow(&mut self, step: Step, ready: &mut Vec<(Key, Step)>) -> Result<(), String> {
        match step {
            Step::Over => self.is_over = true,
            Step::Start => {
                let roots = self.feed.roots()?;
                for op in roots {
                    self.open(op, ready)?;
                }
                self.end_if_over(ready);
            }
            Step::Begin(op) => {
                let Some(live) = self.live.get(&op).copied() else { return Ok(()) };
                if live.known.peer != self.feed.rank() {
                    ready.push((live.key(1), Step::Carry(op)));
                } else if live.record.op.kind == Kind::Send || self.sent_to_self.remove(&live.known.source) {
                    ready.push((live.key(2), Step::End(op)));
                } else {
                    self.awaited_of_self.insert(live.known.source, op);
                }
                self.release(live.record.starters, ready)?;
            }
            Step::Carry(op) => ready.push((self.key(Step::End(op)), Step::End(op))),
            Step::End(op) | Step::Calc(op) => {
                let Some(live) = self.live.remove(&op) else { return Ok(()) };
                self.unfinished -= 1;
                if live.record.op.kind == Kind::Calc {
                    self.next_of_cpu(live.record.op.cpu, ready)?;
                } else if live.record.op.kind == Kind::Send && live.known.peer == self.feed.rank() {
                    match self.awaited_of_self.remove(&op) {
                        Some(receive) => ready.push((self.key(Step::End(receive)), Step::End(receive))),
                        None => drop(self.sent_to_self.insert(op)),
                    }
                }
                self.release(live.record.enders, ready)?;
                self.end_if_over(ready);
            }
        }
        Ok(())
    }

    fn end_if_over(&self, ready: &mut Vec<(Key, Step)>) {
        if self.unfinished == 0 {
            ready.push((self.key(Step::Over), Step::Over));
        }
    }

    fn release(&mut self, links: (u32, u32), ready: &mut Vec<(Key, Step)>) -> Result<(), String> {
        for op in self.feed.links(links)? {
            let open = match self.missing.get(&op) {
                Some(open) => *open,
                None => self.feed.record(op)?.open,
            };
            if open > 1 {
                self.missing.insert(op, open - 1);
            } else {
                self.missing.remove(&op);
                self.open(op, ready)?;
            }
        }
        Ok(())
    }

    /// An op waits for no other: it begins, unless it is a calc whose cpu has others before it.
    fn open(&mut self, op: u32, ready: &mut Vec<(Key, Step)>) -> Result<(), String> {
        let known = self.feed.take(op)?;
        let record = self.feed.record(op)?;
        let live = Live { record, known };
        self.live.insert(op, live);
        if record.op.kind != Kind::Calc {
            ready.push((live.key(0), Step::Begin(op)));
            return Ok(());
        }
        let cpu = self.cpus.entry(record.op.cpu).or_default();
        if known.number > cpu.ended {
            cpu.early.insert(known.number, op);
            return Ok(());
        }
        self.begin_calc(op, &live, ready)
    }

    /// What begins with a calc waits for what the calc waits for, and is ready as it is.
    fn begin_calc(&mut self, op: u32, live: &Live, ready: &mut Vec<(Key, Step)>) -> Result<(), String> {
        ready.push((live.key(0), Step::Calc(op)));
        self.release(live.record.starters, ready)
    }

    fn next_of_cpu(&mut self, cpu: u8, ready: &mut Vec<(Key, Step)>) -> Result<(), String> {
        let cpu = self.cpus.entry(cpu).or_default();
        cpu.ended += 1;
        let Some(op) = cpu.early.remove(&cpu.ended) else { return Ok(()) };
        let Some(live) = self.live.get(&op).copied() else { return Ok(()) };
        self.begin_calc(op, &live, ready)
    }

    /// Add the time since the last change to what was done in it.
    fn account(&mut self, now: Time) {
        let passed = now.since(self.since);
        self.since = now;
        if self.messages > 0 {
            let done = &mut self.communication;
            *if self.calcs > 0 { &mut done.hidden } else { &mut done.exposed } += passed;
        }
    }
}
