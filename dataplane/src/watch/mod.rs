//! The observer of a run: event-log hash, messages, tallies, and the invariants checked in every run.
//!
//! Every node has an observer of its own, so that what is observed does not depend on which core ran the node; what concerns several
//! of them (flows, totals) is put together when it is asked for.

pub mod flows;
pub mod intervals;
pub mod port_tracks;
pub mod series;
mod steady;
pub mod track;

use std::collections::HashMap;

use crate::credit::{Grant, Ledger};
use crate::event::{Cause, Event, Transmission};
use crate::frame::{Body, Frame};
use crate::priority::{Priority, PrioritySet, PRIORITIES};
use crate::units::{Rate, Time};
use crate::wire::pfc::Pfc;
use crate::wire::roce::Syndrome;

pub use flows::{match_up, Flow, Sighting, Violation};
use intervals::Intervals;

/// Violations kept as text; the rest are counted only.
pub const MAX_VIOLATIONS: usize = 20;

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

    /// What has been added to an earlier tally.
    pub fn since(&self, before: &Tally) -> Tally {
        Tally {
            sent: self.sent - before.sent,
            delivered: self.delivered - before.delivered,
            dropped: self.dropped - before.dropped,
        }
    }

    /// Both together.
    pub fn with(&self, other: &Tally) -> Tally {
        Tally {
            sent: self.sent + other.sent,
            delivered: self.delivered + other.delivered,
            dropped: self.dropped + other.dropped,
        }
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
    /// Where the link runs credits.
    credits: Option<Box<Ledger>>,
    /// The priorities whose pauses the watchdog lets nobody heed.
    deaf: PrioritySet,
    /// Frames that the link behind the port lost, by priority: corrupted, and because it was down.
    lost: [u64; PRIORITIES],
    cut: [u64; PRIORITIES],
}

/// Watches a node; all of it is derived from transmissions and events, nothing feeds back into the node. What each of them needs comes
/// first.
#[derive(Debug)]
#[repr(C)]
pub struct Watch {
    /// Events taken from the queue for it, frames that it put on a link.
    pub events: u64,
    pub frame_hops: u64,
    hash: u64,
    /// No pause of its ports ends later; `Time::NEVER` where some run credits.
    bound_until: Time,
    pub last_progress: Time,
    /// What became of the NICs' packets, and of the frames of the hosts' kernels (real clock only), as far as it happened here.
    pub packets: Tally,
    pub kernel_frames: Tally,
    /// By connection: the PSN that must be accepted next.
    expected: Vec<u64>,
    ports: Vec<WatchedPort>,
    /// Messages posted here, and arrived here, since the workload was loaded.
    pub posted: Vec<Sighting>,
    pub arrived: Vec<Sighting>,
    /// Where the messages of a connection are one sighting each way, by number and end and whether they were posted, the places.
    merged: Option<HashMap<(u32, u8, bool), usize>>,
    /// By rank of the node.
    pub finished: Vec<Option<Time>>,
    /// The first violations, and how many there were.
    pub violations: Vec<(Time, String)>,
    pub violation_count: u64,
    /// When its queues stood still because of PAUSE.
    intervals: Intervals,
}

impl Watch {
    /// Watch a node whose ports have these rates and response times.
    pub fn new(ports: Vec<(Rate, Time)>) -> Watch {
        let watched = |(rate, response): (Rate, Time)| WatchedPort {
            rate,
            response,
            windows: Default::default(),
            credits: None,
            deaf: PrioritySet::NONE,
            lost: [0; PRIORITIES],
            cut: [0; PRIORITIES],
        };
        Watch {
            events: 0,
            frame_hops: 0,
            hash: 0,
            bound_until: Time::ZERO,
            last_progress: Time::ZERO,
            packets: Tally::default(),
            kernel_frames: Tally::default(),
            expected: Vec::new(),
            ports: ports.into_iter().map(watched).collect(),
            posted: Vec::new(),
            arrived: Vec::new(),
            merged: None,
            finished: Vec::new(),
            violations: Vec::new(),
            violation_count: 0,
            intervals: Intervals::default(),
        }
    }

    /// Record when queues stand still because of PAUSE: so many intervals at most, 0 for none.
    pub fn record(&mut self, bound: usize) {
        self.intervals.set_bound(bound, self.ports.len());
    }

    pub fn intervals(&self) -> &Intervals {
        &self.intervals
    }

