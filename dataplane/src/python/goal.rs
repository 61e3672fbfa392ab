//! Files of GOAL as Python has them: rank by rank, each op a tuple.

use std::mem::{replace, take};
use std::path::PathBuf;
use std::sync::Arc;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};

use super::system_error;
use crate::emulation::trace::Trace;
use crate::goal::file::{GoalFile, ReadError};
use crate::goal::found::MatchError;
use crate::goal::matching::Matching;
use crate::goal::spool::{Spool, Spooler};
use crate::goal::{Fault, Kind, Nics, Place, Rank, Wait, ANY_SOURCE};

impl From<ReadError> for PyErr {
    fn from(error: ReadError) -> PyErr {
        match error {
            ReadError::Io(error) => system_error(&error),
            ReadError::Fault(Fault { place, message, quoted }) => {
                let (line, byte) = match place {
                    Place::Line(line) => (line, None),
                    Place::Byte(byte) => (0, Some(byte)),
                };
                PyValueError::new_err((line, byte, message, quoted))
            }
        }
    }
}

#[pyclass(module = "testbed._dataplane")]
pub(super) struct GoalReader {
    file: GoalFile,
    ranks: Vec<Rank>,
}

#[pymethods]
impl GoalReader {
    #[new]
    fn new(path: PathBuf, is_binary: bool, most_ops: u64) -> PyResult<GoalReader> {
        Ok(GoalReader { file: GoalFile::open(&path, is_binary, most_ops)?, ranks: Vec::new() })
    }

    fn advance(&mut self, py: Python<'_>, budget: u64) -> PyResult<bool> {
        let GoalReader { file, ranks } = self;
        py.detach(|| {
            let until = file.offset().saturating_add(budget);
            while !file.is_over() && file.offset() < until {
                ranks.extend(file.advance(until - file.offset())?);
            }
            Ok::<_, ReadError>(())
        })?;
        Ok(self.file.is_over())
    }

    fn take_ranks<'py>(&mut self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let ranks = take(&mut self.ranks);
        PyList::new(py, ranks.iter().map(|rank| ops(py, rank)).collect::<PyResult<Vec<_>>>()?)
    }

    fn bytes(&self) -> u64 {
        self.file.bytes()
    }

    fn offset(&self) -> u64 {
        self.file.offset()
    }

    fn nics(&self) -> (u64, u32) {
        let nics = self.file.nics();
        (nics.times, nics.line)
    }
}

impl From<MatchError> for PyErr {
    fn from(error: MatchError) -> PyErr {
        match error {
            MatchError::Io(error) => system_error(&error),
            MatchError::Faults(faults) => {
                let faults = faults.into_iter().map(|fault| (fault.rank, fault.op, fault.message, fault.other));
                PyValueError::new_err((faults.collect::<Vec<_>>(),))
            }
        }
    }
}

/// A trace on its way from a file to a fabric: read, then matched, then replayed.
#[derive(Debug)]
enum Stage {
    Reading { file: Box<GoalFile>, spooler: Box<Spooler> },
    Matching(Box<Matching>, Arc<Spool>),
    Matched(Trace),
    Failed,
}

#[pyclass(module = "testbed._dataplane")]
pub(super) struct GoalTrace {
    stage: Stage,
    bytes: u64,
    offset: u64,
    nics: Nics,
    sends: Vec<(u32, u32, u32)>,
}

impl GoalTrace {
    pub fn trace(&self) -> PyResult<Trace> {
        match &self.stage {
            Stage::Matched(trace) => Ok(trace.clone()),
            _ => Err(PyValueError::new_err("the trace is not matched")),
        }
    }
}

#[pymethods]
impl GoalTrace {
    #[new]
    fn new(path: PathBuf, is_binary: bool, most_ops: u64) -> PyResult<GoalTrace> {
        let file = Box::new(GoalFile::open(&path, is_binary, most_ops)?);
        let spooler = Box::new(Spooler::new().map_err(|error| system_error(&error))?);
        let bytes = file.bytes();
        let stage = Stage::Reading { file, spooler };
        Ok(GoalTrace { stage, bytes, offset: 0, nics: Nics::default(), sends: Vec::new() })
    }

