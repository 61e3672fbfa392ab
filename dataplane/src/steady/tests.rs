//! A machine of a few values, observed and taken ahead.

use proptest::prelude::*;

use super::{Head, Period, Reason, Sender, Shifter, Snapshot, Visitor};
use crate::frame::Station;
use crate::units::Time;

const SENDER: Sender = Sender { station: Station(7), qpn: 3 };

/// Sends a packet every `every` ps, `left` of them, has a tick each `phases` packets, and a timer at `alarm`.
#[derive(Clone, PartialEq, Debug)]
struct Machine {
    now: u64,
    every: u64,
    phases: u64,
    next: u64,
    left: u64,
    due: Time,
    ticks: u64,
    psn: u32,
    passing: u64,
    alarm: Time,
}

impl Machine {
    fn new(every: u64, phases: u64, left: u64, passing: u64, alarm: u64) -> Machine {
        let due = Time::from_ps(every);
        Machine { now: 0, every, phases, next: 0, left, due, ticks: 0, psn: 0, passing, alarm: Time::from_ps(alarm) }
    }

    fn step(&mut self) {
        self.now = self.due.ps();
        self.due = Time::from_ps(self.now + self.every);
        self.psn = (self.next & 0xff_ffff) as u32;
        self.next += 1;
        self.left -= 1;
        self.passing -= 1;
        self.ticks += u64::from(self.next.is_multiple_of(self.phases));
    }

    fn visit(&mut self, visitor: &mut impl Visitor) {
        visitor.same(self.next % self.phases);
        visitor.number(SENDER, &mut self.next);
        visitor.psn(SENDER, &mut self.psn);
        visitor.instant(&mut self.due);
        visitor.count(&mut self.ticks);
        visitor.countdown(&mut self.passing);
        visitor.until(self.alarm);
    }

    fn snapshot(&mut self) -> Snapshot {
        let head = Head { sender: SENDER, next: self.next, room: self.left.saturating_sub(1) };
        let mut snapshot = Snapshot::new(Time::from_ps(self.now), vec![head]);
        self.visit(&mut snapshot);
        snapshot
    }

    fn skip(&mut self, period: &Period, periods: u64) {
        let before = self.next;
        let mut shifter = Shifter::new(period, periods, Time::from_ps(self.now));
        self.visit(&mut shifter);
        self.now += shifter.span().ps();
        self.left -= self.next - before;
    }
}

/// Run a machine until its state comes again.
fn settle(machine: &mut Machine) -> Period {
    machine.step();
    let before = machine.snapshot();
    loop {
        machine.step();
        match machine.snapshot().since(&before) {
            Ok(period) => return period,
            Err(reason) => assert_eq!(reason, Reason::Unsettled),
        }
    }
}

proptest! {
    /// Ahead of all that may be skipped lies what comes of as many steps, whatever ends it: the message, a loss or a timer.
    #[test]
    fn ahead_is_where_steps_lead(
        (every, phases) in (1u64..1_000, 1u64..9),
        (left, passing, alarm) in (20u64..20_000_000, 20u64..20_000_000, 20u64..20_000_000),
    ) {
        let mut machine = Machine::new(every, phases, left, passing, alarm * every);
        let period = settle(&mut machine);
        prop_assert_eq!(period.length.ps(), every * phases);
        let mut stepped = machine.clone();
        let periods = period.most.min(200);
        (0..periods * phases).for_each(|_| stepped.step());
        let mut ahead = machine.clone();
        ahead.skip(&period, periods);
        prop_assert_eq!(&ahead, &stepped);
        machine.skip(&period, period.most);
        prop_assert!(machine.left > 0 && machine.now < machine.alarm.ps());
        // One period more would be too many.
        let over = [machine.left <= phases, machine.passing < phases, machine.now + period.length.ps() >= machine.alarm.ps()];
        prop_assert!(over.contains(&true), "{:?} {:?}", machine, over);
    }
}

#[test]
fn what_must_not_change_and_did_names_its_reason() {
    let mut machine = Machine::new(10, 1, 100, 100, 1_000);
    let before = machine.snapshot();
    machine.step();
    machine.alarm = Time::from_ps(2_000);
    assert_eq!(machine.snapshot().since(&before).err(), Some(Reason::Timers));
    let mut snapshot = machine.snapshot();
    snapshot.refuse(Reason::Pauses);
    snapshot.refuse(Reason::Losses);
    assert_eq!((snapshot.refused(), snapshot.since(&before).err()), (Some(Reason::Pauses), Some(Reason::Pauses)));
}

#[test]
fn a_packet_of_nobody_is_in_no_steady_state() {
    let mut snapshot = Snapshot::new(Time::ZERO, Vec::new());
    snapshot.psn(SENDER, &mut 5);
    assert_eq!(snapshot.refused(), Some(Reason::Messages));
}

#[test]
fn what_sends_nothing_has_no_period() {
    let mut machine = Machine::new(10, 1, 100, 100, 1_000);
    let before = machine.snapshot();
    assert_eq!(machine.snapshot().since(&before).err(), Some(Reason::Messages));
}
