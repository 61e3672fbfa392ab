//! The figures of every port and switch at one moment, and what they come to over a span of time: counts as differences, and of what
//! was held the most and the least that was seen in it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::ser::{SerializeMap, SerializeStruct, Serializer};
use serde::Serialize;

use crate::emulation::Emulation;
use crate::event::Cause;
use crate::fabric::{Node, Totals};
use crate::nic::receive_buffer::ReceiveBuffer;
use crate::plan::NodePlan;
use crate::port::PriorityCounters;
use crate::priority::{Priority, PrioritySet, PRIORITIES};
use crate::switch::buffer::Watermarks;
use crate::units::Time;

/// Frames lost: for lack of buffer on lossless priorities, of lossy ones, and by links that corrupt or are down.
#[derive(Copy, Clone, Debug, Default, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Drops {
    pub lossless: u64,
    pub lossy: u64,
    pub link: u64,
    pub outage: u64,
    /// Frames that nobody could read, and that no NIC of the fabric sent.
    pub malformed: u64,
}

/// Lost frames by cause.
#[derive(Copy, Clone, Default, Debug)]
struct ByCause([u64; Cause::ALL.len()]);

impl Serialize for ByCause {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(Cause::ALL.iter().map(|cause| (cause.name(), self.0[*cause as usize])))
    }
}

#[cfg(test)]
impl schemars::JsonSchema for ByCause {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ByCause".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let names = Cause::ALL.map(Cause::name);
        let keys: BTreeMap<_, _> = names.iter().map(|name| (name, serde_json::json!({ "type": "integer" }))).collect();
        schemars::json_schema!({ "type": "object", "properties": keys, "required": names })
    }
}

/// What is counted of one priority of one port.
#[derive(Copy, Clone, Default, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Counts {
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
    ecn_marked: u64,
    demoted: u64,
}

impl Counts {
    fn since(&self, before: &Counts) -> Counts {
        Counts {
            frames_tx: self.frames_tx - before.frames_tx,
            frames_rx: self.frames_rx - before.frames_rx,
            bytes_tx: self.bytes_tx - before.bytes_tx,
            bytes_rx: self.bytes_rx - before.bytes_rx,
            data_frames_tx: self.data_frames_tx - before.data_frames_tx,
            drops: ByCause(std::array::from_fn(|cause| self.drops.0[cause] - before.drops.0[cause])),
            pause_tx: self.pause_tx - before.pause_tx,
            pause_rx: self.pause_rx - before.pause_rx,
            // A pause that a watchdog lifts takes back what it would still have lasted.
            paused_ns: self.paused_ns.saturating_sub(before.paused_ns),
            credit_tx: self.credit_tx - before.credit_tx,
            credit_rx: self.credit_rx - before.credit_rx,
            credit_wait_ns: self.credit_wait_ns.saturating_sub(before.credit_wait_ns),
            ecn_marked: self.ecn_marked - before.ecn_marked,
            demoted: self.demoted - before.demoted,
        }
    }

    fn any(&self) -> bool {
        let control = self.pause_rx + self.pause_tx + self.credit_rx + self.credit_tx;
        self.frames_tx + self.frames_rx + self.demoted + control > 0 || self.drops.0.iter().any(|drops| *drops > 0)
    }
}

/// The most that one priority of one port held, and the least.
#[derive(Copy, Clone, Default, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Marks {
    queue_bytes_max: u64,
    headroom_bytes_max: u64,
    shared_bytes_max: u64,
    ingress_bytes_max: u64,
    /// Told of settled states alone: where a span begins with an empty queue it is 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    queue_bytes_min: Option<u64>,
}

impl Marks {
    fn with(&self, other: &Marks) -> Marks {
        let least = [self.queue_bytes_min, other.queue_bytes_min];
        Marks {
            queue_bytes_max: self.queue_bytes_max.max(other.queue_bytes_max),
            headroom_bytes_max: self.headroom_bytes_max.max(other.headroom_bytes_max),
            shared_bytes_max: self.shared_bytes_max.max(other.shared_bytes_max),
            ingress_bytes_max: self.ingress_bytes_max.max(other.ingress_bytes_max),
            queue_bytes_min: least.into_iter().flatten().min(),
        }
    }
}

