//! The observer of a run: event-log hash, flow times, capture, and the invariants checked in every run.

use std::collections::HashMap;

use crate::capture::Capture;
use crate::event::{Cause, Event, Transmission};
use crate::frame::{Body, Frame, Priority, PRIORITIES};
use crate::impair::{Change, Logged};
use crate::units::{Rate, Time};
use crate::wire::pfc::Pfc;
use crate::wire::roce::Syndrome;

/// Violations kept as text; the rest are counted only.
const MAX_VIOLATIONS: usize = 20;

/// One message of a workload on its way from rank to rank.
#[derive(Clone, Debug)]
pub struct Flow {
    pub src: u32,
    pub dst: u32,
    pub bytes: u64,
    pub start: Time,
    pub completion: Option<Time>,
}

/// Frames that hosts sent, that arrived at hosts, and that were dropped in between.
#[derive(Copy, Clone, Default, Debug)]
pub struct Tally {
    pub sent: u64,
    pub delivered: u64,
    pub dropped: u64,
}

impl Tally {
    /// Frames whose fate is known.
    pub fn accounted(&self) -> u64 {
        self.delivered + self.dropped
    }
}

/// The checker's own idea of when a priority is paused, kept apart from the port's.
#[derive(Copy, Clone, Default, Debug)]
struct PauseWindow {
    from: Time,
    until: Time,
}

/// A port as the checker knows it.
#[derive(Debug)]
struct WatchedPort {
    rate: Rate,
    response: Time,
    windows: [PauseWindow; PRIORITIES],
    /// Some window may still be open.
    paused: bool,
    /// Frames that the link behind the port lost, by priority: corrupted, and because it was down.
    lost: [u64; PRIORITIES],
    cut: [u64; PRIORITIES],
}

/// Watches a run; all of it is derived from transmissions and events, nothing feeds back into the nodes.
#[derive(Debug)]
pub struct Watch {
    /// Events taken from the queue, frames that crossed (or were lost on) a link.
    pub events: u64,
    pub frame_hops: u64,
    /// What became of the NICs' packets, and of the frames of the hosts' kernels (real clock only).
    pub packets: Tally,
    pub kernel_frames: Tally,
    hashes: Vec<u64>,
    ports: Vec<Vec<WatchedPort>>,
    names: Vec<String>,
    /// By node, by connection: the PSN that must be accepted next.
    expected: Vec<Vec<u64>>,
    /// The two ends (nodes) of a QP number.
    ends: HashMap<u32, (u32, u32)>,
    pub flows: Vec<Flow>,
    flow_index: HashMap<(u32, u32, u64), usize>,
    pub finished: HashMap<u32, Time>,
    pub last_progress: Time,
    pub violations: Vec<String>,
    pub violation_count: u64,
    pub capture: Option<Capture>,
    pub impairments: Vec<Logged>,
}

impl Watch {
    /// Watch nodes with these names and, for each port, this rate and response time.
    pub fn new(names: Vec<String>, ports: Vec<Vec<(Rate, Time)>>) -> Watch {
        let watched = |(rate, response): (Rate, Time)| WatchedPort {
            rate,
            response,
            windows: Default::default(),
            paused: false,
            lost: [0; PRIORITIES],
            cut: [0; PRIORITIES],
        };
        Watch {
            events: 0,
            frame_hops: 0,
            packets: Tally::default(),
            kernel_frames: Tally::default(),
            hashes: vec![0; names.len()],
            expected: vec![Vec::new(); names.len()],
            ports: ports.into_iter().map(|ports| ports.into_iter().map(watched).collect()).collect(),
            names,
            ends: HashMap::new(),
            flows: Vec::new(),
            flow_index: HashMap::new(),
            finished: HashMap::new(),
            last_progress: Time::ZERO,
            violations: Vec::new(),
            violation_count: 0,
            capture: None,
            impairments: Vec::new(),
        }
    }

    /// Forget the flows of the last workload; `ends` are the QPs of the next one, `connections` how many each node has.
    pub fn load(&mut self, ends: HashMap<u32, (u32, u32)>, connections: &[usize], first_psn: u64, now: Time) {
        self.ends = ends;
        for (expected, connections) in self.expected.iter_mut().zip(connections) {
            *expected = vec![first_psn; *connections];
        }
        self.flows.clear();
        self.flow_index.clear();
        self.finished.clear();
        self.last_progress = now;
    }

