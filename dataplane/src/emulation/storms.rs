//! What watchdogs storms, with what the node behind each stormed port was doing at the time: for the report.

use serde::Serialize;

use super::Emulation;
use crate::priority::Priority;
use crate::switch::long_pauses::LongPause;
use crate::switch::watchdog::{Action, Storm, Watchdog};
use crate::units::Time;

/// A storm that a watchdog detected.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct StormRow {
    port: String,
    priority: Priority,
    action: Action,
    paused_since_ps: u64,
    detected_ps: u64,
    restored_ps: Option<u64>,
    dropped: u64,
    peer: Option<String>,
    peer_pause: Option<PauseRow>,
}

/// The pause that the switch behind a stormed port asked for.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct PauseRow {
    from_ps: u64,
    to_ps: Option<u64>,
    held_bytes: u64,
    came_bytes: u64,
    drained_bytes: u64,
    dropped_bytes: u64,
}

impl Emulation {
    /// The storms that watchdogs detected and that were not over before `since`, by switch and then in the order of detection.
    pub(crate) fn storms(&self, since: Time) -> Vec<StormRow> {
        let mut rows = Vec::new();
        for (node, state) in self.fabric.nodes().enumerate() {
            let Some(switch) = state.switch() else { continue };
            let Some(watchdog) = switch.watchdog() else { continue };
            let storms = watchdog.storms().iter();
            let storms = storms.filter(|storm| storm.restored.is_none_or(|restored| restored >= since));
            rows.extend(storms.map(|storm| self.storm(node, watchdog, storm)));
        }
        rows
    }

    fn storm(&self, node: usize, watchdog: &Watchdog, storm: &Storm) -> StormRow {
        let peer = self.peer(node, storm.port);
        StormRow {
            port: self.port_name(node, storm.port),
            priority: storm.priority,
            action: watchdog.config().action,
            paused_since_ps: storm.paused_since.ps(),
            detected_ps: storm.detected.ps(),
            restored_ps: storm.restored.map(Time::ps),
            dropped: storm.dropped,
            peer: peer.map(|(node, port)| self.port_name(node, port)),
            peer_pause: peer.and_then(|peer| self.pause_behind(peer, storm)).map(|pause| pause_row(&pause)),
        }
    }

    /// The port at the other end of a link.
    fn peer(&self, node: usize, port: u16) -> Option<(usize, u16)> {
        let ends = self.plan.links.iter().map(|link| (link.a, link.b));
        ends.flat_map(|(a, b)| [(a, b), (b, a)]).find(|(end, _)| *end == (node, port)).map(|(_, peer)| peer)
    }

    /// The pause that a switch asked for, of those that overlap what the watchdog took for a storm the last.
    fn pause_behind(&self, (node, port): (usize, u16), storm: &Storm) -> Option<LongPause> {
        let switch = self.fabric.node(node).switch()?;
        let overlaps =
            |pause: &LongPause| pause.from < storm.detected && pause.to.is_none_or(|to| to >= storm.paused_since);
        switch.long_pauses(port, storm.priority).into_iter().rfind(overlaps)
    }

    fn port_name(&self, node: usize, port: u16) -> String {
        let plan = &self.plan.nodes[node];
        format!("{}:{}", plan.name(), plan.ports()[usize::from(port)].name)
    }
}

fn pause_row(pause: &LongPause) -> PauseRow {
    PauseRow {
        from_ps: pause.from.ps(),
        to_ps: pause.to.map(Time::ps),
        held_bytes: pause.held_bytes,
        came_bytes: pause.came_bytes,
        drained_bytes: pause.drained_bytes,
        dropped_bytes: pause.dropped_bytes,
    }
}
