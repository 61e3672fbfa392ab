//! The real clock: the virtual clock's event queue held back to wall time, with AF_PACKET sockets as one more source of events.
//!
//! Nominal time waits for the loop: between two looks at the sockets it advances by one frame time of the fastest link at most (and
//! by what was slept through). When the machine stalls, the whole network stands still with it, so that no feedback loop of the
//! fabric grows longer than it is; the time so held back is part of the run's fidelity. While a frame is on its way through the
//! kernel back to the fabric time stands still (`transit.rs`), but where a netem delays it; while none is there is nothing of the
//! fabric's own to see, and several such steps go by from one look to the next.
//!
//! A frame on a veth link spends serialisation and delay in the queue like any other. A step before it arrives it is written to the
//! sender's end of the veth pair and read, at once, at the other, to arrive at its instant (`arrivals.rs`). Between memory-linked
//! nodes nothing leaves the queue at all.

mod arrivals;
mod edge;
mod fidelity;
mod heartbeats;
mod incoming;
mod inlet;
mod lockstep;
mod outgoing;
mod pace;
mod quiesce;
mod replace;
mod transit;
mod wiring;

use std::time::Instant;

use self::arrivals::Arrivals;
use self::edge::Edges;
use self::fidelity::BeforeSpan;
use self::heartbeats::Heartbeats;
use self::inlet::Inlets;
pub use self::lockstep::{Participant, Participants};
use self::pace::Pace;
pub use self::quiesce::Loss;
use self::quiesce::Quiesce;
use self::transit::Transit;
pub use self::wiring::Attachment;
use self::wiring::{Attached, Exit};
use super::lateness::Histogram;
use super::probe::Probe;
use crate::emulation::{Emulation, Progress};
use crate::fabric::Step;
use crate::frame::{Buffer, Frame, Station};
use crate::io::{close_all, set_timer_slack_ns, IoError, Poller, RxBatch, Waker, BATCH_FRAMES, HEARTBEATS_TOKEN};
use crate::plan::workload::Workload;
use crate::plan::{require, PlanError};
use crate::units::Time;

/// Events dealt with before the sockets are looked at again, however many are due.
const EVENTS_A_TURN: usize = 256;
/// Steps of nominal time before the sockets are looked at again while nothing is under way: enough to fill a batch.
const STEPS_A_TURN: usize = BATCH_FRAMES;
/// Closer than this to the next event the loop spins, since sleeps end late.
const SPIN_NS: u64 = 60_000;
/// The longest sleep: commands wake the loop anyway.
const NAP_NS: u64 = 100_000_000;
/// How long what waits has to stand still before it can be a deadlock: the kernel may impose a link's delay, which is then not
/// known here. This is 4,000 km of fibre.
const PATIENCE: Time = Time::from_ns(20_000_000);
/// How long a finished workload may wait for its last frames to come out of the kernel, in wall nanoseconds.
const GRACE_NS: u64 = 1_000_000_000;

/// Why a real clock could not be set up or go on.
#[derive(Debug, thiserror::Error)]
pub enum RealError {
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error(transparent)]
    Io(#[from] IoError),
}

/// An emulation on real interfaces, one loop in one thread.
pub struct RealClock {
    pub emulation: Emulation,
    pace: Pace,
    sockets: Vec<Attached>,
    /// By direction: what frames leave by.
    exits: Vec<Exit>,
    /// By direction: the time that some of its frames take.
    probes: Vec<Probe>,
    kernel_stations: Vec<bool>,
    poller: Poller,
    rx: RxBatch,
    /// Frames too long for it before the present plan.
    truncated_before: u64,
    /// Buffers of frames that have left, for those to come.
    spare: Vec<Buffer>,
    dirty: Vec<u32>,
    transit: Transit,
    /// Frames that the kernel has carried already and that arrive later.
    arrivals: Arrivals,
    /// Not all that is due has been dealt with: time stands still until it has.
    behind: bool,
    /// Frames of hosts' kernels that wait for their line.
    inlets: Inlets,
    /// Where frames of hosts' kernels that heed pauses enter.
    edges: Edges,
    /// Of the span.
    lateness: Histogram,
    /// Frames that left later than the network may notice.
    late_frames: u64,
    /// What had come to light before the span.
    before_span: BeforeSpan,
    /// Wall nanoseconds in which the loop had work while workloads of the span ran.
    busy_ns: u64,
    complete_since: Option<Instant>,
    started: bool,
    /// What hosts' kernels send is left in their sockets, so that the fabric drains.
    quiesce: Option<Quiesce>,
    /// How step is kept with the clocks of other agents, where a lab has several.
    heartbeats: Option<Heartbeats>,
}

