//! The window after each of the acknowledgements and losses that were reckoned by hand.

use super::super::testing::{ack, line};
use super::*;

/// 12 µs at 100 Gb/s, packets of 4160 bytes with 4096 of payload.
fn flow(window: u64) -> Nscc {
    let config = Config {
        base_rtt: Time::from_ns(12_000),
        target: Time::from_ns(9_000),
        proportional_packets: 4.0,
        fair_packets: 5.0,
        eta_packets: 0.15,
        fast: 0.25,
        gamma: 0.8,
        most_decrease: 0.5,
        delay_weight: 0.0125,
        most_products: 1.5,
        initial_products: 1.5,
    };
    let flow = Nscc::new(config, line(), 4_160, 4_096);
    assert_eq!((flow.window, flow.most), (225_000, 225_000));
    Nscc { window, ..flow }
}

fn at(us: f64) -> Time {
    Time::from_ps((us * 1e6).round() as u64)
}

/// An acknowledgement: when, the round trip in µs, packets, marked.
type Row = (f64, f64, u64, bool);

fn acknowledge(flow: &mut Nscc, (now, rtt, packets, marked): Row) -> (u64, f64) {
    let (now, delay) = (at(now), Some(at(rtt)));
    flow.acknowledged(&Ack { now, delay, packets, marked, in_flight: 54, ..ack(0, 0) });
    (flow.window, flow.average / 1e6)
}

fn lose(flow: &mut Nscc, now: f64) -> (u64, f64) {
    flow.lost(&Loss { now: at(now), packets: 1, in_flight: 54, by_timeout: false });
    (flow.window, flow.average / 1e6)
}

fn near(average: f64, expected: f64) -> bool {
    (average - expected).abs() < 1.1e-6
}

/// The window, what has gathered of an increase, and the average delay in µs.
#[rustfmt::skip]
const RAISED: [(Row, u64, f64, f64); 9] = [
    ((20.0, 14.0, 4, false), 102_204,           0.0, 0.025_000),
    ((21.3, 15.0, 4, false), 102_204, 136_314_880.0, 0.062_187),
    ((22.6, 15.0, 4, false), 102_204, 272_629_760.0, 0.098_909),
    ((24.0, 13.5, 4, false), 106_538,           0.0, 0.116_422),
    ((25.3, 23.0, 4, false), 106_538, 340_787_200.0, 0.152_466),
    ((26.6, 24.0, 4, false), 106_538, 681_574_400.0, 0.188_060),
    ((28.0, 24.0,      1, true),  112_935,           0.0, 0.335_709),
    ((36.0, 16.0,      1, true),  113_549,           0.0, 0.381_512),
    ((37.0, 16.0, 4, false), 113_549, 113_595_733.0, 0.426_743),
];

#[test]
fn it_grows_by_what_lacks_of_the_target_and_by_a_fair_share_above() {
    let mut flow = flow(100_000);
    for (row, window, increase, average) in RAISED {
        let seen = acknowledge(&mut flow, row);
        assert_eq!((seen.0, flow.increase.floor()), (window, increase), "{row:?}");
        assert!(near(seen.1, average), "{row:?}: {}", seen.1);
    }
}

#[test]
fn an_idle_path_is_filled_fast() {
    let mut flow = flow(60_000);
    let windows: Vec<u64> =
        (0..8).map(|round| acknowledge(&mut flow, (20.0 + 2.0 * f64::from(round), 12.4, 4, false)).0).collect();
    assert_eq!(windows, [63_870, 63_870, 63_870, 73_774, 77_934, 82_094, 86_868, 91_028]);
}

#[test]
fn losses_with_little_achieved_cut_to_that_at_once() {
    let mut flow = flow(225_000);
    let mut seen = vec![acknowledge(&mut flow, (20.0, 30.0, 1, true))];
    seen.extend([21.0, 22.0, 30.0].map(|now| lose(&mut flow, now)));
    seen.push(acknowledge(&mut flow, (35.0, 50.0, 1, true)));
    seen.push(lose(&mut flow, 42.0));
    assert_eq!(flow.adapt.end, at(63.0));
    seen.push(acknowledge(&mut flow, (44.0, 50.0, 4, true)));
    seen.push(acknowledge(&mut flow, (60.0, 50.0, 4, true)));
    seen.push(acknowledge(&mut flow, (66.0, 40.0, 1, false)));
    let (windows, averages): (Vec<u64>, Vec<f64>) = seen.into_iter().unzip();
    assert_eq!(windows, [225_000, 220_840, 216_680, 212_520, 213_134, 4_160, 4_160, 4_160, 25_254]);
    let expected = [0.225, 0.372_187, 0.517_534, 0.661_064, 1.127_8, 1.263_702, 1.722_905, 2.176_368, 2.186_663];
    assert!(averages.iter().zip(expected).all(|(average, expected)| near(*average, expected)), "{averages:?}");
}

#[test]
fn a_long_average_delay_cuts_once_a_round_trip() {
    let mut flow = flow(150_000);
    flow.average = 15e6;
    flow.adapt.end = Time::NEVER;
    let seen =
        [20.0, 25.0, 33.0].map(|now| acknowledge(&mut flow, (now, if now > 30.0 { 40.0 } else { 30.0 }, 1, true)));
    assert_eq!(seen.map(|(window, _)| window), [102_434, 102_434, 69_507]);
    assert!(seen
        .iter()
        .zip([15.0375, 15.074_531, 15.236_099])
        .all(|((_, average), expected)| near(*average, expected)));
}

#[test]
fn a_timeout_takes_what_was_lost() {
    let mut flow = flow(10_000);
    flow.lost(&Loss { now: at(1.0), packets: 1, in_flight: 0, by_timeout: true });
    assert_eq!((flow.window, flow.window(0)), (5_840, 1));
    flow.lost(&Loss { now: at(2.0), packets: 1, in_flight: 0, by_timeout: true });
    assert_eq!(flow.window, 4_160);
}
