//! Frames of a capture followed from port to port: which of them is on which link and in which queue, and what becomes of it.
//!
//! Nothing here changes a frame. A frame is recognised by what it says, in queues and links that keep order; what the emulation
//! lost sight of (in the kernel, under the real clock) is passed over.

use std::collections::{BTreeMap, HashMap, VecDeque};

use super::story::{QueueId, Story, Told};
use crate::event::Cause;
use crate::frame::{Body, Frame, Packet, Station};
use crate::units::Time;
use crate::watch::fold;
use crate::wire::ipv4::Ecn;
use crate::wire::roce::Opcode;

/// More stories than these are counted only.
const MOST_STORIES: usize = 1 << 20;
/// Frames followed on a link or in a queue; the oldest are lost sight of first.
const MOST_FOLLOWED: usize = 1 << 20;

const PSN_MASK: u32 = 0xff_ffff;
const PSN_HALF: u32 = 0x80_0000;

/// What tells a frame from others near it, whether it is marked or not.
type Identity = u64;

/// Data packets of a queue pair in one direction: the stations of the NICs, and the QP number that they name.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct Flow {
    pub src: Station,
    pub dst: Station,
    pub qpn: u32,
}

impl Flow {
    /// The flow of a packet; `None` for other frames.
    pub fn of(frame: &Frame) -> Option<Flow> {
        match &frame.body {
            Body::Roce(packet) => Some(Flow { src: frame.src, dst: frame.dst, qpn: packet.dst_qp }),
            _ => None,
        }
    }
}

/// A frame that was captured, under this number.
#[derive(Copy, Clone, Debug)]
struct Followed {
    number: u64,
    identity: Identity,
    marked: bool,
    /// Of a NIC's data packet: its flow and its PSN.
    data: Option<(Flow, u32)>,
}

/// A packet that comes to a port of a host: whether its data had come before, and how many packets of its flow had been rebuilt.
#[derive(Copy, Clone, Debug)]
pub struct HostPacket {
    pub port: u16,
    pub flow: Flow,
    pub had_come: bool,
    pub rebuilt: u64,
}

/// What a frame comes to.
#[derive(Copy, Clone, Debug)]
pub enum Arrival {
    /// A host, which takes it.
    Host(HostPacket),
    /// A switch, where it joins a queue unless it is dropped.
    Switch(QueueId),
    /// A node that has no use for it.
    Other,
}

#[derive(Debug, Default)]
pub struct Tracker {
    written: u64,
    /// The frame that was written last, until it is on its link.
    latest: Option<Followed>,
    /// The frame that a node is about to deal with.
    arriving: Option<(Followed, Arrival)>,
    /// By slot of the port that they lead to.
    links: HashMap<usize, VecDeque<Followed>>,
    /// By node, port and number of the priority.
    queues: HashMap<(u32, u16, u8), VecDeque<Followed>>,
    /// The highest PSN that each flow sent.
    sent: HashMap<Flow, u32>,
    /// By flow and PSN: the frame that was lost, and when.
    lost: HashMap<Flow, BTreeMap<u32, (u64, Time)>>,
    told: Told,
}

impl Tracker {
    /// A workload makes way for the next, whose queue pairs have nothing to do with it.
    pub fn restart(&mut self) {
        self.sent.clear();
        self.lost.clear();
    }

    /// A frame was captured as it left a host.
    pub fn left_host(&mut self, frame: &Frame, now: Time) {
        let followed = self.follow(frame);
        let Some((flow, psn)) = followed.data else { return };
        match self.sent.get_mut(&flow) {
            Some(highest) if psn.wrapping_sub(*highest).wrapping_sub(1) & PSN_MASK >= PSN_HALF => {
                let lost = self.lost.get_mut(&flow).and_then(|lost| lost.remove(&psn));
                self.tell(followed.number, Story::SentAgain { lost: lost.map(|(number, _)| number) });
                if let Some((number, at)) = lost {
                    self.tell(number, Story::Repaired { by: followed.number, after: now.since(at) });
                }
            }
            Some(highest) => *highest = psn,
            None => {
                self.sent.insert(flow, psn);
            }
        }
    }

    /// A frame was captured as it left a queue of a switch, which held so many bytes with it.
    pub fn left_switch(&mut self, frame: &Frame, at: QueueId, queued: u64) {
        let followed = self.follow(frame);
        if frame.is_control() {
            return;
        }
        let queue = self.queues.get_mut(&key(&at));
        let before = queue.and_then(|queue| {
            let position = queue.iter().position(|waiting| waiting.identity == followed.identity)?;
            queue.remove(position)
        });
        if followed.marked && before.is_some_and(|before| !before.marked) {
            self.tell(followed.number, Story::Marked { queue: at, queued });
        }
    }

    fn follow(&mut self, frame: &Frame) -> Followed {
        let data = match &frame.body {
            Body::Roce(packet) if is_own_data(frame, packet) => Flow::of(frame).map(|flow| (flow, packet.psn)),
            _ => None,
        };
        let marked = frame.ecn == Ecn::Ce as u8;
        let followed = Followed { number: self.written, identity: identity(frame), marked, data };
        self.written += 1;
        self.latest = Some(followed);
        followed
    }

    /// What was written last is on its way to the port of a slot. What was not written is not followed.
    pub fn propagates(&mut self, slot: usize) {
        if let Some(followed) = self.latest.take() {
            push(self.links.entry(slot).or_default(), followed);
        }
    }

    /// The link behind a port lost what was written last.
    pub fn lost_on_link(&mut self, at: QueueId, cause: Cause, now: Time) {
        if let Some(followed) = self.latest.take() {
            self.lose(&followed, at, cause, now);
        }
    }

