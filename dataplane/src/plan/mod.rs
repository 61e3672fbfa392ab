//! The compiled plan, read from JSON; every index is checked here, so that the state machines need not.

pub mod workload;

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::credit::Grant;
use crate::link::loss::ProcessPlan;
use crate::nic::receive_buffer::ReceivePlan;
use crate::priority::{Priority, PrioritySet};
use crate::switch::defects::Defect;
use crate::switch::ecn::EcnConfig;
use crate::switch::watchdog::Action;

/// Why a plan or workload cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    #[error("not the JSON of a plan: {0}")]
    Json(#[from] serde_json::Error),
    #[error("{0}")]
    Invalid(String),
    #[error("no room for {bytes} bytes of memory of rank {rank}")]
    NoRoom { rank: usize, bytes: u64 },
}

#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Plan {
    pub schema: u32,
    pub lab: String,
    pub seed: u64,
    pub stations: Vec<StationPlan>,
    pub nodes: Vec<NodePlan>,
    pub links: Vec<LinkPlan>,
    /// Read by drivers alone: who is to impose the links, what nodes are made of, the length of the stations' network prefix.
    #[serde(default)]
    pub emulation: Option<Emulator>,
    #[serde(default)]
    pub driver: Option<Driver>,
    #[serde(default)]
    pub prefix_length: Option<u8>,
    /// Read by agents alone: those that have a part of the lab, with the addresses of their machines.
    #[serde(default)]
    pub machines: Option<BTreeMap<String, String>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Emulator {
    Auto,
    Netem,
    Native,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Driver {
    Netns,
    Docker,
}

/// What a driver makes a node of, where nodes are containers.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ContainerPlan {
    pub image: String,
    pub cpu_millis: u64,
    pub memory_bytes: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum StationKind {
    Nic,
    Kernel,
}

#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct StationPlan {
    pub name: String,
    pub kind: StationKind,
    pub mac: String,
    pub ip: std::net::Ipv4Addr,
    pub node: usize,
    pub port: u16,
}

#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct PortPlan {
    pub name: String,
    pub mac: String,
    pub rate_bps: u64,
    pub response_ps: u64,
    pub weights: [u32; 8],
}

#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum NodePlan {
    Host(HostPlan),
    Switch(Box<SwitchPlan>),
}

#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct HostPlan {
    pub name: String,
    /// Read by drivers and agents alone, as in a switch.
    #[serde(default)]
    pub agent: Option<String>,
    #[serde(default)]
    pub container: Option<ContainerPlan>,
    /// Another agent has it: here it only stands for whom there is to talk to.
    #[serde(default)]
    pub elsewhere: bool,
    pub ports: Vec<PortPlan>,
    pub station: u32,
    /// How the NIC takes in what arrives, if more slowly than it may come.
    #[serde(default)]
    pub receive: Option<ReceivePlan>,
}

#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct SwitchPlan {
    pub name: String,
    /// Read by agents alone: the one that has the node.
    #[serde(default)]
    pub agent: Option<String>,
    /// Read by a driver alone.
    #[serde(default)]
    pub container: Option<ContainerPlan>,
    /// Another agent has it.
    #[serde(default)]
    pub elsewhere: bool,
    pub ports: Vec<PortPlan>,
    pub pfc: bool,
    pub lossless: Vec<Priority>,
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
    /// Lossy queues: with an alpha, `lossy_queue_bytes` is without meaning; a reserve each; a pool of their own at egress.
    #[serde(default)]
    pub lossy_alpha_log2: Option<i8>,
    #[serde(default)]
    pub lossy_reserve_bytes: u64,
    #[serde(default)]
    pub lossy_pool_bytes: u64,
    /// Marking in the egress queues of the lossless priorities.
    #[serde(default)]
    pub ecn: Option<EcnConfig>,
    /// What the switch does wrong on purpose.
    #[serde(default)]
    pub defects: Vec<Defect>,
    /// What is done about priorities that are paused for too long.
    #[serde(default)]
    pub watchdog: Option<WatchdogPlan>,
    pub hash_seed: u64,
    pub dscp_to_priority: Vec<Priority>,
    pub priority_groups: Vec<PriorityGroupPlan>,
    pub routes: Vec<Vec<u16>>,
}

#[derive(Copy, Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct WatchdogPlan {
    pub detection_ps: u64,
    pub restoration_ps: u64,
    pub poll_ps: u64,
    pub action: Action,
}

#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct PriorityGroupPlan {
    pub port: u16,
    pub priority: Priority,
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
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Medium {
    Veth,
    /// One end is elsewhere, and frames get there by an interface of this end all the same.
    Vxlan,
    Memory,
}

/// Who imposes a link's delay and loss.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Imposer {
    Netem,
    Native,
}

/// What keeps the priorities of a link lossless.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum FlowControl {
    #[default]
    Pfc,
    Credit,
    None,
}

