//! What a period does to the observer of a node.

use super::{Tally, Watch, WatchedPort};
use crate::steady::{Reason, Sender, Visitor};
use crate::units::Time;

impl Watch {
    /// `peers` number the packets that come, by connection.
    pub fn visit(&mut self, visitor: &mut impl Visitor, peers: impl Iterator<Item = Sender>) {
        let Watch {
            events,
            frame_hops,
            // It is of every event, and means nothing where some are skipped.
            hash: _,
            // In the future only while a pause is.
            bound_until: _,
            last_progress,
            packets,
            kernel_frames,
            expected,
            ports,
            posted,
            arrived,
            merged: _,
            finished,
            violations: _,
            violation_count,
            // These begin and end with pauses.
            intervals: _,
        } = self;
        visitor.count(events);
        visitor.count(frame_hops);
        packets.visit(visitor);
        kernel_frames.visit(visitor);
        ports.iter_mut().for_each(|port| port.visit(visitor));
        expected.iter_mut().zip(peers).for_each(|(number, peer)| visitor.number(peer, number));
        let over = finished.iter().flatten().count();
        for value in [posted.len(), arrived.len(), over] {
            visitor.fixed(value as u64, Reason::Messages);
        }
        visitor.fixed(*violation_count, Reason::Losses);
        // It is a period later where anything has moved, and where it was where nothing has.
        let mut progress = last_progress.ps();
        visitor.count(&mut progress);
        *last_progress = Time::from_ps(progress);
    }
}

impl Tally {
    fn visit(&mut self, visitor: &mut impl Visitor) {
        let Tally { sent, delivered, dropped } = self;
        visitor.count(sent);
        visitor.count(delivered);
        visitor.fixed(*dropped, Reason::Losses);
    }
}

impl WatchedPort {
    fn visit(&mut self, visitor: &mut impl Visitor) {
        let WatchedPort { rate, response: _, windows: _, credits, deaf, lost, cut } = self;
        if credits.is_some() {
            visitor.refuse(Reason::Credits);
        }
        visitor.fixed(rate.bps(), Reason::Injected);
        visitor.fixed(u64::from(deaf.bits()), Reason::Pauses);
        visitor.fixed(lost.iter().chain(&*cut).sum(), Reason::Losses);
    }
}
