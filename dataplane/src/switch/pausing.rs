//! Pauses at a switch: those that it asks of its peers, and those that they ask of it.

use super::defects::Defect;
use super::group::Demand;
use super::slot::Slot;
use super::Switch;
use crate::event::Event;
use crate::frame::Frame;
use crate::priority::{Priority, PrioritySet};
use crate::units::Time;
use crate::wire::pfc::Pfc;

impl Switch {
    pub(super) fn handle_pause(&mut self, port: u16, wire: Pfc, request: Option<u32>, now: Time) {
        // Pauses are counted by priority as the wire names it; what is obeyed goes by queues.
        let queues = self.queue_map.map_or(wire, |map| map.to_queues(wire));
        let at = &mut self.ports[usize::from(port)];
        let heeded = if at.runs_pfc() { self.heeded } else { PrioritySet::NONE };
        let pfc = Pfc { class_enable: queues.class_enable & heeded, ..queues };
        at.ignore_pause(wire.class_enable);
        if self.stop_requests.is_on() {
            let stands = |queue: &Priority| pfc.quanta[*queue] > 0 || at.is_paused(*queue, now);
            pfc.class_enable.into_iter().filter(stands).for_each(|queue| self.stop_requests.stand(port, queue, at));
        }
        at.obey_pause(&pfc, now);
        self.events.push_back(Event::PauseReceived { port, pfc, request });
        self.observe_pause(port, &pfc, now);
    }

    /// Send what the buffer demands of the peer behind `port`.
    #[inline]
    pub(super) fn answer(&mut self, port: u16, group: Priority, demand: Demand, now: Time) {
        if demand != Demand::None && self.pfc {
            self.ask(port, group, demand, now);
        }
    }

    /// Ask the peer behind `port` to stop or to go on, if that is not what it was asked last.
    fn ask(&mut self, port: u16, group: Priority, demand: Demand, now: Time) {
        let sender = &mut self.senders[usize::from(port)];
        let frame = if demand == Demand::Xoff { sender.xoff(group) } else { sender.xon(group) };
        let Some(frame) = frame else { return };
        if let Some(pauses) = &mut self.long_pauses {
            pauses.note(demand, (port, group), &self.ports, &self.buffer, now);
        }
        if self.stop_requests.is_on() {
            match demand {
                Demand::Xoff => self.stop_requests.begin((port, group), &self.ports, now),
                _ => self.stop_requests.end((port, group), now),
            }
        }
        if demand == Demand::Xoff && sender.holds_one() {
            self.timers.set(Slot::Refresh(port).index(self.ports.len()), now + sender.refresh_every());
        }
        self.count_pauses(port, PrioritySet::only(group));
        self.send_control(port, frame);
    }

    /// Put a PAUSE frame before all that waits at `port`.
    pub(super) fn send_control(&mut self, port: u16, mut frame: Box<Frame>) {
        if self.stop_requests.is_on() {
            frame.set_request(self.stop_requests.number(port));
        }
        if self.defects.any() {
            let Some(said) = self.defects.sent(port, self.ports.len(), frame) else { return };
            frame = said;
            self.repeat(port, &frame);
        }
        if let Some(map) = &self.queue_map {
            frame = map.to_wire(frame);
        }
        self.ports[usize::from(port)].enqueue_control(frame);
        self.ready.push(port);
    }

    pub(super) fn refresh(&mut self, port: u16, now: Time) {
        if self.defects.has(Defect::NeverRefreshes) {
            return;
        }
        let sender = &mut self.senders[usize::from(port)];
        let Some(frame) = sender.refresh() else { return };
        let (asserted, next) = (sender.asserted(), now + sender.refresh_every());
        self.timers.set(Slot::Refresh(port).index(self.ports.len()), next);
        self.count_pauses(port, asserted);
        self.send_control(port, frame);
    }

    /// Count what a PAUSE frame for groups asks of the priorities of the wire.
    #[inline]
    fn count_pauses(&mut self, port: u16, groups: PrioritySet) {
        let counters = &mut self.ports[usize::from(port)].counters;
        let named = self.queue_map.as_ref().map_or(groups, |map| map.priorities(groups));
        named.into_iter().for_each(|priority| counters[priority].pause_tx += 1);
    }
}
