//! Fast-forward: a run whose state comes again after a period is taken whole periods ahead, until something else is to happen.
//!
//! It looks at the fabric when a connection in the midst of a long message has another acknowledgement, and keeps one of the snapshots
//! as a reference for those that follow. The reference is replaced after one look, two, four and so on (R. P. Brent, 1980), so that a
//! period is found however long it is and whenever it begins. What is skipped is skipped exactly; see `steady`.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Emulation;
use crate::fabric::Anchor;
use crate::steady::{Reason, Snapshot};
use crate::units::Time;

/// Fewer packets than these left of a message are no long message.
const LEAST_ROOM: u64 = 64;
/// Looks at most between two references.
const LONGEST_WINDOW: u64 = 4_096;
/// A value of a snapshot costs about a sixteenth of an event: looks take no more than a tenth of the time with so many values to an event.
const VALUES_PER_EVENT: u64 = 8;
/// Events between two looks for a connection to go by, and at most between two looks at a fabric that is in no steady state.
const EVENTS: u64 = 1 << 14;
const MOST_EVENTS: u64 = 1 << 20;
/// Intervals kept.
const MAX_INTERVALS: usize = 1_000;

/// What was skipped at once.
#[derive(Copy, Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Skipped {
    pub from_ps: u64,
    pub to_ps: u64,
    pub period_ps: u64,
    pub periods: u64,
    pub frame_hops: u64,
}

/// What fast-forward did, as a report has it.
#[derive(Clone, Debug, Default, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct FastReport {
    /// How far figures may be off, as a share of them, and how far they can be.
    pub tolerance: f64,
    pub bound: f64,
    pub skipped_ps: u64,
    pub skipped_frame_hops: u64,
    pub skips: u64,
    /// The first of them.
    pub intervals: Vec<Skipped>,
    /// Nominal time that was run event by event, by why it was; of the last look until now it is not known.
    pub exact_ps: BTreeMap<&'static str, u64>,
}

/// Where fast-forward is.
#[derive(Debug)]
pub struct FastForward {
    report: FastReport,
    anchor: Option<Anchor>,
    /// The next packet of each sender when an anchor was last chosen.
    heads: Vec<u64>,
    /// Look when the anchor has had so many acknowledgements, and so many more at each further look.
    due: u64,
    stride: u64,
    /// Events since the last look, and how many there are to be before the next.
    events: u64,
    wait: u64,
    /// Compared with, so often so far, and so often at most.
    reference: Option<Snapshot>,
    compared: u64,
    window: u64,
    looked: Time,
}

impl FastForward {
    pub fn new(tolerance: f64) -> FastForward {
        FastForward {
            report: FastReport { tolerance, ..FastReport::default() },
            anchor: None,
            heads: Vec::new(),
            due: 0,
            stride: 1,
            events: 0,
            wait: 0,
            reference: None,
            compared: 0,
            window: 1,
            looked: Time::ZERO,
        }
    }

    pub fn report(&self) -> &FastReport {
        &self.report
    }

    /// Count from here on.
    pub fn restart(&mut self, now: Time) {
        *self = FastForward { looked: now, ..FastForward::new(self.report.tolerance) };
    }

    /// Compare with no snapshot of before: another workload comes, or what is held at most is counted anew.
    pub fn forget(&mut self) {
        self.reference = None;
    }

    fn note(&mut self, reason: Reason, now: Time) {
        *self.report.exact_ps.entry(reason.name()).or_default() += now.since(self.looked).ps();
        self.looked = now;
    }
}

impl Emulation {
    /// Run events due by `until`, about `budget` of them at most, and skip what recurs, up to `change` at most. Returns how many
    /// events there were.
    pub fn run(&mut self, until: Time, change: Time, budget: u64) -> u64 {
        let Some(mut fast) = self.fast.take() else { return self.fabric.run(until, budget) };
        let events = self.run_fast(&mut fast, until, change, budget);
        self.fast = Some(fast);
        events
    }

