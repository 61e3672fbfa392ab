//! The records from which the causes of pauses follow, as a JSON document: when queues stood still, what switches asked of their peers
//! and why, and which ways messages took. Whoever reads it joins the two ends of each link, of which two agents may have one each.

use std::collections::BTreeMap;

use serde::Serialize;

use super::paths::{Active, Path};
use super::Emulation;
use crate::credit_waits::CreditWait;
use crate::priority::Priority;
use crate::switch::queue_map::QueueMap;
use crate::switch::stop_requests::{Backlog, Share, StopRequest};
use crate::switch::Switch;
use crate::units::Time;
use crate::watch::intervals::Interval;

/// What is recorded of the pauses of a span.
#[derive(Debug, Default, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PauseRecords {
    pub now_ps: u64,
    pub intervals: Vec<IntervalRow>,
    /// Intervals beyond what is kept, by node when the first of them began, and what those of them that are over came to.
    pub intervals_omitted: u64,
    pub intervals_omitted_from_ps: BTreeMap<String, u64>,
    pub omitted_ps: u64,
    pub requests: Vec<RequestRow>,
    /// By port of which requests are not kept, the number of the first of them.
    pub requests_omitted: BTreeMap<String, u32>,
    pub paths: Vec<PathRow>,
    /// Connections whose ways are not kept.
    pub paths_omitted: u64,
}

/// A time for which an egress queue stood still because of PAUSE.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct IntervalRow {
    port: String,
    priority: Priority,
    /// What stands in the queue, as the wire names it, where that is not its own number alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    named: Option<Vec<Priority>>,
    from_ps: u64,
    to_ps: Option<u64>,
    first: Option<u32>,
    last: Option<u32>,
    /// It waited for credit of the far end: no PAUSE frame kept it.
    credits: bool,
}

/// What a priority group of a switch asked of the peer behind its port.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RequestRow {
    port: String,
    /// What the group counts, as the wire names it.
    named: Vec<Priority>,
    number: u32,
    from_ps: u64,
    to_ps: Option<u64>,
    lost: u64,
    shares: Vec<ShareRow>,
    backlog: Option<Backlog>,
    senders: u16,
}

/// What the group held in one egress queue.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct ShareRow {
    port: String,
    priority: Priority,
    bytes: u64,
    stood: bool,
}

/// The way of messages: egress queues, the sender's own first, and when it was used.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PathRow {
    src: String,
    dst: String,
    queues: Vec<QueueRow>,
    active: Vec<ActiveRow>,
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct QueueRow {
    port: String,
    priority: Priority,
}

/// From the first message posted to the last one arrived.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct ActiveRow {
    from_ps: u64,
    to_ps: Option<u64>,
}

