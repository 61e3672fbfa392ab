//! Transport headers: BTH, RETH, AETH and, for parity, one of this NIC's own; and which of them an opcode asks for.

use crate::wire::sizes::{AETH_BYTES, BTH_BYTES, CNP_RESERVED_BYTES, PETH_BYTES, RETH_BYTES};
use crate::wire::{at_most, split, Field, WireError};

/// Payloads fill whole words; what they lack is pad.
pub const WORD_BYTES: usize = 4;
pub const DEFAULT_PKEY: u16 = 0xffff;
/// The credit count that says "not limited by credits".
pub const UNLIMITED_CREDITS: u8 = 31;

const SOLICITED: u8 = 0x80;
const MIGRATION: u8 = 0x40;
const VERSION: u8 = 0x0f;
const FECN: u8 = 0x80;
const BECN: u8 = 0x40;
const ACK_REQUEST: u8 = 0x80;
const STARTS: u8 = 0x80;

mod field {
    use super::Field;
    pub const OPCODE: Field<0, 1> = Field;
    /// Solicited event 1, migration 1, pad count 2, transport version 4.
    pub const FLAGS: Field<1, 1> = Field;
    pub const PKEY: Field<2, 2> = Field;
    /// FECN 1, BECN 1, reserved 6.
    pub const CONGESTION: Field<4, 1> = Field;
    pub const DEST_QP: Field<5, 3> = Field;
    /// Acknowledgement request 1, reserved 7.
    pub const ACK_REQUEST: Field<8, 1> = Field;
    pub const PSN: Field<9, 3> = Field;

    pub const VA: Field<0, 8> = Field;
    pub const RKEY: Field<8, 4> = Field;
    pub const DMA_BYTES: Field<12, 4> = Field;

    pub const SYNDROME: Field<0, 1> = Field;
    pub const MSN: Field<1, 3> = Field;

    pub const DATA: Field<0, 1> = Field;
    pub const PARITY: Field<1, 1> = Field;
    pub const INDEX: Field<2, 1> = Field;
    /// Starts a message 1, reserved 7.
    pub const BLOCK: Field<3, 1> = Field;
}

/// Name the BTH opcodes that this NIC speaks. The last is in the range that IBTA leaves to manufacturers, 0xC0 to 0xFF.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Opcode {
    SendFirst = 0x00,
    SendMiddle = 0x01,
    SendLast = 0x02,
    SendOnly = 0x04,
    WriteFirst = 0x06,
    WriteMiddle = 0x07,
    WriteLast = 0x08,
    WriteOnly = 0x0a,
    ReadRequest = 0x0c,
    Ack = 0x11,
    Cnp = 0x81,
    Parity = 0xc0,
}

/// Say what follows the BTH of an opcode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extension {
    pub reth: bool,
    pub aeth: bool,
    pub peth: bool,
    pub payload: bool,
    pub reserved_bytes: usize,
}

impl Opcode {
    pub const ALL: [Self; 12] = [
        Self::SendFirst,
        Self::SendMiddle,
        Self::SendLast,
        Self::SendOnly,
        Self::WriteFirst,
        Self::WriteMiddle,
        Self::WriteLast,
        Self::WriteOnly,
        Self::ReadRequest,
        Self::Ack,
        Self::Cnp,
        Self::Parity,
    ];

    /// Say which extension headers follow, and whether payload may.
    #[inline]
    #[rustfmt::skip]
    pub const fn extension(self) -> Extension {
        let (reth, aeth, peth, payload, reserved_bytes) = match self {
            Self::SendFirst | Self::SendMiddle | Self::SendLast | Self::SendOnly => (false, false, false, true, 0),
            Self::WriteMiddle | Self::WriteLast => (false, false, false, true,  0),
            Self::WriteFirst | Self::WriteOnly =>  (true,  false, false, true,  0),
            Self::ReadRequest =>                   (true,  false, false, false, 0),
            Self::Ack =>                           (false, true,  false, false, 0),
            Self::Cnp =>                           (false, false, false, false, CNP_RESERVED_BYTES),
            Self::Parity =>                        (true,  false, true,  true,  0),
        };
        Extension { reth, aeth, peth, payload, reserved_bytes }
    }
}

impl TryFrom<u8> for Opcode {
    type Error = WireError;

    #[inline]
    fn try_from(opcode: u8) -> Result<Self, WireError> {
        Ok(match opcode {
            0x00 => Self::SendFirst,
            0x01 => Self::SendMiddle,
            0x02 => Self::SendLast,
            0x04 => Self::SendOnly,
            0x06 => Self::WriteFirst,
            0x07 => Self::WriteMiddle,
            0x08 => Self::WriteLast,
            0x0a => Self::WriteOnly,
            0x0c => Self::ReadRequest,
            0x11 => Self::Ack,
            0x81 => Self::Cnp,
            0xc0 => Self::Parity,
            _ => return Err(WireError::UnknownOpcode { opcode }),
        })
    }
}

