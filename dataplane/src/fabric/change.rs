//! Links that change while a fabric runs.

use super::{Fabric, Node};
use crate::event::Cause;
use crate::fabric::impair::{Change, Logged};
use crate::frame::Frame;
use crate::switch::defective::Defective;
use crate::units::{Rate, Time};

impl Fabric {
    /// Change links: now, or so long after the next start.
    pub fn impair(&mut self, changes: Vec<Change>) {
        for change in self.timeline.add(changes, self.now) {
            self.apply(change, self.now);
        }
    }

    /// Have a switch do wrong with what comes in.
    pub fn set_defective(&mut self, node: usize, defective: Defective) {
        self.placed_mut(node).defective = Some(Box::new(defective));
    }

    /// Forget the changes that are still due.
    pub fn cancel_changes(&mut self) {
        self.timeline.clear();
    }

    /// Let the next change of the timeline take place if it is due at `until` or before, and before anything else is.
    pub(super) fn change_due(&mut self, until: Time) -> bool {
        let next = self.timeline.next();
        next <= until && next != Time::NEVER && next <= self.next_of_nodes() && self.change()
    }

    fn change(&mut self) -> bool {
        let Some((due, change)) = self.timeline.pop() else { return false };
        self.now = self.now.max(due);
        self.apply(change, due);
        true
    }

    fn apply(&mut self, change: Change, asked: Time) {
        let now = self.now;
        self.sample_past();
        let index = 2 * change.link + change.way;
        let (node, port) = self.ends[index].0;
        let cut = self.direction_mut(index).is_some_and(|direction| {
            if let Some(ps) = change.delay_ps {
                direction.set_delay(Time::from_ps(ps));
            }
            if let Some(ps) = change.jitter_ps {
                direction.set_jitter(Time::from_ps(ps));
            }
            if let Some(plan) = &change.loss_process {
                direction.set_loss(plan.as_ref());
            }
            change.up.is_some_and(|up| direction.set_up(up, now))
        });
        if let Some(frame) = cut.then(|| self.cut(index)).flatten() {
            let packet = (!frame.is_control()).then_some(frame.is_packet());
            self.watch_mut(node).lost(port, frame.priority, packet, Cause::Outage, now);
            self.capture_cut(index, frame.priority);
        }
        let rate = change.rate_bps.and_then(Rate::from_bps);
        let placed = self.placed_mut(node);
        if let (Some(plan), Node::Host(host)) = (&change.storm, &mut placed.node) {
            host.set_storm(port, plan.as_ref(), now);
        }
        if let Some(weights) = change.weights {
            placed.set_weights(port, weights);
        }
        let state = placed.node.port_mut(port);
        if let Some(rate) = rate {
            state.set_rate(rate);
        }
        if let Some(held) = change.drain {
            state.hold(held);
        }
        placed.watch.changed(port, rate, now);
        self.drain(node);
        for route in &change.routes {
            let placed = self.placed_mut(route.node);
            placed.node.set_route(route.station, &route.ports);
            placed.watch.rerouted(route.station, now);
        }
        if change.delay_ps.is_some() {
            self.rearrange();
        }
        let rerouted = (!change.routes.is_empty()).then_some(change.routes.len() as u64);
        self.impairments.push(Logged { change, rerouted, asked_ps: asked.ps(), at_ps: now.ps() });
    }

    /// Take the latest frame of a direction out of its flight.
    pub fn cut(&mut self, direction: usize) -> Option<Box<Frame>> {
        let (shard, slot) = self.slot_of(self.ends[direction].1);
        let frame = shard.flights[slot].cut();
        shard.queue.set(slot, shard.flights[slot].next_arrival());
        frame
    }
}
