//! What the priority groups of a switch asked of their peers, from XOFF to XON, and where the bytes stood that each group held at XOFF.
//! The cause of every pause follows from it. Indices and counts only; whoever reports puts names to them.

use serde::Serialize;

use super::buffer::Buffer;
use super::queue_map::Class;
use crate::frame::Frame;
use crate::port::Port;
use crate::priority::{Priority, PRIORITIES};
use crate::steady::Visitor;
use crate::units::Time;

/// Why frames stand in an egress queue that no pause holds up.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Backlog {
    /// Several ports send into it.
    #[serde(rename = "incast")]
    Incast,
    /// One port sends into it, faster than it sends on.
    #[serde(rename = "slow link")]
    SlowLink,
    /// Other queues of its port take the line.
    #[serde(rename = "other priorities")]
    OtherPriorities,
    /// Frames stand in it that take another way than planned, since links failed.
    #[serde(rename = "failed link")]
    FailedLink,
    /// Its port is drained: nothing new may start.
    #[serde(rename = "drained")]
    Drained,
}

/// What a group held in one egress queue.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Share {
    pub port: u16,
    pub queue: Priority,
    pub bytes: u64,
    /// The queue stands still because of PAUSE or for want of credit, or PAUSE held it up while bytes waited that are still in it.
    pub stood: bool,
}

/// A request of a priority group that its peer stop sending.
#[derive(Clone, Debug)]
pub struct StopRequest {
    pub port: u16,
    pub group: Priority,
    /// Which request of this port it is, from 1.
    pub number: u32,
    pub from: Time,
    /// `None`: it still holds.
    pub to: Option<Time>,
    /// Frames that the group lost for want of headroom while it held.
    pub lost: u64,
    /// If most of the group's bytes stand in a queue that no pause held up: why they do, and how many ports send into it.
    pub backlog: Option<(Backlog, u16)>,
    first_share: u32,
    shares: u32,
}

/// No table of counts: the group is lossy.
const NONE: u8 = u8::MAX;

#[derive(Debug)]
pub struct StopRequests {
    ports: usize,
    /// By group and queue, the table that counts their frames.
    tables: [u8; PRIORITIES * PRIORITIES],
    classes: Vec<Class>,
    /// By table, ingress and egress.
    bytes: Vec<u64>,
    /// By egress queue: what will have left it when the last byte has that stood still.
    stood_until: Vec<u64>,
    /// By port: how often it asked.
    numbers: Vec<u32>,
    /// By group: one more than the index of the request that holds; 0: none.
    open: Vec<u32>,
    kept: Vec<StopRequest>,
    shares: Vec<Share>,
    /// More than these are not kept; by port, the first of them that was not.
    bound: usize,
    left_out: Vec<Option<u32>>,
    /// Some frame that came took another way than planned.
    detoured: bool,
}

impl Default for StopRequests {
    /// Record nothing.
    fn default() -> StopRequests {
        StopRequests {
            ports: 0,
            tables: [NONE; PRIORITIES * PRIORITIES],
            classes: Vec::new(),
            bytes: Vec::new(),
            stood_until: Vec::new(),
            numbers: Vec::new(),
            open: Vec::new(),
            kept: Vec::new(),
            shares: Vec::new(),
            bound: 0,
            left_out: Vec::new(),
            detoured: false,
        }
    }
}

impl StopRequests {
    pub fn new(classes: &[Class], ports: usize, buffer: &Buffer, bound: usize) -> StopRequests {
        let mut tables = [NONE; PRIORITIES * PRIORITIES];
        let mut counted: Vec<Class> = Vec::new();
        for class in classes {
            let lossless = (0..ports as u16).any(|port| !buffer.group(port, class.group).is_lossy());
            if lossless && !counted.contains(class) {
                tables[table_slot(class.group, class.queue)] = counted.len() as u8;
                counted.push(*class);
            }
        }
        StopRequests {
            ports,
            tables,
            bytes: vec![0; counted.len() * ports * ports],
            classes: counted,
            stood_until: vec![0; ports * PRIORITIES],
            numbers: vec![0; ports],
            open: vec![0; ports * PRIORITIES],
            bound,
            left_out: vec![None; ports],
            ..StopRequests::default()
        }
    }

