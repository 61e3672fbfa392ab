//! RoCEv2 packets of the reliable connected service (IBTA specification volume 1, chapter 9 and annex A17).

mod frame;
mod header;

pub use frame::{build_frame, parse_frame, parse_frame_in_transit, RoceFrame, RocePacket};
pub use header::{
    Aeth, Bth, Extension, Nak, Opcode, Peth, Reth, Syndrome, DEFAULT_PKEY, UNLIMITED_CREDITS, WORD_BYTES,
};
