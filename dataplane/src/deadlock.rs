//! Deadlocks of a running fabric: egress queues that wait for each other in a circle and do not move.
//!
//! A queue waits while it holds frames and its peer keeps it paused, or gives it no credit; the peer does so until frames that came in
//! by that link have left, and those stand in queues of its own. If all of them stand in queues that wait likewise, and so on without end, then nothing can move
//! any more: it is no long pause, however long it lasts. Such a set is certain once it has stood still for as long as a leave to go
//! on, given before, could still be on its way. Only then is it reported, so that no fabric that moves again by itself is.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::priority::Priority;
use crate::units::Time;

/// Deadlocks kept; a fabric whose watchdog breaks the same one for ever shall not fill the memory.
const DEADLOCKS_MAX: usize = 1_000;

/// An egress queue.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Place {
    pub node: u32,
    pub port: u16,
    pub priority: Priority,
}

/// An egress queue that holds frames and may send none until its peer gives it leave.
#[derive(Clone, Debug)]
pub struct Waiting {
    pub place: Place,
    /// Frames that have left it since the beginning.
    pub sent: u64,
    /// How long a leave takes from the peer to here.
    pub feedback: Time,
    /// Where the frames stand that the peer waits to be rid of.
    pub behind: Vec<Place>,
}

/// Queues that waited for each other, each for the next and the last for the first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Deadlock {
    /// When it was certain.
    pub at: Time,
    pub circle: Vec<Place>,
    /// When one of them was seen to move or to be empty again.
    pub cured: Option<Time>,
}

/// Since when a queue has been seen waiting, and what had left it then.
#[derive(Copy, Clone, Debug)]
struct Standing {
    since: Time,
    sent: u64,
}

/// Compares one look at a fabric with the next.
#[derive(Default, Debug)]
pub struct Detector {
    standing: BTreeMap<Place, Standing>,
    deadlocks: Vec<Deadlock>,
}

impl Detector {
    /// All deadlocks so far, the oldest first.
    pub fn deadlocks(&self) -> &[Deadlock] {
        &self.deadlocks
    }

    /// Sample all queues that wait at `now`.
    pub fn sample(&mut self, waiting: &[Waiting], now: Time) {
        let stuck = settled(waiting.iter());
        let standing = |queue: &&Waiting| {
            let known = self.standing.get(&queue.place).filter(|known| known.sent == queue.sent);
            (queue.place, known.copied().unwrap_or(Standing { since: now, sent: queue.sent }))
        };
        self.standing = stuck.iter().map(standing).collect();
        let moves = |place: &Place, at: Time| self.standing.get(place).is_none_or(|known| known.since > at);
        for deadlock in self.deadlocks.iter_mut().filter(|deadlock| deadlock.cured.is_none()) {
            if deadlock.circle.iter().any(|place| moves(place, deadlock.at)) {
                deadlock.cured = Some(now);
            }
        }
        let certain = |queue: &&&Waiting| {
            let since = self.standing[&queue.place].since;
            since < now && now.since(since) >= queue.feedback
        };
        let certain = settled(stuck.iter().filter(certain).copied());
        for (knot, circle) in circles(&certain) {
            let mut open = self.deadlocks.iter().filter(|deadlock| deadlock.cured.is_none());
            if !open.any(|deadlock| deadlock.circle.iter().any(|place| knot.contains(place)))
                && self.deadlocks.len() < DEADLOCKS_MAX
            {
                self.deadlocks.push(Deadlock { at: now, circle, cured: None });
            }
        }
    }
}

/// Those of the queues that wait for nothing but each other, by place.
fn settled<'a>(waiting: impl Iterator<Item = &'a Waiting>) -> Vec<&'a Waiting> {
    let mut left: BTreeMap<Place, &Waiting> = waiting.map(|queue| (queue.place, queue)).collect();
    loop {
        let bound = |queue: &Waiting| !queue.behind.is_empty() && queue.behind.iter().all(|on| left.contains_key(on));
        let kept: BTreeMap<Place, &Waiting> =
            left.iter().filter(|(_, queue)| bound(queue)).map(|(place, queue)| (*place, *queue)).collect();
        if kept.len() == left.len() {
            return left.into_values().collect();
        }
        left = kept;
    }
}

/// The sets of queues that all wait for all others of their set, each with one shortest circle in it, the least place first.
fn circles(waiting: &[&Waiting]) -> Vec<(BTreeSet<Place>, Vec<Place>)> {
    let onward: BTreeMap<Place, &[Place]> = waiting.iter().map(|queue| (queue.place, &queue.behind[..])).collect();
    let mut backward: BTreeMap<Place, Vec<Place>> = BTreeMap::new();
    for (place, behind) in &onward {
        behind.iter().for_each(|on| backward.entry(*on).or_default().push(*place));
    }
    let mut assigned: BTreeSet<Place> = BTreeSet::new();
    let mut knots = Vec::new();
    for place in onward.keys() {
        if assigned.contains(place) {
            continue;
        }
        let ahead = reached(*place, |at| onward.get(&at).copied().unwrap_or_default());
        let before = reached(*place, |at| backward.get(&at).map_or(&[][..], Vec::as_slice));
        let knot: BTreeSet<Place> = ahead.intersection(&before).copied().collect();
        assigned.extend(&knot);
        let around = knot.iter().filter_map(|start| circle(*start, &onward));
        if let Some(shortest) = around.min_by_key(Vec::len) {
            knots.push((knot, shortest));
        }
    }
    knots
}

/// All that can be reached from a place in one step or more.
fn reached<'a>(start: Place, onward: impl Fn(Place) -> &'a [Place]) -> BTreeSet<Place> {
    let mut reached = BTreeSet::new();
    let mut queue = vec![start];
    while let Some(place) = queue.pop() {
        queue.extend(onward(place).iter().copied().filter(|next| reached.insert(*next)));
    }
    reached
}

/// The shortest way from a place back to itself.
fn circle(start: Place, onward: &BTreeMap<Place, &[Place]>) -> Option<Vec<Place>> {
    let mut before: BTreeMap<Place, Place> = BTreeMap::new();
    let mut queue = VecDeque::from([start]);
    while let Some(place) = queue.pop_front() {
        for next in onward.get(&place).copied().unwrap_or_default() {
            if !before.contains_key(next) {
                before.insert(*next, place);
                queue.push_back(*next);
            }
        }
        if before.contains_key(&start) {
            let mut way = vec![start];
            let mut at = before[&start];
            while at != start {
                way.push(at);
                at = before[&at];
            }
            way[1..].reverse();
            return Some(way);
        }
    }
    None
}