    /// A link was cut while the latest frame that it leads to the port of a slot was leaving.
    pub fn cut(&mut self, slot: usize, at: QueueId, now: Time) {
        if let Some(followed) = self.links.get_mut(&slot).and_then(VecDeque::pop_back) {
            self.lose(&followed, at, Cause::Outage, now);
        }
    }

    /// A frame that comes to the port of a slot was handed to the kernel so long after its time.
    pub fn late(&mut self, slot: usize, frame: &Frame, by: Time) {
        let identity = identity(frame);
        let link = self.links.get(&slot);
        if let Some(followed) = link.and_then(|link| link.iter().find(|followed| followed.identity == identity)) {
            let number = followed.number;
            self.tell(number, Story::Late { by });
        }
    }

    /// A frame came to the port of a slot.
    pub fn arrives(&mut self, slot: usize, frame: &Frame, arrival: Arrival) {
        let identity = identity(frame);
        let arrived = self.links.get_mut(&slot).and_then(|link| {
            let position = link.iter().position(|followed| followed.identity == identity)?;
            // Those before it will not come any more.
            link.drain(..=position).next_back()
        });
        self.arriving = arrived.map(|followed| (followed, arrival));
    }

    /// A node dropped a frame: the one that came, or the first of a queue that is flushed.
    pub fn dropped(&mut self, at: QueueId, cause: Cause, now: Time) {
        let flushed = |queue: &mut VecDeque<Followed>| queue.pop_front();
        let followed = match self.arriving.take() {
            Some((followed, ..)) => Some(followed),
            None => self.queues.get_mut(&key(&at)).and_then(flushed),
        };
        if let Some(followed) = followed {
            self.lose(&followed, at, cause, now);
        }
    }

    /// The packet that a host is about to deal with.
    pub fn arriving(&self) -> Option<HostPacket> {
        match self.arriving {
            Some((_, Arrival::Host(packet))) => Some(packet),
            _ => None,
        }
    }

    /// The node has dealt with what came. `rebuilt`: how many packets of its flow are rebuilt by now; `has_come` tells of which PSN
    /// the host has the data.
    pub fn settle(&mut self, rebuilt: u64, has_come: impl Fn(u32) -> bool) {
        match self.arriving.take() {
            Some((followed, Arrival::Switch(at))) => push(self.queues.entry(key(&at)).or_default(), followed),
            Some((followed, Arrival::Host(packet))) => self.taken(followed, packet, rebuilt, has_come),
            Some((_, Arrival::Other)) | None => {}
        }
    }

    fn taken(&mut self, followed: Followed, packet: HostPacket, rebuilt: u64, has_come: impl Fn(u32) -> bool) {
        if packet.had_come {
            self.tell(followed.number, Story::Repeated);
        }
        if rebuilt <= packet.rebuilt {
            return;
        }
        self.tell(followed.number, Story::Completed { packets: rebuilt - packet.rebuilt });
        let Some(lost) = self.lost.get_mut(&packet.flow) else { return };
        let repaired: Vec<u64> =
            lost.iter().filter(|(psn, _)| has_come(**psn)).map(|(_, (number, _))| *number).collect();
        lost.retain(|psn, _| !has_come(*psn));
        for number in repaired {
            self.tell(number, Story::Rebuilt { by: followed.number });
        }
    }

    fn lose(&mut self, followed: &Followed, at: QueueId, cause: Cause, now: Time) {
        self.tell(followed.number, Story::Lost { queue: at, cause });
        if let Some((flow, psn)) = followed.data {
            self.lost.entry(flow).or_default().insert(psn, (followed.number, now));
        }
    }

    fn tell(&mut self, number: u64, story: Story) {
        if self.told.stories.len() < MOST_STORIES {
            self.told.stories.push((number, story));
        } else {
            self.told.omitted += 1;
        }
    }

    /// All that there is to tell, in the order of the frames, and of each in the order in which it happened.
    pub fn finish(mut self) -> Told {
        self.told.stories.sort_by_key(|(number, _)| *number);
        self.told
    }
}

fn key(queue: &QueueId) -> (u32, u16, u8) {
    (queue.node, queue.port, queue.priority.number())
}

fn push(frames: &mut VecDeque<Followed>, followed: Followed) {
    if frames.len() == MOST_FOLLOWED {
        frames.pop_front();
    }
    frames.push_back(followed);
}

/// Whether a NIC, not a tester, made a packet of data.
fn is_own_data(frame: &Frame, packet: &Packet) -> bool {
    frame.ingress != Frame::OUTSIDE && frame.is_data() && packet.opcode != Opcode::Parity
}

fn identity(frame: &Frame) -> Identity {
    let stations = u64::from(frame.src.0) << 32 | u64::from(frame.dst.0);
    match &frame.body {
        Body::Roce(packet) => {
            let numbers = u64::from(packet.psn) << 32 | u64::from(packet.dst_qp) << 8 | packet.opcode as u64;
            // What has no AETH and no PETH leaves the word that it does not need at home.
            let said = if packet.opcode.extension().aeth { packet.msn } else { 0 };
            fold(stations, fold(numbers, u64::from(said)))
        }
        // Over a real wire no station comes with a PAUSE frame.
        Body::Pause(pfc) => {
            pfc.quanta.iter().fold(u64::from(pfc.class_enable.bits()), |hash, quanta| fold(hash, u64::from(*quanta)))
        }
        Body::Credit(credit) => fold(u64::from(credit.sent) << 32 | u64::from(credit.limit), 1),
        Body::Opaque => fold(stations, u64::from(frame.len)),
    }
}
