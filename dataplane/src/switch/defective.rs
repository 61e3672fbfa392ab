//! What a defective switch does wrong with what comes in, before and after a sound one deals with it. The defects of the pauses that
//! it asks for are the switch's own.

use super::defects::{Defect, Defects};
use super::ecn::Marker;
use super::Switch;
use crate::frame::{Body, Frame};
use crate::priority::{Priority, PrioritySet};
use crate::units::Time;
use crate::wire::ipv4::Ecn;

#[derive(Debug)]
pub struct Defective {
    defects: Defects,
    /// The pauses that a sound switch would heed; the one behind this heeds all that are left.
    heeded: PrioritySet,
    /// Marks what comes in, in place of what leaves.
    marker: Option<Marker>,
    /// The queue that the last frame was for, and how long it was before.
    queue: Option<(u16, Priority, usize)>,
}

impl Defective {
    pub fn new(defects: Defects, heeded: PrioritySet, marker: Option<Marker>) -> Defective {
        Defective { defects, heeded, marker, queue: None }
    }

    /// Do to a frame that comes in by `port` what is wrong with this switch.
    pub fn alter(&mut self, switch: &mut Switch, port: u16, frame: &mut Frame, now: Time) {
        self.queue = None;
        match frame.body {
            Body::Pause(said) => {
                let at = switch.port_mut(port);
                let heeded = if at.runs_pfc() { self.heeded } else { PrioritySet::NONE };
                let obeyed = self.defects.received(frame, said, heeded, at, now);
                at.ignore_pause(said.class_enable.without(obeyed.class_enable));
                frame.body = Body::Pause(obeyed);
            }
            Body::Credit(_) => {}
            Body::Roce(_) | Body::Opaque => self.mark(switch, frame),
        }
    }

    fn mark(&mut self, switch: &mut Switch, frame: &mut Frame) {
        let Some((egress, priority)) = switch.destination(frame) else { return };
        self.queue = Some((egress, priority, length(switch, egress, priority)));
        let Some(marker) = self.marker.as_mut().filter(|_| frame.ecn != Ecn::NotEct as u8) else { return };
        let at = switch.port_mut(egress);
        if marker.marks(egress, priority, at.queue_bytes(priority) + u64::from(frame.buffer_bytes())) {
            frame.ecn = Ecn::Ce as u8;
            at.counters[priority].ecn_marked += 1;
            at.touch(PrioritySet::only(priority));
        }
    }

    /// Do to the queue that the frame has joined, if it has, what is wrong with this switch.
    pub fn reorder(&self, switch: &mut Switch) {
        let Some((egress, priority, before)) = self.queue.filter(|_| self.defects.has(Defect::Reorders)) else {
            return;
        };
        if length(switch, egress, priority) > before {
            switch.port_mut(egress).swap_last(priority);
        }
    }

    pub fn keeps_weights(&self) -> bool {
        self.defects.has(Defect::KeepsWeights)
    }
}

fn length(switch: &Switch, port: u16, priority: Priority) -> usize {
    switch.ports()[usize::from(port)].queue(priority).count()
}
