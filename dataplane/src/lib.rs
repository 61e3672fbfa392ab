//! The fabric of the lossless testbed: switches, NICs and links as pure state machines, and the two clocks that drive them.

pub mod build;
pub mod capture;
pub mod clock;
pub mod codec;
#[cfg(test)]
mod contract;
pub mod credit;
pub mod deadlock;
pub mod event;
pub mod fabric;
mod figures;
pub mod frame;
pub mod impair;
pub mod io;
pub mod link;
pub mod loss;
pub mod nic;
pub mod pause;
pub mod plan;
pub mod port;
#[cfg(feature = "extension-module")]
mod python;
mod recovery;
pub mod report;
pub mod span;
mod storms;
pub mod switch;
pub mod telemetry;
pub mod timers;
pub mod units;
pub mod watch;
pub mod wire;
