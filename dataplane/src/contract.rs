//! What is read from JSON and what is written, as JSON Schemas in `contract.schema.json` and `reports.schema.json`: Python's side of
//! the contract is held against those files.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};
use serde_json::Value;

use crate::clock::real::{Attachment, Loss, Participants};
use crate::emulation::inject::{PortMeters, TrainPlan};
use crate::emulation::pauses::PauseRecords;
use crate::emulation::report::Report;
use crate::emulation::span::Statistics;
use crate::emulation::telemetry::Telemetry;
use crate::fabric::impair::Change;
use crate::plan::workload::Workload;
use crate::plan::Plan;
use crate::watch::series::SeriesPlan;

/// All documents; each has a method of `python.rs` that reads it.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "it stands for its schema alone")]
struct Contract {
    plan: Plan,
    workload: Workload,
    change: Change,
    train: TrainPlan,
    attachment: Attachment,
    participants: Participants,
    statistics: Statistics,
    seriesplan: SeriesPlan,
}

/// All documents that are given back; each has a method of `python.rs` that writes it.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "it stands for its schema alone")]
struct Reports {
    report: Report<'static>,
    pauses: PauseRecords,
    telemetry: Telemetry,
    loss: Loss,
    portmeters: PortMeters,
}

/// Leave out the descriptions of keys and types: Python's side does that.
fn bare(schema: Value) -> Value {
    match schema {
        Value::Object(keys) => {
            let is_description = |key: &str, value: &Value| key == "description" && value.is_string();
            Value::Object(
                keys.into_iter()
                    .filter(|(key, value)| !is_description(key, value))
                    .map(|(key, value)| (key, bare(value)))
                    .collect(),
            )
        }
        Value::Array(entries) => Value::Array(entries.into_iter().map(bare).collect()),
        other => other,
    }
}

#[test]
fn the_schema_files_are_current() {
    let settings = SchemaSettings::draft2020_12();
    let read = settings.clone().into_generator().into_root_schema_for::<Contract>();
    let written = settings.for_serialize().into_generator().into_root_schema_for::<Reports>();
    hold(concat!(env!("CARGO_MANIFEST_DIR"), "/contract.schema.json"), read);
    hold(concat!(env!("CARGO_MANIFEST_DIR"), "/reports.schema.json"), written);
}

/// Insist that a file holds a schema; write it there where that is asked for.
fn hold(path: &str, schema: Schema) {
    let schema = bare(serde_json::to_value(schema).unwrap());
    let text = serde_json::to_string_pretty(&schema).unwrap() + "\n";
    if std::env::var_os("UPDATE_CONTRACT").is_some() {
        std::fs::write(path, &text).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert!(written == text, "{path} is not what the types are; UPDATE_CONTRACT=1 writes it anew");
}
