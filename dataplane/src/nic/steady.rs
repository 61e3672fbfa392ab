//! What a period does to a host.

use super::congestion::Algorithm;
use super::queue_pair::QueuePair;
use super::slot::Slot;
use super::{Host, Nic, QpConfig};
use crate::steady::{Head, Reason, Sender, Visitor};
use crate::units::Time;

impl QpConfig {
    /// Who numbers the packets that come.
    fn peer(&self) -> Sender {
        Sender { station: self.peer, qpn: self.qpn }
    }
}

impl Host {
    /// Where the sending ends of its connections are.
    pub fn heads(&self) -> impl Iterator<Item = Head> + '_ {
        self.qps.iter().map(|qp| qp.requester.head(self.sender(qp.config)))
    }

    fn sender(&self, config: QpConfig) -> Sender {
        Sender { station: self.nics[usize::from(config.nic)].station, qpn: config.qpn }
    }

    /// How many acknowledgements a connection has had.
    pub fn acknowledgements(&self, connection: usize) -> u64 {
        self.qps.get(connection).map_or(0, |qp| qp.requester.acknowledgements())
    }

    /// By connection, who numbers the packets that come.
    pub fn peers(&self) -> impl Iterator<Item = Sender> + '_ {
        self.qps.iter().map(|qp| qp.config.peer())
    }

    /// Visit all that the host holds at `now`.
    pub fn visit(&mut self, visitor: &mut impl Visitor, now: Time) {
        self.visit_timers(visitor);
        for index in 0..self.qps.len() {
            let sender = self.sender(self.qps[index].config);
            self.qps[index].visit(visitor, sender);
        }
        let Host {
            ports,
            nics,
            awake: _,
            slots: _,
            timers: _,
            has_receive_buffer: _,
            classes: _,
            longest_bytes: _,
            frames: _,
            needs: _,
            telemetry_bytes: _,
            // It is of the packet that was dealt with last.
            echo: _,
            // For series, which are not recorded here.
            rates_changed: _,
            rnr: _,
            qps: _,
            by_key: _,
            ranks,
            copies,
            coder: _,
            // Room for frames, not frames.
            spares: _,
            events,
        } = self;
        debug_assert!(events.is_empty(), "it has been drained");
        ports.iter_mut().for_each(|port| port.visit(visitor, now));
        nics.iter_mut().for_each(|nic| nic.visit(visitor));
        for rank in ranks {
            if !rank.memory.is_empty() {
                visitor.refuse(Reason::Payload);
            }
            visitor.fixed(rank.schedule.finished(), Reason::Messages);
            visitor.fixed(u64::from(rank.running), Reason::Messages);
        }
        visitor.fixed(copies.count(), Reason::Messages);
    }

    fn visit_timers(&mut self, visitor: &mut impl Visitor) {
        for index in 0..self.slots.count(self.qps.len()) {
            let mut at = self.timers.get(index);
            match self.slots.of(index) {
                Slot::Port(_) => {
                    visitor.instant(&mut at);
                    self.timers.set(index, at);
                }
                Slot::Ranks
                | Slot::Inject(_)
                | Slot::Guests(_)
                | Slot::Storm(_)
                | Slot::Retransmit(_)
                | Slot::Rate(_) => {
                    visitor.until(at);
                }
            }
        }
    }
}

impl Nic {
    fn visit(&mut self, visitor: &mut impl Visitor) {
        let Nic { station: _, priorities: _, active, turn, injector, guests, meters: _, storm, receive_buffer } = self;
        if injector.is_some() || guests.is_some() || storm.is_some() {
            visitor.refuse(Reason::Injected);
        }
        if receive_buffer.is_some() {
            visitor.refuse(Reason::SlowReceivers);
        }
        visitor.same(*turn as u64);
        for class in active {
            visitor.same(class.len() as u64);
            class.iter().for_each(|connection| visitor.same(*connection as u64));
        }
    }
}

impl QueuePair {
    fn visit(&mut self, visitor: &mut impl Visitor, sender: Sender) {
        let QueuePair { config, class: _, ack: _, requester, responder, control, ready_at, notify_at, active, parity } =
            self;
        if !parity.is_empty() {
            visitor.refuse(Reason::Coding);
        }
        requester.visit(visitor, sender);
        responder.visit(visitor, config.peer());
        if let Some(control) = control {
            control.visit(visitor);
        }
        visitor.instant(ready_at);
        visitor.instant(notify_at);
        visitor.same(u64::from(*active));
    }
}