    /// When the pause of a queue runs out or ran out, as far as PAUSE frames said.
    pub fn paused_until(&self, port: u16, priority: Priority) -> Time {
        self.ports[usize::from(port)].windows[priority].until
    }

    /// Forget when queues stood still before `now`.
    pub fn restart_intervals(&mut self, now: Time) {
        let ports = &self.ports;
        self.intervals.restart(|port, priority| ports[usize::from(port)].windows[priority].until <= now);
    }

    /// What leaves `port` needs the credits that the far end grants.
    pub fn grant(&mut self, port: u16, granted: &[Grant]) {
        self.ports[usize::from(port)].credits = Some(Box::new(Ledger::new(granted)));
        self.bound_until = Time::NEVER;
    }

    /// Forget the messages of the last workload; the node has so many connections and ranks in the next one.
    ///
    /// `is_merged`: the messages of a connection in one direction are one sighting, of the first start or the last arrival.
    pub fn load(&mut self, connections: usize, ranks: usize, first_psn: u64, now: Time, is_merged: bool) {
        self.merged = is_merged.then(HashMap::new);
        self.expected = vec![first_psn; connections];
        self.posted.clear();
        self.arrived.clear();
        self.finished = vec![None; ranks];
        self.last_progress = now;
    }

    /// Forget the messages of the last workload, and what was found wrong so far.
    pub fn forget_findings(&mut self) {
        self.merged = self.merged.take().map(|_| HashMap::new());
        self.posted.clear();
        self.arrived.clear();
        self.violations.clear();
        self.violation_count = 0;
    }

    /// The tally of the NICs' packets, or of the kernels' frames.
    #[inline]
    pub fn tally(&mut self, packet: bool) -> &mut Tally {
        if packet {
            &mut self.packets
        } else {
            &mut self.kernel_frames
        }
    }

    /// The hash of everything that happened here.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// Frames of a priority that the link behind a port lost to `Cause::Link` or `Cause::Outage`.
    pub fn lost_frames(&self, port: usize, priority: Priority, cause: Cause) -> u64 {
        let port = &self.ports[port];
        if cause == Cause::Outage {
            port.cut[priority]
        } else {
            port.lost[priority]
        }
    }

    #[inline]
    fn note(&mut self, at: Time, what: u64) {
        self.hash = fold(self.hash ^ at.ps(), what);
    }

    /// The link behind `port` changed, perhaps to another rate.
    pub fn changed(&mut self, port: u16, rate: Option<Rate>, at: Time) {
        self.note(at, 0x20 | u64::from(port) << 8);
        if let Some(rate) = rate {
            self.ports[usize::from(port)].rate = rate;
        }
    }

    /// What is for a station takes another way from here.
    pub fn rerouted(&mut self, station: u32, at: Time) {
        self.note(at, 0x40 | u64::from(station) << 8);
    }

    /// A frame starts on a link.
    #[inline]
    pub fn transmission(&mut self, seen: &Transmission<'_>) {
        self.frame_hops += 1;
        let place = u64::from(seen.port) << 32 | u64::from(seen.frame.len) << 8 | u64::from(seen.frame.priority);
        self.hash = fold(fold(self.hash ^ seen.at.ps(), place), digest(seen.frame));
        if seen.at < self.bound_until {
            self.check(seen);
        }
    }

    /// A frame must not start while its priority is paused, nor without credit.
    fn check(&mut self, seen: &Transmission<'_>) {
        let (number, frame) = (seen.port, seen.frame);
        let port = &mut self.ports[usize::from(number)];
        let credited = port.credits.as_mut().is_none_or(|ledger| ledger.start(frame));
        let window = port.windows[frame.priority];
        let obeys = !frame.is_control() && frame.ingress != Frame::OUTSIDE;
        let paused = obeys && window.from <= seen.at && seen.at < window.until;
        for (_, how) in [(paused, "while paused"), (!credited, "without credit")].iter().filter(|(broken, _)| *broken) {
            self.violate(seen.at, format!("port {number}: a frame of priority {} starts {how}", frame.priority));
        }
    }

    /// The link behind a port lost a frame: a NIC's packet, a kernel's frame, or (`packet` `None`) a control frame, which is in no tally.
    pub fn lost(&mut self, port: u16, priority: Priority, packet: Option<bool>, cause: Cause, now: Time) {
        let watched = &mut self.ports[usize::from(port)];
        let counters = if cause == Cause::Outage { &mut watched.cut } else { &mut watched.lost };
        counters[priority] += 1;
        if let Some(packet) = packet {
            self.tally(packet).dropped += 1;
        }
        self.note(now, 0x10 | u64::from(port) << 8);
    }

