//! MAC control frames: PFC (IEEE 802.3 annex 31D, 802.1Q clause 36) and global PAUSE (802.3 annex 31B).

use super::ethernet::{Ethernet, Mac, ETHERTYPE_MAC_CONTROL, MIN_FRAME_BYTES};
use super::sizes::ETHERNET_HEADER_BYTES;
use super::{split, Field, WireError};
use crate::priority::{PrioritySet, PRIORITIES};

/// The group address of MAC control frames; no bridge forwards it.
pub const PFC_DST: Mac = [0x01, 0x80, 0xc2, 0x00, 0x00, 0x01];
pub const OPCODE_PAUSE: u16 = 0x0001;
pub const OPCODE_PFC: u16 = 0x0101;

const OPCODE_BYTES: usize = 2;
const PFC_BYTES: usize = 18;

mod field {
    use super::{Field, ETHERNET_HEADER_BYTES};

    /// Within a frame.
    pub const ETHERNET: Field<0, { ETHERNET_HEADER_BYTES }> = Field;
    pub const FRAME_OPCODE: Field<14, 2> = Field;
    pub const FRAME_PARAMETERS: Field<16, 18> = Field;

    /// Within the parameters, which follow the opcode. Offset 0, the upper byte of the enable vector, is reserved.
    pub const PAUSE_QUANTA: Field<0, 2> = Field;
    pub const CLASS_ENABLE: Field<1, 1> = Field;
    pub const QUANTA: Field<2, 16> = Field;
}

/// Hold a PFC frame's request: which priorities it speaks of, and for how long each is paused.
///
/// Where `class_enable` has a priority, its entry of `quanta` counts; there, 0 means XON. A quantum is 512 bit times of the port's
/// rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pfc {
    pub class_enable: PrioritySet,
    pub quanta: [u16; PRIORITIES],
}

/// Tell MAC control frames apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MacControl {
    Pfc(Pfc),
    /// 802.3x PAUSE, which stops a whole port; without effect on a port that runs PFC.
    GlobalPause {
        quanta: u16,
    },
    /// Another opcode, or PFC sent to another address than `PFC_DST`. To be dropped: MAC control frames never cross a
    /// bridge.
    Other {
        opcode: u16,
    },
}

impl Pfc {
    /// Build the whole frame, padded to the minimum length, without FCS.
    pub fn build(&self, src: Mac) -> [u8; MIN_FRAME_BYTES] {
        let ethernet = Ethernet { dst: PFC_DST, src, ethertype: ETHERTYPE_MAC_CONTROL };
        let mut quanta = [0; 16];
        let (slots, _) = quanta.as_chunks_mut::<2>();
        for (slot, time) in slots.iter_mut().zip(self.quanta) {
            *slot = time.to_be_bytes();
        }
        let mut parameters = [0; PFC_BYTES];
        field::CLASS_ENABLE.set(&mut parameters, [self.class_enable.bits()]);
        field::QUANTA.set(&mut parameters, quanta);
        let mut frame = [0; MIN_FRAME_BYTES];
        field::ETHERNET.set(&mut frame, ethernet.to_bytes());
        field::FRAME_OPCODE.set(&mut frame, OPCODE_PFC.to_be_bytes());
        field::FRAME_PARAMETERS.set(&mut frame, parameters);
        frame
    }

    fn from_parameters(parameters: &[u8; PFC_BYTES]) -> Self {
        let bytes = field::QUANTA.get(parameters);
        let (slots, _) = bytes.as_chunks::<2>();
        let mut quanta = [0; 8];
        for (time, slot) in quanta.iter_mut().zip(slots) {
            *time = u16::from_be_bytes(*slot);
        }
        Self { class_enable: PrioritySet::from_bits(field::CLASS_ENABLE.u8(parameters)), quanta }
    }
}

/// Read a whole frame; `None` if it is not a MAC control frame.
///
/// Frames without padding are accepted. Any source address is, a zero one too.
///
/// # Errors
/// `Truncated` if the Ethernet header, the opcode or the opcode's parameters are cut short.
#[inline]
pub fn parse(frame: &[u8]) -> Result<Option<MacControl>, WireError> {
    let (ethernet, rest) = Ethernet::parse(frame)?;
    if ethernet.ethertype != ETHERTYPE_MAC_CONTROL {
        return Ok(None);
    }
    let (opcode, parameters) = split::<OPCODE_BYTES>(rest, "MAC control opcode")?;
    let control = match u16::from_be_bytes(*opcode) {
        OPCODE_PFC if ethernet.dst == PFC_DST => {
            let (parameters, _) = split(parameters, "PFC parameters")?;
            MacControl::Pfc(Pfc::from_parameters(parameters))
        }
        OPCODE_PAUSE => {
            let (parameters, _) = split::<2>(parameters, "PAUSE parameters")?;
            MacControl::GlobalPause { quanta: field::PAUSE_QUANTA.u16(parameters) }
        }
        opcode => MacControl::Other { opcode },
    };
    Ok(Some(control))
}
