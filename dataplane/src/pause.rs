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
    pub fn xoff(&mut self, priority: Priority) -> Option<Box<Frame>> {
        if self.asserted.contains(priority) {
            return None;
        }
        self.asserted.insert(priority);
        Some(pause_frame(PrioritySet::only(priority), XOFF_QUANTA))
    }

    /// Let the peer go on with `priority`; `None` if it was not paused.
    pub fn xon(&mut self, priority: Priority) -> Option<Box<Frame>> {
        if !self.asserted.contains(priority) {
            return None;
        }
        self.asserted.remove(priority);
        Some(pause_frame(PrioritySet::only(priority), 0))
    }

    /// Renew every pause still wanted; `None` when there is none.
    pub fn refresh(&mut self) -> Option<Box<Frame>> {
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

/// Why a host asks for pauses: what `Frame::request` of its PAUSE frames says.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum HostRequest {
    /// It takes in less than comes.
    SlowReceiver = 0,
    /// It was told to, without need.
    Storm = 1,
    /// A tester put the frame on its link.
    Tester = 2,
}

/// A frame that asks to pause the enabled priorities for so many quanta each.
pub fn pause_frame(class_enable: PrioritySet, quanta: u16) -> Box<Frame> {
    let mut times = [0; PRIORITIES];
    class_enable.into_iter().for_each(|priority| times[priority] = quanta);
    Box::new(Frame::control(Body::Pause(Pfc { class_enable, quanta: times })))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pause_of(frame: Option<Box<Frame>>) -> Pfc {
        match frame.map(|frame| frame.body) {
            Some(Body::Pause(pfc)) => pfc,
            other => panic!("no PAUSE frame: {other:?}"),
        }
    }

    #[test]
    fn a_priority_is_paused_once_renewed_with_others_and_released() {
        let (three, five) = (PrioritySet::only(Priority::P3), PrioritySet::only(Priority::P5));
        let mut sender = PauseSender::new(Rate::from_bps(100_000_000_000).expect("a rate"));
        assert!(sender.refresh().is_none() && !sender.holds_one() && sender.asserted().is_empty());
        let xoff = pause_of(sender.xoff(Priority::P3));
        assert_eq!((xoff.class_enable, xoff.quanta), (three, [0, 0, 0, 65_535, 0, 0, 0, 0]));
        assert!(sender.xoff(Priority::P3).is_none() && sender.holds_one());
        assert!(sender.is_asserted(Priority::P3) && !sender.is_asserted(Priority::P5));
        assert!(sender.xoff(Priority::P5).is_some() && !sender.holds_one());
        let renewed = pause_of(sender.refresh());
        assert_eq!((renewed.class_enable, renewed.quanta), (three | five, [0, 0, 0, 65_535, 0, 65_535, 0, 0]));
        let xon = pause_of(sender.xon(Priority::P3));
        assert_eq!((xon.class_enable, xon.quanta), (three, [0; PRIORITIES]));
        assert!(sender.xon(Priority::P3).is_none() && sender.asserted() == five);
    }

    #[test]
    fn one_renewal_may_be_lost_behind_the_longest_frame() {
        let sender = PauseSender::new(Rate::from_bps(100_000_000_000).expect("a rate"));
        // 65,535 quanta of 512 bits, less 9,300 bytes, at 10 ps a bit; and half of that.
        assert_eq!(sender.refresh_every().ps(), (65_535 * 5_120 - 9_300 * 80) / 2);
    }
}
