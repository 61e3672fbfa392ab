//! One egress port: queues by priority, strict and DWRR scheduling, PFC pause timers, serialisation at line rate. Used by switch and NIC.

mod ahead;
mod credits;
mod mitigation;
mod observed;
mod pause;
mod queue;
mod steady;

use crate::credit::Credits;
use crate::event::Cause;
use crate::frame::{Body, Frame, Frames};
use crate::priority::{Priority, PrioritySet, PRIORITIES};
use crate::units::{Rate, Time};
use crate::wire::sizes::LONGEST_ON_LINE_BYTES;

use pause::Pause;
use queue::Queue;

/// DWRR credit of weight 1 for a round: at least the longest frame, so that every visit can send.
const DWRR_QUANTUM_BYTES: i64 = LONGEST_ON_LINE_BYTES as i64;

/// What a port counted for one priority since it was made: what each frame adds to in a cache line, then the rest.
#[derive(Clone, Default, Debug)]
#[repr(C, align(64))]
pub struct PriorityCounters {
    pub frames_tx: u64,
    pub bytes_tx: u64,
    pub data_frames_tx: u64,
    pub frames_rx: u64,
    pub bytes_rx: u64,
    pub ecn_marked: u64,
    pub drops: [u64; Cause::ALL.len()],
    pub pause_tx: u64,
    pub pause_rx: u64,
    pub credit_tx: u64,
    pub credit_rx: u64,
    /// Frames of hosts' kernels that asked for this priority, which is lossless, and were given a lossy one.
    pub demoted: u64,
}

/// Configuration of a port, in nominal units.
#[derive(Clone, Debug)]
pub struct PortConfig {
    pub rate: Rate,
    /// How long after a PAUSE frame's arrival frames of the priority may still start.
    pub response: Time,
    /// DWRR weight by priority; 0 = strict, served before all weighted ones, highest priority first.
    pub weights: [u32; PRIORITIES],
}

/// An egress port. The frame in flight always completes; control frames (PAUSE) pass every queue and are never paused.
///
/// A frame that passes an idle port needs three of its cache lines: what comes first here, the queue and the counters of its priority.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct Port {
    busy_until: Time,
    rate: Rate,
    /// Where the link runs credits.
    credits: Option<Box<Credits>>,
    /// MAC control frames, seldom more than one.
    control: Frames,
    /// The priorities whose queues hold a frame.
    occupied: PrioritySet,
    /// Those that may be paused: their timers must be asked.
    pausable: PrioritySet,
    /// Those of which something may have changed since they were last taken: for series.
    touched: PrioritySet,
    /// Those whose pauses are not heeded.
    deaf: PrioritySet,
    /// Those of weighted ones that have something left of their turns.
    saving: PrioritySet,
    /// Nothing new may start, whatever waits, but control frames.
    held: bool,
    /// The link runs PFC: PAUSE frames are heeded.
    pfc: bool,
    turn: Priority,
    queues: [Queue; PRIORITIES],
    pub counters: [PriorityCounters; PRIORITIES],
    pauses: [Pause; PRIORITIES],
    /// What those that save have left.
    deficits: [i64; PRIORITIES],
    response: Time,
    weights: [u32; PRIORITIES],
}

impl Port {
    pub fn new(config: PortConfig) -> Port {
        let PortConfig { rate, response, weights } = config;
        Port {
            busy_until: Time::ZERO,
            rate,
            credits: None,
            control: Vec::new(),
            occupied: PrioritySet::NONE,
            pausable: PrioritySet::NONE,
            touched: PrioritySet::NONE,
            deaf: PrioritySet::NONE,
            saving: PrioritySet::NONE,
            held: false,
            pfc: true,
            turn: Priority::P0,
            queues: Default::default(),
            counters: Default::default(),
            pauses: Default::default(),
            deficits: [0; PRIORITIES],
            response,
            weights,
        }
    }

    pub fn rate(&self) -> Rate {
        self.rate
    }

