//! The compiled plan, read from JSON; `check` sees to it that every index leads somewhere.

mod check;
mod container;
pub(crate) use check::require;
mod queue_ecn;
pub mod workload;

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;

use crate::credit::Grant;
use crate::link::loss::ProcessPlan;
use crate::nic::receive_buffer::ReceivePlan;
use crate::priority::{Priority, PrioritySet, CLASS_SELECTORS, DSCPS, PRIORITIES};
use crate::switch::defects::Defect;
use crate::switch::ecn::EcnConfig;
use crate::switch::watchdog::Action;

pub use container::ContainerPlan;
pub use queue_ecn::QueueEcnPlan;

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
    Host(Box<HostPlan>),
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
    #[serde(default)]
    pub private_pids: bool,
    /// Another agent has it: here it only stands for whom there is to talk to.
    #[serde(default)]
    pub elsewhere: bool,
    pub ports: Vec<PortPlan>,
    /// The NIC of its first port.
    pub station: u32,
    /// How the NIC of its first port takes in what arrives, if more slowly than it may come.
    #[serde(default)]
    pub receive: Option<ReceivePlan>,
    /// The same by port, of a host with several.
    #[serde(default)]
    pub receives: Vec<Option<ReceivePlan>>,
    /// How its ranks copy to each other.
    #[serde(default)]
    pub local: Option<LocalPlan>,
    /// By port, the priority of each DSCP at its NIC; empty, and so all of them: that of its class selector.
    #[serde(default)]
    pub dscp_to_priority: Vec<Vec<Priority>>,
    /// Priorities whose pauses the frames of its kernel heed, in which switches take them for lossless; empty: none.
    #[serde(default)]
    pub kernel_lossless: Vec<Priority>,
}

impl HostPlan {
    /// The priority of each DSCP at the NIC of a port.
    pub fn priorities(&self, port: usize) -> [Priority; DSCPS] {
        let own = self.dscp_to_priority.get(port).and_then(|table| table.as_slice().try_into().ok());
        own.unwrap_or(CLASS_SELECTORS)
    }

    /// How the NIC of a port takes in what arrives.
    pub fn receive_of(&self, port: usize) -> Option<&ReceivePlan> {
        match self.receives.get(port) {
            Some(receive) => receive.as_ref(),
            None => self.receive.as_ref().filter(|_| port == 0),
        }
    }
}

#[derive(Copy, Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct LocalPlan {
    pub rate_bps: u64,
    pub latency_ps: u64,
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
    #[serde(default)]
    pub private_pids: bool,
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
    /// Marking in single egress queues, in place of that.
    #[serde(default)]
    pub queue_ecn: Vec<QueueEcnPlan>,
    /// What the switch does wrong on purpose.
    #[serde(default)]
    pub defects: Vec<Defect>,
    /// What is done about priorities that are paused for too long.
    #[serde(default)]
    pub watchdog: Option<WatchdogPlan>,
    pub hash_seed: u64,
    pub dscp_to_priority: Vec<Priority>,
    /// The queue of each priority; left out, the one of its number.
    #[serde(default)]
    pub priority_to_queue: Option<[Priority; PRIORITIES]>,
    /// The priority group of each priority; left out, the one with the number of its queue.
    #[serde(default)]
    pub priority_to_group: Option<[Priority; PRIORITIES]>,
    pub priority_groups: Vec<PriorityGroupPlan>,
    pub routes: Vec<Vec<u16>>,
    /// For how many stations in succession each of `routes` is; left out, for one.
    #[serde(default)]
    pub route_counts: Option<Vec<u32>>,
}

impl SwitchPlan {
    /// The ports towards stations, each with the number of stations in succession that it is for.
    pub fn route_runs(&self) -> impl Iterator<Item = (&[u16], u32)> {
        let count = |index: usize| self.route_counts.as_ref().map_or(1, |counts| counts[index]);
        self.routes.iter().enumerate().map(move |(index, ports)| (ports.as_slice(), count(index)))
    }

    /// The priorities whose queues are lossless.
    pub fn lossless_priorities(&self) -> PrioritySet {
        let queues = self.priority_to_queue.unwrap_or(Priority::ALL);
        Priority::ALL.into_iter().filter(|priority| self.lossless.contains(&queues[*priority])).collect()
    }
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

impl Plan {
    /// The stations of the NICs, by node and port.
    pub fn nics(&self) -> HashMap<(usize, u16), u32> {
        let nics = self.stations.iter().zip(0..).filter(|(station, _)| station.kind == StationKind::Nic);
        nics.map(|(station, index)| ((station.node, station.port), index)).collect()
    }
}
