//! Two real clocks that keep step: one has the switch and a host, the other the host at the far end of a link. Needs root, and fails without.
#![cfg(feature = "live")]

mod common;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use _dataplane::clock::real::{Participant, Participants, RealClock};
use _dataplane::emulation::Progress;
use _dataplane::units::Time;
use common::clocked::{clock, exchange, in_memory, messages, turn_for, turn_until, PATIENCE};
use common::veth_lab::Veths;
use serde_json::{json, Value};

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// Twice the time of a full frame at 100 Gbit/s: how far one agent may be ahead.
const LEAD: Time = Time::from_ps(2 * 340_000);

/// The clocks of agents a and b, at this dilation, that take part in a run: a has the first host and the switch.
fn agents(veths: &Veths, hosts: usize, dilation: u64) -> [RealClock; 2] {
    let here = [veths.host(0)].into_iter().chain((0..hosts).map(|port| veths.port(port))).collect();
    let own: [(Vec<usize>, Vec<_>); 2] =
        [((1..hosts).collect(), here), (vec![0, hosts], (1..hosts).map(|host| veths.host(host)).collect())];
    let mut clocks = own.map(|(elsewhere, attachments)| {
        let mut plan = veths.plan();
        (1..hosts).for_each(|link| plan["links"][link]["medium"] = json!("vxlan"));
        elsewhere.into_iter().for_each(|node| plan["nodes"][node]["elsewhere"] = json!(true));
        clock(&plan, dilation, &attachments)
    });
    let ports = clocks.each_mut().map(|clock| clock.listen(HERE).unwrap());
    for (number, clock) in clocks.iter_mut().enumerate() {
        clock.join(participants(number, ports)).unwrap();
    }
    clocks
}

fn participants(number: usize, ports: [u16; 2]) -> Participants {
    let agent = |(name, port): (&str, u16)| Participant { name: name.into(), address: SocketAddr::new(HERE, port) };
    Participants { key: 7, number, agents: ["a", "b"].into_iter().zip(ports).map(agent).collect() }
}

/// Load a workload on both: the ranks that the other has do nothing here.
fn load(clocks: &mut [RealClock; 2], workload: &str) {
    for (own, clock) in clocks.iter_mut().enumerate() {
        let mut workload: Value = serde_json::from_str(workload).unwrap();
        for rank in workload["ranks"].as_array_mut().unwrap() {
            let agent = usize::from(rank["node"] != json!(0));
            if agent != own {
                rank["ops"] = json!([]);
                rank["memory_bytes"] = json!(0);
            }
        }
        clock.load(&workload.to_string()).unwrap();
    }
}

/// Load on both, start, and turn both until both are over: at once, when every frame has met its fate.
fn run(clocks: &mut [RealClock; 2], workload: &str) -> [Progress; 2] {
    load(clocks, workload);
    clocks.iter_mut().for_each(|clock| clock.start(Time::NEVER));
    let (mut progress, mut waited) = ([Progress::Running; 2], 0);
    both_until(clocks, |clocks| {
        for (clock, progress) in clocks.iter_mut().zip(&mut progress) {
            let now = clock.progress();
            // What it says first is what ends a run.
            *progress = if *progress == Progress::Running { now } else { *progress };
        }
        waited += u32::from(clocks.iter().all(|clock| clock.emulation.is_complete()));
        !progress.contains(&Progress::Running)
    });
    // For a frame that is missing they would turn a thousand times and more, which is a second.
    assert!(waited < 500, "{waited} turns");
    progress
}

fn both_until(clocks: &mut [RealClock; 2], mut done: impl FnMut(&mut [RealClock; 2]) -> bool) {
    let began = Instant::now();
    while !done(clocks) {
        clocks.iter_mut().for_each(|clock| clock.turn().unwrap());
        assert!(began.elapsed() < PATIENCE, "{} {}", clocks[0].report(), clocks[1].report());
    }
}

fn both_for(clocks: &mut [RealClock; 2], wall: Duration) {
    let began = Instant::now();
    both_until(clocks, |_| began.elapsed() >= wall);
}

/// A figure of the reports of both.
fn figure(clocks: &[RealClock; 2], pointer: &str) -> [u64; 2] {
    clocks.each_ref().map(|clock| clock.report().pointer(pointer).and_then(Value::as_u64).expect(pointer))
}

fn sum(figures: [u64; 2]) -> u64 {
    figures.iter().sum()
}