/// Hold a base transport header; the pad count is derived. Reserved bits are written as zero and not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bth {
    pub opcode: Opcode,
    pub solicited: bool,
    pub migration: bool,
    pub pkey: u16,
    pub fecn: bool,
    pub becn: bool,
    /// 24 bits.
    pub dest_qp: u32,
    pub ack_request: bool,
    /// 24 bits.
    pub psn: u32,
}

impl Bth {
    /// Read the header; return it, its pad count (0 to 3) and what follows.
    ///
    /// # Errors
    /// `Truncated`, `BadVersion` if the transport version is not 0, `UnknownOpcode`.
    #[inline]
    pub fn parse(bytes: &[u8]) -> Result<(Self, usize, &[u8]), WireError> {
        let (header, rest) = split::<BTH_BYTES>(bytes, "BTH")?;
        let flags = field::FLAGS.u8(header);
        if flags & VERSION != 0 {
            return Err(WireError::BadVersion { what: "BTH", found: flags & VERSION });
        }
        let congestion = field::CONGESTION.u8(header);
        let bth = Self {
            opcode: Opcode::try_from(field::OPCODE.u8(header))?,
            solicited: flags & SOLICITED != 0,
            migration: flags & MIGRATION != 0,
            pkey: field::PKEY.u16(header),
            fecn: congestion & FECN != 0,
            becn: congestion & BECN != 0,
            dest_qp: field::DEST_QP.u24(header),
            ack_request: field::ACK_REQUEST.u8(header) & ACK_REQUEST != 0,
            psn: field::PSN.u24(header),
        };
        Ok((bth, usize::from(flags >> 4 & 3), rest))
    }

    /// Append the header of a packet with `payload_bytes` of payload, which fix the pad count.
    ///
    /// # Errors
    /// `TooLarge` if the queue pair or the PSN needs more than 24 bits.
    #[inline]
    pub fn emit(&self, payload_bytes: usize, out: &mut Vec<u8>) -> Result<(), WireError> {
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        let flags =
            flag(self.solicited, SOLICITED) | flag(self.migration, MIGRATION) | (pad_bytes(payload_bytes) as u8) << 4;
        let mut header = [0; BTH_BYTES];
        field::OPCODE.set(&mut header, [self.opcode as u8]);
        field::FLAGS.set(&mut header, [flags]);
        field::PKEY.set(&mut header, self.pkey.to_be_bytes());
        field::CONGESTION.set(&mut header, [flag(self.fecn, FECN) | flag(self.becn, BECN)]);
        field::DEST_QP.set_u24(&mut header, "queue pair", self.dest_qp)?;
        field::ACK_REQUEST.set(&mut header, [flag(self.ack_request, ACK_REQUEST)]);
        field::PSN.set_u24(&mut header, "PSN", self.psn)?;
        out.extend_from_slice(&header);
        Ok(())
    }
}

/// Hold an RDMA extended transport header: where in remote memory, by which key, and the length of the whole message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reth {
    pub va: u64,
    pub rkey: u32,
    pub dma_bytes: u32,
}

impl Reth {
    /// Read the header; return it and what follows.
    ///
    /// # Errors
    /// `Truncated` below 16 bytes.
    #[inline]
    pub fn parse(bytes: &[u8]) -> Result<(Self, &[u8]), WireError> {
        let (header, rest) = split::<RETH_BYTES>(bytes, "RETH")?;
        let reth =
            Self { va: field::VA.u64(header), rkey: field::RKEY.u32(header), dma_bytes: field::DMA_BYTES.u32(header) };
        Ok((reth, rest))
    }

    /// Append the header.
    #[inline]
    pub fn emit(&self, out: &mut Vec<u8>) {
        let mut header = [0; RETH_BYTES];
        field::VA.set(&mut header, self.va.to_be_bytes());
        field::RKEY.set(&mut header, self.rkey.to_be_bytes());
        field::DMA_BYTES.set(&mut header, self.dma_bytes.to_be_bytes());
        out.extend_from_slice(&header);
    }
}

/// Name the reasons of a NAK.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Nak {
    PsnSequenceError = 0,
    InvalidRequest = 1,
    RemoteAccess = 2,
    RemoteOperational = 3,
}

/// Hold the syndrome of an AETH: what kind of answer it is, in bits 6 and 5, and that kind's 5-bit value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Syndrome {
    /// `UNLIMITED_CREDITS` or a code of the end-to-end credit table.
    Ack {
        credits: u8,
    },
    /// The receiver is not ready; the timer code says when to try again.
    RnrNak {
        timer: u8,
    },
    Nak(Nak),
}

