//! The CustomResourceDefinition, generated from the types.

use crate::McpSystem;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::{Map, Value};

/// Fields whose types are Kubernetes' own: their descriptions are documented there, and would be most of
/// the CRD's size.
const CORE_TYPES: [&str; 4] = ["affinity", "tolerations", "topologySpreadConstraints", "conditions"];

/// Marks fields that a running server takes over.
const RELOAD: &str = "x-mcp-reload";

/// The definition as the API server takes it.
pub fn crd() -> CustomResourceDefinition {
    let mut value = serde_json::to_value(McpSystem::crd()).unwrap_or_default();
    tidy(&mut value, false);
    serde_json::from_value(value).unwrap_or_else(|error| unreachable!("the CRD stays a CRD: {error}"))
}

/// The definition as the YAML file `crds/mcpsystems.yaml` holds it.
pub fn crd_yaml() -> String {
    let yaml = serde_yaml::to_string(&crd()).unwrap_or_default();
    format!("# Generated from the Rust types by `mcp-system crd`; do not edit.\n{yaml}")
}

/// Strips what a reader does not need and gives integers the formats that Kubernetes knows.
fn tidy(value: &mut Value, in_core_type: bool) {
    match value {
        Value::Object(object) => {
            if object.get("type").is_some_and(|t| t == "integer") {
                tidy_integer(object);
            }
            if in_core_type && object.get("description").is_some_and(Value::is_string) {
                object.remove("description");
            }
            // For the servers and the operator, not for whoever writes a McpSystem.
            object.remove(RELOAD);
            for (key, child) in object.iter_mut() {
                tidy(child, in_core_type || CORE_TYPES.contains(&key.as_str()));
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| tidy(item, in_core_type)),
        _ => {}
    }
}

fn tidy_integer(schema: &mut Map<String, Value>) {
    let signed = match schema.get("format").and_then(Value::as_str) {
        Some("uint8" | "uint16" | "uint32") => "int32",
        Some("uint64") => "int64",
        _ => return,
    };
    schema.insert("format".to_owned(), signed.into());
    // Written as floats by the schema generator.
    for bound in ["minimum", "maximum"] {
        if let Some(number) = schema.get(bound).and_then(Value::as_f64) {
            #[expect(clippy::cast_possible_truncation, reason = "bounds of 32-bit integers")]
            schema.insert(bound.to_owned(), (number as i64).into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_committed_file_is_what_the_types_give() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/mcpsystems.yaml");
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            committed == crd_yaml(),
            "crds/mcpsystems.yaml is stale: run `just crd` and commit what it writes"
        );
    }

    #[test]
    fn the_chart_brings_the_same_file() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/mcp-system/files/mcpsystems.yaml");
        let chart = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            chart == crd_yaml(),
            "the chart's copy of the CRD is stale: run `just crd` and commit what it writes"
        );
    }

    #[test]
    fn kubectl_apply_can_hold_it() {
        // `kubectl apply` keeps the whole object, as JSON, in an annotation of at most 262,144 bytes.
        let bytes = serde_json::to_vec(&crd()).expect("serializes").len();
        assert!(bytes < 200_000, "the CRD has {bytes} bytes; strip descriptions of embedded types");
    }

    #[test]
    fn what_servers_take_over_is_not_the_apis_business() {
        assert!(!crd_yaml().contains(RELOAD));
    }

    /// Bounds of integers that are not said to have 64 bits, and do not fit into 32: an API server refuses the whole
    /// definition for one of them.
    fn too_wide(schema: &Value, path: &str, found: &mut Vec<String>) {
        match schema {
            Value::Object(object) => {
                let narrow = object.get("type").is_some_and(|kind| kind == "integer")
                    && object.get("format").is_none_or(|format| format != "int64");
                for bound in ["minimum", "maximum"] {
                    let number = object.get(bound).and_then(Value::as_f64).filter(|_| narrow);
                    if number
                        .is_some_and(|number| !(f64::from(i32::MIN)..=f64::from(i32::MAX)).contains(&number))
                    {
                        found.push(format!("{path}.{bound}"));
                    }
                }
                for (name, child) in object {
                    too_wide(child, &format!("{path}.{name}"), found);
                }
            }
            Value::Array(items) => items.iter().for_each(|item| too_wide(item, path, found)),
            _ => {}
        }
    }

    #[test]
    fn bounds_of_integers_fit_into_their_formats() {
        let of = |schema: &Value| {
            let mut found = Vec::new();
            too_wide(schema, "", &mut found);
            found
        };
        let definition = serde_json::to_value(crd()).expect("serializes");
        assert_eq!(of(&definition), Vec::<String>::new(), "give them a smaller bound, or a field of 64 bits");
        let wide = |format: Option<&str>| json!({"size": {"type": "integer", "format": format, "maximum": 1u64 << 31}});
        assert_eq!(of(&wide(None)), [".size.maximum"]);
        assert_eq!(of(&wide(Some("int32"))), [".size.maximum"]);
        assert!(of(&wide(Some("int64"))).is_empty());
    }

    #[test]
    fn no_integer_has_a_format_that_kubernetes_does_not_know() {
        assert!(!crd_yaml().contains("uint"));
    }
}