impl Emulation {
    /// The records of the span so far.
    pub fn pauses(&self) -> PauseRecords {
        let now = self.fabric.now();
        let names = self.names_of_ports();
        let name = |node: usize, port: u16| names[node][usize::from(port)].clone();
        let mut records = PauseRecords { now_ps: now.ps(), ..PauseRecords::default() };
        let mut intervals: Vec<(usize, Interval)> = Vec::new();
        let mut waits: Vec<(usize, Interval)> = Vec::new();
        let mut requests: Vec<(usize, &StopRequest, &[Share])> = Vec::new();
        for (node, watch) in self.fabric.watches().enumerate() {
            let (omitted, first, time) = watch.intervals().left_out();
            let node_name = || self.plan.nodes[node].name().to_owned();
            records.intervals_omitted_from_ps.extend(first.map(|from| (node_name(), from.ps())));
            records.intervals_omitted += omitted;
            records.omitted_ps += time.ps();
            let kept = watch.intervals().kept().iter().map(|interval| {
                let until = watch.paused_until(interval.port, interval.priority);
                let ended = interval.to.or((until <= now).then_some(until.max(interval.from)));
                (node, Interval { to: ended, ..*interval })
            });
            // A pause that was called off before it took hold kept nobody from sending.
            intervals.extend(kept.filter(|(_, interval)| interval.to.is_none_or(|to| to > interval.from)));
            self.add_credit_waits(node, &mut records, &mut waits);
            let Some(of_switch) = self.fabric.node(node).switch().map(Switch::stop_requests) else { continue };
            requests.extend(of_switch.kept().map(|(request, shares)| (node, request, shares)));
            records.requests_omitted.extend(of_switch.left_out().map(|(port, first)| (name(node, port), first)));
        }
        requests.sort_by_key(|(node, request, _)| (request.from, *node, request.port, request.number));
        let row = |credits: bool| move |(node, interval): (usize, Interval)| (interval.from, node, interval, credits);
        let mut all: Vec<_> = intervals.into_iter().map(row(false)).chain(waits.into_iter().map(row(true))).collect();
        all.sort_by_key(|(from, node, interval, credits)| (*from, *node, interval.port, interval.priority, *credits));
        let row = |(_, node, interval, credits): &(_, usize, Interval, bool)| IntervalRow {
            credits: *credits,
            ..self.interval_row(*node, interval, &names)
        };
        records.intervals = all.iter().map(row).collect();
        let row = |(node, request, shares): &(usize, &StopRequest, &[Share])| RequestRow {
            port: name(*node, request.port),
            named: self.queue_map(*node).map_or(vec![request.group], |map| map.counted_in(request.group)),
            number: request.number,
            from_ps: request.from.ps(),
            to_ps: request.to.map(Time::ps),
            lost: request.lost,
            shares: shares.iter().map(|share| share_row(name(*node, share.port), share)).collect(),
            backlog: request.backlog.map(|(reason, _)| reason),
            senders: request.backlog.map_or(0, |(_, senders)| senders),
        };
        records.requests = requests.iter().map(row).collect();
        let paths = self.paths(None);
        records.paths_omitted = paths.omitted();
        let queue =
            |(node, port, queue): &(usize, u16, Priority)| QueueRow { port: name(*node, *port), priority: *queue };
        let active = |active: &Active| ActiveRow { from_ps: active.from.ps(), to_ps: active.to.map(Time::ps) };
        let row = |(path, times): (&Path, &[Active])| PathRow {
            src: self.plan.nodes[path.src].name().to_owned(),
            dst: self.plan.nodes[path.dst].name().to_owned(),
            queues: path.queues.iter().map(queue).collect(),
            active: times.iter().map(active).collect(),
        };
        records.paths = paths.iter().map(row).collect();
        records
    }

    fn interval_row(&self, node: usize, interval: &Interval, names: &[Vec<String>]) -> IntervalRow {
        IntervalRow {
            port: names[node][usize::from(interval.port)].clone(),
            priority: interval.priority,
            named: self.queue_map(node).map(|map| map.standing_in(interval.priority)),
            from_ps: interval.from.ps(),
            to_ps: interval.to.map(Time::ps),
            first: interval.first,
            last: interval.last,
            credits: false,
        }
    }

    /// Add the times for which frames of a node waited for credit, and count those that are not kept.
    fn add_credit_waits(&self, node: usize, records: &mut PauseRecords, waits: &mut Vec<(usize, Interval)>) {
        for (port, of_port) in self.fabric.node(node).credit_waits() {
            let interval = |wait: CreditWait| Interval {
                port,
                priority: wait.priority,
                from: wait.from,
                to: wait.to,
                first: None,
                last: None,
            };
            waits.extend(of_port.kept().map(|wait| (node, interval(wait))));
            let (omitted, first, time) = of_port.left_out();
            records.intervals_omitted += omitted;
            records.omitted_ps += time.ps();
            if let Some(from) = first {
                let earliest = records.intervals_omitted_from_ps.entry(self.plan.nodes[node].name().to_owned());
                let earliest = earliest.or_insert(from.ps());
                *earliest = from.ps().min(*earliest);
            }
        }
    }

    fn queue_map(&self, node: usize) -> Option<&QueueMap> {
        self.fabric.node(node).switch()?.queue_map()
    }
}

fn share_row(port: String, share: &Share) -> ShareRow {
    ShareRow { port, priority: share.queue, bytes: share.bytes, stood: share.stood }
}
