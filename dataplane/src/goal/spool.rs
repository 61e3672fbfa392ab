//! A trace on disk, in records of one length: what lets a replay read any op, and what waits for it, when it is needed.
//!
//! It is a file without a name that goes with its handle. In memory is what each rank has and where, and no op.

use std::fs::{remove_file, File, OpenOptions};
use std::io::{self, BufWriter, Seek, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Kind, Op, Rank, Wait};

const RECORD_BYTES: usize = 44;
const LINK_BYTES: u64 = 4;
const BLOCK_BYTES: usize = 1 << 12;

/// An op of a spool. `open` are those that it waits for; `enders` and `starters`, how many wait for its end and its start, and the
/// first of them among the links of the rank.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Record {
    pub op: Op,
    pub open: u32,
    pub enders: (u32, u32),
    pub starters: (u32, u32),
}

/// Where a rank is in the spool.
#[derive(Copy, Clone, Default, Debug)]
pub struct Extent {
    pub ops: u32,
    /// Ops that wait for nothing.
    pub roots: u32,
    /// How long all calcs of the rank take one after the other.
    pub calcs_ps: u64,
    records_at: u64,
    links_at: u64,
    roots_at: u64,
}

#[derive(Debug)]
pub struct Spool {
    file: File,
    ranks: Vec<Extent>,
}

impl Spool {
    pub fn ranks(&self) -> &[Extent] {
        &self.ranks
    }

    pub fn ops(&self) -> u64 {
        self.ranks.iter().map(|rank| u64::from(rank.ops)).sum()
    }

    fn extent(&self, rank: u32) -> io::Result<&Extent> {
        self.ranks.get(rank as usize).ok_or_else(|| io::Error::other("no such rank in the trace"))
    }
}

/// Puts ranks into a spool one after the other.
#[derive(Debug)]
pub struct Spooler {
    output: BufWriter<File>,
    at: u64,
    ranks: Vec<Extent>,
}

impl Spooler {
    /// Begin a file in the directory of the system for temporary ones.
    pub fn new() -> io::Result<Spooler> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let name = format!("testbed-trace-{}-{}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        remove_file(&path)?;
        Ok(Spooler { output: BufWriter::with_capacity(1 << 20, file), at: 0, ranks: Vec::new() })
    }

    pub fn add(&mut self, rank: &Rank) -> io::Result<()> {
        let mut open = vec![0_u32; rank.ops.len()];
        for wait in rank.after.iter().chain(&rank.begun) {
            if let Some(open) = open.get_mut(wait.waiter as usize) {
                *open += 1;
            }
        }
        let mut extent = Extent { ops: rank.ops.len() as u32, records_at: self.at, ..Extent::default() };
        let lists = [by_required(&rank.after), by_required(&rank.begun)];
        let mut places = [0_usize; 2];
        for (position, (op, open)) in rank.ops.iter().zip(&open).enumerate() {
            let mut counts = [(0, 0); 2];
            let mut base = 0;
            for ((list, place), count) in lists.iter().zip(&mut places).zip(&mut counts) {
                let own = list.get(*place..).unwrap_or_default();
                let own = own.iter().take_while(|wait| wait.required as usize == position).count();
                *count = (own as u32, (base + *place) as u32);
                *place += own;
                base += list.len();
            }
            let [enders, starters] = counts;
            self.write(&Record { op: *op, open: *open, enders, starters }.bytes())?;
            if op.kind == Kind::Calc {
                extent.calcs_ps = extent.calcs_ps.saturating_add(op.amount);
            }
        }
        extent.links_at = self.at;
        for wait in lists.iter().flatten() {
            self.write(&wait.waiter.to_le_bytes())?;
        }
        extent.roots_at = self.at;
        for (position, _) in (0_u32..).zip(&open).filter(|(_, open)| **open == 0) {
            self.write(&position.to_le_bytes())?;
            extent.roots += 1;
        }
        self.ranks.push(extent);
        Ok(())
    }

    fn write(&mut self, raw: &[u8]) -> io::Result<()> {
        self.at += raw.len() as u64;
        self.output.write_all(raw)
    }

    pub fn finish(mut self) -> io::Result<Spool> {
        self.output.flush()?;
        let mut file = self.output.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.rewind()?;
        Ok(Spool { file, ranks: self.ranks })
    }
}

/// Waits by what they are for, and of one op by who waits.
fn by_required(waits: &[Wait]) -> Vec<Wait> {
    let mut sorted = waits.to_vec();
    sorted.sort_unstable_by_key(|wait| (wait.required, wait.waiter));
    sorted
}

