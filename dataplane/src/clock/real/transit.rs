//! Frames inside the kernel: written to one end of a veth pair and not yet read at the other.
//!
//! A pair holds nothing by itself, so a frame comes out at once, or when another processor gets round to it. Until then nominal
//! time stands still: else a frame would be late by as long as the kernel took, and every feedback loop of the fabric longer. A frame that
//! the kernel has lost never comes; after `PATIENCE` without any it is given up, counted, and no longer waited for.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::units::Time;

/// How long no frame may have come out of the kernel before those that are awaited are given up.
pub const PATIENCE: Duration = Duration::from_millis(500);

/// One direction of a link, as far as it leads through the kernel.
#[derive(Debug, Default)]
struct Line {
    /// When the frames under way arrive, the oldest first.
    arrivals: VecDeque<Time>,
    lost: u64,
    /// The kernel imposes nothing here, so that time waits for it. Not any more once it has lost a frame, until it is told to.
    awaited: bool,
    given_up: bool,
}

/// The frames that are under way in the kernel, by direction.
#[derive(Debug)]
pub struct Transit {
    lines: Vec<Line>,
    under_way: u64,
    awaited: u64,
    /// When the first of the awaited frames arrives: before that alone something may happen until they have come out.
    first: Time,
    /// A frame has come out or gone in since the last look, and when there was one that found so.
    moved: bool,
    still_since: Option<Instant>,
}

impl Transit {
    /// Watch directions; `awaited` says of each whether frames come out of it as soon as the kernel can.
    pub fn new(awaited: impl Iterator<Item = bool>) -> Transit {
        let lines = awaited.map(|awaited| Line { awaited, ..Line::default() }).collect();
        Transit { lines, under_way: 0, awaited: 0, first: Time::NEVER, moved: false, still_since: None }
    }

    /// A frame is handed to the kernel that arrives at `arrival`.
    #[inline]
    pub fn enter(&mut self, direction: usize, arrival: Time) {
        let line = &mut self.lines[direction];
        line.arrivals.push_back(arrival);
        self.under_way += 1;
        if line.awaited && !line.given_up {
            self.awaited += 1;
            self.first = self.first.min(arrival);
        }
        self.moved = true;
    }

    /// A frame has come out at the far end. Return when it arrives; `None` for one that was given up before.
    #[inline]
    pub fn leave(&mut self, direction: usize) -> Option<Time> {
        let line = &mut self.lines[direction];
        let arrival = line.arrivals.pop_front()?;
        self.under_way -= 1;
        if line.awaited && !line.given_up {
            self.awaited -= 1;
            self.forget_horizon();
        }
        self.moved = true;
        Some(arrival)
    }

    fn forget_horizon(&mut self) {
        if self.awaited == 0 {
            self.first = Time::NEVER;
        }
    }

    /// The latest instant at which something may happen while frames are awaited: the last before one of them arrives, of all that
    /// were awaited together.
    #[inline]
    pub fn horizon(&self) -> Time {
        Time::from_ps(self.first.ps().saturating_sub(1))
    }

    /// The kernel would not take frames after all.
    pub fn refuse(&mut self, direction: usize, frames: u64) {
        for _ in 0..frames {
            self.leave(direction);
        }
    }

    /// Frames under way, those inside a netem included.
    pub fn under_way(&self) -> u64 {
        self.under_way
    }

    /// Whether nominal time has to wait for a frame.
    #[inline]
    pub fn holds(&self) -> bool {
        self.awaited > 0
    }

    /// How long `expire` need not be called, if no frame comes: only while time waits.
    pub fn patience_left(&self, now: Instant) -> Duration {
        self.still_since.map_or(PATIENCE, |since| PATIENCE.saturating_sub(now.duration_since(since)))
    }

    /// Give up the frames that are awaited if none has come for too long. To be called while time waits.
    pub fn expire(&mut self, now: Instant) {
        if !self.holds() || std::mem::take(&mut self.moved) {
            self.still_since = self.holds().then_some(now);
            return;
        }
        if now.duration_since(*self.still_since.get_or_insert(now)) < PATIENCE {
            return;
        }
        for line in self.lines.iter_mut().filter(|line| line.awaited && !line.arrivals.is_empty()) {
            let lost = std::mem::take(&mut line.arrivals).len() as u64;
            line.lost += lost;
            self.under_way -= lost;
            line.given_up = true;
        }
        self.awaited = 0;
        self.forget_horizon();
        self.still_since = None;
    }

