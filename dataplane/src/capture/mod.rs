//! Captures: pcapng of every frame that starts on a link, in nominal time and in its order. Each port is an interface with its name.

use std::fs::File;
use std::io::{Error, ErrorKind, Result, Write};
use std::path::Path;
use std::sync::Arc;

use crate::codec::Codec;
use crate::event::Transmission;

/// Blocks, options and values of draft-ietf-opsawg-pcapng.
const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;
const INTERFACE: u32 = 1;
const ENHANCED_PACKET: u32 = 6;
const LINKTYPE_ETHERNET: u16 = 1;
const SNAP_BYTES: u32 = 65_535;
const OPTION_END: u16 = 0;
const OPTION_INTERFACE_NAME: u16 = 2;
const OPTION_RESOLUTION: u16 = 9;
const NANOSECONDS: u8 = 9;
const OPTION_FLAGS: u16 = 2;
const OUTBOUND: u32 = 2;

/// Blocks are written when so many bytes wait.
const BATCH_BYTES: usize = 64 * 1024;

/// A capture file being written. Errors are kept and told at the end: a full disk must not stop the run.
#[derive(Debug)]
pub struct Capture {
    codec: Arc<Codec>,
    /// The interface of the first port of each node.
    first: Vec<u32>,
    file: Blocks,
    frame: Vec<u8>,
    body: Vec<u8>,
    error: Option<Error>,
}

impl Capture {
    /// Begin a file. `ports` has the names of the ports of each node.
    pub fn create(path: &Path, codec: Arc<Codec>, ports: &[Vec<String>]) -> Result<Capture> {
        let mut file = Blocks { file: File::create(path)?, written: 0, waiting: Vec::new(), ends: Vec::new() };
        let mut header = BYTE_ORDER_MAGIC.to_le_bytes().to_vec();
        header.extend([1, 0, 0, 0]); // version 1.0
        header.extend([0xff; 8]); // the section's length is not known yet
        file.push(SECTION_HEADER, &header)?;
        let mut first = Vec::with_capacity(ports.len());
        let mut count = 0;
        for names in ports {
            first.push(count);
            for name in names {
                file.push(INTERFACE, &interface(name))?;
                count += 1;
            }
        }
        file.flush()?;
        Ok(Capture { codec, first, file, frame: Vec::new(), body: Vec::new(), error: None })
    }

    pub fn write(&mut self, seen: &Transmission<'_>) {
        if self.error.is_none() {
            self.error = self.record(seen).err();
        }
    }

    fn record(&mut self, seen: &Transmission<'_>) -> Result<()> {
        let encoded = self.codec.encode(seen.node as usize, seen.port, seen.frame, &mut self.frame);
        encoded.map_err(|error| Error::new(ErrorKind::InvalidData, error.to_string()))?;
        let first = self.first.get(seen.node as usize).copied().unwrap_or(0);
        let at_ns = seen.at.ns();
        let length = self.frame.len() as u32;
        self.body.clear();
        for word in [first + u32::from(seen.port), (at_ns >> 32) as u32, at_ns as u32, length, length] {
            self.body.extend(word.to_le_bytes());
        }
        self.body.extend(&self.frame);
        pad(&mut self.body);
        option(&mut self.body, OPTION_FLAGS, &OUTBOUND.to_le_bytes());
        option(&mut self.body, OPTION_END, &[]);
        self.file.push(ENHANCED_PACKET, &self.body)
    }

    /// Write out what is buffered. Returns the first error of the whole capture, whose file then ends with a whole frame.
    pub fn finish(mut self) -> Result<()> {
        match self.error {
            Some(error) => Err(error),
            None => self.file.flush(),
        }
    }
}

fn interface(name: &str) -> Vec<u8> {
    let mut body = LINKTYPE_ETHERNET.to_le_bytes().to_vec();
    body.extend([0, 0]);
    body.extend(SNAP_BYTES.to_le_bytes());
    option(&mut body, OPTION_INTERFACE_NAME, name.as_bytes());
    option(&mut body, OPTION_RESOLUTION, &[NANOSECONDS]);
    option(&mut body, OPTION_END, &[]);
    body
}

fn option(body: &mut Vec<u8>, code: u16, value: &[u8]) {
    body.extend(code.to_le_bytes());
    body.extend((value.len() as u16).to_le_bytes());
    body.extend(value);
    pad(body);
}

/// Everything begins at a multiple of four bytes.
fn pad(body: &mut Vec<u8>) {
    body.resize(body.len().next_multiple_of(4), 0);
}

/// A file of blocks that never ends within one, however little room the disk has.
#[derive(Debug)]
struct Blocks {
    file: File,
    /// Bytes in the file.
    written: u64,
    waiting: Vec<u8>,
    /// Where the blocks in `waiting` end.
    ends: Vec<usize>,
}

impl Blocks {
    fn push(&mut self, kind: u32, body: &[u8]) -> Result<()> {
        let length = (body.len() as u32 + 12).to_le_bytes();
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

    fn flush(&mut self) -> Result<()> {
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
