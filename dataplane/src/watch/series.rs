//! Series of a node: what its ports, queue pairs and ranks held and had counted, at multiples of a period.
//!
//! Only changes are kept: a value holds until the next change of its track. Where there are too many points, or too many changes, the
//! period is doubled; a track at twice the period is what it would have been had that been the period from the beginning.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::port_tracks::{PortState, PortTracks};
use super::track::Track;
use crate::priority::{Priority, PRIORITIES};

/// What is recorded of a run: every `period_ps`, doubled where a run has more than `points` of them or more than `changes` in all.
#[derive(Copy, Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct SeriesPlan {
    pub period_ps: u64,
    pub points: u32,
    pub changes: u64,
}

/// Records a node.
#[derive(Debug)]
pub struct Recorder {
    points: u32,
    most_changes: u64,
    changes: u64,
    /// Points are so many doublings of the period apart.
    shift: u32,
    /// By port and priority.
    ports: Vec<Option<Box<PortTracks>>>,
    /// By number and end of a queue pair, and by rank of the node.
    rates: BTreeMap<(u32, u8), Track>,
    steps: BTreeMap<usize, Track>,
}

/// Of what a track is.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Subject {
    Port { port: u16, priority: Priority, quantity: &'static str },
    QueuePair { qpn: u32, end: u8 },
    Rank(usize),
}

impl Recorder {
    /// Record a node of so many ports, of a fabric that has `all_ports`: the changes of all of them are shared by ports.
    pub fn new(plan: &SeriesPlan, ports: usize, all_ports: usize) -> Recorder {
        let share = u128::from(plan.changes) * ports as u128 / all_ports.max(1) as u128;
        Recorder {
            points: plan.points.min(PortTracks::LAST_POINT),
            most_changes: share as u64,
            changes: 0,
            shift: 0,
            ports: (0..ports * PRIORITIES).map(|_| None).collect(),
            rates: BTreeMap::new(),
            steps: BTreeMap::new(),
        }
    }

    /// The point at or after the `number`-th multiple of the period.
    pub fn point(&mut self, number: u64) -> u32 {
        while self.changes > self.most_changes && self.shift < u32::BITS {
            self.double();
        }
        loop {
            match u32::try_from(number.div_ceil(1 << self.shift)) {
                Ok(point) if point <= self.points => return point,
                _ => self.double(),
            }
        }
    }

    fn double(&mut self) {
        self.shift += 1;
        self.ports.iter_mut().flatten().for_each(|port| port.halve());
        self.rates.values_mut().chain(self.steps.values_mut()).for_each(Track::halve);
        let of_ports = self.ports.iter().flatten().map(|port| port.count());
        let others = self.rates.values().chain(self.steps.values()).map(|track| track.points.len());
        self.changes = of_ports.chain(others).sum::<usize>() as u64;
    }

    /// Where counts begin.
    pub fn begin_port(&mut self, port: u16, priority: Priority, state: PortState) {
        if state != PortState::default() {
            self.ports[priority.slot(port)] = Some(Box::new(PortTracks::new(&state)));
        }
    }

    #[inline]
    pub fn note_port(&mut self, point: u32, port: u16, priority: Priority, state: PortState) {
        let more = match &mut self.ports[priority.slot(port)] {
            Some(tracks) => tracks.note(point, &state),
            None if state == PortState::default() => return,
            place => place.insert(Box::new(PortTracks::new(&PortState::default()))).note(point, &state),
        };
        self.changes = self.changes.saturating_add_signed(more);
    }

    pub fn note_rate(&mut self, point: u32, qp: (u32, u8), rate_bps: u64) {
        let more = self.rates.entry(qp).or_default().note(point, rate_bps);
        self.changes = self.changes.saturating_add_signed(more);
    }

    pub fn note_step(&mut self, point: u32, rank: usize, step: u64) {
        let more = self.steps.entry(rank).or_default().note(point, step);
        self.changes = self.changes.saturating_add_signed(more);
    }

    /// How often the period has been doubled.
    pub fn shift(&self) -> u32 {
        self.shift
    }

    /// Double the period until it has been doubled so often.
    pub fn double_to(&mut self, shift: u32) {
        while self.shift < shift {
            self.double();
        }
    }

    /// The tracks that were ever anything but 0, in the order of their subjects.
    pub fn tracks(self) -> Vec<(Subject, Track)> {
        let mut all = Vec::new();
        for (slot, tracks) in self.ports.into_iter().enumerate() {
            let (port, priority) = ((slot / PRIORITIES) as u16, Priority::from_bits((slot % PRIORITIES) as u8));
            let named = tracks.into_iter().flat_map(|tracks| PortState::NAMES.into_iter().zip(tracks.tracks()));
            all.extend(named.map(|(quantity, track)| (Subject::Port { port, priority, quantity }, track)));
        }
        all.extend(self.rates.into_iter().map(|((qpn, end), track)| (Subject::QueuePair { qpn, end }, track)));
        all.extend(self.steps.into_iter().map(|(rank, track)| (Subject::Rank(rank), track)));
        all.retain(|(_, track)| !track.points.is_empty());
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn recorder(points: u32, changes: u64) -> Recorder {
        Recorder::new(&SeriesPlan { period_ps: 1, points, changes }, 1, 1)
    }

    fn queue_of(recorder: Recorder) -> (Vec<u32>, Vec<u64>) {
        let tracks = recorder.tracks();
        tracks.into_iter().next().map_or_else(Default::default, |(_, track)| (track.points, track.values))
    }

    fn note(recorder: &mut Recorder, number: u64, queue_bytes: u64) {
        let point = recorder.point(number);
        recorder.note_port(point, 0, Priority::P3, PortState { queue_bytes, ..PortState::default() });
    }

    #[test]
    fn a_value_that_comes_back_within_a_point_leaves_nothing() {
        let mut recorder = recorder(100, 100);
        for (number, bytes) in [(1, 5), (2, 7), (2, 5), (3, 0), (3, 9)] {
            note(&mut recorder, number, bytes);
        }
        assert_eq!(queue_of(recorder), (vec![1, 3], vec![5, 9]));
    }

    #[test]
    fn changes_are_bounded() {
        let mut recorder = recorder(u32::MAX, 1_000);
        for number in 0..100_000 {
            note(&mut recorder, number, number);
            assert!(recorder.changes <= 1_001, "{}", recorder.changes);
        }
        assert!((500..=1_001).contains(&recorder.changes), "{} at 2^{}", recorder.changes, recorder.shift);
    }

    proptest! {
        /// Doubled on the way or recorded at the longer period from the beginning: the same.
        #[test]
        fn doubling_is_the_same_as_a_longer_period(values in prop::collection::vec((0u64..9, 0u64..4), 1..200)) {
            let mut numbers = 0;
            let mut fine = recorder(16, 1_000);
            let events: Vec<(u64, u64)> =
                values.iter().map(|(gap, value)| { numbers += gap; (numbers, *value) }).collect();
            events.iter().for_each(|(number, value)| note(&mut fine, *number, *value));
            let shift = fine.shift();
            let mut coarse = recorder(1_000, 10_000);
            events.iter().for_each(|(number, value)| note(&mut coarse, number.div_ceil(1 << shift), *value));
            prop_assert_eq!(queue_of(fine), queue_of(coarse));
        }
    }
}
