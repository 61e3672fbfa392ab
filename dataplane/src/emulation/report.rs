//! What a run has to say, as the JSON document of the engine contract: of its span, or since the fabric was made where none was begun.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::{Emulation, RankPlace};
use crate::deadlock::{Deadlock, Place};
use crate::emulation::fast_forward::{FastForward, FastReport};
use crate::emulation::figures::{Drops, Ports};
use crate::emulation::recovery::QpRow;
use crate::emulation::span::SettledState;
use crate::emulation::storms::StormRow;
use crate::fabric::impair::Logged;
use crate::priority::Priority;
use crate::switch::buffer::Watermarks;
use crate::units::Time;
use crate::watch::{Flow, Tally};

/// How faithful a real-clock run was; absent under the virtual clock, which is exact.
#[derive(Clone, Debug, Default, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
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
    /// By port of a host whose kernel heeds pauses, the ns that its slowest gate took to open or close; 0: the kernel has no gates.
    pub kernel_gates: BTreeMap<String, u64>,
    /// Frames that left later than three frame times of the fastest link.
    pub late_frames: u64,
}

/// One direction of a link, and what `count` of its frames took from the last bit sent to being read at the far end.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct MeasuredDelay {
    pub link: usize,
    pub way: usize,
    pub count: u64,
    pub mean_ns: u64,
}

/// How late frames left, in nominal nanoseconds.
#[derive(Clone, Debug, Default, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Lateness {
    pub p50: u64,
    pub p99: u64,
    pub max: u64,
}

/// A report, whose keys are those of the engine contract.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Report<'a> {
    pub now_ps: u64,
    pub events: u64,
    pub frame_hops: u64,
    pub event_log_hash: Option<String>,
    pub complete: bool,
    pub stalled: bool,
    pub expired: bool,
    pub start_ps: u64,
    pub ranks: Vec<RankRow>,
    pub flows: Vec<FlowRow<'a>>,
    pub ports: Ports,
    pub pools: BTreeMap<&'a str, Watermarks>,
    pub settled: Option<SettledState<'a>>,
    pub watchdog: Vec<StormRow>,
    pub qps: Vec<QpRow<'a>>,
    pub conservation: Packets,
    pub kernel_frames: Packets,
    pub drops: Drops,
    pub deadlocks: Vec<DeadlockRow>,
    pub impairments: &'a [Logged],
    pub violations: Vec<String>,
    pub fidelity: Option<&'a Fidelity>,
    /// Of a run that skips what recurs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fast: Option<&'a FastReport>,
    /// Of a run of several agents.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agents: Option<Agents>,
}

impl Report<'_> {
    /// The JSON document: keys of every object in alphabetical order, so that equal reports are equal texts.
    #[expect(clippy::expect_used, reason = "only keys that are no strings, or numbers beyond 64 bits, could fail")]
    pub fn json(&self) -> Value {
        serde_json::to_value(self).expect("keys are strings, and numbers fit")
    }
}

/// The other agents of a run, and by port on a link to one the frames of the fabric that went there, and that came from there.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Agents {
    pub others: Vec<PeerRow>,
    pub apart_ns: u64,
    pub crossed: BTreeMap<String, Crossed>,
}

/// What was measured of another agent. `offset_ns`: how far its clock is ahead of the one here.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PeerRow {
    pub agent: String,
    pub offset_ns: Option<i64>,
    pub round_trip_ns: Option<u64>,
    pub silent_ns: u64,
    /// When its ranks finished, since the workload began.
    pub finish_ps: Option<u64>,
}

/// Frames that were handed to the way to another agent, and that came by it.
#[derive(Copy, Clone, Default, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Crossed {
    pub out: u64,
    pub back: u64,
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RankRow {
    pub finish_ps: Option<u64>,
    /// Of each calc that has ended its op, and when it ended, in ps.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub calcs: Vec<(usize, u64)>,
}

/// One send op of the loaded workload.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct FlowRow<'a> {
    pub src: &'a str,
    pub dst: &'a str,
    pub bytes: u64,
    pub start_ns: u64,
    pub completion_ns: Option<u64>,
    pub goodput_bps: Option<u64>,
    pub start_ps: u64,
    pub completion_ps: Option<u64>,
    /// Where it is not that of the workload.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<Priority>,
}

/// Where the packets are that were sent.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Packets {
    pub sent: u64,
    pub delivered: u64,
    pub dropped: u64,
    pub in_flight: u64,
}

