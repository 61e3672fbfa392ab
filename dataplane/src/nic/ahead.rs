//! What a host needs for its next event, read ahead of it (see `fabric::ahead`).

use super::Host;
use crate::frame::{Body, Frame};

impl Host {
    /// Read what a frame needs that arrives on `port`; the sum has no meaning.
    pub fn read_arrival(&self, port: u16, frame: &Frame) -> u64 {
        let read = self.ports[usize::from(port)].read(frame.priority);
        let Body::Roce(packet) = frame.body else { return read };
        let connection = self.find(usize::from(port), packet.dst_qp, frame.src);
        let qp = connection.map(|index| &self.qps[index]);
        read.wrapping_add(qp.map_or(0, |qp| qp.ready_at.ps().wrapping_add(qp.responder.message())))
    }
}
