//! A trace as its ranks take it while it is replayed: the ops, and what a matching that runs ahead of them finds.

use std::io;
use std::sync::{Arc, Mutex};

use super::found::{Match, MatchError};
use super::matching::Matching;
use super::spool::{Extent, Record, Spool, Window};

const WINDOW_BLOCKS: usize = 8;

/// What all ranks of a trace share.
#[derive(Debug)]
pub struct Feed {
    spool: Arc<Spool>,
    matching: Mutex<Matching>,
}

impl Feed {
    pub fn new(spool: Arc<Spool>) -> Feed {
        Feed { matching: Mutex::new(Matching::new(spool.clone(), true)), spool }
    }
}

/// A feed as one rank has it. Every error is words that say why the trace cannot be read on.
#[derive(Debug)]
pub struct RankFeed {
    feed: Arc<Feed>,
    rank: u32,
    window: Window,
}

impl RankFeed {
    pub fn new(feed: Arc<Feed>, rank: u32) -> RankFeed {
        RankFeed { feed, rank, window: Window::new(WINDOW_BLOCKS) }
    }

    pub fn rank(&self) -> u32 {
        self.rank
    }

    /// How many ops the rank has.
    pub fn ops(&self) -> u64 {
        self.extent().ops.into()
    }

    /// The ops that wait for nothing.
    pub fn roots(&mut self) -> Result<Vec<u32>, String> {
        let count = self.extent().roots;
        self.window.roots(&self.feed.spool, self.rank, 0, count).map_err(text)
    }

    /// The ops that wait, of `enders` or `starters` of a record.
    pub fn links(&mut self, links: (u32, u32)) -> Result<Vec<u32>, String> {
        self.window.links(&self.feed.spool, self.rank, links).map_err(text)
    }

    pub fn record(&mut self, op: u32) -> Result<Record, String> {
        self.window.record(&self.feed.spool, self.rank, op).map_err(text)
    }

    /// What the matching finds of an op, once.
    pub fn take(&self, op: u32) -> Result<Match, String> {
        let mut matching = self.feed.matching.lock().map_err(|_| "a thread that read it has died".to_owned())?;
        let found = matching.take(self.rank, op).map_err(|error| match error {
            MatchError::Io(error) => text(error),
            MatchError::Faults(faults) => faults.into_iter().next().map(|fault| fault.message).unwrap_or_default(),
        })?;
        found.ok_or_else(|| "an op of it never begins".into())
    }

    fn extent(&self) -> Extent {
        self.feed.spool.ranks().get(self.rank as usize).copied().unwrap_or_default()
    }
}

fn text(error: io::Error) -> String {
    error.to_string()
}