    fn run_fast(&mut self, fast: &mut FastForward, until: Time, change: Time, budget: u64) -> u64 {
        let Some(anchor) = fast.anchor.or_else(|| self.choose_anchor(fast)) else {
            let events = self.fabric.run(until, budget.min(EVENTS));
            fast.note(Reason::Messages, self.fabric.now());
            return events;
        };
        let budget = budget.min(EVENTS.max(fast.wait));
        let events = self.fabric.run_to_acknowledgement(until, budget, anchor, fast.due);
        fast.events += events;
        let acknowledgements = self.fabric.acknowledgements(anchor);
        if acknowledgements < fast.due {
            // It may have come to its end, or stand still.
            if fast.events >= EVENTS.max(fast.wait) {
                (fast.anchor, fast.events) = (None, 0);
            }
            return events;
        }
        fast.due = acknowledgements + fast.stride;
        if fast.events < fast.wait {
            fast.stride *= 2;
        } else {
            self.look(fast, change);
        }
        events
    }

    /// The connection that has most left of a message, of those that have moved since this was last asked.
    fn choose_anchor(&self, fast: &mut FastForward) -> Option<Anchor> {
        let heads: Vec<_> = self.fabric.heads().collect();
        let before = std::mem::replace(&mut fast.heads, heads.iter().map(|(_, head)| head.next).collect());
        let moves = |index: usize| before.get(index) != Some(&heads[index].1.next);
        let long = (0..heads.len()).filter(|index| heads[*index].1.room >= LEAST_ROOM);
        let best = long.max_by_key(|index| (moves(*index), heads[*index].1.room))?;
        let anchor = heads[best].0;
        fast.anchor = Some(anchor);
        fast.due = self.fabric.acknowledgements(anchor) + 1;
        (fast.stride, fast.events) = (1, 0);
        fast.forget();
        Some(anchor)
    }

    /// Look at the fabric, and skip if it is where it was before.
    fn look(&mut self, fast: &mut FastForward, change: Time) {
        let (snapshot, now) = (self.fabric.snapshot(), self.fabric.now());
        let least = snapshot.size() as u64 / VALUES_PER_EVENT;
        fast.events = 0;
        let Some(reference) = &fast.reference else {
            fast.note(snapshot.refused().unwrap_or(Reason::Unsettled), now);
            fast.wait = least;
            (fast.reference, fast.compared, fast.window) = (Some(snapshot), 0, 1);
            return;
        };
        match snapshot.since(reference) {
            Ok(period) => {
                fast.note(Reason::Unsettled, now);
                let periods = self.fabric.periods_before(change, &period);
                let hops = self.fabric.totals().frame_hops;
                if periods > 0 {
                    // The samples that are passed over would have found nothing that waits; the next one is still taken.
                    self.fabric.skip(&period, periods);
                    let (from, to) = (now, self.fabric.now());
                    let frame_hops = self.fabric.totals().frame_hops - hops;
                    let (period_ps, from_ps, to_ps) = (period.length.ps(), from.ps(), to.ps());
                    fast.add(Skipped { from_ps, to_ps, period_ps, periods, frame_hops });
                }
                // What comes next is the end of a message: another one may have more left.
                (fast.anchor, fast.wait) = (None, least);
                fast.forget();
            }
            Err(Reason::Unsettled) => {
                fast.note(Reason::Unsettled, now);
                fast.compared += 1;
                if fast.compared >= fast.window {
                    (fast.reference, fast.compared) = (Some(snapshot), 0);
                    fast.window = (2 * fast.window).min(LONGEST_WINDOW);
                }
            }
            Err(reason) => {
                fast.note(reason, now);
                let lasts = snapshot.refused().is_some();
                fast.wait = if lasts { (2 * fast.wait.max(least)).min(MOST_EVENTS) } else { least };
                (fast.reference, fast.compared, fast.window) = (Some(snapshot), 0, 1);
            }
        }
    }
}

impl FastForward {
    fn add(&mut self, skipped: Skipped) {
        let report = &mut self.report;
        report.skips += 1;
        report.skipped_ps += skipped.to_ps - skipped.from_ps;
        report.skipped_frame_hops += skipped.frame_hops;
        if report.intervals.len() < MAX_INTERVALS {
            report.intervals.push(skipped);
        }
        self.looked = Time::from_ps(skipped.to_ps);
    }
}
