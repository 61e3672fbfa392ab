//! What hosts' kernels send, on its way into the fabric: no faster than the line of the host, in nominal time.
//!
//! A kernel is shaped in wall time and does not stand still when nominal time is held back. What it sends meanwhile waits here, as it
//! would have in the host; what finds no room is lost by the emulator, not by the network, and is counted as that.

use std::collections::VecDeque;

use crate::frame::Frame;
use crate::units::{Rate, Time};

/// What may wait at one host: a thousand frames of 4 KiB, and more of short ones, so that all of a stream of datagrams finds room that
/// was kept in the socket while its lab changed.
const ROOM_BYTES: u64 = 4 << 20;

/// The line of one host.
#[derive(Debug)]
struct Inlet {
    rate: Rate,
    waiting: VecDeque<Box<Frame>>,
    waiting_bytes: u64,
    /// When the next frame may follow the one before it.
    free_at: Time,
    lost: u64,
}

/// The lines of all hosts, by direction.
#[derive(Debug)]
pub struct Inlets {
    lines: Vec<Inlet>,
    /// Directions where frames wait.
    busy: Vec<usize>,
}

impl Inlets {
    /// `rates`: of the port that each direction leaves.
    pub fn new(rates: impl Iterator<Item = Rate>) -> Inlets {
        let inlet = |rate| Inlet { rate, waiting: VecDeque::new(), waiting_bytes: 0, free_at: Time::ZERO, lost: 0 };
        Inlets { lines: rates.map(inlet).collect(), busy: Vec::new() }
    }

    /// Take a frame that came by a direction; it comes back if it may enter the fabric at once.
    pub fn admit(&mut self, direction: usize, frame: Box<Frame>, now: Time) -> Option<Box<Frame>> {
        let line = &mut self.lines[direction];
        if line.waiting.is_empty() && line.free_at <= now {
            line.free_at = now + line.rate.serialisation(frame.wire_bytes());
            return Some(frame);
        }
        let bytes = u64::from(frame.buffer_bytes());
        if line.waiting_bytes + bytes > ROOM_BYTES {
            line.lost += 1;
            return None;
        }
        if line.waiting.is_empty() {
            self.busy.push(direction);
        }
        line.waiting_bytes += bytes;
        line.waiting.push_back(frame);
        None
    }

    /// The next frame that may enter the fabric at `now`, and its direction.
    pub fn next_ready(&mut self, now: Time) -> Option<(usize, Box<Frame>)> {
        let index = self.busy.iter().position(|direction| self.lines[*direction].free_at <= now)?;
        let direction = self.busy[index];
        let line = &mut self.lines[direction];
        let frame = line.waiting.pop_front()?;
        line.waiting_bytes -= u64::from(frame.buffer_bytes());
        // The line was never idle: a late look at it loses no time.
        line.free_at += line.rate.serialisation(frame.wire_bytes());
        if line.waiting.is_empty() {
            self.busy.swap_remove(index);
        }
        Some((direction, frame))
    }

    /// When `next_ready` has a frame, at the earliest.
    pub fn next(&self) -> Time {
        self.busy.iter().map(|direction| self.lines[*direction].free_at).min().unwrap_or(Time::NEVER)
    }

    /// How many frames wait.
    pub fn waiting(&self) -> u64 {
        self.busy.iter().map(|direction| self.lines[*direction].waiting.len() as u64).sum()
    }

    /// By direction, how many frames found no room.
    pub fn lost(&self) -> impl Iterator<Item = u64> + '_ {
        self.lines.iter().map(|line| line.lost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Body;

    const AT: fn(u64) -> Time = Time::from_ns;

    /// A frame of 64 bytes, 84 on the line: 84 ns at 8 Gbit/s.
    fn frame() -> Box<Frame> {
        Box::new(Frame::control(Body::Opaque))
    }

    fn inlets() -> Inlets {
        Inlets::new([Rate::from_bps(8_000_000_000).unwrap(); 2].into_iter())
    }

    #[test]
    fn frames_enter_at_the_rate_of_the_line_in_nominal_time() {
        let mut inlets = inlets();
        assert!(inlets.admit(0, frame(), AT(100)).is_some());
        assert!(inlets.admit(0, frame(), AT(100)).is_none() && inlets.admit(0, frame(), AT(100)).is_none());
        assert!(inlets.admit(1, frame(), AT(100)).is_some(), "another host has a line of its own");
        assert_eq!((inlets.next(), inlets.waiting()), (AT(184), 2));
        assert!(inlets.next_ready(AT(183)).is_none());
        // Looked at late, the line has made good use of the time all the same.
        assert!(inlets.next_ready(AT(260)).is_some());
        assert_eq!(inlets.next(), AT(268));
        assert!(inlets.next_ready(AT(268)).is_some());
        assert_eq!((inlets.next(), inlets.waiting()), (Time::NEVER, 0));
    }

    #[test]
    fn what_finds_no_room_is_the_emulators_loss() {
        let mut inlets = inlets();
        let room = ROOM_BYTES / u64::from(frame().buffer_bytes());
        for _ in 0..room + 8 {
            inlets.admit(1, frame(), AT(0));
        }
        assert_eq!(inlets.lost().collect::<Vec<_>>(), [0, 7]);
        assert_eq!(inlets.waiting(), room);
        // Room that was left is used again.
        assert!(inlets.next_ready(AT(1_000)).is_some());
        inlets.admit(1, frame(), AT(1_000));
        assert_eq!((inlets.waiting(), inlets.lost().sum::<u64>()), (room, 7));
    }
}
