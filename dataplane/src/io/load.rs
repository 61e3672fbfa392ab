//! A load of frames through whatever forwards them, and the rate at which they come out.

use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::{wait_until_up, Filter, IoError, Options, PacketSocket, TxBatch, BATCH_FRAMES};

/// Frames under way at most: enough to keep any forwarder busy, and few enough that they fit wherever they may gather
/// (the kernel's backlog of 1000 frames a core, a receive buffer at some 9 kB for a frame of 4 kB), so that a lossless
/// path stays lossless.
const WINDOW_FRAMES: u64 = 512;

/// A full window is refilled once it is down to this: still work for many naps of the source.
const REFILL_FRAMES: u64 = WINDOW_FRAMES / 2;

/// Between two looks at the sink. The source sleeps, because on a machine with few cores a source that spins takes its
/// time from the forwarder it is to measure.
const NAP: Duration = Duration::from_micros(100);

/// Without an arrival for this long, what is under way counts as lost.
const STALL: Duration = Duration::from_millis(100);

pub(super) const UP_WITHIN: Duration = Duration::from_secs(5);

/// One end of a veth pair.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Attachment {
    /// Path of the namespace, as under /run/netns.
    pub netns: PathBuf,
    pub interface: String,
}

impl Attachment {
    /// Open a socket here.
    pub fn open(&self, options: Options) -> Result<PacketSocket, IoError> {
        PacketSocket::open(&self.netns, &self.interface, options)
    }
}

/// What came out of a path under load.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Rates {
    /// Frames that arrived in the measured time, and that time.
    pub frames: u64,
    pub elapsed_ns: u64,
    pub frames_per_s: f64,
    /// Frames sent that never arrived, whole run.
    pub lost: u64,
    /// Share of the measured time in which the source could have sent but had a full window under way: near 1 the path
    /// is the bottleneck, near 0 the source is, and then the rate says nothing about the path.
    pub source_idle_share: f64,
}

/// Make a frame of `frame_bytes` (without FCS, at least 14) between two locally administered addresses.
pub fn probe_frame(frame_bytes: usize) -> Vec<u8> {
    let mut frame = vec![0x02, 0, 0, 0, 0xFF, 0x02, 0x02, 0, 0, 0, 0xFF, 0x01];
    // The EtherType that IEEE 802 sets aside for local experiments: no kernel acts on it.
    frame.extend_from_slice(&[0x88, 0xB5]);
    frame.resize(frame_bytes.max(frame.len()), 0x5A);
    frame
}

/// Send copies of `frame` from `source` for `duration` and count those that reach `sink`, where someone else, already
/// running, forwards between the two.
///
/// The calling thread is the source. The first tenth of the time warms up and is not counted.
/// Only frames to the destination of `frame` count. The counting socket at the sink is never read: the kernel drops
/// what it cannot keep but counts it first, so that the sink costs the forwarder next to nothing.
pub fn measure_load(
    source: &Attachment,
    sink: &Attachment,
    frame: &[u8],
    duration: Duration,
) -> Result<Rates, IoError> {
    wait_until_up(&[source.clone(), sink.clone()], UP_WITHIN)?;
    let mut destination = [0u8; 6];
    destination.copy_from_slice(&frame[..6]);
    let counting = Options { receive_buffer_bytes: 0, filter: Filter::Station(destination), ..Options::default() };
    let mut load = Load::new(source.open(Options::default())?, sink.open(counting)?);
    load.run(frame, duration / 10)?;
    let (idle, arrived) = (load.idle, load.arrived);
    let start = Instant::now();
    load.run(frame, duration)?;
    let elapsed = start.elapsed();
    let frames = load.arrived - arrived;
    let idle = load.idle - idle;
    load.drain()?;
    Ok(Rates {
        frames,
        elapsed_ns: elapsed.as_nanos() as u64,
        frames_per_s: frames as f64 / elapsed.as_secs_f64(),
        lost: load.lost,
        source_idle_share: idle.as_secs_f64() / elapsed.as_secs_f64(),
    })
}

/// The source's state: sent = arrived + lost + under way.
struct Load {
    source: PacketSocket,
    sink: PacketSocket,
    batch: TxBatch,
    sent: u64,
    arrived: u64,
    lost: u64,
    idle: Duration,
}

impl Load {
    fn new(source: PacketSocket, sink: PacketSocket) -> Self {
        let batch = TxBatch::new(BATCH_FRAMES);
        Self { source, sink, batch, sent: 0, arrived: 0, lost: 0, idle: Duration::ZERO }
    }

    fn under_way(&self) -> u64 {
        self.sent - self.arrived - self.lost
    }

    fn run(&mut self, frame: &[u8], duration: Duration) -> Result<(), IoError> {
        let end = Instant::now() + duration;
        while Instant::now() < end {
            if self.under_way() + BATCH_FRAMES as u64 > WINDOW_FRAMES {
                self.wait_below(REFILL_FRAMES)?;
            }
            while !self.batch.is_full() {
                // Only a full batch refuses.
                let _ = self.batch.push(frame);
            }
            self.sent += self.batch.flush(&self.source)?.sent as u64;
        }
        Ok(())
    }

    /// Wait until at most `frames` are under way, or give up those that are as lost.
    fn wait_below(&mut self, frames: u64) -> Result<(), IoError> {
        let start = Instant::now();
        let mut progress = start;
        loop {
            let before = self.arrived;
            self.arrived = self.sink.statistics()?.packets;
            // Frames given up as lost may arrive after all.
            self.lost = self.lost.min(self.sent.saturating_sub(self.arrived));
            if self.under_way() <= frames {
                break;
            }
            let now = Instant::now();
            if self.arrived != before {
                progress = now;
            } else if now - progress > STALL {
                self.lost += self.under_way();
                break;
            }
            thread::sleep(NAP);
        }
        self.idle += start.elapsed();
        Ok(())
    }

    fn drain(&mut self) -> Result<(), IoError> {
        self.wait_below(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_frame_has_the_length_requested_and_never_less_than_a_header() {
        for (asked, made) in [(0, 14), (14, 14), (64, 64), (4178, 4178)] {
            let frame = probe_frame(asked);
            assert_eq!(frame.len(), made);
            assert_eq!(frame[12..14], [0x88, 0xB5]);
            assert_eq!((frame[0] & 3, frame[6] & 3), (2, 2), "unicast, locally administered");
        }
    }
}
