//! Several agents, one nominal time: each tells the others how far it is, and none goes far ahead of the slowest.
//!
//! A workload begins when all are ready, at an instant that the first agent names and the others convert to their own clock. From then
//! on nominal time is held at the horizon, a little beyond what was last received from the slowest: when one machine stalls, the network
//! stands still on all of them. Pure but for the wall times that it is given; `heartbeats.rs` moves the datagrams.

use serde::Deserialize;

use crate::emulation::report::PeerRow;
use crate::units::Time;
use crate::wire::heartbeat::{Heartbeat, Phase};

/// How far an agent may be ahead of the slowest, in steps of its pace: frame times of the fastest link.
const LEAD_STEPS: u64 = 2;
/// Between two heartbeats: a part of the lead, in wall time, within these bounds.
const HEARTBEATS_A_LEAD: u64 = 4;
const PERIOD_NS: std::ops::RangeInclusive<u64> = 20_000..=1_000_000;
/// From all being ready to the beginning: a few times what a heartbeat takes, and this.
const NOTICE_NS: u64 = 2_000_000;
/// An agent that has been silent for so long is given up.
const SILENCE_NS: u64 = 5_000_000_000;

/// A run of several agents, as this agent gets it: who they are, and which of them it is itself.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Participants {
    pub key: u64,
    pub number: usize,
    pub agents: Vec<Participant>,
}

#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Participant {
    pub name: String,
    pub address: std::net::SocketAddr,
}

/// The shortest exchange with another agent so far.
#[derive(Copy, Clone, Debug)]
struct Exchange {
    round_trip_ns: u64,
    offset_ns: i64,
}

#[derive(Debug)]
struct Peer {
    name: String,
    number: u16,
    last: Heartbeat,
    received_ns: Option<u64>,
    best: Option<Exchange>,
}

/// The agents' common time, as the one here knows it.
#[derive(Debug)]
pub struct Lockstep {
    own: Heartbeat,
    peers: Vec<Peer>,
    lead: Time,
    dilation: u64,
    joined_ns: u64,
    sent_ns: u64,
    sent_at_ps: u64,
    /// When the workload begins, by the clock here.
    begin_ns: Option<u64>,
    /// The farthest that this agent and another were apart, in nominal picoseconds, since it joined.
    apart_ps: u64,
}

impl Lockstep {
    /// Join the participants of a run. `step` is that of the pace, `wall_ns` now. They include the agent here.
    pub fn new(participants: Participants, step: Time, dilation: u64, wall_ns: u64) -> Lockstep {
        let number = participants.number as u16;
        let peer = |(participant, number): (Participant, u16)| Peer {
            name: participant.name,
            number,
            last: Heartbeat::default(),
            received_ns: None,
            best: None,
        };
        Lockstep {
            own: Heartbeat { key: participants.key, from: number, ..Heartbeat::default() },
            peers: participants.agents.into_iter().zip(0..).filter(|(_, other)| *other != number).map(peer).collect(),
            lead: Time::from_ps(step.ps().saturating_mul(LEAD_STEPS)),
            dilation,
            joined_ns: wall_ns,
            sent_ns: 0,
            sent_at_ps: 0,
            begin_ns: None,
            apart_ps: 0,
        }
    }

    /// Another workload is loaded.
    pub fn load(&mut self) {
        self.own.workload += 1;
        self.own.phase = Phase::Loaded;
        (self.own.at_ps, self.own.progress_ps, self.own.begin_ns, self.begin_ns) = (0, 0, 0, None);
    }

    /// It may begin.
    pub fn ready(&mut self) {
        self.own.phase = Phase::Ready;
    }

    pub fn is_running(&self) -> bool {
        self.own.phase == Phase::Running
    }

    /// Take note of how far nominal time has come here since the workload began.
    pub fn advance(&mut self, at: Time) {
        self.own.at_ps = at.ps();
    }

    /// The ranks here have finished the workload, `finish` after it began.
    pub fn finish(&mut self, finish: Time) {
        (self.own.finished, self.own.finish_ps) = (self.own.workload, finish.ps());
    }

    /// Take note of when the ranks here last got on, and of the packets of this run that were sent and have met their fate.
    pub fn count(&mut self, progress: Time, sent: u64, accounted: u64) {
        (self.own.progress_ps, self.own.sent, self.own.accounted) = (progress.ps(), sent, accounted);
    }

    /// Take a heartbeat of another agent, received at `wall_ns`. One of another run, or older than the last, is ignored.
    pub fn receive(&mut self, heartbeat: &Heartbeat, wall_ns: u64) {
        let Some(peer) = self.peers.iter_mut().find(|peer| peer.number == heartbeat.from) else { return };
        if heartbeat.key != self.own.key || heartbeat.wall_ns < peer.last.wall_ns {
            return;
        }
        peer.last = *heartbeat;
        peer.received_ns = Some(wall_ns);
        if heartbeat.echo_ns > 0 {
            let round_trip_ns = wall_ns.saturating_sub(heartbeat.echo_ns).saturating_sub(heartbeat.kept_ns);
            let offset_ns = heartbeat.wall_ns.wrapping_add(round_trip_ns / 2).wrapping_sub(wall_ns) as i64;
            if peer.best.is_none_or(|best| round_trip_ns < best.round_trip_ns) {
                peer.best = Some(Exchange { round_trip_ns, offset_ns });
            }
        }
        if self.own.phase == Phase::Running && peer.is_with(&self.own) {
            // It has gone on while its heartbeat was on the way.
            let way_ps = peer.best.map_or(0, |best| best.round_trip_ns / 2 * 1_000 / self.dilation);
            self.apart_ps = self.apart_ps.max(heartbeat.at_ps.saturating_add(way_ps).abs_diff(self.own.at_ps));
        }
    }

