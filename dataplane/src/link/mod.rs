//! One direction of a link. At the sender's end: propagation with jitter, loss drawn from a generator of its own, being up or down. At
//! the receiver's: the frames in flight. The two ends may be looked after by different cores.

mod chance;
pub mod loss;
mod steady;

use std::collections::VecDeque;

use crate::event::Cause;
use crate::frame::Frame;
use crate::link::loss::ProcessPlan;
use crate::units::Time;

use chance::Chance;

/// What a direction is made with.
#[derive(Clone, Debug)]
pub struct DirectionConfig {
    pub delay: Time,
    /// Independent losses, and a process beside them.
    pub loss: f64,
    pub process: Option<ProcessPlan>,
    pub up: bool,
    /// Tells directions apart and makes each repeatable.
    pub seed: [u64; 2],
}

/// One direction of a link at the sender's end. Frames arrive in the order they were sent, whatever jitter and changes of delay do.
///
/// What each frame needs fits a cache line, with what a shard keeps beside it.
#[derive(Debug)]
pub struct Direction {
    delay: Time,
    /// How long before they arrive frames are handed out, so that the kernel can carry them meanwhile; no longer than the delay. In
    /// picoseconds, at most some 4 ms, so that a direction stays within its cache line.
    lead_ps: u32,
    /// When the last bit of the latest frame leaves the sender, and when that frame arrives.
    last_sent: Time,
    last_arrival: Time,
    /// Of one frame in flight at a time: when it arrives (`Time::NEVER`: of none), and when its last bit left.
    sample: (Time, Time),
    /// What it loses and delays by chance.
    chance: Box<Chance>,
    /// It does neither.
    is_clean: bool,
    up: bool,
}

impl Direction {
    pub fn new(config: &DirectionConfig) -> Direction {
        let chance = Box::new(Chance::new(config.seed, config.loss, config.process.as_ref()));
        Direction {
            delay: config.delay,
            lead_ps: 0,
            last_sent: Time::ZERO,
            last_arrival: Time::ZERO,
            sample: (Time::NEVER, Time::ZERO),
            is_clean: chance.is_none(),
            chance,
            up: config.up,
        }
    }

    /// Put a frame on the link whose first bit leaves at `started` and its last at `sent`. Return when it arrives, less the lead, or
    /// why it is lost.
    #[inline]
    pub fn send(&mut self, frame: &Frame, started: Time, sent: Time) -> Result<Time, Cause> {
        if !self.up {
            return Err(Cause::Outage);
        }
        let mut arrival = sent + self.delay;
        if !self.is_clean {
            arrival += self.chance.delay(frame.buffer_bytes(), sent).ok_or(Cause::Link)?;
        }
        // Neither jitter nor a shorter delay makes a line deliver faster than it sends.
        arrival = arrival.max(self.last_arrival + sent.since(started));
        self.last_sent = sent;
        self.last_arrival = arrival;
        let due = Time::from_ps(arrival.ps() - u64::from(self.lead_ps));
        if self.sample.0 == Time::NEVER {
            self.sample = (due, sent);
        }
        Ok(due)
    }

    /// Hand frames out up to so long before they arrive.
    pub fn set_lead(&mut self, lead: Time) {
        self.lead_ps = u32::try_from(lead.min(self.delay).ps()).unwrap_or(u32::MAX);
    }

    /// How long before they arrive frames are handed out.
    #[inline]
    pub fn lead(&self) -> Time {
        Time::from_ps(u64::from(self.lead_ps))
    }

    /// No frame that is sent from now on arrives sooner after its last bit left.
    pub fn delay(&self) -> Time {
        self.delay
    }

    /// When the last bit of the frame left that is handed out at `arrival`, if that is the one whose time is taken. Asked for every frame.
    #[inline]
    pub fn take_sample(&mut self, arrival: Time) -> Option<Time> {
        let (due, sent) = self.sample;
        if due > arrival || due == Time::NEVER {
            return None;
        }
        self.sample.0 = Time::NEVER;
        (due == arrival).then_some(sent)
    }

    /// The longest that a frame put on the link now may take from its last bit on.
    pub fn longest_delay(&self) -> Time {
        self.delay + self.chance.jitter()
    }

    /// From now on frames take this long. What is in flight is not touched.
    pub fn set_delay(&mut self, delay: Time) {
        self.delay = delay;
        // It never grows again, so that frames stay in order.
        self.set_lead(self.lead());
    }

    /// From now on frames take up to so much longer, evenly drawn.
    pub fn set_jitter(&mut self, jitter: Time) {
        self.chance.set_jitter(jitter);
        self.is_clean = self.chance.is_none();
    }

    /// Lose frames by this process alone, or none.
    pub fn set_loss(&mut self, plan: Option<&ProcessPlan>) {
        self.chance.set_loss(plan);
        self.is_clean = self.chance.is_none();
    }

    /// Bring the link up, or cut it at the sender's end: true if a frame was on its way out, which is then the latest in flight.
    pub fn set_up(&mut self, up: bool, now: Time) -> bool {
        self.up = up;
        if up || self.last_sent <= now {
            return false;
        }
        self.last_sent = now;
        true
    }
}

/// Frames in flight towards a port, by when they arrive.
#[derive(Debug, Default)]
pub struct Flight(VecDeque<(Time, Box<Frame>)>);

impl Flight {
    #[inline]
    pub fn send(&mut self, arrival: Time, frame: Box<Frame>) {
        self.0.push_back((arrival, frame));
    }

    /// When the oldest frame arrives; `Time::NEVER` if there is none.
    #[inline]
    pub fn next_arrival(&self) -> Time {
        self.0.front().map_or(Time::NEVER, |(at, _)| *at)
    }

    /// The frame that arrives next.
    #[inline]
    pub fn first(&self) -> Option<&Frame> {
        self.0.front().map(|(_, frame)| &**frame)
    }

    /// When the latest frame arrives; `Time::NEVER` if there is none.
    pub fn last_arrival(&self) -> Time {
        self.0.back().map_or(Time::NEVER, |(at, _)| *at)
    }

    #[inline]
    pub fn arrive(&mut self) -> Option<Box<Frame>> {
        self.0.pop_front().map(|(_, frame)| frame)
    }

    /// The latest frame will not arrive after all.
    pub fn cut(&mut self) -> Option<Box<Frame>> {
        self.0.pop_back().map(|(_, frame)| frame)
    }

    pub fn frames(&self) -> impl Iterator<Item = &Frame> {
        self.0.iter().map(|(_, frame)| &**frame)
    }
}
