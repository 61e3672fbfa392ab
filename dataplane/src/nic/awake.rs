//! Which NICs of a host are to be polled: those to which something happened since they last had nothing to send.

/// A set of small numbers, of which the least is known soon.
#[derive(Debug)]
pub(super) struct Awake(Vec<u64>);

impl Awake {
    /// The set of all numbers below `count`.
    pub fn new(count: usize) -> Awake {
        let mut awake = Awake(vec![0; count.div_ceil(64)]);
        (0..count).for_each(|number| awake.set(number));
        awake
    }

    #[inline]
    pub fn set(&mut self, number: usize) {
        self.0[number / 64] |= 1 << (number % 64);
    }

    #[inline]
    pub fn clear(&mut self, number: usize) {
        self.0[number / 64] &= !(1 << (number % 64));
    }

    #[inline]
    pub fn first(&self) -> Option<usize> {
        let word = self.0.iter().position(|word| *word != 0)?;
        Some(64 * word + self.0[word].trailing_zeros() as usize)
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
