//! Frames of a host's kernel that share the line of its NIC and heed what that heeds: pauses, credits, the line's rate.

use std::collections::VecDeque;

use super::slot::Slot;
use super::Host;
use crate::frame::Frame;
use crate::port::Port;
use crate::priority::{Priority, PRIORITIES};
use crate::units::Time;

/// What waits of one priority.
#[derive(Debug, Default)]
struct Queue {
    frames: VecDeque<Box<Frame>>,
    bytes: u64,
}

impl Queue {
    /// When the first frame may start; `Time::NEVER` without one, or without credit for it.
    fn ready_at(&self, priority: Priority, port: &Port, now: Time) -> Time {
        match self.frames.front() {
            Some(frame) if port.has_credit(priority, frame.buffer_bytes()) => port.pause_end(priority, now),
            _ => Time::NEVER,
        }
    }
}

/// The frames of the kernel behind one port, by priority.
#[derive(Debug, Default)]
pub(super) struct Guests {
    queues: [Queue; PRIORITIES],
    /// The priority that is served next, and whether the NIC has its turn before.
    turn: usize,
    yields: bool,
}

impl Guests {
    /// The first priority, from the one whose turn it is, of which a frame may start.
    fn ready(&self, port: &Port, now: Time) -> Option<Priority> {
        let order = (self.turn..PRIORITIES).chain(0..self.turn).map(|number| Priority::ALL[number]);
        order.into_iter().find(|priority| self.queues[*priority].ready_at(*priority, port, now) <= now)
    }

    fn wake(&self, port: &Port, now: Time) -> Time {
        let ready = |priority: &Priority| self.queues[*priority].ready_at(*priority, port, now);
        Priority::ALL.iter().map(ready).min().unwrap_or(Time::NEVER)
    }

    fn take(&mut self, priority: Priority) -> Option<Box<Frame>> {
        let queue = &mut self.queues[priority];
        let frame = queue.frames.pop_front()?;
        queue.bytes -= u64::from(frame.buffer_bytes());
        self.turn = (priority.index() + 1) % PRIORITIES;
        Some(frame)
    }
}

impl Host {
    /// Take a frame of the kernel that is to leave by a port, as soon as its priority and the line let it. Call `poll_transmit`
    /// afterwards.
    pub fn accept_guest(&mut self, port: u16, mut frame: Box<Frame>) {
        let nic = usize::from(port);
        frame.priority = self.priority_of(nic, frame.dscp);
        self.awake.set(nic);
        let queue = &mut self.nics[nic].guests.get_or_insert_default().queues[frame.priority];
        queue.bytes += u64::from(frame.buffer_bytes());
        queue.frames.push_back(frame);
    }

    /// How many frames of the kernel wait at a port.
    pub fn guests(&self, port: u16) -> u64 {
        let guests = self.nics[usize::from(port)].guests.as_ref();
        guests.map_or(0, |guests| guests.queues.iter().map(|queue| queue.frames.len() as u64).sum())
    }

    /// How many bytes of the kernel wait at a port, of one priority.
    pub fn guest_bytes(&self, port: u16, priority: Priority) -> u64 {
        let guests = self.nics[usize::from(port)].guests.as_ref();
        guests.map_or(0, |guests| guests.queues[priority].bytes)
    }

    /// The next frame of the kernel, if the line is free and one may start at `now`. It takes turns with the NIC.
    pub(super) fn next_guest(&mut self, nic: usize, now: Time) -> Option<Box<Frame>> {
        let (guests, port) = (self.nics[nic].guests.as_mut()?, &mut self.ports[nic]);
        let free = port.free_at(now);
        let mut sent = None;
        if free <= now && !std::mem::take(&mut guests.yields) {
            sent = guests.ready(port, now).and_then(|priority| guests.take(priority));
            guests.yields = sent.is_some();
        }
        if let Some(frame) = &sent {
            port.transmit(frame, now);
        }
        let (wake, free) = (guests.wake(port, now), port.free_at(now));
        let wake = if wake == Time::NEVER || free == Time::NEVER { Time::NEVER } else { wake.max(free) };
        self.timers.set(self.slots.index(Slot::Guests(nic)), wake);
        sent
    }
}
