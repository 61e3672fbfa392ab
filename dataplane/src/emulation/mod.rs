//! From plan to fabric: nodes with their tables and buffers, directions with their losses, and workloads onto NICs.

mod figures;
pub(crate) mod inject;
mod load;
mod nodes;
mod progress;
mod recovery;
pub mod report;
pub mod span;
mod standstill;
mod storms;
pub mod telemetry;

use std::collections::HashMap;
use std::sync::Arc;

use crate::codec::Codec;
use crate::deadlock::Detector;
use crate::fabric::impair::parse_changes;
use crate::fabric::{Fabric, Node};
use crate::link::{Direction, DirectionConfig};
use crate::nic::rc::qp::rnr_delay;
use crate::nic::Nic;
use crate::plan::workload::{OpKind, OpPlan, Workload};
use crate::plan::{FlowControl, LinkPlan, NodePlan, Plan, PlanError, PortPlan};
use crate::units::Time;
use crate::watch::Watch;
use span::Spans;

use nodes::{node, rate, shortest_detection};
use progress::Looks;
pub use progress::Progress;

/// A plan, the fabric built from it, and what was loaded onto it.
#[derive(Debug)]
pub struct Emulation {
    pub plan: Plan,
    pub codec: Arc<Codec>,
    pub fabric: Fabric,
    /// Node of each rank of the loaded workload.
    pub ranks: Vec<usize>,
    /// "node:port" of every port, in the order of the plan.
    pub(crate) port_names: Arc<[String]>,
    pub qps: Vec<(u32, usize, usize)>,
    pub started: Time,
    /// Workloads loaded so far.
    generation: u64,
    /// Without progress for this long, the workload is stalled.
    pub patience: Time,
    /// So long after its start the workload is given up.
    limit: Time,
    pub(crate) looks: Looks,
    pub deadlocks: Detector,
    pub(crate) spans: Spans,
}

/// "node:port" of every port of a node.
fn names(node: &NodePlan) -> Vec<String> {
    let name = |port: &PortPlan| format!("{}:{}", node.name(), port.name);
    node.ports().iter().map(name).collect()
}

impl Emulation {
    /// Build the fabric of a plan.
    pub fn new(json: &str) -> Result<Emulation, PlanError> {
        let plan = Plan::parse(json)?;
        let codec = Arc::new(Codec::new(&plan)?);
        let detection = shortest_detection(&plan);
        let watched = |plan: &NodePlan| {
            let ports = plan.ports().iter().map(|port| Ok((rate(port)?, Time::from_ps(port.response_ps))));
            Ok((plan.name().to_owned(), node(plan, detection)?, Watch::new(ports.collect::<Result<_, PlanError>>()?)))
        };
        let mut nodes = plan.nodes.iter().map(watched).collect::<Result<Vec<_>, PlanError>>()?;
        let mut directions = Vec::new();
        for (index, link) in plan.links.iter().enumerate() {
            for (way, (from, to)) in [(link.a, link.b), (link.b, link.a)].into_iter().enumerate() {
                let config = DirectionConfig {
                    delay: Time::from_ps(link.delay_ps),
                    loss: link.loss[way],
                    process: link.loss_process[way].clone(),
                    up: link.carrier,
                    seed: [plan.seed, (2 * index + way) as u64],
                };
                directions.push((from, to, Direction::new(&config)));
            }
        }
        plan.links.iter().for_each(|link| set_flow_control(link, &mut nodes));
        let looks = Looks::new(plan.links.iter().map(|link| Time::from_ps(link.delay_ps)));
        let port_names = plan.nodes.iter().filter(|node| !node.is_elsewhere()).flat_map(names).collect();
        let (ranks, qps, started, patience) = (Vec::new(), Vec::new(), Time::ZERO, Time::ZERO);
        let mut fabric = Fabric::new(nodes, directions);
        let elsewhere = plan.nodes.iter().zip(0..).filter(|(node, _)| node.is_elsewhere());
        fabric.elsewhere = elsewhere.map(|(_, number)| number).collect();
        let mut emulation = Emulation {
            plan,
            codec,
            fabric,
            ranks,
            port_names,
            qps,
            started,
            generation: 0,
            patience,
            limit: Time::NEVER,
            looks,
            deadlocks: Detector::default(),
            spans: Spans::default(),
        };
        emulation.spans = Spans::new(emulation.sheet(Time::ZERO));
        Ok(emulation)
    }

    /// "node:port" of the ports of each node, those of other agents too.
    pub fn names_of_ports(&self) -> Vec<Vec<String>> {
        self.plan.nodes.iter().map(names).collect()
    }