impl Record {
    fn bytes(&self) -> [u8; RECORD_BYTES] {
        let Record { op, open, enders, starters } = *self;
        let mut raw = [0; RECORD_BYTES];
        let words = [op.peer, op.tag, op.line, open, enders.0, enders.1, starters.0, starters.1];
        let kind = match op.kind {
            Kind::Send => 0,
            Kind::Recv => 1,
            Kind::Calc => 2,
        };
        let small = [kind, op.cpu, u8::from(op.any_tag), 0];
        let all = op.amount.to_le_bytes().into_iter().chain(words.into_iter().flat_map(u32::to_le_bytes)).chain(small);
        raw.iter_mut().zip(all).for_each(|(byte, value)| *byte = value);
        raw
    }

    fn parse(raw: &[u8; RECORD_BYTES]) -> Option<Record> {
        let (amount, rest) = raw.split_first_chunk()?;
        let mut words = rest.chunks_exact(4).map(|word| word.try_into().map_or(0, u32::from_le_bytes));
        let mut word = || words.next().unwrap_or_default();
        let (peer, tag, line, open) = (word(), word(), word(), word());
        let (enders, starters) = ((word(), word()), (word(), word()));
        let [kind, cpu, any_tag, _] = word().to_le_bytes();
        let kind = match kind {
            0 => Kind::Send,
            1 => Kind::Recv,
            _ => Kind::Calc,
        };
        let amount = u64::from_le_bytes(*amount);
        let op = Op { amount, peer, tag, line, kind, cpu, any_tag: any_tag != 0 };
        Some(Record { op, open, enders, starters })
    }
}

/// The blocks of a spool that one reader has read last: two that share a place push each other out.
#[derive(Debug)]
pub struct Window {
    blocks: Vec<Option<(u64, Box<[u8]>)>>,
}

impl Window {
    /// Of so many blocks of 4 KiB.
    pub fn new(blocks: usize) -> Window {
        Window { blocks: (0..blocks.max(1)).map(|_| None).collect() }
    }

    pub fn record(&mut self, spool: &Spool, rank: u32, op: u32) -> io::Result<Record> {
        let extent = spool.extent(rank)?;
        let mut raw = [0; RECORD_BYTES];
        self.read(spool, extent.records_at + u64::from(op) * RECORD_BYTES as u64, &mut raw)?;
        Record::parse(&raw).ok_or_else(|| io::Error::other("no such op in the trace"))
    }

    /// The ops that wait, of `enders` or `starters` of a record.
    pub fn links(&mut self, spool: &Spool, rank: u32, (count, first): (u32, u32)) -> io::Result<Vec<u32>> {
        let at = spool.extent(rank)?.links_at + u64::from(first) * LINK_BYTES;
        self.numbers(spool, at, count)
    }

    /// Some of the ops of a rank that wait for nothing.
    pub fn roots(&mut self, spool: &Spool, rank: u32, first: u32, count: u32) -> io::Result<Vec<u32>> {
        let at = spool.extent(rank)?.roots_at + u64::from(first) * LINK_BYTES;
        self.numbers(spool, at, count)
    }

    fn numbers(&mut self, spool: &Spool, at: u64, count: u32) -> io::Result<Vec<u32>> {
        let mut numbers = Vec::with_capacity(count.min(1 << 16) as usize);
        for number in 0..u64::from(count) {
            let mut raw = [0; LINK_BYTES as usize];
            self.read(spool, at + number * LINK_BYTES, &mut raw)?;
            numbers.push(u32::from_le_bytes(raw));
        }
        Ok(numbers)
    }

    fn read(&mut self, spool: &Spool, mut at: u64, mut into: &mut [u8]) -> io::Result<()> {
        let end = || io::Error::other("the trace ends early");
        while !into.is_empty() {
            let (number, offset) = (at / BLOCK_BYTES as u64, (at % BLOCK_BYTES as u64) as usize);
            let block = self.block(spool, number)?;
            let piece = block.get(offset..).filter(|piece| !piece.is_empty()).ok_or_else(end)?;
            let length = piece.len().min(into.len());
            let (filled, rest) = into.split_at_mut(length);
            filled.iter_mut().zip(piece).for_each(|(byte, value)| *byte = *value);
            (into, at) = (rest, at + length as u64);
        }
        Ok(())
    }

    fn block(&mut self, spool: &Spool, number: u64) -> io::Result<&[u8]> {
        let place = (number % self.blocks.len() as u64) as usize;
        let Some(slot) = self.blocks.get_mut(place) else { return Ok(&[]) };
        if slot.as_ref().is_none_or(|(known, _)| *known != number) {
            let mut raw = vec![0; BLOCK_BYTES];
            let mut filled = 0;
            while let Some(rest) = raw.get_mut(filled..).filter(|rest| !rest.is_empty()) {
                match spool.file.read_at(rest, number * BLOCK_BYTES as u64 + filled as u64) {
                    Ok(0) => break,
                    Ok(length) => filled += length,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
            raw.truncate(filled);
            *slot = Some((number, raw.into_boxed_slice()));
        }
        Ok(slot.as_ref().map_or(&[], |(_, raw)| raw))
    }
}
