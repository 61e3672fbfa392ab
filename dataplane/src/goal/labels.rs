//! The labels of a rank: which op each names. A label costs its letters and some 20 bytes.

use std::hash::{BuildHasher, RandomState};

#[derive(Copy, Clone, Debug)]
struct Label {
    ends: u32,
    op: u32,
}

/// A table of open addressing over letters that stand one behind the other. Its order shows in nothing.
#[derive(Default, Debug)]
pub struct Labels {
    letters: Vec<u8>,
    labels: Vec<Label>,
    /// Of each place the number of a label, counted from 1; 0: none. As many as a power of two.
    table: Vec<u32>,
    hasher: RandomState,
}

impl Labels {
    pub fn clear(&mut self) {
        self.letters.clear();
        self.labels.clear();
        self.table.fill(0);
    }

    /// The op that a label names.
    pub fn get(&self, label: &str) -> Option<u32> {
        let (_, number) = self.find(label)?;
        self.labels.get(number.checked_sub(1)? as usize).map(|known| known.op)
    }

    /// Let a label name an op, unless it names one; false where there is no room for more letters.
    pub fn add(&mut self, label: &str, op: u32) -> bool {
        if self.labels.len() * 2 >= self.table.len() {
            self.grow();
        }
        let Some((place, 0)) = self.find(label) else { return true };
        let Ok(ends) = u32::try_from(self.letters.len() + label.len()) else { return false };
        self.letters.extend_from_slice(label.as_bytes());
        self.labels.push(Label { ends, op });
        if let Some(entry) = self.table.get_mut(place) {
            *entry = self.labels.len() as u32;
        }
        true
    }

    fn letters_of(&self, number: u32) -> Option<&[u8]> {
        let index = number.checked_sub(1)? as usize;
        let begins = index.checked_sub(1).and_then(|before| self.labels.get(before)).map_or(0, |before| before.ends);
        self.letters.get(begins as usize..self.labels.get(index)?.ends as usize)
    }

    /// The place of a label and its number, or the place where it is to be and 0.
    fn find(&self, label: &str) -> Option<(usize, u32)> {
        let last = self.table.len().checked_sub(1)?;
        let mut place = self.hasher.hash_one(label.as_bytes()) as usize & last;
        for _ in 0..self.table.len() {
            let number = *self.table.get(place)?;
            if number == 0 || self.letters_of(number)? == label.as_bytes() {
                return Some((place, number));
            }
            place = (place + 1) & last;
        }
        None
    }

    fn grow(&mut self) {
        let places = (self.table.len() * 2).max(64);
        self.table.clear();
        self.table.resize(places, 0);
        for number in 1..=self.labels.len() as u32 {
            let Some(letters) = self.letters_of(number) else { continue };
            let mut place = self.hasher.hash_one(letters) as usize & (places - 1);
            while self.table.get(place).is_some_and(|taken| *taken != 0) {
                place = (place + 1) & (places - 1);
            }
            if let Some(entry) = self.table.get_mut(place) {
                *entry = number;
            }
        }
    }
}
