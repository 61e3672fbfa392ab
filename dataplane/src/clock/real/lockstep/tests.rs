//! Two agents on a network of known delay, with clocks that disagree.

use super::*;

const STEP: Time = Time::from_ns(300);
const LEAD: Time = Time::from_ns(600);
const WAY_NS: u64 = 50_000;
/// How far the second agent's clock is ahead of the first's.
const AHEAD_NS: u64 = 7_000_000_000;

/// Two agents on a network that takes `WAY_NS`, with clocks that do not agree.
struct Pair {
    agents: [Lockstep; 2],
    now_ns: u64,
}

impl Pair {
    fn new() -> Pair {
        let participant = |name: &str| Participant { name: name.into(), address: ([127, 0, 0, 1], 1).into() };
        let participants = |number| Participants { key: 5, number, agents: vec![participant("a"), participant("b")] };
        let now_ns = 1_000_000_000;
        let agents = [0, 1].map(|number| Lockstep::new(participants(number), STEP, 1_000, now_ns + clock(number)));
        Pair { agents, now_ns }
    }

    /// What one of the two says now, the other hears a little later.
    fn send(&mut self, from: usize) {
        let sent = self.wall_ns(from);
        let (to, heartbeat) = self.agents[from].heartbeats(sent).next().unwrap();
        self.now_ns += WAY_NS;
        let received = self.wall_ns(to);
        self.agents[to].receive(&heartbeat, received);
    }

    fn wall_ns(&self, agent: usize) -> u64 {
        self.now_ns + clock(agent)
    }

    fn exchange(&mut self) {
        [0, 1, 0, 1].into_iter().for_each(|agent| self.send(agent));
    }

    /// Load a workload on both and begin it; when they begin, by the first agent's clock.
    fn begin(&mut self) -> [u64; 2] {
        self.agents.iter_mut().for_each(Lockstep::load);
        self.agents.iter_mut().for_each(Lockstep::ready);
        let mut begun = [0; 2];
        for _ in 0..1_000 {
            self.exchange();
            for (agent, begun) in begun.iter_mut().enumerate() {
                if self.agents[agent].begins(self.now_ns + clock(agent)) {
                    *begun = self.now_ns;
                }
            }
        }
        begun
    }
}

fn clock(agent: usize) -> u64 {
    agent as u64 * AHEAD_NS
}

#[test]
fn agents_begin_at_one_instant_though_their_clocks_disagree() {
    let mut pair = Pair::new();
    pair.exchange();
    let peer = &pair.agents[0].peer_rows(pair.now_ns)[0];
    assert_eq!((peer.offset_ns, peer.round_trip_ns), (Some(AHEAD_NS as i64), Some(2 * WAY_NS)));
    let [first, second] = pair.begin();
    assert!(first > 1_000_000_000 + NOTICE_NS);
    assert_eq!(first, second);
}

#[test]
fn the_first_agent_leaves_time_for_word_of_the_beginning_to_get_round() {
    let mut pair = Pair::new();
    pair.send(0);
    let peer = &pair.agents[1].peer_rows(pair.wall_ns(1))[0];
    assert_eq!((peer.offset_ns, peer.round_trip_ns), (None, None), "nothing has come back yet");
    pair.agents.iter_mut().for_each(Lockstep::load);
    pair.agents.iter_mut().for_each(Lockstep::ready);
    pair.exchange();
    assert!(!pair.agents[0].begins(pair.now_ns));
    let begin_ns = pair.now_ns + NOTICE_NS + 4 * 2 * WAY_NS;
    assert_eq!(pair.agents[0].own.begin_ns, begin_ns);
    pair.exchange();
    for (agent, lockstep) in pair.agents.iter_mut().enumerate() {
        assert!(!lockstep.begins(begin_ns + clock(agent) - 1) && lockstep.begins(begin_ns + clock(agent)));
        assert!(lockstep.is_running());
    }
}

#[test]
fn nobody_begins_before_all_are_ready_and_the_start_has_come() {
    let mut pair = Pair::new();
    pair.exchange();
    pair.agents[0].load();
    pair.agents[0].ready();
    pair.exchange();
    let later_ns = pair.now_ns + 60_000_000_000;
    assert!(!pair.agents[0].begins(later_ns));
    pair.agents[1].load();
    pair.agents[1].ready();
    assert!(!pair.agents[1].begins(later_ns + AHEAD_NS));
    assert_eq!(pair.agents[0].horizon(), None);
}

