//! Between connections and their congestion control: what acknowledgements and losses tell it, and what a receiver says for it.

use super::congestion::{Ack, Algorithm, Loss};
use super::slot::Slot;
use super::Host;
use crate::frame::{Attached, Buffer, Frame, Hop};
use crate::units::Time;
use crate::wire::ipv4::Ecn;

/// What acknowledgements say of the packet that is being dealt with, where congestion control asks for it.
#[derive(Debug, Default)]
pub(super) struct Echo {
    marked: bool,
    hops: Option<Vec<Hop>>,
}

impl Echo {
    /// Bytes on the heap of an acknowledgement: telemetry, which it alone brings back, or nothing.
    pub fn attached(&mut self) -> Option<Buffer> {
        self.hops.take().map(|hops| Box::new(Attached { bytes: Vec::new(), hops: Some(hops) }))
    }

    pub fn is_marked(&self) -> bool {
        self.marked
    }
}

/// Where a connection was before an answer of its peer was taken in.
#[derive(Copy, Clone, Debug)]
pub(super) struct Before {
    unacknowledged: u64,
    naks: u64,
}

impl Host {
    /// Have connections measure what their congestion control asks for, and keep to its first window.
    pub(super) fn begin_control(&mut self) {
        if self.needs.hears_acknowledgements() {
            for index in 0..self.qps.len() {
                self.qps[index].requester.measure();
                self.obey(index);
            }
        }
    }

    /// Note what acknowledgements are to say of a packet of data. Returns whether it is to be acknowledged at once.
    #[inline]
    pub(super) fn note(&mut self, frame: &mut Frame) -> bool {
        if !self.needs.hears_acknowledgements() {
            return false;
        }
        let marked = self.needs.marks && frame.ecn == Ecn::Ce as u8;
        let hops = frame.bytes.as_mut().and_then(|attached| attached.hops.take());
        self.echo = Echo { marked, hops };
        marked
    }

    /// What a packet of data carries on the heap: its payload, and room for telemetry.
    #[inline]
    pub(super) fn attach(&self, payload: Option<Vec<u8>>) -> Option<Buffer> {
        if self.needs.telemetry_bytes.is_none() {
            return payload.map(|payload| Box::new(payload.into()));
        }
        Some(Box::new(Attached { bytes: payload.unwrap_or_default(), hops: Some(Vec::new()) }))
    }

    /// Where a connection is whose congestion control hears of acknowledgements; `None` for all others.
    #[inline]
    pub(super) fn before(&self, index: usize) -> Option<Before> {
        let requester = &self.qps[index].requester;
        let before = || Before { unacknowledged: requester.unacknowledged(), naks: requester.counters.naks_rx };
        self.needs.hears_acknowledgements().then(before)
    }

    /// Tell congestion control what an answer of the peer changed, and bear with what it says then.
    pub(super) fn tell(&mut self, index: usize, before: Before, frame: &Frame, marked: bool, now: Time) {
        let qp = &mut self.qps[index];
        let Some(control) = &mut qp.control else { return };
        let requester = &mut qp.requester;
        let (delay, in_flight) = (requester.round_trip(now), requester.in_flight());
        let acknowledged = requester.unacknowledged();
        control.acknowledged(&Ack {
            now,
            acknowledged: requester.position(acknowledged),
            next: requester.position(requester.next()),
            packets: acknowledged - before.unacknowledged,
            in_flight,
            marked,
            delay,
            hops: frame.hops(),
        });
        let packets = requester.counters.naks_rx - before.naks;
        if packets > 0 {
            control.lost(&Loss { now, packets, in_flight, by_timeout: false });
        }
        self.obey(index);
    }

    /// Tell congestion control that the retransmission timer ran out.
    pub(super) fn tell_timeout(&mut self, index: usize, now: Time) {
        let qp = &mut self.qps[index];
        let Some(control) = qp.control.as_mut().filter(|_| self.needs.hears_acknowledgements()) else { return };
        control.lost(&Loss { now, packets: 1, in_flight: qp.requester.in_flight(), by_timeout: true });
        self.obey(index);
    }

    /// Have a connection keep to the window that congestion control gives it now, and wake for its timer.
    pub(super) fn obey(&mut self, index: usize) {
        let slot = self.slots.index(Slot::Rate(index));
        let qp = &mut self.qps[index];
        let Some(control) = &qp.control else { return };
        qp.requester.limit(control.window(qp.requester.in_flight()));
        self.timers.set(slot, control.deadline());
        self.rates_changed = true;
    }
}
