//! Spans: from when on what is reported counts. A fabric can stand for long and see many runs, and each of them is told its own counts
//! and marks; those of the fabric as a whole are kept beside.
//!
//! Counts are differences from a sheet of figures. Marks, the most and the least that something held, are restarted in the nodes at every
//! cut, and what they had come to is noted by each span that goes on.

use std::collections::VecDeque;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::emulation::fast_forward::FastForward;
use crate::emulation::figures::{Drops, Ports, Sheet};
use crate::emulation::paths::Paths;
use crate::emulation::recovery::Connection;
use crate::emulation::Emulation;
use crate::plan::PlanError;
use crate::switch::buffer::Watermarks;
use crate::units::Time;

/// Windows kept; of more the latest.
const MAX_WINDOWS: usize = 1_000;
/// One microsecond.
const SMALLEST_WINDOW_PS: u64 = 1_000_000;

/// Which part of a run is reported by itself: its settled state, from `warmup_ps` after the start of its first workload on, and windows of that.
#[derive(Copy, Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Statistics {
    warmup_ps: u64,
    window_ps: Option<u64>,
}

impl Statistics {
    /// Read what is to be reported by itself, if anything.
    pub fn parse(json: &str) -> Result<Option<Statistics>, PlanError> {
        let requested: Option<Statistics> = serde_json::from_str(json)?;
        match requested.and_then(|of| of.window_ps) {
            Some(window) if window < SMALLEST_WINDOW_PS => Err(PlanError::Invalid(format!(
                "window_ps {window}: a window has {SMALLEST_WINDOW_PS} ps at least, since each costs a look at every port"
            ))),
            _ => Ok(requested),
        }
    }
}

/// The settled state as a report has it, as a whole and by window.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SettledState<'a> {
    #[serde(flatten)]
    whole: StatePart<'a>,
    window_ns: Option<u64>,
    windows: Vec<StatePart<'a>>,
    windows_omitted: u64,
}

/// Figures from one instant to another, both since the start of the first workload.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct StatePart<'a> {
    from_ns: u64,
    to_ns: u64,
    ports: Ports,
    pools: BTreeMap<&'a str, Watermarks>,
    drops: Drops,
}

/// From one cut to another.
#[derive(Debug)]
struct Window {
    from: Time,
    figures: Sheet,
}

/// The settled state of a run.
#[derive(Debug)]
struct Settled {
    statistics: Statistics,
    /// When its first workload started.
    origin: Option<Time>,
    /// The next cut.
    next: Time,
    /// Where the settled state begins, and the window that is open.
    began: Option<Sheet>,
    open: Option<Sheet>,
    windows: VecDeque<Window>,
    omitted: u64,
}

/// The spans of a fabric that are open.
#[derive(Debug, Default)]
pub struct Spans {
    lab: Sheet,
    run: Sheet,
    /// Packets and frames of kernels that were under way when the run's span began.
    pub(crate) under_way: [u64; 2],
    /// What connections of workloads before the present one did.
    pub(crate) connections: Vec<Connection>,
    /// The ways of what workloads before the present one sent, if anything stood still.
    pub(crate) paths: Paths,
    settled: Option<Settled>,
}

impl Spans {
    /// Begin with a fabric as it was made.
    pub(crate) fn new(made: Sheet) -> Spans {
        let made = made.beginning();
        Spans {
            lab: made.clone(),
            run: made,
            under_way: [0; 2],
            connections: Vec::new(),
            paths: Paths::default(),
            settled: None,
        }
    }

    /// When the span of the run began, and what had been counted then.
    pub(crate) fn run(&self) -> &Sheet {
        &self.run
    }

    fn absorb(&mut self, seen: &Sheet) {
        let settled = self.settled.iter_mut().flat_map(|settled| [&mut settled.began, &mut settled.open]).flatten();
        settled.chain([&mut self.lab, &mut self.run]).for_each(|span| span.absorb(seen));
    }

    /// A workload starts: the first one of a span is what its times count from.
    pub(crate) fn start(&mut self, now: Time) {
        let Some(settled) = self.settled.as_mut().filter(|settled| settled.origin.is_none()) else { return };
        settled.origin = Some(now);
        settled.next = now + Time::from_ps(settled.statistics.warmup_ps);
    }

    /// When the figures are to be cut next; `Time::NEVER` where nothing is reported by itself.
    #[inline]
    pub(crate) fn next_cut(&self) -> Time {
        self.settled.as_ref().map_or(Time::NEVER, |settled| settled.next)
    }
}

