//! Frames that a tester puts on a host's link as they are, in trains, beside what the NIC sends and before it.

use std::collections::BTreeMap;

use super::meters::Sent;
use super::slot::Slot;
use super::Host;
use crate::frame::{Body, Frame};
use crate::pause::HostRequest;
use crate::port::Port;
use crate::priority::Priority;
use crate::units::{Rate, Time};
use crate::wire::stamp::Stamp;

/// A frame of a train, and the time until the next one is due.
#[derive(Clone, Debug)]
pub struct Shape {
    pub frame: Frame,
    pub every: Time,
}

/// Frames that come in bursts: so many, and a gap before the next.
#[derive(Clone, Copy, Debug)]
pub struct Burst {
    pub frames: u64,
    pub gap: Time,
}

/// What makes a train a part of a tester's flow: its frames are counted, and a pause delays all that follow.
#[derive(Clone, Copy, Debug)]
pub struct Flow {
    pub number: u16,
    /// Its frames tell when their first bit was sent, or with `last_bit` their last.
    pub stamped: bool,
    pub last_bit: bool,
}

/// So many frames, its shapes in turn, each due when the one before it says. What the line has no room for is late, not lost.
#[derive(Clone, Debug)]
pub struct Train {
    /// At least one.
    pub shapes: Vec<Shape>,
    pub turn: usize,
    /// When the next frame is due. Before the start that it waits for: how long after it.
    pub at: Time,
    pub left: u64,
    /// No frame starts from then on.
    pub until: Time,
    pub burst: Option<Burst>,
    pub sent: u64,
    /// Waits while this priority is paused or without credit; `None`: neither concerns it.
    pub priority: Option<Priority>,
    /// PSNs of a RoCEv2 packet count up from frame to frame.
    pub counts: bool,
    pub flow: Option<Flow>,
    /// A pause has kept the next frame of its flow: those that follow keep their distance to it.
    pub held: bool,
}

impl Train {
    fn next_frame(&mut self, rate: Rate, now: Time) -> Box<Frame> {
        let shape = &mut self.shapes[self.turn];
        let mut frame = Box::new(shape.frame.clone());
        if let (true, Body::Roce(packet)) = (self.counts, &mut shape.frame.body) {
            packet.psn = (packet.psn + 1) & 0xff_ffff;
        }
        let due = if std::mem::take(&mut self.held) { self.at.max(now) } else { self.at };
        self.at = due + shape.every;
        self.turn = (self.turn + 1) % self.shapes.len();
        self.left -= 1;
        self.sent += 1;
        if let Some(burst) = self.burst.filter(|burst| self.sent.is_multiple_of(burst.frames)) {
            self.at += burst.gap;
        }
        if let Some(flow) = self.flow.filter(|flow| flow.stamped) {
            let line = if flow.last_bit { rate.serialisation(frame.wire_bytes()) } else { Time::ZERO };
            let stamp = Stamp { flow: flow.number, sent_ps: (now + line).ps() };
            // Too short a frame is refused where trains are read.
            let _ = frame.bytes.as_deref_mut().map(|bytes| stamp.write(bytes));
        }
        frame
    }

    /// When the next frame may start, as far as its own time and the pauses and credits of its priority go.
    fn ready_at(&self, port: &Port, now: Time) -> Time {
        let at = self.at.max(now);
        let ready = match self.priority {
            Some(priority) if !port.has_credit(priority, self.shapes[self.turn].frame.buffer_bytes()) => Time::NEVER,
            Some(priority) => port.pause_end(priority, at),
            None => at,
        };
        if ready < self.until {
            ready
        } else {
            Time::NEVER
        }
    }

    /// Whether it may still send something.
    pub fn is_alive(&self, now: Time) -> bool {
        self.left > 0 && self.at < self.until && now < self.until
    }
}

/// The trains of one host's port, and what of their flows has been sent.
#[derive(Debug, Default)]
pub struct Injector {
    running: Vec<Train>,
    waiting: Vec<Train>,
    sent: BTreeMap<u16, Sent>,
}

impl Injector {
    /// Take a train that begins so long after now.
    pub fn run(&mut self, train: Train, now: Time) {
        self.running.push(Train { at: now + train.at, until: later(now, train.until), ..train });
    }

