//! What the tests of the fabric share: frames in a word, a switch on a bench, two NICs on a wire, labs as plans.

// Every test file is a crate of its own and uses its own part of this.
#![allow(dead_code)]

pub mod bench;
pub mod clocked;
pub mod credits;
pub mod frames;
pub mod goldens;
pub mod lab;
pub mod pair;
pub mod span;
#[cfg(feature = "live")]
pub mod veth;
#[cfg(feature = "live")]
pub mod veth_lab;

use proptest::test_runner::{Config, RngSeed};

/// So many cases, the same on every machine, every time.
pub fn cases(cases: u32) -> Config {
    Config { cases, rng_seed: RngSeed::Fixed(1), failure_persistence: None, ..Config::default() }
}