/// Counters and state of one priority of one port, as in run.json.
#[derive(Copy, Clone, Default, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PriorityFigures {
    #[serde(flatten)]
    counts: Counts,
    queue_bytes: u64,
    #[serde(flatten)]
    marks: Marks,
    paused: bool,
}

/// The priorities of one port at which anything happened, or something stood.
#[derive(Clone, Debug)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PortFigures {
    rate_bps: u64,
    #[cfg_attr(test, schemars(with = "BTreeMap<String, PriorityFigures>"))]
    priorities: Vec<(Priority, PriorityFigures)>,
}

impl Serialize for PortFigures {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let priorities: BTreeMap<_, _> =
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

#[cfg(test)]
impl schemars::JsonSchema for Ports {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Ports".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        BTreeMap::<String, PortFigures>::json_schema(generator)
    }
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

/// All figures at one moment. Counts are since the fabric was made, marks since they were last restarted; after `since`, both are of a
/// span.
#[derive(Clone, Default, Debug)]
pub struct Sheet {
    pub at: Time,
    /// By port, in the order of the plan, and priority.
    ports: Vec<PriorityFigures>,
    /// By node.
    memories: Vec<Option<Watermarks>>,
    pub totals: Totals,
}

impl Sheet {
    /// What has happened since `before`, whose marks count too.
    pub fn since(&self, before: &Sheet) -> Sheet {
        let port = |(now, before): (&PriorityFigures, &PriorityFigures)| PriorityFigures {
            counts: now.counts.since(&before.counts),
            marks: now.marks.with(&before.marks),
            ..*now
        };
        let memory =
            |(now, before): (&Option<Watermarks>, &Option<Watermarks>)| Some(now.as_ref()?.with(before.as_ref()?));
        Sheet {
            at: self.at,
            ports: self.ports.iter().zip(&before.ports).map(port).collect(),
            memories: self.memories.iter().zip(&before.memories).map(memory).collect(),
            totals: self.totals.since(&before.totals),
        }
    }

    /// Note marks that were seen before they are restarted.
    pub fn absorb(&mut self, seen: &Sheet) {
        for (own, seen) in self.ports.iter_mut().zip(&seen.ports) {
            own.marks = own.marks.with(&seen.marks);
        }
        for (own, seen) in self.memories.iter_mut().zip(&seen.memories) {
            *own = own.as_ref().zip(seen.as_ref()).map(|(own, seen)| own.with(seen));
        }
    }

    /// The same without marks: where a span begins.
    pub fn beginning(mut self) -> Sheet {
        self.ports.iter_mut().for_each(|figures| figures.marks = Marks::default());
        self.memories.iter_mut().flatten().for_each(|marks| *marks = Watermarks::default());
        self
    }

    /// Leave the least that queues held untold.
    pub fn without_least(mut self) -> Sheet {
        self.ports.iter_mut().for_each(|figures| figures.marks.queue_bytes_min = None);
        self
    }
}

impl Emulation {
    /// The figures as they are now, with times up to `at`.
    pub(crate) fn sheet(&self, at: Time) -> Sheet {
        let watermarks = |node: &Node| node.switch().map(|switch| switch.buffer().watermarks());
        let mut ports = Vec::new();
        for node in 0..self.plan.nodes.len() {
            for port in 0..self.fabric.node(node).ports().len() {
                ports.extend(Priority::ALL.into_iter().map(|priority| self.priority(node, port, priority, at)));
            }
        }
        Sheet { at, ports, memories: self.fabric.nodes().map(watermarks).collect(), totals: self.fabric.totals() }
    }

