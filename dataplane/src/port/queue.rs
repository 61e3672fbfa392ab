//! What a port holds of one priority.

use std::collections::VecDeque;

use crate::frame::Frame;
use crate::steady::Visitor;

/// The frames of one priority, the next to leave first: a cache line, which is all of the other queues that a frame passes by.
#[derive(Default, Debug)]
#[repr(align(64))]
pub(super) struct Queue {
    frames: VecDeque<Box<Frame>>,
    bytes: u64,
    /// The most and the least bytes since marks were restarted.
    bytes_max: u64,
    bytes_min: u64,
    /// What it may send in its turn, of weighted ones.
    pub deficit: i64,
}

impl Queue {
    #[inline]
    pub fn push(&mut self, frame: Box<Frame>) {
        self.bytes += u64::from(frame.buffer_bytes());
        self.bytes_max = self.bytes_max.max(self.bytes);
        self.frames.push_back(frame);
    }

    /// Take the next frame. What is saved up is lost with the last one.
    #[inline]
    pub fn pop(&mut self) -> Option<Box<Frame>> {
        let frame = self.frames.pop_front()?;
        if self.frames.is_empty() {
            self.deficit = 0;
        }
        self.shorten(u64::from(frame.buffer_bytes()));
        Some(frame)
    }

    /// Take all frames.
    pub fn flush(&mut self) -> VecDeque<Box<Frame>> {
        self.deficit = 0;
        self.shorten(self.bytes);
        std::mem::take(&mut self.frames)
    }

    #[inline]
    fn shorten(&mut self, bytes: u64) {
        self.bytes -= bytes;
        self.bytes_min = self.bytes_min.min(self.bytes);
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    #[inline]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What the next frame takes of a buffer; 0 if there is none.
    #[inline]
    pub fn first_bytes(&self) -> u32 {
        self.frames.front().map_or(0, |frame| frame.buffer_bytes())
    }

    pub fn frames(&self) -> impl Iterator<Item = &Frame> {
        self.frames.iter().map(Box::as_ref)
    }

    /// The most and the least bytes since marks were restarted.
    pub fn marks(&self) -> (u64, u64) {
        (self.bytes_max, self.bytes_min)
    }

    /// From here on count anew what it holds at most and at least.
    pub fn restart_marks(&mut self) {
        (self.bytes_max, self.bytes_min) = (self.bytes, self.bytes);
    }

    /// Let the last frame go before the one ahead of it.
    pub fn swap_last(&mut self) {
        if let Some(before) = self.frames.len().checked_sub(2) {
            self.frames.swap(before, before + 1);
        }
    }

    pub fn visit(&mut self, visitor: &mut impl Visitor) {
        // The most and the least of one period are those of all that follow.
        let Queue { frames, bytes, bytes_max: _, bytes_min: _, deficit } = self;
        visitor.same(*deficit as u64);
        visitor.same(*bytes << 16 | frames.len() as u64);
        frames.iter_mut().for_each(|frame| frame.visit(visitor));
    }
}
