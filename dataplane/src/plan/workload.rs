//! What is loaded onto a fabric, read from JSON: transport, queue pairs, and the ops of every rank.

use serde::Deserialize;

use super::check::require;
use super::{NodePlan, Plan, PlanError, SCHEMA};
use crate::nic::arithmetic::{Dtype, Redop};
use crate::nic::congestion;
use crate::nic::rc::code::{Code, MAX_BLOCK_PACKETS};
use crate::nic::rc::message::{FrameSizes, Verb, LEAST_FRAME_BYTES, MOST_HEADER_BYTES};
use crate::nic::rc::qp::{Recovery, Rnr, RNR_FOR_EVER};
use crate::priority::Priority;
use crate::wire::sizes;

/// The longest message: IBTA volume 1, chapter 9. `testbed/ops.py` cuts what is longer.
const MAX_MESSAGE_BYTES: u64 = 1 << 31;
/// What packets of sizes of their own carry, and what they come to with their headers: no more than ports take.
const LEAST_PAYLOAD_BYTES: u32 = sizes::LEAST_OWN_PAYLOAD_BYTES as u32;
const MOST_PACKET_BYTES: u32 = sizes::LONGEST_MTU_BYTES as u32;
const MAX_QPN: u32 = 0xff_ffff;
/// Half the PSN space, less one: what keeps 24-bit numbers unambiguous.
const MAX_WINDOW_PACKETS: u64 = (1 << 23) - 1;

#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Workload {
    pub schema: u32,
    pub priority: Priority,
    pub dscp: u8,
    /// The DSCP of acknowledgements; left out, that of the data of their queue pair.
    #[serde(default)]
    pub ack_dscp: Option<u8>,
    pub transport: TransportPlan,
    pub qps: Vec<QpPlan>,
    pub ranks: Vec<RankPlan>,
    /// It is given up so long after its start.
    #[serde(default)]
    pub limit_ps: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum RecoveryPlan {
    GoBackN,
    SelectiveRepeat,
    Erasure,
    Timer,
}

#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct TransportPlan {
    pub recovery: RecoveryPlan,
    #[serde(default)]
    pub erasure: Option<Code>,
    #[serde(default)]
    pub chunk_packets: u64,
    pub verb: Verb,
    pub mtu_bytes: u32,
    pub ack_every: u64,
    pub window_bytes: u64,
    pub timeout_ps: u64,
    pub retries: u32,
    /// Receives must be posted; without it there always is one.
    #[serde(default)]
    pub rnr: Option<Rnr>,
    #[serde(default)]
    pub congestion_control: Option<congestion::Config>,
    /// Sizes of frames that are not those of RoCEv2.
    #[serde(default)]
    pub frames: Option<FrameSizes>,
}

impl TransportPlan {
    fn check_sizes(&self) -> Result<(), PlanError> {
        let mtu = self.mtu_bytes;
        let Some(FrameSizes { header_bytes, ack_bytes }) = self.frames else {
            return require(matches!(mtu, 256 | 512 | 1024 | 2048 | 4096), || {
                format!("path MTU {mtu} is not one of 256, 512, 1024, 2048, 4096")
            });
        };
        let fits = LEAST_FRAME_BYTES..=MOST_HEADER_BYTES;
        let payload = LEAST_PAYLOAD_BYTES..=MOST_PACKET_BYTES - u32::from(header_bytes.min(MOST_HEADER_BYTES));
        require(fits.contains(&header_bytes) && fits.contains(&ack_bytes) && payload.contains(&mtu), || {
            format!("frames of {mtu} and {header_bytes} bytes, with acknowledgements of {ack_bytes}")
        })
    }

    /// How lost packets are made good.
    pub fn recovery(&self) -> Result<Recovery, PlanError> {
        match (self.recovery, self.erasure) {
            (RecoveryPlan::GoBackN, _) => Ok(Recovery::GoBackN),
            (RecoveryPlan::SelectiveRepeat, _) => Ok(Recovery::SelectiveRepeat),
            (RecoveryPlan::Timer, _) => {
                let (chunk, window) = (self.chunk_packets, self.window_bytes / u64::from(self.mtu_bytes));
                require((1..=window).contains(&chunk), || {
                    format!("a chunk of {chunk} packets, and a window of {window}")
                })?;
                require(self.rnr.is_none(), || "a chunk cannot be told to wait for its receive".into())?;
                Ok(Recovery::Timer { chunk })
            }
            (RecoveryPlan::Erasure, None) => Err(PlanError::Invalid("recovery by erasure, and no erasure code".into())),
            (RecoveryPlan::Erasure, Some(code)) => {
                let block = u64::from(code.data) + u64::from(code.parity);
                require(code.data > 0 && code.parity > 0 && block <= MAX_BLOCK_PACKETS, || {
                    format!("a block of {} data and {} parity packets", code.data, code.parity)
                })?;
                require(u64::from(code.data) * u64::from(self.mtu_bytes) <= self.window_bytes, || {
                    format!("a window of {} bytes holds no block of {} packets", self.window_bytes, code.data)
                })?;
                Ok(Recovery::Erasure(code))
            }
        }
    }
}

