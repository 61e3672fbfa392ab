//! How faithful a run under the real clock has been, in figures.

use std::collections::BTreeMap;
use std::time::Instant;

use super::quiesce::names;
use super::wiring::Shortfall;
use super::RealClock;
use crate::clock::lateness::Histogram;
use crate::clock::probe::{Delays, Probe};
use crate::emulation::report::{Fidelity, MeasuredDelay};
use crate::emulation::span::Statistics;
use crate::emulation::telemetry::Telemetry;

/// What had come to light before the span; counts by direction where they are not of all.
#[derive(Default)]
pub(super) struct BeforeSpan {
    lateness: Histogram,
    truncated: u64,
    late_frames: u64,
    lost_in_kernel: Vec<u64>,
    kernel_drops: Vec<u64>,
}

impl BeforeSpan {
    /// Directions are others from now on, and none has lost anything.
    pub(super) fn forget_directions(&mut self) {
        self.lost_in_kernel.clear();
        self.kernel_drops.clear();
    }
}

/// What has been added to earlier counts.
fn since<'a>(now: impl Iterator<Item = u64> + 'a, before: &'a [u64]) -> impl Iterator<Item = u64> + 'a {
    now.zip(before.iter().copied().chain(std::iter::repeat(0))).map(|(now, before)| now.saturating_sub(before))
}

impl RealClock {
    /// Copy what telemetry tells, and say how long that took.
    pub fn telemetry(&mut self) -> Telemetry {
        let began = Instant::now();
        self.catch_up();
        let mut copied = self.emulation.telemetry(self.fidelity_of_lab());
        copied.stopped_ns = began.elapsed().as_nanos() as u64;
        copied
    }

    /// Count from here on, in reports.
    pub fn begin_span(&mut self, statistics: Option<Statistics>) {
        self.catch_up();
        self.emulation.begin_span(statistics);
        self.before_span.lateness.add(&std::mem::take(&mut self.lateness));
        self.busy_ns = 0;
        self.pace.begin_span();
        self.probes.iter_mut().for_each(Probe::begin_span);
        self.before_span.truncated = self.rx.truncated();
        self.before_span.late_frames = self.late_frames;
        self.before_span.lost_in_kernel = self.transit.lost().collect();
        self.before_span.kernel_drops = self.lost_at_entry().collect();
        for attached in &mut self.sockets {
            attached.at_span = attached.shortfall();
        }
    }

    /// How faithful the workloads of the span have been.
    pub fn fidelity(&self) -> Fidelity {
        let lost = self.sockets.iter().map(|each| each.shortfall().since(each.at_span)).collect();
        let delays = self.probes.iter().map(Probe::delays_of_span).collect();
        let before = &self.before_span;
        let all = self.figures(&self.lateness, lost, before.truncated, delays);
        Fidelity {
            lost_in_kernel: self.by_sender(since(self.transit.lost(), &before.lost_in_kernel)),
            kernel_drops: self.by_sender(since(self.lost_at_entry(), &before.kernel_drops)),
            late_frames: self.late_frames - before.late_frames,
            ..all
        }
    }

    /// The same of the lab: lateness since it was built, losses since its plan is the present one, delays since a link was last
    /// changed. Shares are those of the last span: time in which nothing was asked of the clock would hide them.
    fn fidelity_of_lab(&self) -> Fidelity {
        let mut lateness = self.before_span.lateness.clone();
        lateness.add(&self.lateness);
        let lost = self.sockets.iter().map(|each| each.shortfall().since(each.before)).collect();
        self.figures(&lateness, lost, self.truncated_before, self.probes.iter().map(Probe::delays).collect())
    }

    fn figures(
        &self,
        lateness: &Histogram,
        lost: Vec<Shortfall>,
        truncated_before: u64,
        delays: Vec<Option<Delays>>,
    ) -> Fidelity {
        let delay = |(index, delays): (usize, Option<Delays>)| {
            let delays = delays?;
            Some(MeasuredDelay { link: index / 2, way: index % 2, count: delays.count, mean_ns: delays.mean().ns() })
        };
        let (held_ns, elapsed_ns) = self.pace.held_of();
        let share = |ns: u64| (ns as f64 / elapsed_ns as f64).min(1.0);
        Fidelity {
            lateness_ns: lateness.summary(),
            held_share: share(held_ns),
            cpu_share: share(self.busy_ns),
            delays: delays.into_iter().enumerate().filter_map(delay).collect(),
            socket_drops: lost.iter().map(|lost| lost.overrun).sum(),
            overflow: lost.iter().map(|lost| lost.overflow).sum::<u64>() + self.rx.truncated() - truncated_before,
            turned_away: self.by_port(lost.iter().map(|lost| lost.turned_away)),
            refused: self.by_port(lost.iter().map(|lost| lost.refused)),
            lost_in_kernel: self.by_sender(self.transit.lost()),
            kernel_drops: self.by_sender(self.lost_at_entry()),
            kernel_gates: self.named(self.edges.slowest_ns()),
            late_frames: self.late_frames,
        }
    }

    /// By direction, how many frames of hosts' kernels found no room.
    fn lost_at_entry(&self) -> impl Iterator<Item = u64> + '_ {
        self.inlets.lost().zip(self.edges.lost()).map(|(inlet, edge)| inlet + edge)
    }

    /// A figure of each direction, by the port that sends, where it is not zero.
    fn by_sender(&self, figures: impl Iterator<Item = u64>) -> BTreeMap<String, u64> {
        self.named(figures.map(|figure| (figure > 0).then_some(figure)))
    }

    /// A figure of each direction, by the port that sends, where there is one.
    fn named(&self, figures: impl Iterator<Item = Option<u64>>) -> BTreeMap<String, u64> {
        let named = |(direction, figure): (usize, Option<u64>)| {
            let ((node, port), _) = self.emulation.fabric.ends(direction);
            let node = &self.emulation.plan.nodes[node];
            Some((format!("{}:{}", node.name(), node.ports()[usize::from(port)].name), figure?))
        };
        figures.enumerate().filter_map(named).collect()
    }

    /// What was lost before does not count.
    pub(super) fn count_from_here(&mut self) {
        self.truncated_before = self.rx.truncated();
        self.before_span.truncated = self.truncated_before;
        for attached in &mut self.sockets {
            attached.before = attached.shortfall();
            attached.at_span = attached.before;
        }
    }

    /// A figure of each socket, by port, where it is not zero.
    fn by_port(&self, figures: impl Iterator<Item = u64>) -> BTreeMap<String, u64> {
        let nodes = &self.emulation.plan.nodes;
        let named = self.sockets.iter().zip(figures).filter(|(_, count)| *count > 0).map(|(attached, count)| {
            let (node, port) = names(nodes, attached);
            (format!("{node}:{port}"), count)
        });
        named.collect()
    }
}
