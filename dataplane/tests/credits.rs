//! Credits of one link: when a frame may start, when the far end is told, what a loss costs, and that the link drains.

mod common;

use std::collections::VecDeque;

use _dataplane::credit::{ask_every, Credits, Grant, Ledger};
use _dataplane::emulation::Emulation;
use _dataplane::frame::{Body, Frame};
use _dataplane::port::Port;
use _dataplane::priority::{Priority, PrioritySet};
use _dataplane::units::Time;
use _dataplane::wire::credit::Credit;
use common::credits::credited;
use common::frames::{frame, gbps, ns, pause, ps, strict};
use common::lab::Shape;
use proptest::prelude::*;
use rand_core::{Rng, SeedableRng};
use rand_pcg::Pcg64;
use serde_json::json;

const P: Priority = Priority::P3;
/// Line time of a frame of 640 bytes, which is ten blocks, at 100 Gb/s.
const SLOT_PS: u64 = 660 * 80;
/// 65,536 symbols on one of four lanes at 100 Gb/s.
const ASK_PS: u64 = 65_536 * 4 * 80;

fn grant(blocks: u32, update_blocks: u32) -> Grant {
    Grant { priority: P, block_bytes: 64, blocks, update_blocks }
}

fn ten_blocks() -> Frame {
    frame(0, 1, P, 640)
}

fn update(limit: u32) -> Credit {
    Credit { priority: P, request: false, sent: 0, limit }
}

/// A port at 100 Gb/s that was granted `blocks` and grants 100, with `frames` frames of ten blocks waiting.
fn port(blocks: u32, frames: usize) -> Port {
    let mut port = Port::new(strict(gbps(100)));
    port.set_credits(&[grant(blocks, 1)], &[grant(100, 20)]);
    (0..frames).for_each(|_| port.enqueue(ten_blocks().into()));
    port
}

fn credit_of(frame: &Frame) -> Option<Credit> {
    match frame.body {
        Body::Credit(credit) => Some(credit),
        _ => None,
    }
}

#[test]
fn frames_start_as_long_as_there_is_credit_for_all_of_them() {
    let mut port = port(29, 4);
    for slot in 0..2 {
        assert!(port.dequeue(ps(slot * SLOT_PS)).is_some_and(|frame| frame.priority == Priority::P3));
    }
    let blocked = ps(2 * SLOT_PS);
    assert!(port.dequeue(blocked).is_none(), "nine blocks are no room for ten");
    assert_eq!(port.next_start(blocked), ps(ASK_PS), "nothing but the question can be next");
    port.enqueue(frame(0, 1, Priority::P4, 1_000).into());
    assert!(
        port.dequeue(blocked).is_some_and(|frame| frame.priority == Priority::P4),
        "another priority is not stopped"
    );
    port.handle_credit(&update(30), ns(300));
    assert!(port.dequeue(ns(300)).is_some());
    assert_eq!(port.credit_wait(P, ns(900)), ns(300) - blocked);
    assert_eq!((port.counters[P].credit_rx, port.counters[P].frames_tx), (1, 3));
}

#[test]
fn an_update_that_comes_while_the_line_is_busy_is_not_missed() {
    let mut port = port(10, 2);
    port.enqueue(frame(0, 1, Priority::P0, 9_000).into());
    assert!(port.dequeue(Time::ZERO).is_some_and(|frame| frame.priority == Priority::P3));
    assert!(port.dequeue(ps(SLOT_PS)).is_some_and(|frame| frame.priority == Priority::P0));
    let end = ps(SLOT_PS + 9_020 * 80);
    assert_eq!(port.next_start(ps(SLOT_PS)), ps(ASK_PS));
    port.handle_credit(&update(20), ps(2 * SLOT_PS));
    assert_eq!(port.next_start(ps(2 * SLOT_PS)), end);
    assert!(port.dequeue(end).is_some_and(|frame| frame.priority == Priority::P3));
}

/// IBTA 7.9.4: no more than 65,536 symbol times pass; a symbol is eight bits on one of a port's lanes.
#[test]
fn credits_are_requested_until_all_are_back() {
    let mut port = port(30, 1);
    assert!(port.dequeue(ns(7)).is_some());
    for asked in 1..=3 {
        let due = ns(7) + ps(asked * ASK_PS);
        assert_eq!(port.next_start(due - ps(1)), due);
        let question = port.dequeue(due).as_deref().and_then(credit_of).expect("a question");
        assert_eq!(question, Credit { request: true, sent: 10, limit: 100, ..update(0) });
    }
    let now = ns(7) + ps(3 * ASK_PS + 1);
    port.handle_credit(&update(39), now);
    assert_ne!(port.next_start(now), Time::NEVER, "a block is out still");
    port.handle_credit(&update(40), now);
    assert_eq!(port.next_start(now), Time::NEVER);
    assert_eq!(port.counters[P].credit_tx, 3);
}

