//! The fabric of the lossless testbed: switches, NICs and links as pure state machines, and the two clocks that drive them.

// What cannot fail by construction says why, in the reason of an `expect` attribute.
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::unreachable))]

pub mod capture;
pub mod clock;
pub mod codec;
#[cfg(test)]
mod contract;
pub mod credit;
pub mod credit_waits;
pub mod deadlock;
pub mod emulation;
pub mod event;
pub mod fabric;
pub mod frame;
pub mod goal;
pub mod indent;
pub mod io;
pub mod link;
pub mod nic;
pub mod pause;
pub mod plan;
pub mod port;
pub mod priority;
#[cfg(feature = "extension-module")]
mod python;
pub mod steady;
pub mod switch;
pub mod timers;
pub mod units;
pub mod watch;
pub mod wire;
