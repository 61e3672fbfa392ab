//! The checks of a plan: whatever passes them, the state machines need not doubt.

use super::{FlowControl, LinkPlan, NodePlan, Plan, PlanError, QueueEcnPlan, StationKind, SwitchPlan, SCHEMA};
use crate::credit::Grant;
use crate::link::loss::ProcessPlan;
use crate::nic::receive_buffer::ReceivePlan;
use crate::priority::{PrioritySet, DSCPS};

pub(crate) fn require(holds: bool, message: impl FnOnce() -> String) -> Result<(), PlanError> {
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
        plan.check_nics()?;
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

    /// Every port of a host has a NIC; the first one's is that which the host names.
    fn check_nics(&self) -> Result<(), PlanError> {
        let nics = self.nics();
        for (node, plan) in self.nodes.iter().enumerate() {
            let NodePlan::Host(host) = plan else { continue };
            require(nics.get(&(node, 0)) == Some(&host.station), || {
                format!("{}: station {} is not the NIC of its first port", host.name, host.station)
            })?;
            for (port, number) in host.ports.iter().zip(0..) {
                require(nics.contains_key(&(node, number)), || {
                    format!("{}: port {} has no NIC", host.name, port.name)
                })?;
            }
        }
        Ok(())
    }

    /// Check that a switch of the plan can forward by these ports to a station.
    pub fn check_route(&self, node: usize, station: u32, ports: &[u16]) -> Result<(), PlanError> {
        let switch = match self.nodes.get(node) {
            Some(NodePlan::Switch(switch)) => Some(switch),
            _ => None,
        };
        let known = switch.is_some_and(|switch| ports.iter().all(|port| usize::from(*port) < switch.ports.len()));
        require(known && (station as usize) < self.stations.len(), || {
            format!("no way of node {node} to station {station} by ports {ports:?}")
        })
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
                require(!host.ports.is_empty(), || format!("{name}: a host without ports"))?;
                let local = host.local.is_none_or(|local| local.rate_bps > 0);
                require(local, || format!("{name}: copies at rate 0"))?;
                let station = self.stations.get(host.station as usize);
                let own = station.is_some_and(|station| station.kind == StationKind::Nic);
                require(own, || format!("{name}: station {} is not a NIC", host.station))?;
                let tables = host.dscp_to_priority.iter().all(|table| table.is_empty() || table.len() == DSCPS);
                require(tables, || format!("{name}: dscp_to_priority must be 64 priorities"))?;
                let mut receives = (0..host.ports.len()).filter_map(|port| host.receive_of(port));
                let fault = receives.find_map(ReceivePlan::fault);
                require(fault.is_none(), || format!("{name}: {}", fault.unwrap_or_default()))
            }
            NodePlan::Switch(switch) => self.check_switch(switch),
        }
    }

    fn check_switch(&self, switch: &SwitchPlan) -> Result<(), PlanError> {
        let (name, ports) = (&switch.name, switch.ports.len());
        let table = switch.dscp_to_priority.len() == DSCPS;
        require(table, || format!("{name}: dscp_to_priority must be 64 priorities"))?;
        let counted = switch.route_counts.as_ref().is_none_or(|counts| counts.len() == switch.routes.len());
        let stations = || switch.route_runs().map(|(_, count)| u64::from(count)).sum::<u64>();
        require(counted && stations() == self.stations.len() as u64, || format!("{name}: one route a station"))?;
        let routed = switch.routes.iter().flatten().all(|port| usize::from(*port) < ports);
        require(routed, || format!("{name}: a route leads to a port that is not there"))?;
        require(switch.cell_bytes > 0, || format!("{name}: cells of 0 bytes"))?;
        let pools = switch.pool_bytes.checked_add(switch.headroom_pool_bytes);
        let fit = pools.is_some_and(|pools| pools <= switch.buffer_bytes);
        require(fit, || format!("{name}: the pools exceed the buffer"))?;
        let reserves = switch.lossy_reserve_bytes.checked_mul(8 * ports as u64);
        let fit = switch.lossy_pool_bytes.max(reserves.unwrap_or(u64::MAX)) <= switch.buffer_bytes;
        require(fit, || format!("{name}: the pool or the reserves of lossy queues exceed the buffer"))?;
        let own = switch.queue_ecn.iter().map(QueueEcnPlan::config);
        let fault = switch.ecn.into_iter().chain(own).find_map(|config| config.fault());
        require(fault.is_none(), || format!("{name}: {}", fault.unwrap_or_default()))?;
        let known = switch.queue_ecn.iter().all(|queue| usize::from(queue.port) < ports);
        require(known, || format!("{name}: marking on a port that is not there"))?;
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