#[test]
fn nobody_goes_farther_ahead_of_the_slowest_than_the_lead() {
    let mut pair = Pair::new();
    pair.begin();
    assert_eq!(pair.agents[1].horizon(), Some(LEAD), "nothing was received yet");
    pair.agents[0].advance(LEAD);
    pair.exchange();
    assert_eq!(pair.agents[1].horizon(), Some(LEAD + LEAD));
    assert_eq!(pair.agents[0].horizon(), Some(LEAD), "the second has not moved");
    // It went on while its heartbeat was on the way: 50 µs are 50 ns at a dilation of 1000.
    assert_eq!(pair.agents[1].apart_ns(), LEAD.ns() + 50);
}

#[test]
fn a_workload_is_over_when_all_have_finished_it_and_every_packet_is_accounted_for() {
    let mut pair = Pair::new();
    pair.begin();
    pair.agents[0].finish(Time::from_ns(40));
    pair.agents[0].count(Time::from_ns(40), 10, 4);
    pair.exchange();
    assert!(!pair.agents[0].all_finished() && !pair.agents[1].all_finished());
    pair.agents[1].finish(Time::from_ns(50));
    pair.agents[1].count(Time::from_ns(50), 2, 7);
    pair.exchange();
    assert!(pair.agents.iter().all(Lockstep::all_finished));
    assert!(pair.agents.iter().all(|agent| !agent.all_accounted()));
    pair.agents[1].count(Time::from_ns(50), 2, 8);
    pair.exchange();
    assert!(pair.agents.iter().all(Lockstep::all_accounted));
    assert_eq!(pair.agents[0].peer_rows(pair.now_ns)[0].finish_ps, Some(50_000));
    assert_eq!(pair.agents[0].progress(), Time::from_ns(50));
    // The first goes on to the next, and the second still knows when it had finished this one.
    pair.agents[0].load();
    pair.exchange();
    assert!(pair.agents[1].all_finished() && !pair.agents[0].all_finished());
    assert_eq!(pair.agents[1].peer_rows(pair.wall_ns(1))[0].finish_ps, Some(40_000));
    assert_eq!(pair.agents[1].horizon(), None, "nobody is behind");
}

#[test]
fn heartbeats_of_other_runs_other_agents_and_of_the_past_are_ignored() {
    let mut pair = Pair::new();
    pair.begin();
    let good = Heartbeat { wall_ns: u64::MAX, ..pair.agents[1].own };
    for heartbeat in [
        Heartbeat { key: 6, ..good },
        Heartbeat { from: 9, ..good },
        Heartbeat { from: 0, ..good },
        Heartbeat { wall_ns: 1, ..good },
    ] {
        let before = pair.agents[0].peers[0].last;
        pair.agents[0].receive(&heartbeat, pair.now_ns);
        assert_eq!(pair.agents[0].peers[0].last, before);
    }
}

#[test]
fn an_agent_that_falls_silent_is_given_up_and_one_that_speaks_is_not() {
    let mut pair = Pair::new();
    pair.exchange();
    let silent_ns = pair.now_ns + SILENCE_NS - 10 * WAY_NS;
    assert!(!pair.agents[0].is_deserted(silent_ns));
    assert!(pair.agents[0].is_deserted(pair.now_ns + SILENCE_NS + 1));
    pair.now_ns = silent_ns;
    pair.exchange();
    assert!(!pair.agents[0].is_deserted(pair.now_ns + SILENCE_NS / 2));
}

#[test]
fn heartbeats_come_several_to_a_lead_and_sooner_when_others_may_be_waiting() {
    let mut pair = Pair::new();
    pair.begin();
    let now_ns = pair.wall_ns(0);
    pair.agents[0].heartbeats(now_ns).for_each(drop);
    // The lead takes 600 us of wall time at a dilation of 1000.
    assert_eq!(pair.agents[0].due_in_ns(now_ns), 150_000);
    pair.agents[0].advance(LEAD);
    assert_eq!(pair.agents[0].due_in_ns(now_ns), 20_000);
}

#[test]
fn absurd_times_in_a_beat_do_no_harm() {
    let mut pair = Pair::new();
    pair.begin();
    let own = pair.agents[1].own;
    let wild = Heartbeat {
        at_ps: u64::MAX,
        progress_ps: u64::MAX,
        finish_ps: u64::MAX,
        sent: u64::MAX,
        accounted: u64::MAX,
        wall_ns: u64::MAX,
        begin_ns: u64::MAX,
        ..own
    };
    for (echo_ns, kept_ns) in [(1, 0), (1, u64::MAX), (u64::MAX, 0), (u64::MAX, u64::MAX)] {
        let agent = &mut pair.agents[0];
        agent.count(Time::ZERO, 1, 1);
        agent.receive(&Heartbeat { echo_ns, kept_ns, ..wild }, u64::MAX / 2);
        agent.horizon();
        agent.all_accounted();
        agent.peer_rows(0);
        agent.begins(u64::MAX);
        agent.heartbeats(0).for_each(drop);
    }
}
