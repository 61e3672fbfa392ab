//! The kernel's side of the real clock: raw sockets on veth ends, in whatever namespace they live.
//!
//! Nothing here knows of switches, NICs or nominal time. Frames are byte slices without FCS, time-outs are wall
//! nanoseconds, and every failure says which operation on what was refused, and with which errno.

mod batch;
mod carrier;
mod forwarder;
mod gate;
mod load;
mod message_vector;
mod netns;
mod packet_socket;
mod poller;

pub use batch::{Frames, RxBatch, TxBatch, TxOutcome, BATCH_FRAMES};
pub use carrier::wait_until_up;
pub use forwarder::{forward, measure_forwarder, ForwardPath, Forwarded};
pub use gate::Gates;
pub use load::{measure_load, probe_frame, Attachment, Rates};
pub use netns::open_in;
pub use packet_socket::{close_all, Filter, Options, PacketSocket, SocketStatistics, UNSHAPED_PRIORITY};
pub use poller::{set_timer_slack_ns, Interest, Poller, Ready, Waker, HEARTBEATS_TOKEN};

/// A system call that failed: what was tried, on what, and the kernel's answer.
#[derive(Debug, thiserror::Error)]
#[error("{operation} failed on {subject}: {source}")]
pub struct IoError {
    pub operation: &'static str,
    pub subject: String,
    pub source: std::io::Error,
}

impl IoError {
    /// Wrap an error that a standard-library call returned.
    pub fn new(operation: &'static str, subject: impl Into<String>, source: std::io::Error) -> Self {
        Self { operation, subject: subject.into(), source }
    }

    /// Wrap the calling thread's current errno.
    pub(crate) fn last(operation: &'static str, subject: impl Into<String>) -> Self {
        Self::new(operation, subject, std::io::Error::last_os_error())
    }

    /// The errno, where the kernel gave one.
    pub fn errno(&self) -> Option<i32> {
        self.source.raw_os_error()
    }
}
