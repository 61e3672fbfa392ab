//! The changes of a priority of a port, packed: a sample of a busy fabric writes hundreds of them, and what they take of the caches is
//! most of what recording costs.

use super::track::Track;

/// What is told of a priority of a port.
#[derive(Copy, Clone, Default, PartialEq, Eq, Debug)]
pub struct PortState {
    pub bytes_tx: u64,
    pub queue_bytes: u64,
    pub shared_bytes: u64,
    pub headroom_bytes: u64,
    pub paused: bool,
    pub paused_ns: u64,
    pub marked: u64,
}

/// The values of a state, in the order of `PortState::NAMES`.
type Values = [u64; PortState::NAMES.len()];

impl PortState {
    /// What they are called, in the order of `values`.
    pub const NAMES: [&str; 7] =
        ["bytes_tx", "queue_bytes", "shared_bytes", "headroom_bytes", "paused", "paused_ns", "marked"];

    #[inline]
    fn values(&self) -> Values {
        [
            self.bytes_tx,
            self.queue_bytes,
            self.shared_bytes,
            self.headroom_bytes,
            u64::from(self.paused),
            self.paused_ns,
            self.marked,
        ]
    }

    /// Only what has been counted, of which differences are told.
    fn counts(&self) -> PortState {
        PortState { bytes_tx: self.bytes_tx, paused_ns: self.paused_ns, marked: self.marked, ..PortState::default() }
    }
}

/// A value is larger from a point on by a difference: that in the upper 40 bits, then 21 of the point, then 3 of which value it is.
#[derive(Copy, Clone, Debug)]
struct Change(u64);

impl Change {
    const QUANTITY_BITS: u32 = 3;
    const POINT_BITS: u32 = 21;
    const SHIFT: u32 = Change::QUANTITY_BITS + Change::POINT_BITS;
    /// The largest difference that fits; what is more takes several changes.
    const MOST: i64 = i64::MAX >> Change::SHIFT;

    #[inline]
    fn point(self) -> u32 {
        (self.0 >> Change::QUANTITY_BITS) as u32 & PortTracks::LAST_POINT
    }

    #[inline]
    fn quantity(self) -> usize {
        (self.0 & ((1 << Change::QUANTITY_BITS) - 1)) as usize
    }

    #[inline]
    fn difference(self) -> i64 {
        self.0 as i64 >> Change::SHIFT
    }
}

/// A priority of a port at which anything ever happened. All its changes stand in one list, the end of which is in the cache.
#[derive(Debug)]
pub struct PortTracks {
    changes: Vec<Change>,
    last: Values,
}

impl PortTracks {
    /// The last point that fits.
    pub const LAST_POINT: u32 = (1 << Change::POINT_BITS) - 1;

    /// Tracks of a port that had counted what `state` says before the recording began.
    pub fn new(state: &PortState) -> PortTracks {
        PortTracks { changes: Vec::new(), last: state.counts().values() }
    }

    /// How many changes are kept.
    pub fn count(&self) -> usize {
        self.changes.len()
    }

    /// The state from `point` on, which is no earlier than the last change. Returns how many changes there are more.
    #[inline]
    pub fn note(&mut self, point: u32, state: &PortState) -> i64 {
        let values = state.values();
        if values == self.last {
            return 0;
        }
        let held = self.changes.len();
        // Once more at one point: what counts is what is left of it.
        while let Some(change) = self.changes.last().filter(|change| change.point() == point) {
            let value = &mut self.last[change.quantity()];
            *value = value.wrapping_sub(change.difference() as u64);
            self.changes.pop();
        }
        for (quantity, (value, before)) in values.iter().zip(&self.last).enumerate() {
            push(&mut self.changes, quantity, point, value.wrapping_sub(*before) as i64);
        }
        self.last = values;
        self.changes.len() as i64 - held as i64
    }

    /// Keep of every two points the later one.
    pub fn halve(&mut self) {
        let mut halved = Vec::with_capacity(self.changes.len());
        for changes in self.changes.chunk_by(|one, next| one.point().div_ceil(2) == next.point().div_ceil(2)) {
            let mut differences = [0; PortState::NAMES.len()];
            changes.iter().for_each(|change| differences[change.quantity()] += change.difference());
            for (quantity, difference) in differences.into_iter().enumerate() {
                push(&mut halved, quantity, changes[0].point().div_ceil(2), difference);
            }
        }
        self.changes = halved;
    }

    /// The changes of each value by themselves, counts from 0 on.
    pub fn tracks(&self) -> [Track; PortState::NAMES.len()] {
        let mut tracks: [Track; PortState::NAMES.len()] = Default::default();
        let mut values = Values::default();
        for change in &self.changes {
            let value = &mut values[change.quantity()];
            *value = value.wrapping_add(change.difference() as u64);
            tracks[change.quantity()].note(change.point(), *value);
        }
        tracks
    }
}

#[inline]
fn push(changes: &mut Vec<Change>, quantity: usize, point: u32, difference: i64) {
    let mut left = difference;
    while left != 0 {
        let part = left.clamp(-Change::MOST, Change::MOST);
        changes
            .push(Change((part << Change::SHIFT) as u64 | u64::from(point) << Change::QUANTITY_BITS | quantity as u64));
        left -= part;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bytes(bytes_tx: u64) -> PortState {
        PortState { bytes_tx, ..PortState::default() }
    }

    #[test]
    fn a_difference_that_takes_more_than_40_bits_is_kept_whole() {
        let mut tracks = PortTracks::new(&bytes(7));
        tracks.note(1, &bytes(7 + (1 << 50)));
        tracks.note(PortTracks::LAST_POINT, &bytes(8 + (1 << 50)));
        let [sent, ..] = tracks.tracks();
        assert_eq!((sent.points, sent.values), (vec![1, PortTracks::LAST_POINT], vec![1 << 50, (1 << 50) + 1]));
    }

    proptest! {
        /// Whatever is noted, and however often at one point, the tracks have what was noted last at each point.
        #[test]
        fn tracks_are_what_was_noted_last(
            noted in prop::collection::vec((0u32..3, 0u64..1 << 45, 0u64..3, any::<bool>()), 1..60)
        ) {
            let (mut tracks, mut sent, mut queue) = (PortTracks::new(&bytes(5)), Track::default(), Track::default());
            let (mut point, mut total, mut changes) = (0, 0, 0);
            for (gap, more, queue_bytes, paused) in noted {
                (point, total) = (point + gap, total + more);
                let state = PortState { bytes_tx: 5 + total, queue_bytes, paused, ..PortState::default() };
                changes += tracks.note(point, &state);
                sent.note(point, total);
                queue.note(point, queue_bytes);
            }
            prop_assert_eq!(changes, tracks.count() as i64);
            let [got_sent, got_queue, ..] = tracks.tracks();
            prop_assert_eq!((got_sent.points, got_sent.values), (sent.points, sent.values));
            prop_assert_eq!((got_queue.points, got_queue.values), (queue.points, queue.values));
        }
    }
}
