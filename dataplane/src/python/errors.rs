//! Errors of the data plane as Python's exceptions.

use pyo3::exceptions::{PyMemoryError, PyOSError, PyValueError};
use pyo3::prelude::*;

use crate::clock::real::RealError;
use crate::clock::runner::RunnerError;
use crate::io::IoError;
use crate::plan::PlanError;

/// Of a message about an input.
const LONGEST_MESSAGE_CHARS: usize = 1_000;

impl From<PlanError> for PyErr {
    fn from(error: PlanError) -> PyErr {
        match error {
            PlanError::NoRoom { .. } => PyMemoryError::new_err(error.to_string()),
            PlanError::Json(_) | PlanError::Invalid(_) => PyValueError::new_err(shortened(error.to_string())),
        }
    }
}

/// What is wrong with an input that may hold anything: enough of it to find it by.
fn shortened(text: String) -> String {
    match text.char_indices().nth(LONGEST_MESSAGE_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

impl From<RealError> for PyErr {
    fn from(error: RealError) -> PyErr {
        match error {
            RealError::Plan(error) => error.into(),
            RealError::Io(error) => os_error(&error),
        }
    }
}

impl From<RunnerError> for PyErr {
    fn from(error: RunnerError) -> PyErr {
        PyOSError::new_err(error.to_string())
    }
}

/// An OSError with errno, so that Python makes the right subclass of it.
pub(super) fn os_error(error: &IoError) -> PyErr {
    match error.errno() {
        Some(errno) => PyOSError::new_err((errno, error.to_string())),
        None => PyOSError::new_err(error.to_string()),
    }
}

/// An OSError with errno, if the system gave one.
pub(super) fn system_error(error: &std::io::Error) -> PyErr {
    match error.raw_os_error() {
        Some(errno) => PyOSError::new_err((errno, error.to_string())),
        None => PyOSError::new_err(error.to_string()),
    }
}
