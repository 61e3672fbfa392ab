//! From plan to fabric: nodes with their tables and buffers, directions with their losses, and workloads onto NICs.

pub mod fast_forward;
mod figures;
pub(crate) mod inject;
mod load;
mod nodes;
mod paths;
pub mod pauses;
mod progress;
mod recording;
mod recovery;
pub mod report;
pub mod span;
mod standstill;
mod storms;
pub mod telemetry;
pub mod trace;

use std::collections::HashMap;
use std::sync::Arc;

use crate::codec::Codec;
use crate::deadlock::Detector;
use crate::fabric::impair::parse_changes;
use crate::fabric::{Fabric, Node};
use crate::frame::Station;
use crate::link::{Direction, DirectionConfig};
use crate::nic::memory::Memory;
use crate::nic::rc::qp::rnr_delay;
use crate::plan::workload::{OpKind, OpPlan, QpPlan, Workload};
use crate::plan::{FlowControl, LinkPlan, NodePlan, Plan, PlanError, PortPlan};
use crate::priority::Priority;
use crate::units::{Rate, Time};
use crate::watch::series::SeriesPlan;
use crate::watch::Watch;
use fast_forward::FastForward;
use span::Spans;
use trace::Trace;

use nodes::{defective, node, rate, shortest_detection};
pub use progress::Progress;
use progress::SampleGrid;

/// Where a rank is: its node, and its number among the ranks of that.
#[derive(Copy, Clone, Debug)]
pub struct RankPlace {
    pub node: usize,
    pub slot: usize,
}

/// A queue pair of the loaded workload; lists of two are by end.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct QueuePair {
    pub qpn: u32,
    pub ranks: [usize; 2],
    pub nodes: [usize; 2],
    pub ports: [u16; 2],
    pub entropy: u16,
}

/// A plan, the fabric built from it, and what was loaded onto it.
#[derive(Debug)]
pub struct Emulation {
    pub plan: Plan,
    pub codec: Arc<Codec>,
    pub fabric: Fabric,
    /// The ranks of the loaded workload.
    pub ranks: Vec<RankPlace>,
    /// "node:port" of every port, in the order of the plan.
    pub(crate) port_names: Arc<[String]>,
    /// The queue pairs of the loaded workload that use the network.
    pub qps: Vec<QueuePair>,
    /// Their priorities, by number, where those are not the workload's.
    pub(crate) priorities: HashMap<u32, Priority>,
    /// The NIC of each port of a host.
    pub(crate) nics: HashMap<(usize, u16), Station>,
    pub started: Time,
    /// Workloads loaded so far.
    generation: u64,
    /// Without progress for this long, the workload is stalled.
    pub patience: Time,
    /// So long after its start the workload is given up.
    limit: Time,
    pub(crate) sample_grid: SampleGrid,
    pub deadlocks: Detector,
    pub(crate) spans: Spans,
    /// Skips what recurs, where that is asked for.
    pub fast: Option<FastForward>,
    /// What is to be recorded from the next start of a span on.
    series: Option<SeriesPlan>,
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
        let nics: HashMap<_, _> = plan.nics().into_iter().map(|(place, index)| (place, Station(index))).collect();
        let watched = |(number, plan): (usize, &NodePlan)| {
            let own = (0..plan.ports().len() as u16).filter_map(|port| nics.get(&(number, port)).copied());
            let own: Vec<_> = own.collect();
            let ports = plan.ports().iter().map(|port| Ok((rate(port)?, Time::from_ps(port.response_ps))));
            Ok((
                plan.name().to_owned(),
                node(plan, detection, &own)?,
                Watch::new(ports.collect::<Result<_, PlanError>>()?),
            ))
        };
        let mut nodes = plan.nodes.iter().enumerate().map(watched).collect::<Result<Vec<_>, PlanError>>()?;
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
        let sample_grid = SampleGrid::new(plan.links.iter().map(|link| Time::from_ps(link.delay_ps)));
        let port_names = plan.nodes.iter().filter(|node| !node.is_elsewhere()).flat_map(names).collect();
        let (ranks, qps, started, patience) = (Vec::new(), Vec::new(), Time::ZERO, Time::ZERO);
        let mut fabric = Fabric::new(nodes, directions);
        let elsewhere = plan.nodes.iter().zip(0..).filter(|(node, _)| node.is_elsewhere());
        fabric.elsewhere = elsewhere.map(|(_, number)| number).collect();
        for (number, wrong) in plan.nodes.iter().map(defective).enumerate() {
            wrong.into_iter().for_each(|wrong| fabric.set_defective(number, wrong));
        }
        fabric.record_pauses(true);
        let mut emulation = Emulation {
            plan,
            codec,
            fabric,
            ranks,
            port_names,
            qps,
            priorities: HashMap::new(),
            nics,
            started,
            generation: 0,
            patience,
            limit: Time::NEVER,
            sample_grid,
            deadlocks: Detector::default(),
            spans: Spans::default(),
            fast: None,
            series: None,
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
        self.install(Workload::parse(json, &self.plan)?)
    }

    /// Do as `load` with a workload that was read for this plan.
    pub fn install(&mut self, workload: Workload) -> Result<(), PlanError> {
        self.install_with(workload, None)
    }

