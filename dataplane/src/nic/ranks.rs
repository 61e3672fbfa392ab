//! The ranks of a host: each runs a schedule over a memory of its own, and reaches its peers by connections or by copies.

use super::memory::Memory;
use super::schedule::Action;
use super::slot::Slot;
use super::traced::Traced;
use super::work::Work;
use super::Host;
use crate::event::Event;
use crate::units::Time;

/// How a rank reaches a peer: by a connection of the host, or by copies as one end of a pair.
#[derive(Copy, Clone, Debug)]
pub enum Lane {
    Qp(usize),
    Copy { pair: usize, end: u8 },
}

/// What a rank runs; `lanes` are what its schedule calls connections.
#[derive(Debug)]
pub struct Rank {
    pub schedule: Work,
    pub memory: Memory,
    pub lanes: Vec<Lane>,
}

#[derive(Debug)]
pub(super) struct RunningRank {
    pub schedule: Work,
    pub memory: Memory,
    lanes: Vec<Lane>,
    pub running: bool,
}

impl RunningRank {
    pub fn new(rank: Rank) -> RunningRank {
        RunningRank { schedule: rank.schedule, memory: rank.memory, lanes: rank.lanes, running: false }
    }
}

impl Host {
    /// The trace that a rank works off, if it does.
    pub fn traced(&self, rank: usize) -> Option<&Traced> {
        self.ranks.get(rank).and_then(|rank| rank.schedule.traced())
    }

    /// The calcs of a rank that have ended, by op, and when.
    pub fn calcs(&self, rank: usize) -> &[(usize, Time)] {
        self.ranks.get(rank).map_or(&[], |rank| rank.schedule.slept())
    }

    /// Do all that the schedule of a rank allows at `now`.
    pub(super) fn run_rank(&mut self, rank: usize, now: Time) {
        if !self.ranks[rank].running {
            return;
        }
        while let Some(action) = self.ranks[rank].schedule.next(now) {
            match action {
                Action::Send { qp: lane, .. } => {
                    let mut next = Some(action);
                    while let Some(Action::Send { offset, bytes, remote, .. }) = next {
                        match self.ranks[rank].lanes[lane] {
                            Lane::Qp(index) => self.post(index, offset, remote, bytes),
                            Lane::Copy { pair, end } => self.post_copy(pair, end, offset, bytes, now),
                        }
                        next = self.ranks[rank].schedule.next_send(lane);
                    }
                }
                Action::Reduce { index, reduce } => {
                    let RunningRank { memory, schedule, .. } = &mut self.ranks[rank];
                    if !memory.is_empty() {
                        // The plan was checked against the memory's size, so the ranges hold.
                        memory.reduce(&reduce);
                    }
                    schedule.finish(index);
                }
                Action::Copy { index, dst, src, bytes } => {
                    let RunningRank { memory, schedule, .. } = &mut self.ranks[rank];
                    if !memory.is_empty() {
                        memory.copy(dst, src, bytes);
                    }
                    schedule.finish(index);
                }
            }
        }
        self.arm_ranks();
        if self.ranks[rank].schedule.is_finished() {
            self.ranks[rank].running = false;
            self.events.push_back(Event::RankFinished { rank: rank as u32 });
        }
    }

    /// Finish the calcs and the copies that end at `now` or before.
    pub(super) fn wake_ranks(&mut self, now: Time) {
        for rank in 0..self.ranks.len() {
            if self.ranks[rank].schedule.next_wake() <= now {
                self.ranks[rank].schedule.wake(now);
                self.run_rank(rank, now);
            }
        }
        self.finish_copies(now);
        self.arm_ranks();
    }

    fn arm_ranks(&mut self) {
        let calcs = self.ranks.iter().map(|rank| rank.schedule.next_wake());
        self.timers.set(self.slots.index(Slot::Ranks), calcs.fold(self.copies.next(), Time::min));
    }
}
