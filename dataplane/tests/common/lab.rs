//! Labs as plans: a leaf-spine fabric with headroom by the book, and workloads of messages between its hosts.

use _dataplane::clock::virtual_clock;
use _dataplane::emulation::{Emulation, Progress};
use _dataplane::fabric::{Node, Step};
use _dataplane::priority::Priority;
use _dataplane::units::Time;
use serde_json::{json, Value};

pub const RESPONSE_PS: u64 = 500_000;
pub const LOSSLESS: Priority = Priority::P3;
/// The longest frame of these labs with preamble and gap: 4096 bytes of payload and all headers.
const LONGEST_WIRE_BYTES: u64 = 4_200;

/// The shape of a leaf-spine fabric; one leaf needs no spine.
#[derive(Clone, Debug)]
pub struct Shape {
    pub leaves: usize,
    pub spines: usize,
    pub hosts_per_leaf: usize,
    pub host_gbps: u64,
    pub spine_gbps: u64,
    pub host_delay_ps: u64,
    pub spine_delay_ps: u64,
    /// Threshold of every priority group, and by how much XON lies below it.
    pub xoff_bytes: u64,
    pub hysteresis_bytes: u64,
    pub loss: f64,
    pub seed: u64,
}

impl Shape {
    pub fn hosts(&self) -> usize {
        self.leaves * self.hosts_per_leaf
    }

    /// The fabric as a plan: hosts first, then leaves, then spines. Two stations a host.
    pub fn plan(&self) -> Value {
        let hosts = self.hosts();
        let mut nodes: Vec<Value> = (0..hosts).map(|host| self.host(host)).collect();
        let mut links = Vec::new();
        for leaf in 0..self.leaves {
            let (ports, routes) = self.leaf(leaf);
            nodes.push(self.switch(&format!("leaf{leaf}"), leaf, &ports, routes));
            for port in 0..self.hosts_per_leaf {
                let host = leaf * self.hosts_per_leaf + port;
                links.push(self.link([host, 0], [hosts + leaf, port], self.host_delay_ps));
            }
        }
        for spine in 0..self.spines {
            let ports = vec![(self.spine_gbps, self.spine_delay_ps); self.leaves];
            let routes = (0..2 * hosts).map(|station| vec![station / 2 / self.hosts_per_leaf]).collect();
            nodes.push(self.switch(&format!("spine{spine}"), 100 + spine, &ports, routes));
            for leaf in 0..self.leaves {
                let (here, there) = ([hosts + self.leaves + spine, leaf], [hosts + leaf, self.hosts_per_leaf + spine]);
                links.push(self.link(here, there, self.spine_delay_ps));
            }
        }
        let stations: Vec<Value> = (0..2 * hosts).map(station).collect();
        json!({"schema": 1, "lab": "test", "seed": self.seed, "stations": stations, "nodes": nodes, "links": links})
    }

    fn host(&self, host: usize) -> Value {
        let port = port("eth1", host, 0, self.host_gbps);
        json!({"name": format!("h{host}"), "kind": "host", "ports": [port], "station": 2 * host})
    }

    /// Ports of a leaf as (rate, delay), hosts first, and its routes.
    fn leaf(&self, leaf: usize) -> (Vec<(u64, u64)>, Vec<Vec<usize>>) {
        let mut ports = vec![(self.host_gbps, self.host_delay_ps); self.hosts_per_leaf];
        ports.extend(vec![(self.spine_gbps, self.spine_delay_ps); self.spines]);
        let up: Vec<usize> = (self.hosts_per_leaf..ports.len()).collect();
        let route = |station: usize| {
            let host = station / 2;
            let below = host / self.hosts_per_leaf == leaf;
            if below {
                vec![host % self.hosts_per_leaf]
            } else {
                up.clone()
            }
        };
        (ports, (0..2 * self.hosts()).map(route).collect())
    }

