//! The real clock on links in memory, which need no interfaces: how nominal time goes on and rests, and what workloads come to.

mod common;

use std::time::{Duration, Instant};

use _dataplane::emulation::span::Statistics;
use _dataplane::emulation::Progress;
use _dataplane::units::Time;
use common::clocked::{clock, exchange, in_memory, messages, plan, run, run_to_end, took_ps, turn_for, turn_until};
use common::lab::finish;
use serde_json::{json, Value};

#[test]
fn a_workload_takes_as_long_as_under_the_virtual_clock() {
    let mut clock = in_memory(2, 10);
    let real = run_to_end(&mut clock, &exchange(100_000));
    let mut exact = in_memory(2, 10).emulation;
    exact.load(&exchange(100_000)).unwrap();
    exact.start();
    assert_eq!(finish(&mut exact, 1_000), Progress::Complete);
    let exact = exact.report(None).json();
    assert_eq!(took_ps(&real), took_ps(&exact));
    for key in ["ports", "conservation", "drops", "frame_hops"] {
        assert_eq!(real[key], exact[key], "{key}");
    }
}

#[test]
fn a_workload_begins_when_it_is_started_and_not_again() {
    let mut clock = in_memory(2, 1);
    turn_for(&mut clock, Duration::from_millis(2));
    clock.load(&exchange(10_000)).unwrap();
    let loaded = clock.emulation.fabric.now();
    assert!(loaded >= Time::from_ns(1_000_000), "{loaded:?} after 2 ms");
    turn_for(&mut clock, Duration::from_millis(2));
    assert_eq!(clock.report()["complete"], false);
    assert_eq!(run(&mut clock), Progress::Complete);
    let first = clock.report();
    assert!(first["start_ps"].as_u64().unwrap() > loaded.ps() + 1_000_000_000);
    // It is over, and stays over.
    assert_eq!(run(&mut clock), Progress::Complete);
    assert_eq!(clock.report()["start_ps"], first["start_ps"]);
    assert_eq!(clock.report()["ranks"], first["ranks"]);
    let second = run_to_end(&mut clock, &exchange(10_000));
    assert!(second["start_ps"].as_u64() > first["start_ps"].as_u64());
    assert_eq!(took_ps(&second), took_ps(&first));
}

#[test]
fn time_rests_where_it_was_asked_to_and_goes_on_from_there() {
    let mut clock = in_memory(2, 100);
    clock.load(&exchange(100_000)).unwrap();
    let until = Time::from_ns(5_000);
    clock.start(until);
    assert!(!clock.has_come(until));
    turn_until(&mut clock, |clock| clock.has_come(until));
    assert_eq!(clock.emulation.fabric.now(), until);
    let before = clock.report();
    turn_for(&mut clock, Duration::from_millis(20));
    assert!(clock.has_come(until) && clock.emulation.fabric.now() == until);
    let mut after = clock.report();
    // Resting is not held back, nor was time meant to pass.
    after["fidelity"] = before["fidelity"].clone();
    assert_eq!(before, after);
    assert_eq!(clock.progress(), Progress::Running);
    assert_eq!(run(&mut clock), Progress::Complete);
    let at_once = run_to_end(&mut in_memory(2, 100), &exchange(100_000));
    assert_eq!(took_ps(&clock.report()), took_ps(&at_once));
}

#[test]
fn an_idle_loop_sleeps_and_a_waker_wakes_it() {
    let mut clock = in_memory(2, 1);
    let began = Instant::now();
    clock.turn().unwrap();
    assert!(began.elapsed() >= Duration::from_millis(90), "{:?}", began.elapsed());
    let waker = clock.waker();
    let mut shortest = Duration::MAX;
    for _ in 0..5 {
        waker.wake().unwrap();
        let began = Instant::now();
        clock.turn().unwrap();
        shortest = shortest.min(began.elapsed());
    }
    assert!(shortest < Duration::from_millis(80), "{shortest:?}");
}

