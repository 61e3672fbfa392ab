//! A switch with defects, around a sound one.

use super::config::SwitchConfig;
use super::defects::{Defect, Defects};
use super::ecn::Marker;
use super::Switch;
use crate::frame::{Body, Frame};
use crate::priority::{PrioritySet, PRIORITIES};
use crate::units::Time;
use crate::wire::ipv4::Ecn;

/// A switch that does things wrong. What it does to frames that come in is done here, before and after the sound switch inside deals
/// with them; that one's only defects are in the pauses that it asks for.
#[derive(Debug)]
pub struct Defective {
    switch: Switch,
    defects: Defects,
    /// The pauses that a sound switch would heed.
    heeded: PrioritySet,
    /// Marks what comes in, in place of what leaves.
    marker: Option<Marker>,
}

impl Defective {
    pub fn new(mut config: SwitchConfig) -> Defective {
        let (defects, heeded) = (config.defects, config.heeded);
        config.heeded = PrioritySet::ALL;
        let marker = if defects.has(Defect::MarksOnArrival) { config.marker.take() } else { None };
        Defective { defects, heeded, marker, switch: Switch::new(config) }
    }

    pub fn switch(&self) -> &Switch {
        &self.switch
    }

    pub fn switch_mut(&mut self) -> &mut Switch {
        &mut self.switch
    }

    pub fn handle_frame(&mut self, port: u16, mut frame: Frame, now: Time) {
        match frame.body {
            Body::Pause(said) => {
                let at = self.switch.port_mut(port);
                let heeded = if at.runs_pfc() { self.heeded } else { PrioritySet::NONE };
                let heard = self.defects.received(&frame, said, heeded, at, now);
                at.ignore_pause(said.class_enable.without(heard.class_enable));
                frame.body = Body::Pause(heard);
                self.switch.handle_frame(port, frame, now);
            }
            Body::Credit(_) => self.switch.handle_frame(port, frame, now),
            Body::Roce(_) | Body::Opaque => self.forward(port, frame, now),
        }
    }

    fn forward(&mut self, port: u16, mut frame: Frame, now: Time) {
        let Some((egress, priority)) = self.switch.destination(&frame) else {
            return self.switch.handle_frame(port, frame, now);
        };
        let queue = |switch: &Switch| switch.ports()[usize::from(egress)].queue(priority).count();
        let before = queue(&self.switch);
        if let Some(marker) = self.marker.as_mut().filter(|_| frame.ecn != Ecn::NotEct as u8) {
            let at = self.switch.port_mut(egress);
            if marker.marks(egress, priority, at.queue_bytes(priority) + u64::from(frame.buffer_bytes())) {
                frame.ecn = Ecn::Ce as u8;
                at.counters[priority].ecn_marked += 1;
            }
        }
        self.switch.handle_frame(port, frame, now);
        if self.defects.has(Defect::Reorders) && queue(&self.switch) > before {
            self.switch.port_mut(egress).swap_last(priority);
        }
    }

    /// Share a port among priorities by other weights. To be polled afterwards.
    pub fn set_weights(&mut self, port: u16, weights: [u32; PRIORITIES]) {
        if !self.defects.has(Defect::KeepsWeights) {
            self.switch.set_weights(port, weights);
        }
    }
}
