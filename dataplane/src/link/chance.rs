//! What a direction of a link does by chance, drawn from a generator of its own: lose frames, and delay them by more than it must.

use rand_core::{Rng, SeedableRng};
use rand_pcg::Pcg64;

use super::loss::{Loss, ProcessPlan};
use crate::steady::{Reason, Visitor};
use crate::units::Time;

#[derive(Debug)]
pub(super) struct Chance {
    jitter: Time,
    /// Independent losses, and a process beside them.
    random_loss: Loss,
    process: Loss,
    random: Pcg64,
}

impl Chance {
    /// Losses of one probability and by a process, without jitter. The `seed` tells directions apart.
    pub fn new(seed: [u64; 2], loss: f64, process: Option<&ProcessPlan>) -> Chance {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed[0].to_le_bytes());
        key[8..16].copy_from_slice(&seed[1].to_le_bytes());
        let mut random = Pcg64::from_seed(key);
        Chance {
            jitter: Time::ZERO,
            random_loss: Loss::bernoulli(loss, &mut random),
            process: process.map_or(Loss::None, |plan| Loss::new(plan, &mut random)),
            random,
        }
    }

    /// Whether it loses and delays nothing.
    pub fn is_none(&self) -> bool {
        let loses = [&self.random_loss, &self.process].into_iter().any(|loss| !matches!(loss, Loss::None));
        !loses && self.jitter == Time::ZERO
    }

    /// By how much a frame of so many bytes is late whose last bit leaves at `sent`; `None` if it is lost.
    pub fn delay(&mut self, bytes: u32, sent: Time) -> Option<Time> {
        // Both are asked, so that what one draws does not depend on the other.
        let lost = self.random_loss.loses(bytes, sent, &mut self.random);
        if self.process.loses(bytes, sent, &mut self.random) || lost {
            return None;
        }
        if self.jitter == Time::ZERO {
            return Some(Time::ZERO);
        }
        Some(Time::from_ps(self.random.next_u64() % (self.jitter.ps() + 1)))
    }

    pub fn jitter(&self) -> Time {
        self.jitter
    }

    pub fn set_jitter(&mut self, jitter: Time) {
        self.jitter = jitter;
    }

    /// Lose frames by this process alone, or none.
    pub fn set_loss(&mut self, plan: Option<&ProcessPlan>) {
        self.random_loss = Loss::None;
        self.process = plan.map_or(Loss::None, |plan| Loss::new(plan, &mut self.random));
    }

    pub fn visit(&mut self, visitor: &mut impl Visitor, now: Time) {
        // What is drawn shows in what it is drawn for.
        let Chance { jitter, random_loss, process, random: _ } = self;
        if *jitter > Time::ZERO {
            visitor.refuse(Reason::RandomLinks);
        }
        random_loss.visit(visitor, now);
        process.visit(visitor, now);
    }
}
