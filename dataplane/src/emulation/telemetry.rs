//! What is told of a running fabric several times a second: copied between two turns of its loop, and written as JSON elsewhere, so
//! that the loop stands still for the copy alone. It speaks of the lab, whatever runs have been on it.

use serde::Serialize;

use super::Emulation;
use crate::emulation::figures::{Drops, Ports};
use crate::emulation::report::{DeadlockRow, Fidelity};
use crate::units::Time;

/// A fabric at one moment, in the words of its report.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Telemetry {
    pub now_ps: u64,
    pub frame_hops: u64,
    pub ranks: u64,
    pub ranks_finished: u64,
    pub ports: Ports,
    pub drops: Drops,
    pub deadlocks: Vec<DeadlockRow>,
    pub fidelity: Fidelity,
    /// Wall nanoseconds for which the loop stood still to be copied.
    pub stopped_ns: u64,
}

impl Emulation {
    /// Copy what telemetry tells.
    pub fn telemetry(&self, fidelity: Fidelity) -> Telemetry {
        let sheet = self.of_lab();
        Telemetry {
            now_ps: sheet.at.ps(),
            frame_hops: sheet.totals.frame_hops,
            ranks: self.ranks.len() as u64,
            ranks_finished: self.ranks.iter().filter(|rank| self.finished(**rank).is_some()).count() as u64,
            ports: self.ports(&sheet),
            drops: self.drops(&sheet),
            deadlocks: self.deadlocks(Time::ZERO),
            fidelity,
            stopped_ns: 0,
        }
    }
}
