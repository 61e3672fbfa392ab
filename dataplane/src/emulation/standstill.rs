//! What of a fabric waits at one instant, for the detector of deadlocks.

use super::Emulation;
use crate::deadlock::{Place, Waiting};
use crate::fabric::Fabric;
use crate::priority::{Priority, PrioritySet};
use crate::switch::queue_map::QueueMap;
use crate::units::Time;

impl Emulation {
    /// Look for queues that wait for each other in a circle at `now`. A queue is given `patience` at least to move by itself.
    pub(super) fn detect_deadlocks(&mut self, now: Time, patience: Time) {
        self.deadlocks.sample(&waiting(&self.fabric, now, patience), now);
    }
}

/// The egress queues between switches that hold frames and are kept from sending by their peer.
fn waiting(fabric: &Fabric, now: Time, patience: Time) -> Vec<Waiting> {
    let mut waiting = Vec::new();
    for index in 0..fabric.directions() {
        // Directions come in pairs, a link each: what arrives over one left where the other leads to.
        let ((from, egress_port), (to, ingress_port)) = fabric.ends(index);
        let [Some(near), Some(far)] = [from, to].map(|node| fabric.node(node).switch()) else { continue };
        let (Some(way), Some(back)) = (fabric.direction(index), fabric.direction(index ^ 1)) else { continue };
        let egress = &near.ports()[usize::from(egress_port)];
        for priority in Priority::ALL {
            if !egress.waits(priority, now) {
                continue;
            }
            let beyond = QueueMap::groups_beyond(near.queue_map(), priority, far.queue_map());
            let held: PrioritySet = beyond.into_iter().filter(|group| far.holds_back(ingress_port, *group)).collect();
            if held == PrioritySet::NONE {
                continue;
            }
            // A pause ends with one message from the peer; credit may take a question first.
            let question = egress.request_delay();
            let asking = if question > Time::ZERO { question + way.longest_delay() } else { question };
            let behind = far.queues_of(ingress_port, held);
            waiting.push(Waiting {
                place: Place { node: from as u32, port: egress_port, priority },
                sent: egress.counters[priority].frames_tx,
                feedback: (asking + back.longest_delay()).max(patience),
                behind: behind.map(|(port, priority)| Place { node: to as u32, port, priority }).collect(),
            });
        }
    }
    waiting
}
