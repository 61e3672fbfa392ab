//! The fabric of the lossless testbed: switches, NICs and links as pure state machines, and the two clocks that drive them.

pub mod io;
pub mod wire;
