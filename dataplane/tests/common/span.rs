//! A span with a switch at its near end and a sender that never runs dry at the far one; PAUSE frames may be lost on the way.

use std::collections::VecDeque;

use _dataplane::frame::Frame;
use _dataplane::port::{Port, PortConfig};
use _dataplane::priority::{Priority, PrioritySet};
use _dataplane::units::Time;

use super::bench::Bench;
use super::frames::{frame, gbps, quanta_for, strict};

pub const LOSSLESS: Priority = Priority::P3;
pub const FRAME_BYTES: u16 = 4_000;
/// 4000 bytes of frame and 20 of preamble and gap at 100 Gb/s.
pub const SLOT: Time = Time::from_ps(4_020 * 80);
/// 64 bytes of PAUSE frame and 20 around them.
pub const PAUSE_LINE: Time = Time::from_ps(84 * 80);
/// 65535 quanta of 512 bit times.
pub const LONGEST_PAUSE: Time = Time::from_ps(65_535 * 5_120);

/// Port 0 of the switch faces the sender, port 1 leads on.
pub struct Span {
    pub bench: Bench,
    pub sender: Port,
    delay: Time,
    now: Time,
    towards_switch: VecDeque<(Time, Box<Frame>)>,
    towards_sender: VecDeque<(Time, Box<Frame>)>,
    /// PAUSE frames that the switch has sent so far, and which of them (from 0) never arrive.
    pub said: Vec<(Time, u16)>,
    lost: Vec<usize>,
    looked_at: usize,
    /// When frames of the sender started.
    pub starts: Vec<Time>,
}

impl Span {
    /// 100 Gb/s over `delay`; the sender obeys a PAUSE frame `response` after it arrived. `lost` are PAUSE frames by number.
    pub fn new(bench: Bench, delay: Time, response: Time, lost: &[usize]) -> Span {
        let sender = Port::new(PortConfig { response, ..strict(gbps(100)) });
        Span {
            bench,
            sender,
            delay,
            now: Time::ZERO,
            towards_switch: VecDeque::new(),
            towards_sender: VecDeque::new(),
            said: Vec::new(),
            lost: lost.to_vec(),
            looked_at: 0,
            starts: Vec::new(),
        }
    }

    /// Keep the way on shut, or open it.
    pub fn shut(&mut self, shut: bool) {
        self.bench.switch.port_mut(1).hold(shut);
        self.bench.run_until(self.now);
        self.bench.poll();
        self.hear();
    }

    pub fn run_until(&mut self, until: Time) {
        loop {
            self.send();
            let arrivals = [&self.towards_switch, &self.towards_sender].map(|way| way.front().map(|(at, _)| *at));
            let start = self.sender.next_start_of(PrioritySet::only(LOSSLESS), self.now);
            let next = arrivals.into_iter().flatten().chain([start, self.bench.switch.poll_timeout()]).min();
            let next = next.filter(|next| *next <= until);
            let Some(next) = next else { break };
            self.now = next;
            self.bench.run_until(next);
            while let Some((_, frame)) = self.towards_switch.pop_front_if(|(at, _)| *at <= next) {
                self.bench.arrive(0, frame);
            }
            self.hear();
            while let Some((_, frame)) = self.towards_sender.pop_front_if(|(at, _)| *at <= next) {
                if let _dataplane::frame::Body::Pause(pfc) = frame.body {
                    self.sender.pause(&pfc, next);
                }
            }
        }
        self.now = until;
        self.bench.run_until(until);
        self.hear();
    }

    /// Start frames as long as the sender may.
    fn send(&mut self) {
        if self.sender.is_busy(self.now) || self.sender.is_paused(LOSSLESS, self.now) {
            return;
        }
        let data = Box::new(frame(0, 1, LOSSLESS, FRAME_BYTES));
        self.sender.transmit(&data, self.now);
        self.starts.push(self.now);
        self.towards_switch.push_back((self.now + SLOT + self.delay, data));
    }

    /// Put on the line what the switch has sent to the sender since the last look.
    fn hear(&mut self) {
        for sent in &self.bench.sent[self.looked_at..] {
            let Some(quanta) = quanta_for(&sent.frame, LOSSLESS).filter(|_| sent.port == 0) else { continue };
            if !self.lost.contains(&self.said.len()) {
                self.towards_sender.push_back((sent.at + PAUSE_LINE + self.delay, sent.frame.clone()));
            }
            self.said.push((sent.at, quanta));
        }
        self.looked_at = self.bench.sent.len();
    }

    /// When the `n`-th PAUSE frame arrives, or would.
    pub fn heard(&self, n: usize) -> Time {
        self.said[n].0 + PAUSE_LINE + self.delay
    }

    /// Gaps between starts longer than a frame, as (last start before, first after).
    pub fn gaps(&self) -> Vec<(Time, Time)> {
        let pairs = self.starts.windows(2).map(|pair| (pair[0], pair[1]));
        pairs.filter(|(last, next)| next.since(*last) > SLOT).collect()
    }
}
