//! The pauses that a switch asked of its peers for long, and what became of the bytes behind them: what tells a pause that a full
//! buffer needed, and that ended because it drained, from one that somebody else's pause or storm caused.

use super::buffer::Buffer;
use super::group::Demand;
use crate::port::Port;
use crate::priority::{Priority, PRIORITIES};
use crate::units::Time;

/// A pause of one priority group, from XOFF to XON.
#[derive(Copy, Clone, Debug)]
pub struct LongPause {
    pub port: u16,
    pub priority: Priority,
    pub from: Time,
    /// `None`: it still holds.
    pub to: Option<Time>,
    /// What the group held when it began, and what came in during it.
    pub held_bytes: u64,
    pub came_bytes: u64,
    /// What left by itself, and what was dropped, by a watchdog or for lack of headroom.
    pub drained_bytes: u64,
    pub dropped_bytes: u64,
}

/// What a group was like at XOFF.
#[derive(Copy, Clone, Debug)]
struct Beginning {
    at: Time,
    held: u64,
    received: u64,
    dropped: u64,
}

#[derive(Debug)]
pub struct LongPauses {
    /// Shorter ones are forgotten.
    at_least: Time,
    /// By port and priority.
    begun: Vec<Option<Beginning>>,
    dropped: Vec<u64>,
    ended: Vec<LongPause>,
}

impl LongPauses {
    pub fn new(at_least: Time, ports: usize) -> LongPauses {
        let slots = ports * PRIORITIES;
        LongPauses { at_least, begun: vec![None; slots], dropped: vec![0; slots], ended: Vec::new() }
    }

    /// A group has just said XOFF or XON.
    pub fn note(&mut self, said: Demand, group: (u16, Priority), ports: &[Port], buffer: &Buffer, now: Time) {
        match said {
            Demand::Xoff => self.begin(group, ports, buffer, now),
            Demand::Xon => self.end(group, ports, buffer, now),
            Demand::None => {}
        }
    }

    fn begin(&mut self, (port, priority): (u16, Priority), ports: &[Port], buffer: &Buffer, now: Time) {
        let slot = priority.slot(port);
        self.begun[slot] = Some(Beginning {
            at: now,
            held: buffer.group(port, priority).used(),
            received: received(ports, port, priority),
            dropped: self.dropped[slot],
        });
    }

    fn end(&mut self, (port, priority): (u16, Priority), ports: &[Port], buffer: &Buffer, now: Time) {
        let pause = self.pause((port, priority), ports, buffer);
        self.begun[priority.slot(port)] = None;
        if let Some(pause) = pause.filter(|pause| now.since(pause.from) >= self.at_least) {
            self.ended.push(LongPause { to: Some(now), ..pause });
        }
    }

    /// Bytes that had come in by a port were dropped.
    pub fn drop_bytes(&mut self, (port, priority): (u16, Priority), bytes: u64) {
        self.dropped[priority.slot(port)] += bytes;
    }

    /// The long pauses of a group so far, the one that still holds last.
    pub fn of(&self, (port, priority): (u16, Priority), ports: &[Port], buffer: &Buffer) -> Vec<LongPause> {
        let of_group = |pause: &&LongPause| (pause.port, pause.priority) == (port, priority);
        let ended = self.ended.iter().filter(of_group).copied();
        ended.chain(self.pause((port, priority), ports, buffer)).collect()
    }

    fn pause(&self, (port, priority): (u16, Priority), ports: &[Port], buffer: &Buffer) -> Option<LongPause> {
        let begun = self.begun[priority.slot(port)]?;
        let came_bytes = received(ports, port, priority) - begun.received;
        let dropped_bytes = self.dropped[priority.slot(port)] - begun.dropped;
        let left = (begun.held + came_bytes).saturating_sub(buffer.group(port, priority).used());
        Some(LongPause {
            port,
            priority,
            from: begun.at,
            to: None,
            held_bytes: begun.held,
            came_bytes,
            drained_bytes: left.saturating_sub(dropped_bytes),
            dropped_bytes,
        })
    }
}

fn received(ports: &[Port], port: u16, priority: Priority) -> u64 {
    ports[usize::from(port)].counters[priority].bytes_rx
}
