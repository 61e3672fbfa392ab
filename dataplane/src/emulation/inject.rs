//! From what a tester asks to be put on the links of hosts, as JSON with the frames' bytes in hex, to trains of frames.

use serde::Deserialize;

use super::Emulation;
use crate::codec::{Codec, Reader};
use crate::frame::{Body, Frame, Station};
use crate::nic::inject::Train;
use crate::plan::{NodePlan, Plan, PlanError};
use crate::priority::Priority;
use crate::units::Time;
use crate::wire::sizes::{ETHERNET_HEADER_BYTES, LONGEST_FRAME_BYTES};

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
}

fn host(plan: &Plan, train: &TrainPlan) -> Result<(usize, u16), String> {
    let node = plan.nodes.iter().position(|node| node.name() == train.node);
    let node = node.ok_or_else(|| format!("no node {}", train.node))?;
    let NodePlan::Host(host) = &plan.nodes[node] else { return Err(format!("{} is not a host", train.node)) };
    let port = host.ports.iter().position(|port| port.name == train.port);
    port.map(|port| (node, port as u16)).ok_or_else(|| format!("{} has no port {}", train.node, train.port))
}

fn train(codec: &Codec, plan: &TrainPlan) -> Result<Train, String> {
    let bytes = bytes_of(&plan.hex).ok_or("hex is not a string of byte pairs")?;
    if !FRAME_BYTES.contains(&bytes.len()) {
        return Err(format!("{} bytes are no frame", bytes.len()));
    }
    let frame = codec.decode(&bytes, Reader::Switch).ok_or("the bytes are no frame")?;
    let mut frame =
        Frame { ingress: Frame::OUTSIDE, priority: plan.priority.unwrap_or(Priority::of_dscp(frame.dscp)), ..frame };
    if frame.is_control() {
        frame.priority = CONTROL_PRIORITY;
        frame.bytes = Some(Box::new(bytes));
    }
    if plan.sequence {
        frame = rebuilt(frame)?;
    }
    Ok(Train {
        frame,
        at: Time::from_ps(plan.at_ps.unwrap_or(0)),
        every: Time::from_ps(plan.every_ps),
        left: plan.count,
        priority: plan.priority,
        counts: plan.sequence,
    })
}

/// A RoCEv2 packet whose headers are written anew wherever its bytes are wanted, so that they may change.
fn rebuilt(frame: Frame) -> Result<Frame, String> {
    if !matches!(frame.body, Body::Roce(_)) || frame.src == Station::UNKNOWN {
        return Err("only a RoCEv2 packet between NICs of the plan can be numbered".into());
    }
    let payload = Some(frame.payload().to_vec()).filter(|payload| payload.iter().any(|byte| *byte != 0));
    Ok(Frame { bytes: payload.map(Box::new), payload_at: 0, ..frame })
}

fn bytes_of(hex: &str) -> Option<Vec<u8>> {
    if !hex.len().is_multiple_of(2) || !hex.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).ok()).collect()
}
