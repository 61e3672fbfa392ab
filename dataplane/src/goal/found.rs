//! What a matching finds and what is wrong with a trace; and what it has in memory of things under way.

use std::collections::VecDeque;
use std::io;

/// A rank, and an op of it.
pub type Place = (u32, u32);

/// What a replay needs to know of an op. Of two ops of a rank, that with the lower `turn` and then the lower `begun` comes first.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Match {
    /// That of the message; 0 of calcs.
    pub turn: u64,
    /// As the how manieth of its rank it began.
    pub begun: u64,
    pub channel: u32,
    /// The number of a message of its sender, receiver and channel; of a calc, that of its cpu.
    pub number: u64,
    /// The rank at the other end.
    pub peer: u32,
    /// Of a receive, the send of its message.
    pub source: u32,
}

/// What is wrong with a trace: at an op, or, without one, with all of it. `other` is the op and the line of a second op.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MatchFault {
    pub rank: u32,
    pub op: Option<(u32, u32)>,
    pub message: String,
    pub other: Option<(u32, u32)>,
}

#[derive(Debug, thiserror::Error)]
pub enum MatchError {
    #[error("{} faults", .0.len())]
    Faults(Vec<MatchFault>),
    #[error(transparent)]
    Io(#[from] io::Error),
}

#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum What {
    Begin,
    End,
    Land,
}

#[derive(Copy, Clone, Debug)]
pub(super) struct Message {
    pub turn: u64,
    pub channel: u32,
    pub number: u64,
    pub target: u32,
    pub tag: u32,
    pub bytes: u64,
    pub line: u32,
}

/// A channel between two ranks: the event in which its last message ended, and how many it has had.
#[derive(Copy, Clone, Debug)]
pub(super) struct Channel {
    pub end: u64,
    pub messages: u64,
}

/// Ops that wait for nothing: they begin before all others, rank by rank.
#[derive(Debug, Default)]
pub(super) struct Roots {
    pub rank: u32,
    pub read: u32,
    pub ahead: VecDeque<u32>,
}
