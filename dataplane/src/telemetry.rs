//! What is told of a running fabric several times a second: copied between two turns of its loop, and written as JSON elsewhere, so
//! that the loop stands still for the copy alone.

use std::sync::Arc;

use serde::ser::{SerializeMap, SerializeStruct, Serializer};
use serde::Serialize;
use serde_json::Value;

use crate::build::Emulation;
use crate::event::Cause;
use crate::fabric::Node;
use crate::frame::PRIORITIES;
use crate::nic::intake::Intake;
use crate::port::PriorityCounters;
use crate::report::{Drops, Fidelity};
use crate::units::Time;

/// Counters and state of one priority of one port, as in run.json.
#[derive(Copy, Clone, Debug, Serialize)]
pub struct PriorityFigures {
    frames_tx: u64,
    frames_rx: u64,
    bytes_tx: u64,
    bytes_rx: u64,
    data_frames_tx: u64,
    drops: ByCause,
    pause_tx: u64,
    pause_rx: u64,
    paused_ns: u64,
    credit_tx: u64,
    credit_rx: u64,
    credit_wait_ns: u64,
    queue_bytes: u64,
    queue_bytes_max: u64,
    headroom_bytes_max: u64,
    shared_bytes_max: u64,
    ingress_bytes_max: u64,
    ecn_marked: u64,
    demoted: u64,
    paused: bool,
}

/// Lost frames by cause.
#[derive(Copy, Clone, Debug)]
struct ByCause([u64; Cause::ALL.len()]);

impl Serialize for ByCause {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(Cause::ALL.iter().map(|cause| (cause.name(), self.0[*cause as usize])))
    }
}

/// The priorities of one port at which anything ever happened.
#[derive(Clone, Debug)]
pub struct PortFigures {
    rate_bps: u64,
    priorities: Vec<(u8, PriorityFigures)>,
}

impl Serialize for PortFigures {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let priorities: std::collections::BTreeMap<_, _> =
            self.priorities.iter().map(|(priority, figures)| (priority.to_string(), figures)).collect();
        let mut port = serializer.serialize_struct("PortFigures", 2)?;
        port.serialize_field("rate_bps", &self.rate_bps)?;
        port.serialize_field("priorities", &priorities)?;
        port.end()
    }
}

/// The ports of a fabric by name.
#[derive(Clone, Debug)]
pub struct Ports {
    names: Arc<[String]>,
    figures: Vec<PortFigures>,
}

impl Serialize for Ports {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut ports = serializer.serialize_map(Some(self.figures.len()))?;
        for (name, figures) in self.names.iter().zip(&self.figures) {
            ports.serialize_entry(name, figures)?;
        }
        ports.end()
    }
}

/// A fabric at one moment, in the words of its report.
#[derive(Clone, Debug, Serialize)]
pub struct Telemetry {
    pub frame_hops: u64,
    pub ranks: u64,
    pub ranks_finished: u64,
    pub ports: Ports,
    pub drops: Drops,
    pub deadlocks: Vec<Value>,
    pub fidelity: Fidelity,
    /// Wall nanoseconds for which the loop stood still to be copied.
    pub stopped_ns: u64,
}

impl Emulation {
    /// Copy what telemetry tells.
    pub fn telemetry(&self, fidelity: Fidelity) -> Telemetry {
        Telemetry {
            frame_hops: self.fabric.totals().frame_hops,
            ranks: self.ranks.len() as u64,
            ranks_finished: self.ranks.iter().filter(|node| self.fabric.watch(**node).finished.is_some()).count()
                as u64,
            ports: self.ports(),
            drops: self.drops(),
            deadlocks: self.deadlocks(),
            fidelity,
            stopped_ns: 0,
        }
    }

    /// The figures of every port, in the order of the plan.
    pub(crate) fn ports(&self) -> Ports {
        let mut figures = Vec::with_capacity(self.port_names.len());
        for (node, plan) in self.plan.nodes.iter().enumerate().filter(|(_, plan)| !plan.is_elsewhere()) {
            for (port, port_plan) in plan.ports().iter().enumerate() {
                let of = |priority| Some((priority as u8, self.priority(node, port, priority)?));
                figures.push(PortFigures {
                    rate_bps: port_plan.rate_bps,
                    priorities: (0..PRIORITIES).filter_map(of).collect(),
                });
            }
        }
        Ports { names: Arc::clone(&self.port_names), figures }
    }

    /// The figures of one priority of one port; `None` when nothing happened there.
    fn priority(&self, node: usize, port: usize, priority: usize) -> Option<PriorityFigures> {
        let state = &self.fabric.node(node).ports()[port];
        let counters: &PriorityCounters = &state.counters[priority];
        let watch = self.fabric.watch(node);
        let mut drops = counters.drops;
        for cause in [Cause::Link, Cause::Outage] {
            drops[cause as usize] = watch.lost_frames(port, priority, cause);
        }
        let control = counters.pause_rx + counters.pause_tx + counters.credit_rx + counters.credit_tx;
        if counters.frames_tx + counters.frames_rx + counters.demoted + control == 0
            && drops.iter().all(|drops| *drops == 0)
        {
            return None;
        }
        let [ingress_max, shared_max, headroom_max] = match self.fabric.node(node) {
            Node::Switch(switch) => {
                let group = switch.buffer().group(port as u16, priority as u8);
                [group.used_max(), group.shared_max(), group.headroom_max()]
            }
            Node::Host(nic) => match nic.intake().filter(|_| counters.frames_rx > 0).map(Intake::watermarks) {
                Some((held, beyond)) => [held, held - beyond, beyond],
                None => [0; 3],
            },
        };
        let now: Time = self.fabric.now();
        Some(PriorityFigures {
            frames_tx: counters.frames_tx,
            frames_rx: counters.frames_rx,
            bytes_tx: counters.bytes_tx,
            bytes_rx: counters.bytes_rx,
            data_frames_tx: counters.data_frames_tx,
            drops: ByCause(drops),
            pause_tx: counters.pause_tx,
            pause_rx: counters.pause_rx,
            paused_ns: state.paused_time(priority, now).ns(),
            credit_tx: counters.credit_tx,
            credit_rx: counters.credit_rx,
            credit_wait_ns: state.credit_wait(priority, now).ns(),
            queue_bytes: state.queue_bytes(priority as u8),
            queue_bytes_max: counters.queue_bytes_max,
            headroom_bytes_max: headroom_max,
            shared_bytes_max: shared_max,
            ingress_bytes_max: ingress_max,
            ecn_marked: counters.ecn_marked,
            demoted: counters.demoted,
            paused: state.is_paused(priority as u8, now),
        })
    }
}
