//! The ways that messages of workloads took through the fabric, and when: who else was held up by a pause.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::Emulation;
use crate::frame::{Body, Frame};
use crate::nic::QpConfig;
use crate::priority::Priority;
use crate::units::Time;
use crate::watch::{Sighting, Watch};

/// Times that are kept one by one; more of them are put together, from the first to the last.
const TIMES_MAX: usize = 1 << 16;

/// The way of a connection's data: the egress queues that it passes, the sender's own first.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Path {
    pub src: usize,
    pub dst: usize,
    pub queues: Vec<(usize, u16, Priority)>,
}

/// From the first message posted to the last one arrived; `None`: it had not, when that was looked at last.
#[derive(Copy, Clone, Debug)]
pub struct Active {
    pub from: Time,
    pub to: Option<Time>,
}

/// Ways that are kept.
const PATHS_MAX: usize = 1 << 14;

/// Ways that lead by a queue that stood still, each with the times at which it was used, in order.
#[derive(Clone, Default, Debug)]
pub struct Paths {
    used: BTreeMap<Path, Vec<Active>>,
    times: usize,
    /// Connections whose ways are not kept.
    omitted: u64,
}

impl Paths {
    fn add(&mut self, path: Path, active: Active) {
        if self.used.len() >= PATHS_MAX && !self.used.contains_key(&path) {
            self.omitted += 1;
            return;
        }
        let times = self.used.entry(path).or_default();
        match times.last_mut().filter(|_| self.times >= TIMES_MAX) {
            Some(last) => last.to = active.to,
            None => {
                times.push(active);
                self.times += 1;
            }
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Path, &[Active])> {
        self.used.iter().map(|(path, times)| (path, &times[..]))
    }

    pub fn omitted(&self) -> u64 {
        self.omitted
    }
}

/// What one end of a connection sent: how much, and when the first and the last of it was.
#[derive(Copy, Clone)]
struct Seen {
    messages: u64,
    first: Time,
    last: Time,
}

impl Emulation {
    /// Note the ways of a workload that makes way for another, if anything stood still.
    pub(crate) fn note_paths(&mut self) {
        self.spans.paths = self.paths(Some(self.fabric.now()));
    }

    /// The ways of the span; those of the loaded workload that are still in use end at `now`, if at all.
    pub(crate) fn paths(&self, now: Option<Time>) -> Paths {
        let mut paths = self.spans.paths.clone();
        let stood = self.queues_that_stood();
        if stood.is_empty() {
            return paths;
        }
        let posted = seen(self.fabric.watches().flat_map(|watch| &watch.posted), 0);
        // An arrival is seen at the other end.
        let arrived = seen(self.fabric.watches().flat_map(|watch| &watch.arrived), 1);
        for (node, state) in self.fabric.nodes().enumerate() {
            let Some(host) = state.host() else { continue };
            for (config, ..) in host.counters() {
                let key = (config.qpn, config.end);
                let Some(sent) = posted.get(&key) else { continue };
                let done = arrived.get(&key).filter(|done| done.messages >= sent.messages);
                let active = Active { from: sent.first, to: done.map(|done| done.last).or(now) };
                let path = self.path(node, &config);
                if path.queues.iter().any(|queue| stood.contains(queue)) {
                    paths.add(path, active);
                }
            }
        }
        paths
    }

    fn queues_that_stood(&self) -> HashSet<(usize, u16, Priority)> {
        let paused = |(node, watch): (usize, &Watch)| {
            watch.intervals().kept().iter().map(|kept| (node, kept.port, kept.priority)).collect::<Vec<_>>()
        };
        let mut stood: HashSet<_> = self.fabric.watches().enumerate().flat_map(paused).collect();
        for (node, state) in self.fabric.nodes().enumerate() {
            for (port, waits) in state.credit_waits() {
                stood.extend(waits.kept().map(|wait| (node, port, wait.priority)));
            }
        }
        stood
    }

    /// The way of what one end of a connection sends, by the tables of the switches as they are now.
    fn path(&self, src: usize, config: &QpConfig) -> Path {
        let frame = Frame {
            dst: config.peer,
            src: self.nics.get(&(src, config.nic)).copied().unwrap_or(config.peer),
            entropy: config.entropy,
            priority: config.priority,
            dscp: config.dscp,
            ..Frame::control(Body::Opaque)
        };
        let mut queues = vec![(src, config.nic, config.priority)];
        let (mut node, mut port) = (src, config.nic);
        // No way is longer, unless it leads in a circle.
        for _ in 0..self.plan.nodes.len() {
            let Some(direction) = self.fabric.leaving(node, port) else { break };
            node = self.fabric.ends(direction).1 .0;
            let Some((egress, queue)) = self.fabric.node(node).switch().and_then(|at| at.destination(&frame)) else {
                break;
            };
            queues.push((node, egress, queue));
            port = egress;
        }
        Path { src, dst: node, queues }
    }
}

/// Messages by connection and by the end that sent them.
fn seen<'a>(sightings: impl Iterator<Item = &'a Sighting>, flip: u8) -> HashMap<(u32, u8), Seen> {
    let mut seen: HashMap<(u32, u8), Seen> = HashMap::new();
    for sighting in sightings {
        let of_end = seen.entry((sighting.qpn, sighting.end ^ flip)).or_insert(Seen {
            messages: 0,
            first: sighting.at,
            last: sighting.at,
        });
        of_end.messages += 1;
        of_end.first = of_end.first.min(sighting.at);
        of_end.last = of_end.last.max(sighting.at);
    }
    seen
}
