//! From the plan of a node to its state machine.

use crate::fabric::Node;
use crate::frame::Station;
use crate::nic::copies::Local;
use crate::nic::Host;
use crate::plan::{HostPlan, NodePlan, Plan, PlanError, PortPlan, SwitchPlan};
use crate::port::PortConfig;
use crate::priority::{Priority, PrioritySet, DSCPS};
use crate::switch::buffer::{Buffer, BufferConfig};
use crate::switch::config::SwitchConfig;
use crate::switch::defective::Defective;
use crate::switch::defects::{Defect, Defects};
use crate::switch::ecn::Marker;
use crate::switch::forward::Table;
use crate::switch::group::{GroupConfig, Threshold};
use crate::switch::queue::{Limit, LossyConfig};
use crate::switch::queue_map::QueueMap;
use crate::switch::watchdog::WatchdogConfig;
use crate::switch::Switch;
use crate::units::{Rate, Time};

pub(super) fn rate(port: &PortPlan) -> Result<Rate, PlanError> {
    Rate::from_bps(port.rate_bps).ok_or_else(|| PlanError::Invalid(format!("port {}: rate 0", port.name)))
}

fn port(plan: &PortPlan) -> Result<PortConfig, PlanError> {
    Ok(PortConfig { rate: rate(plan)?, response: Time::from_ps(plan.response_ps), weights: plan.weights })
}

/// The shortest time after which a watchdog of the plan takes a pause for a storm, if it has watchdogs.
pub(super) fn shortest_detection(plan: &Plan) -> Option<Time> {
    let watchdog = |node: &NodePlan| match node {
        NodePlan::Switch(switch) => switch.watchdog,
        NodePlan::Host(_) => None,
    };
    plan.nodes.iter().filter_map(watchdog).map(|watchdog| Time::from_ps(watchdog.detection_ps)).min()
}

/// `detection`: pauses that come near it may have to be explained. `nics`: the stations of a host's ports.
pub(super) fn node(plan: &NodePlan, detection: Option<Time>, nics: &[Station]) -> Result<Node, PlanError> {
    match plan {
        NodePlan::Host(host) => host_node(host, nics),
        NodePlan::Switch(switch) => {
            let long_pauses = detection.map(|detection| Time::from_ps(detection.ps() / 2));
            let config = SwitchConfig { long_pauses, ..switch_config(switch)? };
            Ok(Node::Switch(Box::new(Switch::new(config))))
        }
    }
}

/// What a switch does wrong with what comes in, if it is defective.
pub(super) fn defective(plan: &NodePlan) -> Option<Defective> {
    let NodePlan::Switch(plan) = plan else { return None };
    let defects = Defects::new(&plan.defects);
    let marker = if defects.has(Defect::MarksOnArrival) { marker(plan) } else { None };
    defects.any().then(|| Defective::new(defects, heeded(plan), marker))
}

/// The priorities whose pauses a sound switch heeds.
fn heeded(plan: &SwitchPlan) -> PrioritySet {
    if plan.pfc {
        plan.lossless.iter().copied().collect()
    } else {
        PrioritySet::NONE
    }
}

fn host_node(plan: &HostPlan, nics: &[Station]) -> Result<Node, PlanError> {
    let nic = |(station, planned): (&Station, &PortPlan)| Ok((*station, port(planned)?));
    let nics = nics.iter().zip(&plan.ports).map(nic).collect::<Result<_, PlanError>>()?;
    let local = plan.local.and_then(|local| {
        Some(Local { rate: Rate::from_bps(local.rate_bps)?, latency: Time::from_ps(local.latency_ps) })
    });
    let host = (0..plan.ports.len()).fold(Host::new(nics).with_copies(local), |host, port| {
        host.with_receive_buffer(port as u16, plan.receive_of(port)).with_priorities(port as u16, plan.priorities(port))
    });
    Ok(Node::Host(Box::new(host)))
}

/// What marks in the queues of a switch: those of lossless priorities, and those with thresholds of their own.
fn marker(plan: &SwitchPlan) -> Option<Marker> {
    if plan.ecn.is_none() && plan.queue_ecn.is_empty() {
        return None;
    }
    let mut marker = Marker::new(plan.ports.len(), plan.hash_seed);
    for port in 0..plan.ports.len() as u16 {
        for priority in &plan.lossless {
            if let Some(config) = plan.ecn {
                marker.set(port, *priority, config);
            }
        }
    }
    for queue in &plan.queue_ecn {
        marker.set(queue.port, queue.priority, queue.config());
    }
    Some(marker)
}

/// Where the frames of each priority stand; groups have the numbers of queues unless the plan says otherwise.
fn queue_map(plan: &SwitchPlan) -> Option<QueueMap> {
    let queues = plan.priority_to_queue.unwrap_or(Priority::ALL);
    QueueMap::new(queues, plan.priority_to_group.unwrap_or(queues))
}

fn switch_config(plan: &SwitchPlan) -> Result<SwitchConfig, PlanError> {
    let ports = plan.ports.iter().map(port).collect::<Result<Vec<_>, _>>()?;
    let config = BufferConfig {
        total_bytes: plan.buffer_bytes,
        cell_bytes: plan.cell_bytes,
        pool_bytes: plan.pool_bytes,
        headroom_pool_bytes: plan.headroom_pool_bytes,
        lossy: LossyConfig {
            limit: match plan.lossy_alpha_log2 {
                None => Limit::Static { bytes: plan.lossy_queue_bytes },
                Some(alpha_log2) => Limit::Dynamic { alpha_log2 },
            },
            reserve_bytes: plan.lossy_reserve_bytes,
            pool_bytes: plan.lossy_pool_bytes,
        },
    };
    let mut buffer = Buffer::new(ports.len(), config);
    for group in &plan.priority_groups {
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
    let defects = Defects::new(&plan.defects);
    let table = Table::new(plan.route_runs(), plan.hash_seed);
    let lossless = plan.lossless.iter().copied().collect::<PrioritySet>();
    let dscp_to_priority = <[Priority; DSCPS]>::try_from(plan.dscp_to_priority.as_slice())
        .map_err(|_| PlanError::Invalid(format!("{}: dscp_to_priority must be 64 priorities", plan.name)))?;
    let watchdog = plan.watchdog.map(|watchdog| WatchdogConfig {
        detection: Time::from_ps(watchdog.detection_ps),
        restoration: Time::from_ps(watchdog.restoration_ps),
        poll: Time::from_ps(watchdog.poll_ps),
        action: watchdog.action,
        priorities: lossless,
    });
    Ok(SwitchConfig {
        pfc: plan.pfc,
        dscp_to_priority,
        lossless,
        heeded: if defects.any() { PrioritySet::ALL } else { heeded(plan) },
        queue_map: queue_map(plan),
        marker: if defects.has(Defect::MarksOnArrival) { None } else { marker(plan) },
        watchdog,
        defects,
        ..SwitchConfig::new(ports, buffer, table)
    })
}
