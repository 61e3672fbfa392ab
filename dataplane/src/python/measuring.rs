//! What this machine forwards, measured by bare forwarders.

use std::time::Duration;

use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;

use super::os_error;
use crate::io::{self, ForwardPath, IoError};
use crate::plan::PlanError;
use crate::wire::sizes::{ETHERNET_HEADER_BYTES, LONGEST_FRAME_BYTES};

/// `path` has source, ingress, egress and sink, each a netns and an interface. Blocks for a little more than `seconds`.
#[pyfunction]
pub(super) fn measure_forwarder(py: Python<'_>, path: &str, frame: Vec<u8>, seconds: f64) -> PyResult<String> {
    let path: ForwardPath = serde_json::from_str(path).map_err(PlanError::from)?;
    let duration = load_duration(&frame, seconds)?;
    rates(&py.detach(|| io::measure_forwarder(&path, &frame, duration)))
}

/// `source` and `sink` are each a netns and an interface. Blocks for a little more than `seconds`.
#[pyfunction]
pub(super) fn measure_load(py: Python<'_>, source: &str, sink: &str, frame: Vec<u8>, seconds: f64) -> PyResult<String> {
    let attachment = |text| serde_json::from_str::<io::Attachment>(text).map_err(PlanError::from);
    let (source, sink) = (attachment(source)?, attachment(sink)?);
    let duration = load_duration(&frame, seconds)?;
    rates(&py.detach(|| io::measure_load(&source, &sink, &frame, duration)))
}

fn load_duration(frame: &[u8], seconds: f64) -> PyResult<Duration> {
    if !(ETHERNET_HEADER_BYTES..=LONGEST_FRAME_BYTES).contains(&frame.len()) {
        return Err(PyValueError::new_err(format!("{} bytes are no frame", frame.len())));
    }
    Duration::try_from_secs_f64(seconds).map_err(|error| PyValueError::new_err(format!("{seconds} s: {error}")))
}

fn rates(measured: &Result<io::Rates, IoError>) -> PyResult<String> {
    let rates = measured.as_ref().map_err(os_error)?;
    serde_json::to_string(rates).map_err(|error| PyRuntimeError::new_err(error.to_string()))
}
