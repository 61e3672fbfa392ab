//! One direction of a link: propagation, and loss drawn from a generator of its own.

use std::collections::VecDeque;

use rand_core::{Rng, SeedableRng};
use rand_pcg::Pcg64;

use crate::frame::Frame;
use crate::plan::Medium;
use crate::units::Time;

/// Frames lost independently with one probability, drawn as gaps between losses: one draw a loss, not one a frame.
#[derive(Debug)]
struct Bernoulli {
    probability: f64,
    /// Frames that still pass before the next loss; `u64::MAX` = no loss to come.
    passing: u64,
    random: Pcg64,
}

impl Bernoulli {
    fn new(probability: f64, seed: [u64; 2]) -> Bernoulli {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed[0].to_le_bytes());
        key[8..16].copy_from_slice(&seed[1].to_le_bytes());
        let mut bernoulli = Bernoulli { probability, passing: 0, random: Pcg64::from_seed(key) };
        bernoulli.passing = bernoulli.draw_gap();
        bernoulli
    }

    /// Frames that pass before the next loss: geometric, by inversion.
    fn draw_gap(&mut self) -> u64 {
        if self.probability <= 0.0 {
            return u64::MAX;
        }
        if self.probability >= 1.0 {
            return 0;
        }
        // Uniform in (0, 1]: 53 random bits, never zero, so the logarithm is finite.
        let uniform = ((self.random.next_u64() >> 11) + 1) as f64 / (1u64 << 53) as f64;
        (uniform.ln() / (-self.probability).ln_1p()) as u64
    }

    #[inline]
    fn loses(&mut self) -> bool {
        if self.passing == u64::MAX {
            return false;
        }
        if self.passing > 0 {
            self.passing -= 1;
            return false;
        }
        self.passing = self.draw_gap();
        true
    }
}

/// One direction of a link. Frames arrive in the order they were sent.
#[derive(Debug)]
pub struct Direction {
    pub to_node: u32,
    pub to_port: u16,
    pub medium: Medium,
    delay: Time,
    loss: Bernoulli,
    flight: VecDeque<(Time, Frame)>,
}

impl Direction {
    /// A direction towards a port; `seed` tells directions apart and makes each repeatable.
    pub fn new(to: (usize, u16), medium: Medium, delay: Time, loss: f64, seed: [u64; 2]) -> Direction {
        Direction {
            to_node: to.0 as u32,
            to_port: to.1,
            medium,
            delay,
            loss: Bernoulli::new(loss, seed),
            flight: VecDeque::new(),
        }
    }

    /// Put a frame on the link whose last bit leaves at `sent`. False if the link loses it.
    #[inline]
    pub fn send(&mut self, frame: Frame, sent: Time) -> bool {
        if self.loss.loses() {
            return false;
        }
        self.flight.push_back((sent + self.delay, frame));
        true
    }

    /// When the oldest frame in flight arrives; `Time::NEVER` on an empty link.
    #[inline]
    pub fn next_arrival(&self) -> Time {
        self.flight.front().map_or(Time::NEVER, |(at, _)| *at)
    }

    #[inline]
    pub fn arrive(&mut self) -> Option<Frame> {
        self.flight.pop_front().map(|(_, frame)| frame)
    }

    pub fn in_flight(&self) -> impl Iterator<Item = &Frame> {
        self.flight.iter().map(|(_, frame)| frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_are_as_many_as_asked_and_repeatable() {
        let count = |seed| {
            let mut loss = Bernoulli::new(1e-3, [seed, 0]);
            (0..1_000_000).filter(|_| loss.loses()).count()
        };
        // 1000 expected, standard deviation 31.6: four of them.
        assert!(count(1).abs_diff(1_000) < 127, "{}", count(1));
        assert_eq!(count(2), count(2));
        assert_ne!(count(2), count(3));
    }

    #[test]
    fn certain_and_impossible_loss() {
        let mut never = Bernoulli::new(0.0, [1, 1]);
        let mut always = Bernoulli::new(1.0, [1, 1]);
        assert!((0..1000).all(|_| !never.loses() && always.loses()));
    }
}
