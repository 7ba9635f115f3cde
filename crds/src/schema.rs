//! Checks of a document against the generated schema, as kubectl and the API server make them.

use crate::Problem;
use serde_json::Value;

/// Fields that the schema does not know, each with the nearest name that it knows.
pub(crate) fn unknown_fields(schema: &Value, value: &Value, path: &str, problems: &mut Vec<Problem>) {
    if schema.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true)) {
        return;
    }
    match value {
        Value::Object(object) => {
            let known = schema.get("properties").and_then(Value::as_object);
            let any = schema.get("additionalProperties");
            for (key, child) in object {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                match known.and_then(|known| known.get(key)).or(any) {
                    Some(child_schema) => unknown_fields(child_schema, child, &path, problems),
                    // Free-form objects, such as metadata, name no properties at all.
                    None => {
                        if let Some(known) = known {
                            problems.push(Problem::new(path, unknown(key, known.keys())));
                        }
                    }
                }
            }
        }
        Value::Array(items) => {
            if let Some(item_schema) = schema.get("items") {
                for (index, item) in items.iter().enumerate() {
                    unknown_fields(item_schema, item, &format!("{path}[{index}]"), problems);
                }
            }
        }
        _ => {}
    }
}

fn unknown<'a>(name: &str, known: impl Iterator<Item = &'a String>) -> String {
    let known: Vec<&str> = known.map(String::as_str).collect();
    match nearest(name, &known) {
        Some(right) => format!("there is no field {name:?} here; did you mean {right:?}?"),
        None => format!("there is no field {name:?} here; the fields are {}", known.join(", ")),
    }
}

/// The known name that is most like `name`, when one is like it at all.
pub(crate) fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    known
        .iter()
        .map(|candidate| (strsim::jaro_winkler(&name.to_lowercase(), &candidate.to_lowercase()), *candidate))
        .filter(|(score, _)| *score > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

/// Values outside the schema's types and limits.
pub(crate) fn limits(schema: &Value, value: &Value, problems: &mut Vec<Problem>) {
    match jsonschema::validator_for(schema) {
        Ok(validator) => {
            problems.extend(
                validator
                    .iter_errors(value)
                    .map(|error| Problem::new(dotted(&error.instance_path().to_string()), error.to_string())),
            );
        }
        Err(error) => problems.push(Problem::new(String::new(), format!("the schema is unusable: {error}"))),
    }
}

/// `/spec/extraServers/0/name` as `spec.extraServers[0].name`.
fn dotted(pointer: &str) -> String {
    pointer.split('/').skip(1).fold(String::new(), |path, part| match part.parse::<usize>() {
        Ok(index) => format!("{path}[{index}]"),
        Err(_) if path.is_empty() => part.to_owned(),
        Err(_) => format!("{path}.{part}"),
    })
}
