//! Another plan for a quiesced fabric: what stays keeps its sockets, and loses no frame.

use super::arrivals::Arrivals;
use super::edge::Edges;
use super::quiesce::{names, Quiesce};
use super::wiring::{self, Attached, Attachment};
use super::{Inlets, Probe, RealClock, RealError, Transit};
use crate::emulation::Emulation;
use crate::io::{close_all, IoError};

impl RealClock {
    /// Go on with another plan, at the present nominal time, with counters at zero; hosts' kernels are received with `resume`.
    ///
    /// Call it on a quiesced fabric: what is under way still is lost, and so is what waits in sockets that go; both are counted. When
    /// something is wrong with the plan or an interface of it, all stays as it was.
    pub fn replace(&mut self, emulation: Emulation, attachments: &[Attachment]) -> Result<(), RealError> {
        let mut opened = Vec::new();
        for attachment in attachments {
            let (_, filter) = wiring::find(&emulation, attachment)?;
            let kept = self.sockets.iter().any(|attached| attached.serves(attachment, filter));
            opened.push(if kept { None } else { Some(wiring::attach(&emulation, attachment)?) });
        }
        let mut quiesce = self.quiesce.take().unwrap_or_default();
        let mut before = std::mem::take(&mut self.sockets);
        for (attachment, opened) in attachments.iter().zip(opened) {
            let (place, filter) = wiring::find(&emulation, attachment)?;
            let kept = before.iter().position(|attached| attached.serves(attachment, filter));
            let kept = kept.map(|index| before.swap_remove(index));
            if let Some(mut attached) = opened.or(kept) {
                attached.place = place;
                attached.held = place.from_host;
                self.sockets.push(attached);
            }
        }
        let fabric = &self.emulation.fabric;
        let under_way =
            fabric.in_flight(true) + fabric.in_flight(false) + self.inlets.waiting() + self.edges.waiting(fabric);
        quiesce.lose(None, "not arrived in time", under_way);
        self.part_with(before, &mut quiesce)?;
        self.quiesce = Some(quiesce);
        self.adopt(emulation)
    }

    /// Close sockets whose interfaces go, and write down what they still hold.
    fn part_with(&mut self, parting: Vec<Attached>, quiesce: &mut Quiesce) -> Result<(), IoError> {
        for attached in &parting {
            let (node, port) = names(&self.emulation.plan.nodes, attached);
            let port = format!("{node}:{port}");
            let mut unread = 0;
            loop {
                let count = self.rx.recv(&attached.socket)?.count() as u64;
                if count == 0 {
                    break;
                }
                unread += count;
            }
            quiesce.lose_at(&port, attached);
            quiesce.lose(Some(port.clone()), "on a link that went", unread + attached.tx.len() as u64);
        }
        close_all(parting.into_iter().map(|attached| attached.socket).collect());
        Ok(())
    }

    fn adopt(&mut self, mut emulation: Emulation) -> Result<(), RealError> {
        self.dirty.clear();
        for (attached, token) in self.sockets.iter_mut().zip(0..) {
            // One that is new is added, one that stays gets the number that it has now.
            self.poller.watch(&attached.socket, token, attached.interest())?;
            attached.dirty = !attached.tx.is_empty();
            if attached.dirty {
                self.dirty.push(token);
            }
        }
        self.exits = wiring::exits(&emulation, &self.sockets)?;
        self.probes = self.exits.iter().map(|_| Probe::default()).collect();
        self.kernel_stations = wiring::kernel_stations(&emulation);
        self.transit = Transit::new(wiring::awaited(&emulation));
        self.inlets = Inlets::new(wiring::rates(&emulation));
        self.before_span.forget_directions();
        // What is held so far goes on first.
        self.edges = Edges::default();
        self.edges = Edges::new(&emulation, &self.sockets, self.pace.dilation());
        self.arrivals = Arrivals::default();
        let step = wiring::longest_step(&emulation);
        wiring::lead(&mut emulation, step);
        self.pace.set_step(step);
        emulation.fabric.advance_to(self.pace.at().min(emulation.fabric.next_event()));
        let capture = self.emulation.fabric.capture(None);
        emulation.fabric.capture(capture);
        self.emulation = emulation;
        self.started = false;
        self.complete_since = None;
        Ok(())
    }
}
