//! Whether shards run apart, a thread each, or one after the other in the caller's: whichever took less for an event lately. The
//! other way is tried anew from time to time, since cores come free and traffic changes. No result depends on it.

use std::time::Duration;

use super::workers::Stint;
use crate::units::Time;

/// A meeting of threads that spin, and of threads that sleep.
pub(super) const MEETING_NS: f64 = 4_000.0;
const SLEEPY_MEETING_NS: f64 = 25_000.0;
/// What an event takes where nothing was measured.
const EVENT_NS: f64 = 200.0;
/// How much of what was known a stint leaves.
const MEMORY: f64 = 0.75;
/// Each way is tried so many times before one is chosen.
const FIRST_STINTS: u32 = 2;
/// Stints of fewer events than this say nothing.
const TELLING_EVENTS: u64 = 512;
/// Threads that take so many times as long are given up at once, and tried again only after a while.
const SLOW: f64 = 1.5;
/// Telling stints until the other way is tried again: so many at first, twice as many each time it was no better, four times as many
/// where it was slow, up to the last.
const FIRST_WAIT: u64 = 8;
const LONGEST_WAIT: u64 = 256;
/// Events until the fabric is cut anew by what its nodes had to do: so many at first, at least so many for each node and link, twice
/// as many each time, up to the last.
const FIRST_PLAN: u64 = 1 << 14;
const FIRST_PLAN_EACH: u64 = 8;
const LATEST_PLAN: u64 = 1 << 24;

/// How shards may run.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum Way {
    Together,
    Apart,
}

/// What events took, by way, and how dense they are.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// What an event takes, in nanoseconds, by way, and how many stints say so.
    event_ns: [Option<f64>; 2],
    heard: [u32; 2],
    /// Events of a turn, and the share of them that the busiest shard has.
    turn: Option<(f64, f64)>,
    /// Telling stints since the other way was tried, and after how many it is tried again.
    since: u64,
    wait: u64,
    /// Events since the fabric was cut, and after how many it is cut anew.
    events: u64,
    plan_after: u64,
    /// Events, and each times the events per picosecond around it: the mean is that of what happens while something happens.
    weighed: (f64, f64),
}

impl Pace {
    /// What is known once the fabric was cut anew: what an event takes on one core is as before.
    pub fn recut(&mut self, parts: usize) {
        let next = (2 * self.plan_after).clamp(FIRST_PLAN.max(FIRST_PLAN_EACH * parts as u64), LATEST_PLAN);
        let together = self.event_ns[Way::Together as usize];
        let heard = [self.heard[Way::Together as usize], 0];
        *self = Pace { event_ns: [together, None], heard, plan_after: next, wait: FIRST_WAIT, ..Pace::default() };
    }

    /// Whether the fabric is to be cut anew.
    pub fn is_plan_due(&self) -> bool {
        self.events >= self.plan_after
    }

    /// What an event takes on one core.
    pub fn event_ns(&self) -> f64 {
        self.event_ns[Way::Together as usize].unwrap_or(EVENT_NS)
    }

    /// What an event may take apart before that is given up.
    pub fn most_ns(&self) -> f64 {
        SLOW * self.event_ns()
    }

    /// Events per picosecond while something happens.
    pub fn density(&self) -> Option<f64> {
        (self.weighed.0 > 0.0).then(|| self.weighed.1 / self.weighed.0)
    }

    /// Events of a turn from which on threads can gain by it, with so many shards.
    pub fn least_events(&self, shards: usize, spins: bool) -> u64 {
        let share = self.turn.map_or(1.0 / shards as f64, |(_, share)| share);
        let meeting = if spins { MEETING_NS } else { SLEEPY_MEETING_NS };
        let gain_ns = self.event_ns() * (1.0 - share).max(0.01);
        (meeting / gain_ns) as u64
    }

    /// Which way the next stint is to go. `least_events` of a turn are worth a thread.
    pub fn choose(&mut self, least_events: u64) -> Way {
        if self.turn.is_some_and(|(events, _)| events < least_events as f64) {
            return Way::Together;
        }
        let (better, other) = match self.event_ns {
            _ if self.heard[Way::Apart as usize] < FIRST_STINTS => return Way::Apart,
            _ if self.heard[Way::Together as usize] < FIRST_STINTS => return Way::Together,
            [Some(together), Some(apart)] if apart < together => (Way::Apart, Way::Together),
            _ => (Way::Together, Way::Apart),
        };
        if self.since >= self.wait {
            return other;
        }
        better
    }

