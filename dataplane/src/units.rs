//! Time in integer picoseconds and rates in bit/s: no floating point touches a clock.

use std::ops::{Add, AddAssign, Sub};

/// An instant or a span of nominal time, in picoseconds (213 days fit).
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Hash, serde::Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(with = "u64"))]
#[serde(transparent)]
pub struct Time(u64);

impl Time {
    pub const ZERO: Time = Time(0);
    /// Later than every instant: an unarmed timer.
    pub const NEVER: Time = Time(u64::MAX);

    pub const fn from_ps(ps: u64) -> Time {
        Time(ps)
    }

    pub const fn from_ns(ns: u64) -> Time {
        Time(ns.saturating_mul(1_000))
    }

    pub const fn ps(self) -> u64 {
        self.0
    }

    /// Whole nanoseconds, rounded down: for reports only.
    pub const fn ns(self) -> u64 {
        self.0 / 1_000
    }

    /// The span from `earlier` to `self`, zero if `earlier` is later.
    pub const fn since(self, earlier: Time) -> Time {
        Time(self.0.saturating_sub(earlier.0))
    }
}

impl Add for Time {
    type Output = Time;
    fn add(self, span: Time) -> Time {
        Time(self.0.saturating_add(span.0))
    }
}

impl AddAssign for Time {
    fn add_assign(&mut self, span: Time) {
        *self = *self + span;
    }
}

impl Sub for Time {
    type Output = Time;
    fn sub(self, span: Time) -> Time {
        debug_assert!(self.0 >= span.0, "time below zero");
        Time(self.0.saturating_sub(span.0))
    }
}

const PS_PER_S: u64 = 1_000_000_000_000;
/// Bits in one pause quantum (IEEE 802.3 annex 31B).
const QUANTUM_BITS: u64 = 512;

/// A line rate in bit/s, never zero.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Rate {
    bps: u64,
    /// Picoseconds a byte takes, where that is a whole number (every standard rate up to 800G), else 0.
    ps_per_byte: u64,
}

impl Rate {
    /// A rate of `bps` bit/s; `None` for zero.
    pub fn from_bps(bps: u64) -> Option<Rate> {
        if bps == 0 {
            return None;
        }
        let exact = (8 * PS_PER_S).is_multiple_of(bps);
        Some(Rate { bps, ps_per_byte: if exact { 8 * PS_PER_S / bps } else { 0 } })
    }

    pub fn bps(self) -> u64 {
        self.bps
    }

    /// How long `bytes` occupy the wire, rounded up to a picosecond.
    #[inline]
    pub fn serialisation(self, bytes: u64) -> Time {
        if self.ps_per_byte != 0 {
            return Time(bytes * self.ps_per_byte);
        }
        self.bits(bytes * 8)
    }

    /// How long `quanta` pause quanta last at this rate.
    pub fn quanta(self, quanta: u16) -> Time {
        self.bits(u64::from(quanta) * QUANTUM_BITS)
    }

    fn bits(self, bits: u64) -> Time {
        let ps = (u128::from(bits) * u128::from(PS_PER_S)).div_ceil(u128::from(self.bps));
        Time(u64::try_from(ps).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(gbps: u64) -> Rate {
        Rate::from_bps(gbps * 1_000_000_000).unwrap()
    }

    #[test]
    fn serialisation_is_exact_at_standard_rates() {
        for (gbps, ps) in [(10, 800), (25, 320), (100, 80), (400, 20), (800, 10)] {
            assert_eq!(rate(gbps).serialisation(1), Time::from_ps(ps), "{gbps}G");
        }
        assert_eq!(Rate::from_bps(3).unwrap().serialisation(3), Time::from_ps(8_000_000_000_000));
        assert_eq!(Rate::from_bps(7).unwrap().serialisation(1).ps(), (8 * PS_PER_S).div_ceil(7));
        assert!(Rate::from_bps(0).is_none());
    }

    /// 65535 quanta: 335.5 µs at 100G, 83.9 µs at 400G (IEEE 802.3 annex 31B).
    #[test]
    fn longest_pause() {
        assert_eq!(rate(100).quanta(u16::MAX).ns(), 335_539);
        assert_eq!(rate(400).quanta(u16::MAX).ns(), 83_884);
        assert_eq!(rate(400).quanta(1).ps(), 1_280);
    }
}
