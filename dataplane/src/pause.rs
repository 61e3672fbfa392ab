//! The sender of PAUSE frames at one ingress port, of a switch or a NIC: XOFF, refresh before expiry, XON (IEEE 802.1Q clause 36).

use crate::frame::{Body, Frame};
use crate::priority::{Priority, PrioritySet, PRIORITIES};
use crate::units::{Rate, Time};
use crate::wire::pfc::Pfc;
use crate::wire::sizes::{LONGEST_ON_LINE_BYTES, LONGEST_PAUSE_QUANTA};

/// The longest pause a frame can ask for.
const XOFF_QUANTA: u16 = LONGEST_PAUSE_QUANTA as u16;

/// Which priorities an ingress port holds paused at its peer.
#[derive(Debug)]
pub struct PauseSender {
    asserted: PrioritySet,
    /// Twice this and a frame in flight are no more than the longest pause: one refresh may be lost and the pause still holds.
    refresh_every: Time,
}

impl PauseSender {
    pub fn new(rate: Rate) -> PauseSender {
        // A PAUSE frame may have to wait for the longest frame.
        let longest = rate.quanta(XOFF_QUANTA).since(rate.serialisation(LONGEST_ON_LINE_BYTES as u64));
        PauseSender { asserted: PrioritySet::NONE, refresh_every: Time::from_ps(longest.ps() / 2) }
    }

    /// Ask the peer to stop `priority`; `None` if it has been asked already.
    pub fn xoff(&mut self, priority: Priority) -> Option<Frame> {
        if self.asserted.contains(priority) {
            return None;
        }
        self.asserted.insert(priority);
        Some(pause_frame(PrioritySet::only(priority), XOFF_QUANTA))
    }

    /// Let the peer go on with `priority`; `None` if it was not paused.
    pub fn xon(&mut self, priority: Priority) -> Option<Frame> {
        if !self.asserted.contains(priority) {
            return None;
        }
        self.asserted.remove(priority);
        Some(pause_frame(PrioritySet::only(priority), 0))
    }

    /// Renew every pause still wanted; `None` when there is none.
    pub fn refresh(&mut self) -> Option<Frame> {
        (!self.asserted.is_empty()).then(|| pause_frame(self.asserted, XOFF_QUANTA))
    }

    pub fn refresh_every(&self) -> Time {
        self.refresh_every
    }

    /// True when exactly one priority is paused: its refresh timer is not running yet.
    pub fn holds_one(&self) -> bool {
        self.asserted.single().is_some()
    }

    /// The priorities that the peer has been asked to stop.
    pub fn asserted(&self) -> PrioritySet {
        self.asserted
    }

    #[inline]
    pub fn is_asserted(&self, priority: Priority) -> bool {
        self.asserted.contains(priority)
    }
}

/// A frame that asks to pause the enabled priorities for so many quanta each.
pub fn pause_frame(class_enable: PrioritySet, quanta: u16) -> Frame {
    let mut times = [0; PRIORITIES];
    class_enable.into_iter().for_each(|priority| times[priority] = quanta);
    Frame::control(Body::Pause(Pfc { class_enable, quanta: times }))
}
