//! How faithful a run under the real clock has been, in figures.

use std::collections::BTreeMap;
use std::time::Instant;

use super::rest::names;
use super::{Attached, RealClock};
use crate::clock::probe::Probe;
use crate::io::TxBatch;
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

    /// How faithful the run has been since the workload started (lateness: since the beginning).
    pub fn fidelity(&self) -> Fidelity {
        let drops = |attached: &Attached| attached.socket.statistics().map_or(0, |statistics| statistics.drops);
        let overflow = |attached: &Attached| attached.tx.overflowed();
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
            socket_drops: self.sockets.iter().map(drops).sum(),
            overflow: self.sockets.iter().map(overflow).sum::<u64>() + self.rx.truncated(),
            turned_away: self.by_port(TxBatch::turned_away),
            refused: self.by_port(TxBatch::refused),
        }
    }

    /// A figure of what is sent, by port, where it is not zero.
    fn by_port(&self, figure: impl Fn(&TxBatch) -> u64) -> BTreeMap<String, u64> {
        let nodes = &self.emulation.plan.nodes;
        let figures = self.sockets.iter().map(|attached| (attached, figure(&attached.tx)));
        let named = figures.filter(|(_, count)| *count > 0).map(|(attached, count)| {
            let (node, port) = names(nodes, attached);
            (format!("{node}:{port}"), count)
        });
        named.collect()
    }
}
