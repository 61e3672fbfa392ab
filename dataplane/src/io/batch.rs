//! Frames in batches: many frames through one system call.

use std::time::{Duration, Instant};

use super::message_vector::MessageVector;
use super::{IoError, PacketSocket};
use crate::wire::sizes::LONGEST_FRAME_BYTES;

/// Frames in a batch: beyond some 32 the cost of the system call is spread thin enough to vanish.
pub const BATCH_FRAMES: usize = 64;

/// Bytes between the starts of receive buffers: whole cache lines, and no power of two, lest all frames' heads
/// compete for the same cache sets.
const STRIDE_BYTES: usize = LONGEST_FRAME_BYTES.next_multiple_of(64);

/// How long a full queue may turn one frame away. None of ours is full for as long.
const PATIENCE: Duration = Duration::from_secs(1);

/// Buffers for one recvmmsg; one batch serves any number of sockets in turn.
///
/// Frames that would not fit `LONGEST_FRAME_BYTES` are counted and not delivered. Memory is touched only where frames
/// land in it.
pub struct RxBatch {
    pub(super) messages: MessageVector,
    memory: Vec<u8>,
    truncated: u64,
    outages: u64,
}

impl RxBatch {
    /// Make room for `frames` frames a call; BATCH_FRAMES suits.
    pub fn new(frames: usize) -> Self {
        let mut messages = MessageVector::new(frames);
        let mut memory = vec![0u8; frames * STRIDE_BYTES];
        for (index, slot) in memory.chunks_exact_mut(STRIDE_BYTES).enumerate() {
            // SAFETY: the memory is owned beside the messages, never resized, and read only between calls.
            unsafe { messages.point(index, slot.as_mut_ptr(), LONGEST_FRAME_BYTES) };
        }
        Self { messages, memory, truncated: 0, outages: 0 }
    }

    /// Receive the frames that wait at `socket`, at most a batch; an empty answer if there are none.
    ///
    /// That the interface went down is no error: it is counted, and the socket hears again once it is up.
    pub fn recv(&mut self, socket: &PacketSocket) -> Result<Frames<'_>, IoError> {
        let count = match self.messages.receive(socket) {
            Ok(count) => count,
            Err(error) if error.raw_os_error() == Some(libc::ENETDOWN) => {
                self.outages += 1;
                0
            }
            Err(error) => return Err(IoError::new("recvmmsg", socket.subject(), error)),
        };
        self.truncated += (0..count).filter(|&index| self.messages.received(index).is_none()).count() as u64;
        Ok(Frames { batch: self, next: 0, count })
    }

    /// Frames longer than LONGEST_FRAME_BYTES, not delivered.
    pub fn truncated(&self) -> u64 {
        self.truncated
    }

    /// How often an interface was found to have gone down.
    pub fn outages(&self) -> u64 {
        self.outages
    }
}

/// The frames of one `recv`, in order of arrival, without FCS.
pub struct Frames<'a> {
    batch: &'a RxBatch,
    next: usize,
    count: usize,
}

impl Frames<'_> {
    /// Whether every buffer was used, so that more frames may wait.
    pub fn filled_batch(&self) -> bool {
        self.count == self.batch.messages.len()
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        while self.next < self.count {
            let index = self.next;
            self.next += 1;
            if let Some(length) = self.batch.messages.received(index) {
                let start = index * STRIDE_BYTES;
                return Some(&self.batch.memory[start..start + length]);
            }
        }
        None
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.count - self.next))
    }
}

/// What one `flush` did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TxOutcome {
    /// Frames handed to the interface.
    pub sent: usize,
    /// Frames that stay queued, because buffer space ran out on the way: flush again.
    pub left: usize,
    /// Frames taken off the queue because no later try could send them: longer than the interface's MTU or its peer's, shorter
    /// than an Ethernet header, or the interface is down.
    pub refused: usize,
}

/// A bounded queue of frames towards one socket, sent by sendmmsg, in order.
///
/// Nothing is lost unseen: a push to a full queue is refused and counted, and every frame taken is sent, left, or
/// counted as refused. Buffers grow to the longest frame they have held and are kept.
pub struct TxBatch {
    messages: MessageVector,
    memory: Vec<Vec<u8>>,
    // A ring: `queued` frames from `head` on.
    head: usize,
    queued: usize,
    overflowed: u64,
    refused: u64,
    turned_away: u64,
    /// Since when the frame at the head has been turned away.
    stuck_since: Option<Instant>,
    /// Frames of this length have been turned away for so long that the peer must be taking shorter ones only.
    too_long: usize,
}

impl TxBatch {
    /// Make a queue of at most `frames` frames.
    pub fn new(frames: usize) -> Self {
        Self {
            messages: MessageVector::new(frames),
            memory: vec![Vec::new(); frames],
            head: 0,
            queued: 0,
            overflowed: 0,
            refused: 0,
            turned_away: 0,
            stuck_since: None,
            too_long: usize::MAX,
        }
    }

    /// Queue a copy of `frame`; false, and counted, if the queue is full.
    #[must_use]
    pub fn push(&mut self, frame: &[u8]) -> bool {
        self.push_with(|buffer| buffer.extend_from_slice(frame))
    }

