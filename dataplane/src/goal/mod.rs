//! GOAL, the group operation assembly language of LogGOPSim and ATLAHS: its text and its binary form, read rank by rank.
//!
//! Grammar: spcl/LogGOPSim, src/LogGOPSim/txt2bin.re; layout: Parser.hpp and Goal.hpp there. A reader holds what belongs to the
//! rank that it reads and no other, 24 bytes an op and 8 a dependency, so that its memory is that of the largest rank.
//!
//! No bytes make this module panic: the lints below forbid every operation that could.

#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::unreachable)]

pub mod binary;
pub mod feed;
pub mod file;
pub mod found;
pub mod labels;
pub mod matching;
pub mod spool;
pub mod statement;
mod stuck;
pub mod text;
pub mod waiting;

/// Of a trace.
pub const MAX_RANKS: u32 = 65_536;
/// Of a message in bytes, and of a calc in ps.
pub const MAX_AMOUNT: u64 = i64::MAX as u64;
pub const PS_PER_NS: u64 = 1000;
pub const MAX_CPU: u64 = 255;
/// As the peer of a receive: any source.
pub const ANY_SOURCE: u32 = u32::MAX;

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Kind {
    Send,
    Recv,
    Calc,
}

/// One thing that a rank does. `amount` is the duration of a calc in ps, else bytes. `line` is 0 in files without lines.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Op {
    pub amount: u64,
    pub peer: u32,
    pub tag: u32,
    pub line: u32,
    pub kind: Kind,
    /// Calcs of one cpu run one after another; 0 of messages.
    pub cpu: u8,
    pub any_tag: bool,
}

/// An op that waits for another of its rank, by their positions.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Wait {
    pub waiter: u32,
    pub required: u32,
}

/// What one rank does. Waits of one op are in their order in the file.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Rank {
    pub ops: Vec<Op>,
    /// For the end of an op.
    pub after: Vec<Wait>,
    /// For the start of an op.
    pub begun: Vec<Wait>,
}

/// Where in a file something is wrong.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Place {
    /// Counted from 1; 0 is the file as a whole.
    Line(u64),
    Byte(u64),
}

/// What is wrong with a file. In the message `{}` stands for what is quoted of the file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    pub place: Place,
    pub message: String,
    pub quoted: Option<String>,
}

impl Fault {
    pub fn at(place: Place, message: impl Into<String>) -> Fault {
        Fault { place, message: message.into(), quoted: None }
    }

    /// A fault whose message shows the beginning of `text` in place of `{}`.
    pub fn quoting(place: Place, text: &str, message: &str) -> Fault {
        let begins = text.chars().take(MOST_QUOTED_CHARS).collect();
        Fault { place, message: message.into(), quoted: Some(begins) }
    }
}

/// One more than a message shows, so that it can say that there is more.
const MOST_QUOTED_CHARS: usize = 41;

/// Messages that name a nic, which is left out: how many, and the line of the first.
#[derive(Copy, Clone, PartialEq, Eq, Default, Debug)]
pub struct Nics {
    pub times: u64,
    pub line: u32,
}

impl Nics {
    fn add(&mut self, line: u32) {
        if self.times == 0 {
            self.line = line;
        }
        self.times += 1;
    }
}
