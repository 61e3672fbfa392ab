//! Labs under the real clock: hosts on one switch, on links in memory or on veth pairs, and the loop that turns the clock.

use std::time::{Duration, Instant};

use _dataplane::clock::real::{Attachment, RealClock};
use _dataplane::emulation::{Emulation, Progress};
use _dataplane::units::Time;
use serde_json::{json, Value};

use super::lab::{workload, Message, Shape, Transport};

/// A loop that takes longer has no end.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Hosts on one switch, at 100 Gbit/s, a metre of fibre away.
pub fn shape(hosts: usize) -> Shape {
    Shape {
        leaves: 1,
        spines: 0,
        hosts_per_leaf: hosts,
        host_gbps: 100,
        spine_gbps: 100,
        host_delay_ps: 5_000,
        spine_delay_ps: 0,
        xoff_bytes: 200_000,
        hysteresis_bytes: 10_000,
        loss: 0.0,
        seed: 1,
    }
}

/// The plan of so many hosts on one switch, whose links are all of one medium.
pub fn plan(hosts: usize, medium: &str) -> Value {
    let mut plan = shape(hosts).plan();
    plan["links"].as_array_mut().expect("links").iter_mut().for_each(|link| link["medium"] = json!(medium));
    plan
}

/// A clock on a plan.
pub fn clock(plan: &Value, dilation: u64, attachments: &[Attachment]) -> RealClock {
    let emulation = Emulation::new(&plan.to_string()).expect("a sound plan");
    RealClock::new(emulation, dilation, attachments).expect("sockets")
}

/// A clock on so many hosts that are linked in memory.
pub fn in_memory(hosts: usize, dilation: u64) -> RealClock {
    clock(&plan(hosts, "memory"), dilation, &[])
}

/// Messages of so many bytes as (sender, receiver, bytes), none of which waits for another; a lost packet is sent again twice,
/// after `timeout_ps`.
pub fn messages(hosts: usize, messages: &[(usize, usize, u64)], timeout_ps: u64) -> String {
    let message = |&(src, dst, bytes)| Message { src, dst, bytes, after: None };
    let messages: Vec<Message> = messages.iter().map(message).collect();
    let transport = Transport { verb: "write", mtu_bytes: 4_096, window_packets: 64, ack_every: 4, timeout_ps };
    let mut workload = workload(hosts, &messages, &transport);
    workload["transport"]["retries"] = json!(2);
    workload.to_string()
}

/// The messages of two hosts to each other.
pub fn exchange(bytes: u64) -> String {
    messages(2, &[(0, 1, bytes), (1, 0, bytes)], 4_000_000_000)
}

/// Turn a clock until `done` holds.
pub fn turn_until(clock: &mut RealClock, mut done: impl FnMut(&mut RealClock) -> bool) {
    let began = Instant::now();
    while !done(clock) {
        clock.turn().expect("sound sockets");
        assert!(began.elapsed() < PATIENCE, "{}", clock.report());
    }
}

/// Turn a clock for so long of the wall.
pub fn turn_for(clock: &mut RealClock, wall: Duration) {
    let began = Instant::now();
    turn_until(clock, |_| began.elapsed() >= wall);
}

/// Start what is loaded and turn the clock until it is over.
pub fn run(clock: &mut RealClock) -> Progress {
    let mut progress = Progress::Running;
    clock.start(Time::NEVER);
    turn_until(clock, |clock| {
        progress = clock.progress();
        progress != Progress::Running
    });
    progress
}

/// Load, run to the end, and return the report.
pub fn run_to_end(clock: &mut RealClock, workload: &str) -> Value {
    clock.load(workload).expect("a sound workload");
    assert_eq!(run(clock), Progress::Complete, "{}", clock.report());
    clock.report()
}

/// How long the workload of a report took, in ps.
pub fn took_ps(report: &Value) -> u64 {
    let ranks = report["ranks"].as_array().expect("ranks");
    let finish_ps = ranks.iter().map(|rank| rank["finish_ps"].as_u64().expect("finished")).max();
    finish_ps.expect("a rank") - report["start_ps"].as_u64().expect("started")
}
