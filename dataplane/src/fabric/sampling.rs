//! Sampling the nodes of a shard for their series, between two events: whatever was due by a multiple of the period has taken place
//! then, and nothing later. It changes nothing that events or their order depend on.

use super::sampler::Sampler;
use super::shard::{PlacedNode, Shard};
use super::{Fabric, Node};
use crate::nic::Host;
use crate::priority::{Priority, PrioritySet};
use crate::units::Time;
use crate::watch::port_tracks::PortState;
use crate::watch::series::{Recorder, SeriesPlan, Subject};
use crate::watch::track::Track;

/// What was recorded of a fabric.
#[derive(Debug)]
pub struct Recording {
    pub period: Time,
    /// Points from the origin on, which is the first.
    pub points: u64,
    pub origin: Time,
    /// By node, in the order of the plan.
    pub nodes: Vec<(usize, Vec<(Subject, Track)>)>,
}

impl PlacedNode {
    fn state(&self, port: u16, priority: Priority, at: Time) -> PortState {
        let of_port = &self.node.ports()[usize::from(port)];
        let counters = &of_port.counters[priority];
        let (shared_bytes, headroom_bytes) = match &self.node {
            Node::Switch(switch) => {
                let group = switch.buffer().group(port, priority);
                (group.shared(), group.headroom())
            }
            Node::Host(host) => host
                .receive_buffer(port.into())
                .filter(|buffer| buffer.priority() == priority)
                .map_or((0, 0), |b| b.parts()),
        };
        PortState {
            bytes_tx: counters.bytes_tx,
            queue_bytes: of_port.queue_bytes(priority),
            shared_bytes,
            headroom_bytes,
            paused: of_port.is_paused(priority, at),
            paused_ns: of_port.paused_time(priority, at).ns(),
            marked: counters.ecn_marked,
        }
    }

    fn begin_recording(&mut self, plan: &SeriesPlan, all_ports: usize, at: Time) {
        let ports = self.node.ports().len();
        let mut recorder = Box::new(Recorder::new(plan, ports, all_ports));
        for port in 0..ports as u16 {
            for priority in PrioritySet::ALL {
                recorder.begin_port(port, priority, self.state(port, priority, at));
            }
            self.node.port_mut(port).touch(PrioritySet::ALL);
        }
        self.recorder = Some(recorder);
        self.touched = true;
    }

    /// Record what changed. Returns whether a pause runs, which ends without anybody's doing: it is looked at again next time.
    fn sample(&mut self, number: u64, at: Time) -> bool {
        if !self.touched {
            return false;
        }
        let Some(mut recorder) = self.recorder.take() else { return false };
        let point = recorder.point(number);
        let mut runs = false;
        for port in 0..self.node.ports().len() as u16 {
            for priority in self.node.take_touched(port, at) {
                recorder.note_port(point, port, priority, self.state(port, priority, at));
            }
            runs |= self.node.ports()[usize::from(port)].is_touched();
        }
        if let Node::Host(host) = &mut self.node {
            sample_workload(host, &mut recorder, point);
        }
        self.recorder = Some(recorder);
        self.touched = runs;
        runs
    }
}

/// Record the rates of a host's queue pairs, if one changed, and where its ranks are.
fn sample_workload(host: &mut Host, recorder: &mut Recorder, point: u32) {
    if host.take_rates_changed() {
        host.rates().for_each(|(qp, rate_bps)| recorder.note_rate(point, qp, rate_bps));
    }
    host.steps().for_each(|(rank, step)| recorder.note_step(point, rank, step));
}

impl Shard {
    /// Take the samples that are due before `due`, when the next event is. Returns when the next one is.
    #[inline]
    pub fn sample_before(&mut self, due: Time) -> Time {
        match self.sampler {
            None => Time::NEVER,
            Some(sampler) if sampler.next >= due => sampler.next,
            Some(sampler) => self.sample_to(sampler, due),
        }
    }

    #[cold]
    fn sample_to(&mut self, mut sampler: Sampler, due: Time) -> Time {
        while sampler.next < due {
            let at = sampler.next;
            let runs = self.sample(&sampler, at);
            // Without a pause nothing changes until the next event.
            sampler.follow(if runs { at + Time::from_ps(1) } else { due });
        }
        self.sampler = Some(sampler);
        sampler.next
    }

    fn sample(&mut self, sampler: &Sampler, at: Time) -> bool {
        let number = sampler.number(at);
        self.nodes.iter_mut().fold(false, |runs, placed| placed.sample(number, at) | runs)
    }

    /// Run the events due by `until`, at most `budget`, and take the samples due before them.
    pub(super) fn run_sampled(&mut self, until: Time, budget: u64) -> u64 {
        let mut left = budget;
        while left > 0 {
            let due = self.queue.next();
            if due > until {
                break;
            }
            let next = self.sample_before(due);
            left -= self.run_events(until.min(next), left);
        }
        budget - left
    }
}

impl Fabric {
    /// Record the nodes that are here from now on.
    pub fn begin_recording(&mut self, plan: &SeriesPlan) {
        let origin = self.now;
        let all_ports = self.nodes().map(|node| node.ports().len()).sum();
        for node in 0..self.places.len() {
            if !self.elsewhere.contains(&(node as u32)) {
                self.placed_mut(node).begin_recording(plan, all_ports, origin);
            }
        }
        let sampler = Sampler { plan: *plan, origin, shift: 0, next: origin };
        self.shards.iter_mut().for_each(|shard| shard.sampler = Some(sampler));
    }

    pub fn is_recorded(&self) -> bool {
        self.shards[0].sampler.is_some()
    }

    /// Forget what was recorded.
    pub fn discard_recording(&mut self) {
        self.shards.iter_mut().for_each(|shard| shard.sampler = None);
        (0..self.places.len()).for_each(|node| self.placed_mut(node).recorder = None);
    }

    /// End the recording with a last point at or after the present moment. `None` if there is none.
    pub fn end_recording(&mut self) -> Option<Recording> {
        let now = self.now;
        self.sample_past();
        let mut sampler = self.shards[0].sampler?;
        sampler.follow(now);
        self.shards.iter_mut().for_each(|shard| {
            shard.sample(&sampler, sampler.next);
        });
        let shifts = (0..self.places.len()).filter_map(|node| Some(self.placed(node).recorder.as_ref()?.shift()));
        let shift = shifts.fold(sampler.shift, u32::max);
        let mut nodes = Vec::new();
        for node in 0..self.places.len() {
            if let Some(mut recorder) = self.placed_mut(node).recorder.take() {
                recorder.double_to(shift);
                nodes.push((node, recorder.tracks()));
            }
        }
        self.discard_recording();
        Some(Recording {
            period: Time::from_ps(sampler.plan.period_ps << shift),
            points: sampler.number(now).div_ceil(1 << shift) + 1,
            origin: sampler.origin,
            nodes,
        })
    }

    /// Take the samples that are due before the present moment, at which something is about to be done from outside.
    pub fn sample_past(&mut self) {
        let now = self.now;
        for shard in &mut self.shards {
            shard.sample_before(now.min(shard.queue.next()));
        }
    }

    /// When the shards are sampled, to be given to those that take their place; all that was due by now has taken place.
    pub(super) fn sampler(&mut self) -> Option<Sampler> {
        self.shards[0].sampler?;
        let now = self.now;
        for shard in &mut self.shards {
            shard.sample_before(now);
            if let Some(sampler) = shard.sampler {
                shard.sample(&sampler, sampler.next);
            }
        }
        let mut sampler = self.shards[0].sampler?;
        sampler.follow(now);
        Some(sampler)
    }
}
