//! What a switch needs for its next event, read ahead of it (see `fabric::ahead`): the answers are sums of no meaning.

use super::slot::Slot;
use super::Switch;
use crate::frame::Frame;

impl Switch {
    /// Read what a frame needs that arrives on `port`. Return the port that it leaves by too.
    pub fn read_arrival(&self, port: u16, frame: &Frame) -> (u64, Option<u16>) {
        let Some((egress, queue)) = self.destination(frame) else { return (0, None) };
        let group = self.classes[usize::from(frame.dscp & 63)].group;
        let ports = self.ports[usize::from(port)].read(group).wrapping_add(self.ports[usize::from(egress)].read(queue));
        (ports.wrapping_add(self.buffer.group(port, group).used()), Some(egress))
    }

    /// Read what the frame needs that is to leave when the next timer is due. Return the port that it leaves by too.
    pub fn read_timeout(&self) -> (u64, Option<u16>) {
        let Slot::Port(egress) = Slot::of(self.timers.earliest().1, self.ports.len()) else { return (0, None) };
        let port = &self.ports[usize::from(egress)];
        let Some(frame) = port.frames_waiting().next() else { return (0, None) };
        let held = self.buffer.group(frame.ingress, frame.group).used();
        (port.read(frame.priority).wrapping_add(held), Some(egress))
    }
}
