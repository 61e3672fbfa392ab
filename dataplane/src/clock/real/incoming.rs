//! What comes in at the sockets, on its way to the nodes of the fabric.

use super::arrivals::Then;
use super::{enters, RealClock};
use crate::codec::Reader;
use crate::frame::Frame;
use crate::io::IoError;

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
            let frame = self.emulation.codec.decode_into(bytes, place.reader, &mut self.spare);
            let entered = frame.as_ref().is_some_and(|frame| enters(frame, &self.kernel_stations));
            let enters = place.from_host && (entered || frame.is_none());
            // It arrives when it would have without the kernel, or as soon as it can.
            let due = entering.filter(|_| !enters && !place.crosses).and_then(|line| self.transit.leave(line));
            let at = due.unwrap_or(self.pace.at()).max(fabric.now());
            if let Some(probe) = &mut probe {
                probe.received(bytes, at);
            }
            back += u64::from(place.crosses && !enters && !entered);
            match frame {
                Some(frame) if enters => {
                    let frame = Box::new(Frame { of_kernel: !self.edges.obeys(&frame), ..frame });
                    let now = fabric.now();
                    let Some(direction) = entering else { continue };
                    let frame = self.edges.admit(direction, frame, fabric);
                    if let Some(frame) = frame.and_then(|frame| self.inlets.admit(direction, frame, now)) {
                        fabric.inject(place.node, place.port, frame);
                    }
                }
                Some(frame) => {
                    let frame = Box::new(Frame { of_kernel: entered && !self.edges.obeys(&frame), ..frame });
                    match entering {
                        Some(line) if at > fabric.now() => {
                            self.arrivals.keep(at, line as u32, Then::Receive, frame, fabric);
                        }
                        _ => fabric.receive_at(place.node, place.port, frame),
                    }
                }
                None => {
                    // Whether its headers are those of a packet tells in whose tally it stands.
                    let seen = self.emulation.codec.decode(bytes, Reader::Switch);
                    fabric.reject_at(place.node, place.port, seen.as_ref(), place.from_host);
                }
            }
        }
        self.sockets[index].crossed.back += back;
        Ok(count)
    }

    /// Let in what hosts' kernels sent and what had to wait until now.
    pub(super) fn let_in(&mut self) {
        self.edges.open(&self.emulation.fabric);
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