    fn switch(&self, name: &str, number: usize, ports: &[(u64, u64)], routes: Vec<Vec<usize>>) -> Value {
        let group = |(index, &(gbps, delay)): (usize, &(u64, u64))| {
            json!({"port": index, "priority": LOSSLESS, "xoff_bytes": self.xoff_bytes,
                   "xon_bytes": self.xoff_bytes - self.hysteresis_bytes, "headroom_bytes": headroom_bytes(gbps, delay)})
        };
        let groups: Vec<Value> = ports.iter().enumerate().map(group).collect();
        let named =
            |(index, &(gbps, _)): (usize, &(u64, u64))| port(&format!("eth{}", index + 1), 50 + number, index, gbps);
        let ports: Vec<Value> = ports.iter().enumerate().map(named).collect();
        let priorities: Vec<u8> = (0..64).map(|dscp| dscp >> 3).collect();
        json!({"name": name, "kind": "switch", "ports": ports, "pfc": true, "lossless": [LOSSLESS], "buffer_bytes": 1_000_000_000,
               "lossy_queue_bytes": 1_000_000, "hash_seed": number, "dscp_to_priority": priorities, "priority_groups": groups,
               "routes": routes})
    }

    fn link(&self, a: [usize; 2], b: [usize; 2], delay_ps: u64) -> Value {
        json!({"a": a, "b": b, "delay_ps": delay_ps, "loss": [self.loss, self.loss], "medium": "memory"})
    }
}

/// Bytes that may still arrive after a group crosses its threshold: the frame that crosses it, the PAUSE frame's wait behind the longest
/// frame and its own line time, both ways of the cable, the response time, and the last frame started before the pause takes hold.
fn headroom_bytes(gbps: u64, delay_ps: u64) -> u64 {
    let flight = (2 * delay_ps + RESPONSE_PS) * gbps / 8_000 + 1;
    flight + 84 + 3 * LONGEST_WIRE_BYTES
}

fn port(name: &str, node: usize, port: usize, gbps: u64) -> Value {
    let mac = format!("02:10:00:00:{node:02x}:{port:02x}");
    json!({"name": name, "mac": mac, "rate_bps": gbps * 1_000_000_000, "response_ps": RESPONSE_PS, "weights": [0, 0, 0, 0, 0, 0, 0, 0]})
}

fn station(index: usize) -> Value {
    let kind = if index.is_multiple_of(2) { "nic" } else { "kernel" };
    json!({"name": format!("s{index}"), "kind": kind, "mac": format!("02:00:00:00:00:{index:02x}"),
           "ip": format!("198.18.0.{}", index + 1), "node": index / 2, "port": 0})
}

/// A message from host to host; it is sent once `after` (an earlier message that its sender receives) has arrived.
#[derive(Clone, Debug)]
pub struct Message {
    pub src: usize,
    pub dst: usize,
    pub bytes: u64,
    pub after: Option<usize>,
}

/// How the messages travel.
#[derive(Clone, Debug)]
pub struct Transport {
    pub verb: &'static str,
    pub mtu_bytes: u64,
    pub window_packets: u64,
    pub ack_every: u64,
    pub timeout_ps: u64,
}

