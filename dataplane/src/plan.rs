//! The compiled plan and workload, read from JSON; every index is checked here, so that the state machines need not.

use serde::Deserialize;

use crate::loss::ProcessPlan;
use crate::nic::memory::{Dtype, Redop};
use crate::nic::message::Verb;
use crate::nic::qp::Recovery;
use crate::switch::ecn::EcnConfig;

/// Why a plan or workload cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    #[error("not the JSON of a plan: {0}")]
    Json(#[from] serde_json::Error),
    #[error("{0}")]
    Invalid(String),
}

#[derive(Debug, Deserialize)]
pub struct Plan {
    pub schema: u32,
    pub lab: String,
    pub seed: u64,
    pub stations: Vec<StationPlan>,
    pub nodes: Vec<NodePlan>,
    pub links: Vec<LinkPlan>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StationKind {
    Nic,
    Kernel,
}

#[derive(Clone, Debug, Deserialize)]
pub struct StationPlan {
    pub name: String,
    pub kind: StationKind,
    pub mac: String,
    pub ip: std::net::Ipv4Addr,
    pub node: usize,
    pub port: u16,
}

#[derive(Clone, Debug, Deserialize)]
pub struct PortPlan {
    pub name: String,
    pub mac: String,
    pub rate_bps: u64,
    pub response_ps: u64,
    pub weights: [u32; 8],
}

#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum NodePlan {
    Host(HostPlan),
    Switch(SwitchPlan),
}

#[derive(Debug, Deserialize)]
pub struct HostPlan {
    pub name: String,
    pub ports: Vec<PortPlan>,
    pub station: u32,
}

#[derive(Debug, Deserialize)]
pub struct SwitchPlan {
    pub name: String,
    pub ports: Vec<PortPlan>,
    pub pfc: bool,
    pub lossless: Vec<u8>,
    pub buffer_bytes: u64,
    pub lossy_queue_bytes: u64,
    /// Frames take whole cells of the buffer.
    #[serde(default = "one")]
    pub cell_bytes: u64,
    /// What groups with a dynamic threshold share, and what all of them may hold as headroom (0: each its own).
    #[serde(default)]
    pub pool_bytes: u64,
    #[serde(default)]
    pub headroom_pool_bytes: u64,
    /// Marking in the egress queues of the lossless priorities.
    #[serde(default)]
    pub ecn: Option<EcnConfig>,
    pub hash_seed: u64,
    pub dscp_to_priority: Vec<u8>,
    pub priority_groups: Vec<PriorityGroupPlan>,
    pub routes: Vec<Vec<u16>>,
}

#[derive(Debug, Deserialize)]
pub struct PriorityGroupPlan {
    pub port: u16,
    pub priority: u8,
    /// The static threshold; without meaning where `alpha_log2` makes it dynamic.
    #[serde(default)]
    pub xoff_bytes: u64,
    #[serde(default)]
    pub xon_bytes: u64,
    pub headroom_bytes: u64,
    #[serde(default)]
    pub alpha_log2: Option<i8>,
    #[serde(default)]
    pub reserve_bytes: u64,
    #[serde(default)]
    pub xon_offset_bytes: u64,
}

fn one() -> u64 {
    1
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Medium {
    Veth,
    Memory,
}

#[derive(Debug, Deserialize)]
pub struct LinkPlan {
    pub a: (usize, u16),
    pub b: (usize, u16),
    pub delay_ps: u64,
    pub loss: [f64; 2],
    #[serde(default)]
    pub loss_process: [Option<ProcessPlan>; 2],
    #[serde(default = "yes")]
    pub carrier: bool,
    pub medium: Medium,
}

fn yes() -> bool {
    true
}

#[derive(Debug, Deserialize)]
pub struct Workload {
    pub schema: u32,
    pub priority: u8,
    pub dscp: u8,
    pub transport: TransportPlan,
    pub qps: Vec<QpPlan>,
    pub ranks: Vec<RankPlan>,
}

#[derive(Debug, Deserialize)]
pub struct TransportPlan {
    pub recovery: Recovery,
    pub verb: Verb,
    pub mtu_bytes: u32,
    pub ack_every: u64,
    pub window_bytes: u64,
    pub timeout_ps: u64,
    pub retries: u32,
    #[serde(default)]
    pub congestion_control: Option<CongestionPlan>,
}

/// Congestion control as the plan states it; rates in bit/s.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum CongestionPlan {
    Dcqcn {
        g: f64,
        initial_alpha: f64,
        alpha_timer_ps: u64,
        increase_timer_ps: u64,
        byte_counter_bytes: u64,
        fast_recovery_rounds: u32,
        additive_bps: u64,
        hyper_bps: u64,
        minimum_bps: u64,
        cut_interval_ps: u64,
        notify_interval_ps: u64,
        notify_dscp: u8,
    },
}

