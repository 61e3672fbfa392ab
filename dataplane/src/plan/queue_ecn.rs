//! Marking in single egress queues.

use serde::Deserialize;

use crate::priority::Priority;
use crate::switch::ecn::EcnConfig;

/// Marking in the queue of one priority at one port.
#[derive(Copy, Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct QueueEcnPlan {
    pub port: u16,
    pub priority: Priority,
    pub kmin_bytes: u64,
    pub kmax_bytes: u64,
    pub pmax: f64,
}

impl QueueEcnPlan {
    pub fn config(&self) -> EcnConfig {
        EcnConfig { kmin_bytes: self.kmin_bytes, kmax_bytes: self.kmax_bytes, pmax: self.pmax }
    }
}
