//! A rank's memory, and the arithmetic of `reduce`.

/// Element types a reduction knows, four bytes each, little-endian.
#[derive(Copy, Clone, PartialEq, Eq, Debug, serde::Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    Float,
    Int32,
}

#[derive(Copy, Clone, PartialEq, Eq, Debug, serde::Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Redop {
    Sum,
}

const ELEMENT_BYTES: usize = 4;
/// Elements worked on at a time, so that source and destination may be the same memory and the loops vectorise.
const BLOCK: usize = 1024;

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

    /// `dst[i] = lhs[i] op rhs[i]` for `count` elements; `None`, with nothing written, if a range lies outside.
    pub fn reduce(&mut self, dtype: Dtype, Redop::Sum: Redop, dst: u64, lhs: u64, rhs: u64, count: u64) -> Option<()> {
        let bytes = count.checked_mul(ELEMENT_BYTES as u64)?;
        for offset in [dst, lhs, rhs] {
            self.get(offset, bytes)?;
        }
        let (dst, lhs, rhs, bytes) = (dst as usize, lhs as usize, rhs as usize, bytes as usize);
        let mut sums = [0u8; BLOCK * ELEMENT_BYTES];
        for at in (0..bytes).step_by(sums.len()) {
            let length = sums.len().min(bytes - at);
            let sums = &mut sums[..length];
            sums.copy_from_slice(&self.0[lhs + at..][..length]);
            add(dtype, sums, &self.0[rhs + at..][..length]);
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

fn add(dtype: Dtype, sums: &mut [u8], terms: &[u8]) {
    let (sums, _) = sums.as_chunks_mut::<ELEMENT_BYTES>();
    let (terms, _) = terms.as_chunks::<ELEMENT_BYTES>();
    for (sum, term) in sums.iter_mut().zip(terms) {
        *sum = match dtype {
            Dtype::Float => (f32::from_le_bytes(*sum) + f32::from_le_bytes(*term)).to_le_bytes(),
            Dtype::Int32 => i32::from_le_bytes(*sum).wrapping_add(i32::from_le_bytes(*term)).to_le_bytes(),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reduce_in_place_over_many_blocks() {
        let count = 3 * BLOCK as u64 + 5;
        let mut memory = Memory::new(8 * count).unwrap();
        for i in 0..2 * count {
            memory.get_mut(4 * i, 4).unwrap().copy_from_slice(&(i as i32).to_le_bytes());
        }
        memory.reduce(Dtype::Int32, Redop::Sum, 0, 0, 4 * count, count).unwrap();
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
        assert!(memory.reduce(Dtype::Float, Redop::Sum, 0, 4, 12, 2).is_none());
        assert!(memory.reduce(Dtype::Float, Redop::Sum, u64::MAX, 4, 8, 2).is_none());
        assert!(memory.get(u64::MAX, 2).is_none());
        assert!(memory.copy(8, 12, 8).is_none());
        assert!(memory.copy(12, 8, 8).is_none());
        assert!(memory.copy(0, u64::MAX, 2).is_none());
    }
}
