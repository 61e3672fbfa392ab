//! What is shared: admission counters over one memory.

use crate::steady::Visitor;

/// What is left of something shared, and the most that was ever taken of it.
#[derive(Copy, Clone, Debug)]
pub struct Pool {
    size: u64,
    used: u64,
    used_max: u64,
}

impl Pool {
    pub fn new(size: u64) -> Pool {
        Pool { size, used: 0, used_max: 0 }
    }

    /// A counter that limits nothing.
    pub fn unlimited() -> Pool {
        Pool::new(u64::MAX)
    }

    #[inline]
    pub fn free(&self) -> u64 {
        self.size - self.used
    }

    #[inline]
    pub fn reserve(&mut self, bytes: u64) {
        self.used += bytes;
        self.used_max = self.used_max.max(self.used);
    }

    #[inline]
    pub fn give(&mut self, bytes: u64) {
        debug_assert!(self.used >= bytes, "gave back more than was taken");
        self.used -= bytes;
    }

    pub fn used(&self) -> u64 {
        self.used
    }

    pub fn used_max(&self) -> u64 {
        self.used_max
    }

    /// From here on count anew what is taken at most.
    pub fn restart_marks(&mut self) {
        self.used_max = self.used;
    }

    /// The most that is taken in one period is that of all that follow.
    pub fn visit(&mut self, visitor: &mut impl Visitor) {
        let Pool { size: _, used, used_max: _ } = self;
        visitor.same(*used);
    }
}

/// `bytes` times 2^`log2`.
#[inline]
pub fn scaled(bytes: u64, log2: i8) -> u64 {
    let shift = u32::from(log2.unsigned_abs());
    if log2 < 0 {
        bytes.checked_shr(shift).unwrap_or(0)
    } else {
        bytes.saturating_mul(1u64.checked_shl(shift).unwrap_or(u64::MAX))
    }
}
