//! The virtual clock: a discrete-event loop. Exact, deterministic, without privileges.

use crate::build::{Emulation, Progress};
use crate::fabric::Step;
use crate::units::Time;

/// Run at most `budget` events. After the last message the fabric runs on until no frame is under way, so that each is accounted for.
pub fn advance(emulation: &mut Emulation, budget: u64) -> Progress {
    for _ in 0..budget {
        let due = emulation.fabric.next_event();
        if due > emulation.looks.next {
            let progress = emulation.look(emulation.looks.next, Time::ZERO);
            if progress != Progress::Running {
                return progress;
            }
            emulation.looks.follow(due);
        }
        // What a timeline still has in store is no reason to let time run on: another workload may follow.
        if emulation.fabric.is_quiet() && emulation.is_complete() {
            return Progress::Complete;
        }
        if !step(emulation, Time::NEVER) {
            return if emulation.is_complete() { Progress::Complete } else { Progress::Stalled };
        }
    }
    Progress::Running
}

/// Run at most `budget` events, workload or none, until nothing is left to happen by `until`; true when that time has come.
pub fn run_until(emulation: &mut Emulation, until: Time, budget: u64) -> bool {
    for _ in 0..budget {
        let due = emulation.fabric.next_event();
        if due > emulation.looks.next && due <= until {
            // Whether the workload is over matters to nobody here.
            emulation.look(emulation.looks.next, Time::ZERO);
            emulation.looks.follow(due);
        }
        if !step(emulation, until) {
            emulation.fabric.advance_to(until);
            return true;
        }
    }
    false
}

/// Take the next event due by `until`; false if there is none.
#[inline]
fn step(emulation: &mut Emulation, until: Time) -> bool {
    match emulation.fabric.step(until) {
        Some(Step::Arrival { direction, frame }) => emulation.fabric.receive(direction, frame),
        Some(Step::Done) => {}
        None => return false,
    }
    true
}
