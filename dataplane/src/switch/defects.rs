//! Deliberately defective switches, for tests that must notice: each defect is one thing done wrong. A sound switch has none.

use serde::Deserialize;

use super::Switch;
use crate::frame::{Body, Frame};
use crate::port::Port;
use crate::priority::{Priority, PrioritySet, PRIORITIES};
use crate::units::Time;
use crate::wire::ethernet::Ethernet;
use crate::wire::pfc::{self, MacControl, Pfc};

/// What a switch does wrong.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Defect {
    /// Goes on with a paused priority.
    IgnoresPause,
    /// Lets a pause of one priority stop them all.
    PausesWholePort,
    ObeysLossyPause,
    ObeysGlobalPause,
    /// Takes every time of a PFC frame for enabled that is not zero.
    IgnoresEnableVector,
    IgnoresZeroSource,
    /// Takes a quantum for 256 bit times.
    HalvesQuanta,
    /// Lets a new pause time replace only a shorter one.
    KeepsLongerPause,
    NeverRefreshes,
    NeverXon,
    /// Asks for pauses far shorter than the time to the next refresh.
    AsksTooLittle,
    AsksAllPriorities,
    AsksNextPriority,
    /// Pauses the peers of all ports when one is to pause.
    AsksEveryPort,
    /// Never pauses the peer of one port.
    SparesFirstPort,
    SparesLastPort,
    /// Lets every frame overtake the one before it in its queue.
    Reorders,
    /// Goes on with the weights that its ports had at first.
    KeepsWeights,
    /// Marks for congestion as frames come in.
    MarksOnArrival,
}

/// Shorter by far than half of the longest pause.
const LITTLE_QUANTA: u16 = 500;

/// The defects of a switch, as bits.
#[derive(Copy, Clone, Default, Debug)]
pub struct Defects(u32);

impl Defects {
    pub fn new(defects: &[Defect]) -> Defects {
        Defects(defects.iter().fold(0, |bits, defect| bits | 1 << *defect as u32))
    }

    #[inline]
    pub fn any(self) -> bool {
        self.0 != 0
    }

    pub fn has(self, defect: Defect) -> bool {
        self.0 & (1 << defect as u32) != 0
    }

    /// How a defective switch reads a PFC frame whose content is `sent`, of which it obeys the priorities `heeded`.
    pub fn received(self, frame: &Frame, sent: Pfc, heeded: PrioritySet, port: &Port, now: Time) -> Pfc {
        let mut taken = sent;
        let bytes = frame.bytes.as_deref().map_or(&[][..], |bytes| &bytes[..]);
        if self.has(Defect::ObeysGlobalPause) {
            if let Ok(Some(MacControl::GlobalPause { quanta })) = pfc::parse(bytes) {
                taken = Pfc { class_enable: PrioritySet::ALL, quanta: [quanta; PRIORITIES] };
            }
        }
        if self.has(Defect::IgnoresZeroSource) && Ethernet::parse(bytes).is_ok_and(|(frame, _)| frame.src == [0; 6]) {
            taken.class_enable = PrioritySet::NONE;
        }
        let longest = taken.quanta.into_iter().max().unwrap_or(0);
        if self.has(Defect::PausesWholePort) && !taken.class_enable.is_empty() {
            taken = Pfc { class_enable: PrioritySet::ALL, quanta: [longest; PRIORITIES] };
        }
        for priority in Priority::ALL {
            if self.has(Defect::IgnoresEnableVector) && taken.quanta[priority] > 0 {
                taken.class_enable.insert(priority);
            }
            if self.has(Defect::HalvesQuanta) {
                taken.quanta[priority] /= 2;
            }
            let until = now + port.rate().quanta(taken.quanta[priority]);
            let shorter = taken.quanta[priority] > 0 && until < port.pause_end(priority, now);
            if self.has(Defect::KeepsLongerPause) && shorter {
                taken.class_enable.remove(priority);
            }
        }
        let obeyed = if self.has(Defect::ObeysLossyPause) || self.has(Defect::PausesWholePort) {
            PrioritySet::ALL
        } else {
            heeded
        };
        let obeyed = if self.has(Defect::IgnoresPause) { PrioritySet::NONE } else { obeyed };
        taken.class_enable = taken.class_enable & obeyed;
        taken
    }

    /// The PAUSE frame that a switch of so many `ports` sends in place of a right one by one of them, if it sends any.
    pub fn sent(self, port: u16, ports: usize, mut frame: Box<Frame>) -> Option<Box<Frame>> {
        let Body::Pause(pfc) = &mut frame.body else { return Some(frame) };
        let is_xon = pfc.quanta == [0; PRIORITIES];
        let first = self.has(Defect::SparesFirstPort) && port == 0;
        let last = self.has(Defect::SparesLastPort) && usize::from(port) + 1 == ports;
        if (self.has(Defect::NeverXon) && is_xon) || first || last {
            return None;
        }
        if self.has(Defect::AsksTooLittle) {
            pfc.quanta = pfc.quanta.map(|quanta| quanta.min(LITTLE_QUANTA));
        }
        if self.has(Defect::AsksNextPriority) {
            pfc.class_enable = PrioritySet::from_bits(pfc.class_enable.bits().rotate_left(1));
            pfc.quanta.rotate_right(1);
        }
        if self.has(Defect::AsksAllPriorities) {
            let longest = pfc.quanta.into_iter().max().unwrap_or(0);
            *pfc = Pfc { class_enable: PrioritySet::ALL, quanta: [longest; PRIORITIES] };
        }
        Some(frame)
    }
}

impl Switch {
    /// Send the control frame of one port on all others too, as a defective switch does.
    pub(super) fn repeat(&mut self, port: u16, frame: &Frame) {
        if !self.defects.has(Defect::AsksEveryPort) {
            return;
        }
        for other in (0..self.ports.len() as u16).filter(|other| *other != port) {
            self.ports[usize::from(other)].enqueue_control(Box::new(frame.clone()));
            self.ready.push(other);
        }
    }
}
