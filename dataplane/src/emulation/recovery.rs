//! What it took to get packets across, by direction of a connection: of all workloads of a span together.

use std::collections::HashMap;

use serde::Serialize;

use crate::emulation::Emulation;
use crate::nic::rc::qp::{Failure, RequesterCounters};

/// One direction of a connection; `recovered` where it codes: packets that did not come, and were rebuilt at the far end.
#[derive(Clone, Debug)]
pub struct Connection {
    qpn: u32,
    from: usize,
    to: usize,
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
        for &(qpn, a, b) in &self.qps {
            for (from, to) in [(a, b), (b, a)].into_iter().filter(|(from, _)| !self.plan.nodes[*from].is_elsewhere()) {
                let Some(nic) = self.fabric.node(from).nic() else { continue };
                let Some((_, counters, failure)) = nic.counters().find(|(config, ..)| config.qpn == qpn) else {
                    continue;
                };
                let recovered = self.fabric.node(to).nic().and_then(|peer| peer.recovered(qpn));
                connections.push(Connection { qpn, from, to, counters: counters.clone(), recovered, failure });
            }
        }
        connections
    }

    /// Those of the span, in the order in which they were first seen.
    fn connections(&self) -> Vec<Connection> {
        let key = |connection: &Connection| (connection.qpn, connection.from, connection.to);
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
            let Connection { qpn, from, to, counters, .. } = connection;
            let erasure = connection.recovered.map(|recovered| ErasureRow {
                blocks: counters.blocks,
                parity_tx: counters.parity_tx,
                blocks_asked: counters.blocks_asked,
                recovered,
            });
            QpRow {
                qpn: *qpn,
                a: self.plan.nodes[*from].name(),
                b: self.plan.nodes[*to].name(),
                packets_tx: counters.packets_tx,
                retransmitted: counters.retransmitted,
                acks_rx: counters.acks_rx,
                naks_rx: counters.naks_rx,
                rnr_naks_rx: counters.rnr_naks_rx,
                timeouts: counters.timeouts,
                error: connection.failure.map(Failure::name),
                erasure,
            }
        };
        self.connections().iter().map(row).collect()
    }
}
