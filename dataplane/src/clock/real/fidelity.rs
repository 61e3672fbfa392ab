//! How faithful a run under the real clock has been, in figures.

use std::collections::BTreeMap;
use std::time::Instant;

use super::rest::names;
use super::wiring::Shortfall;
use super::RealClock;
use crate::clock::probe::Probe;
use crate::report::{Fidelity, MeasuredDelay};
use crate::telemetry::Telemetry;

impl RealClock {
    /// Copy what telemetry tells, and say how long that took.
    pub fn telemetry(&mut self) -> Telemetry {
        let began = Instant::now();
        self.catch_up();
        let mut copied = self.emulation.telemetry(self.fidelity());
        copied.stopped_ns = began.elapsed().as_nanos() as u64;
        copied
    }

    /// How faithful the run has been since the workload started. What was lost counts since the plan is the present one, lateness
    /// and what was turned away since the beginning.
    pub fn fidelity(&self) -> Fidelity {
        let lost: Vec<Shortfall> = self.sockets.iter().map(|each| each.shortfall().since(each.before)).collect();
        let delay = |(index, probe): (usize, &Probe)| {
            let delays = probe.delays()?;
            Some(MeasuredDelay { link: index / 2, way: index % 2, count: delays.count, mean_ns: delays.mean().ns() })
        };
        let (held_ns, elapsed_ns) = self.pace.held_of();
        let share = |ns: u64| (ns as f64 / elapsed_ns as f64).min(1.0);
        Fidelity {
            lateness_ns: self.lateness.summary(),
            held_share: share(held_ns),
            cpu_share: share(self.busy_ns),
            delays: self.probes.iter().enumerate().filter_map(delay).collect(),
            socket_drops: lost.iter().map(|lost| lost.overrun).sum(),
            overflow: lost.iter().map(|lost| lost.overflow).sum::<u64>() + self.rx.truncated() - self.truncated_before,
            turned_away: self.by_port(self.sockets.iter().map(|attached| attached.tx.turned_away())),
            refused: self.by_port(lost.iter().map(|lost| lost.refused)),
            lost_in_kernel: self.by_sender(self.transit.lost()),
            kernel_drops: self.by_sender(self.inlets.lost()),
            late_frames: self.late_frames,
        }
    }

    /// A figure of each direction, by the port that sends, where it is not zero.
    fn by_sender(&self, figures: impl Iterator<Item = u64>) -> BTreeMap<String, u64> {
        let named = |(direction, figure): (usize, u64)| {
            let ((node, port), _) = self.emulation.fabric.ends(direction);
            let node = &self.emulation.plan.nodes[node];
            (format!("{}:{}", node.name(), node.ports()[usize::from(port)].name), figure)
        };
        figures.enumerate().filter(|(_, figure)| *figure > 0).map(named).collect()
    }

    /// What was lost before does not count.
    pub(super) fn count_from_here(&mut self) {
        self.truncated_before = self.rx.truncated();
        for attached in &mut self.sockets {
            attached.before = attached.shortfall();
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