    /// Wait for the frames of all directions again, whatever they lost before.
    pub fn trust_again(&mut self) {
        for line in &mut self.lines {
            if std::mem::take(&mut line.given_up) {
                self.awaited += line.arrivals.len() as u64;
            }
        }
    }

    /// By direction, how many frames were given up.
    pub fn lost(&self) -> impl Iterator<Item = u64> + '_ {
        self.lines.iter().map(|line| line.lost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two directions of which time waits for the first.
    fn transit() -> Transit {
        Transit::new([true, false].into_iter())
    }

    fn lost(transit: &Transit) -> Vec<u64> {
        transit.lost().collect()
    }

    #[test]
    fn time_waits_for_frames_that_the_kernel_only_hands_over() {
        let mut transit = transit();
        transit.enter(1, Time::ZERO);
        assert!(!transit.holds(), "a netem keeps frames for as long as it was told to");
        transit.enter(0, Time::ZERO);
        transit.enter(0, Time::ZERO);
        transit.leave(0);
        assert!(transit.holds());
        transit.leave(0);
        assert!(!transit.holds());
        assert_eq!(transit.under_way(), 1);
    }

    #[test]
    fn a_frame_that_does_not_come_is_given_up_and_counted_once() {
        let (mut transit, began) = (transit(), Instant::now());
        transit.enter(0, Time::ZERO);
        transit.expire(began);
        transit.expire(began + PATIENCE - Duration::from_nanos(1));
        assert!(transit.holds() && lost(&transit) == [0, 0]);
        transit.expire(began + PATIENCE);
        assert_eq!((transit.holds(), transit.under_way(), lost(&transit)), (false, 0, vec![1, 0]));
        // It comes after all: too late, and not instead of another.
        transit.leave(0);
        transit.enter(0, Time::ZERO);
        assert_eq!(
            (transit.holds(), transit.under_way()),
            (false, 1),
            "a line that loses frames is not waited for again"
        );
        transit.trust_again();
        assert!(transit.holds());
        transit.leave(0);
        assert_eq!((transit.holds(), lost(&transit)), (false, vec![1, 0]));
    }

    #[test]
    fn frames_that_trickle_out_are_waited_for() {
        let (mut transit, mut now) = (transit(), Instant::now());
        (0..3).for_each(|_| transit.enter(0, Time::ZERO));
        for _ in 0..3 {
            transit.expire(now);
            now += PATIENCE - Duration::from_millis(1);
            transit.expire(now);
            assert!(transit.holds());
            transit.leave(0);
        }
        assert_eq!((transit.holds(), lost(&transit)), (false, vec![0, 0]));
    }

    #[test]
    fn patience_is_for_the_time_since_the_last_frame() {
        let (mut transit, began) = (transit(), Instant::now());
        assert_eq!(transit.patience_left(began), PATIENCE);
        transit.enter(0, Time::ZERO);
        transit.expire(began);
        let later = began + Duration::from_millis(100);
        assert_eq!(transit.patience_left(later), PATIENCE - Duration::from_millis(100));
        transit.leave(0);
        transit.expire(later);
        assert_eq!(transit.patience_left(later + PATIENCE), PATIENCE, "time does not wait");
    }

    #[test]
    fn a_line_that_lost_nothing_is_waited_for_all_the_same() {
        let (mut transit, began) = (Transit::new([true, true, false].into_iter()), Instant::now());
        [0, 0, 2].into_iter().for_each(|direction| transit.enter(direction, Time::ZERO));
        transit.expire(began);
        transit.expire(began + PATIENCE);
        assert_eq!((transit.holds(), transit.under_way(), lost(&transit)), (false, 1, vec![2, 0, 0]));
        [0, 0, 0].into_iter().for_each(|direction| transit.enter(direction, Time::ZERO));
        assert!(!transit.holds());
        transit.enter(1, Time::ZERO);
        assert!(transit.holds());
        transit.leave(1);
        transit.trust_again();
        transit.trust_again();
        transit.refuse(0, 2);
        assert!(transit.holds() && transit.under_way() == 2);
        transit.leave(0);
        assert!(!transit.holds() && transit.under_way() == 1, "the frame in the netem");
    }

    #[test]
    fn what_the_kernel_refuses_is_not_waited_for() {
        let mut transit = transit();
        (0..3).for_each(|_| transit.enter(0, Time::ZERO));
        transit.refuse(0, 5);
        assert_eq!((transit.holds(), transit.under_way()), (false, 0));
    }
}