    /// Whether anything is recorded.
    #[inline]
    pub fn is_on(&self) -> bool {
        self.bound > 0
    }

    #[inline]
    fn cell(&mut self, frame: &Frame, egress: u16) -> Option<&mut u64> {
        let table = self.tables[table_slot(frame.group, frame.priority)];
        let index = (usize::from(table) * self.ports + usize::from(frame.ingress)) * self.ports + usize::from(egress);
        self.bytes.get_mut(index)
    }

    /// A frame is about to join an egress queue.
    #[inline]
    pub fn enter(&mut self, frame: &Frame, egress: u16) {
        self.detoured |= frame.detoured;
        if let Some(bytes) = self.cell(frame, egress) {
            *bytes += u64::from(frame.buffer_bytes());
        }
    }

    /// A frame has left an egress queue.
    #[inline]
    pub fn leave(&mut self, frame: &Frame, egress: u16) {
        if let Some(bytes) = self.cell(frame, egress) {
            *bytes -= u64::from(frame.buffer_bytes());
        }
    }

    /// All that is in an egress queue now has stood still, or will.
    pub fn stand(&mut self, egress: u16, queue: Priority, port: &Port) {
        self.stood_until[queue.slot(egress)] = port.counters[queue].bytes_tx + port.queue_bytes(queue);
    }

    /// An egress queue was emptied by force.
    pub fn forget(&mut self, egress: u16, queue: Priority) {
        if let Some(until) = self.stood_until.get_mut(queue.slot(egress)) {
            *until = 0;
        }
    }

    /// A group has just asked its peer to stop.
    pub fn begin(&mut self, (port, group): (u16, Priority), ports: &[Port], now: Time) {
        let number = &mut self.numbers[usize::from(port)];
        *number += 1;
        let number = *number;
        if self.kept.len() >= self.bound {
            self.left_out[usize::from(port)].get_or_insert(number);
            return;
        }
        let first_share = self.shares.len();
        for (table, class) in self.classes.iter().enumerate().filter(|(_, class)| class.group == group) {
            let start = (table * self.ports + usize::from(port)) * self.ports;
            for (egress, bytes) in (0..).zip(&self.bytes[start..start + self.ports]).filter(|(_, bytes)| **bytes > 0) {
                let stood = self.stood(egress, class.queue, &ports[usize::from(egress)], now);
                self.shares.push(Share { port: egress, queue: class.queue, bytes: *bytes, stood });
            }
        }
        let held = &self.shares[first_share..];
        // Of equals the first.
        let most = held.iter().rev().max_by_key(|share| share.bytes).copied();
        let backlog = most.filter(|most| !most.stood).map(|most| self.backlog((port, group), &most, ports));
        self.open[group.slot(port)] = self.kept.len() as u32 + 1;
        let shares = (self.shares.len() - first_share) as u32;
        let first_share = first_share as u32;
        self.kept.push(StopRequest { port, group, number, from: now, to: None, lost: 0, backlog, first_share, shares });
    }

    fn stood(&self, egress: u16, queue: Priority, port: &Port, now: Time) -> bool {
        port.is_paused(queue, now)
            || port.starves(queue)
            || port.counters[queue].bytes_tx < self.stood_until[queue.slot(egress)]
    }

    /// Why frames stand in a queue that no pause held up, and how many ports send into it.
    fn backlog(&self, (port, group): (u16, Priority), most: &Share, ports: &[Port]) -> (Backlog, u16) {
        let egress = &ports[usize::from(most.port)];
        let table = usize::from(self.tables[table_slot(group, most.queue)]);
        let from = |ingress: usize| self.bytes[(table * self.ports + ingress) * self.ports + usize::from(most.port)];
        let senders = (0..self.ports).filter(|ingress| from(*ingress) > 0).count() as u16;
        let reason = if egress.is_held() {
            Backlog::Drained
        } else if self.detoured && egress.queue(most.queue).any(|frame| frame.detoured) {
            Backlog::FailedLink
        } else if senders > 1 {
            Backlog::Incast
        } else if ports[usize::from(port)].rate().bps() > egress.rate().bps() {
            Backlog::SlowLink
        } else if egress.holds_others(most.queue) {
            Backlog::OtherPriorities
        } else {
            Backlog::Incast
        };
        (reason, senders)
    }

