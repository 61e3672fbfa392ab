//! The virtual clock: a discrete-event loop. Exact, deterministic, without privileges.

use crate::build::Emulation;
use crate::fabric::Step;
use crate::units::Time;

/// How a slice of a run ended.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Progress {
    Running,
    Complete,
    /// Nothing more will happen, or nothing has moved for longer than every retry takes.
    Stalled,
}

/// Events between two looks at whether the workload is over.
const LOOK_EVERY: u64 = 4096;

/// Run at most `budget` events. After the last message the fabric runs on until it is quiet, so that every frame is accounted for.
pub fn advance(emulation: &mut Emulation, budget: u64) -> Progress {
    for count in 0..budget {
        match emulation.fabric.step(Time::NEVER) {
            Some(Step::Arrival { direction, frame }) => emulation.fabric.receive(direction, frame),
            Some(Step::Timer) => {}
            None if emulation.is_complete() => return Progress::Complete,
            None => return Progress::Stalled,
        }
        if count % LOOK_EVERY == 0 {
            if emulation.is_stalled() {
                return Progress::Stalled;
            }
            if emulation.is_complete()
                && emulation.fabric.now() > emulation.fabric.watch.last_progress + emulation.patience
            {
                return Progress::Complete;
            }
        }
    }
    Progress::Running
}