    fn read(&mut self, py: Python<'_>, budget: u64) -> PyResult<bool> {
        let Stage::Reading { file, spooler } = &mut self.stage else { return Ok(true) };
        py.detach(|| {
            let until = file.offset().saturating_add(budget);
            while !file.is_over() && file.offset() < until {
                if let Some(rank) = file.advance(until - file.offset())? {
                    spooler.add(&rank)?;
                }
            }
            Ok::<_, ReadError>(())
        })?;
        (self.offset, self.nics) = (file.offset(), file.nics());
        if !file.is_over() {
            return Ok(false);
        }
        if let Stage::Reading { spooler, .. } = replace(&mut self.stage, Stage::Failed) {
            let spool = Arc::new(spooler.finish().map_err(|error| system_error(&error))?);
            self.stage = Stage::Matching(Box::new(Matching::new(spool.clone(), false)), spool);
        }
        Ok(true)
    }

    fn match_messages(&mut self, py: Python<'_>, budget: u64) -> PyResult<bool> {
        let Stage::Matching(matching, spool) = &mut self.stage else { return Ok(true) };
        if py.detach(|| matching.advance(budget))? {
            return Ok(false);
        }
        self.sends = matching.talks();
        let mut talks: Vec<_> = self.sends.iter().map(|(a, b, channel)| (*a.min(b), *a.max(b), *channel)).collect();
        talks.sort_unstable();
        talks.dedup();
        self.stage = Stage::Matched(Trace { spool: spool.clone(), talks });
        Ok(true)
    }

    fn sends(&self) -> Vec<(u32, u32, u32)> {
        self.sends.clone()
    }

    fn ranks(&self) -> usize {
        self.spool().map_or(0, |spool| spool.ranks().len())
    }

    fn ops(&self) -> u64 {
        self.spool().map_or(0, |spool| spool.ops())
    }

    fn ended(&self) -> u64 {
        match &self.stage {
            Stage::Matching(matching, _) => matching.ended(),
            _ => self.ops(),
        }
    }

    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn offset(&self) -> u64 {
        self.offset
    }

    fn nics(&self) -> (u64, u32) {
        (self.nics.times, self.nics.line)
    }
}

impl GoalTrace {
    fn spool(&self) -> Option<&Spool> {
        match &self.stage {
            Stage::Matching(_, spool) => Some(spool),
            Stage::Matched(trace) => Some(&trace.spool),
            _ => None,
        }
    }
}

/// The ops of a rank, each as the fields of `testbed.replay.form.Op`.
fn ops<'py>(py: Python<'py>, rank: &Rank) -> PyResult<Bound<'py, PyTuple>> {
    let (after, begun) = (grouped(&rank.after, rank.ops.len()), grouped(&rank.begun, rank.ops.len()));
    let kinds = ["send", "recv", "calc"].map(|kind| pyo3::types::PyString::intern(py, kind));
    let ops = rank.ops.iter().enumerate().map(|(position, op)| {
        let kind = &kinds[match op.kind {
            Kind::Send => 0,
            Kind::Recv => 1,
            Kind::Calc => 2,
        }];
        let peer = if op.peer == ANY_SOURCE { -1 } else { i64::from(op.peer) };
        let tag = if op.any_tag { -1 } else { i64::from(op.tag) };
        let lane = if op.kind == Kind::Calc { i64::from(op.cpu) } else { -1 };
        let (after, begun) = (PyTuple::new(py, after.of(position))?, PyTuple::new(py, begun.of(position))?);
        (kind, op.amount, peer, tag, lane, after, begun, op.line).into_pyobject(py)
    });
    PyTuple::new(py, ops.collect::<PyResult<Vec<_>>>()?)
}

/// What each op waits for, one list behind the other.
struct Grouped {
    ends: Vec<usize>,
    required: Vec<u32>,
}

impl Grouped {
    fn of(&self, position: usize) -> &[u32] {
        let begins = if position == 0 { 0 } else { self.ends[position - 1] };
        &self.required[begins..self.ends[position]]
    }
}

fn grouped(waits: &[Wait], ops: usize) -> Grouped {
    let mut ends = vec![0; ops];
    for wait in waits {
        ends[wait.waiter as usize] += 1;
    }
    let mut places = Vec::with_capacity(ops);
    let mut sum = 0;
    for end in &mut ends {
        places.push(sum);
        sum += *end;
        *end = sum;
    }
    let mut required = vec![0; waits.len()];
    for wait in waits {
        let place = &mut places[wait.waiter as usize];
        required[*place] = wait.required;
        *place += 1;
    }
    Grouped { ends, required }
}
