//! The two drivers of the fabric: they own time and wires, and nothing below them knows which one runs.

pub mod virtual_clock;
