//! Captures: pcapng of every frame that starts on a link, in nominal time and in its order. Each port is an interface with its name.
//!
//! What becomes of a frame is often known when its block has long been written. So the stories of frames are kept (`tracker`), and
//! go into the file as comments when it is finished (`comments`).

mod blocks;
mod comments;
pub mod story;
pub mod tracker;

use std::fs::File;
use std::io::{Error, ErrorKind, Result};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::codec::Codec;
use crate::event::Transmission;

use blocks::{option, pad, Blocks, ENHANCED_PACKET, OPTION_END, SECTION_HEADER};
use story::Told;
use tracker::Tracker;

/// Blocks, options and values of draft-ietf-opsawg-pcapng.
const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;
const INTERFACE: u32 = 1;
const LINKTYPE_ETHERNET: u16 = 1;
const SNAP_BYTES: u32 = 65_535;
const OPTION_INTERFACE_NAME: u16 = 2;
const OPTION_RESOLUTION: u16 = 9;
const NANOSECONDS: u8 = 9;
const OPTION_FLAGS: u16 = 2;
const OUTBOUND: u32 = 2;

/// A capture file being written. Errors are kept and told at the end: a full disk must not stop the run.
#[derive(Debug)]
pub struct Capture {
    codec: Arc<Codec>,
    path: PathBuf,
    /// The names of the ports of each node.
    names: Vec<Vec<String>>,
    /// The interface of the first port of each node.
    first: Vec<u32>,
    file: Blocks,
    frame: Vec<u8>,
    body: Vec<u8>,
    error: Option<Error>,
    /// Follows frames; the fabric tells it what becomes of them.
    pub tracker: Tracker,
}

impl Capture {
    /// Begin a file. `ports` has the names of the ports of each node.
    pub fn create(path: &Path, codec: Arc<Codec>, ports: &[Vec<String>]) -> Result<Capture> {
        let mut file = Blocks::new(File::create(path)?);
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
        Ok(Capture {
            codec,
            path: path.to_path_buf(),
            names: ports.to_vec(),
            first,
            file,
            frame: Vec::new(),
            body: Vec::new(),
            error: None,
            tracker: Tracker::default(),
        })
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

    /// Write out what is buffered, and the comments. Returns the first error of the whole capture, whose file then ends with a whole
    /// frame.
    pub fn finish(mut self) -> Result<()> {
        if let Some(error) = self.error {
            return Err(error);
        }
        self.file.flush()?;
        let Told { stories, omitted } = self.tracker.finish();
        comments::insert(&self.path, &self.names, stories, omitted)
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
