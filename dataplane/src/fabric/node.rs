//! A node, switch or host, by its five verbs.

use crate::credit_waits::CreditWaits;
use crate::event::Event;
use crate::frame::Frame;
use crate::nic::Host;
use crate::port::Port;
use crate::priority::{PrioritySet, PRIORITIES};
use crate::switch::Switch;
use crate::units::Time;

#[derive(Debug)]
pub enum Node {
    Switch(Box<Switch>),
    Host(Box<Host>),
}

impl Node {
    #[inline]
    pub(super) fn handle_frame(&mut self, port: u16, frame: Box<Frame>, now: Time) {
        match self {
            Node::Switch(switch) => switch.handle_frame(port, frame, now),
            Node::Host(host) => host.handle_frame(port, frame, now),
        }
    }

    #[inline]
    pub(super) fn handle_timeout(&mut self, now: Time) {
        match self {
            Node::Switch(switch) => switch.handle_timeout(now),
            Node::Host(host) => host.handle_timeout(now),
        }
    }

    #[inline]
    pub(super) fn poll_transmit(&mut self, now: Time) -> Option<(u16, Box<Frame>)> {
        match self {
            Node::Switch(switch) => switch.poll_transmit(now),
            Node::Host(host) => host.poll_transmit(now),
        }
    }

    #[inline]
    pub(super) fn poll_timeout(&self) -> Time {
        match self {
            Node::Switch(switch) => switch.poll_timeout(),
            Node::Host(host) => host.poll_timeout(),
        }
    }

    #[inline]
    pub(super) fn poll_event(&mut self) -> Option<Event> {
        match self {
            Node::Switch(switch) => switch.poll_event(),
            Node::Host(host) => host.poll_event(),
        }
    }

    pub fn ports(&self) -> &[Port] {
        match self {
            Node::Switch(switch) => switch.ports(),
            Node::Host(host) => host.ports(),
        }
    }

    /// Share a port among priorities by other weights.
    pub(super) fn set_weights(&mut self, port: u16, weights: [u32; PRIORITIES]) {
        match self {
            Node::Switch(switch) => switch.set_weights(port, weights),
            Node::Host(host) => host.port_mut(port).set_weights(weights),
        }
    }

    /// Forward what is for a station by these ports from now on.
    pub(super) fn set_route(&mut self, station: u32, ports: &[u16]) {
        match self {
            Node::Switch(switch) => switch.set_route(station, ports),
            Node::Host(_) => {}
        }
    }

    /// A port that is to be set up, or whose line is about to change.
    pub fn port_mut(&mut self, port: u16) -> &mut Port {
        match self {
            Node::Switch(switch) => switch.port_mut(port),
            Node::Host(host) => host.port_mut(port),
        }
    }

    /// From here on count anew what it holds at most.
    pub fn restart_marks(&mut self) {
        match self {
            Node::Switch(switch) => switch.restart_marks(),
            Node::Host(host) => host.restart_marks(),
        }
    }

    /// Keep so many times at most, of all ports, for which frames wait for credit.
    pub(super) fn record_credit_waits(&mut self, bound: usize) {
        let share = bound.div_ceil(self.ports().len().max(1));
        self.each_credit_waits(|waits| waits.set_bound(share));
    }

    /// Forget those times that are over.
    pub(super) fn restart_credit_waits(&mut self) {
        self.each_credit_waits(CreditWaits::restart);
    }

    fn each_credit_waits(&mut self, call: impl FnMut(&mut CreditWaits)) {
        match self {
            Node::Switch(switch) => switch.credit_waits_mut().for_each(call),
            Node::Host(host) => host.credit_waits_mut().for_each(call),
        }
    }

    /// The times for which frames of a port waited for credit, by the number of the port.
    pub fn credit_waits(&self) -> impl Iterator<Item = (u16, &CreditWaits)> {
        (0..).zip(self.ports()).filter_map(|(port, of_port)| Some((port, of_port.credit_waits()?)))
    }

    /// The priorities of a port that were touched since they were last taken.
    pub(super) fn take_touched(&mut self, port: u16, now: Time) -> PrioritySet {
        match self {
            Node::Switch(switch) => switch.take_touched(port, now),
            Node::Host(host) => host.take_touched(port, now),
        }
    }

    pub fn switch(&self) -> Option<&Switch> {
        match self {
            Node::Switch(switch) => Some(switch),
            Node::Host(_) => None,
        }
    }

    pub fn host(&self) -> Option<&Host> {
        match self {
            Node::Host(host) => Some(host),
            Node::Switch(_) => None,
        }
    }

    pub fn is_host(&self) -> bool {
        matches!(self, Node::Host(_))
    }
}
