//! The receive buffer of a NIC that takes packets in more slowly than they come: drained at a rate, with PAUSE frames towards the
//! switch by thresholds of its own.

use std::collections::VecDeque;

use serde::Deserialize;

use super::Host;
use crate::event::{Cause, Event};
use crate::frame::Frame;
use crate::pause::{pause_frame, HostRequest, PauseSender};
use crate::port::Port;
use crate::priority::{Priority, PrioritySet, DSCPS};
use crate::units::{Rate, Time};

/// How a NIC takes in what arrives.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ReceivePlan {
    /// Bits of frames, FCS included, that leave the buffer in a second.
    pub drain_bps: u64,
    pub buffer_bytes: u64,
    /// Above the one it asks its peer to stop, at or below the other to go on.
    pub xoff_bytes: u64,
    pub xon_bytes: u64,
    /// What it asks to be stopped; none: it drops what finds no room, and never asks.
    #[serde(default)]
    pub priority: Option<Priority>,
}

impl ReceivePlan {
    /// What is wrong with it, if anything.
    pub fn fault(&self) -> Option<&'static str> {
        match (self.drain_bps > 0, self.xon_bytes <= self.xoff_bytes, self.xoff_bytes <= self.buffer_bytes) {
            (false, ..) => Some("a NIC that drains nothing"),
            (_, false, _) => Some("a NIC whose XON threshold is above XOFF"),
            (.., false) => Some("a NIC whose XOFF threshold exceeds its buffer"),
            _ => None,
        }
    }
}

/// Packets that have arrived and not been taken in, oldest first.
#[derive(Debug)]
pub struct ReceiveBuffer {
    plan: ReceivePlan,
    drain: Rate,
    frames: VecDeque<Box<Frame>>,
    held_bytes: u64,
    held_max: u64,
    /// When the oldest has been taken in.
    done_at: Time,
    sender: PauseSender,
    refresh_at: Time,
}

impl ReceiveBuffer {
    /// `line`: the rate of the port that PAUSE frames leave by. `None` if the drain rate is zero.
    pub fn new(plan: &ReceivePlan, line: Rate) -> Option<ReceiveBuffer> {
        Some(ReceiveBuffer {
            drain: Rate::from_bps(plan.drain_bps)?,
            plan: plan.clone(),
            frames: VecDeque::new(),
            held_bytes: 0,
            held_max: 0,
            done_at: Time::NEVER,
            sender: PauseSender::new(line),
            refresh_at: Time::NEVER,
        })
    }

    /// When it is to be called next.
    pub fn deadline(&self) -> Time {
        self.done_at.min(self.refresh_at)
    }

    /// The most that it held, and the most of that above the XOFF threshold.
    pub fn watermarks(&self) -> (u64, u64) {
        (self.held_max, self.held_max.saturating_sub(self.plan.xoff_bytes))
    }

    /// The priority that what it holds is told of: that which it asks to be stopped.
    pub fn priority(&self) -> Priority {
        self.plan.priority.unwrap_or_default()
    }

    /// What it holds up to the XOFF threshold, and above it.
    pub fn parts(&self) -> (u64, u64) {
        let beyond = self.held_bytes.saturating_sub(self.plan.xoff_bytes);
        (self.held_bytes - beyond, beyond)
    }

    /// Put a frame behind the others, or give it back for want of room.
    fn push(&mut self, frame: Box<Frame>, now: Time) -> Result<(), Box<Frame>> {
        let held = self.held_bytes + u64::from(frame.buffer_bytes());
        if held > self.plan.buffer_bytes {
            return Err(frame);
        }
        if self.frames.is_empty() {
            self.done_at = now + self.drain.serialisation(u64::from(frame.buffer_bytes()));
        }
        self.held_bytes = held;
        self.held_max = self.held_max.max(held);
        self.frames.push_back(frame);
        Ok(())
    }

    /// Take the oldest frame, if it has been taken in by `now`; the next one's time begins when it ended.
    fn pop(&mut self, now: Time) -> Option<Box<Frame>> {
        if self.done_at > now {
            return None;
        }
        let frame = self.frames.pop_front()?;
        self.held_bytes -= u64::from(frame.buffer_bytes());
        let next = self.frames.front().map(|next| self.drain.serialisation(u64::from(next.buffer_bytes())));
        self.done_at = next.map_or(Time::NEVER, |time| self.done_at + time);
        Some(frame)
    }

    /// The priorities that it has asked the peer to stop.
    pub(super) fn held(&self) -> PrioritySet {
        self.sender.asserted()
    }

