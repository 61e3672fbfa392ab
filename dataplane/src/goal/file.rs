//! Files of GOAL, read a piece at a time: what has been read of a rank is held until it is whole and taken.

use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::path::Path;

use super::binary::{self, BASE, HEAD_BYTES, RANGE_BYTES};
use super::text::Text;
use super::{Fault, Nics, Place, Rank};

pub const MAX_LINE_BYTES: usize = 1 << 16;
/// Of one rank in binary: some 27 million ops.
pub const MAX_BLOCK_BYTES: u64 = 1 << 30;
const BUFFER_BYTES: usize = 1 << 18;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("{}", .0.message)]
    Fault(Fault),
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl From<Fault> for ReadError {
    fn from(fault: Fault) -> ReadError {
        ReadError::Fault(fault)
    }
}

#[derive(Debug)]
enum Form {
    Text { text: Text, line: u64, longer: Vec<u8> },
    Binary { ranks: u32, rank: u32, places: Vec<u8>, end: u64, ops: u64, nics: Nics },
}

/// A file of GOAL.
#[derive(Debug)]
pub struct GoalFile {
    input: BufReader<File>,
    form: Form,
    most_ops: u64,
    bytes: u64,
    offset: u64,
    is_over: bool,
}

impl GoalFile {
    /// `most_ops`: of all ranks together; a file that has more is refused.
    pub fn open(path: &Path, is_binary: bool, most_ops: u64) -> Result<GoalFile, ReadError> {
        let file = File::open(path)?;
        let bytes = file.metadata()?.len();
        let mut input = BufReader::with_capacity(BUFFER_BYTES, file);
        let form = match is_binary {
            true => Form::binary(&mut input)?,
            false => Form::Text { text: Text::new(most_ops), line: 0, longer: Vec::new() },
        };
        Ok(GoalFile { input, form, most_ops, bytes, offset: 0, is_over: false })
    }

    /// The length of the file when it was opened.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How much of it has been read.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    pub fn is_over(&self) -> bool {
        self.is_over
    }

    pub fn nics(&self) -> Nics {
        match &self.form {
            Form::Text { text, .. } => text.nics(),
            Form::Binary { nics, .. } => *nics,
        }
    }

    /// Read up to the end of a rank, and about `budget` bytes at most: the rank if it is whole.
    pub fn advance(&mut self, budget: u64) -> Result<Option<Rank>, ReadError> {
        let until = self.offset.saturating_add(budget);
        while !self.is_over && self.offset < until {
            let is_text = matches!(self.form, Form::Text { .. });
            let rank = if is_text { self.next_line()? } else { self.next_block()? };
            if rank.is_some() {
                return Ok(rank);
            }
        }
        Ok(None)
    }

    fn next_line(&mut self) -> Result<Option<Rank>, ReadError> {
        let Form::Text { text, line, longer } = &mut self.form else { return Ok(None) };
        longer.clear();
        loop {
            let buffer = match self.input.fill_buf() {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                buffer => buffer?,
            };
            if buffer.is_empty() && longer.is_empty() {
                self.is_over = true;
                return Ok(text.finish(*line)?);
            }
            let newline = buffer.iter().position(|byte| *byte == b'\n');
            let length = newline.map_or(buffer.len(), |at| at + 1);
            let is_whole = newline.is_some() || buffer.is_empty();
            if longer.len() + length > MAX_LINE_BYTES {
                let message = format!("longer than {MAX_LINE_BYTES} bytes");
                return Err(Fault::at(Place::Line(*line + 1), message).into());
            }
            let piece = buffer.get(..length).unwrap_or(buffer);
            if !is_whole || !longer.is_empty() {
                longer.extend_from_slice(piece);
            }
            if is_whole {
                *line += 1;
                let mut whole = if longer.is_empty() { piece } else { longer.as_slice() };
                if *line == 1 {
                    whole = whole.strip_prefix(BYTE_ORDER_MARK).unwrap_or(whole);
                }
                let rank = text.line(*line, whole)?;
                self.input.consume(length);
                self.offset += length as u64;
                return Ok(rank);
            }
            self.input.consume(length);
            self.offset += length as u64;
        }
    }

    fn next_block(&mut self) -> Result<Option<Rank>, ReadError> {
        let Form::Binary { ranks, rank, places, end, ops, nics } = &mut self.form else { return Ok(None) };
        if *rank == *ranks {
            self.is_over = true;
            let last = BASE + *end;
            if last != self.bytes {
                return Err(Fault::at(Place::Byte(last), "something follows the last block").into());
            }
            return Ok(None);
        }
        let place = HEAD_BYTES as u64 + u64::from(*rank) * RANGE_BYTES as u64;
        let range = places.get(*rank as usize * RANGE_BYTES..).unwrap_or_default();
        let begins = *end;
        let ends = binary::block_end(range, *rank, begins, self.bytes)?;
        let length = ends - begins;
        if length > MAX_BLOCK_BYTES {
            let message = format!("the block of rank {rank} has {length} bytes; one has at most {MAX_BLOCK_BYTES}");
            return Err(Fault::at(Place::Byte(place), message).into());
        }
        let raw = read_up_to(&mut self.input, length)?;
        let read = binary::block(*rank, *ranks, BASE + begins, &raw, nics)?;
        *ops += read.ops.len() as u64;
        if *ops > self.most_ops {
            let message = format!("more than {} ops; replay a part of the trace", self.most_ops);
            return Err(Fault::at(Place::Byte(place), message).into());
        }
        (*rank, *end) = (*rank + 1, ends);
        self.offset = BASE + ends;
        Ok(Some(read))
    }
}

impl Form {
    fn binary(input: &mut BufReader<File>) -> Result<Form, ReadError> {
        let ranks = binary::head(&read_up_to(input, HEAD_BYTES as u64)?)?;
        let length = u64::from(ranks) * RANGE_BYTES as u64;
        let (places, end) = (read_up_to(input, length)?, HEAD_BYTES as u64 - BASE + length);
        Ok(Form::Binary { ranks, rank: 0, places, end, ops: 0, nics: Nics::default() })
    }
}

/// So many bytes, or fewer where the file ends.
fn read_up_to(input: &mut impl Read, length: u64) -> io::Result<Vec<u8>> {
    let mut raw = Vec::new();
    input.take(length).read_to_end(&mut raw)?;
    Ok(raw)
}
