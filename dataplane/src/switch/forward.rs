//! Forwarding by the plan's table: destination station → ports of equal cost, one chosen by flow hash.

use std::collections::HashMap;

use crate::frame::{Frame, Station};

/// Entries of the index by station: with more stations an entry is for several. It is small since each switch has one, and frames of
/// many stations pass it.
const INDEXED: usize = 256;

/// The ports towards each station. Stations in succession that are reached by the same ports share a run, as all behind a distant
/// switch do, so that the table of a switch stays in the caches however many stations there are.
#[derive(Debug)]
pub struct Table {
    runs: Vec<Run>,
    ports: Vec<u16>,
    /// By station, shifted: the run of the first of them.
    first: Vec<u32>,
    shift: u32,
    hash_seed: u64,
    /// Stations whose frames take other ports than planned, since links failed.
    detours: HashMap<u32, Vec<u16>>,
}

/// The stations before `end` that no run before has; their ports are `ports[start..start + count]`.
#[derive(Debug)]
struct Run {
    end: u32,
    start: u32,
    count: u32,
}

impl Table {
    /// A table of runs: ports, and the number of stations in succession that they lead to.
    pub fn new<'a>(routes: impl IntoIterator<Item = (&'a [u16], u32)>, hash_seed: u64) -> Table {
        let (mut runs, mut ports): (Vec<Run>, Vec<u16>) = (Vec::new(), Vec::new());
        let mut known: HashMap<&[u16], u32> = HashMap::new();
        let mut end = 0;
        for (route, stations) in routes {
            end += stations;
            let start = *known.entry(route).or_insert_with(|| {
                let start = ports.len() as u32;
                ports.extend_from_slice(route);
                start
            });
            match runs.last_mut() {
                Some(last) if last.start == start && last.count as usize == route.len() => last.end = end,
                _ => runs.push(Run { end, start, count: route.len() as u32 }),
            }
        }
        let mut shift = 0;
        while (end >> shift) as usize >= INDEXED {
            shift += 1;
        }
        let stations = (0..end).step_by(1 << shift);
        let first = stations.map(|station| runs.partition_point(|run| run.end <= station) as u32).collect();
        Table { runs, ports, first, shift, hash_seed, detours: HashMap::new() }
    }

    /// A table of the ports towards each station.
    pub fn listed(routes: &[Vec<u16>], hash_seed: u64) -> Table {
        Table::new(routes.iter().map(|ports| (ports.as_slice(), 1)), hash_seed)
    }

    /// The planned ports towards a station; none towards one that the plan does not know.
    #[inline]
    fn planned(&self, station: u32) -> &[u16] {
        let Some(first) = self.first.get((station >> self.shift) as usize) else { return &[] };
        let mut runs = self.runs[*first as usize..].iter();
        let run = runs.find(|run| station < run.end);
        run.map_or(&[], |run| &self.ports[run.start as usize..(run.start + run.count) as usize])
    }

    /// The egress port of a frame; `None` where the plan has no route.
    #[inline]
    pub fn lookup(&self, frame: &Frame) -> Option<u16> {
        if frame.dst == Station::UNKNOWN {
            return None;
        }
        let planned = self.planned(frame.dst.0);
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
                Some(pick(equal_cost, hash))
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
        self.choose(self.planned(frame.dst.0), frame) != Some(egress)
    }

    /// Forward what is for a station by these ports from now on; those of the plan end a detour.
    pub fn set_route(&mut self, station: u32, ports: &[u16]) {
        if self.planned(station) == ports {
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
        let own = (!planned.is_empty()).then(|| pick(planned, hash));
        let spread = || ports.iter().copied().max_by_key(|port| mix(hash ^ u64::from(*port) << 48));
        own.filter(|port| ports.contains(port)).or_else(spread)
    }
}

/// The port that a hash chooses: its remainder, for which powers of two take no division.
#[inline]
fn pick(ports: &[u16], hash: u64) -> u16 {
    let count = ports.len() as u64;
    let place = if count.is_power_of_two() { hash & (count - 1) } else { hash % count };
    ports[place as usize]
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
        let mut table = Table::listed(&[vec![2, 5, 7, 9]], 1);
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
    fn each_station_has_the_ports_of_its_run() {
        // More stations than the index has entries, runs of every length, some with the same ports, and one of none.
        let runs: Vec<(Vec<u16>, u32)> = (0..200)
            .map(|run| ((0..run % 5).map(|port| port + run % 3).collect(), 1 + u32::from(run) * 7 % 90))
            .collect();
        let table = Table::new(runs.iter().map(|(ports, count)| (ports.as_slice(), *count)), 1);
        let mut station = 0;
        for (ports, count) in &runs {
            for _ in 0..*count {
                assert_eq!(table.planned(station), ports, "station {station}");
                station += 1;
            }
        }
        assert!(station as usize > 2 * INDEXED && table.shift > 0);
        assert_eq!(table.planned(station), &[] as &[u16], "a station that is not there");
        let listed: Vec<Vec<u16>> = (0..station).map(|station| table.planned(station).to_vec()).collect();
        assert_eq!(Table::listed(&listed, 1).first, table.first, "the same runs");
        assert!(Table::new([], 1).planned(0).is_empty());
    }

    #[test]
    fn a_detour_may_lead_by_ports_that_the_plan_does_not_name() {
        let mut table = Table::listed(&[vec![2]], 1);
        table.set_route(0, &[3, 4]);
        let next_hops = choices(&table);
        assert!([3, 4].iter().all(|port| next_hops.contains(port)));
        table.set_route(0, &[2]);
        assert!(choices(&table).iter().all(|port| *port == 2) && table.detours.is_empty());
    }
}