    /// The tally of the NICs' packets, or of the kernels' frames.
    pub fn tally(&mut self, packet: bool) -> &mut Tally {
        if packet {
            &mut self.packets
        } else {
            &mut self.kernel_frames
        }
    }

    /// The hash of everything that happened, node by node.
    pub fn hash(&self) -> u64 {
        self.hashes.iter().fold(0, |hash, node| fold(hash, *node))
    }

    /// Frames of a priority that the link behind a port lost to `Cause::Link` or `Cause::Outage`.
    pub fn lost_frames(&self, node: usize, port: usize, priority: usize, cause: Cause) -> u64 {
        let port = &self.ports[node][port];
        if cause == Cause::Outage {
            port.cut[priority]
        } else {
            port.lost[priority]
        }
    }

    /// A link changed; the sending end is `port` of `node`.
    pub fn changed(&mut self, (node, port): (u32, u16), change: Change, asked: Time, at: Time) {
        let hash = &mut self.hashes[node as usize];
        *hash = fold(*hash ^ at.ps(), 0x20 | u64::from(port) << 8);
        if let Some(rate) = change.rate_bps.and_then(Rate::from_bps) {
            self.ports[node as usize][usize::from(port)].rate = rate;
        }
        self.impairments.push(Logged { change, asked_ps: asked.ps(), at_ps: at.ps() });
    }

    /// A frame starts on a link.
    #[inline]
    pub fn transmission(&mut self, seen: &Transmission<'_>) {
        self.frame_hops += 1;
        let hash = &mut self.hashes[seen.node as usize];
        let place = u64::from(seen.port) << 32 | u64::from(seen.frame.len) << 8 | u64::from(seen.frame.priority);
        *hash = fold(fold(*hash ^ seen.at.ps(), place), digest(seen.frame));
        let port = &self.ports[seen.node as usize][usize::from(seen.port)];
        if port.paused && !seen.frame.is_control() {
            let window = port.windows[usize::from(seen.frame.priority & 7)];
            let obeys = seen.frame.ingress != Frame::OUTSIDE;
            if obeys && window.from <= seen.at && seen.at < window.until {
                let text =
                    format!("port {}: a frame of priority {} starts while paused", seen.port, seen.frame.priority);
                self.violate(seen.node, seen.at, &text);
            }
        }
        if let Some(capture) = &mut self.capture {
            capture.write(seen);
        }
    }

    /// The link behind a port lost a frame: a NIC's packet, a kernel's frame, or (`packet` `None`) a control frame, which is in no tally.
    pub fn lost(
        &mut self,
        (node, port): (u32, u16),
        priority: Priority,
        packet: Option<bool>,
        cause: Cause,
        now: Time,
    ) {
        let watched = &mut self.ports[node as usize][usize::from(port)];
        let counters = if cause == Cause::Outage { &mut watched.cut } else { &mut watched.lost };
        counters[usize::from(priority & 7)] += 1;
        if let Some(packet) = packet {
            self.tally(packet).dropped += 1;
        }
        let hash = &mut self.hashes[node as usize];
        *hash = fold(*hash ^ now.ps(), 0x10 | u64::from(port) << 8);
    }

    /// A node reports an event.
    pub fn event(&mut self, node: u32, event: &Event, now: Time) {
        match event {
            Event::Dropped { port, priority, cause, packet } => {
                self.tally(*packet).dropped += 1;
                let hash = &mut self.hashes[node as usize];
                *hash = fold(*hash ^ now.ps(), u64::from(*port) << 16 | u64::from(*priority) << 8 | *cause as u64);
            }
            Event::PauseReceived { port, pfc } => self.pause(node, *port, pfc, now),
            Event::Accepted { qp, psn } => {
                self.last_progress = now;
                let Some(expected) = self.expected[node as usize].get_mut(*qp as usize) else {
                    return self.violate(node, now, &format!("connection {qp}: PSN {psn} accepted, none was loaded"));
                };
                let wanted = std::mem::replace(expected, *psn + 1);
                if wanted != *psn {
                    self.violate(node, now, &format!("connection {qp}: PSN {psn} accepted, {wanted} was due"));
                }
            }
            Event::SendPosted { qpn, message, bytes } => self.posted(node, *qpn, *message, *bytes, now),
            Event::MessageArrived { qpn, message, bytes } => self.arrived(node, *qpn, *message, *bytes, now),
            Event::SendFinished { .. } => self.last_progress = now,
            Event::QpFailed { .. } => {}
            Event::RankFinished => {
                self.last_progress = now;
                if self.finished.insert(node, now).is_some() {
                    self.violate(node, now, "the rank finished twice");
                }
            }
        }
    }

