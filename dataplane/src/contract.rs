//! What is read from JSON, as a JSON Schema in `contract.schema.json`: Python's side of the contract is held against that file.

use schemars::JsonSchema;
use serde_json::Value;

use crate::clock::real::{Attachment, Party};
use crate::emulation::inject::TrainPlan;
use crate::fabric::impair::Change;
use crate::plan::workload::Workload;
use crate::plan::Plan;
use crate::span::Statistics;

/// All documents; each has a method of `python.rs` that reads it.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "it stands for its schema alone")]
struct Contract {
    plan: Plan,
    workload: Workload,
    change: Change,
    train: TrainPlan,
    attachment: Attachment,
    party: Party,
    statistics: Statistics,
}

/// Leave out what is said of keys and types: Python's side does that.
fn bare(schema: Value) -> Value {
    match schema {
        Value::Object(keys) => {
            let said = |key: &str, value: &Value| key == "description" && value.is_string();
            Value::Object(
                keys.into_iter()
                    .filter(|(key, value)| !said(key, value))
                    .map(|(key, value)| (key, bare(value)))
                    .collect(),
            )
        }
        Value::Array(entries) => Value::Array(entries.into_iter().map(bare).collect()),
        other => other,
    }
}

#[test]
fn the_schema_file_is_current() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/contract.schema.json");
    let schema = bare(serde_json::to_value(schemars::schema_for!(Contract)).unwrap());
    let text = serde_json::to_string_pretty(&schema).unwrap() + "\n";
    if std::env::var_os("UPDATE_CONTRACT").is_some() {
        std::fs::write(path, &text).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert!(written == text, "{path} is not what the types are; UPDATE_CONTRACT=1 writes it anew");
}