    fn install_with(&mut self, workload: Workload, trace: Option<&Trace>) -> Result<(), PlanError> {
        self.note_connections();
        self.note_paths();
        self.fabric.sample_past();
        // First, so that two workloads never have their memory at once.
        self.unload();
        let (places, mut loads) = self.loads(&workload)?;
        if let Some(trace) = trace {
            Emulation::follow(&workload, trace, &places, &mut loads)?;
        }
        self.generation += 1;
        let mut counts = vec![(0, 0); self.plan.nodes.len()];
        for (node, load) in loads {
            counts[node] = (load.qps.len(), load.ranks.len());
            if let Some(host) = self.fabric.host_mut(node) {
                host.load(load);
            }
        }
        let nodes = |qp: &QpPlan| [0, 1].map(|end| places[qp.rank(end)].node);
        let ends = workload.qps.iter().map(|qp| (qp.qpn, nodes(qp).map(|node| node as u32)));
        let ends: HashMap<_, _> = ends.collect();
        self.fast.iter_mut().for_each(FastForward::forget);
        self.fabric.watch_workload(ends, &counts, first_psn(self.generation), trace.is_some());
        let pair = |qp: &QpPlan| QueuePair {
            qpn: qp.qpn,
            ranks: [qp.a, qp.b],
            nodes: nodes(qp),
            ports: qp.ports,
            entropy: qp.entropy,
        };
        self.qps = workload.qps.iter().filter(|qp| !qp.local).map(pair).collect();
        self.priorities = workload.qps.iter().filter_map(|qp| Some((qp.qpn, qp.priority?))).collect();
        self.ranks = places;
        self.started = self.fabric.now();
        let calcs = trace.iter().flat_map(|trace| trace.spool.ranks()).map(|rank| Time::from_ps(rank.calcs_ps));
        self.patience = patience(&workload, &self.plan) + calcs.max().unwrap_or(Time::ZERO);
        self.limit = workload.limit_ps.map_or(Time::NEVER, Time::from_ps);
        Ok(())
    }

    fn unload(&mut self) {
        for node in 0..self.plan.nodes.len() {
            if let Some(host) = self.fabric.host_mut(node) {
                host.unload();
            }
        }
        self.ranks.clear();
        self.qps.clear();
    }

    /// Have the connections of the next workload begin to count where those of the n-th do: all agents of a lab must.
    pub fn count_from(&mut self, generation: u64) {
        self.generation = generation;
    }

    /// When a rank finished, if it has.
    pub(crate) fn finished(&self, rank: RankPlace) -> Option<Time> {
        self.fabric.watch(rank.node).finished.get(rank.slot).copied().flatten()
    }

    /// The calcs of a rank that have ended, by op, and when.
    pub(crate) fn calcs(&self, rank: RankPlace) -> &[(usize, Time)] {
        self.fabric.node(rank.node).host().map_or(&[], |host| host.calcs(rank.slot))
    }

    /// When the last rank finished, if all have.
    pub fn finish(&self) -> Option<Time> {
        let finished = self.ranks.iter().map(|rank| self.finished(*rank));
        finished.collect::<Option<Vec<_>>>().map(|times| times.into_iter().max().unwrap_or(self.started))
    }

    /// Change links: now, or so long after the next start.
    pub fn impair(&mut self, json: &str) -> Result<(), PlanError> {
        let changes = parse_changes(json, self.plan.links.len())?;
        for route in changes.iter().flat_map(|change| &change.routes) {
            self.plan.check_route(route.node, route.station, &route.ports)?;
        }
        self.fabric.impair(changes);
        Ok(())
    }

    /// Start the loaded schedules now.
    pub fn start(&mut self) {
        self.started = self.fabric.now();
        self.sample_grid.start(self.started);
        self.spans.start(self.started);
        self.fabric.sample_past();
        self.begin_recording();
        self.fabric.start();
    }

    pub fn memory(&self, rank: usize) -> Option<&Memory> {
        let RankPlace { node, slot } = *self.ranks.get(rank)?;
        self.fabric.node(node).host()?.memory(slot)
    }

    pub fn memory_mut(&mut self, rank: usize) -> Option<&mut Memory> {
        let RankPlace { node, slot } = *self.ranks.get(rank)?;
        self.fabric.host_mut(node)?.memory_mut(slot)
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

/// Every retry used up, twice over, and all calcs and copies of a rank, which may come one after the other; where receives must be
/// posted, every retry for want of one too.
fn patience(workload: &Workload, plan: &Plan) -> Time {
    let transport = &workload.transport;
    let copy_ps = |node: usize, bytes: u64| {
        let NodePlan::Host(host) = &plan.nodes[node] else { return 0 };
        host.local.map_or(0, |local| {
            local.latency_ps + Rate::from_bps(local.rate_bps).map_or(0, |rate| rate.serialisation(bytes).ps())
        })
    };
    let retries = transport.timeout_ps.saturating_mul(2 * (u64::from(transport.retries) + 1));
    let duration = |node: usize, op: &OpPlan| match op.kind {
        OpKind::Calc { duration_ps } => duration_ps,
        OpKind::Send { qp, bytes, .. } if workload.qps[qp].local => copy_ps(node, bytes),
        _ => 0,
    };
    let calcs = workload.ranks.iter().map(|rank| {
        let durations = rank.ops.iter().map(|op| duration(rank.node, op));
        durations.fold(0, u64::saturating_add)
    });
    let waits = transport.rnr.map_or(0, |rnr| 2 * (u64::from(rnr.retries) + 1) * rnr_delay(rnr.timer).ps());
    Time::from_ps(retries.saturating_add(waits).saturating_add(calcs.max().unwrap_or(0)))
}
