//! What waits at a rank, receives or messages, by source and tag, each in its order.

use std::collections::{HashMap, VecDeque};

/// A source and a tag; `None` for any.
pub type Key = (Option<u32>, Option<u32>);

#[derive(Debug)]
pub struct Waiting<T> {
    lanes: HashMap<Key, VecDeque<(u64, T)>>,
    count: u64,
}

impl<T> Default for Waiting<T> {
    fn default() -> Waiting<T> {
        Waiting { lanes: HashMap::new(), count: 0 }
    }
}

impl<T: Copy> Waiting<T> {
    pub fn add(&mut self, key: Key, item: T) {
        self.count += 1;
        self.lanes.entry(key).or_default().push_back((self.count, item));
    }

    /// Take out the receive that has waited longest of those that allow this source and tag.
    pub fn take_for(&mut self, source: u32, tag: u32) -> Option<T> {
        let (source, tag) = (Some(source), Some(tag));
        self.take_first([(source, tag), (source, None), (None, tag), (None, None)].into_iter())
    }

    /// Take out the message that came first of those that a receive allows.
    pub fn take_allowed(&mut self, allowed: Key) -> Option<T> {
        if allowed.0.is_some() && allowed.1.is_some() {
            return self.take_first(std::iter::once(allowed));
        }
        let fits = |wanted: Option<u32>, has: Option<u32>| wanted.is_none() || wanted == has;
        let keys = self.lanes.keys().filter(|key| fits(allowed.0, key.0) && fits(allowed.1, key.1));
        let keys: Vec<_> = keys.copied().collect();
        self.take_first(keys.into_iter())
    }

    fn take_first(&mut self, keys: impl Iterator<Item = Key>) -> Option<T> {
        let heads = keys.filter_map(|key| Some((self.lanes.get(&key)?.front()?.0, key)));
        let (_, key) = heads.min_by_key(|(number, _)| *number)?;
        let lane = self.lanes.get_mut(&key)?;
        let (_, item) = lane.pop_front()?;
        if lane.is_empty() {
            self.lanes.remove(&key);
        }
        Some(item)
    }

    /// All that waits, in its order.
    pub fn all(&self) -> Vec<T> {
        let mut all: Vec<_> = self.lanes.values().flatten().collect();
        all.sort_unstable_by_key(|(number, _)| *number);
        all.into_iter().map(|(_, item)| *item).collect()
    }
}