#[test]
fn released_blocks_are_reported_in_batches_and_on_request() {
    let mut port = port(30, 0);
    for _ in 0..3 {
        port.reserve_credit(Priority::P3, 640);
    }
    assert!(!port.return_credit(Priority::P3, 640), "ten of twenty");
    assert!(port.dequeue(ns(1)).is_none());
    assert!(port.return_credit(Priority::P3, 640));
    assert_eq!(port.next_start(ns(1)), ns(1));
    assert_eq!(port.dequeue(ns(1)).as_deref().and_then(credit_of), Some(update(120)));
    assert!(!port.return_credit(Priority::P3, 640));
    // The sender has sent 50 blocks, of which 30 came: the link lost 20. They are granted anew with the answer.
    port.handle_credit(&Credit { request: true, sent: 50, ..update(30) }, ns(100));
    assert_eq!(port.dequeue(ns(100)).as_deref().and_then(credit_of), Some(update(150)));
    assert_eq!(port.next_start(ns(200)), Time::NEVER);
}

#[test]
fn credit_frames_pass_starved_and_paused_priorities_and_take_line_time() {
    let mut port = port(0, 1);
    let Body::Pause(pfc) = pause(&[(Priority::P3, 1_000)]).body else { unreachable!() };
    port.pause(&pfc, Time::ZERO);
    port.reserve_credit(Priority::P3, 64 * 20);
    port.return_credit(Priority::P3, 64 * 20);
    assert!(port.dequeue(ns(1)).as_deref().and_then(credit_of).is_some());
    assert!(port.is_busy(ns(1) + ps(84 * 80 - 1)) && !port.is_busy(ns(1) + ps(84 * 80)));
}

/// Two ends of a link that keeps order and loses frames: `a` sends frames of random lengths to `b`, which releases them late.
struct Wire {
    a: Credits,
    b: Credits,
    now: u64,
    /// Frames on their way with the time of their arrival.
    forth: VecDeque<(u64, Result<u32, Credit>)>,
    back: VecDeque<(u64, Credit)>,
    buffer: VecDeque<u32>,
    held: u32,
    random: Pcg64,
    loss: f64,
}

impl Wire {
    const DELAY: u64 = 50_000_000;

    fn loses(&mut self) -> bool {
        (self.random.next_u64() >> 11) as f64 / (1u64 << 53) as f64 <= self.loss && self.loss > 0.0
    }

    fn step(&mut self, capacity: u32) {
        while self.forth.front().is_some_and(|(at, _)| *at <= self.now) {
            match self.forth.pop_front().expect("there is one").1 {
                Ok(bytes) => {
                    self.b.reserve(P, bytes);
                    self.held += bytes.div_ceil(64);
                    self.buffer.push_back(bytes);
                    assert!(self.held <= capacity, "{} blocks in a buffer of {capacity}", self.held);
                }
                Err(credit) => self.b.handle(&credit, ps(self.now)),
            }
        }
        while self.back.front().is_some_and(|(at, _)| *at <= self.now) {
            let (_, credit) = self.back.pop_front().expect("there is one");
            self.a.handle(&credit, ps(self.now));
        }
        if let Some(bytes) = self.buffer.pop_front_if(|_| self.random.next_u64().is_multiple_of(3)) {
            self.held -= bytes.div_ceil(64);
            self.b.release(P, bytes);
        }
        while let Some(credit) = self.a.next_frame(gbps(100), ps(self.now)) {
            if !self.loses() {
                self.forth.push_back((self.now + Self::DELAY, Err(credit)));
            }
        }
        while let Some(credit) = self.b.next_frame(gbps(100), ps(self.now)) {
            if !self.loses() {
                self.back.push_back((self.now + Self::DELAY, credit));
            }
        }
        self.now += 100_000;
    }
}

