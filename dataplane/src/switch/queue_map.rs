//! Which egress queue the frames of each priority stand in, and which priority group of their ingress port counts them. PFC on the wire
//! names priorities; inside a switch pauses are obeyed by queues and asked for by groups.

use crate::frame::{Body, Frame};
use crate::priority::{Priority, PrioritySet, PRIORITIES};
use crate::wire::pfc::Pfc;

/// Where the frames of a priority stand: in a group at ingress, in a queue at egress.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Class {
    pub queue: Priority,
    pub group: Priority,
}

impl Class {
    /// The queue and the group of the priority's own number.
    pub fn own(priority: Priority) -> Class {
        Class { queue: priority, group: priority }
    }
}

/// Queue and priority group of each priority, where they are not those of its number.
#[derive(Copy, Clone, Debug)]
pub struct QueueMap {
    queues: [Priority; PRIORITIES],
    groups: [Priority; PRIORITIES],
}

impl QueueMap {
    /// A map; `None` if every priority has queue and group of its own number.
    pub fn new(queues: [Priority; PRIORITIES], groups: [Priority; PRIORITIES]) -> Option<QueueMap> {
        (queues != Priority::ALL || groups != Priority::ALL).then_some(QueueMap { queues, groups })
    }

    pub fn class(&self, priority: Priority) -> Class {
        Class { queue: self.queues[priority], group: self.groups[priority] }
    }

    /// The priorities of the wire whose frames are counted in these groups.
    pub fn priorities(&self, groups: PrioritySet) -> PrioritySet {
        Priority::ALL.into_iter().filter(|priority| groups.contains(self.groups[*priority])).collect()
    }

    /// The priorities of the wire whose frames are counted in a group.
    pub fn counted_in(&self, group: Priority) -> Vec<Priority> {
        Priority::ALL.into_iter().filter(|priority| self.groups[*priority] == group).collect()
    }

    /// The priorities of the wire whose frames stand in a queue.
    pub fn standing_in(&self, queue: Priority) -> Vec<Priority> {
        Priority::ALL.into_iter().filter(|priority| self.queues[*priority] == queue).collect()
    }

    /// The groups in which another switch counts what stands in a queue of a switch with this map; `far` is its map.
    pub fn groups_beyond(near: Option<&QueueMap>, queue: Priority, far: Option<&QueueMap>) -> PrioritySet {
        let stands = |priority: &Priority| near.map_or(*priority, |map| map.queues[*priority]) == queue;
        let group = |priority: Priority| far.map_or(priority, |map| map.groups[priority]);
        Priority::ALL.into_iter().filter(stands).map(group).collect()
    }

    /// The pause of queues that a PFC frame of the wire requests; of a queue with several priorities in it, the longest pause.
    pub fn to_queues(&self, wire: Pfc) -> Pfc {
        let mut queues = Pfc { class_enable: PrioritySet::NONE, quanta: [0; PRIORITIES] };
        for priority in wire.class_enable {
            let queue = self.queues[priority];
            queues.class_enable.insert(queue);
            queues.quanta[queue] = queues.quanta[queue].max(wire.quanta[priority]);
        }
        queues
    }

    /// The frame for the wire of one that names groups: it pauses each of a group's priorities.
    pub fn to_wire(&self, mut frame: Box<Frame>) -> Box<Frame> {
        if let Body::Pause(pfc) = &mut frame.body {
            let mut wire = Pfc { class_enable: self.priorities(pfc.class_enable), quanta: [0; PRIORITIES] };
            for priority in wire.class_enable {
                wire.quanta[priority] = pfc.quanta[self.groups[priority]];
            }
            *pfc = wire;
        }
        frame
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pause::pause_frame;

    /// Priorities with one changed entry.
    fn but(priority: Priority, other: Priority) -> [Priority; PRIORITIES] {
        let mut map = Priority::ALL;
        map[priority] = other;
        map
    }

    fn shared() -> QueueMap {
        let both = but(Priority::P4, Priority::P3);
        QueueMap::new(both, both).unwrap()
    }

    #[test]
    fn a_group_asks_for_all_of_its_priorities() {
        let frame = shared().to_wire(pause_frame(PrioritySet::only(Priority::P3), 9));
        let Body::Pause(wire) = frame.body else { panic!("a PAUSE frame stays one") };
        assert_eq!(wire, Pfc { class_enable: PrioritySet::from_bits(0b1_1000), quanta: [0, 0, 0, 9, 9, 0, 0, 0] });
    }

    #[test]
    fn a_queue_obeys_the_longest_pause_of_its_priorities() {
        let wire = Pfc { class_enable: PrioritySet::from_bits(0b1_1100), quanta: [0, 7, 1, 0, 5, 0, 0, 0] };
        let queues = shared().to_queues(wire);
        assert_eq!(queues, Pfc { class_enable: PrioritySet::from_bits(0b1100), quanta: [0, 0, 1, 5, 0, 0, 0, 0] });
    }

    #[test]
    fn groups_ask_and_queues_obey_each_by_a_map_of_their_own() {
        let map = QueueMap::new(but(Priority::P3, Priority::P5), but(Priority::P3, Priority::P1)).unwrap();
        let Body::Pause(wire) = map.to_wire(pause_frame(PrioritySet::only(Priority::P1), 9)).body else {
            panic!("a PAUSE frame stays one")
        };
        assert_eq!(wire.class_enable, PrioritySet::from_bits(0b1010));
        assert_eq!(map.to_queues(wire).class_enable, PrioritySet::from_bits(0b10_0010));
        assert_eq!(map.class(Priority::P3), Class { queue: Priority::P5, group: Priority::P1 });
    }

    #[test]
    fn what_waits_in_a_queue_is_counted_in_the_groups_of_its_priorities_beyond() {
        let near = QueueMap::new(but(Priority::P4, Priority::P3), Priority::ALL);
        let far = QueueMap::new(Priority::ALL, but(Priority::P4, Priority::P1));
        let groups = |near: &Option<QueueMap>| QueueMap::groups_beyond(near.as_ref(), Priority::P3, far.as_ref());
        assert_eq!(groups(&near), PrioritySet::from_bits(0b1010));
        assert_eq!(groups(&None), PrioritySet::only(Priority::P3));
    }

    #[test]
    fn where_numbers_agree_there_is_no_map() {
        assert!(QueueMap::new(Priority::ALL, Priority::ALL).is_none());
    }
}
