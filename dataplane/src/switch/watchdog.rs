//! The watchdog against pause storms, by port and priority, as SONiC switches run it: detection, mitigation, restoration.
//!
//! It looks at whole multiples of its poll time. A priority that has been paused without a break for longer than the detection time is
//! stormed: its pauses are no longer heeded, and with `Action::Drop` its queue is flushed and what comes for it is dropped. So a storm
//! is noticed more than the detection time after it began, and no more than a poll time later than that. When no pause has been asked
//! for during the restoration time, all is as before.

use super::buffer::Place;
use super::long_pauses::LongPause;
use super::slot::Slot;
use super::Switch;
use crate::event::{Cause, Event};
use crate::frame::Frame;
use crate::port::Port;
use crate::priority::{Priority, PrioritySet, PRIORITIES};
use crate::units::{Rate, Time};
use crate::wire::pfc::Pfc;

/// What happens to frames of a stormed priority.
#[derive(Copy, Clone, PartialEq, Eq, Debug, serde::Deserialize, serde::Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Action {
    Drop,
    Forward,
}

#[derive(Copy, Clone, Debug)]
pub struct WatchdogConfig {
    pub detection: Time,
    pub restoration: Time,
    /// Above zero.
    pub poll: Time,
    pub action: Action,
    /// The priorities that are watched.
    pub priorities: PrioritySet,
}

/// A storm as the watchdog saw it.
#[derive(Clone, Debug)]
pub struct Storm {
    pub port: u16,
    pub priority: Priority,
    pub paused_since: Time,
    pub detected: Time,
    pub restored: Option<Time>,
    /// Frames of its queue that were flushed, or dropped when they came.
    pub dropped: u64,
}

/// What a sample shows of one priority of a port.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Finding {
    Stormed { port: u16, priority: Priority },
    Restored { port: u16, priority: Priority },
}

#[derive(Debug)]
pub struct Watchdog {
    config: WatchdogConfig,
    /// By port: the stormed priorities.
    stormed: Vec<PrioritySet>,
    /// By port and priority, while it is stormed: when the last pause asked for is over.
    quiet_from: Vec<Time>,
    storms: Vec<Storm>,
}

impl Watchdog {
    pub fn new(config: WatchdogConfig, ports: usize) -> Watchdog {
        let quiet_from = vec![Time::ZERO; ports * PRIORITIES];
        Watchdog { config, stormed: vec![PrioritySet::NONE; ports], quiet_from, storms: Vec::new() }
    }

    pub fn config(&self) -> &WatchdogConfig {
        &self.config
    }

    pub fn storms(&self) -> &[Storm] {
        &self.storms
    }

    /// Whether what comes for this queue is dropped.
    #[inline]
    pub fn discards(&self, port: u16, priority: Priority) -> bool {
        self.config.action == Action::Drop && self.is_stormed(port, priority)
    }

    #[inline]
    fn is_stormed(&self, port: u16, priority: Priority) -> bool {
        self.stormed[usize::from(port)].contains(priority)
    }

    /// A PAUSE frame came in by a port of this rate. True if there is something to sample from now on.
    pub fn receive(&mut self, port: u16, pfc: &Pfc, rate: Rate, now: Time) -> bool {
        let stormed = self.stormed[usize::from(port)];
        for priority in pfc.class_enable & stormed {
            let quiet_from = &mut self.quiet_from[priority.slot(port)];
            // XON ends what was asked for, and asks for nothing: one more of them is no pause.
            *quiet_from = match pfc.quanta[priority] {
                0 => now.min(*quiet_from),
                quanta => now + rate.quanta(quanta),
            };
        }
        (pfc.class_enable & self.config.priorities).into_iter().any(|priority| pfc.quanta[priority] > 0)
    }

    /// The first poll after `now`.
    pub fn next_poll(&self, now: Time) -> Time {
        let poll = self.config.poll.ps();
        Time::from_ps((now.ps() / poll + 1).saturating_mul(poll))
    }

