//! Running a fabric of several shards, and noting how that went.

use std::time::Instant;

use serde::Serialize;

use super::pace::Way;
use super::workers::{run_together, Order, Stint, WorkerPool};
use super::Fabric;
use crate::units::Time;

/// How a fabric was run on several cores: no result, as it depends on the machine.
#[derive(Copy, Clone, Default, PartialEq, Debug, Serialize)]
pub struct Turns {
    /// Into how many shards it is cut now.
    pub shards: usize,
    pub lookahead_ps: u64,
    /// Turns of several shards, those of them that threads ran, and the events of both.
    pub turns: u64,
    pub apart_turns: u64,
    pub events: u64,
    pub apart_events: u64,
    /// Events of the shard that had most of them in a turn, summed over the turns.
    pub longest_events: u64,
}

impl Fabric {
    /// How the fabric was run on several cores until now.
    pub fn turns(&self) -> Turns {
        Turns { shards: self.shards.len(), lookahead_ps: self.lookahead.ps(), ..self.turns }
    }

    /// Run events due by `until`, about `budget` of them, on as many cores as that takes less time with.
    pub(super) fn run_spread(&mut self, until: Time, budget: u64) -> u64 {
        let next = self.next_of_nodes();
        if next > until || next == Time::NEVER {
            return 0;
        }
        let start = Instant::now();
        let (way, stint) = if self.shards.len() == 1 {
            let events = self.shards[0].run(until, budget);
            (Way::Together, Stint { turns: 0, events, longest: events })
        } else {
            self.run_turns(next, until, budget)
        };
        let end = self.shards.iter().map(|shard| shard.now).max().unwrap_or(next);
        self.pace.note(way, &stint, end.since(next), start.elapsed());
        if self.pace.is_plan_due() {
            self.now = self.now.max(end);
            self.arrange();
        }
        stint.events
    }

    fn run_turns(&mut self, next: Time, until: Time, budget: u64) -> (Way, Stint) {
        let shards = self.shards.len();
        let spins = self.workers.as_ref().is_none_or(WorkerPool::spins);
        let least_events = if self.spread.is_forced() { 0 } else { self.pace.least_events(shards, spins) };
        let way = if self.spread.is_forced() { Way::Apart } else { self.pace.choose(least_events) };
        let most_ns = if self.spread.is_forced() { f64::INFINITY } else { self.pace.most_ns() };
        let mut order = Order { next, until, lookahead: self.lookahead, budget, least_events, most_ns };
        let stint = if way == Way::Apart {
            if self.workers.as_ref().is_none_or(|workers| workers.shards() != shards) {
                self.workers = Some(WorkerPool::start(shards));
            }
            match &mut self.workers {
                Some(workers) => workers.run(&mut self.shards, &order),
                None => Stint::default(),
            }
        } else {
            order.least_events = 0;
            run_together(&mut self.shards, &order)
        };
        self.turns.turns += stint.turns;
        self.turns.events += stint.events;
        self.turns.longest_events += stint.longest;
        if way == Way::Apart {
            self.turns.apart_turns += stint.turns;
            self.turns.apart_events += stint.events;
        }
        (way, stint)
    }
}