#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct LinkPlan {
    pub a: (usize, u16),
    pub b: (usize, u16),
    pub delay_ps: u64,
    pub loss: [f64; 2],
    #[serde(default)]
    pub loss_process: [Option<ProcessPlan>; 2],
    #[serde(default = "yes")]
    pub carrier: bool,
    #[serde(default)]
    pub flow_control: FlowControl,
    /// What `b` grants `a`, and `a` grants `b`.
    #[serde(default)]
    pub credits: [Vec<Grant>; 2],
    pub medium: Medium,
    /// Who delays and loses its frames, where that is settled.
    #[serde(default)]
    pub emulation: Option<Imposer>,
    /// Read by drivers alone: the IP MTU of the interfaces, and for VXLAN the network identifier and the addresses of its ends.
    #[serde(default)]
    pub mtu_bytes: Option<u32>,
    #[serde(default)]
    pub vni: Option<u32>,
    #[serde(default)]
    pub local: Option<String>,
    #[serde(default)]
    pub remote: Option<String>,
}

fn yes() -> bool {
    true
}

const SCHEMA: u32 = 1;

impl NodePlan {
    pub fn name(&self) -> &str {
        match self {
            NodePlan::Host(host) => &host.name,
            NodePlan::Switch(switch) => &switch.name,
        }
    }

    /// Whether another agent has the node.
    pub fn is_elsewhere(&self) -> bool {
        match self {
            NodePlan::Host(host) => host.elsewhere,
            NodePlan::Switch(switch) => switch.elsewhere,
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
            plan.check_credits(index, link)?;
        }
        Ok(plan)
    }

    fn check_endpoint(&self, (node, port): (usize, u16), what: &str) -> Result<(), PlanError> {
        let known = self.nodes.get(node).is_some_and(|node| usize::from(port) < node.ports().len());
        require(known, || format!("{what}: no port {port} on node {node}"))
    }

    fn check_credits(&self, index: usize, link: &LinkPlan) -> Result<(), PlanError> {
        for (granted, granting) in link.credits.iter().zip([link.b, link.a]) {
            let mut priorities = PrioritySet::NONE;
            for grant in granted {
                let fault = grant.fault().or_else(|| self.backing_fault(granting, grant));
                require(fault.is_none(), || format!("link {index}: credits: {}", fault.unwrap_or_default()))?;
                require(!priorities.contains(grant.priority), || {
                    format!("link {index}: credits of priority {} twice", grant.priority)
                })?;
                priorities.insert(grant.priority);
            }
            let credited = link.flow_control == FlowControl::Credit || granted.is_empty();
            require(credited, || format!("link {index}: credits without flow_control credit"))?;
        }
        Ok(())
    }

    /// What a switch grants must be its to grant: a priority group that keeps as much for that port.
    fn backing_fault(&self, (node, port): (usize, u16), grant: &Grant) -> Option<String> {
        let NodePlan::Switch(switch) = &self.nodes[node] else { return None };
        let mut groups = switch.priority_groups.iter();
        let group = groups.find(|group| group.port == port && group.priority == grant.priority);
        let backed = group.map_or(0, |group| if group.alpha_log2.is_none() { group.xoff_bytes } else { 0 });
        if !u64::from(grant.block_bytes).is_multiple_of(switch.cell_bytes) {
            return Some(format!(
                "blocks of {} bytes in {}'s cells of {}",
                grant.block_bytes, switch.name, switch.cell_bytes
            ));
        }
        let (granted, name) = (grant.bytes(), &switch.name);
        (granted > backed).then(|| format!("{name} grants {granted} bytes of {backed} on port {port}"))
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
                require(own, || format!("{name}: station {} is not a NIC", host.station))?;
                let fault = host.receive.as_ref().and_then(ReceivePlan::fault);
                require(fault.is_none(), || format!("{name}: {}", fault.unwrap_or_default()))
            }
            NodePlan::Switch(switch) => self.check_switch(switch),
        }
    }

    fn check_switch(&self, switch: &SwitchPlan) -> Result<(), PlanError> {
        let (name, ports) = (&switch.name, switch.ports.len());
        let table = switch.dscp_to_priority.len() == 64;
        require(table, || format!("{name}: dscp_to_priority must be 64 priorities"))?;
        require(switch.routes.len() == self.stations.len(), || format!("{name}: one route a station"))?;
        let routed = switch.routes.iter().flatten().all(|port| usize::from(*port) < ports);
        require(routed, || format!("{name}: a route leads to a port that is not there"))?;
        require(switch.cell_bytes > 0, || format!("{name}: cells of 0 bytes"))?;
        let pools = switch.pool_bytes.checked_add(switch.headroom_pool_bytes);
        let fit = pools.is_some_and(|pools| pools <= switch.buffer_bytes);
        require(fit, || format!("{name}: the pools exceed the buffer"))?;
        let reserves = switch.lossy_reserve_bytes.checked_mul(8 * ports as u64);
        let fit = switch.lossy_pool_bytes.max(reserves.unwrap_or(u64::MAX)) <= switch.buffer_bytes;
        require(fit, || format!("{name}: the pool or the reserves of lossy queues exceed the buffer"))?;
        let fault = switch.ecn.as_ref().and_then(EcnConfig::fault);
        require(fault.is_none(), || format!("{name}: {}", fault.unwrap_or_default()))?;
        let polls = switch.watchdog.is_none_or(|watchdog| watchdog.poll_ps > 0);
        require(polls, || format!("{name}: a watchdog that polls every 0 ps"))?;
        for group in &switch.priority_groups {
            let known = usize::from(group.port) < ports;
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