    /// Learn from a stint that took so long.
    pub fn note(&mut self, way: Way, stint: &Stint, nominal: Time, took: Duration) {
        self.events += stint.events;
        let events = stint.events as f64;
        self.weighed.0 += events;
        self.weighed.1 += events * events / nominal.ps().max(1) as f64;
        if stint.turns > 0 && stint.events > 0 {
            let share = stint.longest as f64 / events;
            self.turn = Some(mix(self.turn, events / stint.turns as f64, share));
        }
        if stint.events < TELLING_EVENTS {
            return;
        }
        let event_ns = took.as_nanos() as f64 / events;
        let (known, heard) = (&mut self.event_ns[way as usize], &mut self.heard[way as usize]);
        *heard = heard.saturating_add(1);
        if *heard <= FIRST_STINTS {
            // The first began with a cold cache.
            *known = Some(event_ns);
        } else if self.since >= self.wait {
            // The other way was tried, and what was known of it is old.
            let before = known.replace(event_ns);
            let is_settled = before.is_some() && self.better() != Some(way);
            let longer = if way == Way::Apart && event_ns > self.most_ns() { 4 } else { 2 };
            self.wait = if is_settled { (longer * self.wait).min(LONGEST_WAIT) } else { FIRST_WAIT };
            self.since = 0;
        } else {
            *known = Some(known.map_or(event_ns, |known| MEMORY * known + (1.0 - MEMORY) * event_ns));
            self.since += 1;
        }
    }

    fn better(&self) -> Option<Way> {
        let [Some(together), Some(apart)] = self.event_ns else { return None };
        Some(if apart < together { Way::Apart } else { Way::Together })
    }
}

fn mix(known: Option<(f64, f64)>, events: f64, share: f64) -> (f64, f64) {
    known.map_or((events, share), |known| {
        (MEMORY * known.0 + (1.0 - MEMORY) * events, MEMORY * known.1 + (1.0 - MEMORY) * share)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const STINT: Stint = Stint { turns: 100, events: 40_000, longest: 20_000 };

    /// Go by `pace` for so many stints; return how many of them ran apart.
    fn go(pace: &mut Pace, stints: usize, together_us: u64, apart_us: u64) -> usize {
        let stint = |_| {
            let least = pace.least_events(2, true);
            let way = pace.choose(least);
            let us = if way == Way::Apart { apart_us } else { together_us };
            pace.note(way, &STINT, Time::from_ns(100_000), Duration::from_micros(us));
            usize::from(way == Way::Apart)
        };
        (0..stints).map(stint).sum()
    }

    fn fresh() -> Pace {
        let mut pace = Pace::default();
        pace.recut(10);
        pace
    }

    #[test]
    fn what_took_less_is_done_and_the_other_is_tried_more_and_more_seldom() {
        let mut pace = fresh();
        assert!(go(&mut pace, 1_000, 8_000, 5_000) > 980);
        assert!(go(&mut pace, 1_000, 8_000, 12_000) < 300, "cores are no longer free, which is seen at once");
        assert!(go(&mut pace, 1_000, 8_000, 12_000) < 20);
        assert!(go(&mut pace, 1_000, 8_000, 5_000) > 700, "they are free again");
    }

    #[test]
    fn turns_of_little_work_are_not_tried_at_all() {
        let mut pace = fresh();
        let thin = Stint { turns: 1_000, events: 8_000, longest: 4_000 };
        pace.note(Way::Together, &thin, Time::from_ns(1_000_000), Duration::from_micros(1_600));
        let least = pace.least_events(2, true);
        assert_eq!(least, 40, "4 µs, where an event takes 200 ns and half of them are elsewhere");
        assert_eq!(pace.choose(least), Way::Together);
        assert_eq!(pace.least_events(2, false), 250, "25 µs");
    }

    #[test]
    fn the_fabric_is_cut_anew_ever_more_seldom_and_sooner_where_it_is_small() {
        for (parts, first) in [(10, FIRST_PLAN), (100_000, 800_000)] {
            let mut pace = Pace::default();
            pace.recut(parts);
            let due = |pace: &mut Pace| {
                let mut events = 0;
                while !pace.is_plan_due() {
                    pace.events += 1_000;
                    events += 1_000;
                }
                pace.recut(parts);
                events
            };
            let times: Vec<u64> = (0..12).map(|_| due(&mut pace)).collect();
            assert!(times[0].abs_diff(first) < 1_000 && times[1].abs_diff(2 * first) < 1_000);
            assert!(times[11] <= LATEST_PLAN + 1_000);
        }
    }

    #[test]
    fn density_is_that_of_busy_time() {
        let mut pace = fresh();
        assert_eq!(pace.density(), None);
        let busy = Stint { turns: 1, events: 1_000, longest: 1_000 };
        pace.note(Way::Together, &busy, Time::from_ps(1_000_000), Duration::from_micros(200));
        let idle = Stint { turns: 1, events: 1, longest: 1 };
        pace.note(Way::Together, &idle, Time::from_ns(1_000_000_000), Duration::from_micros(1));
        let density = pace.density().expect("something happened");
        assert!((density - 1e-3).abs() < 1e-5, "{density}");
    }
}
