//! What a run has to say, as the JSON document of the engine contract; counters since the fabric was made.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{json, Map, Value};

use crate::build::Emulation;
use crate::deadlock::{Deadlock, Place};
use crate::event::Cause;
use crate::fabric::Node;
use crate::frame::PRIORITIES;
use crate::nic::intake::Intake;
use crate::nic::qp::{Failure, RequesterCounters};
use crate::plan::NodePlan;
use crate::port::PriorityCounters;
use crate::units::Time;
use crate::watch::{Flow, Tally, Watch};

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
    /// Frames that found no room on their way into the kernel, or that it would not take.
    pub overflow: u64,
    /// By port, where it happened: how often a full queue of the kernel turned away a frame, which was then sent again.
    pub turned_away: BTreeMap<String, u64>,
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

fn tally(tally: &Tally, in_flight: u64) -> Value {
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

    fn deadlocks(&self) -> Vec<Value> {
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
            for (from, to) in [(a, b), (b, a)] {
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

    fn ports(&self) -> Value {
        let mut ports = Map::new();
        for (node, plan) in self.plan.nodes.iter().enumerate() {
            for (port, port_plan) in plan.ports().iter().enumerate() {
                let mut priorities = Map::new();
                for priority in 0..PRIORITIES {
                    if let Some(entry) = self.priority(node, port, priority) {
                        priorities.insert(priority.to_string(), entry);
                    }
                }
                let entry = json!({"rate_bps": port_plan.rate_bps, "priorities": priorities});
                ports.insert(format!("{}:{}", plan.name(), port_plan.name), entry);
            }
        }
        Value::Object(ports)
    }

    /// Counters of one priority of one port; `None` when nothing happened there.
    fn priority(&self, node: usize, port: usize, priority: usize) -> Option<Value> {
        let state = &self.fabric.node(node).ports()[port];
        let counters: &PriorityCounters = &state.counters[priority];
        let watch = self.fabric.watch(node);
        let lost = watch.lost_frames(port, priority, Cause::Link);
        let cut = watch.lost_frames(port, priority, Cause::Outage);
        let control = counters.pause_rx + counters.pause_tx + counters.credit_rx + counters.credit_tx;
        let silent = counters.frames_tx + counters.frames_rx + control + lost + cut == 0;
        if silent && counters.drops.iter().all(|drops| *drops == 0) {
            return None;
        }
        let mut drops: Map<String, Value> =
            Cause::ALL.iter().map(|cause| (cause.name().to_owned(), json!(counters.drops[*cause as usize]))).collect();
        drops.insert(Cause::Link.name().to_owned(), json!(lost));
        drops.insert(Cause::Outage.name().to_owned(), json!(cut));
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
        Some(json!({
            "frames_tx": counters.frames_tx, "frames_rx": counters.frames_rx, "bytes_tx": counters.bytes_tx,
            "bytes_rx": counters.bytes_rx, "data_frames_tx": counters.data_frames_tx, "drops": drops,
            "pause_tx": counters.pause_tx, "pause_rx": counters.pause_rx,
            "paused_ns": state.paused_time(priority, self.fabric.now()).ns(), "queue_bytes_max": counters.queue_bytes_max,
            "credit_tx": counters.credit_tx, "credit_rx": counters.credit_rx,
            "credit_wait_ns": state.credit_wait(priority, self.fabric.now()).ns(),
            "headroom_bytes_max": headroom_max, "shared_bytes_max": shared_max, "ingress_bytes_max": ingress_max,
            "ecn_marked": counters.ecn_marked,
            "queue_bytes": state.queue_bytes(priority as u8), "paused": state.is_paused(priority as u8, self.fabric.now()),
        }))
    }

    /// How full the memory of each switch has been.
    fn pools(&self) -> Value {
        let of_switch = |(node, plan): (&Node, &NodePlan)| match node {
            Node::Switch(switch) => Some((plan.name().to_owned(), json!(switch.buffer().watermarks()))),
            Node::Host(_) => None,
        };
        Value::Object(self.fabric.nodes().zip(&self.plan.nodes).filter_map(of_switch).collect())
    }

    /// Losses: for lack of buffer on lossless priorities, of lossy frames, by NICs without room, by links that corrupt or are down.
    fn drops(&self) -> Value {
        let lossless_at = |node: &NodePlan| match node {
            NodePlan::Switch(switch) => switch.lossless.iter().fold(0, |bits, priority| bits | 1u8 << (priority & 7)),
            NodePlan::Host(_) => 0,
        };
        // What is lossless at some switch is so at hosts.
        let at_hosts = self.plan.nodes.iter().map(lossless_at).fold(0, |bits, node| bits | node);
        let is_lossless = |node: usize, _: u16, priority: usize| {
            let node = &self.plan.nodes[node];
            let bits = if matches!(node, NodePlan::Host(_)) { at_hosts } else { lossless_at(node) };
            bits & (1 << priority) != 0
        };
        let (mut lossless, mut lossy) = (0, 0);
        for cause in [Cause::Headroom, Cause::Buffer, Cause::Watchdog, Cause::Unroutable, Cause::Receiver] {
            lossless += self.fabric.drops(cause, is_lossless);
            lossy += self.fabric.drops(cause, |node, port, priority| !is_lossless(node, port, priority));
        }
        json!({"lossless": lossless, "lossy": lossy, "link": self.lost(Cause::Link), "outage": self.lost(Cause::Outage)})
    }

    /// Frames that all links lost to a cause.
    fn lost(&self, cause: Cause) -> u64 {
        let nodes = self.fabric.nodes().zip(self.fabric.watches());
        let ports = nodes.flat_map(|(node, watch)| (0..node.ports().len()).map(move |port| (watch, port)));
        let by_priority = |(watch, port): (&Watch, usize)| {
            (0..PRIORITIES).map(|priority| watch.lost_frames(port, priority, cause)).sum::<u64>()
        };
        ports.map(by_priority).sum()
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
