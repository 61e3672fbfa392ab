//! A switch on a bench: frames put into its ports by hand, everything it says written down.

use _dataplane::event::{Cause, Event};
use _dataplane::frame::Frame;
use _dataplane::priority::Priority;
use _dataplane::switch::buffer::{Buffer, BufferConfig};
use _dataplane::switch::config::SwitchConfig;
use _dataplane::switch::forward::Table;
use _dataplane::switch::group::{GroupConfig, Threshold};
use _dataplane::switch::Switch;
use _dataplane::units::Time;

use super::frames::{gbps, strict};

/// A frame that the switch put on a link.
#[derive(Debug)]
pub struct Sent {
    pub at: Time,
    pub port: u16,
    pub frame: Box<Frame>,
}

#[derive(Debug)]
pub struct Bench {
    pub switch: Switch,
    pub now: Time,
    pub sent: Vec<Sent>,
    pub events: Vec<Event>,
    /// Frames put in and taken out so far, control frames not counted.
    pub frames_in: u64,
    pub frames_out: u64,
}

impl Bench {
    /// A switch of `ports` ports at 100 Gb/s; station i is behind port i.
    pub fn new(ports: u16, buffer: Buffer) -> Bench {
        Bench::of(Bench::config(ports, buffer))
    }

    /// What `new` makes a switch of.
    pub fn config(ports: u16, buffer: Buffer) -> SwitchConfig {
        let routes: Vec<Vec<u16>> = (0..ports).map(|port| vec![port]).collect();
        let configs = (0..ports).map(|_| strict(gbps(100))).collect();
        SwitchConfig::new(configs, buffer, Table::listed(&routes, 1))
    }

    pub fn with_routes(ports: u16, buffer: Buffer, routes: &[Vec<u16>], hash_seed: u64) -> Bench {
        let configs = (0..ports).map(|_| strict(gbps(100))).collect();
        Bench::of(SwitchConfig::new(configs, buffer, Table::listed(routes, hash_seed)))
    }

    pub fn of(config: SwitchConfig) -> Bench {
        let switch = Switch::new(config);
        Bench { switch, now: Time::ZERO, sent: Vec::new(), events: Vec::new(), frames_in: 0, frames_out: 0 }
    }

    /// Hand the switch a frame on `port`, now.
    pub fn arrive(&mut self, port: u16, frame: impl Into<Box<Frame>>) {
        let frame = frame.into();
        self.frames_in += u64::from(!frame.is_control());
        self.switch.handle_frame(port, frame, self.now);
        self.settle();
    }

    /// Let the switch say what it has to say, after a port was changed by hand.
    pub fn poll(&mut self) {
        self.settle();
    }

    /// Let time pass up to `until`, timers included.
    pub fn run_until(&mut self, until: Time) {
        while self.switch.poll_timeout() <= until {
            let at = self.switch.poll_timeout();
            assert!(at >= self.now, "a timer in the past: {} before {}", at.ps(), self.now.ps());
            self.now = at;
            self.switch.handle_timeout(at);
            self.settle();
        }
        self.now = until;
    }

    /// Let time pass until nothing more will happen. Ends only if no pause is left asserted: each would be renewed for ever.
    pub fn run_until_drained(&mut self) {
        for _ in 0..10_000_000 {
            match self.switch.poll_timeout() {
                Time::NEVER => return,
                next => self.run_until(next),
            }
        }
        panic!("the switch never drains");
    }

    fn settle(&mut self) {
        while let Some(event) = self.switch.poll_event() {
            self.events.push(event);
        }
        while let Some((port, frame)) = self.switch.poll_transmit(self.now) {
            self.frames_out += u64::from(!frame.is_control());
            self.sent.push(Sent { at: self.now, port, frame });
        }
    }

    /// PAUSE frames sent so far, as (time, port, quanta), that speak of `priority`.
    pub fn pauses(&self, priority: Priority) -> Vec<(Time, u16, u16)> {
        let asked = |sent: &Sent| Some((sent.at, sent.port, super::frames::quanta_for(&sent.frame, priority)?));
        self.sent.iter().filter_map(asked).collect()
    }

    /// Frames dropped so far for `cause`.
    pub fn dropped(&self, cause: Cause) -> usize {
        let of_cause = |event: &&Event| matches!(event, Event::Dropped { cause: found, .. } if *found == cause);
        self.events.iter().filter(of_cause).count()
    }

    pub fn waiting(&self) -> u64 {
        self.switch.ports().iter().map(|port| port.frames_waiting().count() as u64).sum()
    }
}

/// A buffer of 1 MB whose ports have lossless priorities 3 and 4: XOFF above 10,000 bytes, XON at 8,000, 5,000 of headroom.
pub fn small_buffer(ports: u16) -> Buffer {
    let mut buffer = Buffer::new(usize::from(ports), BufferConfig::plain(1_000_000, 4_000));
    for port in 0..ports {
        for priority in [Priority::P3, Priority::P4] {
            let threshold = Threshold::Static { xoff_bytes: 10_000, xon_bytes: 8_000 };
            let group = GroupConfig { threshold, headroom_bytes: 5_000 };
            buffer.add_group(port, priority, group);
        }
    }
    buffer
}
