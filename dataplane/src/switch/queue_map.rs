//! Which egress queue the frames of each priority stand in. PFC on the wire names priorities; inside a switch everything goes by queues,
//! priority groups too, which have the numbers of the queues of their priorities.

use crate::frame::{Body, Frame};
use crate::priority::{Priority, PrioritySet, PRIORITIES};
use crate::wire::pfc::Pfc;

/// The queue of each priority, where they are not the same.
#[derive(Copy, Clone, Debug)]
pub struct QueueMap {
    queues: [Priority; PRIORITIES],
}

impl QueueMap {
    /// A map; `None` if every priority has the queue of its own number.
    pub fn new(queues: [Priority; PRIORITIES]) -> Option<QueueMap> {
        (queues != Priority::ALL).then_some(QueueMap { queues })
    }

    pub fn queue(&self, priority: Priority) -> Priority {
        self.queues[priority]
    }

    /// The priorities of the wire whose frames stand in these queues.
    pub fn priorities(&self, queues: PrioritySet) -> PrioritySet {
        Priority::ALL.into_iter().filter(|priority| queues.contains(self.queues[*priority])).collect()
    }

    /// What a PFC frame of the wire asks of queues; of a queue with several priorities in it, the longest pause.
    pub fn heard(&self, said: Pfc) -> Pfc {
        let mut heard = Pfc { class_enable: PrioritySet::NONE, quanta: [0; PRIORITIES] };
        for priority in said.class_enable {
            let queue = self.queues[priority];
            heard.class_enable.insert(queue);
            heard.quanta[queue] = heard.quanta[queue].max(said.quanta[priority]);
        }
        heard
    }

    /// The frame for the wire of one that names queues: each of a queue's priorities is asked for.
    pub fn said(&self, mut frame: Frame) -> Frame {
        if let Body::Pause(pfc) = &mut frame.body {
            let mut said = Pfc { class_enable: self.priorities(pfc.class_enable), quanta: [0; PRIORITIES] };
            for priority in said.class_enable {
                said.quanta[priority] = pfc.quanta[self.queues[priority]];
            }
            *pfc = said;
        }
        frame
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pause::pause_frame;

    fn shared() -> QueueMap {
        let mut queues = Priority::ALL;
        queues[Priority::P4] = Priority::P3;
        QueueMap::new(queues).unwrap()
    }

    #[test]
    fn a_queue_asks_for_all_of_its_priorities() {
        let frame = shared().said(pause_frame(PrioritySet::only(Priority::P3), 9));
        let Body::Pause(said) = frame.body else { panic!("a PAUSE frame stays one") };
        assert_eq!(said, Pfc { class_enable: PrioritySet::from_bits(0b1_1000), quanta: [0, 0, 0, 9, 9, 0, 0, 0] });
    }

    #[test]
    fn a_queue_obeys_the_longest_pause_of_its_priorities() {
        let said = Pfc { class_enable: PrioritySet::from_bits(0b1_1100), quanta: [0, 7, 1, 0, 5, 0, 0, 0] };
        let heard = shared().heard(said);
        assert_eq!(heard, Pfc { class_enable: PrioritySet::from_bits(0b1100), quanta: [0, 0, 1, 5, 0, 0, 0, 0] });
    }

    #[test]
    fn where_numbers_agree_there_is_no_map() {
        assert!(QueueMap::new(Priority::ALL).is_none());
    }
}
