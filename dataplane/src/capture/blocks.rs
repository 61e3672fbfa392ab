//! Blocks of pcapng (draft-ietf-opsawg-pcapng) and a file of them.

use std::fs::File;
use std::io::{ErrorKind, Result, Write};

pub const SECTION_HEADER: u32 = 0x0a0d_0d0a;
pub const ENHANCED_PACKET: u32 = 6;
pub const OPTION_END: u16 = 0;
pub const OPTION_COMMENT: u16 = 1;

/// What is around the body of a block: its kind, and its length twice.
pub const AROUND_BYTES: u32 = 12;

/// Blocks are written when so many bytes wait.
const BATCH_BYTES: usize = 64 * 1024;

/// Add an option to the body of a block.
pub fn option(body: &mut Vec<u8>, code: u16, value: &[u8]) {
    body.extend(code.to_le_bytes());
    body.extend((value.len() as u16).to_le_bytes());
    body.extend(value);
    pad(body);
}

/// Everything begins at a multiple of four bytes.
pub fn pad(body: &mut Vec<u8>) {
    body.resize(body.len().next_multiple_of(4), 0);
}

/// A file of blocks that never ends within one, however little room the disk has.
#[derive(Debug)]
pub struct Blocks {
    file: File,
    /// Bytes in the file.
    written: u64,
    waiting: Vec<u8>,
    /// Where the blocks in `waiting` end.
    ends: Vec<usize>,
}

impl Blocks {
    pub fn new(file: File) -> Blocks {
        Blocks { file, written: 0, waiting: Vec::new(), ends: Vec::new() }
    }

    /// Add a block.
    pub fn push(&mut self, kind: u32, body: &[u8]) -> Result<()> {
        let length = (body.len() as u32 + AROUND_BYTES).to_le_bytes();
        self.waiting.extend(kind.to_le_bytes());
        self.waiting.extend(length);
        self.waiting.extend(body);
        self.waiting.extend(length);
        self.ends.push(self.waiting.len());
        if self.waiting.len() < BATCH_BYTES {
            return Ok(());
        }
        self.flush()
    }

    /// Write out what waits.
    pub fn flush(&mut self) -> Result<()> {
        let mut done = 0;
        let outcome = loop {
            match self.file.write(&self.waiting[done..]) {
                Ok(_) if done == self.waiting.len() => break Ok(()),
                Ok(0) => break Err(ErrorKind::WriteZero.into()),
                Ok(count) => done += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
        };
        let whole = self.ends.iter().copied().filter(|&end| end <= done).max().unwrap_or(0);
        self.written += whole as u64;
        if outcome.is_err() {
            // Whoever reads the file wants frames; what cannot be cut off stays.
            let _ = self.file.set_len(self.written);
        }
        self.waiting.clear();
        self.ends.clear();
        outcome
    }
}
