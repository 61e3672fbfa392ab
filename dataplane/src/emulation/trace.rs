//! A trace on disk as a workload: loaded in place of ops, and what it came to.

use std::sync::Arc;

use super::Emulation;
use crate::goal::spool::Spool;
use crate::nic::traced::{Communication, Traced};
use crate::plan::workload::Workload;
use crate::plan::PlanError;

/// A trace that matches. `talks`: its ranks that exchange messages, by channel, the lower rank first, in ascending order.
#[derive(Clone, Debug)]
pub struct Trace {
    pub spool: Arc<Spool>,
    pub talks: Vec<(u32, u32, u32)>,
}

impl Emulation {
    /// Install a workload whose ranks work off a trace. Their flows are put together as they end: by queue pair and direction.
    pub fn load_trace(&mut self, json: &str, trace: &Trace) -> Result<(), PlanError> {
        self.install_with(Workload::parse(json, &self.plan)?, Some(trace))
    }

    /// Of each rank of a trace for how long it communicated while it computed nothing, and beside that, in ps.
    pub fn communication(&self) -> Vec<(u64, u64)> {
        let traced = self.ranks.iter().map(|rank| self.fabric.node(rank.node).host()?.traced(rank.slot));
        let spent = |one: Option<&Traced>| {
            let spent: Communication = one.map(Traced::communication).unwrap_or_default();
            (spent.exposed.ps(), spent.hidden.ps())
        };
        traced.map(spent).collect()
    }

    /// How many ops of the workload have finished, on all ranks.
    pub fn finished_ops(&self) -> u64 {
        let hosts = self.fabric.nodes().filter_map(|node| node.host());
        hosts.flat_map(|host| host.steps()).map(|(_, finished)| finished).sum()
    }

    /// Why a rank of a trace cannot go on, if that is not the network.
    pub fn trace_fault(&self) -> Option<&str> {
        let mut traced = self.ranks.iter().filter_map(|rank| self.fabric.node(rank.node).host()?.traced(rank.slot));
        traced.find_map(|one| one.fault())
    }
}
