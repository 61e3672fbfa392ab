//! Changes of links over time: what the plan's links were made with need not stay.

use serde::{Deserialize, Deserializer, Serialize};

use crate::link::loss::ProcessPlan;
use crate::nic::storm::StormPlan;
use crate::plan::PlanError;
use crate::priority::PRIORITIES;
use crate::units::Time;

/// One change of one direction of a link. What is not named stays as it is.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Change {
    pub link: usize,
    /// 0 = from end a to end b of the plan, 1 = back.
    pub way: usize,
    /// `None`: now. Else so long after the next start of a workload.
    #[serde(default, skip_serializing)]
    pub at_ps: Option<u64>,
    /// So long after now, in place of `at_ps`.
    #[serde(default, skip_serializing)]
    pub after_ps: Option<u64>,
    #[serde(default)]
    pub label: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay_ps: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jitter_ps: Option<u64>,
    /// `Some(None)`: lose nothing any more.
    #[serde(default, deserialize_with = "named", skip_serializing_if = "Option::is_none")]
    pub loss_process: Option<Option<ProcessPlan>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_bps: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub up: Option<bool>,
    /// DWRR weights of the sending port by priority, 0 = strict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<[u32; PRIORITIES]>,
    /// The sending port starts nothing new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<bool>,
    /// The sending port, of a host, asks for pauses without need. `Some(None)`: no more.
    #[serde(default, deserialize_with = "named", skip_serializing_if = "Option::is_none")]
    pub storm: Option<Option<StormPlan>>,
    /// By which ports switches forward from then on, since links have failed or come back.
    #[serde(default, skip_serializing)]
    pub routes: Vec<RouteChange>,
}

/// By which ports a switch forwards what is for a station.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RouteChange {
    pub node: usize,
    pub station: u32,
    pub ports: Vec<u16>,
}

/// Tell a key that says null from one that is not there.
fn named<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// A change that took place, with the nominal time that was asked for and the time it happened.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Logged {
    #[serde(flatten)]
    pub change: Change,
    /// How many routes changed, if any did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rerouted: Option<u64>,
    pub asked_ps: u64,
    pub at_ps: u64,
}

/// Changes by when they are due; of equal times the one given first goes first.
#[derive(Debug, Default)]
pub struct Timeline {
    /// Sorted, the next one last.
    due: Vec<(Time, Change)>,
    /// Relative to the next start.
    pending: Vec<Change>,
}

impl Timeline {
    /// Take changes for later; those for now are the answer.
    pub fn add(&mut self, changes: Vec<Change>, now: Time) -> Vec<Change> {
        let mut at_once = Vec::new();
        for change in changes {
            match (change.at_ps, change.after_ps) {
                (Some(_), _) => self.pending.push(change),
                (None, Some(ps)) => self.due.push((now + Time::from_ps(ps), change)),
                (None, None) => at_once.push(change),
            }
        }
        self.sort();
        at_once
    }

    /// Of equal times the one given first is taken first: from the end, and sorting is stable.
    fn sort(&mut self) {
        self.due.reverse();
        self.due.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
    }

    /// A workload starts: from here the times of all changes waiting for that count.
    pub fn start(&mut self, now: Time) {
        for change in self.pending.drain(..) {
            self.due.push((now + Time::from_ps(change.at_ps.unwrap_or(0)), change));
        }
        self.sort();
    }

    /// Forget all that is still due.
    pub fn clear(&mut self) {
        self.due.clear();
        self.pending.clear();
    }

    pub fn next(&self) -> Time {
        self.due.last().map_or(Time::NEVER, |(at, _)| *at)
    }

    pub fn pop(&mut self) -> Option<(Time, Change)> {
        self.due.pop()
    }
}

/// Read changes of a fabric with `links` links.
pub fn parse_changes(json: &str, links: usize) -> Result<Vec<Change>, PlanError> {
    let changes: Vec<Change> = serde_json::from_str(json)?;
    for (index, change) in changes.iter().enumerate() {
        let fault = |what: String| Err(PlanError::Invalid(format!("change {index}: {what}")));
        if change.link >= links || change.way > 1 {
            return fault(format!("no way {} of link {}", change.way, change.link));
        }
        if change.rate_bps == Some(0) {
            return fault("rate 0".into());
        }
        if let Some(Some(what)) = change.loss_process.as_ref().map(|plan| plan.as_ref().and_then(ProcessPlan::fault)) {
            return fault(what);
        }
        if let Some(what) = change.storm.as_ref().and_then(|plan| plan.as_ref().and_then(StormPlan::fault)) {
            return fault(what.into());
        }
    }
    Ok(changes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_come_in_order_of_time_then_of_the_list() {
        let json = r#"[{"link":0,"way":0,"at_ps":20,"label":"b"},{"link":0,"way":0,"at_ps":10,"label":"a"},
                       {"link":0,"way":1,"at_ps":20,"label":"c"},{"link":0,"way":1,"label":"now"}]"#;
        let mut timeline = Timeline::default();
        let now = timeline.add(parse_changes(json, 1).unwrap(), Time::ZERO);
        assert_eq!(now.iter().map(|change| change.label.as_str()).collect::<Vec<_>>(), ["now"]);
        assert_eq!(timeline.next(), Time::NEVER);
        timeline.start(Time::from_ps(5));
        let mut order = Vec::new();
        while let Some((at, change)) = timeline.pop() {
            order.push((at.ps(), change.label));
        }
        assert_eq!(order, [(15, "a".into()), (25, "b".into()), (25, "c".into())]);
    }

    #[test]
    fn null_and_nothing_differ() {
        let changes = parse_changes(r#"[{"link":0,"way":0,"loss_process":null},{"link":0,"way":0}]"#, 1).unwrap();
        assert_eq!((&changes[0].loss_process, &changes[1].loss_process), (&Some(None), &None));
    }

    #[test]
    fn faults_are_named() {
        for (json, fault) in [
            (r#"[{"link":1,"way":0}]"#, "change 0: no way 0 of link 1"),
            (r#"[{"link":0,"way":2}]"#, "change 0: no way 2 of link 0"),
            (r#"[{"link":0,"way":0,"rate_bps":0}]"#, "change 0: rate 0"),
            (r#"[{"link":0,"way":0,"loss_process":{"kind":"bernoulli","probability":2}}]"#, "2 is no probability"),
            (r#"[{"link":0,"way":0,"lenght":1}]"#, "unknown field"),
        ] {
            let error = parse_changes(json, 1).unwrap_err().to_string();
            assert!(error.contains(fault), "{error}");
        }
    }
}