    /// Take a train that begins so long after the next start.
    pub fn hold(&mut self, train: Train) {
        self.waiting.push(train);
    }

    /// A workload starts: trains that waited for that count from here.
    pub fn start(&mut self, now: Time) {
        let waited = std::mem::take(&mut self.waiting);
        waited.into_iter().for_each(|train| self.run(train, now));
    }

    /// Forget what is left of flows.
    pub fn withdraw(&mut self, flows: &[u16]) {
        let stays = |train: &Train| train.flow.is_none_or(|flow| !flows.contains(&flow.number));
        self.running.retain(stays);
        self.waiting.retain(stays);
    }

    /// What has been sent of each flow.
    pub fn sent(&self) -> &BTreeMap<u16, Sent> {
        &self.sent
    }

    /// The flows of which there may be more to send, once for each of their trains.
    pub fn flows(&self, now: Time) -> impl Iterator<Item = u16> + '_ {
        let alive = self.running.iter().filter(move |train| train.is_alive(now));
        alive.chain(&self.waiting).filter_map(|train| train.flow.map(|flow| flow.number))
    }

    /// Take the frame that has been due longest, of equals that of the train given first, if one may start at `now`.
    pub fn next(&mut self, port: &Port, now: Time) -> Option<Box<Frame>> {
        let ready = self.running.iter_mut().filter(|train| train.at <= now && train.ready_at(port, now) <= now);
        let train = ready.min_by_key(|train| train.at)?;
        let frame = train.next_frame(port.rate(), now);
        if let Some(flow) = train.flow {
            self.sent.entry(flow.number).or_default().count(&frame, now);
        }
        self.running.retain(|train| train.is_alive(now));
        Some(frame)
    }

    /// When a frame may start, at the earliest.
    pub fn wake(&mut self, port: &Port, now: Time) -> Time {
        let mut earliest = Time::NEVER;
        for train in &mut self.running {
            let ready = train.ready_at(port, now);
            train.held |= train.flow.is_some() && ready > train.at.max(now);
            earliest = earliest.min(ready);
        }
        earliest
    }
}

/// So long after an instant, if ever.
fn later(now: Time, span: Time) -> Time {
    if span == Time::NEVER {
        span
    } else {
        now + span
    }
}

impl Host {
    /// Put a train of frames on the link of a port: from now on, or with `later` from the next start. Call `poll_transmit` afterwards.
    pub fn inject(&mut self, port: u16, train: Train, later: bool, now: Time) {
        let nic = usize::from(port);
        self.awake.set(nic);
        let injector = self.nics[nic].injector.get_or_insert_default();
        if later {
            injector.hold(train);
        } else {
            injector.run(train, now);
        }
    }

    /// Forget what is left of a tester's flows.
    pub fn withdraw(&mut self, flows: &[u16]) {
        self.nics
            .iter_mut()
            .filter_map(|nic| nic.injector.as_deref_mut())
            .for_each(|injector| injector.withdraw(flows));
    }

    /// What a tester puts on the link of a port, if there is one.
    pub fn injector(&self, nic: usize) -> Option<&Injector> {
        self.nics.get(nic)?.injector.as_deref()
    }

    /// The next frame of a train, if the line is free and one may start at `now`.
    pub(super) fn next_injected(&mut self, nic: usize, now: Time) -> Option<Box<Frame>> {
        let (injector, port) = (self.nics[nic].injector.as_mut()?, &mut self.ports[nic]);
        let free = port.free_at(now);
        if free > now {
            let wake = injector.wake(port, now);
            self.timers
                .set(self.slots.index(Slot::Inject(nic)), if wake == Time::NEVER { wake } else { wake.max(free) });
            return None;
        }
        let mut frame = injector.next(port, now);
        match &mut frame {
            Some(frame) if matches!(frame.body, Body::Pause(_)) => {
                frame.set_request(HostRequest::Tester as u32);
                port.transmit_pause(frame, now);
            }
            Some(frame) => port.transmit(frame, now),
            None => {}
        }
        self.timers.set(self.slots.index(Slot::Inject(nic)), injector.wake(port, now));
        frame
    }
}
