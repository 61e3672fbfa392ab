//! Links with credits instead of PFC, on plans that were made for PFC.

use serde_json::{json, Value};

use super::lab::LOSSLESS;

pub const BLOCK_BYTES: u64 = 64;

/// Run every link of a plan by credits: `blocks(link)` each way, told of every `update_blocks`.
pub fn credited(mut plan: Value, blocks: impl Fn(usize) -> u64, update_blocks: u64) -> Value {
    let links = plan["links"].as_array().expect("links").len();
    for link in 0..links {
        let granted = blocks(link);
        let grant = json!([{"priority": LOSSLESS, "block_bytes": BLOCK_BYTES, "blocks": granted, "update_blocks": update_blocks.min(granted)}]);
        for end in ["a", "b"] {
            let place = plan["links"][link][end].clone();
            let node = &mut plan["nodes"][place[0].as_u64().expect("a node") as usize];
            for group in node.get_mut("priority_groups").and_then(Value::as_array_mut).into_iter().flatten() {
                if group["port"] == place[1] {
                    let bytes = granted * BLOCK_BYTES;
                    *group = json!({"port": place[1], "priority": LOSSLESS, "xoff_bytes": bytes, "xon_bytes": bytes, "headroom_bytes": 0});
                }
            }
            if node["kind"] == "switch" {
                node["pfc"] = json!(false);
            }
        }
        plan["links"][link]["flow_control"] = json!("credit");
        plan["links"][link]["credits"] = json!([grant, grant]);
    }
    plan
}
