//! Quiesce the fabric, so that links can be changed: no frame enters, and frames in flight arrive.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::wiring::Attached;
use super::RealClock;
use crate::io::{Interest, IoError, BATCH_FRAMES};
use crate::plan::NodePlan;
use crate::units::Time;

/// How long nothing may have moved before frames that were written to a veth pair and not read are given up: the pair itself
/// holds nothing, so they come at once or never.
const STILLNESS: Duration = Duration::from_millis(100);

/// Frames that were lost because links changed: where, and of what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Loss {
    /// `node:port`; of frames inside the fabric, which can be anywhere, nothing.
    pub port: Option<String>,
    pub cause: &'static str,
    pub frames: u64,
}

/// How far a fabric has drained.
#[derive(Default)]
pub(super) struct Quiesce {
    /// Sockets of hosts' links that go, by number, which are read until they are empty.
    emptying: Vec<u32>,
    still_since: Option<Instant>,
    events: u64,
    losses: Vec<Loss>,
}

impl Quiesce {
    /// Write frames down as lost, if there are any.
    pub(super) fn lose(&mut self, port: Option<String>, cause: &'static str, frames: u64) {
        if frames > 0 {
            self.losses.push(Loss { port, cause, frames });
        }
    }

    /// Write down what a socket has lost since quiescing began.
    pub(super) fn lose_at(&mut self, port: &str, attached: &Attached) {
        let lost = attached.shortfall().since(attached.at_quiesce);
        self.lose(Some(port.to_owned()), "no room to wait for the change", lost.overrun);
        self.lose(Some(port.to_owned()), "no room to send it", lost.overflow);
        self.lose(Some(port.to_owned()), "refused by the interface", lost.refused);
    }
}

impl RealClock {
    /// Take no more frames from hosts' kernels: they wait in their sockets until `resume`. Frames that have arrived on links in
    /// `leaving` (node and port of either end) are taken first. A second call changes nothing.
    pub fn hold(&mut self, leaving: &[(String, String)]) -> Result<(), IoError> {
        if self.quiesce.is_some() {
            return Ok(());
        }
        self.pace.halt_at(Time::NEVER);
        let mut quiesce = Quiesce::default();
        for index in 0..self.sockets.len() {
            let (node, port) = names(&self.emulation.plan.nodes, &self.sockets[index]);
            let leaves = leaving.iter().any(|end| (&*end.0, &*end.1) == (node, port));
            let attached = &mut self.sockets[index];
            attached.at_quiesce = attached.shortfall();
            if attached.place.from_host && leaves {
                quiesce.emptying.push(index as u32);
            } else if attached.place.from_host {
                self.set_held(index as u32, true)?;
            }
        }
        self.quiesce = Some(quiesce);
        Ok(())
    }

    /// True once every frame in flight has arrived, as far as can be seen: what a netem holds cannot. Call it until then.
    pub fn is_drained(&mut self) -> Result<bool, IoError> {
        let Some(mut quiesce) = self.quiesce.take() else { return Ok(false) };
        let emptied = self.empty(&mut quiesce.emptying);
        let fabric = &self.emulation.fabric;
        let events = fabric.totals().events;
        let moves = !quiesce.emptying.is_empty()
            || fabric.in_flight(true)
                + fabric.in_flight(false)
                + self.inlets.waiting()
                + self.arrivals.waiting()
                + self.edges.waiting(fabric)
                > 0
            || self.sockets.iter().any(|attached| !attached.tx.is_empty());
        if moves || events != quiesce.events {
            quiesce.still_since = None;
        }
        quiesce.events = events;
        let still = !moves && quiesce.still_since.get_or_insert_with(Instant::now).elapsed() >= STILLNESS;
        self.quiesce = Some(quiesce);
        emptied?;
        Ok(still || (!moves && self.transit.under_way() == 0))
    }

    /// Read the sockets that are to be emptied once more, and stop when they are empty.
    fn empty(&mut self, emptying: &mut Vec<u32>) -> Result<(), IoError> {
        for token in std::mem::take(emptying) {
            if self.receive(token as usize)? < BATCH_FRAMES {
                self.set_held(token, true)?;
            } else {
                emptying.push(token);
            }
        }
        Ok(())
    }

    /// Take frames of hosts' kernels again. Return what was lost since `hold`.
    pub fn resume(&mut self) -> Result<Vec<Loss>, IoError> {
        let Some(mut quiesce) = self.quiesce.take() else { return Ok(Vec::new()) };
        for token in 0..self.sockets.len() as u32 {
            self.set_held(token, false)?;
            let attached = &self.sockets[token as usize];
            let (node, port) = names(&self.emulation.plan.nodes, attached);
            quiesce.lose_at(&format!("{node}:{port}"), attached);
        }
        self.count_from_here();
        Ok(quiesce.losses)
    }

    fn set_held(&mut self, token: u32, held: bool) -> Result<(), IoError> {
        let attached = &mut self.sockets[token as usize];
        attached.held = held;
        self.poller.watch(&attached.socket, token, attached.interest())
    }
}

impl Attached {
    /// The events to watch this socket for.
    pub(super) fn interest(&self) -> Interest {
        Interest { readable: !self.held, writable: self.blocked }
    }
}

/// The names of the node and the port that a socket serves.
pub(super) fn names<'a>(nodes: &'a [NodePlan], attached: &Attached) -> (&'a str, &'a str) {
    let node = &nodes[attached.place.node];
    (node.name(), &node.ports()[usize::from(attached.place.port)].name)
}