impl Settled {
    fn new(statistics: Statistics) -> Settled {
        let (began, open, windows) = (None, None, VecDeque::new());
        Settled { statistics, origin: None, next: Time::NEVER, began, open, windows, omitted: 0 }
    }

    /// Take the sheet of a cut, whose marks the open spans have noted.
    fn cut(&mut self, sheet: &Sheet) {
        if let Some(open) = self.open.take() {
            self.windows.push_back(Window { from: open.at, figures: sheet.since(&open) });
            if self.windows.len() > MAX_WINDOWS {
                self.windows.pop_front();
                self.omitted += 1;
            }
        }
        let beginning = sheet.clone().beginning();
        self.began.get_or_insert_with(|| beginning.clone());
        self.next = self.statistics.window_ps.map_or(Time::NEVER, |window| sheet.at + Time::from_ps(window));
        self.open = self.statistics.window_ps.map(|_| beginning);
    }
}

impl Emulation {
    /// Begin a span: reports leave out what earlier workloads counted and the faults that were found in them.
    pub fn begin_span(&mut self, statistics: Option<Statistics>) {
        let sheet = self.cut(self.fabric.now());
        self.spans.run = sheet.beginning();
        self.spans.under_way = [true, false].map(|packets| self.fabric.in_flight(packets));
        self.spans.connections.clear();
        self.spans.paths = Paths::default();
        self.qps.clear();
        self.spans.settled = statistics.map(Settled::new);
        if let Some(fast) = &mut self.fast {
            fast.restart(self.fabric.now());
        }
        self.fabric.forget_findings();
        self.fabric.restart_pauses();
        self.fabric.discard_recording();
    }

    /// Tell no more windows apart, and record no more.
    pub fn end_span(&mut self) {
        self.discard_series();
        if let Some(settled) = &mut self.spans.settled {
            settled.next = Time::NEVER;
        }
    }

    /// Restart the marks of all nodes and return what they and the counts had come to.
    fn cut(&mut self, at: Time) -> Sheet {
        let sheet = self.sheet(at);
        self.spans.absorb(&sheet);
        self.fabric.restart_marks();
        // A period is to have been seen whole since then.
        self.fast.iter_mut().for_each(FastForward::forget);
        sheet
    }

    /// When `cut_window` is to be called next: when all that is due until then has taken place, and nothing later.
    #[inline]
    pub fn next_cut(&self) -> Time {
        self.spans.next_cut()
    }

    /// End a window of the settled state, or its warm-up, and begin the next window.
    pub fn cut_window(&mut self) {
        let mut settled = self.spans.settled.take();
        if let Some(settled) = &mut settled {
            let sheet = self.cut(settled.next);
            for span in [&mut settled.began, &mut settled.open].into_iter().flatten() {
                span.absorb(&sheet);
            }
            settled.cut(&sheet);
        }
        self.spans.settled = settled;
    }

    /// Whether the fate of every packet of the span is known; what had been lost track of before is no matter of it.
    pub fn is_accounted(&self) -> bool {
        let (now, before) = (self.fabric.totals().packets, self.spans.run.totals.packets);
        let missing = (before.sent - before.accounted()).saturating_sub(self.spans.under_way[0]);
        now.sent - now.accounted() <= missing
    }

    /// The figures of the run's span so far, and of the fabric since it was made.
    pub(crate) fn of_run(&self) -> Sheet {
        self.sheet(self.fabric.now()).since(&self.spans.run).without_least()
    }

    pub(crate) fn of_lab(&self) -> Sheet {
        self.sheet(self.fabric.now()).since(&self.spans.lab).without_least()
    }

    /// The settled state of the run so far; null where it has not begun, or was not asked for.
    pub(crate) fn settled(&self) -> Option<SettledState<'_>> {
        let settled = self.spans.settled.as_ref()?;
        let (origin, began) = (settled.origin?, settled.began.as_ref()?);
        let now = self.sheet(self.fabric.now().max(began.at));
        let part = |from: Time, figures: &Sheet| StatePart {
            from_ns: from.since(origin).ns(),
            to_ns: figures.at.since(origin).ns(),
            ports: self.ports(figures),
            pools: self.pools(figures),
            drops: self.drops(figures),
        };
        let mut windows: Vec<_> = settled.windows.iter().map(|window| part(window.from, &window.figures)).collect();
        // The last one, which nothing has cut.
        windows.extend(settled.open.iter().filter(|open| open.at < now.at).map(|open| part(open.at, &now.since(open))));
        Some(SettledState {
            whole: part(began.at, &now.since(began)),
            window_ns: settled.statistics.window_ps.map(|window| Time::from_ps(window).ns()),
            windows,
            windows_omitted: settled.omitted,
        })
    }
}
