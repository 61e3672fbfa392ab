//! The detector of deadlocks: circles that stand still are found, with their ports and in time; whatever can still move is left alone.

use std::collections::BTreeSet;

use _dataplane::deadlock::{Detector, Place, Waiting};
use _dataplane::priority::Priority;
use _dataplane::units::Time;
use proptest::prelude::*;

fn at(us: u64) -> Time {
    Time::from_ps(us * 1_000_000)
}

/// The queue of node `node` on priority 3.
fn place(node: u32) -> Place {
    Place { node, port: 1, priority: Priority::P3 }
}

/// Queues that wait, each for those listed, leave to go on being at hand at once.
fn waiting(queues: &[(u32, &[u32])]) -> Vec<Waiting> {
    let queue = |(node, behind): &(u32, &[u32])| Waiting {
        place: place(*node),
        sent: 10,
        feedback: Time::ZERO,
        behind: behind.iter().map(|node| place(*node)).collect(),
    };
    queues.iter().map(queue).collect()
}

fn circles(detector: &Detector) -> Vec<Vec<u32>> {
    detector.deadlocks().iter().map(|deadlock| deadlock.circle.iter().map(|place| place.node).collect()).collect()
}

/// The circles that two looks at the same state show.
fn circles_of(queues: &[(u32, &[u32])]) -> Vec<Vec<u32>> {
    let mut detector = Detector::default();
    (1..3).for_each(|look| detector.sample(&waiting(queues), at(look)));
    circles(&detector)
}

const RING: &[(u32, &[u32])] = &[(5, &[7]), (2, &[5]), (7, &[2])];

#[test]
fn a_circle_is_detected_at_the_second_sample_and_once() {
    let mut detector = Detector::default();
    detector.sample(&waiting(RING), at(1));
    assert_eq!(circles(&detector), [[0; 0]; 0]);
    detector.sample(&waiting(RING), at(2));
    detector.sample(&waiting(RING), at(3));
    assert_eq!(circles(&detector), [[2, 5, 7]]);
    assert_eq!((detector.deadlocks()[0].at, detector.deadlocks()[0].cured), (at(2), None));
}

#[test]
fn two_samples_at_one_instant_are_one() {
    let mut detector = Detector::default();
    detector.sample(&waiting(RING), at(1));
    detector.sample(&waiting(RING), at(1));
    assert_eq!(circles(&detector), [[0; 0]; 0]);
}

#[test]
fn a_frame_that_left_is_a_new_beginning() {
    let mut detector = Detector::default();
    detector.sample(&waiting(RING), at(1));
    let mut moved = waiting(RING);
    moved[1].sent += 1;
    detector.sample(&moved, at(2));
    assert_eq!(circles(&detector), [[0; 0]; 0]);
    detector.sample(&moved, at(3));
    assert_eq!(detector.deadlocks()[0].at, at(3));
}

#[test]
fn a_leave_that_may_be_on_its_way_is_waited_for() {
    let mut detector = Detector::default();
    let mut far = waiting(RING);
    far[2].feedback = at(10);
    for us in 0..10 {
        detector.sample(&far, at(us));
    }
    assert_eq!(circles(&detector), [[0; 0]; 0]);
    detector.sample(&far, at(10));
    assert_eq!(detector.deadlocks()[0].at, at(10));
}

#[test]
fn what_can_still_move_frees_all_that_waits_for_it() {
    assert_eq!(circles_of(&[(1, &[2]), (2, &[3])]), [[0; 0]; 0], "a chain ends where something moves");
    assert_eq!(circles_of(&[(1, &[2]), (2, &[3, 9]), (3, &[1])]), [[0; 0]; 0], "9 moves, and 2 with it");
    assert_eq!(circles_of(&[(1, &[2]), (2, &[])]), [[0; 0]; 0], "nothing in its way");
    assert_eq!(circles_of(&[(1, &[2]), (2, &[1]), (3, &[1, 4])]), [[1, 2]], "3 may go on one day, the circle never");
}

