//! Where frames of hosts' kernels that heed pauses enter the fabric: they share the line of the NIC, wait there while their priority
//! is paused, and while much waits a gate in the kernel holds what follows, so that its programs block and lose nothing.
//!
//! A gate takes effect a moment after it was asked to close, and what waits in the socket then has passed it. There is room for both:
//! for as much as the socket holds, and for what the line brings in twice as long as a change of the gate took when it was tried.

use std::path::PathBuf;
use std::time::Duration;

use super::wiring::Attached;
use crate::codec::Reader;
use crate::emulation::Emulation;
use crate::fabric::Fabric;
use crate::frame::Frame;
use crate::io::{Attachment, Gates, Options};
use crate::plan::{NodePlan, StationKind};
use crate::priority::{Priority, PrioritySet};

/// Bytes of one priority that wait at a port above which its gate closes, and at or below which it opens.
const CLOSE_BYTES: u64 = 1 << 20;
const OPEN_BYTES: u64 = 256 << 10;
/// How often each gate is tried before it is relied upon.
const TRIALS: usize = 3;
/// A change of a gate may take so many times as long as the slowest that was tried.
const MARGIN: u64 = 2;

/// One port of a host whose kernel heeds pauses.
#[derive(Debug)]
struct Edge {
    host: usize,
    port: u16,
    /// None where the kernel has none: then there is only the room.
    gates: Option<Gates>,
    held: PrioritySet,
    closed: PrioritySet,
    room_bytes: u64,
    lost: u64,
}

impl Edge {
    /// Open or close the gate of a priority. A gate that cannot be changed any more is none.
    fn set(&mut self, priority: Priority, closed: bool) {
        let changed = self.gates.as_mut().is_none_or(|gates| gates.set(priority, closed).is_ok());
        if !changed {
            self.gates = None;
        }
        if closed {
            self.closed.insert(priority);
        } else {
            self.closed.remove(priority);
        }
    }
}

impl Drop for Edge {
    /// Nobody would open a gate any more.
    fn drop(&mut self) {
        self.closed.into_iter().for_each(|priority| self.set(priority, false));
    }
}

/// The edges of all hosts.
#[derive(Debug, Default)]
pub struct Edges {
    /// By direction.
    edges: Vec<Option<Edge>>,
    /// Directions with a closed gate.
    closed: Vec<usize>,
    /// Stations that are kernels which heed pauses.
    obeying: Vec<bool>,
}

impl Edges {
    /// Find the gates of hosts and try them. What is asked of a kernel that has none is held here alone.
    pub fn new(emulation: &Emulation, sockets: &[Attached], dilation: u64) -> Edges {
        let plan = &emulation.plan;
        let heeds = |node: usize| matches!(&plan.nodes[node], NodePlan::Host(host) if !host.kernel_lossless.is_empty());
        let obeying = plan.stations.iter().map(|station| station.kind == StationKind::Kernel && heeds(station.node));
        let mut edges: Vec<Option<Edge>> = (0..emulation.fabric.directions()).map(|_| None).collect();
        for attached in sockets.iter().filter(|attached| attached.place.reader == Reader::Nic) {
            let place = attached.place;
            let NodePlan::Host(host) = &plan.nodes[place.node] else { continue };
            let Some(direction) = emulation.fabric.leaving(place.node, place.port) else { continue };
            if !host.kernel_lossless.is_empty() {
                let line_bps =
                    emulation.fabric.node(place.node).ports()[usize::from(place.port)].rate().bps() / dilation;
                let mut held = PrioritySet::NONE;
                host.kernel_lossless.iter().for_each(|priority| held.insert(*priority));
                edges[direction] = Some(open(place.node, place.port, attached.interface(), held, line_bps));
            }
        }
        Edges { edges, closed: Vec::new(), obeying: obeying.collect() }
    }

    /// Whether the frames of a kernel are held while their priority is paused, so that they may be lossless.
    pub fn obeys(&self, frame: &Frame) -> bool {
        self.obeying.get(frame.src.0 as usize).copied().unwrap_or(false)
    }

    /// Take a frame that a kernel sent by a direction, for the fabric; it comes back if its host heeds no pauses.
    pub fn admit(&mut self, direction: usize, frame: Box<Frame>, fabric: &mut Fabric) -> Option<Box<Frame>> {
        let Some(edge) = &mut self.edges[direction] else { return Some(frame) };
        let host = fabric.node(edge.host).host()?;
        let priority = host.priority_of(edge.port.into(), frame.dscp);
        let bytes = host.guest_bytes(edge.port, priority) + u64::from(frame.buffer_bytes());
        if bytes > edge.room_bytes {
            edge.lost += 1;
            return None;
        }
        fabric.accept_guest(edge.host, edge.port, frame);
        if bytes > CLOSE_BYTES && edge.held.contains(priority) && !edge.closed.contains(priority) {
            if edge.closed.is_empty() {
                self.closed.push(direction);
            }
            edge.set(priority, true);
        }
        None
    }

    /// Open the gates behind which little waits.
    pub fn open(&mut self, fabric: &Fabric) {
        if self.closed.is_empty() {
            return;
        }
        for direction in std::mem::take(&mut self.closed) {
            let Some(edge) = &mut self.edges[direction] else { continue };
            for priority in edge.closed {
                let host = fabric.node(edge.host).host();
                let waiting = host.map_or(0, |host| host.guest_bytes(edge.port, priority));
                if waiting <= OPEN_BYTES {
                    edge.set(priority, false);
                }
            }
            if !edge.closed.is_empty() {
                self.closed.push(direction);
            }
        }
    }

    /// How many frames wait at hosts.
    pub fn waiting(&self, fabric: &Fabric) -> u64 {
        let ports = self.edges.iter().flatten();
        ports.map(|edge| fabric.node(edge.host).host().map_or(0, |host| host.guests(edge.port))).sum()
    }

    /// By direction, how many frames found no room.
    pub fn lost(&self) -> impl Iterator<Item = u64> + '_ {
        self.edges.iter().map(|edge| edge.as_ref().map_or(0, |edge| edge.lost))
    }

    /// By direction, how many nanoseconds the slowest change of its gates took, 0 where there are none; None where nothing is held.
    pub fn slowest_ns(&self) -> impl Iterator<Item = Option<u64>> + '_ {
        let slowest = |edge: &Edge| edge.gates.as_ref().map_or(0, |gates| gates.longest().as_nanos() as u64);
        self.edges.iter().map(move |edge| edge.as_ref().map(slowest))
    }
}

/// Find the gates of a port and try them, with nothing waiting.
fn open(host: usize, port: u16, interface: &(PathBuf, String), held: PrioritySet, line_bps: u64) -> Edge {
    let end = Attachment { netns: interface.0.clone(), interface: interface.1.clone() };
    let gates = Gates::open(&end).ok().and_then(|mut gates| {
        for _ in 0..TRIALS {
            for priority in held {
                gates.set(priority, true).ok()?;
                gates.set(priority, false).ok()?;
            }
        }
        Some(gates)
    });
    let slowest_ns = gates.as_ref().map_or(Duration::ZERO, Gates::longest).as_nanos() as u64;
    let passes = u128::from(line_bps / 8) * u128::from(slowest_ns * MARGIN) / 1_000_000_000;
    let room_bytes = CLOSE_BYTES + u64::from(Options::default().receive_buffer_bytes) + passes as u64;
    Edge { host, port, gates, held, closed: PrioritySet::NONE, room_bytes, lost: 0 }
}
