//! What it took to get packets across, by direction of a connection: of all workloads of a span together.

use std::collections::HashMap;

use serde::Serialize;

use crate::emulation::{Emulation, QueuePair};
use crate::nic::rc::qp::{Failure, RequesterCounters};
use crate::nic::QpConfig;

/// One direction of a connection; `recovered` where it codes: packets that did not come, and were rebuilt at the far end.
#[derive(Clone, Debug)]
pub struct Connection {
    pair: QueuePair,
    /// The end that sends.
    end: usize,
    counters: RequesterCounters,
    recovered: Option<u64>,
    failure: Option<Failure>,
}

/// One direction of a connection, as a report has it.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct QpRow<'a> {
    qpn: u32,
    a: &'a str,
    b: &'a str,
    packets_tx: u64,
    retransmitted: u64,
    acks_rx: u64,
    naks_rx: u64,
    rnr_naks_rx: u64,
    timeouts: u64,
    error: Option<&'static str>,
    erasure: Option<ErasureRow>,
    /// Where it runs, reported where one of its hosts has several ports or ranks.
    #[serde(skip_serializing_if = "Option::is_none")]
    rank_a: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rank_b: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    port_a: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    port_b: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_port: Option<u16>,
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct ErasureRow {
    blocks: u64,
    parity_tx: u64,
    blocks_asked: u64,
    recovered: u64,
}

impl Connection {
    fn add(&mut self, other: &Connection) {
        self.counters.add(&other.counters);
        self.recovered = self.recovered.into_iter().chain(other.recovered).reduce(|sum, more| sum + more);
        self.failure = self.failure.or(other.failure);
    }
}

impl Emulation {
    /// The connections of the loaded workload.
    fn present(&self) -> Vec<Connection> {
        let mut connections = Vec::new();
        for &pair in &self.qps {
            for end in [0, 1].into_iter().filter(|end| !self.plan.nodes[pair.nodes[*end]].is_elsewhere()) {
                let Some(host) = self.fabric.node(pair.nodes[end]).host() else { continue };
                let own = |config: &QpConfig| (config.qpn, usize::from(config.end)) == (pair.qpn, end);
                let Some((_, counters, failure)) = host.counters().find(|(config, ..)| own(config)) else { continue };
                let peer = self.fabric.node(pair.nodes[1 - end]).host();
                let recovered = peer.and_then(|peer| peer.recovered(pair.qpn, 1 - end as u8));
                connections.push(Connection { pair, end, counters: counters.clone(), recovered, failure });
            }
        }
        connections
    }

    /// Those of the span, in the order in which they were first seen.
    fn connections(&self) -> Vec<Connection> {
        let key = |connection: &Connection| (connection.pair, connection.end);
        let mut connections = self.spans.connections.clone();
        let known: HashMap<_, _> = connections.iter().map(key).zip(0..).collect();
        for present in self.present() {
            match known.get(&key(&present)) {
                Some(&index) => connections[index].add(&present),
                None => connections.push(present),
            }
        }
        connections
    }

    /// Note what the connections of a workload did that makes way for another.
    pub(crate) fn note_connections(&mut self) {
        self.spans.connections = self.connections();
    }

    pub(crate) fn qps(&self) -> Vec<QpRow<'_>> {
        let row = |connection: &Connection| {
            let Connection { pair, end, counters, .. } = connection;
            let node = |end: usize| &self.plan.nodes[pair.nodes[end]];
            let name = |end: usize| node(end).name();
            let port = |end: usize| format!("{}:{}", name(end), node(end).ports()[usize::from(pair.ports[end])].name);
            let has_choice = self.has_choice(pair);
            let erasure = connection.recovered.map(|recovered| ErasureRow {
                blocks: counters.blocks,
                parity_tx: counters.parity_tx,
                blocks_asked: counters.blocks_asked,
                recovered,
            });
            QpRow {
                qpn: pair.qpn,
                a: name(*end),
                b: name(1 - end),
                packets_tx: counters.packets_tx,
                retransmitted: counters.retransmitted,
                acks_rx: counters.acks_rx,
                naks_rx: counters.naks_rx,
                rnr_naks_rx: counters.rnr_naks_rx,
                timeouts: counters.timeouts,
                error: connection.failure.map(Failure::name),
                erasure,
                rank_a: has_choice.then(|| pair.ranks[*end]),
                rank_b: has_choice.then(|| pair.ranks[1 - end]),
                port_a: has_choice.then(|| port(*end)),
                port_b: has_choice.then(|| port(1 - end)),
                source_port: has_choice.then_some(pair.entropy),
            }
        };
        self.connections().iter().map(row).collect()
    }

    /// Whether a host of a queue pair has several ports or ranks.
    fn has_choice(&self, pair: &QueuePair) -> bool {
        pair.nodes
            .iter()
            .any(|node| self.plan.nodes[*node].ports().len() > 1 || self.fabric.watch(*node).finished.len() > 1)
    }
}
