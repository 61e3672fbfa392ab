//! The Python surface, kept thin: JSON in, JSON out, bytes for memory.

use std::path::PathBuf;

use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::build::{Emulation, Progress};
use crate::capture::Capture;
use crate::clock::virtual_clock::advance;
use crate::plan::PlanError;

/// Events between two looks at pending signals.
const SLICE_EVENTS: u64 = 1 << 20;

impl From<PlanError> for PyErr {
    fn from(error: PlanError) -> PyErr {
        PyValueError::new_err(error.to_string())
    }
}

#[pyclass(module = "testbed._dataplane")]
struct VirtualFabric {
    emulation: Emulation,
    started: bool,
}

#[pymethods]
impl VirtualFabric {
    #[new]
    fn new(plan: &str) -> PyResult<VirtualFabric> {
        Ok(VirtualFabric { emulation: Emulation::new(plan)?, started: false })
    }

    fn load(&mut self, workload: &str) -> PyResult<()> {
        self.emulation.load(workload)?;
        self.started = false;
        Ok(())
    }

    fn write_memory(&mut self, rank: usize, offset: u64, data: &[u8]) -> PyResult<()> {
        write_memory(&mut self.emulation, rank, offset, data)
    }

    fn read_memory<'py>(
        &self,
        py: Python<'py>,
        rank: usize,
        offset: u64,
        length: u64,
    ) -> PyResult<Bound<'py, PyBytes>> {
        read_memory(&self.emulation, py, rank, offset, length)
    }

    fn advance(&mut self, py: Python<'_>, budget: u64) -> PyResult<bool> {
        if !std::mem::replace(&mut self.started, true) {
            self.emulation.start();
        }
        let mut left = budget;
        while left > 0 {
            let slice = left.min(SLICE_EVENTS);
            if py.detach(|| advance(&mut self.emulation, slice)) != Progress::Running {
                return Ok(true);
            }
            left -= slice;
            py.check_signals()?;
        }
        Ok(false)
    }

    fn report(&self) -> String {
        self.emulation.report(None).to_string()
    }

    fn capture(&mut self, path: Option<PathBuf>) -> PyResult<()> {
        capture(&mut self.emulation, path)
    }
}

fn write_memory(emulation: &mut Emulation, rank: usize, offset: u64, data: &[u8]) -> PyResult<()> {
    let nic = emulation.nic_mut(rank).ok_or_else(|| PyValueError::new_err(format!("no rank {rank}")))?;
    let place = nic.memory.get_mut(offset, data.len() as u64);
    let outside =
        || PyValueError::new_err(format!("{} bytes at {offset} are outside the memory of rank {rank}", data.len()));
    place.ok_or_else(outside)?.copy_from_slice(data);
    Ok(())
}

fn read_memory<'py>(
    emulation: &Emulation,
    py: Python<'py>,
    rank: usize,
    offset: u64,
    length: u64,
) -> PyResult<Bound<'py, PyBytes>> {
    let nic = emulation.nic(rank).ok_or_else(|| PyValueError::new_err(format!("no rank {rank}")))?;
    let outside = || PyValueError::new_err(format!("{length} bytes at {offset} are outside the memory of rank {rank}"));
    Ok(PyBytes::new(py, nic.memory.get(offset, length).ok_or_else(outside)?))
}

fn capture(emulation: &mut Emulation, path: Option<PathBuf>) -> PyResult<()> {
    let watch = &mut emulation.fabric.watch;
    if let Some(previous) = watch.capture.take() {
        previous.finish().map_err(PyOSError::new_err)?;
    }
    if let Some(path) = path {
        watch.capture = Some(Capture::create(&path, emulation.codec.clone())?);
    }
    Ok(())
}

#[pymodule]
fn _dataplane(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<VirtualFabric>()
}
