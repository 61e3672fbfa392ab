//! Frames that a tester puts on a host's link as they are, in trains, beside what the NIC sends and before it.

use super::slot::Slot;
use super::Host;
use crate::frame::{Body, Frame};
use crate::pause::HostRequest;
use crate::port::Port;
use crate::priority::Priority;
use crate::units::Time;

/// So many copies of a frame, each due `every` after the one before. What the line has no room for is late, not lost.
#[derive(Clone, Debug)]
pub struct Train {
    pub frame: Frame,
    /// When the next frame is due. Before the start that it waits for: how long after it.
    pub at: Time,
    pub every: Time,
    pub left: u64,
    /// Waits while this priority is paused or without credit; `None`: neither concerns it.
    pub priority: Option<Priority>,
    /// PSNs of a RoCEv2 packet count up from frame to frame.
    pub counts: bool,
}

impl Train {
    fn next_frame(&mut self) -> Box<Frame> {
        let frame = Box::new(self.frame.clone());
        self.left -= 1;
        self.at += self.every;
        if let (true, Body::Roce(packet)) = (self.counts, &mut self.frame.body) {
            packet.psn = (packet.psn + 1) & 0xff_ffff;
        }
        frame
    }

    /// When the next frame may start, as far as its own time and the pauses and credits of its priority go.
    fn ready_at(&self, port: &Port, now: Time) -> Time {
        let at = self.at.max(now);
        match self.priority {
            Some(priority) if !port.has_credit(priority, self.frame.buffer_bytes()) => Time::NEVER,
            Some(priority) => port.pause_end(priority, at),
            None => at,
        }
    }
}

/// The trains of one host.
#[derive(Debug, Default)]
pub struct Injector {
    running: Vec<Train>,
    waiting: Vec<Train>,
}

impl Injector {
    /// Take a train that begins now.
    pub fn run(&mut self, train: Train, now: Time) {
        self.running.push(Train { at: now, ..train });
    }

    /// Take a train that begins so long after the next start.
    pub fn hold(&mut self, train: Train) {
        self.waiting.push(train);
    }

    /// A workload starts: trains that waited for that count from here.
    pub fn start(&mut self, now: Time) {
        self.running.extend(self.waiting.drain(..).map(|train| Train { at: now + train.at, ..train }));
    }

    /// Take the frame that has been due longest, of equals that of the train given first, if one may start at `now`.
    pub fn next(&mut self, port: &Port, now: Time) -> Option<Box<Frame>> {
        let ready = self.running.iter_mut().filter(|train| train.at <= now && train.ready_at(port, now) <= now);
        let frame = ready.min_by_key(|train| train.at)?.next_frame();
        self.running.retain(|train| train.left > 0);
        Some(frame)
    }

    /// When a frame may start, at the earliest.
    pub fn wake(&self, port: &Port, now: Time) -> Time {
        self.running.iter().map(|train| train.ready_at(port, now)).min().unwrap_or(Time::NEVER)
    }
}

impl Host {
    /// Put a train of frames on the link of a port: now, or with `later` so long after the next start. Call `poll_transmit` afterwards.
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
