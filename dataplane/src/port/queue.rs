//! What a port holds of one priority.

use std::collections::VecDeque;

use crate::frame::Frame;
use crate::steady::Visitor;

/// The frames of one priority, the next to leave first. All that a frame needs that finds the queue empty is in one cache line.
#[derive(Default, Debug)]
#[repr(align(64))]
pub(super) struct Queue {
    first: Option<Box<Frame>>,
    /// Those behind it; none if there is no first.
    rest: VecDeque<Box<Frame>>,
    bytes: u64,
    /// The most and the least bytes since marks were restarted.
    bytes_max: u64,
    bytes_min: u64,
}

const _: () = assert!(std::mem::size_of::<Queue>() == 64, "a cache line");

impl Queue {
    #[inline]
    pub fn push(&mut self, frame: Box<Frame>) {
        self.bytes += u64::from(frame.buffer_bytes());
        self.bytes_max = self.bytes_max.max(self.bytes);
        match self.first {
            None => self.first = Some(frame),
            Some(_) => self.rest.push_back(frame),
        }
    }

    /// Take the next frame.
    #[inline]
    pub fn pop(&mut self) -> Option<Box<Frame>> {
        let frame = std::mem::replace(&mut self.first, self.rest.pop_front())?;
        self.shorten(u64::from(frame.buffer_bytes()));
        Some(frame)
    }

    /// Take all frames.
    pub fn flush(&mut self) -> impl Iterator<Item = Box<Frame>> {
        self.shorten(self.bytes);
        self.first.take().into_iter().chain(std::mem::take(&mut self.rest))
    }

    #[inline]
    fn shorten(&mut self, bytes: u64) {
        self.bytes -= bytes;
        self.bytes_min = self.bytes_min.min(self.bytes);
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    #[inline]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What the next frame takes of a buffer; 0 if there is none.
    #[inline]
    pub fn first_bytes(&self) -> u32 {
        self.first.as_ref().map_or(0, |frame| frame.buffer_bytes())
    }

    pub fn frames(&self) -> impl Iterator<Item = &Frame> {
        self.first.iter().chain(&self.rest).map(Box::as_ref)
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
        match (&mut self.first, self.rest.make_contiguous()) {
            (_, [.., before, last]) => std::mem::swap(before, last),
            (Some(before), [last]) => std::mem::swap(before, last),
            _ => {}
        }
    }

    pub fn visit(&mut self, visitor: &mut impl Visitor) {
        // The most and the least of one period are those of all that follow.
        let Queue { first, rest, bytes, bytes_max: _, bytes_min: _ } = self;
        visitor.same(*bytes << 16 | (usize::from(first.is_some()) + rest.len()) as u64);
        first.iter_mut().chain(rest).for_each(|frame| frame.visit(visitor));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Body;

    /// A queue of frames of these lengths.
    fn queue(lengths: &[u16]) -> Queue {
        let mut queue = Queue::default();
        for len in lengths {
            queue.push(Box::new(Frame { len: *len, ..Frame::control(Body::Opaque) }));
        }
        queue
    }

    fn lengths(mut queue: Queue) -> Vec<u16> {
        std::iter::from_fn(|| queue.pop()).map(|frame| frame.len).collect()
    }

    #[test]
    fn frames_leave_in_the_order_in_which_they_came() {
        let mut queue = queue(&[100, 200, 300]);
        assert_eq!((queue.first_bytes(), queue.bytes()), (104, 612));
        assert_eq!(queue.frames().map(|frame| frame.len).collect::<Vec<_>>(), [100, 200, 300]);
        assert_eq!(queue.pop().map(|frame| frame.len), Some(100));
        queue.push(Box::new(Frame { len: 400, ..Frame::control(Body::Opaque) }));
        assert_eq!((queue.bytes(), queue.marks()), (912, (912, 0)));
        queue.restart_marks();
        assert_eq!(queue.flush().map(|frame| frame.len).collect::<Vec<_>>(), [200, 300, 400]);
        assert!(queue.is_empty() && queue.first_bytes() == 0);
        assert_eq!((queue.bytes(), queue.marks()), (0, (912, 0)));
    }

    #[test]
    fn the_last_of_two_or_more_goes_before_the_one_ahead_of_it() {
        for (before, after) in [
            (&[][..], &[][..]),
            (&[100], &[100]),
            (&[100, 200], &[200, 100]),
            (&[100, 200, 300], &[100, 300, 200]),
            (&[100, 200, 300, 400], &[100, 200, 400, 300]),
        ] {
            let mut queue = queue(before);
            queue.swap_last();
            assert_eq!(lengths(queue), after);
        }
    }
}
