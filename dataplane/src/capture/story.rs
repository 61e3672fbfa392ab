//! What there is to tell of a frame of a capture, and in which words.

use crate::event::Cause;
use crate::priority::Priority;
use crate::units::Time;

/// A queue or a group: a priority at a port of a node.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct QueueId {
    pub node: u32,
    pub port: u16,
    pub priority: Priority,
}

/// Something that happened to a frame. Other frames are named by how many were captured before them.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Story {
    /// It got no further than here. On a link: than the port that it left by.
    Lost { queue: QueueId, cause: Cause },
    /// A switch marked it as it left a queue that held so many bytes, its own included.
    Marked { queue: QueueId, queued: u64 },
    /// Its data was sent before; `lost`: the frame that lost it, if one did since then.
    SentAgain { lost: Option<u64> },
    /// What it lost was sent again so long after it, as frame `by`.
    Repaired { by: u64, after: Time },
    /// What it lost was made up for by parity, once frame `by` had come.
    Rebuilt { by: u64 },
    /// When it had come, so many lost packets were made whole by parity.
    Completed { packets: u64 },
    /// The receiver had its data already.
    Repeated,
    /// It was handed to the kernel so long after its time (real clock only).
    Late { by: Time },
}

/// The stories of a capture, each with the number of its frame, and how many more there would have been.
#[derive(Debug, Default)]
pub struct Told {
    pub stories: Vec<(u64, Story)>,
    pub omitted: u64,
}

impl Story {
    /// The story as a comment. `names` has the names of the ports of each node. Frames are counted from 1, as Wireshark does.
    pub fn text(&self, names: &[Vec<String>]) -> String {
        match *self {
            Story::Lost { queue, cause } => lost(&queue, cause, names),
            Story::Marked { queue, queued } => {
                format!("marked: queue {} of {} held {queued} bytes", queue.priority, port(&queue, names))
            }
            Story::SentAgain { lost: Some(number) } => format!("sent again: frame {} was lost", number + 1),
            Story::SentAgain { lost: None } => "sent again".into(),
            Story::Repaired { by, after } => format!("repaired: sent again as frame {}, {} later", by + 1, span(after)),
            Story::Rebuilt { by } => format!("repaired: rebuilt from parity when frame {} had come", by + 1),
            Story::Completed { packets } => format!("completed its block: lost packets rebuilt from parity: {packets}"),
            Story::Repeated => "late: its data had come before it".into(),
            Story::Late { by } => format!("late: left {} after its time", span(by)),
        }
    }
}

fn lost(queue: &QueueId, cause: Cause, names: &[Vec<String>]) -> String {
    let (port, priority) = (port(queue, names), queue.priority);
    match cause {
        Cause::Headroom => format!("dropped at {port}: headroom of group {priority} used up"),
        Cause::Buffer => format!("dropped at {port}: no room in the buffer for group {priority}"),
        Cause::Link => format!("lost behind {port}: corrupted on the link"),
        Cause::Outage => format!("lost behind {port}: the link was down"),
        Cause::Watchdog => format!("dropped at {port}: the watchdog flushes queue {priority}"),
        Cause::Unroutable => format!("dropped at {port}: no route to its destination"),
        Cause::Receiver => format!("dropped at {port}: the receive buffer of the NIC was full"),
        Cause::Malformed => format!("dropped at {port}: it cannot be read"),
    }
}

fn port<'a>(queue: &QueueId, names: &'a [Vec<String>]) -> &'a str {
    names.get(queue.node as usize).and_then(|ports| ports.get(usize::from(queue.port))).map_or("?", |name| name)
}

/// A length of time in microseconds.
fn span(time: Time) -> String {
    let ns = time.ns();
    format!("{}.{:03} µs", ns / 1000, ns % 1000)
}
