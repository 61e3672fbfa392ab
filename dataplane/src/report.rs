//! What a run has to say, as the JSON document of the engine contract; counters since the fabric was made.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{json, Value};

use crate::build::Emulation;
use crate::deadlock::{Deadlock, Place};
use crate::event::Cause;
use crate::fabric::Node;
use crate::nic::qp::{Failure, RequesterCounters};
use crate::plan::NodePlan;
use crate::units::Time;
use crate::watch::{Flow, Tally};

/// How faithful a real-clock run was; absent under the virtual clock, which is exact.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Fidelity {
    pub lateness_ns: Lateness,
    /// Share of the wall time for which nominal time stood still because the machine did not keep up.
    pub held_share: f64,
    /// Share of the wall time in which the loop had work.
    pub cpu_share: f64,
    /// How long frames took over each direction of a link since it was last changed by hand, where some were timed.
    pub delays: Vec<MeasuredDelay>,
    pub socket_drops: u64,
    /// Frames that found no room on their way into the kernel.
    pub overflow: u64,
    /// By port, where it happened: how often a full queue of the kernel turned away a frame, which was then sent again.
    pub turned_away: BTreeMap<String, u64>,
    /// By port, of frames that its interface would not take: they are longer than its MTU, or it is down.
    pub refused: BTreeMap<String, u64>,
    /// By port, of frames that it sent and that never came out of the kernel at the far end of its link.
    pub lost_in_kernel: BTreeMap<String, u64>,
    /// By port of a host, of frames that its kernel sent faster than nominal time went, and that the emulator had no room for.
    pub kernel_drops: BTreeMap<String, u64>,
    /// Frames that left later than three frame times of the fastest link.
    pub late_frames: u64,
}

/// One direction of a link, and what `count` of its frames took from the last bit sent to being read at the far end.
#[derive(Clone, Debug, Serialize)]
pub struct MeasuredDelay {
    pub link: usize,
    pub way: usize,
    pub count: u64,
    pub mean_ns: u64,
}

/// How late frames left, in nominal nanoseconds.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Lateness {
    pub p50: u64,
    pub p99: u64,
    pub max: u64,
}

/// Frames lost: for lack of buffer on lossless priorities, of lossy ones, and by links that corrupt or are down.
#[derive(Copy, Clone, Debug, Default, Serialize)]
pub struct Drops {
    pub lossless: u64,
    pub lossy: u64,
    pub link: u64,
    pub outage: u64,
    /// Frames that nobody could read, and that no NIC of the fabric sent.
    pub malformed: u64,
}

pub(crate) fn tally(tally: &Tally, in_flight: u64) -> Value {
    json!({"sent": tally.sent, "delivered": tally.delivered, "dropped": tally.dropped, "in_flight": in_flight})
}

impl Emulation {
    /// The report of the run so far; `fidelity` under the real clock only.
    pub fn report(&self, fidelity: Option<&Fidelity>) -> Value {
        let finished = |node: &usize| json!({"finish_ps": self.fabric.watch(*node).finished.map(Time::ps)});
        let ranks: Vec<Value> = self.ranks.iter().map(finished).collect();
        let totals = self.fabric.totals();
        let (flows, seen, count) = self.fabric.findings();
        json!({
            "now_ps": self.fabric.now().ps(),
            "events": totals.events,
            "frame_hops": totals.frame_hops,
            "event_log_hash": fidelity.is_none().then(|| format!("{:016x}", self.fabric.hash())),
            "complete": self.is_complete(),
            "stalled": self.is_stalled(),
            "expired": self.is_expired(),
            "start_ps": self.started.ps(),
            "ranks": ranks,
            "flows": self.flows(&flows),
            "ports": self.ports(),
            "pools": self.pools(),
            "watchdog": self.storms(),
            "qps": self.qps(),
            "conservation": tally(&totals.packets, self.fabric.in_flight(true)),
            "kernel_frames": tally(&totals.kernel_frames, self.fabric.in_flight(false)),
            "drops": self.drops(),
            "deadlocks": self.deadlocks(),
            "impairments": self.fabric.impairments,
            "violations": self.violations(seen, count, fidelity.is_none().then_some(&totals.packets)),
            "fidelity": fidelity,
        })
    }

    pub(crate) fn deadlocks(&self) -> Vec<Value> {
        let name = |place: &Place| {
            let node = &self.plan.nodes[place.node as usize];
            format!("{}:{}", node.name(), node.ports()[usize::from(place.port)].name)
        };
        let entry = |deadlock: &Deadlock| {
            let ports: Vec<String> = deadlock.circle.iter().map(name).collect();
            json!({
                "at_ns": deadlock.at.ns(), "ports": ports, "priority": deadlock.circle.first().map(|place| place.priority),
                "cured_ns": deadlock.cured.map(Time::ns),
            })
        };
        self.deadlocks.found().iter().map(entry).collect()
    }

