//! From plan to fabric: nodes with their tables and buffers, directions with their losses, and workloads onto NICs.

use std::collections::HashMap;
use std::sync::Arc;

use crate::codec::Codec;
use crate::fabric::{Fabric, Node};
use crate::frame::Station;
use crate::impair::parse_changes;
use crate::link::{Direction, DirectionConfig};
use crate::nic::dcqcn::DcqcnConfig;
use crate::nic::memory::Memory;
use crate::nic::message::Verb;
use crate::nic::qp::Transport;
use crate::nic::schedule::{Op, Schedule};
use crate::nic::{Nic, QpConfig, Rank};
use crate::plan::{
    CongestionPlan, HostPlan, NodePlan, OpKind, Plan, PlanError, PortPlan, RankPlan, SwitchPlan, Workload,
};
use crate::port::PortConfig;
use crate::switch::buffer::{Buffer, BufferConfig};
use crate::switch::ecn::Marker;
use crate::switch::forward::Table;
use crate::switch::group::{GroupConfig, Threshold};
use crate::switch::Switch;
use crate::units::{Rate, Time};
use crate::watch::Watch;

/// How a slice of a run ended.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Progress {
    Running,
    Complete,
    /// Nothing more will happen, or nothing has moved for longer than every retry takes.
    Stalled,
}

/// A plan, the fabric built from it, and what was loaded onto it.
#[derive(Debug)]
pub struct Emulation {
    pub plan: Plan,
    pub codec: Arc<Codec>,
    pub fabric: Fabric,
    /// Node of each rank of the loaded workload.
    pub ranks: Vec<usize>,
    pub qps: Vec<(u32, usize, usize)>,
    pub started: Time,
    /// Workloads loaded so far.
    generation: u64,
    /// Without progress for this long, the workload is stalled.
    pub patience: Time,
}

impl Emulation {
    /// Build the fabric of a plan.
    pub fn new(json: &str) -> Result<Emulation, PlanError> {
        let plan = Plan::parse(json)?;
        let codec = Arc::new(Codec::new(&plan)?);
        let nodes = plan.nodes.iter().map(node).collect::<Result<Vec<_>, _>>()?;
        let mut directions = Vec::new();
        for (index, link) in plan.links.iter().enumerate() {
            for (way, (from, to)) in [(link.a, link.b), (link.b, link.a)].into_iter().enumerate() {
                let config = DirectionConfig {
                    to,
                    medium: link.medium,
                    delay: Time::from_ps(link.delay_ps),
                    loss: link.loss[way],
                    process: link.loss_process[way].clone(),
                    up: link.carrier,
                    seed: [plan.seed, (2 * index + way) as u64],
                };
                directions.push((from, Direction::new(&config)));
            }
        }
        let names = plan.nodes.iter().map(|node| node.name().to_owned()).collect();
        let watched = |node: &NodePlan| {
            node.ports().iter().map(|port| Ok((rate(port)?, Time::from_ps(port.response_ps)))).collect()
        };
        let watched = plan.nodes.iter().map(watched).collect::<Result<Vec<Vec<_>>, PlanError>>()?;
        let fabric = Fabric::new(nodes, directions, Watch::new(names, watched));
        let (ranks, qps) = (Vec::new(), Vec::new());
        Ok(Emulation { plan, codec, fabric, ranks, qps, started: Time::ZERO, generation: 0, patience: Time::ZERO })
    }

    /// Install a workload on the NICs of its ranks, in place of the last one. Nothing moves before `start`.
    pub fn load(&mut self, json: &str) -> Result<(), PlanError> {
        let workload = Workload::parse(json, &self.plan)?;
        let mut connections = vec![0; self.plan.nodes.len()];
        // All or nothing: a rank that cannot be had leaves the last workload in place.
        let ranks = workload.ranks.iter().enumerate();
        let loaded = ranks.map(|(index, rank)| self.rank(&workload, index, rank)).collect::<Result<Vec<_>, _>>()?;
        self.generation += 1;
        for node in &mut self.fabric.nodes {
            if let Node::Host(nic) = node {
                nic.unload();
            }
        }
        for (rank, loaded) in workload.ranks.iter().zip(loaded) {
            connections[rank.node] = loaded.qps.len();
            if let Node::Host(nic) = &mut self.fabric.nodes[rank.node] {
                nic.load(loaded);
            }
        }
        let node = |rank: usize| workload.ranks[rank].node;
        let ends = workload.qps.iter().map(|qp| (qp.qpn, (node(qp.a) as u32, node(qp.b) as u32)));
        let ends: HashMap<_, _> = ends.collect();
        self.fabric.watch.load(ends, &connections, first_psn(self.generation), self.fabric.now());
        self.ranks = workload.ranks.iter().map(|rank| rank.node).collect();
        self.qps = workload.qps.iter().map(|qp| (qp.qpn, node(qp.a), node(qp.b))).collect();
        self.started = self.fabric.now();
        self.patience = patience(&workload);
        Ok(())
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
        self.fabric.watch.last_progress = self.started;
        self.fabric.start();
    }