    /// Queue the frame that `build` writes into an empty buffer; false, counted and not built, if the queue is full.
    #[must_use]
    pub fn push_with(&mut self, build: impl FnOnce(&mut Vec<u8>)) -> bool {
        if self.is_full() {
            self.overflowed += 1;
            return false;
        }
        let index = (self.head + self.queued) % self.memory.len();
        let buffer = &mut self.memory[index];
        buffer.clear();
        build(buffer);
        // SAFETY: the buffer is owned beside the messages and left alone until this index is pushed again, which
        // points anew.
        unsafe { self.messages.point(index, buffer.as_mut_ptr(), buffer.len()) };
        self.queued += 1;
        true
    }

    /// Send what is queued until all is gone or buffer space runs out.
    ///
    /// Fails if the socket itself is unusable; the frames then stay queued.
    pub fn flush(&mut self, socket: &PacketSocket) -> Result<TxOutcome, IoError> {
        let mut outcome = TxOutcome::default();
        // The kernel ended the last send at a frame that it would not take, and did not say why.
        let mut cut_short = false;
        while self.queued > 0 {
            let end = (self.head + self.queued).min(self.memory.len());
            match self.messages.send(socket, self.head..end) {
                Ok(count) => {
                    if (self.head..self.head + count).any(|index| self.memory[index].len() >= self.too_long) {
                        self.too_long = usize::MAX;
                    }
                    // What goes through at the second try met a full queue at the first: a full socket stays full.
                    self.turned_away += u64::from(cut_short);
                    cut_short = count < end - self.head;
                    outcome.sent += count;
                    self.advance(count);
                }
                Err(error) => match error.raw_os_error() {
                    // The socket's own buffer.
                    Some(libc::EAGAIN) => break,
                    // The interface or the queue behind it; the kernel has thrown its copy away, so that sending it
                    // again makes no second one.
                    Some(libc::ENOBUFS) => {
                        self.turned_away += 1 + u64::from(cut_short);
                        if !self.is_hopeless() {
                            break;
                        }
                        outcome.refused += 1;
                        cut_short = false;
                        self.advance(1);
                    }
                    // The last two say that the interface is gone, perhaps for good.
                    Some(libc::EMSGSIZE | libc::EINVAL | libc::ENETDOWN | libc::ENXIO | libc::ENODEV) => {
                        outcome.refused += 1;
                        cut_short = false;
                        self.advance(1);
                    }
                    _ => return Err(IoError::new("sendmmsg", socket.subject(), error)),
                },
            }
        }
        outcome.left = self.queued;
        self.refused += outcome.refused as u64;
        Ok(outcome)
    }

    /// Whether the frame at the head, turned away again, will never be taken. A full queue takes it as soon as it has room; a peer
    /// whose MTU is smaller than that of its end of the veth pair does not, and would keep everything behind it waiting.
    fn is_hopeless(&mut self) -> bool {
        let length = self.memory[self.head].len();
        if length >= self.too_long {
            return true;
        }
        let stuck = self.stuck_since.get_or_insert_with(Instant::now).elapsed() > PATIENCE;
        if stuck {
            self.too_long = length;
        }
        stuck
    }

    fn advance(&mut self, frames: usize) {
        // The kernel sends no more than it was given; else what follows would read beyond the queue.
        assert!(frames <= self.queued);
        self.stuck_since = None;
        self.head = (self.head + frames) % self.memory.len();
        self.queued -= frames;
        if self.queued == 0 {
            // Begin anew with the buffers that are in the processor's cache.
            self.head = 0;
        }
    }

    /// Frames queued.
    pub fn len(&self) -> usize {
        self.queued
    }

    pub fn is_empty(&self) -> bool {
        self.queued == 0
    }

    pub fn is_full(&self) -> bool {
        self.queued == self.memory.len()
    }

    /// Frames that a full queue turned away since the batch was made.
    pub fn overflowed(&self) -> u64 {
        self.overflowed
    }

    /// Frames that the kernel would not take, since the batch was made.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// How often a full queue behind the socket (ENOBUFS) turned a frame away, since the batch was made. Each such frame
    /// stayed here to be sent again, but the queue has counted it as dropped.
    pub fn turned_away(&self) -> u64 {
        self.turned_away
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_refuses_counts_and_does_not_build() {
        let mut batch = TxBatch::new(2);
        assert!(batch.push(&[1; 60]) && batch.push(&[2; 60]));
        assert!(!batch.push_with(|_| panic!("there is no buffer to build in")));
        assert_eq!((batch.len(), batch.overflowed()), (2, 1));
    }

    #[test]
    fn the_ring_reuses_buffers_in_order() {
        let mut batch = TxBatch::new(3);
        assert!(batch.push(&[0; 60]));
        for value in 1..=7u8 {
            assert!(batch.push(&[value; 60]));
            assert_eq!(batch.memory[batch.head], vec![value - 1; 60]);
            batch.advance(1);
        }
        assert_eq!((batch.len(), batch.head), (1, 1));
        batch.advance(1);
        assert_eq!((batch.len(), batch.head), (0, 0));
    }

    #[test]
    #[should_panic(expected = "at least one frame")]
    fn an_empty_batch_is_a_mistake() {
        RxBatch::new(0);
    }
}
