//! The part of a fabric that one core runs: nodes, the directions that leave them, the frames in flight towards them, and what is
//! about to happen to them. A fabric that runs on one core is one shard.

use super::Node;
use crate::capture::Capture;
use crate::event::{Cause, Transmission};
use crate::frame::Frame;
use crate::link::{Direction, Flight};
use crate::timers::Timers;
use crate::units::Time;
use crate::watch::Watch;

/// The port of a slot that stands for a node's timer.
const TIMER: u16 = u16::MAX;

/// No direction.
pub(super) const NOWHERE: u32 = u32::MAX;

/// A node with what the shard keeps beside it.
#[derive(Debug)]
pub(super) struct Site {
    pub node: Node,
    pub watch: Watch,
    /// Its number in the plan.
    pub number: u32,
    /// The slot of its port 0; the one after its last port is that of its timer.
    first: u32,
}

impl Site {
    pub fn new(number: u32, node: Node, watch: Watch) -> Site {
        Site { node, watch, number, first: 0 }
    }

    pub fn slot(&self, port: u16) -> usize {
        self.first as usize + usize::from(port)
    }

    pub fn timer(&self) -> usize {
        self.first as usize + self.node.ports().len()
    }
}

/// A direction that leaves a port, and the shard and slot where its frames arrive.
#[derive(Debug)]
pub(super) struct Line {
    pub direction: Direction,
    pub shard: u32,
    pub slot: u32,
}

/// A frame on its way into another shard.
#[derive(Debug)]
pub(super) struct Crossing {
    pub shard: u32,
    slot: u32,
    arrival: Time,
    frame: Frame,
}

#[derive(Debug)]
pub(super) struct Shard {
    pub number: u32,
    pub sites: Vec<Site>,
    /// By slot: the site, and the port or `TIMER`. Slots are in the order in which events of one instant are taken.
    pub slots: Vec<(u32, u16)>,
    /// By slot: the direction that enters the port; `NOWHERE` if none does, and for timers.
    pub entering: Vec<u32>,
    pub lines: Vec<Option<Line>>,
    pub flights: Vec<Flight>,
    pub queue: Timers,
    pub outbox: Vec<Crossing>,
    pub now: Time,
    pub capture: Option<Capture>,
}

impl Shard {
    /// A shard of sites in the order of the plan, each with the time of its timer, to which nothing is connected yet.
    pub fn new(number: u32, sites: Vec<(Site, Time)>, now: Time) -> Shard {
        let mut slots = Vec::new();
        let mut wakes = Vec::new();
        let settle = |(index, (mut site, wake)): (u32, (Site, Time))| {
            site.first = slots.len() as u32;
            let ports = site.node.ports().len() as u16;
            slots.extend((0..ports).chain([TIMER]).map(|port| (index, port)));
            wakes.push((site.timer(), wake));
            site
        };
        let sites = (0..).zip(sites).map(settle).collect();
        let mut queue = Timers::new(slots.len());
        wakes.into_iter().for_each(|(slot, wake)| queue.set(slot, wake));
        Shard {
            number,
            sites,
            lines: slots.iter().map(|_| None).collect(),
            flights: slots.iter().map(|_| Flight::default()).collect(),
            entering: vec![NOWHERE; slots.len()],
            queue,
            slots,
            outbox: Vec::new(),
            now,
            capture: None,
        }
    }

    /// Let a direction, with what is in flight on it, end at the port of a slot.
    pub fn connect(&mut self, slot: usize, direction: u32, flight: Flight) {
        self.entering[slot] = direction;
        self.queue.set(slot, flight.next_arrival());
        self.flights[slot] = flight;
    }

    /// The sites, each with the time of its timer; what is connected to them is lost.
    pub fn dissolve(self) -> impl Iterator<Item = (Site, Time)> {
        let queue = self.queue;
        self.sites.into_iter().map(move |site| {
            let wake = queue.get(site.timer());
            (site, wake)
        })
    }

    /// Run the events due by `until`, which is not `Time::NEVER`, at most `budget`; the answer is how many there were.
    pub fn run(&mut self, until: Time, budget: u64) -> u64 {
        let mut left = budget;
        while left > 0 && self.queue.next() <= until {
            if let Some((slot, frame)) = self.take() {
                let (site, port) = self.slots[slot];
                self.receive(site as usize, port, frame);
            }
            left -= 1;
        }
        budget - left
    }