    fn pause(&mut self, node: u32, port: u16, pfc: &Pfc, now: Time) {
        let watched = &mut self.ports[node as usize][usize::from(port)];
        for (priority, window) in watched.windows.iter_mut().enumerate() {
            if pfc.class_enable & (1 << priority) == 0 {
                continue;
            }
            let until = now + watched.rate.quanta(pfc.quanta[priority]);
            let running = now < window.until;
            if pfc.quanta[priority] == 0 {
                window.until = window.until.min(now);
            } else {
                let from = if running { window.from } else { now + watched.response };
                *window = PauseWindow { from, until };
            }
        }
        watched.paused = watched.windows.iter().any(|window| now < window.until);
    }

    fn posted(&mut self, node: u32, qpn: u32, message: u64, bytes: u64, now: Time) {
        let Some((a, b)) = self.ends.get(&qpn).copied() else { return };
        let dst = if a == node { b } else { a };
        let flow = Flow { src: node, dst, bytes, start: now, completion: None };
        if self.flow_index.insert((node, qpn, message), self.flows.len()).is_some() {
            self.violate(node, now, &format!("QP {qpn}: message {message} posted twice"));
        }
        self.flows.push(flow);
    }

    fn arrived(&mut self, node: u32, qpn: u32, message: u64, bytes: u64, now: Time) {
        let Some((a, b)) = self.ends.get(&qpn).copied() else { return };
        let src = if a == node { b } else { a };
        let fault = match self.flow_index.get(&(src, qpn, message)).map(|index| &mut self.flows[*index]) {
            None => "arrived but was never posted".to_owned(),
            Some(flow) if flow.completion.is_some() => "arrived twice".to_owned(),
            Some(flow) if flow.bytes != bytes => format!("has {bytes} bytes of {}", flow.bytes),
            Some(flow) => {
                flow.completion = Some(now);
                return;
            }
        };
        self.violate(node, now, &format!("QP {qpn}: message {message} {fault}"));
    }

    fn violate(&mut self, node: u32, at: Time, text: &str) {
        self.violation_count += 1;
        if self.violations.len() < MAX_VIOLATIONS {
            self.violations.push(format!("{} at {} ps: {text}", self.names[node as usize], at.ps()));
        }
    }
}

/// A number that differs for any two frames that differ in what matters to the log.
#[inline]
fn digest(frame: &Frame) -> u64 {
    match &frame.body {
        Body::Roce(packet) => {
            let stations = u64::from(frame.src.0) << 32 | u64::from(frame.dst.0);
            let numbers = u64::from(packet.psn) << 32 | u64::from(packet.dst_qp) << 8 | packet.opcode as u64;
            let negative = !matches!(packet.syndrome, Syndrome::Ack { .. });
            let flags = u64::from(negative) << 3 | u64::from(packet.ack_request) << 2 | u64::from(frame.ecn);
            fold(stations, numbers) ^ flags
        }
        Body::Pause(pfc) => {
            pfc.quanta.iter().fold(u64::from(pfc.class_enable), |hash, quanta| fold(hash, u64::from(*quanta)))
        }
        Body::Credit(credit) => {
            let counts = u64::from(credit.sent) << 32 | u64::from(credit.limit);
            fold(counts, u64::from(credit.priority) << 1 | u64::from(credit.request))
        }
        Body::Opaque => u64::from(frame.src.0) << 32 | u64::from(frame.dst.0),
    }
}

/// Fold two words into one by a wide multiplication: order matters, and no bit is lost for good.
#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a ^ 0x9e37_79b9_7f4a_7c15) * u128::from(b ^ 0xe703_7ed1_a0b4_28db);
    (product as u64) ^ ((product >> 64) as u64)
}