    pub fn queue_bytes(&self, priority: Priority) -> u64 {
        self.queues[priority].bytes()
    }

    /// The most and the least bytes in a queue since marks were restarted.
    pub fn queue_marks(&self, priority: Priority) -> (u64, u64) {
        self.queues[priority].marks()
    }

    pub fn is_empty(&self) -> bool {
        self.occupied.is_empty() && self.control.is_empty()
    }

    /// Nothing is to be had from `dequeue`, now or ever, unless somebody enqueues something.
    #[inline]
    pub fn is_idle(&self) -> bool {
        self.is_empty() && self.credits.is_none()
    }

    /// Frames in the queues, PAUSE frames not counted.
    pub fn frames_waiting(&self) -> impl Iterator<Item = &Frame> {
        self.queues.iter().flat_map(Queue::frames)
    }

    /// Frames in one queue, the next to leave first.
    pub fn queue(&self, priority: Priority) -> impl Iterator<Item = &Frame> {
        self.queues[priority].frames()
    }

    /// Queue a frame for transmission behind those of its priority.
    #[inline]
    pub fn enqueue(&mut self, frame: Box<Frame>) {
        let priority = frame.priority;
        self.touched.insert(priority);
        self.queues[priority].push(frame);
        self.occupied.insert(priority);
    }

    /// From here on count anew what queues hold at most and at least.
    pub fn restart_marks(&mut self) {
        self.queues.iter_mut().for_each(Queue::restart_marks);
    }

    /// Queue a MAC control frame: it leaves as soon as the frame in flight is out.
    pub fn enqueue_control(&mut self, frame: Box<Frame>) {
        self.control.push(frame);
    }

    #[inline]
    pub fn is_busy(&self, now: Time) -> bool {
        now < self.busy_until
    }

    /// Let the last frame of a queue go before the one ahead of it: what no port does by itself.
    pub fn swap_last(&mut self, priority: Priority) {
        self.queues[priority].swap_last();
    }

    /// Start the next frame at `now`: control first, then what scheduling and pauses allow. `None` while the line is busy.
    pub fn dequeue(&mut self, now: Time) -> Option<Box<Frame>> {
        if self.is_busy(now) {
            return None;
        }
        if !self.control.is_empty() || self.credits.is_some() {
            if let Some(frame) = self.next_control_frame(now) {
                self.occupy_line(&frame, now);
                return Some(frame);
            }
        }
        if self.occupied.is_empty() || self.held {
            return None;
        }
        let mut eligible = self.occupied.without(self.paused(now));
        if self.credits.is_some() {
            let starved = self.starved() & eligible;
            if !starved.is_empty() {
                self.note_starved(starved, now);
                eligible = eligible.without(starved);
            }
        }
        let priority = self.select(eligible)?;
        let queue = &mut self.queues[priority];
        let frame = queue.pop()?;
        if queue.is_empty() {
            self.vacate(priority);
        }
        self.count_transmit(&frame, now);
        self.occupy_line(&frame, now);
        Some(frame)
    }

    /// A queue holds nothing any more, and saves nothing up.
    #[inline]
    fn vacate(&mut self, priority: Priority) {
        self.occupied.remove(priority);
        self.saving.remove(priority);
    }

    /// The frame that goes before all queues, if there is one.
    fn next_control_frame(&mut self, now: Time) -> Option<Box<Frame>> {
        if self.control.is_empty() {
            self.next_credit_frame(now)
        } else {
            Some(self.control.remove(0))
        }
    }

    /// Send a frame that never waited in a queue (a NIC builds its data packets when the line is free).
    pub fn transmit(&mut self, frame: &Frame, now: Time) {
        debug_assert!(!self.is_busy(now), "the frame in flight must complete");
        self.count_transmit(frame, now);
        self.occupy_line(frame, now);
    }

