//! What a tester's port counts of the flows that begin or end there.

use std::collections::BTreeMap;

use super::Host;
use crate::frame::Frame;
use crate::units::Time;
use crate::wire::stamp::Stamp;

/// What a port has sent of a flow.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sent {
    pub frames: u64,
    /// FCS included.
    pub bytes: u64,
    pub first: Option<Time>,
    pub last: Time,
}

impl Sent {
    pub fn count(&mut self, frame: &Frame, now: Time) {
        self.frames += 1;
        self.bytes += u64::from(frame.buffer_bytes());
        self.first.get_or_insert(now);
        self.last = now;
    }
}

/// What a port has received of a flow, by the stamps of its frames. Latency ends with the first bit of a frame.
#[derive(Clone, Copy, Debug)]
pub struct Received {
    pub frames: u64,
    pub bytes: u64,
    pub first: Time,
    pub last: Time,
    pub least: Time,
    pub most: Time,
    pub sum_ps: u128,
}

/// What a port has received: frames that are no RoCEv2 packets, and by flow those that have a stamp.
#[derive(Debug, Default)]
pub struct Meters {
    pub frames: u64,
    pub bytes: u64,
    pub flows: BTreeMap<u16, Received>,
}

impl Meters {
    fn count(&mut self, frame: &Frame, line: Time, now: Time) {
        let bytes = u64::from(frame.buffer_bytes());
        if !frame.is_packet() {
            self.frames += 1;
            self.bytes += bytes;
        }
        let Some(stamp) = frame.bytes.as_deref().and_then(|bytes| Stamp::read(bytes)) else { return };
        let latency = now.since(line).since(Time::from_ps(stamp.sent_ps));
        let flow = self.flows.entry(stamp.flow).or_insert(Received {
            frames: 0,
            bytes: 0,
            first: now,
            last: now,
            least: Time::NEVER,
            most: Time::ZERO,
            sum_ps: 0,
        });
        flow.frames += 1;
        flow.bytes += bytes;
        flow.last = now;
        flow.least = flow.least.min(latency);
        flow.most = flow.most.max(latency);
        flow.sum_ps += u128::from(latency.ps());
    }
}

impl Host {
    /// Count a frame that no connection takes.
    pub(super) fn meter(&mut self, nic: usize, frame: &Frame, now: Time) {
        let line = self.ports[nic].rate().serialisation(frame.wire_bytes());
        self.nics[nic].meters.get_or_insert_default().count(frame, line, now);
    }

    /// Count a frame that is no packet; it needs no more room.
    pub(super) fn pass_opaque(&mut self, nic: usize, frame: &Frame, now: Time) {
        self.meter(nic, frame, now);
        self.pass_credit(nic, frame, self.priority_of(nic, frame.dscp));
    }

    /// What a port has counted of flows that end there, if anything has come.
    pub fn meters(&self, nic: usize) -> Option<&Meters> {
        self.nics.get(nic)?.meters.as_deref()
    }
}
