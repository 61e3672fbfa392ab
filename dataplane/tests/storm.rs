//! A host that asks for pauses without need: what its peer hears, in unbroken storms and in those that come and go.

mod common;

use _dataplane::frame::{Body, Frame, Packet, Station};
use _dataplane::nic::receive_buffer::ReceivePlan;
use _dataplane::nic::storm::StormPlan;
use _dataplane::nic::Host;
use _dataplane::port::{Port, PortConfig};
use _dataplane::priority::Priority;
use _dataplane::units::Time;
use _dataplane::wire::roce::{Opcode, Syndrome};
use common::frames::{frame, gbps, ns, quanta_for, strict};

const XOFF: u16 = u16::MAX;
const MS: u64 = 1_000_000;

fn plan(quanta: u16, share: Option<(u64, u64)>) -> StormPlan {
    let (period_ps, on_ps) = share.map(|(period, on)| (period * 1_000, on * 1_000)).unzip();
    StormPlan { priorities: vec![Priority::P3, Priority::P4], quanta, period_ps, on_ps }
}

/// A NIC with a storm, and the port at the other end of an ideal cable.
struct Stormy {
    host: Host,
    peer: Port,
    now: Time,
    heard: Vec<(Time, u16)>,
}

impl Stormy {
    fn new(plan: &StormPlan) -> Stormy {
        Stormy::of(Host::new(vec![(Station(0), strict(gbps(100)))]), plan)
    }

    fn of(host: Host, plan: &StormPlan) -> Stormy {
        let mut stormy = Stormy { host, peer: Port::new(strict(gbps(100))), now: Time::ZERO, heard: Vec::new() };
        stormy.host.set_storm(0, Some(plan), Time::ZERO);
        stormy.settle();
        stormy
    }

    fn settle(&mut self) {
        while self.host.poll_event().is_some() {}
        while let Some((_, frame)) = self.host.poll_transmit(self.now) {
            let Body::Pause(pfc) = &frame.body else { panic!("{frame:?}") };
            self.peer.pause(pfc, self.now);
            if let Some(quanta) = quanta_for(&frame, Priority::P3) {
                self.heard.push((self.now, quanta));
            }
        }
    }

    fn run_until(&mut self, until: Time) {
        while self.host.poll_timeout() <= until {
            self.now = self.host.poll_timeout();
            self.host.handle_timeout(self.now);
            self.settle();
        }
        self.now = until;
    }

    fn end(&mut self) {
        self.host.set_storm(0, None, self.now);
        self.settle();
    }
}

#[test]
fn an_unbroken_storm_leaves_no_gap_and_ends_on_command() {
    for quanta in [XOFF, 1_000, 100] {
        let mut stormy = Stormy::new(&plan(quanta, None));
        stormy.run_until(ns(5 * MS));
        stormy.end();
        stormy.run_until(ns(20 * MS));
        assert_eq!(stormy.peer.paused_time(Priority::P3, stormy.now), ns(5 * MS), "{quanta} quanta");
        assert_eq!(stormy.heard.last(), Some(&(ns(5 * MS), 0)), "with XON, and then silence");
        let half = gbps(100).quanta(quanta).ps() / 2;
        assert_eq!(stormy.heard.len() as u64, (5 * MS * 1_000).div_ceil(half) + 1, "renewed at half time");
    }
}

#[test]
fn a_throttling_storm_pauses_its_share_of_every_period() {
    for (period, on) in [(1_000_000, 250_000), (1_000_000, 900_000), (10_000, 5_000), (200_000, 199_000)] {
        for quanta in [XOFF, 2_000] {
            let mut stormy = Stormy::new(&plan(quanta, Some((period, on))));
            stormy.run_until(ns(20 * MS));
            stormy.end();
            let paused = stormy.peer.paused_time(Priority::P3, stormy.now);
            assert_eq!(paused, ns(20 * MS / period * on), "{on} of {period} ns, {quanta} quanta");
        }
    }
}

#[test]
fn a_response_time_takes_its_part_of_every_period() {
    let mut stormy = Stormy::new(&plan(XOFF, Some((100_000, 50_000))));
    stormy.peer = Port::new(PortConfig { response: ns(2_000), ..strict(gbps(100)) });
    stormy.run_until(ns(10 * MS));
    // The first PAUSE frame had gone to the port that was replaced.
    assert_eq!(stormy.peer.paused_time(Priority::P3, stormy.now), ns(99 * 48_000));
}