impl CongestionPlan {
    fn fault(&self) -> Option<&'static str> {
        let CongestionPlan::Dcqcn {
            g,
            initial_alpha,
            alpha_timer_ps,
            increase_timer_ps,
            byte_counter_bytes,
            minimum_bps,
            notify_dscp,
            ..
        } = *self;
        let shares = (0.0..=1.0).contains(&g) && (0.0..=1.0).contains(&initial_alpha);
        let positive = alpha_timer_ps > 0 && increase_timer_ps > 0 && byte_counter_bytes > 0 && minimum_bps > 0;
        match (shares, positive, notify_dscp < 64) {
            (false, ..) => Some("g and alpha are shares"),
            (_, false, _) => Some("timers, byte counter and minimum rate must be positive"),
            (.., false) => Some("a DSCP is below 64"),
            _ => None,
        }
    }
}

#[derive(Debug, Deserialize)]
pub struct QpPlan {
    pub a: usize,
    pub b: usize,
    pub qpn: u32,
    pub entropy: u16,
}

#[derive(Debug, Deserialize)]
pub struct RankPlan {
    pub node: usize,
    pub memory_bytes: u64,
    pub ops: Vec<OpPlan>,
}

#[derive(Debug, Deserialize)]
pub struct OpPlan {
    #[serde(default)]
    pub requires: Vec<usize>,
    #[serde(flatten)]
    pub kind: OpKind,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum OpKind {
    Send { qp: usize, offset: u64, bytes: u64, remote_offset: u64 },
    Recv { qp: usize, offset: u64, bytes: u64 },
    Reduce { dtype: Dtype, redop: Redop, dst: u64, lhs: u64, rhs: u64, count: u64 },
    Calc { duration_ps: u64 },
}

const SCHEMA: u32 = 1;
/// A message must fit the RETH's 32-bit length.
const MAX_MESSAGE_BYTES: u64 = u32::MAX as u64;
const MAX_QPN: u32 = 0xff_ffff;
/// Half the PSN space, less one: what keeps 24-bit numbers unambiguous.
const MAX_WINDOW_PACKETS: u64 = (1 << 23) - 1;

impl NodePlan {
    pub fn name(&self) -> &str {
        match self {
            NodePlan::Host(host) => &host.name,
            NodePlan::Switch(switch) => &switch.name,
        }
    }

    pub fn ports(&self) -> &[PortPlan] {
        match self {
            NodePlan::Host(host) => &host.ports,
            NodePlan::Switch(switch) => &switch.ports,
        }
    }
}

fn require(holds: bool, message: impl FnOnce() -> String) -> Result<(), PlanError> {
    if holds {
        Ok(())
    } else {
        Err(PlanError::Invalid(message()))
    }
}

impl Plan {
    /// Read and check a plan.
    pub fn parse(json: &str) -> Result<Plan, PlanError> {
        let plan: Plan = serde_json::from_str(json)?;
        require(plan.schema == SCHEMA, || format!("plan schema {} is not {SCHEMA}", plan.schema))?;
        for node in &plan.nodes {
            plan.check_node(node)?;
        }
        for station in &plan.stations {
            plan.check_endpoint((station.node, station.port), &station.name)?;
        }
        let mut used = std::collections::HashSet::new();
        for (index, link) in plan.links.iter().enumerate() {
            for endpoint in [link.a, link.b] {
                plan.check_endpoint(endpoint, &format!("link {index}"))?;
                require(used.insert(endpoint), || format!("link {index}: port {endpoint:?} is used twice"))?;
            }
            let lossy = link.loss.iter().all(|loss| (0.0..=1.0).contains(loss));
            require(lossy, || format!("link {index}: loss {:?} is no probability", link.loss))?;
            let fault = link.loss_process.iter().flatten().find_map(ProcessPlan::fault);
            require(fault.is_none(), || format!("link {index}: {}", fault.unwrap_or_default()))?;
        }
        Ok(plan)
    }

    fn check_endpoint(&self, (node, port): (usize, u16), what: &str) -> Result<(), PlanError> {
        let known = self.nodes.get(node).is_some_and(|node| usize::from(port) < node.ports().len());
        require(known, || format!("{what}: no port {port} on node {node}"))
    }

    fn check_node(&self, node: &NodePlan) -> Result<(), PlanError> {
        let name = node.name();
        for port in node.ports() {
            require(port.rate_bps > 0, || format!("{name}:{}: rate 0", port.name))?;
        }
        match node {
            NodePlan::Host(host) => {
                require(host.ports.len() == 1, || format!("{name}: a host has one port"))?;
                let station = self.stations.get(host.station as usize);
                let own = station.is_some_and(|station| station.kind == StationKind::Nic);
                require(own, || format!("{name}: station {} is not a NIC", host.station))
            }
            NodePlan::Switch(switch) => self.check_switch(switch),
        }
    }

