//! Another plan for a fabric that runs: what stays keeps its sockets, and loses no frame.

use std::time::Instant;

use super::wiring::{self, Attachment};
use super::{Probe, RealClock, RealError, PATIENCE};
use crate::build::Emulation;
use crate::io::{close_all, IoError};
use crate::units::Time;

/// The longest wait for frames under way, in wall nanoseconds: one that the kernel lost never comes.
const DRAIN_NS: u128 = 10_000_000_000;

impl RealClock {
    /// Go on with another plan, at the present nominal time, with counters at zero.
    ///
    /// What hosts' kernels send meanwhile waits in their sockets until everything under way has arrived. When something is
    /// wrong with the plan or an interface of it, all stays as it was.
    pub fn replace(&mut self, emulation: Emulation, attachments: &[Attachment]) -> Result<(), RealError> {
        let mut opened = Vec::new();
        for attachment in attachments {
            let (_, filter) = wiring::find(&emulation, attachment)?;
            let kept = self.sockets.iter().any(|attached| attached.serves(attachment, filter));
            opened.push(if kept { None } else { Some(wiring::attach(&emulation, attachment)?) });
        }
        self.drain()?;
        let mut before = std::mem::take(&mut self.sockets);
        for (attachment, opened) in attachments.iter().zip(opened) {
            let (place, filter) = wiring::find(&emulation, attachment)?;
            let kept = before.iter().position(|attached| attached.serves(attachment, filter));
            let kept = kept.map(|index| before.swap_remove(index));
            if let Some(mut attached) = opened.or(kept) {
                attached.place = place;
                self.sockets.push(attached);
            }
        }
        for attached in &before {
            self.poller.remove(&attached.socket)?;
        }
        close_all(before.into_iter().map(|attached| attached.socket).collect());
        self.adopt(emulation)
    }

    fn adopt(&mut self, mut emulation: Emulation) -> Result<(), RealError> {
        self.dirty.clear();
        for (attached, token) in self.sockets.iter_mut().zip(0..) {
            // One that is new is added, one that stays gets the number that it has now.
            self.poller.watch(&attached.socket, token, attached.blocked)?;
            attached.dirty = !attached.tx.is_empty();
            if attached.dirty {
                self.dirty.push(token);
            }
        }
        self.senders = wiring::senders(&emulation, &self.sockets)?;
        self.probes = self.senders.iter().map(|_| Probe::default()).collect();
        self.kernel_stations = wiring::kernel_stations(&emulation);
        self.pace.set_step(wiring::longest_step(&emulation));
        emulation.fabric.advance_to(self.pace.at().min(emulation.fabric.next_event()));
        let capture = self.emulation.fabric.capture(None);
        emulation.fabric.capture(capture);
        self.emulation = emulation;
        self.under_way = 0;
        self.started = false;
        self.complete_since = None;
        Ok(())
    }

    /// Let everything under way arrive.
    fn drain(&mut self) -> Result<(), IoError> {
        let began = Instant::now();
        let mut empty_since = Time::NEVER;
        self.draining = true;
        self.pace.rest_at(Time::NEVER);
        let result = loop {
            let fabric = &self.emulation.fabric;
            if fabric.in_flight(true) + fabric.in_flight(false) > 0 {
                empty_since = Time::NEVER;
            } else {
                empty_since = empty_since.min(self.pace.at());
            }
            // What the kernel has is on its way, unless it was lost there.
            let settled = self.under_way == 0 || self.pace.at().since(empty_since) > PATIENCE;
            if (empty_since < Time::NEVER && settled) || began.elapsed().as_nanos() > DRAIN_NS {
                break Ok(());
            }
            if let Err(error) = self.turn() {
                break Err(error);
            }
        };
        self.draining = false;
        result
    }
}