#[test]
fn workloads_come_and_go_and_the_storm_stays() {
    let mut stormy = Stormy::new(&plan(XOFF, None));
    stormy.run_until(ns(MS));
    stormy.host.unload();
    stormy.run_until(ns(2 * MS));
    assert!(stormy.peer.is_paused(Priority::P3, ns(2 * MS)));
    stormy.host.set_storm(0, Some(&plan(XOFF, Some((1_000_000, 500_000)))), stormy.now);
    stormy.settle();
    stormy.run_until(ns(2 * MS + MS / 2 + 1));
    assert!(!stormy.peer.is_paused(Priority::P3, stormy.now), "another storm in its place");
}

/// A NIC that takes in 1 Gb/s, and asks for pauses of its own above 50 kB until 40 kB are left.
fn slow() -> Host {
    let plan = ReceivePlan {
        drain_bps: 1_000_000_000,
        buffer_bytes: 100_000,
        xoff_bytes: 50_000,
        xon_bytes: 40_000,
        priority: Some(Priority::P3),
    };
    Host::new(vec![(Station(0), strict(gbps(100)))]).with_receive_buffer(0, Some(&plan))
}

/// Have a NIC hold 60 kB of packets: more than 40 kB for the next 160 us.
fn fill(stormy: &mut Stormy) {
    let packet = Packet {
        va: 0,
        dst_qp: 9,
        psn: 0,
        dma_bytes: 0,
        msn: 0,
        syndrome: Syndrome::ACK,
        opcode: Opcode::WriteMiddle,
        pad: 0,
        ack_request: false,
        marked: false,
    };
    for _ in 0..15 {
        let body = Body::Roce(packet);
        stormy.host.handle_frame(0, Box::new(Frame { body, ..frame(1, 0, Priority::P3, 4_000) }), stormy.now);
    }
    stormy.settle();
}

#[test]
fn a_storm_that_pauses_for_a_while_does_not_release_a_full_nic() {
    let mut stormy = Stormy::of(slow(), &plan(10, Some((100_000, 50_000))));
    fill(&mut stormy);
    // Of the two periods the first break falls to the buffer, and the second lets go.
    for (until, paused) in [(75, [true, false]), (125, [true, true]), (155, [true, false]), (170, [false, false])] {
        stormy.run_until(ns(until * 1_000));
        let are_paused = [Priority::P3, Priority::P4].map(|priority| stormy.peer.is_paused(priority, stormy.now));
        assert_eq!(are_paused, paused, "after {until} us");
    }
    assert_eq!(stormy.peer.paused_time(Priority::P3, stormy.now), ns(160_000));
}

#[test]
fn a_nic_with_room_again_does_not_end_a_storm() {
    let mut stormy = Stormy::of(slow(), &plan(XOFF, None));
    fill(&mut stormy);
    stormy.run_until(ns(5 * MS));
    assert_eq!(stormy.peer.paused_time(Priority::P3, stormy.now), ns(5 * MS));
    stormy.end();
    assert!(!stormy.peer.is_paused(Priority::P3, stormy.now));
}

#[test]
fn the_end_of_a_storm_does_not_release_a_full_nic() {
    let mut stormy = Stormy::of(slow(), &plan(XOFF, None));
    stormy.run_until(ns(10_000));
    fill(&mut stormy);
    stormy.end();
    stormy.run_until(ns(11_000));
    assert!(stormy.peer.is_paused(Priority::P3, stormy.now) && !stormy.peer.is_paused(Priority::P4, stormy.now));
    stormy.run_until(ns(MS));
    assert_eq!(stormy.peer.paused_time(Priority::P3, stormy.now), ns(170_000), "until there is room");
}

#[test]
fn faults_are_named() {
    for (faulty, fault) in [
        (StormPlan { priorities: vec![], ..plan(1, None) }, "no priorities"),
        (plan(0, None), "0 quanta"),
        (plan(1, Some((10, 10))), "part of its period"),
        (StormPlan { on_ps: Some(1), ..plan(1, None) }, "part of its period"),
    ] {
        assert!(faulty.fault().is_some_and(|message| message.contains(fault)), "{faulty:?}");
    }
    assert_eq!(plan(1, Some((10, 5))).fault(), None);
}
