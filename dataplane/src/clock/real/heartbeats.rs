//! The part of a real clock that keeps step with those of other agents: datagrams in and out, and what they mean for its workload.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use super::lockstep::{Lockstep, Participants};
use super::quiesce::names;
use super::wiring::{self, Attached};
use super::{RealClock, GRACE_NS};
use crate::emulation::report::{tally, Agents, Crossed};
use crate::emulation::Progress;
use crate::io::IoError;
use crate::units::Time;
use crate::watch::Tally;
use crate::wire::heartbeat::{self, HEARTBEAT_BYTES};

const SUBJECT: &str = "the socket for heartbeats";
/// The numbers of workloads by which connections count are far from those of runs of one agent.
const GENERATIONS: u64 = 1 << 32;

/// The socket by which agents keep step; `run` is `None` until one is joined.
pub struct Heartbeats {
    socket: UdpSocket,
    /// Something may have come in.
    pub readable: bool,
    pub run: Option<Run>,
}

/// A run of several agents.
pub struct Run {
    pub lockstep: Lockstep,
    addresses: Vec<SocketAddr>,
    /// What the NICs' packets had come to when it was joined.
    before: Tally,
}

/// The clock of the machine, which is the one that agents compare.
fn wall_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}

impl RealClock {
    /// Open a socket for heartbeats at an address of this machine, once; the answer is its port.
    pub fn listen(&mut self, address: IpAddr) -> Result<u16, IoError> {
        let error = |operation| move |source| IoError::new(operation, SUBJECT, source);
        if self.heartbeats.is_none() {
            let socket = UdpSocket::bind((address, 0)).map_err(error("bind"))?;
            socket.set_nonblocking(true).map_err(error("set_nonblocking"))?;
            self.poller.add_heartbeats(&socket)?;
            self.heartbeats = Some(Heartbeats { socket, readable: false, run: None });
        }
        let port = self.heartbeats.as_ref().map(|heartbeats| heartbeats.socket.local_addr().map(|bound| bound.port()));
        port.unwrap_or(Ok(0)).map_err(error("getsockname"))
    }

    /// Take part in a run: workloads that are loaded from now on begin and go on together with the others'.
    pub fn join(&mut self, participants: Participants) -> Result<(), String> {
        let step = wiring::longest_step(&self.emulation);
        let Some(heartbeats) = &mut self.heartbeats else { return Err("no socket for heartbeats is open".into()) };
        if participants.number >= participants.agents.len() {
            return Err(format!("agent {} of {}", participants.number, participants.agents.len()));
        }
        self.emulation.count_from(participants.key % GENERATIONS + 1);
        let addresses = participants.agents.iter().map(|participant| participant.address).collect();
        let before = self.emulation.fabric.totals().packets;
        self.sockets.iter_mut().for_each(|attached| attached.crossed = Crossed::default());
        let lockstep = Lockstep::new(participants, step, self.pace.dilation(), wall_ns());
        heartbeats.run = Some(Run { lockstep, addresses, before });
        Ok(())
    }

    /// Take part no longer.
    pub fn leave(&mut self) {
        if let Some(heartbeats) = &mut self.heartbeats {
            heartbeats.run = None;
        }
        self.pace.hold_at(Time::NEVER);
    }

    pub(super) fn lockstep(&mut self) -> Option<&mut Lockstep> {
        self.heartbeats.as_mut().and_then(|heartbeats| heartbeats.run.as_mut()).map(|run| &mut run.lockstep)
    }

    /// Exchange heartbeats with the other agents, and begin when it is time.
    pub(super) fn keep_step(&mut self) {
        let started = self.emulation.started;
        let Some(heartbeats) = &mut self.heartbeats else { return };
        let received = std::mem::take(&mut heartbeats.readable);
        let Some(run) = &mut heartbeats.run else {
            if received {
                discard(&heartbeats.socket);
            }
            return;
        };
        let now_ns = wall_ns();
        if run.lockstep.is_running() {
            run.lockstep.advance(self.pace.at().since(started));
        }
        if received {
            receive(&heartbeats.socket, &mut run.lockstep);
        }
        let begins = run.lockstep.begins(now_ns);
        if begins {
            self.begin();
        }
        self.send(now_ns, begins);
    }