    /// Whether the workload begins now. The first agent names the instant once all are ready; the others hear it.
    pub fn begins(&mut self, wall_ns: u64) -> bool {
        if self.own.phase != Phase::Ready {
            return false;
        }
        if self.begin_ns.is_none() {
            self.begin_ns = if self.own.from == 0 { self.appoint(wall_ns) } else { self.appointed() };
        }
        let begins = self.begin_ns.is_some_and(|begin_ns| wall_ns >= begin_ns);
        if begins {
            self.own.phase = Phase::Running;
        }
        begins
    }

    fn appoint(&mut self, wall_ns: u64) -> Option<u64> {
        let ready = |peer: &Peer| peer.last.workload == self.own.workload && peer.last.phase == Phase::Ready;
        if !self.peers.iter().all(ready) {
            return None;
        }
        let trips = self.peers.iter().map(|peer| peer.best.map(|best| best.round_trip_ns));
        let longest_ns = trips.collect::<Option<Vec<_>>>()?.into_iter().max().unwrap_or(0);
        self.own.begin_ns = wall_ns + NOTICE_NS + 4 * longest_ns;
        Some(self.own.begin_ns)
    }

    fn appointed(&self) -> Option<u64> {
        let first = self.peers.iter().find(|peer| peer.number == 0)?;
        let named = first.last.workload == self.own.workload && first.last.begin_ns > 0;
        let offset_ns = first.best.filter(|_| named)?.offset_ns;
        Some(first.last.begin_ns.wrapping_sub(offset_ns as u64))
    }

    /// How far nominal time may go here, since the workload began; `None` before it does, and when nobody is behind.
    pub fn horizon(&self) -> Option<Time> {
        let waited_for = self.peers.iter().filter(|peer| peer.last.workload <= self.own.workload);
        let slowest = waited_for.map(|peer| if peer.is_with(&self.own) { peer.last.at_ps } else { 0 }).min()?;
        self.is_running().then(|| Time::from_ps(slowest) + self.lead)
    }

    /// When the ranks anywhere last got on, since the workload began.
    pub fn progress(&self) -> Time {
        let others = self.peers.iter().filter(|peer| peer.is_with(&self.own)).map(|peer| peer.last.progress_ps);
        Time::from_ps(others.max().unwrap_or(0))
    }

    /// Whether the ranks of all agents have finished the workload.
    pub fn all_finished(&self) -> bool {
        let here = self.own.workload > 0 && self.own.finished == self.own.workload;
        here && self.peers.iter().all(|peer| peer.last.finished >= self.own.workload)
    }

    /// Whether every packet that was sent anywhere has met its fate.
    pub fn all_accounted(&self) -> bool {
        let heartbeats = || self.peers.iter().map(|peer| &peer.last).chain([&self.own]);
        let sum = |of: fn(&Heartbeat) -> u64| heartbeats().fold(0u64, |sum, heartbeat| sum.wrapping_add(of(heartbeat)));
        sum(|heartbeat| heartbeat.sent) == sum(|heartbeat| heartbeat.accounted)
    }

    /// Whether some agent has been silent for too long.
    pub fn is_deserted(&self, wall_ns: u64) -> bool {
        self.peers.iter().any(|peer| peer.silent_ns(self.joined_ns, wall_ns) > SILENCE_NS)
    }

    /// Wall time until the next heartbeat is due.
    pub fn due_in_ns(&self, wall_ns: u64) -> u64 {
        let lead_ns = u128::from(self.lead.ps()) * u128::from(self.dilation) / 1_000;
        let period_ns = u64::try_from(lead_ns).unwrap_or(u64::MAX) / HEARTBEATS_A_LEAD;
        let mut period_ns = period_ns.clamp(*PERIOD_NS.start(), *PERIOD_NS.end());
        // Others may be waiting for just that.
        if self.own.at_ps.saturating_sub(self.sent_at_ps) >= self.lead.ps() / 2 {
            period_ns = *PERIOD_NS.start();
        }
        (self.sent_ns + period_ns).saturating_sub(wall_ns)
    }

    /// The heartbeat for each of the others at `wall_ns`, by their numbers.
    pub fn heartbeats(&mut self, wall_ns: u64) -> impl Iterator<Item = (usize, Heartbeat)> + '_ {
        (self.sent_ns, self.sent_at_ps) = (wall_ns, self.own.at_ps);
        let own = self.own;
        self.peers.iter().map(move |peer| {
            let kept_ns = peer.received_ns.map_or(0, |received_ns| wall_ns.saturating_sub(received_ns));
            (usize::from(peer.number), Heartbeat { wall_ns, echo_ns: peer.last.wall_ns, kept_ns, ..own })
        })
    }

    pub fn peer_rows(&self, wall_ns: u64) -> Vec<PeerRow> {
        let row = |peer: &Peer| PeerRow {
            agent: peer.name.clone(),
            offset_ns: peer.best.map(|best| best.offset_ns),
            round_trip_ns: peer.best.map(|best| best.round_trip_ns),
            silent_ns: peer.silent_ns(self.joined_ns, wall_ns),
            finish_ps: (peer.last.finished >= self.own.workload).then_some(peer.last.finish_ps),
        };
        self.peers.iter().map(row).collect()
    }

    pub fn apart_ns(&self) -> u64 {
        self.apart_ps / 1_000
    }
}

impl Peer {
    /// Whether it runs the same workload.
    fn is_with(&self, own: &Heartbeat) -> bool {
        self.last.workload == own.workload && self.last.phase == Phase::Running
    }

    fn silent_ns(&self, joined_ns: u64, wall_ns: u64) -> u64 {
        wall_ns.saturating_sub(self.received_ns.unwrap_or(joined_ns))
    }
}

#[cfg(test)]
mod tests;
