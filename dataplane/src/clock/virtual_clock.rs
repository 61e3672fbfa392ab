//! The virtual clock: a discrete-event loop. Exact, deterministic, without privileges.

use crate::build::{Emulation, Progress};
use crate::fabric::Step;
use crate::units::Time;

/// Events between two looks at whether the workload is over.
const LOOK_EVERY: u64 = 4096;

/// Run at most `budget` events. After the last message the fabric runs on until no frame is under way, so that each is accounted for.
pub fn advance(emulation: &mut Emulation, budget: u64) -> Progress {
    for _ in 0..budget {
        // What a timeline still has in store is no reason to let time run on: another workload may follow.
        if emulation.fabric.is_quiet() && emulation.is_complete() {
            return Progress::Complete;
        }
        match emulation.fabric.step(Time::NEVER) {
            Some(Step::Arrival { direction, frame }) => emulation.fabric.receive(direction, frame),
            Some(Step::Done) => {}
            None if emulation.is_complete() => return Progress::Complete,
            None => return Progress::Stalled,
        }
        // Counted from the fabric's beginning: where a run ends must not depend on how it is sliced.
        if emulation.fabric.watch.events.is_multiple_of(LOOK_EVERY) {
            let progress = emulation.progress();
            if progress != Progress::Running {
                return progress;
            }
        }
    }
    Progress::Running
}

/// Run at most `budget` events, workload or none, until nothing is left to happen by `until`; true when that time has come.
pub fn run_until(emulation: &mut Emulation, until: Time, budget: u64) -> bool {
    for _ in 0..budget {
        match emulation.fabric.step(until) {
            Some(Step::Arrival { direction, frame }) => emulation.fabric.receive(direction, frame),
            Some(Step::Done) => {}
            None => {
                emulation.fabric.advance_to(until);
                return true;
            }
        }
    }
    false
}