/// A circle of ports that waited for each other. Its keys are in alphabetical order, as telemetry writes them as they stand.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct DeadlockRow {
    pub at_ns: u64,
    pub cured_ns: Option<u64>,
    pub ports: Vec<String>,
    pub priority: Option<Priority>,
}

pub(crate) fn tally(tally: &Tally, in_flight: u64) -> Packets {
    Packets { sent: tally.sent, delivered: tally.delivered, dropped: tally.dropped, in_flight }
}

/// The tally of a span at whose beginning so many frames were under way. They count as sent in it; so does, when it comes to light, a
/// frame of before that had been taken for lost.
fn tally_of_span(now: &Tally, before: &Tally, under_way: u64, in_flight: u64) -> Packets {
    let mut of_span = now.since(before);
    of_span.sent += under_way;
    let missing = before.sent.saturating_sub(before.accounted() + under_way);
    of_span.sent += (of_span.accounted() + in_flight).saturating_sub(of_span.sent).min(missing);
    tally(&of_span, in_flight)
}

impl Emulation {
    /// The report of the span so far; `fidelity` under the real clock only.
    pub fn report<'a>(&'a self, fidelity: Option<&'a Fidelity>) -> Report<'a> {
        let finished = |rank: &RankPlace| RankRow {
            finish_ps: self.finished(*rank).map(Time::ps),
            calcs: self.calcs(*rank).iter().map(|(op, at)| (*op, at.ps())).collect(),
        };
        let (before, all) = (self.spans.run(), self.fabric.totals());
        let sheet = self.of_run();
        let [packets, kernel_frames] = self.spans.under_way;
        let (flows, seen, count) = self.fabric.findings();
        Report {
            now_ps: self.fabric.now().ps(),
            events: sheet.totals.events,
            frame_hops: sheet.totals.frame_hops,
            // It is of every event, those skipped included.
            event_log_hash: (fidelity.is_none() && self.fast.is_none()).then(|| format!("{:016x}", self.fabric.hash())),
            complete: self.is_complete(),
            stalled: self.is_stalled(),
            expired: self.is_expired(),
            start_ps: self.started.ps(),
            ranks: self.ranks.iter().map(finished).collect(),
            flows: self.flows(&flows),
            ports: self.ports(&sheet),
            pools: self.pools(&sheet),
            settled: self.settled(),
            watchdog: self.storms(before.at),
            qps: self.qps(),
            conservation: tally_of_span(&all.packets, &before.totals.packets, packets, self.fabric.in_flight(true)),
            kernel_frames: tally_of_span(
                &all.kernel_frames,
                &before.totals.kernel_frames,
                kernel_frames,
                self.fabric.in_flight(false),
            ),
            drops: self.drops(&sheet),
            deadlocks: self.deadlocks(before.at),
            impairments: &self.fabric.impairments,
            violations: self.violations(seen, count, fidelity.is_none().then_some(&all.packets)),
            fidelity,
            fast: self.fast.as_ref().map(FastForward::report),
            agents: None,
        }
    }

    /// Those that were not over before `since`.
    pub(crate) fn deadlocks(&self, since: Time) -> Vec<DeadlockRow> {
        let name = |place: &Place| {
            let node = &self.plan.nodes[place.node as usize];
            format!("{}:{}", node.name(), node.ports()[usize::from(place.port)].name)
        };
        let entry = |deadlock: &Deadlock| DeadlockRow {
            at_ns: deadlock.at.ns(),
            cured_ns: deadlock.cured.map(Time::ns),
            ports: deadlock.circle.iter().map(name).collect(),
            priority: deadlock.circle.first().map(|place| place.priority),
        };
        let deadlocks = self.deadlocks.deadlocks().iter();
        deadlocks.filter(|deadlock| deadlock.cured.is_none_or(|cured| cured >= since)).map(entry).collect()
    }

    fn flows(&self, flows: &[Flow]) -> Vec<FlowRow<'_>> {
        let name = |node: u32| self.plan.nodes[node as usize].name();
        let flow = |flow: &Flow| {
            let span = flow.completion.map(|at| at.since(flow.start)).filter(|span| *span > Time::ZERO);
            let goodput_bps =
                span.map(|span| (u128::from(flow.bytes) * 8_000_000_000_000 / u128::from(span.ps())) as u64);
            FlowRow {
                src: name(flow.src),
                dst: name(flow.dst),
                bytes: flow.bytes,
                start_ns: flow.start.ns(),
                completion_ns: flow.completion.map(Time::ns),
                goodput_bps,
                start_ps: flow.start.ps(),
                completion_ps: flow.completion.map(Time::ps),
                priority: self.priorities.get(&flow.qpn).copied(),
            }
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
