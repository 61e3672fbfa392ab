//! The Python surface, kept thin: JSON in, JSON out, bytes for memory.

mod errors;
mod goal;
mod measuring;

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use serde::Serialize;

use crate::capture::Capture;
use crate::clock::real::{Attachment, Participants, RealClock, RealError};
use crate::clock::runner::{Runner, RunnerError};
use crate::clock::virtual_clock::{advance, run_until};
use crate::emulation::fast_forward::FastForward;
use crate::emulation::span::Statistics;
use crate::emulation::{Emulation, Progress};
use crate::fabric::Spread;
use crate::plan::PlanError;
use crate::units::Time;
use crate::watch::series::SeriesPlan;
use errors::{os_error, system_error};

/// Events between two looks at pending signals.
const SLICE_EVENTS: u64 = 1 << 20;

#[pyclass(module = "testbed._dataplane")]
struct VirtualFabric {
    emulation: Emulation,
    started: bool,
}

#[pymethods]
impl VirtualFabric {
    #[new]
    #[pyo3(signature = (plan, cores = 1, causes = true))]
    fn new(plan: &str, cores: usize, causes: bool) -> PyResult<VirtualFabric> {
        let mut emulation = Emulation::new(plan)?;
        emulation.fabric.record_pauses(causes);
        emulation.fabric.spread(match cores {
            0 => Spread::where_it_pays(),
            cores => Spread::over(cores),
        });
        Ok(VirtualFabric { emulation, started: false })
    }

    fn load(&mut self, workload: &str) -> PyResult<()> {
        self.emulation.load(workload)?;
        self.started = false;
        Ok(())
    }

    fn load_trace(&mut self, workload: &str, trace: &goal::GoalTrace) -> PyResult<()> {
        self.emulation.load_trace(workload, &trace.trace()?)?;
        self.started = false;
        Ok(())
    }

    fn communication(&self) -> Vec<(u64, u64)> {
        self.emulation.communication()
    }

    fn finished_ops(&self) -> u64 {
        self.emulation.finished_ops()
    }

    fn trace_fault(&self) -> Option<&str> {
        self.emulation.trace_fault()
    }

    fn begin_span(&mut self, statistics: &str) -> PyResult<()> {
        self.emulation.begin_span(Statistics::parse(statistics)?);
        Ok(())
    }

    fn fast_forward(&mut self, tolerance: f64) {
        self.emulation.fabric.spread(Spread::ONE_CORE);
        self.emulation.fast = Some(FastForward::new(tolerance));
    }

    fn record_series(&mut self, plan: &str) -> PyResult<()> {
        self.emulation.record_series(SeriesPlan::parse(plan)?);
        Ok(())
    }

    fn series<'py>(&mut self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &py.detach(|| self.emulation.series()))
    }

    fn impair(&mut self, changes: &str) -> PyResult<()> {
        Ok(self.emulation.impair(changes)?)
    }

    fn cancel_impairments(&mut self) {
        self.emulation.fabric.cancel_changes();
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
        Ok(PyBytes::new(py, memory(&self.emulation, rank, offset, length)?))
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

    fn run_until(&mut self, py: Python<'_>, until_ps: u64, budget: u64) -> PyResult<bool> {
        if !std::mem::replace(&mut self.started, true) {
            self.emulation.start();
        }
        let mut left = budget;
        while left > 0 {
            let slice = left.min(SLICE_EVENTS);
            if py.detach(|| run_until(&mut self.emulation, Time::from_ps(until_ps), slice)) {
                return Ok(true);
            }
            left -= slice;
            py.check_signals()?;
        }
        Ok(false)
    }

    fn inject(&mut self, frames: &str) -> PyResult<()> {
        Ok(self.emulation.inject(frames)?)
    }

    fn withdraw(&mut self, flows: &str) -> PyResult<()> {
        Ok(self.emulation.withdraw(flows)?)
    }

    fn meters(&self) -> PyResult<String> {
        document(&self.emulation.meters())
    }

    fn report(&self) -> String {
        self.emulation.report(None).json().to_string()
    }

    fn turns(&self) -> PyResult<String> {
        document(&self.emulation.fabric.turns())
    }

    fn pauses(&self) -> PyResult<String> {
        document(&self.emulation.pauses())
    }

    fn capture(&mut self, path: Option<PathBuf>) -> PyResult<()> {
        end_capture(begin_capture(&mut self.emulation, path)?)
    }
}

/// Give every value of compact JSON a line.
#[pyfunction]
fn indent_json(compact: &str) -> String {
    crate::indent::indent(compact)
}

fn document(value: &impl Serialize) -> PyResult<String> {
    serde_json::to_string(value).map_err(|error| PyRuntimeError::new_err(error.to_string()))
}

