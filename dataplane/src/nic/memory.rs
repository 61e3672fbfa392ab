//! A rank's memory.

use super::arithmetic::{combine, Dtype, Redop};

/// Bytes worked on at a time, so that source and destination may be the same memory and the loops vectorise. Whole elements.
const BLOCK_BYTES: usize = 4096;

/// Two vectors of `count` elements, what is made of them and where it goes.
#[derive(Copy, Clone, Debug)]
pub struct Reduce {
    pub dtype: Dtype,
    pub redop: Redop,
    /// Above 1 it divides each sum.
    pub divisor: u32,
    pub dst: u64,
    pub lhs: u64,
    pub rhs: u64,
    pub count: u64,
}

/// Bytes addressed from 0; empty for a rank that exchanges lengths only.
#[derive(Debug, Default)]
pub struct Memory(Vec<u8>);

impl Memory {
    /// `bytes` zeros; `None` if the system has no room for them.
    pub fn new(bytes: u64) -> Option<Memory> {
        let bytes = usize::try_from(bytes).ok()?;
        // `vec!` would end the process if there were no room.
        let mut probe = Vec::<u8>::new();
        probe.try_reserve_exact(bytes).ok()?;
        drop(std::hint::black_box(probe));
        Some(Memory(vec![0; bytes]))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn get(&self, offset: u64, bytes: u64) -> Option<&[u8]> {
        let start = usize::try_from(offset).ok()?;
        self.0.get(start..start.checked_add(usize::try_from(bytes).ok()?)?)
    }

    pub fn get_mut(&mut self, offset: u64, bytes: u64) -> Option<&mut [u8]> {
        let start = usize::try_from(offset).ok()?;
        self.0.get_mut(start..start.checked_add(usize::try_from(bytes).ok()?)?)
    }

    /// `dst[i] = lhs[i] op rhs[i]` for `count` elements, divided; `None`, with nothing written, if a range lies outside.
    pub fn reduce(&mut self, reduce: &Reduce) -> Option<()> {
        let bytes = reduce.count.checked_mul(reduce.dtype.bytes())?;
        for offset in [reduce.dst, reduce.lhs, reduce.rhs] {
            self.get(offset, bytes)?;
        }
        let (dst, lhs, rhs) = (reduce.dst as usize, reduce.lhs as usize, reduce.rhs as usize);
        let bytes = bytes as usize;
        let mut sums = [0u8; BLOCK_BYTES];
        for at in (0..bytes).step_by(sums.len()) {
            let length = sums.len().min(bytes - at);
            let sums = &mut sums[..length];
            sums.copy_from_slice(&self.0[lhs + at..][..length]);
            combine(reduce.dtype, reduce.redop, reduce.divisor, sums, &self.0[rhs + at..][..length]);
            self.0[dst + at..][..length].copy_from_slice(sums);
        }
        Some(())
    }

    /// Write the `bytes` at `src` to `dst`; `None`, with nothing written, if a range lies outside.
    pub fn copy(&mut self, dst: u64, src: u64, bytes: u64) -> Option<()> {
        self.get(dst, bytes)?;
        self.get(src, bytes)?;
        self.0.copy_within(src as usize..(src + bytes) as usize, dst as usize);
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(dtype: Dtype, dst: u64, lhs: u64, rhs: u64, count: u64) -> Reduce {
        Reduce { dtype, redop: Redop::Sum, divisor: 1, dst, lhs, rhs, count }
    }

    #[test]
    fn reduce_in_place_over_many_blocks() {
        let count = 3 * 1024 + 5;
        let mut memory = Memory::new(8 * count).unwrap();
        for i in 0..2 * count {
            memory.get_mut(4 * i, 4).unwrap().copy_from_slice(&(i as i32).to_le_bytes());
        }
        memory.reduce(&sum(Dtype::Int32, 0, 0, 4 * count, count)).unwrap();
        for i in 0..count {
            let sum = i32::from_le_bytes(memory.get(4 * i, 4).unwrap().try_into().unwrap());
            assert_eq!(sum as u64, 2 * i + count);
        }
    }

    #[test]
    fn copies_may_overlap() {
        let mut memory = Memory::new(6).unwrap();
        memory.get_mut(0, 4).unwrap().copy_from_slice(&[1, 2, 3, 4]);
        memory.copy(2, 0, 4).unwrap();
        assert_eq!(memory.get(0, 6).unwrap(), [1, 2, 1, 2, 3, 4]);
    }

    #[test]
    fn ranges_outside_are_refused() {
        let mut memory = Memory::new(16).unwrap();
        assert!(memory.reduce(&sum(Dtype::Float, 0, 4, 12, 2)).is_none());
        assert!(memory.reduce(&sum(Dtype::Float, u64::MAX, 4, 8, 2)).is_none());
        assert!(memory.get(u64::MAX, 2).is_none());
        assert!(memory.copy(8, 12, 8).is_none());
        assert!(memory.copy(12, 8, 8).is_none());
        assert!(memory.copy(0, u64::MAX, 2).is_none());
    }
}
