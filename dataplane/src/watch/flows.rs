//! Messages from end to end: what the sending node posted and what the receiving node saw arrive, put together.

use std::collections::{HashMap, HashSet};

use super::Watch;
use crate::units::Time;

/// One message of a workload on its way from rank to rank.
#[derive(Clone, Debug, PartialEq)]
pub struct Flow {
    pub src: u32,
    pub dst: u32,
    pub qpn: u32,
    pub bytes: u64,
    pub start: Time,
    pub completion: Option<Time>,
}

/// A message as one end saw it: posted there, or arrived there.
#[derive(Copy, Clone, Debug)]
pub struct Sighting {
    pub qpn: u32,
    /// The end of the QP that saw it, 0 or 1.
    pub end: u8,
    pub message: u64,
    pub bytes: u64,
    pub at: Time,
}

/// A broken invariant: where, when, what.
#[derive(Clone, Debug)]
pub struct Violation {
    pub at: Time,
    pub node: u32,
    pub text: String,
}

impl Watch {
    /// Note a message that was posted here, or arrived here.
    pub(super) fn see(&mut self, is_posted: bool, seen: Sighting) {
        let sightings = if is_posted { &mut self.posted } else { &mut self.arrived };
        let Some(merged) = &mut self.merged else { return sightings.push(seen) };
        let place = *merged.entry((seen.qpn, seen.end, is_posted)).or_insert(sightings.len());
        let Some(known) = sightings.get_mut(place) else { return sightings.push(seen) };
        let is_next = seen.message == known.message + 1;
        let at = if is_posted { known.at } else { seen.at };
        *known = Sighting { message: seen.message, bytes: known.bytes + seen.bytes, at, ..*known };
        if !is_next {
            self.violate(seen.at, format!("QP {}: message {} out of turn", seen.qpn, seen.message));
        }
    }

    /// Whether the messages of a connection in one direction are one sighting.
    pub fn is_merged(&self) -> bool {
        self.merged.is_some()
    }
}

/// Put both ends' sightings together. `ends` has the two nodes of each QP number; others are ignored.
///
/// Flows come in the order in which they were posted: by time, then by node. Faults are messages that were posted or arrived twice,
/// arrived without having been posted, or with other bytes. What nodes `elsewhere` posted is known to others: of that only the
/// arrivals can be told, which come last, as flows whose start is that of their completion.
pub fn match_up<'a>(
    watches: impl Iterator<Item = &'a Watch> + Clone,
    ends: &HashMap<u32, [u32; 2]>,
    elsewhere: &HashSet<u32>,
) -> (Vec<Flow>, Vec<Violation>) {
    let mut faults = Vec::new();
    let mut fault = |node: u32, seen: &Sighting, what: &str| {
        let text = format!("QP {}: message {} {what}", seen.qpn, seen.message);
        faults.push(Violation { at: seen.at, node, text });
    };
    let mut arrivals = Vec::new();
    // Sightings of all messages of a connection have the number of the last.
    let is_merged = watches.clone().any(Watch::is_merged);
    let number = |seen: &Sighting| if is_merged { 0 } else { seen.message };
    let peer = |seen: &Sighting| ends.get(&seen.qpn).map(|ends| ends[usize::from(seen.end ^ 1)]);
    let nodes = || watches.clone().zip(0u32..);
    let mut posted: Vec<(u32, &Sighting)> =
        nodes().flat_map(|(watch, node)| watch.posted.iter().map(move |seen| (node, seen))).collect();
    posted.sort_by_key(|(node, seen)| (seen.at, *node));
    let (mut flows, mut places) = (Vec::with_capacity(posted.len()), HashMap::with_capacity(posted.len()));
    for (src, seen) in posted {
        let Some(dst) = peer(seen) else { continue };
        if places.insert((seen.qpn, seen.end, number(seen)), (flows.len(), seen.message)).is_some() {
            fault(src, seen, "posted twice");
        }
        flows.push(Flow { src, dst, qpn: seen.qpn, bytes: seen.bytes, start: seen.at, completion: None });
    }
    for (node, seen) in nodes().flat_map(|(watch, node)| watch.arrived.iter().map(move |seen| (node, seen))) {
        let Some(src) = peer(seen) else { continue };
        let place = places.get(&(seen.qpn, seen.end ^ 1, number(seen))).filter(|(_, posted)| seen.message <= *posted);
        let is_under_way = place.is_some_and(|(_, posted)| seen.message < *posted);
        match place.map(|(place, _)| &mut flows[*place]) {
            Some(_) if is_under_way => {}
            None if elsewhere.contains(&src) => {
                let (qpn, bytes) = (seen.qpn, seen.bytes);
                arrivals.push(Flow { src, dst: node, qpn, bytes, start: seen.at, completion: Some(seen.at) });
            }
            None => fault(node, seen, "arrived but was never posted"),
            Some(flow) if flow.completion.is_some() => fault(node, seen, "arrived twice"),
            Some(flow) if flow.bytes != seen.bytes => {
                fault(node, seen, &format!("has {} bytes of {}", seen.bytes, flow.bytes));
            }
            Some(flow) => flow.completion = Some(seen.at),
        }
    }
    flows.append(&mut arrivals);
    (flows, faults)
}
