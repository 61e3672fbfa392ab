//! The virtual clock: a discrete-event loop. Exact, deterministic, without privileges.

use crate::emulation::{Emulation, Progress};
use crate::units::Time;

/// Run at most `budget` events, on several cores about as many. After the last message the fabric runs on until no frame is under way, so that each is accounted for.
pub fn advance(emulation: &mut Emulation, budget: u64) -> Progress {
    let mut left = budget;
    loop {
        let due = emulation.fabric.next_event();
        if due > emulation.sample_grid.next {
            let progress = emulation.sample(emulation.sample_grid.next, Time::ZERO);
            if progress != Progress::Running {
                return progress;
            }
            emulation.sample_grid.follow(due);
        }
        // What a timeline still has in store is no reason to let time run on: another workload may follow.
        if emulation.fabric.is_quiet() && emulation.is_complete() {
            return Progress::Complete;
        }
        if due == Time::NEVER {
            return Progress::Stalled;
        }
        // What is complete has only frames left that are under way.
        let deadline = if emulation.is_complete() { Time::NEVER } else { emulation.deadline() };
        let cut = emulation.next_cut();
        if due > cut && cut <= deadline {
            emulation.cut_window();
            continue;
        }
        if due > deadline {
            emulation.fabric.advance_to(deadline);
            return Progress::Expired;
        }
        if left == 0 {
            return Progress::Running;
        }
        let change = deadline.min(cut);
        left = left.saturating_sub(emulation.run(emulation.sample_grid.next.min(change), change, left));
    }
}

/// Run at most `budget` events, on several cores about as many, workload or none, until nothing is left to happen by `until`; true when that time has come.
pub fn run_until(emulation: &mut Emulation, until: Time, budget: u64) -> bool {
    let mut left = budget;
    loop {
        let due = emulation.fabric.next_event();
        if due > until {
            emulation.fabric.advance_to(until);
            return true;
        }
        if due > emulation.sample_grid.next {
            // Whether the workload is over matters to nobody here.
            emulation.sample(emulation.sample_grid.next, Time::ZERO);
            emulation.sample_grid.follow(due);
        }
        if left == 0 {
            return false;
        }
        left = left.saturating_sub(emulation.fabric.run(emulation.sample_grid.next.min(until), left));
    }
}
