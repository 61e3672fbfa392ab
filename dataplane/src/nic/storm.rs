//! A host that asks for pauses although nothing of it is full: unbroken, or for a share of every period.
//!
//! Where the receive buffer of the NIC asks for pauses too, a priority goes on only when neither of them holds it.

use serde::{Deserialize, Serialize};

use super::slot::Slot;
use super::Host;
use crate::pause::{pause_frame, HostRequest};
use crate::port::Port;
use crate::priority::{Priority, PrioritySet};
use crate::units::Time;

/// What a host is made to ask for.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct StormPlan {
    pub priorities: Vec<Priority>,
    /// The time that each PAUSE frame asks for. It is renewed when half of it has passed.
    pub quanta: u16,
    /// Paused for the first `on_ps` of every `period_ps`, then let go; `None`: without a break.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub period_ps: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_ps: Option<u64>,
}

impl StormPlan {
    /// What is wrong with it, if anything.
    pub fn fault(&self) -> Option<&'static str> {
        let known = !self.priorities.is_empty();
        let share = match (self.period_ps, self.on_ps) {
            (None, None) => true,
            (Some(period), Some(on)) => 0 < on && on < period,
            _ => false,
        };
        match (known, self.quanta > 0, share) {
            (false, ..) => Some("a storm of no priorities"),
            (_, false, _) => Some("a storm of 0 quanta"),
            (.., false) => Some("a storm is on for a part of its period"),
            _ => None,
        }
    }
}

/// A storm under way.
#[derive(Debug)]
pub struct PauseStorm {
    class_enable: PrioritySet,
    quanta: u16,
    period: Option<(Time, Time)>,
    /// When the present period began.
    began: Time,
    /// When the next PAUSE frame is due.
    next: Time,
}

impl PauseStorm {
    fn new(plan: &StormPlan, now: Time) -> PauseStorm {
        PauseStorm {
            class_enable: plan.priorities.iter().copied().collect(),
            quanta: plan.quanta,
            period: plan.period_ps.zip(plan.on_ps).map(|(period, on)| (Time::from_ps(period), Time::from_ps(on))),
            began: now,
            next: now,
        }
    }

    /// The pause that it asks for at `now` for a priority; 0: none.
    fn quanta(&self, priority: Priority, now: Time) -> u16 {
        let on = self.period.is_none_or(|(_, on)| self.began <= now && now < self.began + on);
        if on && self.class_enable.contains(priority) {
            self.quanta
        } else {
            0
        }
    }

    /// Queue the PAUSE frames that are due on `port`; `held` is what the receive buffer pauses longer.
    fn speak(&mut self, port: &mut Port, held: PrioritySet, now: Time) {
        while self.next <= now {
            let renew = self.next + Time::from_ps((port.rate().quanta(self.quanta).ps() / 2).max(1));
            let (quanta, next) = match self.period {
                None => (self.quanta, renew),
                Some((_, on)) if self.next < self.began + on => (self.quanta, renew.min(self.began + on)),
                Some((period, _)) => {
                    self.began += period;
                    (0, self.began)
                }
            };
            self.next = next;
            send(port, self.class_enable.without(held), quanta);
        }
    }
}

fn send(port: &mut Port, class_enable: PrioritySet, quanta: u16) {
    if class_enable.is_empty() {
        return;
    }
    for priority in class_enable {
        port.counters[priority].pause_tx += 1;
    }
    let mut frame = pause_frame(class_enable, quanta);
    frame.set_request(HostRequest::Storm as u32);
    port.enqueue_control(frame);
}

impl Host {
    /// Begin a storm at a port in place of the last one, or end it: then what it held is let go. Call `poll_transmit` afterwards.
    pub fn set_storm(&mut self, port: u16, plan: Option<&StormPlan>, now: Time) {
        let nic = usize::from(port);
        self.awake.set(nic);
        if let Some(storm) = self.nics[nic].storm.take() {
            let held = self.held_by_buffer(nic);
            send(&mut self.ports[nic], storm.class_enable.without(held), 0);
        }
        self.nics[nic].storm = plan.map(|plan| Box::new(PauseStorm::new(plan, now)));
        self.emit_storm(nic, now);
    }

    /// Send the PAUSE frames of the storm that are due at `now`.
    pub(super) fn emit_storm(&mut self, nic: usize, now: Time) {
        let held = self.held_by_buffer(nic);
        if let Some(storm) = &mut self.nics[nic].storm {
            storm.speak(&mut self.ports[nic], held, now);
        }
        self.arm_storm(nic);
    }

    /// The pause that a storm asks for at `now` for a priority; 0: none.
    pub(super) fn storm_quanta(&self, nic: usize, priority: Priority, now: Time) -> u16 {
        self.nics[nic].storm.as_ref().map_or(0, |storm| storm.quanta(priority, now))
    }

    fn held_by_buffer(&self, nic: usize) -> PrioritySet {
        self.receive_buffer(nic).map_or(PrioritySet::NONE, |buffer| buffer.held())
    }

    pub(super) fn arm_storm(&mut self, nic: usize) {
        let next = self.nics[nic].storm.as_ref().map_or(Time::NEVER, |storm| storm.next);
        self.timers.set(self.slots.index(Slot::Storm(nic)), next);
    }
}
