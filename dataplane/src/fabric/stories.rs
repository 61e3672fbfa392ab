//! What a shard tells the capture that is written: where each frame is, and what becomes of it.

use super::shard::Shard;
use super::{Fabric, Node};
use crate::capture::story::QueueId;
use crate::capture::tracker::{Arrival, Flow, HostPacket};
use crate::capture::Capture;
use crate::event::{Cause, Event, Transmission};
use crate::frame::{Body, Frame};
use crate::priority::Priority;
use crate::units::Time;

impl Shard {
    /// A frame starts on the link behind a port.
    #[cold]
    pub(super) fn capture_start(&mut self, index: usize, port: u16, frame: &Frame) {
        let (now, placed) = (self.now, &self.nodes[index]);
        let Some(capture) = &mut self.capture else { return };
        capture.write(&Transmission { node: placed.number, port, at: now, frame });
        match &placed.node {
            Node::Host(_) => capture.tracker.left_host(frame, now),
            Node::Switch(switch) => {
                let left = switch.ports()[usize::from(port)].queue_bytes(frame.priority);
                let at = QueueId { node: placed.number, port, priority: frame.priority };
                capture.tracker.left_switch(frame, at, left + u64::from(frame.buffer_bytes()));
            }
        }
    }

    /// The link behind a port lost what started on it last.
    #[cold]
    pub(super) fn capture_loss(&mut self, index: usize, port: u16, priority: Priority, cause: Cause) {
        let node = self.nodes[index].number;
        if let Some(capture) = &mut self.capture {
            capture.tracker.lost_on_link(QueueId { node, port, priority }, cause, self.now);
        }
    }

    /// A frame is about to be handed to a port.
    #[cold]
    pub(super) fn capture_arrival(&mut self, index: usize, port: u16, frame: &Frame) {
        let placed = &self.nodes[index];
        let Some(capture) = &mut self.capture else { return };
        let arrival = match (&placed.node, &frame.body) {
            (Node::Host(host), Body::Roce(packet)) => Flow::of(frame).map(|flow| {
                let from = (flow.qpn, flow.src);
                let had_come =
                    frame.is_data() && !packet.opcode.extension().peth && host.has_come(port, from, packet.psn);
                Arrival::Host(HostPacket { port, flow, had_come, rebuilt: host.rebuilt(port, from) })
            }),
            (Node::Switch(switch), _) if !frame.is_control() && !frame.of_kernel => {
                let joins = |(port, priority)| Arrival::Switch(QueueId { node: placed.number, port, priority });
                switch.destination(frame).map(joins)
            }
            _ => None,
        };
        capture.tracker.arrives(placed.slot(port), frame, arrival.unwrap_or(Arrival::Other));
    }

    /// A node that was called reports an event.
    #[cold]
    pub(super) fn capture_event(&mut self, index: usize, event: &Event) {
        let node = self.nodes[index].number;
        if let (Some(capture), &Event::Dropped { port, priority, cause, .. }) = (&mut self.capture, event) {
            capture.tracker.dropped(QueueId { node, port, priority }, cause, self.now);
        }
    }

    /// A node has dealt with what came to it.
    #[cold]
    pub(super) fn capture_settle(&mut self, index: usize) {
        let node = &self.nodes[index].node;
        let Some(capture) = &mut self.capture else { return };
        let from = capture.tracker.arriving().map(|packet| (packet.port, (packet.flow.qpn, packet.flow.src)));
        match (node.host(), from) {
            (Some(host), Some((port, from))) => {
                capture.tracker.settle(host.rebuilt(port, from), |psn| host.has_come(port, from, psn));
            }
            _ => capture.tracker.settle(0, |_| false),
        }
    }
}

impl Fabric {
    /// Write every frame that starts on a link into `capture`; the answer is what was written into before.
    pub fn capture(&mut self, capture: Option<Capture>) -> Option<Capture> {
        let previous = std::mem::replace(&mut self.shards[0].capture, capture.map(Box::new));
        self.arrange();
        previous.map(|previous| *previous)
    }

    /// A capture follows the queue pairs of another workload from now on.
    pub(super) fn restart_stories(&mut self) {
        if let Some(capture) = &mut self.shards[0].capture {
            capture.tracker.restart();
        }
    }

    /// The latest frame of a direction was cut off.
    pub(super) fn capture_cut(&mut self, direction: usize, priority: Priority) {
        let ((node, port), to) = self.ends[direction];
        let (now, number) = (self.now, node as u32);
        let (shard, slot) = self.slot_of(to);
        if let Some(capture) = &mut shard.capture {
            capture.tracker.cut(slot, QueueId { node: number, port, priority }, now);
        }
    }

    /// A frame that has come to the end of a direction was handed to the kernel so long after its time.
    pub fn capture_late(&mut self, direction: usize, frame: &Frame, by: Time) {
        let (shard, slot) = self.slot_of(self.ends[direction].1);
        if let Some(capture) = &mut shard.capture {
            capture.tracker.late(slot, frame, by);
        }
    }
}
