//! What a driver makes a node of, where nodes are containers: read here so that what is misspelt is refused, and not used.

use std::collections::BTreeMap;

use serde::Deserialize;

#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ContainerPlan {
    pub image: String,
    pub cpu_millis: u64,
    pub memory_bytes: u64,
    #[serde(default)]
    pub setup: Option<SetupPlan>,
}

#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct SetupPlan {
    pub binds: Vec<BindPlan>,
    pub env: BTreeMap<String, String>,
    pub exec: Vec<Vec<String>>,
    pub cmd: Option<Vec<String>>,
    pub entrypoint: Option<Vec<String>>,
    pub ports: Vec<PublishedPlan>,
    pub sysctls: BTreeMap<String, String>,
    pub cap_add: Vec<String>,
    pub startup_config: Option<String>,
    pub healthcheck: Option<HealthcheckPlan>,
}

#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct BindPlan {
    pub source: String,
    pub target: String,
    pub read_only: bool,
}

#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct PublishedPlan {
    pub address: String,
    pub port: u16,
    pub target: u16,
}

#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct HealthcheckPlan {
    pub test: Vec<String>,
    pub interval_s: u32,
    pub timeout_s: u32,
    pub start_period_s: u32,
    pub retries: u32,
}