impl RealClock {
    /// Open the sockets of every port that has an attachment. `dilation` is wall time by nominal time.
    pub fn new(mut emulation: Emulation, dilation: u64, attachments: &[Attachment]) -> Result<RealClock, RealError> {
        let poller = Poller::new()?;
        let mut sockets = Vec::new();
        for attachment in attachments {
            let attached = wiring::attach(&emulation, attachment)?;
            poller.add(&attached.socket, sockets.len() as u32)?;
            sockets.push(attached);
        }
        let exits = wiring::exits(&emulation, &sockets)?;
        let step = wiring::longest_step(&emulation);
        wiring::lead(&mut emulation, step);
        Ok(RealClock {
            kernel_stations: wiring::kernel_stations(&emulation),
            transit: Transit::new(wiring::awaited(&emulation)),
            arrivals: Arrivals::default(),
            behind: false,
            edges: Edges::new(&emulation, &sockets, dilation.max(1)),
            inlets: Inlets::new(wiring::rates(&emulation)),
            emulation,
            pace: Pace::new(dilation, step),
            sockets,
            probes: exits.iter().map(|_| Probe::default()).collect(),
            exits,
            poller,
            rx: RxBatch::new(BATCH_FRAMES),
            truncated_before: 0,
            spare: Vec::new(),
            dirty: Vec::new(),
            lateness: Histogram::default(),
            late_frames: 0,
            before_span: BeforeSpan::default(),
            busy_ns: 0,
            complete_since: None,
            started: false,
            quiesce: None,
            heartbeats: None,
        })
    }

    /// Let the fabric know what time it is, where nothing was due that would have told it.
    fn catch_up(&mut self) {
        let now = self.pace.at().min(self.pending()).min(self.transit.horizon());
        self.emulation.fabric.advance_to(now);
    }

    /// When the next event of the fabric is due, or the next frame that the kernel has carried arrives.
    fn pending(&self) -> Time {
        self.emulation.fabric.next_event().min(self.arrivals.next())
    }

    pub fn waker(&self) -> Waker {
        self.poller.waker()
    }

    /// Install a workload; it starts with the first `start`.
    pub fn load(&mut self, json: &str) -> Result<(), PlanError> {
        self.catch_up();
        let workload = Workload::parse(json, &self.emulation.plan)?;
        require(workload.transport.frames.is_none(), || "real frames have the sizes of RoCEv2".into())?;
        let needs = workload.transport.congestion_control.map(|control| control.needs());
        let telemetry = needs.is_some_and(|needs| needs.telemetry_bytes.is_some());
        require(!telemetry, || "real frames carry no telemetry".into())?;
        self.emulation.install(workload)?;
        self.started = false;
        if let Some(lockstep) = self.lockstep() {
            lockstep.load();
        }
        Ok(())
    }

    /// Change links: now, or so long after the next start.
    pub fn impair(&mut self, json: &str) -> Result<(), PlanError> {
        self.catch_up();
        self.probes.iter_mut().for_each(Probe::reset);
        self.emulation.impair(json)
    }

    /// End the recording of series and return it.
    pub fn series(&mut self) -> Vec<u8> {
        self.catch_up();
        self.emulation.series()
    }

    /// Put trains of frames on the links of hosts: now, or so long after the next start.
    pub fn inject(&mut self, json: &str) -> Result<(), PlanError> {
        self.catch_up();
        self.emulation.inject(json)
    }

    /// Start the loaded workload, once, and let nominal time run on to `until`. There it rests, so that what is looked at then is
    /// as it was then. It starts at the present moment, or with those of other agents when all are ready.
    pub fn start(&mut self, until: Time) {
        self.pace.halt_at(until);
        if std::mem::replace(&mut self.started, true) {
            return;
        }
        match self.lockstep() {
            Some(lockstep) => lockstep.ready(),
            None => self.begin(),
        }
    }

    fn begin(&mut self) {
        self.catch_up();
        self.pace.start();
        self.transit.trust_again();
        self.complete_since = None;
        self.emulation.start();
    }

    /// Whether the workload is over. Frames inside the kernel are waited for, but not for ever: a lost one never comes.
    pub fn progress(&mut self) -> Progress {
        let progress = self.how_far();
        if progress != Progress::Running {
            self.pace.stop();
        }
        progress
    }

    fn how_far(&mut self) -> Progress {
        // Where every connection has given up nothing is due any more: without this no workload would ever stall then.
        self.catch_up();
        let progress = self.emulation.sample(self.pace.at(), PATIENCE);
        if self.lockstep().is_some() {
            return self.progress_together(progress);
        }
        if progress != Progress::Complete || self.emulation.is_accounted() {
            return progress;
        }
        let since = *self.complete_since.get_or_insert_with(Instant::now);
        if since.elapsed().as_nanos() > u128::from(GRACE_NS) {
            Progress::Complete
        } else {
            Progress::Running
        }
    }

