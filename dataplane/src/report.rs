//! What a run has to say, as the JSON document of the engine contract: of its span, or since the fabric was made where none was begun.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{json, Value};

use crate::build::Emulation;
use crate::deadlock::{Deadlock, Place};
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

/// The tally of a span at whose beginning so many frames were under way. They count as sent in it; so does, when it comes to light, a
/// frame of before that had been taken for lost.
fn tally_of_span(now: &Tally, before: &Tally, under_way: u64, in_flight: u64) -> Value {
    let mut of_span = now.since(before);
    of_span.sent += under_way;
    let missing = before.sent.saturating_sub(before.accounted() + under_way);
    of_span.sent += (of_span.accounted() + in_flight).saturating_sub(of_span.sent).min(missing);
    tally(&of_span, in_flight)
}

impl Emulation {
    /// The report of the span so far; `fidelity` under the real clock only.
    pub fn report(&self, fidelity: Option<&Fidelity>) -> Value {
        let finished = |node: &usize| json!({"finish_ps": self.fabric.watch(*node).finished.map(Time::ps)});
        let ranks: Vec<Value> = self.ranks.iter().map(finished).collect();
        let (before, all) = (self.spans.run(), self.fabric.totals());
        let sheet = self.of_run();
        let [packets, kernel_frames] = self.spans.under_way;
        let (flows, seen, count) = self.fabric.findings();
        json!({
            "now_ps": self.fabric.now().ps(),
            "events": sheet.totals.events,
            "frame_hops": sheet.totals.frame_hops,
            "event_log_hash": fidelity.is_none().then(|| format!("{:016x}", self.fabric.hash())),
            "complete": self.is_complete(),
            "stalled": self.is_stalled(),
            "expired": self.is_expired(),
            "start_ps": self.started.ps(),
            "ranks": ranks,
            "flows": self.flows(&flows),
            "ports": self.ports(&sheet),
            "pools": self.pools(&sheet),
            "settled": self.settled(),
            "watchdog": self.storms(before.at),
            "qps": self.qps(),
            "conservation": tally_of_span(&all.packets, &before.totals.packets, packets, self.fabric.in_flight(true)),
            "kernel_frames": tally_of_span(
                &all.kernel_frames, &before.totals.kernel_frames, kernel_frames, self.fabric.in_flight(false),
            ),
            "drops": self.drops(&sheet),
            "deadlocks": self.deadlocks(before.at),
            "impairments": self.fabric.impairments,
            "violations": self.violations(seen, count, fidelity.is_none().then_some(&all.packets)),
            "fidelity": fidelity,
        })
    }

    /// Those that were not over before `since`.
    pub(crate) fn deadlocks(&self, since: Time) -> Vec<Value> {
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
        let found = self.deadlocks.found().iter();
        found.filter(|deadlock| deadlock.cured.is_none_or(|cured| cured >= since)).map(entry).collect()
    }

    fn flows(&self, flows: &[Flow]) -> Vec<Value> {
        let name = |node: u32| self.plan.nodes[node as usize].name();
        let flow = |flow: &Flow| {
            let span = flow.completion.map(|at| at.since(flow.start)).filter(|span| *span > Time::ZERO);
            let goodput = span.map(|span| (u128::from(flow.bytes) * 8_000_000_000_000 / u128::from(span.ps())) as u64);
            json!({
                "src": name(flow.src), "dst": name(flow.dst), "bytes": flow.bytes, "start_ns": flow.start.ns(),
                "completion_ns": flow.completion.map(Time::ns), "goodput_bps": goodput, "start_ps": flow.start.ps(),
                "completion_ps": flow.completion.map(Time::ps),
            })
        };
        flows.iter().map(flow).collect()
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
