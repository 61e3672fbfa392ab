//! GOAL in its binary form, which txt2bin of LogGOPSim writes: little-endian and packed.
//!
//! A head, where the block of each rank begins and ends, and the blocks. A block has records of ops, and an appendix into which
//! they point for those that wait for them.

use super::{Fault, Kind, Nics, Op, Place, Rank, Wait, ANY_SOURCE, MAX_AMOUNT, MAX_RANKS, PS_PER_NS};

pub const MAGIC: u64 = 4223;
/// What an earlier run in place leaves behind.
pub const USED_UP: u64 = 2342;
/// Where offsets of blocks are counted from.
pub const BASE: u64 = 8;
pub const HEAD_BYTES: usize = 14;
pub const RANGE_BYTES: usize = 16;
const COUNTS_BYTES: usize = 8;
const RECORD_BYTES: usize = 39;

/// The number of ranks by the head of a file, of which fewer bytes are given only if it has no more.
pub fn head(raw: &[u8]) -> Result<u32, Fault> {
    let fault = |at, message: String| Err(Fault::at(Place::Byte(at), message));
    let mut fields = Fields(raw);
    let (Some(magic), Some(ranks), HEAD_BYTES..) = (fields.u64(), fields.u32(), raw.len()) else {
        return fault(0, "the file ends within its head".into());
    };
    match magic {
        MAGIC if (1..=MAX_RANKS).contains(&ranks) => Ok(ranks),
        MAGIC => fault(8, format!("{ranks} ranks; a trace has 1 to {MAX_RANKS}")),
        USED_UP => fault(0, "an earlier run has used up this file in place; convert the text again".into()),
        _ => fault(0, format!("magic number {magic} is not {MAGIC}")),
    }
}

/// Where the block of a rank ends, counted from `BASE`. It is to begin at `expected`, in a file of so many bytes.
pub fn block_end(raw: &[u8], rank: u32, expected: u64, file_bytes: u64) -> Result<u64, Fault> {
    let at = HEAD_BYTES as u64 + u64::from(rank) * RANGE_BYTES as u64;
    let mut fields = Fields(raw);
    let (Some(start), Some(end)) = (fields.u64(), fields.u64()) else {
        return Err(Fault::at(Place::Byte(at), "the file ends within the places of blocks"));
    };
    if start != expected || end < start || end.saturating_add(BASE) > file_bytes {
        let message = format!("the block of rank {rank} is from {start} to {end}, and is to begin at {expected}");
        return Err(Fault::at(Place::Byte(at), message));
    }
    Ok(end)
}

/// The ops in the block of a rank, which begins at byte `at` of a file of so many ranks.
pub fn block(rank: u32, ranks: u32, at: u64, raw: &[u8], nics: &mut Nics) -> Result<Rank, Fault> {
    let fault = |at: u64, message: String| Fault::at(Place::Byte(at), message);
    let mut fields = Fields(raw);
    let (Some(nodes), Some(roots)) = (fields.u32(), fields.u32()) else {
        return Err(fault(at, format!("the block of rank {rank} has {} bytes, fewer than its counts", raw.len())));
    };
    let records = COUNTS_BYTES as u64 + 4 * u64::from(roots);
    let appendix = records + RECORD_BYTES as u64 * u64::from(nodes);
    let unfit = || {
        let size = raw.len();
        fault(at, format!("{nodes} ops, {roots} of them first, do not fit the {size} bytes of rank {rank}"))
    };
    if roots > nodes || appendix > raw.len() as u64 || !(raw.len() as u64 - appendix).is_multiple_of(4) {
        return Err(unfit());
    }
    let mut fields = Fields(raw.get(records as usize..).ok_or_else(unfit)?);
    let links = raw.get(appendix as usize..).ok_or_else(unfit)?;
    let mut block = Block { ranks, nodes, links, used: 0, rank: Rank::default(), waits: vec![0; nodes as usize] };
    let mut open = Vec::with_capacity(nodes as usize);
    for node in 0..nodes {
        let place = at + records + RECORD_BYTES as u64 * u64::from(node);
        let record = fields.record().ok_or_else(unfit)?;
        block.op(place, &record)?;
        if record.nic > 0 {
            nics.add(0);
        }
        block.dependants(place, node, &record)?;
        open.push(record.open);
    }
    for (node, (open, waits)) in open.iter().zip(&block.waits).enumerate() {
        if open != waits {
            let place = at + records + RECORD_BYTES as u64 * node as u64;
            return Err(fault(place, format!("{open} dependencies, and others say {waits}")));
        }
    }
    Ok(block.rank)
}

