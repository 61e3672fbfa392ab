//! From a workload to what each NIC runs: connections, schedule, memory, transport.

use std::collections::HashMap;

use super::{first_psn, Emulation};
use crate::frame::Station;
use crate::nic::memory::{Memory, Reduce};
use crate::nic::rc::dcqcn::DcqcnConfig;
use crate::nic::rc::message::Verb;
use crate::nic::rc::qp::Transport;
use crate::nic::schedule::{Op, Schedule};
use crate::nic::{QpConfig, Rank};
use crate::plan::workload::{CongestionPlan, OpKind, RankPlan, Workload};
use crate::plan::{NodePlan, PlanError};
use crate::units::Time;

impl Emulation {
    pub(super) fn rank(&self, workload: &Workload, index: usize, rank: &RankPlan) -> Result<Rank, PlanError> {
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
            transport: transport(workload, self.generation + 1)?,
            priority: workload.priority,
            dscp: workload.dscp,
            schedule: Schedule::new(ops.collect(), qps.len()),
            qps,
            memory: memory.ok_or(PlanError::NoRoom { rank: index, bytes: rank.memory_bytes })?,
        })
    }
}

fn op(kind: &OpKind, local: &HashMap<usize, usize>) -> Op {
    match *kind {
        OpKind::Send { qp, offset, bytes, remote_offset } => {
            Op::Send { qp: local[&qp], offset, bytes, remote: remote_offset }
        }
        OpKind::Recv { qp, offset, bytes } => Op::Recv { qp: local[&qp], offset, bytes },
        OpKind::Reduce { dtype, redop, divisor, dst, lhs, rhs, count } => {
            Op::Reduce(Reduce { dtype, redop, divisor, dst, lhs, rhs, count })
        }
        OpKind::Copy { dst, src, bytes } => Op::Copy { dst, src, bytes },
        OpKind::Calc { duration_ps } => Op::Calc { duration: Time::from_ps(duration_ps) },
    }
}

fn transport(workload: &Workload, generation: u64) -> Result<Transport, PlanError> {
    let plan = &workload.transport;
    let verb: Verb = plan.verb;
    Ok(Transport {
        verb,
        recovery: plan.recovery()?,
        congestion: plan.congestion_control.map(congestion),
        mtu: plan.mtu_bytes,
        ack_every: plan.ack_every,
        window: plan.window_bytes / u64::from(plan.mtu_bytes),
        timeout: Time::from_ps(plan.timeout_ps),
        retries: plan.retries,
        rnr: plan.rnr,
        first_psn: first_psn(generation),
    })
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