    fn check_switch(&self, switch: &SwitchPlan) -> Result<(), PlanError> {
        let (name, ports) = (&switch.name, switch.ports.len());
        let table = switch.dscp_to_priority.len() == 64 && switch.dscp_to_priority.iter().all(|p| *p < 8);
        require(table, || format!("{name}: dscp_to_priority must be 64 priorities"))?;
        require(switch.routes.len() == self.stations.len(), || format!("{name}: one route a station"))?;
        let routed = switch.routes.iter().flatten().all(|port| usize::from(*port) < ports);
        require(routed, || format!("{name}: a route leads to a port that is not there"))?;
        require(switch.cell_bytes > 0, || format!("{name}: cells of 0 bytes"))?;
        let pools = switch.pool_bytes.checked_add(switch.headroom_pool_bytes);
        let fit = pools.is_some_and(|pools| pools <= switch.buffer_bytes);
        require(fit, || format!("{name}: the pools exceed the buffer"))?;
        let fault = switch.ecn.as_ref().and_then(EcnConfig::fault);
        require(fault.is_none(), || format!("{name}: {}", fault.unwrap_or_default()))?;
        for group in &switch.priority_groups {
            let known = usize::from(group.port) < ports && group.priority < 8;
            require(known, || format!("{name}: priority group of port {}, priority {}", group.port, group.priority))?;
            let most = group
                .xoff_bytes
                .max(group.reserve_bytes)
                .checked_add(group.headroom_bytes)
                .is_some_and(|most| most <= switch.buffer_bytes);
            require(most, || format!("{name}: the priority group of port {} exceeds the buffer", group.port))?;
            let ordered = group.xon_bytes <= group.xoff_bytes;
            require(ordered, || format!("{name}: XON threshold above XOFF on port {}", group.port))?;
        }
        Ok(())
    }
}

impl Workload {
    /// Read and check a workload for a fabric of `plan`.
    pub fn parse(json: &str, plan: &Plan) -> Result<Workload, PlanError> {
        let workload: Workload = serde_json::from_str(json)?;
        require(workload.schema == SCHEMA, || format!("workload schema {} is not {SCHEMA}", workload.schema))?;
        require(workload.priority < 8 && workload.dscp < 64, || "priority or DSCP out of range".into())?;
        workload.check_transport()?;
        let mut nodes = std::collections::HashSet::new();
        for (index, rank) in workload.ranks.iter().enumerate() {
            let host = matches!(plan.nodes.get(rank.node), Some(NodePlan::Host(_)));
            require(host && nodes.insert(rank.node), || format!("rank {index}: node {} is no free host", rank.node))?;
            workload.check_rank(index, rank)?;
        }
        let mut numbers = std::collections::HashSet::new();
        for (index, qp) in workload.qps.iter().enumerate() {
            let ranks = qp.a != qp.b && qp.a < workload.ranks.len() && qp.b < workload.ranks.len();
            require(ranks, || format!("qp {index}: ranks {} and {}", qp.a, qp.b))?;
            let number = qp.qpn <= MAX_QPN && numbers.insert(qp.qpn);
            require(number, || format!("qp {index}: number {} is not free", qp.qpn))?;
        }
        Ok(workload)
    }

    fn check_transport(&self) -> Result<(), PlanError> {
        let transport = &self.transport;
        require(matches!(transport.mtu_bytes, 256 | 512 | 1024 | 2048 | 4096), || {
            format!("path MTU {} is not one of 256, 512, 1024, 2048, 4096", transport.mtu_bytes)
        })?;
        require(transport.ack_every > 0, || "ack_every 0".into())?;
        let fault = transport.congestion_control.as_ref().and_then(CongestionPlan::fault);
        require(fault.is_none(), || format!("congestion control: {}", fault.unwrap_or_default()))?;
        require(transport.timeout_ps > 0, || "timeout 0".into())?;
        let window = transport.window_bytes / u64::from(transport.mtu_bytes);
        require((1..=MAX_WINDOW_PACKETS).contains(&window), || {
            format!("a window of {} bytes is not 1 to {MAX_WINDOW_PACKETS} packets", transport.window_bytes)
        })
    }

    fn check_rank(&self, index: usize, rank: &RankPlan) -> Result<(), PlanError> {
        let lengths_only = rank.memory_bytes == 0;
        let inside = |offset: u64, bytes: u64| {
            lengths_only || offset.checked_add(bytes).is_some_and(|end| end <= rank.memory_bytes)
        };
        for (position, op) in rank.ops.iter().enumerate() {
            let fault = |what: &str| format!("rank {index}, op {position}: {what}");
            let known = op.requires.iter().all(|required| *required < rank.ops.len());
            require(known, || fault("requires an op that is not there"))?;
            match op.kind {
                OpKind::Send { qp, offset, bytes, .. } | OpKind::Recv { qp, offset, bytes } => {
                    let own = self.qps.get(qp).is_some_and(|qp| qp.a == index || qp.b == index);
                    require(own, || fault("uses a QP that is not its own"))?;
                    require(bytes <= MAX_MESSAGE_BYTES, || fault("message above 4 GiB"))?;
                    require(inside(offset, bytes), || fault("outside the rank's memory"))?;
                }
                OpKind::Reduce { dst, lhs, rhs, count, .. } => {
                    let bytes = count.saturating_mul(4);
                    let inside = inside(dst, bytes) && inside(lhs, bytes) && inside(rhs, bytes);
                    require(inside, || fault("outside the rank's memory"))?;
                }
                OpKind::Calc { .. } => {}
            }
        }
        Ok(())
    }
}