/// A block as it is read.
struct Block<'a> {
    ranks: u32,
    nodes: u32,
    links: &'a [u8],
    /// Links that records have pointed to.
    used: u64,
    rank: Rank,
    /// By node: for how many others it waits.
    waits: Vec<u32>,
}

impl Block<'_> {
    fn op(&mut self, at: u64, record: &Record) -> Result<(), Fault> {
        let fault = |message: String| Err(Fault::at(Place::Byte(at), message));
        let Record { peer, amount, tag, .. } = *record;
        let op = Op { amount, peer, tag, line: 0, kind: Kind::Calc, cpu: 0, any_tag: false };
        let op = match record.kind {
            3 => match amount.checked_mul(PS_PER_NS).filter(|time| *time <= MAX_AMOUNT) {
                Some(amount) => Op { amount, peer: 0, tag: 0, cpu: record.cpu, ..op },
                None => return fault(format!("the time {amount} ns is longer than {MAX_AMOUNT} ps")),
            },
            1 | 2 if amount > MAX_AMOUNT => return fault(format!("the size {amount} is larger than {MAX_AMOUNT}")),
            1 => Op { kind: Kind::Send, ..op },
            2 => Op { kind: Kind::Recv, any_tag: tag == u32::MAX, ..op },
            kind => return fault(format!("op of kind {kind}; there are 1 send, 2 recv and 3 calc")),
        };
        let is_any = op.kind == Kind::Recv && peer == ANY_SOURCE;
        if op.kind != Kind::Calc && !is_any && peer >= self.ranks {
            return fault(format!("rank {peer} is not one of {}, which count from 0", self.ranks));
        }
        self.rank.ops.push(op);
        Ok(())
    }

    fn dependants(&mut self, at: u64, node: u32, record: &Record) -> Result<(), Fault> {
        let fault = |message: String| Fault::at(Place::Byte(at), message);
        for (list, (number, first)) in [record.enders, record.starters].into_iter().enumerate() {
            if number == 0 {
                continue;
            }
            let (first, number) = (u64::from(first), u64::from(number));
            let bytes = (4 * first) as usize..(4 * (first + number)) as usize;
            let links = self.links.get(bytes).ok_or_else(|| fault("its dependants lie outside the block".into()))?;
            // Each link is one dependency: without this bound the records of a small block could point to billions.
            self.used += number;
            if self.used > self.links.len() as u64 / 4 {
                return Err(fault("its dependants are counted twice in the block".into()));
            }
            for link in links.chunks_exact(4) {
                let waiter = Fields(link).u32().unwrap_or(u32::MAX);
                let Some(waits) = self.waits.get_mut(waiter as usize) else {
                    return Err(fault(format!("op {waiter} depends on it, and the rank has {}", self.nodes)));
                };
                *waits += 1;
                let lists = [&mut self.rank.after, &mut self.rank.begun];
                if let Some(waits) = lists.into_iter().nth(list) {
                    waits.push(Wait { waiter, required: node });
                }
            }
        }
        Ok(())
    }
}

/// The record of an op. `enders` and `starters` are how many ops wait for its end and its start, and the first link to them.
struct Record {
    open: u32,
    kind: u8,
    peer: u32,
    amount: u64,
    tag: u32,
    cpu: u8,
    nic: u8,
    enders: (u32, u32),
    starters: (u32, u32),
}

/// Numbers at the front of bytes.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take::<1>().map(u8::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    fn record(&mut self) -> Option<Record> {
        Some(Record {
            open: self.u32()?,
            kind: self.u8()?,
            peer: self.u32()?,
            amount: self.u64()?,
            tag: self.u32()?,
            cpu: self.u8()?,
            nic: self.u8()?,
            enders: (self.u32()?, self.u32()?),
            starters: (self.u32()?, self.u32()?),
        })
    }
}
