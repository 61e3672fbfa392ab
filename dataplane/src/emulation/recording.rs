//! Series of a run, as bytes for Python: what a fabric recorded, with names in place of numbers.

use std::collections::HashMap;

use serde::Serialize;

use super::Emulation;
use crate::fabric::Recording;
use crate::plan::PlanError;
use crate::watch::series::{SeriesPlan, Subject};

/// What the bytes begin with, as JSON behind its length.
#[derive(Serialize)]
struct Header<'a> {
    period_ps: u64,
    points: u64,
    start_ps: u64,
    tracks: Vec<TrackName<'a>>,
}

/// Of what a track is, and how many changes it has.
#[derive(Serialize)]
struct TrackName<'a> {
    kind: &'static str,
    name: String,
    priority: Option<u8>,
    quantity: &'a str,
    changes: usize,
}

impl SeriesPlan {
    /// Read what is to be recorded.
    pub fn parse(json: &str) -> Result<SeriesPlan, PlanError> {
        let plan: SeriesPlan = serde_json::from_str(json)?;
        if plan.period_ps == 0 || plan.points < 2 {
            return Err(PlanError::Invalid("series: a period takes time, and there are two points at least".into()));
        }
        Ok(plan)
    }
}

impl Emulation {
    /// Record series from the next start of a workload on, and anew where a span begins.
    pub fn record_series(&mut self, plan: SeriesPlan) {
        self.discard_series();
        self.series = Some(plan);
    }

    pub(super) fn discard_series(&mut self) {
        self.series = None;
        self.fabric.discard_recording();
    }

    pub(super) fn begin_recording(&mut self) {
        if let Some(plan) = self.series.filter(|_| !self.fabric.is_recorded()) {
            self.fabric.begin_recording(&plan);
        }
    }

    /// End the recording and return it: the length of a JSON header in four bytes, the header, the points of all tracks in four bytes
    /// each, their values in eight; little-endian. Nothing was recorded: no bytes.
    pub fn series(&mut self) -> Vec<u8> {
        self.series = None;
        self.fabric.end_recording().map_or_else(Vec::new, |recording| self.encode(recording))
    }

    fn encode(&self, recording: Recording) -> Vec<u8> {
        let ports = self.names_of_ports();
        let ranks: HashMap<_, _> = self.ranks.iter().zip(0..).map(|(at, rank)| ((at.node, at.slot), rank)).collect();
        let pairs: HashMap<_, _> = self.qps.iter().map(|pair| (pair.qpn, pair.nodes)).collect();
        let name = |node: usize, subject: Subject| match subject {
            Subject::Port { port, priority, quantity } => {
                Some(("port", ports[node][usize::from(port)].clone(), Some(priority.number()), quantity))
            }
            Subject::QueuePair { qpn, end } => {
                let ends = pairs.get(&qpn)?.map(|node| self.plan.nodes[node].name());
                let (from, to) = (ends[usize::from(end)], ends[1 - usize::from(end)]);
                Some(("qp", format!("{qpn} {from} -> {to}"), None, "rate_bps"))
            }
            Subject::Rank(slot) => Some(("rank", u32::to_string(ranks.get(&(node, slot))?), None, "step")),
        };
        let (mut tracks, mut points, mut values) = (Vec::new(), Vec::new(), Vec::new());
        for (node, of_node) in recording.nodes {
            for (subject, track) in of_node {
                let Some((kind, name, priority, quantity)) = name(node, subject) else { continue };
                tracks.push(TrackName { kind, name, priority, quantity, changes: track.points.len() });
                points.extend(track.points.iter().flat_map(|point| point.to_le_bytes()));
                values.extend(track.values.iter().flat_map(|value| value.to_le_bytes()));
            }
        }
        let header = Header {
            period_ps: recording.period.ps(),
            points: recording.points,
            start_ps: recording.origin.ps(),
            tracks,
        };
        // Keys are strings: it cannot fail.
        let header = serde_json::to_vec(&header).unwrap_or_default();
        [&(header.len() as u32).to_le_bytes()[..], &header, &points, &values].concat()
    }
}