    fn priority(&self, node: usize, port: usize, priority: Priority, at: Time) -> PriorityFigures {
        let state = &self.fabric.node(node).ports()[port];
        let counters: &PriorityCounters = &state.counters[priority];
        let (queue_bytes_max, queue_bytes_min) = state.queue_marks(priority);
        let watch = self.fabric.watch(node);
        let mut drops = counters.drops;
        for cause in [Cause::Link, Cause::Outage] {
            drops[cause as usize] = watch.lost_frames(port, priority, cause);
        }
        let group = self.fabric.node(node).switch().map(|switch| switch.buffer().group(port as u16, priority));
        let received = self.fabric.node(node).host().and_then(|host| host.receive_buffer(port));
        let received = received.filter(|_| counters.frames_rx > 0);
        let [ingress_bytes_max, shared_bytes_max, headroom_bytes_max] =
            match (group, received.map(ReceiveBuffer::watermarks)) {
                (Some(group), _) => [group.used_max(), group.shared_max(), group.headroom_max()],
                (None, Some((held, beyond))) => [held, held - beyond, beyond],
                (None, None) => [0; 3],
            };
        PriorityFigures {
            counts: Counts {
                frames_tx: counters.frames_tx,
                frames_rx: counters.frames_rx,
                bytes_tx: counters.bytes_tx,
                bytes_rx: counters.bytes_rx,
                data_frames_tx: counters.data_frames_tx,
                drops: ByCause(drops),
                pause_tx: counters.pause_tx,
                pause_rx: counters.pause_rx,
                paused_ns: state.paused_time(priority, at).ns(),
                credit_tx: counters.credit_tx,
                credit_rx: counters.credit_rx,
                credit_wait_ns: state.credit_wait(priority, at).ns(),
                ecn_marked: counters.ecn_marked,
                demoted: counters.demoted,
            },
            queue_bytes: state.queue_bytes(priority),
            marks: Marks {
                queue_bytes_max,
                headroom_bytes_max,
                shared_bytes_max,
                ingress_bytes_max,
                queue_bytes_min: Some(queue_bytes_min),
            },
            paused: state.is_paused(priority, at),
        }
    }

    /// The ports of a sheet, those of other agents left out.
    pub(crate) fn ports(&self, sheet: &Sheet) -> Ports {
        let mut figures = Vec::with_capacity(self.port_names.len());
        let mut rows = sheet.ports.chunks(PRIORITIES);
        for plan in &self.plan.nodes {
            for (port, row) in plan.ports().iter().zip(&mut rows) {
                if plan.is_elsewhere() {
                    continue;
                }
                let seen = row
                    .iter()
                    .zip(Priority::ALL)
                    .filter(|(figures, _)| figures.counts.any() || figures.queue_bytes > 0);
                let priorities = seen.map(|(figures, priority)| (priority, *figures)).collect();
                figures.push(PortFigures { rate_bps: port.rate_bps, priorities });
            }
        }
        Ports { names: Arc::clone(&self.port_names), figures }
    }

    /// How full the memory of each switch was.
    pub(crate) fn pools(&self, sheet: &Sheet) -> BTreeMap<&str, Watermarks> {
        let here = self.plan.nodes.iter().zip(&sheet.memories).filter(|(plan, _)| !plan.is_elsewhere());
        here.filter_map(|(plan, marks)| Some((plan.name(), (*marks)?))).collect()
    }

    /// What was lost, at all ports.
    pub(crate) fn drops(&self, sheet: &Sheet) -> Drops {
        let lossless_at = |node: &NodePlan| match node {
            NodePlan::Switch(switch) => switch.lossless.iter().copied().collect(),
            NodePlan::Host(_) => PrioritySet::NONE,
        };
        // What is lossless at some switch is so at hosts, which count by priorities where switches count by queues.
        let named_at = |node: &NodePlan| match node {
            NodePlan::Switch(switch) => switch.lossless_priorities(),
            NodePlan::Host(_) => PrioritySet::NONE,
        };
        let at_hosts = self.plan.nodes.iter().map(named_at).fold(PrioritySet::NONE, |all, here| all | here);
        const AT_NODES: [Cause; 5] =
            [Cause::Headroom, Cause::Buffer, Cause::Watchdog, Cause::Unroutable, Cause::Receiver];
        let mut drops = Drops::default();
        let mut rows = sheet.ports.chunks(PRIORITIES);
        for plan in &self.plan.nodes {
            let lossless = if matches!(plan, NodePlan::Host(_)) { at_hosts } else { lossless_at(plan) };
            for row in rows.by_ref().take(plan.ports().len()) {
                for (figures, priority) in row.iter().zip(Priority::ALL) {
                    let lost = |cause: Cause| figures.counts.drops.0[cause as usize];
                    let class = if lossless.contains(priority) { &mut drops.lossless } else { &mut drops.lossy };
                    *class += AT_NODES.into_iter().map(lost).sum::<u64>();
                    drops.malformed += lost(Cause::Malformed);
                    drops.link += lost(Cause::Link);
                    drops.outage += lost(Cause::Outage);
                }
            }
        }
        drops
    }
}
