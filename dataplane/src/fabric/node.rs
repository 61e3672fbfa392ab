//! A node, switch or host, by its five verbs.

use crate::event::Event;
use crate::frame::Frame;
use crate::nic::Nic;
use crate::port::Port;
use crate::priority::PRIORITIES;
use crate::switch::defective::Defective;
use crate::switch::Switch;
use crate::units::Time;

#[derive(Debug)]
pub enum Node {
    Switch(Box<Switch>),
    /// For tests that must notice.
    Defective(Box<Defective>),
    Host(Box<Nic>),
}

impl Node {
    #[inline]
    pub(super) fn handle_frame(&mut self, port: u16, frame: Frame, now: Time) {
        match self {
            Node::Switch(switch) => switch.handle_frame(port, frame, now),
            Node::Defective(switch) => switch.handle_frame(port, frame, now),
            Node::Host(nic) => nic.handle_frame(frame, now),
        }
    }

    #[inline]
    pub(super) fn handle_timeout(&mut self, now: Time) {
        match self {
            Node::Switch(switch) => switch.handle_timeout(now),
            Node::Defective(switch) => switch.switch_mut().handle_timeout(now),
            Node::Host(nic) => nic.handle_timeout(now),
        }
    }

    #[inline]
    pub(super) fn poll_transmit(&mut self, now: Time) -> Option<(u16, Frame)> {
        match self {
            Node::Switch(switch) => switch.poll_transmit(now),
            Node::Defective(switch) => switch.switch_mut().poll_transmit(now),
            Node::Host(nic) => nic.poll_transmit(now).map(|frame| (0, frame)),
        }
    }

    #[inline]
    pub(super) fn poll_timeout(&self) -> Time {
        match self {
            Node::Switch(switch) => switch.poll_timeout(),
            Node::Defective(switch) => switch.switch().poll_timeout(),
            Node::Host(nic) => nic.poll_timeout(),
        }
    }

    #[inline]
    pub(super) fn poll_event(&mut self) -> Option<Event> {
        match self {
            Node::Switch(switch) => switch.poll_event(),
            Node::Defective(switch) => switch.switch_mut().poll_event(),
            Node::Host(nic) => nic.poll_event(),
        }
    }

    pub fn ports(&self) -> &[Port] {
        match self {
            Node::Switch(switch) => switch.ports(),
            Node::Defective(switch) => switch.switch().ports(),
            Node::Host(nic) => std::slice::from_ref(nic.port()),
        }
    }

    /// Share a port among priorities by other weights.
    pub(super) fn set_weights(&mut self, port: u16, weights: [u32; PRIORITIES]) {
        match self {
            Node::Switch(switch) => switch.set_weights(port, weights),
            Node::Defective(switch) => switch.set_weights(port, weights),
            Node::Host(nic) => nic.port_mut().set_weights(weights),
        }
    }

    /// A port that is to be set up, or whose line is about to change.
    pub fn port_mut(&mut self, port: u16) -> &mut Port {
        match self {
            Node::Switch(switch) => switch.port_mut(port),
            Node::Defective(switch) => switch.switch_mut().port_mut(port),
            Node::Host(nic) => nic.port_mut(),
        }
    }

    /// From here on count anew what it holds at most.
    pub fn restart_marks(&mut self) {
        match self {
            Node::Switch(switch) => switch.restart_marks(),
            Node::Defective(switch) => switch.switch_mut().restart_marks(),
            Node::Host(nic) => nic.restart_marks(),
        }
    }

    /// The switch, be it defective.
    pub fn switch(&self) -> Option<&Switch> {
        match self {
            Node::Switch(switch) => Some(switch),
            Node::Defective(switch) => Some(switch.switch()),
            Node::Host(_) => None,
        }
    }

    pub fn nic(&self) -> Option<&Nic> {
        match self {
            Node::Host(nic) => Some(nic),
            Node::Switch(_) | Node::Defective(_) => None,
        }
    }

    pub fn is_host(&self) -> bool {
        matches!(self, Node::Host(_))
    }
}