    fn flows(&self, flows: &[Flow]) -> Vec<Value> {
        let name = |node: u32| self.plan.nodes[node as usize].name();
        let flow = |flow: &Flow| {
            let span = flow.completion.map(|at| at.since(flow.start)).filter(|span| *span > Time::ZERO);
            let goodput = span.map(|span| (u128::from(flow.bytes) * 8_000_000_000_000 / u128::from(span.ps())) as u64);
            json!({
                "src": name(flow.src), "dst": name(flow.dst), "bytes": flow.bytes, "start_ns": flow.start.ns(),
                "completion_ns": flow.completion.map(Time::ns), "goodput_bps": goodput,
            })
        };
        flows.iter().map(flow).collect()
    }

    fn qps(&self) -> Vec<Value> {
        let mut rows = Vec::new();
        for &(qpn, a, b) in &self.qps {
            for (from, to) in [(a, b), (b, a)].into_iter().filter(|(from, _)| !self.plan.nodes[*from].is_elsewhere()) {
                let Node::Host(nic) = self.fabric.node(from) else { continue };
                let Some((_, counters, failure)) = nic.counters().find(|(config, ..)| config.qpn == qpn) else {
                    continue;
                };
                rows.push(json!({
                    "qpn": qpn, "a": self.plan.nodes[from].name(), "b": self.plan.nodes[to].name(),
                    "packets_tx": counters.packets_tx, "retransmitted": counters.retransmitted, "acks_rx": counters.acks_rx,
                    "naks_rx": counters.naks_rx, "rnr_naks_rx": counters.rnr_naks_rx, "timeouts": counters.timeouts,
                    "error": failure.map(Failure::name), "erasure": self.erasure(qpn, counters, to),
                }));
            }
        }
        rows
    }

    /// What coding did for the packets of a connection towards node `to`; null where it does not code.
    fn erasure(&self, qpn: u32, counters: &RequesterCounters, to: usize) -> Option<Value> {
        let Node::Host(peer) = self.fabric.node(to) else { return None };
        let recovered = peer.recovered(qpn)?;
        Some(json!({
            "blocks": counters.blocks, "parity_tx": counters.parity_tx, "blocks_asked": counters.blocks_asked,
            "recovered": recovered,
        }))
    }

    /// How full the memory of each switch has been.
    fn pools(&self) -> Value {
        let of_switch = |(node, plan): (&Node, &NodePlan)| match node {
            Node::Switch(_) if plan.is_elsewhere() => None,
            Node::Switch(switch) => Some((plan.name().to_owned(), json!(switch.buffer().watermarks()))),
            Node::Host(_) => None,
        };
        Value::Object(self.fabric.nodes().zip(&self.plan.nodes).filter_map(of_switch).collect())
    }

    /// What was lost so far, at all ports.
    pub(crate) fn drops(&self) -> Drops {
        let lossless_at = |node: &NodePlan| match node {
            NodePlan::Switch(switch) => switch.lossless.iter().fold(0, |bits, priority| bits | 1u8 << (priority & 7)),
            NodePlan::Host(_) => 0,
        };
        // What is lossless at some switch is so at hosts.
        let at_hosts = self.plan.nodes.iter().map(lossless_at).fold(0, |bits, node| bits | node);
        const AT_NODES: [Cause; 5] =
            [Cause::Headroom, Cause::Buffer, Cause::Watchdog, Cause::Unroutable, Cause::Receiver];
        let mut drops = Drops::default();
        for ((plan, node), watch) in self.plan.nodes.iter().zip(self.fabric.nodes()).zip(self.fabric.watches()) {
            let lossless = if node.is_host() { at_hosts } else { lossless_at(plan) };
            for (port, state) in node.ports().iter().enumerate() {
                for (priority, counters) in state.counters.iter().enumerate() {
                    let class = if lossless & (1 << priority) != 0 { &mut drops.lossless } else { &mut drops.lossy };
                    *class += AT_NODES.iter().map(|cause| counters.drops[*cause as usize]).sum::<u64>();
                    drops.malformed += counters.drops[Cause::Malformed as usize];
                    drops.link += watch.lost_frames(port, priority, Cause::Link);
                    drops.outage += watch.lost_frames(port, priority, Cause::Outage);
                }
            }
        }
        drops
    }

    /// Broken invariants: the first of `count` seen on the way, and conservation of the `packets`, which an exact clock can check at
    /// any moment.
    fn violations(&self, seen: Vec<String>, count: u64, packets: Option<&Tally>) -> Vec<String> {
        let mut violations = seen;
        let more = count - violations.len() as u64;
        if more > 0 {
            violations.push(format!("and {more} more"));
        }
        if let Some(packets) = packets {
            let accounted = packets.accounted() + self.fabric.in_flight(true);
            if packets.sent != accounted {
                let sent = packets.sent;
                violations
                    .push(format!("conservation: {sent} frames sent, {accounted} delivered, dropped or in flight"));
            }
        }
        violations
    }
}