fn write_memory(emulation: &mut Emulation, rank: usize, offset: u64, data: &[u8]) -> PyResult<()> {
    let memory = emulation.memory_mut(rank).ok_or_else(|| PyValueError::new_err(format!("no rank {rank}")))?;
    let place = memory.get_mut(offset, data.len() as u64);
    let outside =
        || PyValueError::new_err(format!("{} bytes at {offset} are outside the memory of rank {rank}", data.len()));
    place.ok_or_else(outside)?.copy_from_slice(data);
    Ok(())
}

fn memory(emulation: &Emulation, rank: usize, offset: u64, length: u64) -> PyResult<&[u8]> {
    let memory = emulation.memory(rank).ok_or_else(|| PyValueError::new_err(format!("no rank {rank}")))?;
    let outside = || PyValueError::new_err(format!("{length} bytes at {offset} are outside the memory of rank {rank}"));
    memory.get(offset, length).ok_or_else(outside)
}

/// Begin a capture, or none, and return the one before.
fn begin_capture(emulation: &mut Emulation, path: Option<PathBuf>) -> PyResult<Option<Capture>> {
    let previous = emulation.fabric.capture(None);
    if let Some(path) = path {
        let created = Capture::create(&path, emulation.codec.clone(), &emulation.names_of_ports());
        let capture = created.map_err(|error| system_error(&error))?;
        emulation.fabric.capture(Some(capture));
    }
    Ok(previous)
}

fn end_capture(previous: Option<Capture>) -> PyResult<()> {
    previous.map_or(Ok(()), Capture::finish).map_err(|error| system_error(&error))
}

/// Wall time between two looks at whether a workload is over.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// Frozen: any thread may call while another waits in `advance`.
#[pyclass(frozen, module = "testbed._dataplane")]
struct RealFabric {
    runner: Runner,
}

#[pymethods]
impl RealFabric {
    #[new]
    fn new(py: Python<'_>, plan: &str, dilation: u64, attachments: &str) -> PyResult<RealFabric> {
        let attachments: Vec<Attachment> = serde_json::from_str(attachments).map_err(PlanError::from)?;
        let emulation = Emulation::new(plan)?;
        let runner = py.detach(|| Runner::start(RealClock::new(emulation, dilation, &attachments)?))?;
        Ok(RealFabric { runner })
    }

    fn quiesce(&self, py: Python<'_>, leaving: &str, budget: u64) -> PyResult<bool> {
        let leaving: Vec<(String, String)> = serde_json::from_str(leaving).map_err(PlanError::from)?;
        py.detach(|| self.runner.call(move |clock| clock.hold(&leaving)))?.map_err(RealError::from)?;
        let still = |clock: &mut RealClock| clock.is_drained();
        wait(py, budget, || self.runner.call(still)?.map_err(|error| RunnerError::Stopped(error.to_string())))
    }

    fn resume(&self, py: Python<'_>) -> PyResult<String> {
        let losses = py.detach(|| self.runner.call(RealClock::resume))?.map_err(RealError::from)?;
        serde_json::to_string(&losses).map_err(|error| PyRuntimeError::new_err(error.to_string()))
    }

    fn replace(&self, py: Python<'_>, plan: &str, attachments: &str) -> PyResult<()> {
        let attachments: Vec<Attachment> = serde_json::from_str(attachments).map_err(PlanError::from)?;
        let emulation = Emulation::new(plan)?;
        py.detach(|| self.runner.call(move |clock| clock.replace(emulation, &attachments)))??;
        Ok(())
    }

    fn load(&self, py: Python<'_>, workload: String) -> PyResult<()> {
        py.detach(|| self.runner.call(move |clock| clock.load(&workload)))??;
        Ok(())
    }

    fn begin_span(&self, py: Python<'_>, statistics: &str) -> PyResult<()> {
        let statistics = Statistics::parse(statistics)?;
        Ok(py.detach(|| self.runner.call(move |clock| clock.begin_span(statistics)))?)
    }

    fn record_series(&self, py: Python<'_>, plan: &str) -> PyResult<()> {
        let plan = SeriesPlan::parse(plan)?;
        Ok(py.detach(|| self.runner.call(move |clock| clock.emulation.record_series(plan)))?)
    }

