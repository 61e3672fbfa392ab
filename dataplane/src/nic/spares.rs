//! Frames that a host has taken in, for those that it sends next: an acknowledgement is written where the packet was that it answers,
//! in a line of memory that the cache holds.

use crate::frame::{Frame, Frames};

/// A host that receives more than it sends has no use for all of them.
const MOST: usize = 16;

#[derive(Debug, Default)]
pub(super) struct Spares(Frames);

impl Spares {
    /// Keep a frame whose content nobody needs any more.
    #[inline]
    pub fn give(&mut self, frame: Box<Frame>) {
        if self.0.len() < MOST {
            self.0.push(frame);
        }
    }

    /// Put a frame in the place of the one that was given last.
    #[inline]
    pub fn make(&mut self, frame: Frame) -> Box<Frame> {
        match self.0.pop() {
            Some(mut place) => {
                *place = frame;
                place
            }
            None => Box::new(frame),
        }
    }
}