    fn send(&mut self, now_ns: u64, at_once: bool) {
        let Some(heartbeats) = &mut self.heartbeats else { return };
        let Some(run) = &mut heartbeats.run else { return };
        let horizon = run.lockstep.horizon().map_or(Time::NEVER, |horizon| self.emulation.started + horizon);
        self.pace.hold_at(horizon);
        if !at_once && run.lockstep.due_in_ns(now_ns) > 0 {
            return;
        }
        let packets = self.emulation.fabric.totals().packets.since(&run.before);
        let progress = self.emulation.fabric.last_progress().since(self.emulation.started);
        let (out, back) = self
            .sockets
            .iter()
            .fold((0, 0), |(out, back), attached| (out + attached.crossed.out, back + attached.crossed.back));
        // What has left one agent is to have come to another, PAUSE frames too, before a run is over.
        run.lockstep.count(progress, packets.sent + out, packets.accounted() + back);
        for (number, heartbeat) in run.lockstep.heartbeats(now_ns) {
            // A heartbeat that is lost is as good as late: the next one repeats all of it.
            let _ = heartbeats.socket.send_to(&heartbeat.build(), run.addresses[number]);
        }
    }

    /// The longest that the loop may sleep, in wall nanoseconds.
    pub(super) fn heartbeat_due_ns(&self) -> u64 {
        let run = self.heartbeats.as_ref().and_then(|heartbeats| heartbeats.run.as_ref());
        run.map_or(u64::MAX, |run| run.lockstep.due_in_ns(wall_ns()).max(1))
    }

    /// Whether the workload is over everywhere, given how it is here.
    pub(super) fn progress_together(&mut self, here: Progress) -> Progress {
        let now_ns = wall_ns();
        let (now, patience, started) = (self.pace.at(), self.emulation.patience, self.emulation.started);
        let finish = self.emulation.finish();
        let Some(lockstep) = self.lockstep() else { return here };
        if lockstep.is_deserted(now_ns) {
            return Progress::Stalled;
        }
        if here == Progress::Expired {
            return Progress::Expired;
        }
        if !lockstep.is_running() {
            return Progress::Running;
        }
        if let Some(finish) = finish {
            lockstep.finish(finish.since(started));
        }
        if here == Progress::Stalled && now > started + lockstep.progress() + patience {
            return Progress::Stalled;
        }
        if here != Progress::Complete || !lockstep.all_finished() {
            return Progress::Running;
        }
        let accounted = lockstep.all_accounted();
        let since = *self.complete_since.get_or_insert_with(Instant::now);
        if accounted || since.elapsed().as_nanos() > u128::from(GRACE_NS) {
            Progress::Complete
        } else {
            Progress::Running
        }
    }

    /// The report of the run so far. In a run of several agents it is complete when it is so everywhere.
    pub fn report(&self) -> Value {
        let fidelity = self.fidelity();
        let mut report = self.emulation.report(Some(&fidelity));
        let Some(run) = self.heartbeats.as_ref().and_then(|heartbeats| heartbeats.run.as_ref()) else {
            return report.json();
        };
        let now_ns = wall_ns();
        let lockstep = &run.lockstep;
        let waited = self.emulation.started + lockstep.progress() + self.emulation.patience;
        let stalled = lockstep.is_deserted(now_ns) || (self.emulation.is_stalled() && self.pace.at() > waited);
        report.complete = self.emulation.is_complete() && lockstep.all_finished();
        report.stalled = stalled;
        let others = lockstep.peer_rows(now_ns);
        report.agents = Some(Agents { others, apart_ns: lockstep.apart_ns(), crossed: self.crossed() });
        let packets = self.emulation.fabric.totals().packets.since(&run.before);
        report.conservation = tally(&packets, self.emulation.fabric.in_flight(true));
        report.json()
    }

    /// By port on a link to another agent: frames of the fabric that went there, and that came from there.
    fn crossed(&self) -> BTreeMap<String, Crossed> {
        let crossing = self.sockets.iter().filter(|attached| attached.place.crosses);
        let entry = |attached: &Attached| {
            let (node, port) = names(&self.emulation.plan.nodes, attached);
            (format!("{node}:{port}"), attached.crossed)
        };
        crossing.map(entry).collect()
    }
}

fn receive(socket: &UdpSocket, lockstep: &mut Lockstep) {
    // Longer than a heartbeat, so that what is cut short is seen to be.
    let mut datagram = [0; 2 * HEARTBEAT_BYTES];
    while let Ok(length) = socket.recv(&mut datagram) {
        if let Ok(Some(heartbeat)) = heartbeat::parse(&datagram[..length]) {
            lockstep.receive(&heartbeat, wall_ns());
        }
    }
}

fn discard(socket: &UdpSocket) {
    let mut datagram = [0; HEARTBEAT_BYTES];
    while socket.recv(&mut datagram).is_ok() {}
}
