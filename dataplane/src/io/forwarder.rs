//! The least that can forward a frame: recvmmsg, sendmmsg, nothing between. The yardstick of the real clock.

use std::slice;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde::Deserialize;

use super::load::UP_WITHIN;
use super::message_vector::MessageVector;
use super::{
    measure_load, wait_until_up, Attachment, IoError, Options, PacketSocket, Poller, Rates, RxBatch, BATCH_FRAMES,
};
use crate::wire::sizes::LONGEST_FRAME_BYTES;

/// How long the forwarder sleeps on an empty socket before it looks whether it is to stop.
const NAP_NS: u64 = 1_000_000;

/// What `forward` did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forwarded {
    pub frames: u64,
    /// Frames not forwarded: cut off on reception, too long for the interface, or in hand when told to stop.
    pub lost: u64,
}

/// Where the bare forwarder stands: source → ingress, egress → sink, two veth pairs.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForwardPath {
    pub source: Attachment,
    pub ingress: Attachment,
    pub egress: Attachment,
    pub sink: Attachment,
}

/// Forward every frame from `from` to `to` until `stop` is set, in order, without a copy in user space.
///
/// Sleeps while nothing arrives; while the egress has no room it tries again.
pub fn forward(from: &PacketSocket, to: &PacketSocket, stop: &AtomicBool) -> Result<Forwarded, IoError> {
    let mut batch = RxBatch::new(BATCH_FRAMES);
    // Received frames are sent from where they lie.
    let messages = &mut batch.messages;
    let mut poller = Poller::new()?;
    poller.add(from, 0)?;
    let mut total = Forwarded::default();
    while !stop.load(Ordering::Relaxed) {
        let count = messages.receive(from).map_err(|error| IoError::new("recvmmsg", from.subject(), error))?;
        if count == 0 {
            poller.wait(NAP_NS)?;
            continue;
        }
        for index in 0..count {
            // A frame cut off is sent as nothing, which the kernel refuses and `send_all` counts.
            messages.shorten(index, messages.received(index).unwrap_or(0));
        }
        let sent = send_all(messages, count, to, stop)?;
        total.frames += sent;
        total.lost += count as u64 - sent;
        for index in 0..count {
            messages.shorten(index, LONGEST_FRAME_BYTES);
        }
    }
    Ok(total)
}

fn send_all(messages: &mut MessageVector, count: usize, to: &PacketSocket, stop: &AtomicBool) -> Result<u64, IoError> {
    let (mut next, mut sent) = (0, 0);
    while next < count {
        match messages.send(to, next..count) {
            Ok(part) => {
                next += part;
                sent += part as u64;
            }
            Err(error) => match error.raw_os_error() {
                Some(libc::EAGAIN | libc::ENOBUFS) if stop.load(Ordering::Relaxed) => break,
                Some(libc::EAGAIN | libc::ENOBUFS) => thread::yield_now(),
                Some(libc::EMSGSIZE | libc::EINVAL) => next += 1,
                _ => return Err(IoError::new("sendmmsg", to.subject(), error)),
            },
        }
    }
    Ok(sent)
}

/// Measure how many copies of `frame` the bare forwarder moves along `path` in `duration`.
///
/// One thread forwards, the caller's is the source (see `measure_load`); with less than a core for each the rate is that of the scheduler.
pub fn measure_forwarder(path: &ForwardPath, frame: &[u8], duration: Duration) -> Result<Rates, IoError> {
    wait_until_up(slice::from_ref(&path.egress), UP_WITHIN)?;
    let ingress = path.ingress.open(Options::default())?;
    let egress = path.egress.open(Options::default())?;
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let forwarder = scope.spawn(|| forward(&ingress, &egress, &stop));
        let rates = measure_load(&path.source, &path.sink, frame, duration);
        stop.store(true, Ordering::Relaxed);
        let forwarded = forwarder.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        // What broke the forwarder explains what the source saw.
        forwarded.and(rates)
    })
}