#[test]
fn who_waits_for_a_circle_is_not_in_it() {
    assert_eq!(circles_of(&[(0, &[1]), (1, &[2]), (2, &[1]), (3, &[0])]), [[1, 2]]);
}

#[test]
fn of_a_knot_a_shortest_circle_is_shown_and_every_knot_has_one() {
    let queues: &[(u32, &[u32])] = &[(0, &[1]), (1, &[2, 3]), (2, &[0]), (3, &[4]), (4, &[0]), (8, &[9]), (9, &[8, 0])];
    assert_eq!(circles_of(queues), [&[0, 1, 2][..], &[8, 9]]);
}

#[test]
fn priorities_are_apart() {
    let mut queues = waiting(RING);
    queues[0].place.priority = Priority::P4;
    let mut detector = Detector::default();
    (1..3).for_each(|look| detector.sample(&queues, at(look)));
    assert_eq!(circles(&detector), [[0; 0]; 0]);
}

#[test]
fn a_circle_that_moves_again_is_cured_and_may_come_again() {
    let mut detector = Detector::default();
    (1..3).for_each(|look| detector.sample(&waiting(RING), at(look)));
    detector.sample(&waiting(&RING[1..]), at(3));
    assert_eq!(detector.deadlocks()[0].cured, Some(at(3)));
    // One queue was emptied and filled anew between two looks: as many frames wait as before, but others.
    let mut again = waiting(RING);
    again.iter_mut().for_each(|queue| queue.sent += 1);
    (4..6).for_each(|look| detector.sample(&again, at(look)));
    assert_eq!(detector.deadlocks().len(), 2);
    again[0].sent += 1;
    detector.sample(&again, at(6));
    assert_eq!(detector.deadlocks()[1].cured, Some(at(6)));
    assert_eq!(detector.deadlocks()[0].cured, Some(at(3)), "the first stays as it was");
}

#[test]
fn a_knot_that_grows_is_the_same_deadlock() {
    let mut detector = Detector::default();
    (1..3).for_each(|look| detector.sample(&waiting(RING), at(look)));
    let grown = waiting(&[(5, &[7, 1]), (2, &[5]), (7, &[2]), (1, &[5])]);
    (3..6).for_each(|look| detector.sample(&grown, at(look)));
    assert_eq!(circles(&detector), [[2, 5, 7]]);
}

proptest! {
    /// A queue is stuck if nothing that moves can be reached from it; a circle is found if and only if something is stuck.
    #[test]
    fn found_is_what_cannot_reach_anything_that_moves(edges in prop::collection::vec((0u32..8, 0u32..10), 0..20)) {
        let behind = |node: u32| edges.iter().filter(move |(from, _)| *from == node).map(|(_, to)| *to);
        // Nodes 8 and 9 never wait; nor does one that has nothing in its way.
        let moves = |node: u32| node >= 8 || behind(node).next().is_none();
        let reach = |start: u32| {
            let mut seen = BTreeSet::from([start]);
            let mut work = vec![start];
            while let Some(node) = work.pop() {
                work.extend(behind(node).filter(|next| seen.insert(*next)));
            }
            seen
        };
        let stuck: BTreeSet<u32> = (0..8).filter(|node| !reach(*node).into_iter().any(moves)).collect();
        let lists: Vec<(u32, Vec<u32>)> = (0..8).map(|node| (node, behind(node).collect())).collect();
        let queues: Vec<(u32, &[u32])> = lists.iter().map(|(node, list)| (*node, &list[..])).collect();
        let circles = circles_of(&queues);
        prop_assert_eq!(circles.is_empty(), stuck.is_empty());
        for circle in circles {
            prop_assert!(circle.iter().all(|node| stuck.contains(node)));
            for (index, node) in circle.iter().enumerate() {
                prop_assert!(behind(*node).any(|next| next == circle[(index + 1) % circle.len()]));
            }
        }
    }
}
