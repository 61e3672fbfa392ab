//! The sender of PAUSE frames at one ingress port, of a switch or a NIC: XOFF, refresh before expiry, XON (IEEE 802.1Q clause 36).

use crate::frame::{Body, Frame, Priority, PRIORITIES};
use crate::units::{Rate, Time};
use crate::wire::pfc::Pfc;
use crate::wire::sizes::{LONGEST_ON_LINE_BYTES, LONGEST_PAUSE_QUANTA};

/// The longest pause a frame can ask for.
const XOFF_QUANTA: u16 = LONGEST_PAUSE_QUANTA as u16;

/// Which priorities an ingress port holds paused at its peer.
#[derive(Debug)]
pub struct PauseSender {
    asserted: u8,
    /// Twice this and a frame in flight are no more than the longest pause: one refresh may be lost and the pause still holds.
    refresh_every: Time,
}

impl PauseSender {
    pub fn new(rate: Rate) -> PauseSender {
        // A PAUSE frame may have to wait for the longest frame.
        let longest = rate.quanta(XOFF_QUANTA).since(rate.serialisation(LONGEST_ON_LINE_BYTES as u64));
        PauseSender { asserted: 0, refresh_every: Time::from_ps(longest.ps() / 2) }
    }

    /// Ask the peer to stop `priority`; `None` if it has been asked already.
    pub fn xoff(&mut self, priority: Priority) -> Option<Frame> {
        let bit = 1 << priority;
        if self.asserted & bit != 0 {
            return None;
        }
        self.asserted |= bit;
        Some(pause_frame(bit, XOFF_QUANTA))
    }

    /// Let the peer go on with `priority`; `None` if it was not paused.
    pub fn xon(&mut self, priority: Priority) -> Option<Frame> {
        let bit = 1 << priority;
        if self.asserted & bit == 0 {
            return None;
        }
        self.asserted &= !bit;
        Some(pause_frame(bit, 0))
    }

    /// Renew every pause still wanted; `None` when there is none.
    pub fn refresh(&mut self) -> Option<Frame> {
        (self.asserted != 0).then(|| pause_frame(self.asserted, XOFF_QUANTA))
    }

    pub fn refresh_every(&self) -> Time {
        self.refresh_every
    }

    /// True when exactly one priority is paused: its refresh timer is not running yet.
    pub fn holds_one(&self) -> bool {
        self.asserted.is_power_of_two()
    }

    #[inline]
    pub fn is_asserted(&self, priority: Priority) -> bool {
        self.asserted & (1 << priority) != 0
    }
}

/// A frame that asks to pause the enabled priorities for so many quanta each.
pub fn pause_frame(class_enable: u8, quanta: u16) -> Frame {
    let mut times = [0; PRIORITIES];
    for (priority, time) in times.iter_mut().enumerate() {
        if class_enable & (1 << priority) != 0 {
            *time = quanta;
        }
    }
    Frame::control(Body::Pause(Pfc { class_enable, quanta: times }))
}
