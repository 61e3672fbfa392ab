//! Forwarding by the plan's table: destination station → ports of equal cost, one chosen by flow hash.

use std::collections::HashMap;

use crate::frame::{Frame, Station};

/// The ports towards each station, flattened: `ports[starts[s]..starts[s + 1]]`.
#[derive(Debug)]
pub struct Table {
    starts: Vec<u32>,
    ports: Vec<u16>,
    hash_seed: u64,
    /// Stations whose frames take other ports than planned, since links failed.
    detours: HashMap<u32, Vec<u16>>,
}

impl Table {
    pub fn new(routes: &[Vec<u16>], hash_seed: u64) -> Table {
        let mut starts = vec![0];
        let mut ports = Vec::new();
        for route in routes {
            ports.extend_from_slice(route);
            starts.push(ports.len() as u32);
        }
        Table { starts, ports, hash_seed, detours: HashMap::new() }
    }

    /// The egress port of a frame; `None` where the plan has no route.
    #[inline]
    pub fn lookup(&self, frame: &Frame) -> Option<u16> {
        if frame.dst == Station::UNKNOWN {
            return None;
        }
        let station = frame.dst.0 as usize;
        let start = *self.starts.get(station)? as usize;
        let end = *self.starts.get(station + 1)? as usize;
        let planned = &self.ports[start..end];
        if !self.detours.is_empty() {
            return self.lookup_detour(planned, frame);
        }
        self.choose(planned, frame)
    }

    /// Choose among ports of equal cost.
    #[inline]
    fn choose(&self, ports: &[u16], frame: &Frame) -> Option<u16> {
        match ports {
            [] => None,
            [port] => Some(*port),
            equal_cost => {
                let hash = flow_hash(frame, self.hash_seed);
                Some(equal_cost[(hash % equal_cost.len() as u64) as usize])
            }
        }
    }

    /// The egress port of a frame where some stations have detours. Apart, so that the way of a sound fabric stays short.
    #[cold]
    fn lookup_detour(&self, planned: &[u16], frame: &Frame) -> Option<u16> {
        match self.detours.get(&frame.dst.0) {
            Some(ports) => self.detour(planned, ports, frame),
            None => self.choose(planned, frame),
        }
    }

    /// Whether a frame leaves by another port than planned, since links failed.
    #[inline]
    pub fn is_detoured(&self, frame: &Frame, egress: u16) -> bool {
        !self.detours.is_empty() && self.leaves_plan(frame, egress)
    }

    #[cold]
    fn leaves_plan(&self, frame: &Frame, egress: u16) -> bool {
        let bounds = |index: usize| self.starts.get(index).map(|start| *start as usize);
        let station = frame.dst.0 as usize;
        let planned = bounds(station).zip(bounds(station + 1)).and_then(|(start, end)| self.ports.get(start..end));
        planned.and_then(|ports| self.choose(ports, frame)) != Some(egress)
    }

    /// Forward what is for a station by these ports from now on; those of the plan end a detour.
    pub fn set_route(&mut self, station: u32, ports: &[u16]) {
        let bounds = |index: usize| self.starts.get(index).map(|start| *start as usize);
        let (start, end) = (bounds(station as usize), bounds(station as usize + 1));
        let planned = start.zip(end).map_or(&[][..], |(start, end)| &self.ports[start..end]);
        if planned == ports {
            self.detours.remove(&station);
        } else {
            self.detours.insert(station, ports.to_vec());
        }
    }

    /// Choose among the ports that are left. A flow whose planned port is one of them stays there, so that a failure moves none but
    /// the flows that it met. Those are spread by rendezvous hashing: each takes the port that has the highest hash with it, and
    /// so stays when yet another port fails.
    fn detour(&self, planned: &[u16], ports: &[u16], frame: &Frame) -> Option<u16> {
        let hash = flow_hash(frame, self.hash_seed);
        let own = (!planned.is_empty()).then(|| planned[(hash % planned.len() as u64) as usize]);
        let spread = || ports.iter().copied().max_by_key(|port| mix(hash ^ u64::from(*port) << 48));
        own.filter(|port| ports.contains(port)).or_else(spread)
    }
}

/// The same for all frames of a flow, different from switch to switch (`seed`) so that hops do not polarise.
fn flow_hash(frame: &Frame, seed: u64) -> u64 {
    let stations = u64::from(frame.src.0) << 32 | u64::from(frame.dst.0);
    mix(mix(stations ^ seed) ^ u64::from(frame.entropy))
}

/// The finaliser of splitmix64: every input bit reaches every output bit.
fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Body;
    use crate::priority::Priority;

    const FLOWS: u16 = 4_000;

    fn frame(entropy: u16) -> Frame {
        Frame { src: Station(1), dst: Station(0), entropy, priority: Priority::P3, ..Frame::control(Body::Opaque) }
    }

    fn choices(table: &Table) -> Vec<u16> {
        (0..FLOWS).map(|entropy| table.lookup(&frame(entropy)).expect("a route")).collect()
    }

    #[test]
    fn a_failure_moves_the_flows_that_it_met_and_no_others() {
        let mut table = Table::new(&[vec![2, 5, 7, 9]], 1);
        let before = choices(&table);
        table.set_route(0, &[2, 5, 9]);
        let after = choices(&table);
        for (before, after) in before.iter().zip(&after) {
            assert!(*after != 7 && (before == after || *before == 7), "{before} to {after}");
        }
        // A thousand flows for three ports: evenly, but for five standard deviations.
        for port in [2, 5, 9] {
            let moved = before.iter().zip(&after).filter(|(before, after)| **before == 7 && **after == port).count();
            assert!((260..410).contains(&moved), "{moved} to {port}");
        }
        table.set_route(0, &[2, 9]);
        for (after, again) in after.iter().zip(choices(&table)) {
            assert!(*after == again || *after == 5, "{after} to {again}");
        }
        table.set_route(0, &[2, 5, 7, 9]);
        assert_eq!(choices(&table), before, "all are back where they were");
    }

    #[test]
    fn a_detour_may_lead_by_ports_that_the_plan_does_not_name() {
        let mut table = Table::new(&[vec![2]], 1);
        table.set_route(0, &[3, 4]);
        let next_hops = choices(&table);
        assert!([3, 4].iter().all(|port| next_hops.contains(port)));
        table.set_route(0, &[2]);
        assert!(choices(&table).iter().all(|port| *port == 2) && table.detours.is_empty());
    }
}