impl Syndrome {
    pub const ACK: Self = Self::Ack { credits: UNLIMITED_CREDITS };

    fn to_byte(self) -> Result<u8, WireError> {
        let (kind, value) = match self {
            Self::Ack { credits } => (0, credits),
            Self::RnrNak { timer } => (1, timer),
            Self::Nak(reason) => (3, reason as u8),
        };
        at_most("AETH syndrome value", u32::from(value), 31)?;
        Ok(kind << 5 | value)
    }
}

impl TryFrom<u8> for Syndrome {
    type Error = WireError;

    /// Read a syndrome; bit 7 is reserved and not read.
    fn try_from(syndrome: u8) -> Result<Self, WireError> {
        let value = syndrome & 31;
        Ok(match (syndrome >> 5 & 3, value) {
            (0, credits) => Self::Ack { credits },
            (1, timer) => Self::RnrNak { timer },
            (3, 0) => Self::Nak(Nak::PsnSequenceError),
            (3, 1) => Self::Nak(Nak::InvalidRequest),
            (3, 2) => Self::Nak(Nak::RemoteAccess),
            (3, 3) => Self::Nak(Nak::RemoteOperational),
            _ => return Err(WireError::UnknownSyndrome { syndrome }),
        })
    }
}

/// Hold an ACK extended transport header; `msn` counts the messages completed, in 24 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Aeth {
    pub syndrome: Syndrome,
    pub msn: u32,
}

impl Aeth {
    /// Read the header; return it and what follows.
    ///
    /// # Errors
    /// `Truncated` below 4 bytes, `UnknownSyndrome`.
    #[inline]
    pub fn parse(bytes: &[u8]) -> Result<(Self, &[u8]), WireError> {
        let (header, rest) = split::<AETH_BYTES>(bytes, "AETH")?;
        let aeth = Self { syndrome: Syndrome::try_from(field::SYNDROME.u8(header))?, msn: field::MSN.u24(header) };
        Ok((aeth, rest))
    }

    /// Append the header.
    ///
    /// # Errors
    /// `TooLarge` if credits or timer need more than 5 bits, or the MSN more than 24.
    #[inline]
    pub fn emit(&self, out: &mut Vec<u8>) -> Result<(), WireError> {
        let mut header = [0; AETH_BYTES];
        field::SYNDROME.set(&mut header, [self.syndrome.to_byte()?]);
        field::MSN.set_u24(&mut header, "MSN", self.msn)?;
        out.extend_from_slice(&header);
        Ok(())
    }
}

/// Hold a parity extended transport header, of this NIC's own: which block of a message a packet protects, and how.
///
/// The block's first packet has the PSN of the BTH. The RETH tells where the block's bytes go and how many are left of
/// the message from there, so that a packet of the block can be rebuilt with its headers when none of them came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peth {
    /// Packets of data in the block, and of parity behind them.
    pub data: u8,
    pub parity: u8,
    /// Which of the parity packets this is, from 0.
    pub index: u8,
    /// The block is the first of its message.
    pub starts: bool,
}

impl Peth {
    /// Read the header; return it and what follows.
    ///
    /// # Errors
    /// `Truncated` below 4 bytes.
    #[inline]
    pub fn parse(bytes: &[u8]) -> Result<(Self, &[u8]), WireError> {
        let (header, rest) = split::<PETH_BYTES>(bytes, "PETH")?;
        Ok((Self::from_bytes(header), rest))
    }

    /// Append the header.
    #[inline]
    pub fn emit(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_bytes());
    }

    /// Read the four bytes of the header; reserved bits are not read.
    #[inline]
    pub fn from_bytes(header: &[u8; PETH_BYTES]) -> Self {
        Self {
            data: field::DATA.u8(header),
            parity: field::PARITY.u8(header),
            index: field::INDEX.u8(header),
            starts: field::BLOCK.u8(header) & STARTS != 0,
        }
    }

    /// Write the four bytes of the header.
    #[inline]
    pub fn to_bytes(self) -> [u8; PETH_BYTES] {
        let mut header = [0; PETH_BYTES];
        field::DATA.set(&mut header, [self.data]);
        field::PARITY.set(&mut header, [self.parity]);
        field::INDEX.set(&mut header, [self.index]);
        field::BLOCK.set(&mut header, [if self.starts { STARTS } else { 0 }]);
        header
    }
}

/// Count the bytes that bring a payload to a four-byte boundary.
#[inline]
pub(super) fn pad_bytes(payload_bytes: usize) -> usize {
    payload_bytes.wrapping_neg() & 3
}