    pub fn is_complete(&self) -> bool {
        // Hosts without a rank have nothing to do and finish too, so counting is not enough.
        let finished = &self.fabric.watch.finished;
        finished.len() >= self.ranks.len() && self.ranks.iter().all(|node| finished.contains_key(&(*node as u32)))
    }

    /// Nothing of the workload has moved for longer than every retry takes.
    pub fn is_stalled(&self) -> bool {
        !self.is_complete() && self.fabric.now() > self.fabric.watch.last_progress + self.patience
    }

    /// Whether the workload is over: every rank has finished and no frame is under way, or nothing moves any more.
    pub fn progress(&self) -> Progress {
        if self.is_stalled() {
            Progress::Stalled
        } else if self.is_complete() && self.fabric.in_flight(true) == 0 {
            Progress::Complete
        } else {
            Progress::Running
        }
    }

    pub fn nic(&self, rank: usize) -> Option<&Nic> {
        match self.fabric.nodes.get(*self.ranks.get(rank)?)? {
            Node::Host(nic) => Some(nic),
            Node::Switch(_) => None,
        }
    }

    pub fn nic_mut(&mut self, rank: usize) -> Option<&mut Nic> {
        match self.fabric.nodes.get_mut(*self.ranks.get(rank)?)? {
            Node::Host(nic) => Some(nic),
            Node::Switch(_) => None,
        }
    }

    fn rank(&self, workload: &Workload, index: usize, rank: &RankPlan) -> Result<Rank, PlanError> {
        let mut local = HashMap::new();
        let mut qps = Vec::new();
        for (number, qp) in workload.qps.iter().enumerate().filter(|(_, qp)| qp.a == index || qp.b == index) {
            let peer = workload.ranks[if qp.a == index { qp.b } else { qp.a }].node;
            let station = match &self.plan.nodes[peer] {
                NodePlan::Host(host) => Station(host.station),
                NodePlan::Switch(_) => Station::UNKNOWN,
            };
            local.insert(number, qps.len());
            qps.push(QpConfig { qpn: qp.qpn, peer: station, entropy: qp.entropy });
        }
        let ops = rank.ops.iter().map(|planned| (op(&planned.kind, &local), planned.requires.clone()));
        let memory = Memory::new(rank.memory_bytes);
        Ok(Rank {
            transport: transport(workload, self.generation + 1),
            priority: workload.priority,
            dscp: workload.dscp,
            schedule: Schedule::new(ops.collect(), qps.len()),
            qps,
            memory: memory.ok_or_else(|| {
                PlanError::Invalid(format!("rank {index}: no room for memory_bytes {}", rank.memory_bytes))
            })?,
        })
    }
}

fn op(kind: &OpKind, local: &HashMap<usize, usize>) -> Op {
    match *kind {
        OpKind::Send { qp, offset, bytes, remote_offset } => {
            Op::Send { qp: local[&qp], offset, bytes, remote: remote_offset }
        }
        OpKind::Recv { qp, offset, bytes } => Op::Recv { qp: local[&qp], offset, bytes },
        OpKind::Reduce { dtype, redop, dst, lhs, rhs, count } => Op::Reduce { dtype, redop, dst, lhs, rhs, count },
        OpKind::Calc { duration_ps } => Op::Calc { duration: Time::from_ps(duration_ps) },
    }
}

fn transport(workload: &Workload, generation: u64) -> Transport {
    let plan = &workload.transport;
    let verb: Verb = plan.verb;
    Transport {
        verb,
        recovery: plan.recovery,
        congestion: plan.congestion_control.map(congestion),
        mtu: plan.mtu_bytes,
        ack_every: plan.ack_every,
        window: plan.window_bytes / u64::from(plan.mtu_bytes),
        timeout: Time::from_ps(plan.timeout_ps),
        retries: plan.retries,
        first_psn: first_psn(generation),
    }
}