    fn holding(&mut self, (port, group): (u16, Priority)) -> Option<&mut StopRequest> {
        let index = (*self.open.get(group.slot(port))? as usize).checked_sub(1)?;
        self.kept.get_mut(index)
    }

    /// A group has just let its peer go on.
    pub fn end(&mut self, (port, group): (u16, Priority), now: Time) {
        if let Some(request) = self.holding((port, group)) {
            request.to = Some(now);
        }
        self.open[group.slot(port)] = 0;
    }

    /// Credit of `queue` was granted to the peer, so much less than all as the groups of its frames hold.
    pub fn tell(&mut self, (port, queue): (u16, Priority), ports: &[Port], now: Time) {
        for index in 0..self.classes.len() {
            let class = self.classes[index];
            if class.queue == queue {
                self.begin((port, class.group), ports, now);
                self.end((port, class.group), now);
            }
        }
    }

    /// A group lost a frame for want of headroom.
    pub fn lose(&mut self, port: u16, group: Priority) {
        if let Some(request) = self.holding((port, group)) {
            request.lost += 1;
        }
    }

    /// How often a port has asked so far.
    pub fn number(&self, port: u16) -> u32 {
        self.numbers[usize::from(port)]
    }

    /// Forget the requests that are over.
    pub fn restart(&mut self) {
        let (kept, shares) = (std::mem::take(&mut self.kept), std::mem::take(&mut self.shares));
        self.left_out.fill(None);
        for mut request in kept.into_iter().filter(|request| request.to.is_none()) {
            let range = range(&request);
            request.first_share = self.shares.len() as u32;
            self.shares.extend_from_slice(&shares[range]);
            self.open[request.group.slot(request.port)] = self.kept.len() as u32 + 1;
            self.kept.push(request);
        }
    }

    /// What is asked is not visited: a fabric whose switches ask for pauses is in no steady state.
    pub fn visit(&mut self, visitor: &mut impl Visitor, ports: &[Port]) {
        let StopRequests {
            ports: _,
            tables: _,
            classes: _,
            bytes,
            stood_until,
            numbers: _,
            open: _,
            kept: _,
            shares: _,
            bound: _,
            left_out: _,
            detoured: _,
        } = self;
        bytes.iter().for_each(|bytes| visitor.same(*bytes));
        let queues = (0..).zip(ports).flat_map(|(number, port)| Priority::ALL.map(|queue| (number, port, queue)));
        for (number, port, queue) in queues {
            // What is left to be sent of what stood still.
            let until = stood_until.get(queue.slot(number)).copied().unwrap_or(0);
            visitor.same(until.saturating_sub(port.counters[queue].bytes_tx));
        }
    }

    /// The requests that were kept, in the order in which they began, with what their groups held then.
    pub fn kept(&self) -> impl Iterator<Item = (&StopRequest, &[Share])> {
        self.kept.iter().map(|request| (request, &self.shares[range(request)]))
    }

    /// The ports of which requests were left out, with the number of the first.
    pub fn left_out(&self) -> impl Iterator<Item = (u16, u32)> + '_ {
        (0..).zip(&self.left_out).filter_map(|(port, first)| Some((port, (*first)?)))
    }
}

#[inline]
fn table_slot(group: Priority, queue: Priority) -> usize {
    usize::from(group.number()) * PRIORITIES + usize::from(queue.number())
}

fn range(request: &StopRequest) -> std::ops::Range<usize> {
    let first = request.first_share as usize;
    first..first + request.shares as usize
}
