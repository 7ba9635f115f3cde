//! What a server-side apply alone cannot put right.
//!
//! The API tells ports apart by number. Where somebody changed the number of one, an apply adds ours beside
//! it, and both have the same name, which is refused. So such a list is replaced as a whole first. Pure.

use crate::differ::{key_of, same_item};
use serde_json::{Map, Value, json};

/// A strategic merge patch that replaces the lists whose items stand in the way of ours; none where there
/// are no such lists.
pub(super) fn repair(desired: &Value, live: &Value) -> Option<Value> {
    let mut patch = walk(desired, live)?;
    // Another object that took this one's place is not written to.
    patch["metadata"] = json!({"uid": live["metadata"]["uid"]});
    Some(patch)
}

fn walk(desired: &Value, live: &Value) -> Option<Value> {
    match (desired, live) {
        (Value::Object(desired), Value::Object(live)) => {
            let fields: Map<String, Value> = desired
                .iter()
                .filter_map(|(name, wanted)| Some((name.clone(), walk(wanted, live.get(name)?)?)))
                .collect();
            (!fields.is_empty()).then_some(Value::Object(fields))
        }
        (Value::Array(desired), Value::Array(live)) => match key_of(desired)? {
            key if key.contains(&"protocol") => {
                let is_in_the_way = |item: &Value| {
                    !desired.iter().any(|wanted| same_item(key, wanted, item))
                        && desired.iter().any(|wanted| wanted.get("name") == item.get("name"))
                };
                live.iter().any(is_in_the_way).then(|| {
                    let mut list = vec![json!({"$patch": "replace"})];
                    list.extend(desired.iter().cloned());
                    Value::Array(list)
                })
            }
            key if key == ["name"] => {
                let items: Vec<Value> = desired
                    .iter()
                    .filter_map(|wanted| {
                        let item = live.iter().find(|item| same_item(key, wanted, item))?;
                        let mut patch = walk(wanted, item)?;
                        patch["name"] = wanted["name"].clone();
                        Some(patch)
                    })
                    .collect();
                (!items.is_empty()).then_some(Value::Array(items))
            }
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_whose_number_was_changed_is_replaced() {
        let desired =
            json!({"spec": {"type": "ClusterIP", "ports": [{"port": 1, "protocol": "TCP", "name": "http"}]}});
        let live = json!({
            "metadata": {"uid": "u"},
            "spec": {"ports": [{"port": 2, "protocol": "TCP", "name": "http"}]},
        });
        let patch = repair(&desired, &live).expect("there is something to repair");
        assert_eq!(
            patch,
            json!({
                "metadata": {"uid": "u"},
                "spec": {"ports": [{"$patch": "replace"}, {"port": 1, "protocol": "TCP", "name": "http"}]},
            })
        );
    }

    #[test]
    fn the_same_inside_a_container() {
        let ports = |number: u16| json!([{"containerPort": number, "protocol": "TCP", "name": "http"}]);
        let desired = json!({"spec": {"containers": [{"name": "server", "ports": ports(1)}]}});
        let live = json!({
            "metadata": {"uid": "u"},
            "spec": {"containers": [{"name": "other", "ports": ports(3)}, {"name": "server", "ports": ports(2)}]},
        });
        let patch = repair(&desired, &live).expect("there is something to repair");
        assert_eq!(patch["spec"]["containers"][0]["name"], "server");
        assert_eq!(patch["spec"]["containers"][0]["ports"][1]["containerPort"], 1);
    }

    #[test]
    fn ports_of_others_stay() {
        let desired = json!({"spec": {"ports": [{"port": 1, "protocol": "TCP", "name": "http"}]}});
        let live = json!({"spec": {"ports": [
            {"port": 1, "protocol": "TCP", "name": "http"}, {"port": 2, "protocol": "TCP", "name": "foreign"},
        ]}});
        assert_eq!(repair(&desired, &live), None);
    }
}