fn congestion(plan: CongestionPlan) -> DcqcnConfig {
    let CongestionPlan::Dcqcn {
        g,
        initial_alpha,
        alpha_timer_ps,
        increase_timer_ps,
        byte_counter_bytes,
        fast_recovery_rounds,
        additive_bps,
        hyper_bps,
        minimum_bps,
        cut_interval_ps,
        notify_interval_ps,
        notify_dscp,
    } = plan;
    DcqcnConfig {
        g,
        initial_alpha,
        alpha_timer: Time::from_ps(alpha_timer_ps),
        increase_timer: Time::from_ps(increase_timer_ps),
        byte_counter: byte_counter_bytes,
        fast_recovery_rounds,
        additive: additive_bps,
        hyper: hyper_bps,
        minimum: minimum_bps,
        cut_interval: Time::from_ps(cut_interval_ps),
        notify_interval: Time::from_ps(notify_interval_ps),
        notify_dscp,
    }
}

/// Where connections of the n-th workload (from 1) begin to count: at 0, then far apart, so that a packet left over from an abandoned
/// workload is not taken for one of the next.
fn first_psn(generation: u64) -> u64 {
    const STRIDE: u64 = 5_000_011;
    (generation - 1) * STRIDE % (1 << 23)
}

/// Every retry used up, twice over, and the longest calc.
fn patience(workload: &Workload) -> Time {
    let transport = &workload.transport;
    let retries = transport.timeout_ps.saturating_mul(2 * (u64::from(transport.retries) + 1));
    let calcs = workload.ranks.iter().flat_map(|rank| &rank.ops).map(|op| match op.kind {
        OpKind::Calc { duration_ps } => duration_ps,
        _ => 0,
    });
    Time::from_ps(retries.saturating_add(calcs.max().unwrap_or(0)))
}

fn rate(port: &PortPlan) -> Result<Rate, PlanError> {
    Rate::from_bps(port.rate_bps).ok_or_else(|| PlanError::Invalid(format!("port {}: rate 0", port.name)))
}

fn port(plan: &PortPlan) -> Result<PortConfig, PlanError> {
    Ok(PortConfig { rate: rate(plan)?, response: Time::from_ps(plan.response_ps), weights: plan.weights })
}

fn node(plan: &NodePlan) -> Result<Node, PlanError> {
    match plan {
        NodePlan::Host(host) => host_node(host),
        NodePlan::Switch(switch) => switch_node(switch),
    }
}

fn host_node(plan: &HostPlan) -> Result<Node, PlanError> {
    let only = plan.ports.first().ok_or_else(|| PlanError::Invalid(format!("{}: a host has one port", plan.name)))?;
    Ok(Node::Host(Box::new(Nic::new(Station(plan.station), port(only)?))))
}

fn switch_node(plan: &SwitchPlan) -> Result<Node, PlanError> {
    let ports = plan.ports.iter().map(port).collect::<Result<Vec<_>, _>>()?;
    let config = BufferConfig {
        total_bytes: plan.buffer_bytes,
        lossy_queue_bytes: plan.lossy_queue_bytes,
        cell_bytes: plan.cell_bytes,
        pool_bytes: plan.pool_bytes,
        headroom_pool_bytes: plan.headroom_pool_bytes,
    };
    let mut buffer = Buffer::new(ports.len(), config);
    // Without PFC nobody heeds a threshold: the priorities are tail-drop queues like the others.
    for group in plan.priority_groups.iter().filter(|_| plan.pfc) {
        let threshold = match group.alpha_log2 {
            None => Threshold::Static { xoff_bytes: group.xoff_bytes, xon_bytes: group.xon_bytes },
            Some(alpha_log2) => Threshold::Dynamic {
                reserve_bytes: group.reserve_bytes,
                alpha_log2,
                xon_offset_bytes: group.xon_offset_bytes,
            },
        };
        let config = GroupConfig { threshold, headroom_bytes: group.headroom_bytes };
        buffer.add_group(group.port, group.priority, config);
    }
    let table = Table::new(&plan.routes, plan.hash_seed);
    let marker = plan.ecn.map(|config| Marker::new(config, plan.hash_seed));
    let lossless = plan.lossless.iter().fold(0, |bits, priority| bits | 1u8 << (priority & 7));
    let dscp_to_priority = <[u8; 64]>::try_from(plan.dscp_to_priority.as_slice())
        .map_err(|_| PlanError::Invalid(format!("{}: dscp_to_priority must be 64 priorities", plan.name)))?;
    Ok(Node::Switch(Box::new(
        Switch::new(ports, buffer, table, plan.pfc, dscp_to_priority).with_marking(marker, lossless),
    )))
}