    /// The PAUSE frame that is due for what it holds now, or because the last one is about to expire. Where a storm goes on with
    /// `storm_quanta`, those are asked for in place of XON.
    fn pause(&mut self, storm_quanta: u16, now: Time) -> Option<Box<Frame>> {
        let priority = self.plan.priority?;
        if self.held_bytes > self.plan.xoff_bytes {
            if let Some(xoff) = self.sender.xoff(priority) {
                self.refresh_at = now + self.sender.refresh_every();
                return Some(xoff);
            }
        } else if self.held_bytes <= self.plan.xon_bytes {
            if let Some(xon) = self.sender.xon(priority) {
                self.refresh_at = Time::NEVER;
                return Some(if storm_quanta > 0 {
                    pause_frame(PrioritySet::only(priority), storm_quanta)
                } else {
                    xon
                });
            }
        }
        if self.refresh_at > now {
            return None;
        }
        self.refresh_at = now + self.sender.refresh_every();
        self.sender.refresh()
    }
}

impl Host {
    /// Let the NIC of a port tell priorities by a map of DSCPs.
    pub fn with_priorities(mut self, port: u16, priorities: [Priority; DSCPS]) -> Host {
        self.nics[usize::from(port)].priorities = priorities;
        self
    }

    /// The priority of a DSCP at a NIC.
    #[inline]
    pub fn priority_of(&self, nic: usize, dscp: u8) -> Priority {
        self.nics[nic].priorities[usize::from(dscp & 63)]
    }

    /// Have the packets that come in by a port wait in a buffer until they are taken in.
    pub fn with_receive_buffer(mut self, port: u16, plan: Option<&ReceivePlan>) -> Host {
        let nic = usize::from(port);
        self.nics[nic].receive_buffer =
            plan.and_then(|plan| ReceiveBuffer::new(plan, self.ports[nic].rate())).map(Box::new);
        self.has_receive_buffer |= plan.is_some();
        self
    }

    pub fn receive_buffer(&self, port: usize) -> Option<&ReceiveBuffer> {
        self.nics[port].receive_buffer.as_deref()
    }

    /// From here on count anew what buffer and queues hold at most.
    pub fn restart_marks(&mut self) {
        self.ports.iter_mut().for_each(Port::restart_marks);
        for buffer in self.nics.iter_mut().filter_map(|nic| nic.receive_buffer.as_mut()) {
            buffer.held_max = buffer.held_bytes;
        }
    }

    /// Keep a packet until its turn, or drop it.
    pub(super) fn hold(&mut self, nic: usize, frame: Box<Frame>, priority: Priority, now: Time) {
        let port = &mut self.ports[nic];
        port.reserve_credit(priority, frame.buffer_bytes());
        let Some(buffer) = &mut self.nics[nic].receive_buffer else { return };
        port.touch(PrioritySet::only(buffer.priority()));
        if let Err(frame) = buffer.push(frame, now) {
            port.return_credit(priority, frame.buffer_bytes());
            port.counters[priority].drops[Cause::Receiver as usize] += 1;
            let packet = frame.is_packet();
            self.events.push_back(Event::Dropped { port: nic as u16, priority, cause: Cause::Receiver, packet });
        }
        self.ask(nic, now);
    }

    /// Deal with the packets whose turn has come, and ask for the pauses that are due.
    pub(super) fn drain_receive_buffer(&mut self, nic: usize, now: Time) {
        let Some(buffer) = &self.nics[nic].receive_buffer else { return };
        self.ports[nic].touch(PrioritySet::only(buffer.priority()));
        self.awake.set(nic);
        while let Some(frame) = self.nics[nic].receive_buffer.as_mut().and_then(|buffer| buffer.pop(now)) {
            let priority = self.priority_of(nic, frame.dscp);
            self.ports[nic].return_credit(priority, frame.buffer_bytes());
            self.ask(nic, now);
            self.handle_packet(nic, frame, now);
        }
        self.ask(nic, now);
    }

    fn ask(&mut self, nic: usize, now: Time) {
        let Some(priority) = self.receive_buffer(nic).and_then(|buffer| buffer.plan.priority) else { return };
        let storm_quanta = self.storm_quanta(nic, priority, now);
        let Some(buffer) = &mut self.nics[nic].receive_buffer else { return };
        if let Some(mut frame) = buffer.pause(storm_quanta, now) {
            let goes_on = storm_quanta > 0 && !buffer.held().contains(priority);
            let reason = if goes_on { HostRequest::Storm } else { HostRequest::SlowReceiver };
            frame.set_request(reason as u32);
            self.ports[nic].counters[priority].pause_tx += 1;
            self.ports[nic].enqueue_control(frame);
        }
    }
}
