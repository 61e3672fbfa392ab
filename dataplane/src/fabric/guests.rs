//! How frames of hosts' kernels enter.

use super::Fabric;
use crate::frame::Frame;

impl Fabric {
    /// Put a frame of a host's kernel, come in at the far end already, on the link that leads to `port`: it has delay and loss to
    /// suffer like any other. Its time on the line has passed: the host shapes what its kernel sends.
    pub fn inject(&mut self, node: usize, port: u16, frame: Box<Frame>) {
        let Some(direction) = self.entering(node, port) else { return };
        let (host, from) = self.ends[direction].0;
        let now = self.now;
        let (shard, index) = self.shard_of(host);
        shard.nodes[index].watch.tally(frame.is_packet()).sent += 1;
        shard.send(index, from, frame, now);
    }

    /// Have a frame of a host's kernel wait at a port of the host until its priority and the line let it go, as what the NIC sends does.
    pub fn accept_guest(&mut self, node: usize, port: u16, frame: Box<Frame>) {
        if let Some(host) = self.host_mut(node) {
            host.accept_guest(port, frame);
            self.drain(node);
        }
    }
}