/// At a dilation of 10,000 the 5 ns of the link are 50 µs and a frame of 4 KiB is 3 ms.
#[test]
fn between_events_the_loop_sleeps() {
    let mut clock = in_memory(2, 10_000);
    clock.load(&messages(2, &[(0, 1, 40_000)], 4_000_000_000)).unwrap();
    clock.start(Time::NEVER);
    let (mut turns, began) = (0, Instant::now());
    turn_until(&mut clock, |clock| {
        turns += 1;
        clock.progress() != Progress::Running
    });
    // 40 kB take 3.2 µs: 32 ms; spinning, the loop would turn ten times a microsecond.
    assert!(began.elapsed() >= Duration::from_millis(32));
    assert!(turns < 4_000, "{turns}");
    let figures = clock.fidelity();
    assert!(0.0 < figures.cpu_share && figures.cpu_share < 1.0 && figures.held_share < 1.0, "{figures:?}");
}

/// 4 MB take 950 frame times, and much longer to compute: the clock is behind from beginning to end.
#[test]
fn a_loop_that_is_behind_goes_by_many_steps_between_two_looks_at_its_sockets() {
    let mut clock = in_memory(2, 1);
    clock.load(&exchange(4_000_000)).unwrap();
    clock.start(Time::NEVER);
    let mut turns = 0;
    turn_until(&mut clock, |clock| {
        turns += 1;
        clock.progress() != Progress::Running
    });
    assert!(turns < 475, "{turns}");
    assert!(clock.fidelity().held_share > 0.5, "{:?}", clock.fidelity());
}

/// No turn of the loop is as quick as a frame at 1.6 Tbit/s, 21 ns for the longest with headers, preamble and gap: each is a step.
#[test]
fn time_goes_on_by_one_frame_of_the_fastest_link_at_most() {
    let mut plan = plan(2, "memory");
    plan["links"].as_array_mut().unwrap().iter_mut().for_each(|link| link["delay_ps"] = json!(40_000_000));
    for node in plan["nodes"].as_array_mut().unwrap() {
        node["ports"]
            .as_array_mut()
            .unwrap()
            .iter_mut()
            .for_each(|port| port["rate_bps"] = json!(1_600_000_000_000u64));
    }
    let mut clock = clock(&plan, 1, &[]);
    clock.load(&messages(2, &[(0, 1, 1_000)], 4_000_000_000)).unwrap();
    clock.start(Time::NEVER);
    let mut steps = 0;
    turn_until(&mut clock, |clock| {
        let complete = clock.progress() != Progress::Running;
        let now = clock.emulation.fabric.now();
        if !complete && clock.emulation.fabric.next_event() > now {
            assert_eq!(now.ps() % (8 * (4_096 + 98) * 10 / 16), 0, "{now:?}");
            steps += 1;
        }
        complete
    });
    assert!(steps > 100, "{steps}");
}

#[test]
fn what_is_asked_to_happen_later_happens_so_long_after_the_start() {
    let mut clock = in_memory(2, 100);
    let down = json!([{"link": 0, "way": 0, "at_ps": 3_000_000, "up": false}]);
    clock.impair(&down.to_string()).unwrap();
    clock.load(&messages(2, &[(0, 1, 1_000_000)], 1_000_000_000)).unwrap();
    assert_eq!(run(&mut clock), Progress::Stalled);
    let report = clock.report();
    let sent = report["ports"]["h0:eth1"]["priorities"]["3"]["frames_tx"].as_u64().unwrap();
    let passed = report["ports"]["leaf0:eth2"]["priorities"]["3"]["frames_tx"].as_u64().unwrap();
    // A full frame takes 0.33 µs, so that nine pass in three.
    assert!((8..=9).contains(&passed) && sent > passed, "{sent} sent, {passed} passed");
}

#[test]
fn a_train_of_frames_leaves_the_host() {
    let mut clock = in_memory(2, 100);
    let hex = "02000000000302000000000188b5".to_owned() + &"00".repeat(50);
    let train = json!([{"node": "h0", "port": "eth1", "count": 3, "every_ps": 1_000_000, "hex": hex}]);
    clock.inject(&train.to_string()).unwrap();
    turn_until(&mut clock, |clock| clock.report()["ports"]["leaf0:eth2"]["priorities"]["0"]["frames_tx"] == 3);
}

