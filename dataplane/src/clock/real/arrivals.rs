//! Frames that are ahead of their time: the kernel carried them while their last stretch of the link was still before them.
//!
//! A frame is handed to the kernel before it arrives, by a step of nominal time where its link is as long (`Direction::lead`), and
//! time stands still until it is read. It waits here, and arrives at its instant to the picosecond. Handed over when it is due, it
//! would be up to a step late at every link, and the feedback loop of a pause longer by the frames of two steps than its headroom.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::fabric::Fabric;
use crate::frame::Frame;
use crate::units::Time;

/// What becomes of a frame when it arrives.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Then {
    /// The node at the end of the direction receives it.
    Receive,
    /// It leaves the fabric by the socket of that number, for a host's kernel.
    Leave(u32),
}

/// A frame with its instant; those of one instant are in the order of the plan, and of one direction in that of their coming.
#[derive(Debug)]
struct Early {
    at: Time,
    /// The node and the port that it arrives at.
    to: (usize, u16),
    number: u64,
    direction: u32,
    then: Then,
    frame: Box<Frame>,
}

impl Early {
    fn order(&self) -> (Time, (usize, u16), u64) {
        (self.at, self.to, self.number)
    }
}

impl PartialEq for Early {
    fn eq(&self, other: &Early) -> bool {
        self.order() == other.order()
    }
}

impl Eq for Early {}

impl PartialOrd for Early {
    fn partial_cmp(&self, other: &Early) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Early {
    fn cmp(&self, other: &Early) -> std::cmp::Ordering {
        self.order().cmp(&other.order())
    }
}

/// The frames of all directions that wait for their instants.
#[derive(Debug, Default)]
pub struct Arrivals {
    waiting: BinaryHeap<Reverse<Early>>,
    number: u64,
}

impl Arrivals {
    /// Keep a frame that arrives at `at` by a direction of `fabric`, where it counts as in flight.
    pub fn keep(&mut self, at: Time, direction: u32, then: Then, frame: Box<Frame>, fabric: &mut Fabric) {
        if !frame.is_control() {
            fabric.ahead[usize::from(frame.is_packet())] += 1;
        }
        let (_, to) = fabric.ends(direction as usize);
        self.put(at, direction, to, then, frame);
    }

    fn put(&mut self, at: Time, direction: u32, to: (usize, u16), then: Then, frame: Box<Frame>) {
        self.number += 1;
        self.waiting.push(Reverse(Early { at, to, number: self.number, direction, then, frame }));
    }

    /// When the next frame arrives; `Time::NEVER` without any.
    #[inline]
    pub fn next(&self) -> Time {
        self.waiting.peek().map_or(Time::NEVER, |Reverse(early)| early.at)
    }

    /// Take the frame that arrives next, with its instant, its direction and what becomes of it.
    pub fn take(&mut self, fabric: &mut Fabric) -> Option<(Time, u32, Then, Box<Frame>)> {
        let Early { at, direction, then, frame, .. } = self.pop()?;
        if !frame.is_control() {
            fabric.ahead[usize::from(frame.is_packet())] -= 1;
        }
        Some((at, direction, then, frame))
    }

    fn pop(&mut self) -> Option<Early> {
        self.waiting.pop().map(|Reverse(early)| early)
    }

    /// How many frames wait.
    pub fn waiting(&self) -> u64 {
        self.waiting.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Body;

    #[test]
    fn frames_arrive_by_instant_then_port_then_in_their_order() {
        let mut arrivals = Arrivals::default();
        assert_eq!((arrivals.next(), arrivals.waiting()), (Time::NEVER, 0));
        let times = [(20, 0, 1), (10, 1, 7), (10, 0, 8), (10, 0, 9)];
        for (ns, node, direction) in times {
            let then = if direction == 9 { Then::Leave(4) } else { Then::Receive };
            let frame = Box::new(Frame::control(Body::Opaque));
            arrivals.put(Time::from_ns(ns), direction, (node, 0), then, frame);
        }
        assert_eq!((arrivals.next(), arrivals.waiting()), (Time::from_ns(10), 4));
        let taken: Vec<_> = std::iter::from_fn(|| arrivals.pop()).collect();
        let order: Vec<_> = taken.iter().map(|early| (early.at.ns(), early.direction)).collect();
        assert_eq!(order, [(10, 8), (10, 9), (10, 7), (20, 1)]);
        assert_eq!(taken[1].then, Then::Leave(4));
    }
}
