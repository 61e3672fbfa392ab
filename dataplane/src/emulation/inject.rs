//! From what a tester asks to be put on the links of hosts, as JSON with the frames' bytes in hex, to trains of frames; and what
//! has become of the flows that they are of.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Emulation;
use crate::codec::{Codec, Reader};
use crate::frame::{Body, Frame, Station};
use crate::nic::inject::{Burst, Flow, Shape, Train};
use crate::nic::Host;
use crate::plan::{NodePlan, Plan, PlanError};
use crate::priority::Priority;
use crate::units::Time;
use crate::wire::sizes::{ETHERNET_HEADER_BYTES, LONGEST_FRAME_BYTES};
use crate::wire::stamp::STAMP_BYTES;

/// Ethernet header to end of payload, without FCS.
const FRAME_BYTES: std::ops::RangeInclusive<usize> = ETHERNET_HEADER_BYTES..=LONGEST_FRAME_BYTES;
/// The priority that PAUSE frames are counted under, as those of a switch are.
const CONTROL_PRIORITY: Priority = Priority::P7;

#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(crate) struct TrainPlan {
    node: String,
    port: String,
    /// `None`: now. Else so long after the next start.
    #[serde(default)]
    at_ps: Option<u64>,
    /// So long after now, in place of `at_ps`.
    #[serde(default)]
    after_ps: Option<u64>,
    /// No frame starts so long after the moment that times count from, or later.
    #[serde(default)]
    until_ps: Option<u64>,
    #[serde(default)]
    every_ps: u64,
    #[serde(default = "one")]
    count: u64,
    /// Obeys the pauses of this priority.
    #[serde(default)]
    priority: Option<Priority>,
    #[serde(default)]
    sequence: bool,
    hex: String,
    /// What follows in turn.
    #[serde(default)]
    more: Vec<ShapePlan>,
    #[serde(default)]
    burst: Option<BurstPlan>,
    #[serde(default)]
    flow: Option<FlowPlan>,
}

/// A frame, and the time until the next one.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
struct ShapePlan {
    hex: String,
    every_ps: u64,
}

#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
struct BurstPlan {
    frames: u64,
    gap_ps: u64,
}

#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
struct FlowPlan {
    number: u16,
    #[serde(default)]
    stamped: bool,
    #[serde(default)]
    last_bit: bool,
}

/// A tester's port.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PortMeters {
    port: String,
    /// Frames that came in that are no RoCEv2 packets.
    frames_rx: u64,
    bytes_rx: u64,
    sent: Vec<SentRow>,
    received: Vec<ReceivedRow>,
}

/// What a port has sent of a flow.
#[derive(Debug, Default, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SentRow {
    flow: u16,
    frames: u64,
    bytes: u64,
    first_ps: Option<u64>,
    last_ps: Option<u64>,
    /// There may be more to send.
    running: bool,
}

/// What a port has received of a flow.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ReceivedRow {
    flow: u16,
    frames: u64,
    bytes: u64,
    first_ps: u64,
    last_ps: u64,
    latency_min_ps: u64,
    latency_max_ps: u64,
    latency_mean_ps: u64,
}

fn one() -> u64 {
    1
}

impl Emulation {
    /// Put trains of raw frames on the links of hosts; all of them, or none if one is at fault.
    pub fn inject(&mut self, json: &str) -> Result<(), PlanError> {
        let plans: Vec<TrainPlan> = serde_json::from_str(json)?;
        let read = plans.iter().enumerate().map(|(index, plan)| {
            let fault = |what| PlanError::Invalid(format!("train {index}: {what}"));
            Ok((host(&self.plan, plan).map_err(fault)?, train(&self.codec, plan).map_err(fault)?))
        });
        let trains = read.collect::<Result<Vec<_>, PlanError>>()?;
        self.fabric.sample_past();
        for ((host, train), plan) in trains.into_iter().zip(&plans).filter(|(_, plan)| plan.count > 0) {
            self.fabric.inject_train(host, train, plan.at_ps.is_some());
        }
        Ok(())
    }

    /// Forget what is left of the trains of these flows, a JSON list of their numbers.
    pub fn withdraw(&mut self, json: &str) -> Result<(), PlanError> {
        let flows: Vec<u16> = serde_json::from_str(json)?;
        for node in 0..self.plan.nodes.len() {
            if let Some(host) = self.fabric.host_mut(node) {
                host.withdraw(&flows);
            }
        }
        Ok(())
    }

    /// What the ports of hosts have sent and received of flows.
    pub fn meters(&self) -> Vec<PortMeters> {
        let ports =
            self.plan.nodes.iter().zip(self.fabric.nodes()).filter_map(|(plan, node)| Some((plan, node.host()?)));
        let each = ports.flat_map(|(plan, host)| {
            plan.ports().iter().enumerate().map(move |(index, port)| {
                let name = format!("{}:{}", plan.name(), port.name);
                meters_of(name, host, index, self.fabric.now())
            })
        });
        each.collect()
    }
}

