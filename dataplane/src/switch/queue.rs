//! A lossy queue: what one egress port holds of one priority that has no priority group.

use super::pool::{scaled, Pool};
use crate::steady::Visitor;

/// How much a lossy queue may hold.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Limit {
    /// So many bytes, its reserve included.
    Static { bytes: u64 },
    /// Its reserve, and alpha = 2^`alpha_log2` times what is left of the pool of lossy frames.
    Dynamic { alpha_log2: i8 },
}

/// What all lossy queues of a switch have in common.
#[derive(Copy, Clone, Debug)]
pub struct LossyConfig {
    pub limit: Limit,
    /// What each queue has before it takes from the pool.
    pub reserve_bytes: u64,
    /// What all of them may share; 0: all that priority groups could not claim.
    pub pool_bytes: u64,
}

/// What a queue holds, in its two parts.
#[derive(Default, Debug)]
pub struct Queue {
    reserved: u64,
    shared: u64,
    used_max: u64,
}

impl Queue {
    /// Take a frame whole into the reserve or the pool; `false` if it fits neither.
    pub fn admit(&mut self, bytes: u64, config: &LossyConfig, pool: &mut Pool) -> bool {
        if let Limit::Static { bytes: limit } = config.limit {
            if self.used() + bytes > limit.max(config.reserve_bytes) {
                return false;
            }
        }
        if self.reserved + bytes <= config.reserve_bytes {
            self.reserved += bytes;
        } else {
            let threshold = match config.limit {
                Limit::Static { .. } => u64::MAX,
                Limit::Dynamic { alpha_log2 } => scaled(pool.free(), alpha_log2),
            };
            if bytes > pool.free() || self.shared + bytes > threshold {
                return false;
            }
            self.shared += bytes;
            pool.reserve(bytes);
        }
        self.used_max = self.used_max.max(self.used());
        true
    }

    /// Give back a frame: the shared part first.
    pub fn release(&mut self, bytes: u64, pool: &mut Pool) {
        debug_assert!(self.used() >= bytes, "released more than the queue held");
        let of_shared = bytes.min(self.shared);
        self.shared -= of_shared;
        self.reserved -= bytes - of_shared;
        pool.give(of_shared);
    }

    fn used(&self) -> u64 {
        self.reserved + self.shared
    }

    pub fn used_max(&self) -> u64 {
        self.used_max
    }

    /// From here on count anew what it holds at most.
    pub fn restart_marks(&mut self) {
        self.used_max = self.used();
    }

    pub fn visit(&mut self, visitor: &mut impl Visitor) {
        let Queue { reserved, shared, used_max: _ } = self;
        visitor.same(*reserved);
        visitor.same(*shared);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(limit: Limit) -> LossyConfig {
        LossyConfig { limit, reserve_bytes: 100, pool_bytes: 0 }
    }

    #[test]
    fn a_static_limit_counts_the_reserve() {
        let (config, mut pool) = (config(Limit::Static { bytes: 500 }), Pool::new(1_000));
        let mut queue = Queue::default();
        assert!(queue.admit(100, &config, &mut pool) && queue.admit(400, &config, &mut pool));
        assert!(!queue.admit(1, &config, &mut pool));
        assert_eq!((pool.used(), queue.used_max()), (400, 500));
        queue.release(450, &mut pool);
        assert_eq!(pool.used(), 0);
        assert!(queue.admit(50, &config, &mut pool));
        assert_eq!(pool.used(), 0, "into the reserve again");
    }

    #[test]
    fn a_dynamic_limit_is_exact_to_the_byte() {
        let (config, mut pool) = (config(Limit::Dynamic { alpha_log2: 0 }), Pool::new(1_000));
        let mut queue = Queue::default();
        assert!(queue.admit(100, &config, &mut pool), "the reserve");
        // The last of n bytes fits if n are no more than what n − 1 leave.
        assert!(queue.admit(499, &config, &mut pool) && queue.admit(1, &config, &mut pool));
        assert!(!queue.admit(501, &config, &mut pool) && queue.admit(0, &config, &mut pool));
        assert!(!queue.admit(1, &config, &mut pool));
    }

    #[test]
    fn the_pool_ends_before_a_large_alpha_does() {
        let (config, mut pool) = (config(Limit::Dynamic { alpha_log2: 3 }), Pool::new(1_000));
        let (mut one, mut two) = (Queue::default(), Queue::default());
        assert!(one.admit(800, &config, &mut pool));
        assert!(!two.admit(201, &config, &mut pool) && two.admit(200, &config, &mut pool));
        assert!(two.admit(100, &config, &mut pool), "a reserve is each queue's own");
    }
}