    /// The node reports an event.
    pub fn event(&mut self, event: &Event, now: Time) {
        match *event {
            Event::Dropped { port, priority, cause, packet } => {
                self.tally(packet).dropped += 1;
                // It had been delivered: as far as the fabric was concerned.
                self.tally(packet).delivered -= u64::from(cause == Cause::Receiver);
                self.note(now, u64::from(port) << 16 | u64::from(priority) << 8 | cause as u64);
            }
            Event::PauseReceived { port, pfc, request } => self.pause(port, &pfc, request, now),
            Event::CreditReceived { port, credit } => {
                if let Some(ledger) = &mut self.ports[usize::from(port)].credits {
                    ledger.update(&credit);
                }
            }
            Event::StormDetected { port, priority } => self.storm(port, priority, true, now),
            Event::StormOver { port, priority } => self.storm(port, priority, false, now),
            Event::Accepted { qp, psn } => self.accepted(qp, psn, now),
            Event::SendPosted { qpn, end, message, bytes } => {
                self.see(true, Sighting { qpn, end, message, bytes, at: now });
            }
            Event::MessageArrived { qpn, end, message, bytes } => {
                self.see(false, Sighting { qpn, end, message, bytes, at: now });
            }
            Event::SendFinished { .. } => self.last_progress = now,
            Event::QpFailed { .. } => {}
            Event::RankFinished { rank } => {
                self.last_progress = now;
                let finished = self.finished.get_mut(rank as usize);
                if finished.is_none_or(|finished| finished.replace(now).is_some()) {
                    self.violate(now, "the rank finished twice".into());
                }
            }
        }
    }

    #[inline]
    fn accepted(&mut self, qp: u32, psn: u64, now: Time) {
        self.last_progress = now;
        let Some(expected) = self.expected.get_mut(qp as usize) else {
            return self.violate(now, format!("connection {qp}: PSN {psn} accepted, none was loaded"));
        };
        let wanted = std::mem::replace(expected, psn + 1);
        if wanted != psn {
            self.violate(now, format!("connection {qp}: PSN {psn} accepted, {wanted} was due"));
        }
    }

    fn pause(&mut self, port: u16, pfc: &Pfc, request: Option<u32>, now: Time) {
        let watched = &mut self.ports[usize::from(port)];
        for priority in pfc.class_enable.without(watched.deaf) {
            let window = &mut watched.windows[priority];
            let until = now + watched.rate.quanta(pfc.quanta[priority]);
            let running = now < window.until;
            self.bound_until = self.bound_until.max(until);
            if pfc.quanta[priority] == 0 {
                window.until = window.until.min(now);
                self.intervals.end(port, priority, window.from, window.until);
            } else if running {
                window.until = until;
                self.intervals.renew(port, priority, request);
            } else {
                self.intervals.end(port, priority, window.from, window.until);
                *window = PauseWindow { from: now + watched.response, until };
                self.intervals.begin(port, priority, window.from, request);
            }
        }
    }

    /// A watchdog decides that pauses do not hold, or hold again.
    fn storm(&mut self, port: u16, priority: Priority, begins: bool, now: Time) {
        let watched = &mut self.ports[usize::from(port)];
        if begins {
            watched.deaf.insert(priority);
            let window = &mut watched.windows[priority];
            self.intervals.end(port, priority, window.from, window.until.min(now));
            window.until = now;
        } else {
            watched.deaf.remove(priority);
        }
        self.note(now, 0x30 | u64::from(begins) << 8 | u64::from(priority) << 16 | u64::from(port) << 24);
    }

    fn violate(&mut self, at: Time, text: String) {
        self.violation_count += 1;
        if self.violations.len() < MAX_VIOLATIONS {
            self.violations.push((at, text));
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
            pfc.quanta.iter().fold(u64::from(pfc.class_enable.bits()), |hash, quanta| fold(hash, u64::from(*quanta)))
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
pub fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a ^ 0x9e37_79b9_7f4a_7c15) * u128::from(b ^ 0xe703_7ed1_a0b4_28db);
    (product as u64) ^ ((product >> 64) as u64)
}