#[test]
fn agents_begin_together_and_end_when_every_frame_is_accounted_for() {
    let veths = Veths::new(2);
    let mut clocks = agents(&veths, 2, 1_000);
    load(&mut clocks, &exchange(60_000));
    clocks[0].start(Time::NEVER);
    both_for(&mut clocks, Duration::from_millis(30));
    assert_eq!(figure(&clocks, "/conservation/sent"), [0, 0], "the other is not ready");
    assert_eq!(clocks[0].progress(), Progress::Running);
    assert_eq!(run(&mut clocks, &exchange(60_000)), [Progress::Complete; 2]);
    let reports = clocks.each_ref().map(RealClock::report);
    for (report, other) in reports.iter().zip(["b", "a"]) {
        assert_eq!((&report["complete"], &report["stalled"]), (&json!(true), &json!(false)));
        let peer = &report["agents"]["others"][0];
        assert_eq!(peer["agent"], other);
        assert!(peer["finish_ps"].as_u64() > Some(5_000_000), "{peer}");
        let (offset, trip) = (peer["offset_ns"].as_i64().unwrap(), peer["round_trip_ns"].as_u64().unwrap());
        // They share this machine's clock.
        assert!(trip > 0 && offset.unsigned_abs() <= trip, "{peer}");
    }
    let [a, b] = [&reports[0]["agents"]["crossed"]["leaf0:eth2"], &reports[1]["agents"]["crossed"]["h1:eth1"]];
    assert!(a["out"].as_u64() >= Some(15) && b["out"].as_u64() >= Some(15), "{a} {b}");
    assert_eq!((&a["out"], &a["back"]), (&b["back"], &b["out"]));
    assert_eq!(sum(figure(&clocks, "/conservation/sent")), sum(figure(&clocks, "/conservation/delivered")));
    // What has crossed and what was sent before do not count in the next run.
    let ports = clocks.each_mut().map(|clock| clock.listen(HERE).unwrap());
    for (number, clock) in clocks.iter_mut().enumerate() {
        clock.join(Participants { key: 8, ..participants(number, ports) }).unwrap();
    }
    assert_eq!(run(&mut clocks, &exchange(60_000)), [Progress::Complete; 2]);
    let again = clocks[0].report();
    assert_eq!(again["agents"]["crossed"]["leaf0:eth2"]["out"], a["out"]);
    assert_eq!(again["conservation"]["sent"], reports[0]["conservation"]["sent"]);
    // Two workloads of one run follow each other.
    assert_eq!(run(&mut clocks, &exchange(30_000)), [Progress::Complete; 2]);
}

#[test]
fn an_agent_does_not_go_on_without_the_other_until_it_leaves() {
    let veths = Veths::new(2);
    let mut clocks = agents(&veths, 2, 100);
    load(&mut clocks, &exchange(10_000_000));
    clocks.iter_mut().for_each(|clock| clock.start(Time::NEVER));
    both_until(&mut clocks, |clocks| figure(clocks, "/conservation/sent").iter().all(|sent| *sent > 10));
    let [a, _] = &mut clocks;
    turn_for(a, Duration::from_millis(10));
    let held = a.emulation.fabric.now();
    turn_for(a, Duration::from_millis(30));
    assert!(a.emulation.fabric.now() <= held + LEAD);
    // Frames that were under way to it wait in its socket, and the run goes on.
    both_until(&mut clocks, |clocks| clocks[0].emulation.fabric.now() > held + Time::from_ns(20_000));
    let apart_ns = clocks[0].report()["agents"]["apart_ns"].as_u64().unwrap();
    assert!(apart_ns > 0, "{apart_ns}");
    let [a, _] = &mut clocks;
    a.leave();
    assert_eq!(a.report().get("agents"), None);
    let until = a.emulation.fabric.now() + Time::from_ns(100_000);
    turn_until(a, |clock| clock.has_come(until));
}

#[test]
fn an_agent_that_has_been_silent_for_five_seconds_ends_the_run() {
    let veths = Veths::new(2);
    let mut clocks = agents(&veths, 2, 100);
    load(&mut clocks, &exchange(1_000_000));
    clocks.iter_mut().for_each(|clock| clock.start(Time::NEVER));
    both_until(&mut clocks, |clocks| figure(clocks, "/conservation/sent").iter().all(|sent| *sent > 0));
    let (began, [a, _]) = (Instant::now(), &mut clocks);
    turn_until(a, |clock| clock.progress() == Progress::Stalled);
    assert!(began.elapsed() > Duration::from_millis(4_500), "{:?}", began.elapsed());
    let report = a.report();
    assert_eq!((&report["stalled"], &report["complete"]), (&json!(true), &json!(false)));
}