    /// Send a PAUSE frame that never waited in a queue.
    pub fn transmit_pause(&mut self, frame: &Frame, now: Time) {
        let Body::Pause(pfc) = &frame.body else { return };
        pfc.class_enable.into_iter().for_each(|priority| self.counters[priority].pause_tx += 1);
        self.occupy_line(frame, now);
    }

    /// When the line is free, from `now` on; `Time::NEVER` while it is held.
    pub fn free_at(&self, now: Time) -> Time {
        if self.held {
            Time::NEVER
        } else {
            self.busy_until.max(now)
        }
    }

    fn count_transmit(&mut self, frame: &Frame, now: Time) {
        self.touched.insert(frame.priority);
        let counters = &mut self.counters[frame.priority];
        counters.frames_tx += 1;
        counters.bytes_tx += u64::from(frame.buffer_bytes());
        counters.data_frames_tx += u64::from(frame.is_data());
        if let Some(credits) = &mut self.credits {
            credits.spend(frame.priority, frame.buffer_bytes(), self.rate, now);
        }
    }

    #[inline]
    fn occupy_line(&mut self, frame: &Frame, now: Time) {
        self.busy_until = now + self.rate.serialisation(frame.wire_bytes());
    }

    /// Choose among eligible queues: strict ones first, highest priority first, then deficit round robin by weight.
    #[inline]
    fn select(&mut self, eligible: PrioritySet) -> Option<Priority> {
        let lowest = eligible.lowest()?;
        if PrioritySet::only(lowest) == eligible {
            return Some(lowest);
        }
        let strict = eligible.into_iter().filter(|priority| self.weights[*priority] == 0).last();
        if strict.is_some() {
            return strict;
        }
        // A visit adds at least the longest legal frame to the deficit, so the second round sends; an oversized one takes its turn below.
        for _ in 0..=2 * PRIORITIES {
            let priority = self.turn;
            if eligible.contains(priority) {
                let saved = if self.saving.contains(priority) { self.deficits[priority] } else { 0 };
                let left = saved - i64::from(self.queues[priority].first_bytes());
                self.saving.insert(priority);
                if left >= 0 {
                    self.deficits[priority] = left;
                    return Some(priority);
                }
                self.deficits[priority] = saved + i64::from(self.weights[priority]) * DWRR_QUANTUM_BYTES;
            }
            self.turn = Priority::from_bits(priority.number() + 1);
        }
        Some(lowest)
    }

    /// Share the line among priorities by other weights from the next frame on; what was saved up is forgotten.
    pub fn set_weights(&mut self, weights: [u32; PRIORITIES]) {
        self.weights = weights;
        self.saving = PrioritySet::NONE;
    }

    /// Serialise at another rate from the next frame on.
    pub fn set_rate(&mut self, rate: Rate) {
        self.rate = rate;
    }

    /// Let nothing new start (`true`), or let it start again. Control frames pass: whoever sends towards a port that is being drained
    /// must still be stopped.
    pub fn hold(&mut self, held: bool) {
        self.held = held;
    }

    pub fn is_held(&self) -> bool {
        self.held
    }

    /// When a waiting frame could start, at the earliest, or a credit frame has to; `Time::NEVER` when nothing waits for time to pass.
    pub fn next_start(&self, now: Time) -> Time {
        if !self.control.is_empty() {
            return self.busy_until.max(now);
        }
        match self.credits {
            None => self.next_start_of(self.occupied, now),
            Some(_) => self.next_start_with_credit(now),
        }
    }

    /// When a frame of one of the `priorities` could start, were it there.
    pub fn next_start_of(&self, priorities: PrioritySet, now: Time) -> Time {
        if self.held {
            return Time::NEVER;
        }
        let free = self.busy_until.max(now);
        if !priorities.without(self.pausable).is_empty() {
            return free;
        }
        let start = |pause: Pause| if pause.holds(free) { pause.until } else { free };
        let starts = priorities.into_iter().map(|priority| start(self.pauses[priority]));
        starts.min().unwrap_or(Time::NEVER)
    }
}
