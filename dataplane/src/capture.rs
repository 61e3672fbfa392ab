//! Captures: classic pcap with nanosecond stamps of every frame that starts on a link, in nominal time.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use crate::codec::Codec;
use crate::event::Transmission;

/// Magic of a pcap file whose stamps count nanoseconds.
const MAGIC_NANOSECONDS: u32 = 0xa1b2_3c4d;
const LINKTYPE_ETHERNET: u32 = 1;
const SNAP_BYTES: u32 = 65_535;
const NS_PER_S: u64 = 1_000_000_000;

/// A capture file being written. Errors are kept and told at the end: a full disk must not stop the run.
#[derive(Debug)]
pub struct Capture {
    codec: Arc<Codec>,
    file: BufWriter<File>,
    frame: Vec<u8>,
    error: Option<String>,
}

impl Capture {
    pub fn create(path: &Path, codec: Arc<Codec>) -> std::io::Result<Capture> {
        let mut file = BufWriter::new(File::create(path)?);
        file.write_all(&MAGIC_NANOSECONDS.to_le_bytes())?;
        file.write_all(&[2, 0, 4, 0])?;
        file.write_all(&[0; 8])?;
        file.write_all(&SNAP_BYTES.to_le_bytes())?;
        file.write_all(&LINKTYPE_ETHERNET.to_le_bytes())?;
        Ok(Capture { codec, file, frame: Vec::new(), error: None })
    }

    pub fn write(&mut self, seen: &Transmission<'_>) {
        if self.error.is_some() {
            return;
        }
        let encoded = self.codec.encode(seen.node as usize, seen.port, seen.frame, &mut self.frame);
        let result = encoded
            .map_err(|error| error.to_string())
            .and_then(|()| self.record(seen.at.ns()).map_err(|error| error.to_string()));
        self.error = result.err();
    }

    fn record(&mut self, at_ns: u64) -> std::io::Result<()> {
        let length = (self.frame.len() as u32).to_le_bytes();
        self.file.write_all(&((at_ns / NS_PER_S) as u32).to_le_bytes())?;
        self.file.write_all(&((at_ns % NS_PER_S) as u32).to_le_bytes())?;
        self.file.write_all(&length)?;
        self.file.write_all(&length)?;
        self.file.write_all(&self.frame)
    }

    /// Write out what is buffered, and tell the first error of the whole capture.
    pub fn finish(mut self) -> Result<(), String> {
        match self.error {
            Some(error) => Err(error),
            None => self.file.flush().map_err(|error| error.to_string()),
        }
    }
}
