//! The two drivers of the fabric: they own time and wires, and nothing below them knows which one runs.

mod lateness;
mod probe;
pub mod real;
pub mod runner;
pub mod virtual_clock;