    /// Whether nominal time has come to `until`, and all that was due by then has been dealt with.
    pub fn has_come(&mut self, until: Time) -> bool {
        self.catch_up();
        self.pace.at() >= until && self.pending() > until
    }

    /// One turn of the loop: what is due, a wait for the next event or frame, what came in.
    pub fn turn(&mut self) -> Result<(), IoError> {
        let began = Instant::now();
        self.keep_step();
        self.transit.expire(began);
        self.pace.stand(self.transit.holds() || self.behind);
        let mut work = 0;
        for _ in 0..STEPS_A_TURN {
            let now = self.pace.tick(0);
            work += self.run_due(now);
            self.behind = self.pending() <= now;
            self.let_in();
            let pressing = self.next_due() <= self.pace.next() && !self.pace.is_halted();
            if self.transit.under_way() > 0 || !pressing || work >= EVENTS_A_TURN {
                break;
            }
        }
        self.flush()?;
        self.pace.stand(self.transit.holds() || self.behind);
        let timeout_ns = self.timeout_ns();
        let mut busy = began.elapsed();
        let ready: Vec<_> = self.poller.wait(timeout_ns)?.to_vec();
        let woke = Instant::now();
        self.pace.tick(timeout_ns);
        for socket in ready {
            if socket.token == HEARTBEATS_TOKEN {
                self.heartbeats.iter_mut().for_each(|heartbeats| heartbeats.readable = true);
                continue;
            }
            if socket.writable {
                self.mark_dirty(socket.token);
            }
            let attached = &self.sockets[socket.token as usize];
            if socket.readable && attached.held {
                // Not frames, for which it is not asked, but that its interface is gone; it would say so without end.
                self.poller.remove(&attached.socket)?;
            } else if socket.readable {
                work += self.receive(socket.token as usize)?;
            }
        }
        busy += woke.elapsed();
        if work > 0 && self.pace.is_running() {
            self.busy_ns += busy.as_nanos() as u64;
        }
        Ok(())
    }

    /// When there is something to do, at the earliest.
    fn next_due(&self) -> Time {
        self.pending().min(self.inlets.next())
    }

    /// How long the loop may sleep, in wall nanoseconds, unless a frame comes.
    fn timeout_ns(&self) -> u64 {
        let due = self.next_due();
        let still = due > self.pace.at().min(self.transit.horizon());
        if still && self.transit.holds() {
            let patience_ns = self.transit.patience_left(Instant::now()).as_nanos() as u64;
            return patience_ns.min(NAP_NS).min(self.heartbeat_due_ns());
        }
        let waits = (self.pace.is_halted() || self.pace.is_held()) && still;
        let wait_ns = if waits { NAP_NS } else { self.pace.wall_ns_until(due) };
        if wait_ns <= SPIN_NS {
            return 0;
        }
        (wait_ns - SPIN_NS).min(NAP_NS).min(self.heartbeat_due_ns())
    }

    /// Deal with events due at `now`, a bounded number, and none later than a frame arrives that is inside the kernel. Return how many.
    fn run_due(&mut self, now: Time) -> usize {
        for count in 0..EVENTS_A_TURN {
            let now = now.min(self.transit.horizon());
            let cut = self.emulation.next_cut();
            if cut <= now && self.pending() > cut {
                self.emulation.cut_window();
                continue;
            }
            let early = self.arrivals.next();
            if early <= now.min(cut) && early <= self.emulation.fabric.next_event() {
                self.arrive();
                continue;
            }
            match self.emulation.fabric.step(now.min(cut)) {
                Some(Step::Arrival { direction, frame }) => self.hand_out(direction, frame),
                Some(Step::Done) => {}
                None => return count,
            }
        }
        EVENTS_A_TURN
    }

    /// Close all sockets, side by side.
    pub fn close(self) {
        close_all(self.sockets.into_iter().map(|attached| attached.socket).collect());
    }
}

/// A frame that the host's kernel, not its NIC, put on the link.
fn enters(frame: &Frame, kernel_stations: &[bool]) -> bool {
    let from_nic = frame.src != Station::UNKNOWN && !kernel_stations.get(frame.src.0 as usize).copied().unwrap_or(true);
    !from_nic && !frame.is_control()
}

/// Make the calling thread fit to run a real clock.
pub fn prepare_thread() -> Result<(), IoError> {
    set_timer_slack_ns(1)
}