    fn series<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let bytes = py.detach(|| self.runner.call(RealClock::series))?;
        Ok(PyBytes::new(py, &bytes))
    }

    fn end_span(&self, py: Python<'_>) -> PyResult<()> {
        Ok(py.detach(|| self.runner.call(|clock| clock.emulation.end_span()))?)
    }

    fn impair(&self, py: Python<'_>, changes: String) -> PyResult<()> {
        Ok(py.detach(|| self.runner.call(move |clock| clock.impair(&changes)))??)
    }

    fn cancel_impairments(&self, py: Python<'_>) -> PyResult<()> {
        Ok(py.detach(|| self.runner.call(|clock| clock.emulation.fabric.cancel_changes()))?)
    }

    fn write_memory(&self, py: Python<'_>, rank: usize, offset: u64, data: Vec<u8>) -> PyResult<()> {
        py.detach(|| self.runner.call(move |clock| write_memory(&mut clock.emulation, rank, offset, &data)))?
    }

    fn read_memory<'py>(
        &self,
        py: Python<'py>,
        rank: usize,
        offset: u64,
        length: u64,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let copy = move |clock: &mut RealClock| memory(&clock.emulation, rank, offset, length).map(<[u8]>::to_vec);
        let bytes = py.detach(|| self.runner.call(copy))??;
        Ok(PyBytes::new(py, &bytes))
    }

    fn advance(&self, py: Python<'_>, budget: u64) -> PyResult<bool> {
        py.detach(|| self.runner.call(|clock| clock.start(Time::NEVER)))?;
        wait(py, budget, || Ok(self.runner.call(RealClock::progress)? != Progress::Running))
    }

    fn run_until(&self, py: Python<'_>, until_ps: u64, budget: u64) -> PyResult<bool> {
        let until = Time::from_ps(until_ps);
        py.detach(|| self.runner.call(move |clock| clock.start(until)))?;
        wait(py, budget, || self.runner.call(move |clock| clock.has_come(until)))
    }

    fn inject(&self, py: Python<'_>, frames: String) -> PyResult<()> {
        Ok(py.detach(|| self.runner.call(move |clock| clock.inject(&frames)))??)
    }

    fn withdraw(&self, py: Python<'_>, flows: String) -> PyResult<()> {
        Ok(py.detach(|| self.runner.call(move |clock| clock.emulation.withdraw(&flows)))??)
    }

    fn meters(&self, py: Python<'_>) -> PyResult<String> {
        py.detach(|| self.runner.call(|clock| clock.emulation.meters()).map(|meters| document(&meters)))?
    }

    fn report(&self, py: Python<'_>) -> PyResult<String> {
        Ok(py.detach(|| self.runner.call(|clock| clock.report().to_string()))?)
    }

    fn telemetry(&self, py: Python<'_>) -> PyResult<String> {
        // Written in the caller's thread, while the loop has long gone on.
        py.detach(|| self.runner.call(RealClock::telemetry).map(|copied| document(&copied)))?
    }

    fn pauses(&self, py: Python<'_>) -> PyResult<String> {
        py.detach(|| self.runner.call(|clock| clock.emulation.pauses()).map(|records| document(&records)))?
    }

    fn capture(&self, py: Python<'_>, path: Option<PathBuf>) -> PyResult<()> {
        // Comments are written in the caller's thread, while the loop has long gone on.
        py.detach(|| end_capture(self.runner.call(move |clock| begin_capture(&mut clock.emulation, path))??))
    }

    fn listen(&self, py: Python<'_>, address: &str) -> PyResult<u16> {
        let address: IpAddr = address.parse().map_err(|_| PyValueError::new_err(format!("{address} is no address")))?;
        py.detach(|| self.runner.call(move |clock| clock.listen(address)))?.map_err(|error| os_error(&error))
    }

    fn join(&self, py: Python<'_>, participants: &str) -> PyResult<()> {
        let participants: Participants = serde_json::from_str(participants).map_err(PlanError::from)?;
        py.detach(|| self.runner.call(move |clock| clock.join(participants)))?.map_err(PyValueError::new_err)
    }

    fn leave(&self, py: Python<'_>) -> PyResult<()> {
        Ok(py.detach(|| self.runner.call(RealClock::leave))?)
    }

    /// Stop the loop and close the sockets.
    fn close(&self, py: Python<'_>) {
        py.detach(|| self.runner.stop());
    }
}

/// Look every now and then whether something has come about, for `budget_ms` of wall time at most.
fn wait(py: Python<'_>, budget_ms: u64, come: impl Fn() -> Result<bool, RunnerError> + Sync) -> PyResult<bool> {
    let deadline = Instant::now() + Duration::from_millis(budget_ms);
    loop {
        if py.detach(&come)? {
            return Ok(true);
        }
        if Instant::now() >= deadline {
            return Ok(false);
        }
        py.check_signals()?;
        py.detach(|| std::thread::sleep(LOOK_EVERY));
    }
}

#[pymodule]
fn _dataplane(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<VirtualFabric>()?;
    module.add_class::<RealFabric>()?;
    module.add_class::<goal::GoalReader>()?;
    module.add_class::<goal::GoalTrace>()?;
    module.add_function(wrap_pyfunction!(measuring::measure_forwarder, module)?)?;
    module.add_function(wrap_pyfunction!(indent_json, module)?)?;
    module.add_function(wrap_pyfunction!(measuring::measure_load, module)?)
}