    /// Install a workload on the NICs of its ranks, in place of the last one. Nothing moves before `start`.
    ///
    /// A workload with a fault leaves the last one in place; where there is no memory for it, none is loaded.
    pub fn load(&mut self, json: &str) -> Result<(), PlanError> {
        let workload = Workload::parse(json, &self.plan)?;
        let mut connections = vec![0; self.plan.nodes.len()];
        self.note_connections();
        // First, so that two workloads never have their memory at once.
        self.unload();
        let ranks = workload.ranks.iter().enumerate();
        let loaded = ranks.map(|(index, rank)| self.rank(&workload, index, rank)).collect::<Result<Vec<_>, _>>()?;
        self.generation += 1;
        for (rank, loaded) in workload.ranks.iter().zip(loaded) {
            connections[rank.node] = loaded.qps.len();
            if let Some(nic) = self.fabric.nic_mut(rank.node) {
                nic.load(loaded);
            }
        }
        let node = |rank: usize| workload.ranks[rank].node;
        let ends = workload.qps.iter().map(|qp| (qp.qpn, (node(qp.a) as u32, node(qp.b) as u32)));
        let ends: HashMap<_, _> = ends.collect();
        self.fabric.watch_workload(ends, &connections, first_psn(self.generation));
        self.ranks = workload.ranks.iter().map(|rank| rank.node).collect();
        self.qps = workload.qps.iter().map(|qp| (qp.qpn, node(qp.a), node(qp.b))).collect();
        self.started = self.fabric.now();
        self.patience = patience(&workload);
        self.limit = workload.limit_ps.map_or(Time::NEVER, Time::from_ps);
        Ok(())
    }

    fn unload(&mut self) {
        for node in 0..self.plan.nodes.len() {
            if let Some(nic) = self.fabric.nic_mut(node) {
                nic.unload();
            }
        }
        self.ranks.clear();
        self.qps.clear();
    }

    /// Have the connections of the next workload begin to count where those of the n-th do: all agents of a lab must.
    pub fn count_from(&mut self, generation: u64) {
        self.generation = generation;
    }

    /// When the last rank finished, if all have.
    pub fn finish(&self) -> Option<Time> {
        let finished = self.ranks.iter().map(|node| self.fabric.watch(*node).finished);
        finished.collect::<Option<Vec<_>>>().map(|times| times.into_iter().max().unwrap_or(self.started))
    }

    /// Change links: now, or so long after the next start.
    pub fn impair(&mut self, json: &str) -> Result<(), PlanError> {
        let changes = parse_changes(json, self.plan.links.len())?;
        self.fabric.impair(changes);
        Ok(())
    }

    /// Start the loaded schedules now.
    pub fn start(&mut self) {
        self.started = self.fabric.now();
        self.looks.start(self.started);
        self.spans.start(self.started);
        self.fabric.start();
    }

    pub fn nic(&self, rank: usize) -> Option<&Nic> {
        self.fabric.node(*self.ranks.get(rank)?).nic()
    }

    pub fn nic_mut(&mut self, rank: usize) -> Option<&mut Nic> {
        self.fabric.nic_mut(*self.ranks.get(rank)?)
    }
}

/// Have the two ends of a link run what the plan says.
fn set_flow_control(link: &LinkPlan, nodes: &mut [(String, Node, Watch)]) {
    let [granted_a, granted_b] = &link.credits;
    for ((place, port), granted, granting) in [(link.a, granted_a, granted_b), (link.b, granted_b, granted_a)] {
        let (_, node, watch) = &mut nodes[place];
        let end = node.port_mut(port);
        end.set_pfc(link.flow_control == FlowControl::Pfc);
        if link.flow_control == FlowControl::Credit {
            end.set_credits(granted, granting);
            watch.grant(port, granted);
        }
    }
}

/// Where connections of the n-th workload (from 1) begin to count: at 0, then far apart, so that a packet left over from an abandoned
/// workload is not taken for one of the next.
fn first_psn(generation: u64) -> u64 {
    const STRIDE: u64 = 5_000_011;
    (generation - 1) * STRIDE % (1 << 23)
}

/// Every retry used up, twice over, and all calcs of a rank, which may come one after the other; where receives must be posted, every retry for want of one too.
fn patience(workload: &Workload) -> Time {
    let transport = &workload.transport;
    let retries = transport.timeout_ps.saturating_mul(2 * (u64::from(transport.retries) + 1));
    let duration = |op: &OpPlan| match op.kind {
        OpKind::Calc { duration_ps } => duration_ps,
        _ => 0,
    };
    let calcs = workload.ranks.iter().map(|rank| rank.ops.iter().map(duration).fold(0, u64::saturating_add));
    let waits = transport.rnr.map_or(0, |rnr| 2 * (u64::from(rnr.retries) + 1) * rnr_delay(rnr.timer).ps());
    Time::from_ps(retries.saturating_add(waits).saturating_add(calcs.max().unwrap_or(0)))
}
