//! Forwarding by the plan's table: destination station → ports of equal cost, one chosen by flow hash.

use crate::frame::{Frame, Station};

/// The ports towards each station, flattened: `ports[starts[s]..starts[s + 1]]`.
#[derive(Debug)]
pub struct Table {
    starts: Vec<u32>,
    ports: Vec<u16>,
    hash_seed: u64,
}

impl Table {
    pub fn new(routes: &[Vec<u16>], hash_seed: u64) -> Table {
        let mut starts = vec![0];
        let mut ports = Vec::new();
        for route in routes {
            ports.extend_from_slice(route);
            starts.push(ports.len() as u32);
        }
        Table { starts, ports, hash_seed }
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
        match &self.ports[start..end] {
            [] => None,
            [port] => Some(*port),
            equal_cost => {
                let hash = flow_hash(frame, self.hash_seed);
                Some(equal_cost[(hash % equal_cost.len() as u64) as usize])
            }
        }
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