proptest! {
    #![proptest_config(common::cases(60))]

    /// Whatever is lost: the buffer never overflows, every frame leaves in the end, and both ends agree and fall silent.
    #[test]
    fn no_loss_leaks_credit_or_overcommits(seed: u64, blocks in 66u32..1_000, update in 1u32..40, loss in 0.0f64..0.3) {
        let grants = [grant(blocks, update.min(blocks - 65))];
        let (a, b) = (Credits::new(&grants, &[]), Credits::new(&[], &grants));
        let random = Pcg64::seed_from_u64(seed);
        let mut wire = Wire { a, b, now: 0, forth: VecDeque::new(), back: VecDeque::new(), buffer: VecDeque::new(), held: 0, random, loss };
        let mut left = 300;
        while left > 0 {
            let bytes = 64 + (wire.random.next_u32() % 4_100);
            if wire.a.admits(P, bytes) {
                wire.a.spend(P, bytes, gbps(100), ps(wire.now));
                left -= 1;
                if !wire.loses() {
                    wire.forth.push_back((wire.now + Wire::DELAY, Ok(bytes)));
                }
            }
            wire.step(blocks);
            prop_assert!(wire.now < 1_000_000_000_000, "{left} frames never leave");
        }
        while wire.a.next_due() != Time::NEVER || !wire.buffer.is_empty() || !wire.forth.is_empty() {
            wire.step(blocks);
            prop_assert!(wire.now < 1_000_000_000_000, "never drained");
        }
        prop_assert!(wire.a.admits(P, blocks * 64), "all credits are back");
    }
}

#[test]
fn counts_wrap_around() {
    let grants = [grant(1 << 30, 1)];
    let (mut a, mut b) = (Credits::new(&grants, &[]), Credits::new(&[], &grants));
    for _ in 0..9 {
        a.spend(P, 64 << 24, gbps(100), Time::ZERO);
        (0..64).for_each(|_| b.reserve(P, 1 << 24));
        (0..64).for_each(|_| _ = b.release(P, 1 << 24));
        let told = b.next_frame(gbps(100), Time::ZERO).expect("an update");
        a.handle(&told, Time::ZERO);
        (0..16).for_each(|_| {
            a.spend(P, 1 << 30, gbps(100), Time::ZERO);
            b.reserve(P, 1 << 30);
            b.release(P, 1 << 30);
            a.handle(&b.next_frame(gbps(100), Time::ZERO).expect("an update"), Time::ZERO);
        });
    }
    assert_eq!(a.next_due(), Time::NEVER);
}

fn shape() -> Shape {
    Shape {
        leaves: 1,
        spines: 0,
        hosts_per_leaf: 2,
        host_gbps: 100,
        spine_gbps: 100,
        host_delay_ps: 1_000_000,
        spine_delay_ps: 0,
        xoff_bytes: 0,
        hysteresis_bytes: 0,
        loss: 0.0,
        seed: 1,
    }
}

#[test]
fn a_plan_cannot_grant_what_is_not_there() {
    let plan = credited(shape().plan(), |_| 100, 10);
    assert!(Emulation::new(&plan.to_string()).is_ok());
    let faults = [
        ("/links/0/credits/0/0/priority", json!(8), "priority 8 is not between 0 and 7"),
        ("/links/0/credits/0/0/block_bytes", json!(0), "blocks of 0 bytes"),
        ("/links/0/credits/0/0/blocks", json!(0), "0 blocks"),
        ("/links/0/credits/1/0/blocks", json!(1u32 << 31), "2147483648 blocks"),
        ("/links/0/credits/0/0/update_blocks", json!(101), "an update every 101 of 100 blocks"),
        ("/links/0/credits/0/0/blocks", json!(101), "leaf0 grants 6464 bytes of 6400 on port 0"),
        ("/links/0/credits/0/0/priority", json!(2), "leaf0 grants 6400 bytes of 0 on port 0"),
        ("/nodes/2/cell_bytes", json!(208), "blocks of 64 bytes in leaf0's cells of 208"),
        ("/links/0/flow_control", json!("pfc"), "credits without flow_control credit"),
    ];
    for (path, value, complaint) in faults {
        let mut broken = plan.clone();
        match broken.pointer_mut(path) {
            Some(place) => *place = value,
            None => broken["nodes"][2]["cell_bytes"] = value,
        }
        let error = Emulation::new(&broken.to_string()).expect_err(complaint).to_string();
        assert!(error.contains(complaint), "{error}");
    }
    let mut twice = plan.clone();
    twice["links"][0]["credits"][1] = json!([plan["links"][0]["credits"][1][0], plan["links"][0]["credits"][1][0]]);
    assert!(Emulation::new(&twice.to_string()).expect_err("twice").to_string().contains("priority 3 twice"));
}

#[test]
fn faults_of_a_grant_are_named() {
    let largest = i32::MAX as u32;
    for sound in [grant(1, 1), grant(10, 10), grant(largest, 1)] {
        assert_eq!(sound.fault(), None, "{sound:?}");
    }
    for (odd, fault) in [
        (Grant { block_bytes: 0, ..grant(1, 1) }, "blocks of 0 bytes"),
        (grant(0, 0), "0 blocks"),
        (grant(largest + 1, 1), "2147483648 blocks"),
        (grant(10, 0), "an update every 0 of 10 blocks"),
        (grant(10, 11), "an update every 11 of 10 blocks"),
    ] {
        assert_eq!(odd.fault().as_deref(), Some(fault));
    }
    assert_eq!(grant(1 << 30, 1).bytes(), 64 << 30);
}