    /// Take the next event, of which there must be one: deal with a timer, or hand out the frame that arrived, and its slot.
    #[inline]
    pub fn take(&mut self) -> Option<(usize, Frame)> {
        let (at, slot) = self.queue.earliest();
        debug_assert!(at >= self.now, "time goes forward");
        self.now = at;
        let (site, port) = self.slots[slot];
        let place = &mut self.sites[site as usize];
        place.watch.events += 1;
        if port == TIMER {
            self.queue.set(slot, Time::NEVER);
            place.node.handle_timeout(at);
            self.drain(site as usize);
            return None;
        }
        let flight = &mut self.flights[slot];
        let frame = flight.arrive();
        self.queue.set(slot, flight.next_arrival());
        frame.map(|frame| (slot, frame))
    }

    /// Hand a frame to a port, at the current time.
    #[inline]
    pub fn receive(&mut self, site: usize, port: u16, frame: Frame) {
        let place = &mut self.sites[site];
        if place.node.is_host() && !frame.is_control() {
            place.watch.tally(frame.is_packet()).delivered += 1;
        }
        place.node.handle_frame(port, frame, self.now);
        self.drain(site);
    }

    /// Put out what a node has to say after it was called: events, frames, its next timer.
    #[inline]
    pub fn drain(&mut self, site: usize) {
        let now = self.now;
        let place = &mut self.sites[site];
        // Events first: what the node was told explains what it sends.
        while let Some(event) = place.node.poll_event() {
            place.watch.event(&event, now);
        }
        while let Some((port, frame)) = self.sites[site].node.poll_transmit(now) {
            self.transmit(site, port, frame);
        }
        let place = &self.sites[site];
        self.queue.set(place.timer(), place.node.poll_timeout().max(now));
    }

    #[inline]
    fn transmit(&mut self, site: usize, port: u16, frame: Frame) {
        let now = self.now;
        let place = &mut self.sites[site];
        let seen = Transmission { node: place.number, port, at: now, frame: &frame };
        place.watch.transmission(&seen);
        if let Some(capture) = &mut self.capture {
            capture.write(&seen);
        }
        if place.node.is_host() && !frame.is_control() {
            place.watch.tally(frame.is_packet()).sent += 1;
        }
        let rate = place.node.ports()[usize::from(port)].rate();
        let sent = now + rate.serialisation(frame.wire_bytes());
        self.put(site, port, frame, sent);
    }

    /// Put a frame on the line behind a port, that its last bit leaves for at `sent`, and see to its arrival.
    #[inline]
    pub fn put(&mut self, site: usize, port: u16, frame: Frame, sent: Time) {
        let place = &mut self.sites[site];
        let outcome = match &mut self.lines[place.slot(port)] {
            Some(line) => line.direction.send(&frame, self.now, sent).map(|arrival| (line.shard, line.slot, arrival)),
            None => Err(Cause::Outage),
        };
        match outcome {
            Ok((shard, slot, arrival)) if shard == self.number => self.fly(slot as usize, arrival, frame),
            Ok((shard, slot, arrival)) => self.outbox.push(Crossing { shard, slot, arrival, frame }),
            Err(cause) => {
                let packet = (!frame.is_control()).then_some(frame.is_packet());
                place.watch.lost(port, frame.priority, packet, cause, self.now);
            }
        }
    }

    /// Take in a frame that another shard has sent.
    pub fn accept(&mut self, crossing: Crossing) {
        self.fly(crossing.slot as usize, crossing.arrival, crossing.frame);
    }

    /// In the queue stands only the oldest frame of each flight.
    #[inline]
    fn fly(&mut self, slot: usize, arrival: Time, frame: Frame) {
        let flight = &mut self.flights[slot];
        if flight.next_arrival() == Time::NEVER {
            self.queue.set(slot, arrival);
        }
        flight.send(arrival, frame);
    }

    /// The least delay of a line into another shard: nothing that is sent from now on gets there sooner. `Time::NEVER` without any.
    pub fn lookahead(&self) -> Time {
        let crossing = self.lines.iter().flatten().filter(|line| line.shard != self.number);
        crossing.map(|line| line.direction.delay()).min().unwrap_or(Time::NEVER)
    }
}