    /// Sample every port. The second value is true if something is paused or stormed, so that another sample is due.
    pub fn sample(&mut self, ports: &[Port], now: Time) -> (Vec<Finding>, bool) {
        let watched = self.config.priorities;
        let (mut findings, mut again) = (Vec::new(), false);
        for (state, port) in ports.iter().zip(0..) {
            for priority in watched {
                if self.is_stormed(port, priority) {
                    let quiet = now.since(self.quiet_from[priority.slot(port)]);
                    if quiet > self.config.restoration {
                        self.restore(port, priority, now);
                        findings.push(Finding::Restored { port, priority });
                    }
                } else if let Some((since, until)) = state.pause_at(priority, now) {
                    if now.since(since) > self.config.detection {
                        self.storm(port, priority, (since, until), now);
                        findings.push(Finding::Stormed { port, priority });
                    }
                    again = true;
                }
            }
            again |= !self.stormed[usize::from(port)].is_empty();
        }
        (findings, again)
    }

    fn storm(&mut self, port: u16, priority: Priority, (paused_since, until): (Time, Time), now: Time) {
        self.stormed[usize::from(port)].insert(priority);
        self.quiet_from[priority.slot(port)] = until;
        self.storms.push(Storm { port, priority, paused_since, detected: now, restored: None, dropped: 0 });
    }

    fn restore(&mut self, port: u16, priority: Priority, now: Time) {
        self.stormed[usize::from(port)].remove(priority);
        if let Some(storm) = self.last_storm(port, priority) {
            storm.restored = Some(now);
        }
    }

    /// A frame of a stormed queue was dropped.
    pub fn count_drop(&mut self, port: u16, priority: Priority) {
        if let Some(storm) = self.last_storm(port, priority) {
            storm.dropped += 1;
        }
    }

    fn last_storm(&mut self, port: u16, priority: Priority) -> Option<&mut Storm> {
        self.storms.iter_mut().rfind(|storm| (storm.port, storm.priority) == (port, priority))
    }
}

impl Switch {
    pub fn watchdog(&self) -> Option<&Watchdog> {
        self.watchdog.as_deref()
    }

    /// The long pauses that this switch asked of the peer behind `port`.
    pub fn long_pauses(&self, port: u16, priority: Priority) -> Vec<LongPause> {
        self.long_pauses.as_ref().map_or(Vec::new(), |pauses| pauses.of((port, priority), &self.ports, &self.buffer))
    }

    /// A PAUSE frame came: be sure that the watchdog looks.
    pub(super) fn observe_pause(&mut self, port: u16, pfc: &Pfc, now: Time) {
        let Some(watchdog) = &mut self.watchdog else { return };
        if watchdog.receive(port, pfc, self.ports[usize::from(port)].rate(), now) {
            self.timers.set_if_idle(Slot::Watchdog.index(self.ports.len()), watchdog.next_poll(now));
        }
    }

    /// Sample all ports, act on the findings, and poll again if something is paused or stormed.
    pub(super) fn poll_watchdog(&mut self, now: Time) {
        let Some(watchdog) = &mut self.watchdog else { return };
        let (findings, again) = watchdog.sample(&self.ports, now);
        if again {
            self.timers.set(Slot::Watchdog.index(self.ports.len()), watchdog.next_poll(now));
        }
        let flushes = watchdog.config.action == Action::Drop;
        for finding in findings {
            match finding {
                Finding::Stormed { port, priority } => {
                    self.events.push_back(Event::StormDetected { port, priority });
                    self.ports[usize::from(port)].set_deaf(priority, true, now);
                    if flushes {
                        self.flush(port, priority, now);
                    }
                    self.ready.push(port);
                }
                Finding::Restored { port, priority } => {
                    self.events.push_back(Event::StormOver { port, priority });
                    self.ports[usize::from(port)].set_deaf(priority, false, now);
                }
            }
        }
    }

    /// Drop a frame of a stormed queue of `port`.
    pub(super) fn discard(&mut self, port: u16, frame: &Frame) {
        if let Some(watchdog) = &mut self.watchdog {
            watchdog.count_drop(port, frame.priority);
        }
        self.drop_at(port, frame, Cause::Watchdog);
    }

    /// Drop all that waits in a queue.
    fn flush(&mut self, port: u16, priority: Priority, now: Time) {
        for frame in self.ports[usize::from(port)].flush(priority) {
            let place = Place::of(&frame, port);
            // Dropped first: what the record of long pauses must not take for drained.
            self.discard(port, &frame);
            self.stop_requests.leave(&frame, port);
            self.stop_requests.forget(port, frame.priority);
            let demand = self.buffer.release(place, u64::from(frame.buffer_bytes()));
            self.answer(frame.ingress, frame.group, demand, now);
        }
    }
}