/// Messages as a workload for `hosts` hosts: one connection a pair, each message at an address of its own on both sides.
pub fn workload(hosts: usize, messages: &[Message], transport: &Transport) -> Value {
    let mut pairs: Vec<(usize, usize)> = messages.iter().map(|m| (m.src.min(m.dst), m.src.max(m.dst))).collect();
    pairs.sort_unstable();
    pairs.dedup();
    let qps: Vec<Value> = pairs
        .iter()
        .enumerate()
        .map(|(index, (a, b))| json!({"a": a, "b": b, "qpn": 17 + index, "entropy": 49_152 + index}))
        .collect();
    let mut ops: Vec<Vec<Value>> = vec![Vec::new(); hosts];
    let mut received_by: Vec<usize> = Vec::new();
    let mut offset = 0;
    for message in messages {
        let pair = (message.src.min(message.dst), message.src.max(message.dst));
        let qp = pairs.binary_search(&pair).expect("listed above");
        let after = message.after.filter(|earlier| messages[*earlier].dst == message.src);
        let requires: Vec<usize> = after.map(|earlier| received_by[earlier]).into_iter().collect();
        ops[message.src].push(json!({"kind": "send", "qp": qp, "offset": offset, "bytes": message.bytes, "remote_offset": offset, "requires": requires}));
        received_by.push(ops[message.dst].len());
        ops[message.dst]
            .push(json!({"kind": "recv", "qp": qp, "offset": offset, "bytes": message.bytes, "requires": []}));
        offset += message.bytes;
    }
    let ranks: Vec<Value> = ops
        .into_iter()
        .enumerate()
        .map(|(node, ops)| json!({"node": node, "memory_bytes": offset, "ops": ops}))
        .collect();
    let window_bytes = transport.window_packets * transport.mtu_bytes;
    json!({"schema": 1, "priority": LOSSLESS, "dscp": LOSSLESS.number() << 3, "qps": qps, "ranks": ranks, "transport": {
        "recovery": "go-back-n", "verb": transport.verb, "mtu_bytes": transport.mtu_bytes, "ack_every": transport.ack_every,
        "window_bytes": window_bytes, "timeout_ps": transport.timeout_ps, "retries": 7}})
}

/// A fabric with its workload loaded, memory filled and schedules started.
pub fn started(shape: &Shape, messages: &[Message], transport: &Transport) -> Emulation {
    started_on(&shape.plan(), shape.hosts(), messages, transport)
}

/// Do as `started` on a plan with so many hosts.
pub fn started_on(plan: &Value, hosts: usize, messages: &[Message], transport: &Transport) -> Emulation {
    let mut lab = Emulation::new(&plan.to_string()).expect("a sound plan");
    lab.load(&workload(hosts, messages, transport).to_string()).expect("a sound workload");
    for (offset, index, message) in placed(messages) {
        let memory = lab.memory_mut(message.src).expect("a rank a host");
        memory.get_mut(offset, message.bytes).expect("within memory").fill(tag(index));
    }
    lab.start();
    lab
}

/// Messages with the address and number of each.
fn placed(messages: &[Message]) -> impl Iterator<Item = (u64, usize, &Message)> {
    messages.iter().enumerate().scan(0, |offset, (index, message)| {
        let at = *offset;
        *offset += message.bytes;
        Some((at, index, message))
    })
}

fn tag(index: usize) -> u8 {
    1 + (index % 251) as u8
}

/// Whether every message lies in its receiver's memory.
pub fn is_delivered(lab: &Emulation, messages: &[Message]) -> bool {
    placed(messages).all(|(offset, index, message)| {
        let memory = lab.memory(message.dst).expect("a rank a host");
        memory.get(offset, message.bytes).expect("within memory").iter().all(|byte| *byte == tag(index))
    })
}

/// Run to the end of the workload in slices of `budget` events.
pub fn finish(lab: &mut Emulation, budget: u64) -> Progress {
    for _ in 0..10_000_000 {
        let progress = virtual_clock::advance(lab, budget);
        if progress != Progress::Running {
            return progress;
        }
    }
    panic!("the run has no end");
}

/// Run until nothing is left to happen. A priority left paused would be paused again for ever.
pub fn drain(lab: &mut Emulation) {
    for _ in 0..10_000_000 {
        match lab.fabric.step(Time::NEVER) {
            Some(Step::Arrival { direction, frame }) => lab.fabric.receive(direction, frame),
            Some(Step::Done) => {}
            None => return,
        }
    }
    panic!("the fabric never drains");
}

/// Bytes held in the buffers of all switches.
pub fn buffered_bytes(lab: &Emulation) -> u64 {
    let held = |node: &Node| node.switch().map_or(0, |switch| switch.buffer().used().0);
    lab.fabric.nodes().map(held).sum()
}

/// XOFF and XON frames sent by all switches.
pub fn pauses_sent(lab: &Emulation) -> u64 {
    let ports = lab.fabric.nodes().flat_map(Node::ports);
    ports.map(|port| port.counters[LOSSLESS].pause_tx).sum()
}