#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct QpPlan {
    /// Of its packets; left out, those of the workload.
    #[serde(default)]
    pub priority: Option<Priority>,
    #[serde(default)]
    pub dscp: Option<u8>,
    pub a: usize,
    pub b: usize,
    pub qpn: u32,
    pub entropy: u16,
    /// The ports that it uses, of the host of `a` and of that of `b`.
    #[serde(default)]
    pub ports: [u16; 2],
    /// Both ranks are on one host, and copy.
    #[serde(default)]
    pub local: bool,
}

impl QpPlan {
    /// The rank at an end, 0 or 1.
    pub fn rank(&self, end: usize) -> usize {
        [self.a, self.b][end & 1]
    }
}

#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RankPlan {
    pub node: usize,
    pub memory_bytes: u64,
    pub ops: Vec<OpPlan>,
}

// `kind` refuses what neither of them knows.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct OpPlan {
    #[serde(default)]
    pub requires: Vec<usize>,
    #[serde(flatten)]
    pub kind: OpKind,
}

#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum OpKind {
    Send {
        qp: usize,
        offset: u64,
        bytes: u64,
        remote_offset: u64,
    },
    Recv {
        qp: usize,
        offset: u64,
        bytes: u64,
    },
    Reduce {
        dtype: Dtype,
        redop: Redop,
        /// Above 1 it divides each sum.
        #[serde(default = "undivided")]
        divisor: u32,
        dst: u64,
        lhs: u64,
        rhs: u64,
        count: u64,
    },
    Copy {
        dst: u64,
        src: u64,
        bytes: u64,
    },
    Calc {
        duration_ps: u64,
    },
}

fn undivided() -> u32 {
    1
}

impl Workload {
    /// Read and check a workload for a fabric of `plan`.
    pub fn parse(json: &str, plan: &Plan) -> Result<Workload, PlanError> {
        let workload: Workload = serde_json::from_str(json)?;
        require(workload.schema == SCHEMA, || format!("workload schema {} is not {SCHEMA}", workload.schema))?;
        let known = workload.dscp < 64 && workload.ack_dscp.is_none_or(|dscp| dscp < 64);
        require(known, || "DSCP out of range".into())?;
        workload.check_transport()?;
        for (index, rank) in workload.ranks.iter().enumerate() {
            let host = matches!(plan.nodes.get(rank.node), Some(NodePlan::Host(_)));
            require(host, || format!("rank {index}: node {} is not a host", rank.node))?;
            workload.check_rank(index, rank)?;
        }
        let mut numbers = std::collections::HashSet::new();
        for (index, qp) in workload.qps.iter().enumerate() {
            let ranks = qp.a != qp.b && qp.a < workload.ranks.len() && qp.b < workload.ranks.len();
            require(ranks, || format!("qp {index}: ranks {} and {}", qp.a, qp.b))?;
            let number = qp.qpn <= MAX_QPN && numbers.insert(qp.qpn);
            require(number, || format!("qp {index}: number {} is not free", qp.qpn))?;
            require(qp.dscp.is_none_or(|dscp| dscp < 64), || format!("qp {index}: DSCP out of range"))?;
            require(qp.priority.is_some() == qp.dscp.is_some(), || format!("qp {index}: a priority or a DSCP alone"))?;
            let nodes = [0, 1].map(|end| workload.ranks[qp.rank(end)].node);
            if qp.local {
                let copies = matches!(&plan.nodes[nodes[0]], NodePlan::Host(host) if host.local.is_some());
                require(copies && nodes[0] == nodes[1], || format!("qp {index}: its ranks cannot copy to each other"))?;
                continue;
            }
            let known = (0..2).all(|end| usize::from(qp.ports[end]) < plan.nodes[nodes[end]].ports().len());
            require(known, || format!("qp {index}: uses a port that is not there"))?;
            let apart = (nodes[0], qp.ports[0]) != (nodes[1], qp.ports[1]);
            require(apart, || format!("qp {index}: both its ends are on one port"))?;
        }
        Ok(workload)
    }

    fn check_transport(&self) -> Result<(), PlanError> {
        let transport = &self.transport;
        transport.check_sizes()?;
        require(transport.ack_every > 0, || "ack_every 0".into())?;
        let fault = transport.congestion_control.as_ref().and_then(congestion::Config::fault);
        require(fault.is_none(), || format!("congestion control: {}", fault.unwrap_or_default()))?;
        transport.recovery()?;
        let fits = transport.rnr.is_none_or(|rnr| rnr.timer < 32 && rnr.retries <= RNR_FOR_EVER);
        require(fits, || format!("rnr: a timer is below 32, retries at most {RNR_FOR_EVER}"))?;
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
                    require(bytes <= MAX_MESSAGE_BYTES, || fault("message above 2 GiB"))?;
                    require(inside(offset, bytes), || fault("outside the rank's memory"))?;
                }
                OpKind::Reduce { dtype, redop, divisor, dst, lhs, rhs, count } => {
                    let divides = divisor == 1 || divisor > 1 && redop == Redop::Sum;
                    require(divides, || fault("a divisor is of sums, and at least 1"))?;
                    let bytes = count.saturating_mul(dtype.bytes());
                    let inside = inside(dst, bytes) && inside(lhs, bytes) && inside(rhs, bytes);
                    require(inside, || fault("outside the rank's memory"))?;
                }
                OpKind::Copy { dst, src, bytes } => {
                    require(inside(dst, bytes) && inside(src, bytes), || fault("outside the rank's memory"))?;
                }
                OpKind::Calc { .. } => {}
            }
        }
        Ok(())
    }
}
