//! From a workload to what each host runs: connections, schedule, memory, transport.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::trace::Trace;
use super::{first_psn, Emulation, RankPlace};
use crate::frame::Station;
use crate::goal::feed::{Feed, RankFeed};
use crate::nic::copies::CopyPair;
use crate::nic::memory::{Memory, Reduce};
use crate::nic::rc::message::Verb;
use crate::nic::rc::qp::Transport;
use crate::nic::schedule::{Op, Schedule};
use crate::nic::traced::Traced;
use crate::nic::work::Work;
use crate::nic::{Lane, Load, QpConfig, Rank};
use crate::plan::require;
use crate::plan::workload::{OpKind, QpPlan, Workload};
use crate::plan::PlanError;
use crate::units::Time;

impl Emulation {
    /// Where each rank of a workload is, and what each host of them runs.
    pub(super) fn loads(&self, workload: &Workload) -> Result<(Vec<RankPlace>, BTreeMap<usize, Load>), PlanError> {
        let transport = transport(workload, self.generation + 1)?;
        let load = || Load {
            transport,
            congestion: workload.transport.congestion_control,
            ack_dscp: workload.ack_dscp,
            qps: Vec::new(),
            copies: Vec::new(),
            ranks: Vec::new(),
        };
        let mut loads: BTreeMap<usize, Load> = BTreeMap::new();
        let mut places = Vec::with_capacity(workload.ranks.len());
        for (index, rank) in workload.ranks.iter().enumerate() {
            let memory = Memory::new(rank.memory_bytes);
            let memory = memory.ok_or(PlanError::NoRoom { rank: index, bytes: rank.memory_bytes })?;
            let host = loads.entry(rank.node).or_insert_with(load);
            places.push(RankPlace { node: rank.node, slot: host.ranks.len() });
            host.ranks.push(Rank { schedule: Schedule::default().into(), memory, lanes: Vec::new() });
        }
        // By rank, the lane of each queue pair.
        let mut lanes = vec![HashMap::new(); workload.ranks.len()];
        for (number, qp) in workload.qps.iter().enumerate() {
            let ends = [0, 1].map(|end| (places[qp.rank(end)], lanes[qp.rank(end)].len()));
            for (end, (place, lane)) in ends.into_iter().enumerate() {
                lanes[qp.rank(end)].insert(number, lane);
                let Some(host) = loads.get_mut(&place.node) else { continue };
                let way = if qp.local {
                    if end == 0 {
                        host.copies.push(CopyPair { qpn: qp.qpn, ends: ends.map(|(place, lane)| (place.slot, lane)) });
                    }
                    Lane::Copy { pair: host.copies.len() - 1, end: end as u8 }
                } else {
                    host.qps.push(self.end_of(workload, qp, end, places[qp.rank(1 - end)], (place, lane)));
                    Lane::Qp(host.qps.len() - 1)
                };
                host.ranks[place.slot].lanes.push(way);
            }
        }
        for ((rank, place), lanes) in workload.ranks.iter().zip(&places).zip(&lanes) {
            let ops = rank.ops.iter().map(|planned| (op(&planned.kind, lanes), planned.requires.clone()));
            if let Some(host) = loads.get_mut(&place.node) {
                host.ranks[place.slot].schedule = Schedule::new(ops.collect(), lanes.len()).into();
            }
        }
        Ok((places, loads))
    }

    /// Have the ranks work off a trace in place of their ops. The queue pairs are those of its talks, in their order.
    pub(super) fn follow(
        workload: &Workload,
        trace: &Trace,
        places: &[RankPlace],
        loads: &mut BTreeMap<usize, Load>,
    ) -> Result<(), PlanError> {
        let (ranks, pairs) = (trace.spool.ranks().len(), workload.qps.iter().map(|qp| (qp.a as u32, qp.b as u32)));
        let agree = ranks == places.len() && pairs.eq(trace.talks.iter().map(|(a, b, _)| (*a, *b)));
        require(agree, || "the queue pairs are not those of the trace".into())?;
        // By rank, the lane of each peer and channel.
        let mut lanes = vec![HashMap::new(); ranks];
        for (a, b, channel) in &trace.talks {
            for (rank, peer) in [(*a, *b), (*b, *a)] {
                let own: &mut HashMap<_, _> = &mut lanes[rank as usize];
                own.insert((peer, *channel), own.len());
            }
        }
        let feed = Arc::new(Feed::new(trace.spool.clone()));
        for ((place, lanes), rank) in places.iter().zip(lanes).zip(0..) {
            if let Some(host) = loads.get_mut(&place.node) {
                host.ranks[place.slot].schedule =
                    Work::Traced(Box::new(Traced::new(RankFeed::new(feed.clone(), rank), lanes)));
            }
        }
        Ok(())
    }

    fn end_of(
        &self,
        workload: &Workload,
        qp: &QpPlan,
        end: usize,
        peer: RankPlace,
        (place, lane): (RankPlace, usize),
    ) -> QpConfig {
        let station = self.nics.get(&(peer.node, qp.ports[1 - end])).copied();
        QpConfig {
            qpn: qp.qpn,
            end: end as u8,
            peer: station.unwrap_or(Station::UNKNOWN),
            entropy: qp.entropy,
            nic: qp.ports[end],
            rank: place.slot as u32,
            lane: lane as u32,
            priority: qp.priority.unwrap_or(workload.priority),
            dscp: qp.dscp.unwrap_or(workload.dscp),
        }
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
        frames: plan.frames,
        mtu: plan.mtu_bytes,
        ack_every: plan.ack_every,
        window: plan.window_bytes / u64::from(plan.mtu_bytes),
        timeout: Time::from_ps(plan.timeout_ps),
        retries: plan.retries,
        rnr: plan.rnr,
        first_psn: first_psn(generation),
    })
}