#[test]
fn a_wait_is_as_long_as_there_is_no_credit() {
    let mut credits = Credits::new(&[grant(10, 1)], &[]);
    let waited = |credits: &Credits, at| credits.wait_time(P, ns(at)).ns();
    credits.spend(P, 640, gbps(100), Time::ZERO);
    credits.wait(P, 128, ns(100));
    credits.wait(P, 128, ns(150));
    assert_eq!(waited(&credits, 170), 70, "since the first time");
    for (limit, at, total) in [(11, 200, 100), (12, 250, 150), (20, 300, 150)] {
        credits.handle(&Credit { priority: P, request: false, sent: 0, limit }, ns(at));
        assert_eq!(waited(&credits, at), total, "two blocks for a limit of {limit}");
    }
    assert_eq!(waited(&credits, 1_000), 150);
    credits.wait(P, 640, ns(2_000));
    credits.spend(P, 640, gbps(100), ns(2_030));
    assert_eq!(waited(&credits, 9_000), 180, "a tester sends without credit");
}

#[test]
fn every_priority_with_blocks_outstanding_asks_once() {
    let grants = [grant(10, 1), Grant { priority: Priority::P5, ..grant(10, 1) }];
    let mut credits = Credits::new(&grants, &[]);
    assert_eq!(credits.credited(), PrioritySet::only(P) | PrioritySet::only(Priority::P5));
    assert!(credits.admits(Priority::P0, u32::MAX) && !credits.admits(P, 641));
    credits.spend(P, 64, gbps(100), Time::ZERO);
    credits.spend(Priority::P5, 64, gbps(100), ns(5));
    let due = credits.next_due();
    assert_eq!(due, ask_every(gbps(100)));
    assert_eq!(ask_every(gbps(100)).ps(), 65_536 * 4 * 80);
    for asked in [P, Priority::P5] {
        let question = credits.next_frame(gbps(100), due).expect("a question");
        assert_eq!((question.priority, question.request, question.sent), (asked, true, 1));
    }
    assert!(credits.next_frame(gbps(100), due).is_none() && credits.next_due() == due + ask_every(gbps(100)));
    // Asked again before the first question could leave, each still asks once.
    let later = due + ask_every(gbps(100)) + ask_every(gbps(100));
    credits.next_frame(gbps(100), due + ask_every(gbps(100)));
    let rest: Vec<_> = std::iter::from_fn(|| credits.next_frame(gbps(100), later)).collect();
    assert_eq!(
        rest.iter().map(|frame| (frame.priority, frame.request)).collect::<Vec<_>>(),
        [(P, true), (Priority::P5, true)]
    );
}

#[test]
fn only_who_grants_is_answered() {
    let mut credits = Credits::new(&[], &[grant(10, 5)]);
    assert!(credits.grants(P) && !credits.grants(Priority::P5));
    assert!(!credits.release(Priority::P5, 64), "no credit on that priority");
    let told = |sent, request| Credit { priority: P, request, sent, limit: 0 };
    credits.handle(&told(4, false), Time::ZERO);
    assert_eq!(credits.next_due(), Time::NEVER, "four of five blocks");
    credits.handle(&told(5, false), Time::ZERO);
    assert_eq!(credits.next_due(), Time::ZERO);
    let answer = credits.next_frame(gbps(100), Time::ZERO).expect("an update");
    assert_eq!((answer.limit, answer.request), (15, false));
}

#[test]
fn the_ledger_knows_who_starts_without_credit() {
    let mut ledger = Ledger::new(&[grant(10, 1)]);
    let blocks = |priority, blocks: u16| frame(0, 1, priority, blocks * 64);
    let control = Frame {
        priority: P,
        ..Frame::control(Body::Credit(Credit { priority: P, request: false, sent: 0, limit: 0 }))
    };
    assert!(ledger.start(&blocks(Priority::P5, 20)), "no credit needed");
    assert!(ledger.start(&blocks(P, 10)) && ledger.start(&control) && !ledger.start(&blocks(P, 1)));
    let tester = Frame { ingress: Frame::OUTSIDE, ..blocks(P, 1) };
    assert!(ledger.start(&tester));
    ledger.update(&Credit { priority: P, request: false, sent: 0, limit: 14 });
    assert!(ledger.start(&blocks(P, 2)) && !ledger.start(&blocks(P, 1)), "14 blocks in all");
}
