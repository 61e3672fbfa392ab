//! Which NICs of a host are to be polled: those to which something happened since they last had nothing to send.

/// A set of small numbers, of which the least is known soon: at once where all are below 64, as they mostly are.
#[derive(Debug)]
pub(super) struct Awake {
    low: u64,
    high: Vec<u64>,
}

impl Awake {
    /// The set of all numbers below `count`.
    pub fn new(count: usize) -> Awake {
        let mut awake = Awake { low: 0, high: vec![0; count.div_ceil(64).saturating_sub(1)] };
        (0..count).for_each(|number| awake.set(number));
        awake
    }

    #[inline]
    pub fn set(&mut self, number: usize) {
        match number.checked_sub(64) {
            None => self.low |= 1 << number,
            Some(beyond) => self.high[beyond / 64] |= 1 << (beyond % 64),
        }
    }

    #[inline]
    pub fn clear(&mut self, number: usize) {
        match number.checked_sub(64) {
            None => self.low &= !(1 << number),
            Some(beyond) => self.high[beyond / 64] &= !(1 << (beyond % 64)),
        }
    }

    #[inline]
    pub fn first(&self) -> Option<usize> {
        if self.low != 0 {
            return Some(self.low.trailing_zeros() as usize);
        }
        let word = self.high.iter().position(|word| *word != 0)?;
        Some(64 + 64 * word + self.high[word].trailing_zeros() as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_comes_first_and_all_are_there_in_the_beginning() {
        let mut awake = Awake::new(70);
        let mut seen = Vec::new();
        while let Some(number) = awake.first() {
            seen.push(number);
            awake.clear(number);
        }
        assert_eq!(seen, (0..70).collect::<Vec<_>>());
        awake.set(69);
        awake.set(3);
        assert_eq!(awake.first(), Some(3));
    }
}