#[test]
fn a_workload_whose_connections_gave_up_is_over_though_nothing_is_due() {
    let mut clock = in_memory(2, 1);
    clock.impair(r#"[{"link": 0, "way": 0, "at_ps": null, "up": false}]"#).unwrap();
    clock.load(&messages(2, &[(0, 1, 10_000)], 1_000_000)).unwrap();
    assert_eq!(run(&mut clock), Progress::Stalled);
    let report = clock.report();
    assert_eq!((&report["stalled"], &report["complete"]), (&json!(true), &json!(false)));
}

#[test]
fn windows_are_cut_at_exact_instants() {
    let mut clock = in_memory(2, 100);
    clock.begin_span(Statistics::parse(r#"{"warmup_ps": 2000000, "window_ps": 3000000}"#).unwrap());
    clock.load(&exchange(200_000)).unwrap();
    let until = clock.emulation.fabric.now() + Time::from_ns(100_000);
    clock.start(until);
    turn_until(&mut clock, |clock| clock.has_come(until));
    clock.turn().unwrap();
    let report = clock.report();
    assert_eq!(report["complete"], true);
    let windows = report["settled"]["windows"].as_array().unwrap();
    let starts: Vec<_> = windows.iter().map(|window| window["from_ns"].as_u64().unwrap()).collect();
    let expected: Vec<_> = (0..windows.len() as u64).map(|number| 2_000 + 3_000 * number).collect();
    assert!(windows.len() > 4 && starts == expected, "{starts:?}");
    // Time that has not come is in no window, though nothing is to happen in it.
    let lasted_ns = |window: &Value| window["to_ns"].as_u64().unwrap() - window["from_ns"].as_u64().unwrap();
    let (last, others) = windows.split_last().unwrap();
    assert!(others.iter().all(|window| lasted_ns(window) == 3_000) && lasted_ns(last) <= 3_000, "{windows:?}");
    let now_ns = (report["now_ps"].as_u64().unwrap() - report["start_ps"].as_u64().unwrap()) / 1_000;
    assert_eq!(last["to_ns"].as_u64(), Some(now_ns));
    let sent = |part: &Value| part["ports"]["leaf0:eth2"]["priorities"]["3"]["frames_tx"].as_u64().unwrap_or(0);
    assert_eq!(windows.iter().map(sent).sum::<u64>(), sent(&report["settled"]));
    assert!(sent(&windows[0]) > 0 && sent(&report["settled"]) < sent(&report));
}

#[test]
fn shares_count_the_time_in_which_workloads_run_and_nothing_after() {
    let mut clock = in_memory(2, 100);
    turn_for(&mut clock, Duration::from_millis(5));
    clock.begin_span(None);
    assert_eq!((clock.fidelity().held_share, clock.fidelity().cpu_share), (0.0, 0.0));
    run_to_end(&mut clock, &exchange(1_000_000));
    let first = clock.fidelity();
    assert!(first.cpu_share > 0.0 && first.cpu_share <= 1.0, "{first:?}");
    turn_for(&mut clock, Duration::from_millis(20));
    let second = clock.fidelity();
    assert_eq!((first.held_share, first.cpu_share), (second.held_share, second.cpu_share));
    assert_eq!(clock.telemetry().fidelity.cpu_share, first.cpu_share);
}

#[test]
fn the_thread_of_a_clock_sleeps_to_the_nanosecond() {
    // A thread of its own, since the slack stays.
    let slack_ns = std::thread::spawn(|| {
        _dataplane::clock::real::prepare_thread().unwrap();
        // SAFETY: no pointers.
        unsafe { libc::prctl(libc::PR_GET_TIMERSLACK, 0, 0, 0, 0) }
    });
    assert_eq!(slack_ns.join().unwrap(), 1);
}
