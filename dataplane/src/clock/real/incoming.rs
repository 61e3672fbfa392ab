//! What comes in at the sockets, on its way to the nodes of the fabric.

use super::{enters, RealClock};
use crate::codec::Reader;
use crate::frame::Frame;
use crate::io::IoError;

/// What becomes of a frame that was read, beside that it is the fabric's.
enum Fate {
    /// It had been under way between two nodes of the fabric.
    Arrived,
    /// A host's kernel sent it, and no node of the fabric.
    Entered,
}

impl RealClock {
    /// Take what waits at a socket into the fabric and return the number of frames.
    pub(super) fn receive(&mut self, index: usize) -> Result<usize, IoError> {
        self.catch_up();
        let fabric = &mut self.emulation.fabric;
        let attached = &self.sockets[index];
        let place = attached.place;
        let entering = fabric.entering(place.node, place.port);
        let mut probe = entering.map(|direction| &mut self.probes[direction]);
        let (mut count, mut back) = (0, 0);
        for bytes in self.rx.recv(&attached.socket)? {
            count += 1;
            if let Some(probe) = &mut probe {
                probe.received(bytes, self.pace.at());
            }
            let frame = self.emulation.codec.decode_into(bytes, place.reader, &mut self.spare);
            let entered = frame.as_ref().is_some_and(|frame| enters(frame, &self.kernel_stations));
            let fate = match frame {
                Some(frame) if place.from_host && entered => {
                    let frame = Box::new(Frame { of_kernel: true, ..frame });
                    let now = fabric.now();
                    if let Some(frame) = entering.and_then(|direction| self.inlets.admit(direction, frame, now)) {
                        fabric.inject(place.node, place.port, frame);
                    }
                    Fate::Entered
                }
                Some(frame) => {
                    let frame = Box::new(Frame { of_kernel: entered, ..frame });
                    fabric.receive_at(place.node, place.port, frame);
                    Fate::Arrived
                }
                None => {
                    // Whether its headers are those of a packet tells in whose tally it stands.
                    let seen = self.emulation.codec.decode(bytes, Reader::Switch);
                    fabric.reject_at(place.node, place.port, seen.as_ref(), place.from_host);
                    if place.from_host {
                        Fate::Entered
                    } else {
                        Fate::Arrived
                    }
                }
            };
            match (fate, entering) {
                (Fate::Arrived, _) if place.crosses => back += u64::from(!entered),
                (Fate::Arrived, Some(direction)) => self.transit.leave(direction),
                _ => {}
            }
        }
        self.sockets[index].crossed.back += back;
        Ok(count)
    }

    /// Let in what hosts' kernels sent and what had to wait until now.
    pub(super) fn let_in(&mut self) {
        let now = self.pace.at();
        if self.inlets.next() > now {
            return;
        }
        self.catch_up();
        while let Some((direction, frame)) = self.inlets.next_ready(now) {
            let (_, (node, port)) = self.emulation.fabric.ends(direction);
            self.emulation.fabric.inject(node, port, frame);
        }
    }
}
