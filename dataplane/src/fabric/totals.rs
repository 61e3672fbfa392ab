//! What concerns several nodes of a fabric, put together from their observers and their ports.

use super::{match_up, Fabric, Node, MAX_VIOLATIONS};
use crate::link::Flight;
use crate::port::Port;
use crate::units::Time;
use crate::watch::{fold, Flow, Tally, Violation};

/// Pauses that all nodes together keep record of, and that each may at least.
const RECORDED: usize = 1 << 16;
const RECORDED_AT_LEAST: usize = 256;

/// Sums over all nodes.
#[derive(Copy, Clone, Default, Debug)]
pub struct Totals {
    pub events: u64,
    pub frame_hops: u64,
    pub packets: Tally,
    pub kernel_frames: Tally,
}

impl Totals {
    /// What has been added to earlier sums.
    pub fn since(&self, before: &Totals) -> Totals {
        Totals {
            events: self.events - before.events,
            frame_hops: self.frame_hops - before.frame_hops,
            packets: self.packets.since(&before.packets),
            kernel_frames: self.kernel_frames.since(&before.kernel_frames),
        }
    }
}

impl Fabric {
    /// From here on count anew what nodes hold at most.
    pub fn restart_marks(&mut self) {
        self.shards.iter_mut().flat_map(|shard| &mut shard.nodes).for_each(|placed| placed.node.restart_marks());
    }

    /// Record when queues stand still because of PAUSE, and why, in a bounded memory; or record nothing. To be called before any
    /// frame is under way.
    pub fn record_pauses(&mut self, record: bool) {
        let bound = if record { (RECORDED / self.places.len().max(1)).max(RECORDED_AT_LEAST) } else { 0 };
        for placed in self.shards.iter_mut().flat_map(|shard| &mut shard.nodes) {
            placed.watch.record(bound);
            placed.node.record_credit_waits(bound);
            if let Node::Switch(switch) = &mut placed.node {
                switch.record(bound);
            }
        }
    }

    /// Forget the pauses that are over.
    pub fn restart_pauses(&mut self) {
        let now = self.now;
        for placed in self.shards.iter_mut().flat_map(|shard| &mut shard.nodes) {
            placed.watch.restart_intervals(now);
            placed.node.restart_credit_waits();
            if let Node::Switch(switch) = &mut placed.node {
                switch.stop_requests_mut().restart();
            }
        }
    }

    /// Forget the messages that were seen, and what was found wrong so far.
    pub fn forget_findings(&mut self) {
        self.past_faults.clear();
        self.peers.clear();
        self.shards.iter_mut().flat_map(|shard| &mut shard.nodes).for_each(|placed| placed.watch.forget_findings());
    }

    pub fn totals(&self) -> Totals {
        self.watches().fold(Totals::default(), |sum, watch| Totals {
            events: sum.events + watch.events,
            frame_hops: sum.frame_hops + watch.frame_hops,
            packets: sum.packets.with(&watch.packets),
            kernel_frames: sum.kernel_frames.with(&watch.kernel_frames),
        })
    }

    /// The hash of everything that happened, node by node.
    pub fn hash(&self) -> u64 {
        self.watches().fold(0, |hash, watch| fold(hash, watch.hash()))
    }

    /// When the workload last got on.
    pub fn last_progress(&self) -> Time {
        self.watches().map(|watch| watch.last_progress).max().unwrap_or(Time::ZERO)
    }

    /// The flows of the loaded workload so far, and the first violations of invariants with the number of all.
    pub fn findings(&self) -> (Vec<Flow>, Vec<String>, u64) {
        let (flows, mut faults) = match_up(self.watches(), &self.peers, &self.elsewhere);
        let kept: u64 = self.watches().map(|watch| watch.violations.len() as u64).sum();
        let seen: u64 = self.watches().map(|watch| watch.violation_count).sum();
        let unkept = seen - kept;
        faults.extend(self.past_faults.iter().cloned());
        for (watch, node) in self.watches().zip(0..) {
            let violation = |(at, text): &(Time, String)| Violation { at: *at, node, text: text.clone() };
            faults.extend(watch.violations.iter().map(violation));
        }
        faults.sort_by_key(|fault| (fault.at, fault.node));
        let count = faults.len() as u64 + unkept;
        let text =
            |fault: &Violation| format!("{} at {} ps: {}", self.names[fault.node as usize], fault.at.ps(), fault.text);
        (flows, faults.iter().take(MAX_VIOLATIONS).map(text).collect(), count)
    }

    /// NICs' packets inside the fabric, or kernels' frames: waiting in a queue or in flight on a link.
    pub fn in_flight(&self, packets: bool) -> u64 {
        let flying = self.shards.iter().flat_map(|shard| &shard.flights).flat_map(Flight::frames);
        let switches = self.nodes().filter(|node| !node.is_host());
        let waiting = switches.flat_map(Node::ports).flat_map(Port::frames_waiting);
        let here = flying.chain(waiting).filter(|frame| !frame.is_control() && frame.is_packet() == packets).count();
        here as u64 + self.ahead[usize::from(packets)]
    }
}
