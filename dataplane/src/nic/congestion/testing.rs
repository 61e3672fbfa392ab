//! What the tests of all algorithms share.

use super::Ack;
use crate::units::{Rate, Time};

pub fn line() -> Rate {
    Rate::from_bps(100_000_000_000).unwrap()
}

/// An acknowledgement of all before a byte of the stream, with all before another sent.
pub fn ack(acknowledged: u64, next: u64) -> Ack<'static> {
    let now = Time::ZERO;
    Ack { now, acknowledged, next, packets: 0, in_flight: 0, marked: false, delay: None, hops: &[] }
}

pub fn micros(us: u64) -> Time {
    Time::from_ns(us * 1_000)
}

/// A rate in Gb/s to six digits.
pub fn giga(bps: u64) -> String {
    format!("{:.6}", bps as f64 / 1e9)
}
