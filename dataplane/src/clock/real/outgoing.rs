//! What becomes of frames that have come to the end of their link in the event queue: most leave by the sockets.

use super::arrivals::Then;
use super::wiring::Exit;
use super::{enters, RealClock};
use crate::codec::Reader;
use crate::frame::Frame;
use crate::io::{IoError, BATCH_FRAMES};
use crate::link::Direction;
use crate::units::Time;

impl RealClock {
    /// Deal with a frame that has come to the end of its link, less the lead.
    pub(super) fn hand_out(&mut self, direction: u32, frame: Box<Frame>) {
        match self.exits[direction as usize] {
            Exit::Memory => self.emulation.fabric.receive(direction, frame),
            // What a host's kernel sent is at the far end already, and so far only that comes from elsewhere.
            Exit::Elsewhere if enters(&frame, &self.kernel_stations) => self.emulation.fabric.receive(direction, frame),
            Exit::Elsewhere => {}
            Exit::Socket(socket) if self.is_of_kernel(socket, &frame) => self.keep(direction, Then::Receive, frame),
            Exit::Socket(socket) if self.leaves(direction, &frame) => self.keep(direction, Then::Leave(socket), frame),
            Exit::Socket(socket) => self.emit(socket, direction, frame),
        }
    }

    /// Keep a frame that does not go through the kernel until it arrives.
    fn keep(&mut self, direction: u32, then: Then, frame: Box<Frame>) {
        let lead = self.lead(direction as usize);
        if lead == Time::ZERO {
            return self.finish(direction, then, frame);
        }
        let at = self.emulation.fabric.now() + lead;
        self.arrivals.keep(at, direction, then, frame, &mut self.emulation.fabric);
    }

    /// Let the next frame of `arrivals` arrive.
    pub(super) fn arrive(&mut self) {
        if let Some((at, direction, then, frame)) = self.arrivals.take(&mut self.emulation.fabric) {
            self.emulation.fabric.advance_to(at);
            self.finish(direction, then, frame);
        }
    }

    fn finish(&mut self, direction: u32, then: Then, frame: Box<Frame>) {
        match then {
            Then::Receive => self.emulation.fabric.receive(direction, frame),
            Then::Leave(socket) => self.emit(socket, direction, frame),
        }
    }

    /// How long before they arrive the frames of a direction are handed out.
    fn lead(&self, direction: usize) -> Time {
        self.emulation.fabric.direction(direction).map_or(Time::ZERO, Direction::lead)
    }

    /// A frame that a host's kernel put on the link which leaves by a NIC's socket.
    pub(super) fn is_of_kernel(&self, socket: u32, frame: &Frame) -> bool {
        self.sockets[socket as usize].place.reader == Reader::Nic && enters(frame, &self.kernel_stations)
    }

    /// A frame whose link leads to the kernel of a host that it is for.
    pub(super) fn leaves(&self, direction: u32, frame: &Frame) -> bool {
        let (_, (towards, _)) = self.emulation.fabric.ends(direction as usize);
        let for_kernel = self.kernel_stations.get(frame.dst.0 as usize).copied().unwrap_or(false);
        for_kernel && self.emulation.fabric.node(towards).is_host()
    }

    /// Hand a frame to the kernel: it is due at the far end of its link, now or a lead later.
    pub(super) fn emit(&mut self, socket: u32, direction: u32, mut frame: Box<Frame>) {
        let due = self.emulation.fabric.now();
        let lateness = self.pace.nominal().since(due);
        self.lateness.record(lateness);
        if lateness > self.pace.late_after() {
            self.late_frames += 1;
            self.emulation.fabric.capture_late(direction as usize, &frame, lateness);
        }
        let (_, (towards, _)) = self.emulation.fabric.ends(direction as usize);
        let leaves = self.leaves(direction, &frame);
        let lead = self.lead(direction as usize);
        if leaves {
            self.emulation.fabric.watch_mut(towards).kernel_frames.delivered += 1;
        }
        let attached = &mut self.sockets[socket as usize];
        if attached.tx.is_full() {
            // Best effort: what finds no room is counted as overflow, and the run is not trusted.
            let _ = attached.tx.flush(&attached.socket);
        }
        let sampled =
            self.emulation.fabric.direction_mut(direction as usize).and_then(|direction| direction.take_sample(due));
        let sampled = sampled.filter(|_| !attached.place.crosses);
        let probe = &mut self.probes[direction as usize];
        let codec = &self.emulation.codec;
        let (node, port, crosses) = (attached.place.node, attached.place.port, attached.place.crosses);
        let own = crosses && !enters(&frame, &self.kernel_stations);
        let mut sound = true;
        let queued = attached.tx.push_with(|out| {
            sound = codec.encode_from(node, port, &mut frame, out).is_ok();
            if let Some(sent) = sampled {
                probe.sent(out, sent);
            }
        });
        debug_assert!(sound, "the fabric makes no frame that has no bytes");
        if queued {
            if !leaves && !crosses {
                self.transit.enter(direction as usize, due + lead);
            }
            attached.crossed.out += u64::from(own);
            self.mark_dirty(socket);
        }
        self.spare.extend(frame.bytes.filter(|_| self.spare.len() < BATCH_FRAMES));
    }

    pub(super) fn mark_dirty(&mut self, socket: u32) {
        if !std::mem::replace(&mut self.sockets[socket as usize].dirty, true) {
            self.dirty.push(socket);
        }
    }

    pub(super) fn flush(&mut self) -> Result<(), IoError> {
        for token in std::mem::take(&mut self.dirty) {
            let attached = &mut self.sockets[token as usize];
            attached.dirty = false;
            let outcome = attached.tx.flush(&attached.socket)?;
            let blocked = outcome.left > 0;
            if outcome.refused > 0 {
                let leaving = self.emulation.fabric.leaving(attached.place.node, attached.place.port);
                leaving.into_iter().for_each(|direction| self.transit.refuse(direction, outcome.refused as u64));
            }
            if blocked != attached.blocked {
                attached.blocked = blocked;
                self.poller.watch(&attached.socket, token, attached.interest())?;
            }
        }
        Ok(())
    }
}