fn meters_of(port: String, host: &Host, index: usize, now: Time) -> PortMeters {
    let mut sent = BTreeMap::new();
    if let Some(injector) = host.injector(index) {
        for (flow, counted) in injector.sent() {
            let first_ps = counted.first.map(Time::ps);
            let last_ps = first_ps.map(|_| counted.last.ps());
            let row = SentRow {
                flow: *flow,
                frames: counted.frames,
                bytes: counted.bytes,
                first_ps,
                last_ps,
                running: false,
            };
            sent.insert(*flow, row);
        }
        for flow in injector.flows(now) {
            sent.entry(flow).or_insert(SentRow { flow, ..SentRow::default() }).running = true;
        }
    }
    let meters = host.meters(index);
    let received = meters.iter().flat_map(|meters| &meters.flows).map(|(flow, counted)| ReceivedRow {
        flow: *flow,
        frames: counted.frames,
        bytes: counted.bytes,
        first_ps: counted.first.ps(),
        last_ps: counted.last.ps(),
        latency_min_ps: counted.least.ps(),
        latency_max_ps: counted.most.ps(),
        latency_mean_ps: (counted.sum_ps / u128::from(counted.frames.max(1))) as u64,
    });
    PortMeters {
        port,
        frames_rx: meters.map_or(0, |meters| meters.frames),
        bytes_rx: meters.map_or(0, |meters| meters.bytes),
        sent: sent.into_values().collect(),
        received: received.collect(),
    }
}

fn host(plan: &Plan, train: &TrainPlan) -> Result<(usize, u16), String> {
    let node = plan.nodes.iter().position(|node| node.name() == train.node);
    let node = node.ok_or_else(|| format!("no node {}", train.node))?;
    let NodePlan::Host(host) = &plan.nodes[node] else { return Err(format!("{} is not a host", train.node)) };
    let port = host.ports.iter().position(|port| port.name == train.port);
    port.map(|port| (node, port as u16)).ok_or_else(|| format!("{} has no port {}", train.node, train.port))
}

fn train(codec: &Codec, plan: &TrainPlan) -> Result<Train, String> {
    if plan.at_ps.is_some() && plan.after_ps.is_some() {
        return Err("at_ps or after_ps, not both".into());
    }
    let first = std::iter::once((&plan.hex, plan.every_ps));
    let frames = first.chain(plan.more.iter().map(|shape| (&shape.hex, shape.every_ps)));
    let shape =
        |(hex, every_ps): (&String, u64)| Ok(Shape { frame: frame(codec, plan, hex)?, every: Time::from_ps(every_ps) });
    if plan.burst.as_ref().is_some_and(|burst| burst.frames == 0) {
        return Err("a burst has at least one frame".into());
    }
    Ok(Train {
        shapes: frames.map(shape).collect::<Result<_, String>>()?,
        turn: 0,
        at: Time::from_ps(plan.at_ps.or(plan.after_ps).unwrap_or(0)),
        left: plan.count,
        until: plan.until_ps.map_or(Time::NEVER, Time::from_ps),
        burst: plan.burst.as_ref().map(|burst| Burst { frames: burst.frames, gap: Time::from_ps(burst.gap_ps) }),
        sent: 0,
        priority: plan.priority,
        counts: plan.sequence,
        flow: plan.flow.as_ref().map(|flow| Flow {
            number: flow.number,
            stamped: flow.stamped,
            last_bit: flow.last_bit,
        }),
        held: false,
    })
}

fn frame(codec: &Codec, plan: &TrainPlan, hex: &str) -> Result<Frame, String> {
    let bytes = bytes_of(hex).ok_or("hex is not a string of byte pairs")?;
    if !FRAME_BYTES.contains(&bytes.len()) {
        return Err(format!("{} bytes are no frame", bytes.len()));
    }
    let frame = codec.decode(&bytes, Reader::Switch).ok_or("the bytes are no frame")?;
    let mut frame =
        Frame { ingress: Frame::OUTSIDE, priority: plan.priority.unwrap_or(Priority::of_dscp(frame.dscp)), ..frame };
    let stamped = plan.flow.as_ref().is_some_and(|flow| flow.stamped);
    if stamped && (frame.is_control() || bytes.len() < ETHERNET_HEADER_BYTES + STAMP_BYTES) {
        return Err("a frame without room for a stamp".into());
    }
    if frame.is_control() {
        frame.priority = CONTROL_PRIORITY;
        frame.bytes = Some(Box::new(bytes.into()));
    }
    if plan.sequence {
        frame = rebuilt(frame)?;
    }
    Ok(frame)
}

/// A RoCEv2 packet whose headers are written anew wherever its bytes are wanted, so that they may change.
fn rebuilt(frame: Frame) -> Result<Frame, String> {
    if !matches!(frame.body, Body::Roce(_)) || frame.src == Station::UNKNOWN {
        return Err("only a RoCEv2 packet between NICs of the plan can be numbered".into());
    }
    let payload = Some(frame.payload().to_vec()).filter(|payload| payload.iter().any(|byte| *byte != 0));
    Ok(Frame { bytes: payload.map(|bytes| Box::new(bytes.into())), payload_at: 0, ..frame })
}

fn bytes_of(hex: &str) -> Option<Vec<u8>> {
    if !hex.len().is_multiple_of(2) || !hex.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).ok()).collect()
}