#[test]
fn a_workload_that_cannot_go_on_ends_for_both() {
    let veths = Veths::new(2);
    let mut clocks = agents(&veths, 2, 100);
    clocks[0].impair(r#"[{"link": 0, "way": 0, "at_ps": null, "up": false}]"#).unwrap();
    assert_eq!(run(&mut clocks, &messages(2, &[(0, 1, 20_000)], 1_000_000)), [Progress::Stalled; 2]);
    for clock in &clocks {
        let report = clock.report();
        assert_eq!((&report["stalled"], &report["complete"]), (&json!(true), &json!(false)));
    }
    clocks[0].impair(r#"[{"link": 0, "way": 0, "at_ps": null, "up": true}]"#).unwrap();
    let mut limited: Value = serde_json::from_str(&exchange(1_000_000)).unwrap();
    limited["limit_ps"] = json!(3_000_000);
    assert_eq!(run(&mut clocks, &limited.to_string()), [Progress::Expired; 2]);
}

/// The rank of a waits for a message that is sent long after it would have been given up, while those of b get on.
#[test]
fn ranks_that_wait_for_those_of_another_agent_are_not_stalled_while_these_get_on() {
    let veths = Veths::new(3);
    let mut clocks = agents(&veths, 3, 300);
    let mut workload: Value =
        serde_json::from_str(&messages(3, &[(1, 2, 4_000_000), (2, 0, 1_000)], 20_000_000)).unwrap();
    workload["ranks"][2]["ops"][1]["requires"] = json!([0]);
    assert_eq!(run(&mut clocks, &workload.to_string()), [Progress::Complete; 2]);
}

#[test]
fn a_frame_that_is_lost_between_agents_is_waited_for_a_second() {
    let veths = Veths::new(2);
    let mut clocks = agents(&veths, 2, 10);
    veths.lose(1);
    load(&mut clocks, &messages(2, &[(0, 1, 5_000)], 3_000_000_000));
    clocks.iter_mut().for_each(|clock| clock.start(Time::NEVER));
    both_until(&mut clocks, |clocks| clocks[0].report()["agents"]["crossed"]["leaf0:eth2"]["out"] == 2);
    veths.lose_no_more(1);
    both_until(&mut clocks, |clocks| clocks.iter().all(|clock| clock.emulation.is_complete()));
    let began = Instant::now();
    both_until(&mut clocks, |clocks| clocks.each_mut().map(RealClock::progress) == [Progress::Complete; 2]);
    assert!(began.elapsed() > Duration::from_millis(800), "{:?}", began.elapsed());
    let crossed = clocks.each_ref().map(RealClock::report);
    let (out, back) =
        (&crossed[0]["agents"]["crossed"]["leaf0:eth2"]["out"], &crossed[1]["agents"]["crossed"]["h1:eth1"]["back"]);
    assert!(out.as_u64() > back.as_u64(), "{out} {back}");
    // It alone is missing at the end.
    assert!(sum(figure(&clocks, "/conservation/sent")) > sum(figure(&clocks, "/conservation/delivered")));
}

#[test]
fn participants_that_make_no_sense_are_refused_and_stray_datagrams_are_read_and_forgotten() {
    let mut clock = in_memory(2, 1);
    assert_eq!(clock.join(participants(0, [1, 2])).unwrap_err(), "no socket for heartbeats is open");
    let port = clock.listen(HERE).unwrap();
    assert!(port > 1 && clock.listen(HERE).unwrap() == port);
    assert_eq!(clock.join(participants(2, [1, 2])).unwrap_err(), "agent 2 of 2");
    let stranger = UdpSocket::bind((HERE, 0)).unwrap();
    for _ in 0..3 {
        stranger.send_to(b"nothing that anybody wrote", (HERE, port)).unwrap();
    }
    let (mut turns, began) = (0, Instant::now());
    turn_until(&mut clock, |_| {
        turns += 1;
        began.elapsed() > Duration::from_millis(300)
    });
    assert!(turns < 20, "{turns}: the loop does not sleep");
    // Without a run they do not matter to a workload.
    clock.load(&exchange(10_000)).unwrap();
    assert_eq!(common::clocked::run(&mut clock), Progress::Complete);
}
