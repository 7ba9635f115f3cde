//! What the chart can be told: values.yaml, its schema and the README say the same.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::file;

fn schema() -> Value {
    serde_json::from_str(&file("charts/mcp-system/values.schema.json")).expect("the schema is JSON")
}

fn values() -> Value {
    serde_yaml::from_str(&file("charts/mcp-system/values.yaml")).expect("values.yaml is YAML")
}

/// Pointers to all values that the schema names. What it leaves open, such as the resources, is one value.
fn named(schema: &Value, path: &str, found: &mut BTreeSet<String>) {
    let Some(properties) = schema["properties"].as_object() else {
        found.insert(path.to_owned());
        return;
    };
    assert_eq!(schema["additionalProperties"], false, "a typo in {path} would be taken for a value");
    for (name, property) in properties {
        named(property, &format!("{path}/{name}"), found);
    }
}

/// Each value, as one writes it after `--set`, and its default.
fn defaults() -> BTreeMap<String, Value> {
    let mut pointers = BTreeSet::new();
    named(&schema(), "", &mut pointers);
    // Helm gives it to the charts below another one, wanted or not.
    pointers.remove("/global");
    let values = values();
    let default = |pointer: String| {
        let default = values.pointer(&pointer).unwrap_or_else(|| panic!("values.yaml lacks {pointer}"));
        (pointer.trim_start_matches('/').replace('/', "."), default.clone())
    };
    pointers.into_iter().map(default).collect()
}

#[test]
fn the_schema_names_what_stands_in_the_values_and_nothing_else() {
    // It refuses what it does not name.
    jsonschema::validate(&schema(), &values()).expect("the defaults fit the schema");
    assert!(defaults().len() > 40, "only {} values were found", defaults().len());
}

#[test]
fn what_is_no_value_is_refused() {
    let schema = schema();
    for good in [
        json!({"replicas": 0}),
        json!({"podSecurityContext": {"runAsUser": 1000}, "commonLabels": {"team": "red"}}),
        json!({"extraEnv": [{"name": "A", "value": "b"}], "extraArgs": ["--probe-interval=30"]}),
    ] {
        assert!(jsonschema::is_valid(&schema, &good), "{good} is refused");
    }
    for bad in [
        json!({"replica": 2}),
        json!({"serviceAccount": {"nmae": "mine"}}),
        json!({"metrics": {"serviceMonitor": {"timeout": "5s"}}}),
        json!({"image": {"pullPolicy": "Sometimes"}}),
        json!({"commonLabels": {"team": 1}}),
        json!({"extraArgs": [30]}),
        json!({"extraEnv": [{"value": "b"}]}),
        json!({"podSecurityContext": 65532}),
    ] {
        assert!(!jsonschema::is_valid(&schema, &bad), "{bad} is accepted");
    }
}

#[test]
fn the_readme_tells_each_value_with_its_default_and_no_other() {
    let readme = file("charts/mcp-system/README.md");
    let (_, section) = readme.split_once("\n## Values\n").expect("it has a section of values");
    let mut told = BTreeMap::new();
    for line in section.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [_, name, default, _, _] = cells[..] else { panic!("this is no row of three cells: {line}") };
        let default: Value = serde_yaml::from_str(default.trim_matches('`'))
            .unwrap_or_else(|error| panic!("the default of {name} is no YAML: {error}"));
        let before = told.insert(name.trim_matches('`').to_owned(), default);
        assert!(before.is_none(), "{name} is told twice");
    }
    assert_eq!(told, defaults());
}
