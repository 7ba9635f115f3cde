//! Whether an object, as it stands in the cluster, lacks anything of what it should be.
//!
//! Only what is desired is compared: defaults that the API fills in, and fields, labels and annotations of
//! others, are no difference. Pure, and ignorant of kinds.

use mcp_system_plan::{parse_cpu, parse_memory};
use serde_json::{Map, Value};

/// The fields by which the API tells items of a list apart, tried in this order; a list whose items have
/// none of them is compared as a whole.
const KEYS: [&[&str]; 6] = [
    &["mountPath"],
    &["containerPort", "protocol"],
    &["port", "protocol"],
    &["uid"],
    &["topologyKey", "whenUnsatisfiable"],
    &["name"],
];

/// Whether applying `desired` would change `live`.
pub(crate) fn differs(desired: &Value, live: &Value) -> bool {
    !holds(desired, Some(live), false)
}

/// `quantities` tells that values are quantities, which the API writes in a form of its own.
fn holds(desired: &Value, live: Option<&Value>, quantities: bool) -> bool {
    if is_empty(desired) {
        return live.is_none_or(|live| is_empty(live) || asks_for_nothing(desired, live));
    }
    match (desired, live) {
        (Value::Object(desired), Some(Value::Object(live))) => holds_object(desired, live, quantities),
        (Value::Array(desired), Some(Value::Array(live))) => holds_list(desired, live, quantities),
        (Value::String(desired), Some(Value::String(live))) => {
            desired == live || (quantities && same_quantity(desired, live))
        }
        (desired, Some(live)) => desired == live,
        (_, None) => false,
    }
}

/// The API leaves out what is empty.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// An empty object or list asks for nothing inside it, so whatever others put there may stay.
fn asks_for_nothing(desired: &Value, live: &Value) -> bool {
    match desired {
        Value::Object(_) => live.is_object(),
        Value::Array(_) => live.is_array(),
        Value::Null => true,
        _ => false,
    }
}

fn holds_object(desired: &Map<String, Value>, live: &Map<String, Value>, quantities: bool) -> bool {
    desired
        .iter()
        .all(|(key, wanted)| holds(wanted, live.get(key), quantities || key == "limits" || key == "requests"))
}

fn holds_list(desired: &[Value], live: &[Value], quantities: bool) -> bool {
    match key_of(desired) {
        Some(key) => desired.iter().all(|wanted| {
            live.iter()
                .find(|item| same_item(key, item, wanted))
                .is_some_and(|item| holds(wanted, Some(item), quantities))
        }),
        None => {
            desired.len() == live.len()
                && desired.iter().zip(live).all(|(wanted, item)| holds(wanted, Some(item), quantities))
        }
    }
}

/// Whether both items have the same key.
pub(crate) fn same_item(key: &[&str], one: &Value, other: &Value) -> bool {
    key.iter().all(|field| one.get(field) == other.get(field))
}

/// The key that all items have, when they are told apart by it.
pub(crate) fn key_of(items: &[Value]) -> Option<&'static [&'static str]> {
    KEYS.into_iter().find(|key| {
        let has_key = |item: &Value| key.iter().all(|field| item.get(field).is_some());
        let is_told_apart =
            |(index, item): (usize, &Value)| !items[..index].iter().any(|other| same_item(key, other, item));
        items.iter().all(has_key) && items.iter().enumerate().all(is_told_apart)
    })
}

fn same_quantity(one: &str, other: &str) -> bool {
    parse_cpu(one).is_some() && parse_cpu(one) == parse_cpu(other) && parse_memory(one) == parse_memory(other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn what_others_add_is_no_difference() {
        let desired = json!({
            "metadata": {"labels": {"a": "1"}},
            "spec": {
                "replicas": 1,
                "template": {"spec": {"containers": [{"name": "server", "env": [{"name": "A", "value": ""}]}]}},
            },
        });
        let live = json!({
            "metadata": {"labels": {"a": "1", "foreign": "x"}, "annotations": {"foreign": "y"}},
            "spec": {
                "replicas": 1,
                "template": {
                    "metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": "now"}},
                    "spec": {
                        "containers": [
                            {"name": "sidecar"},
                            {"name": "server", "env": [{"name": "A"}], "imagePullPolicy": "IfNotPresent"},
                        ],
                        "dnsPolicy": "ClusterFirst",
                    },
                },
            },
        });
        assert!(!differs(&desired, &live));
    }

    #[test]
    fn a_changed_or_missing_field_is_a_difference() {
        let desired = json!({"spec": {"automount": false, "args": ["a", "b"], "ports": [{"port": 1, "protocol": "TCP", "name": "http"}]}});
        for live in [
            json!({"spec": {"args": ["a", "b"], "ports": [{"port": 1, "protocol": "TCP", "name": "http"}]}}),
            json!({"spec": {"automount": true, "args": ["a", "b"], "ports": [{"port": 1, "protocol": "TCP", "name": "http"}]}}),
            json!({"spec": {"automount": false, "args": ["b", "a"], "ports": [{"port": 1, "protocol": "TCP", "name": "http"}]}}),
            json!({"spec": {"automount": false, "args": ["a", "b", "c"], "ports": [{"port": 1, "protocol": "TCP", "name": "http"}]}}),
            json!({"spec": {"automount": false, "args": ["a", "b"], "ports": [{"port": 2, "protocol": "TCP", "name": "http"}]}}),
            json!({"spec": {"automount": false, "args": ["a", "b"], "ports": [{"port": 1, "protocol": "TCP", "name": "web"}]}}),
            json!({"spec": {"automount": false, "args": ["a", "b"]}}),
            json!({}),
        ] {
            assert!(differs(&desired, &live), "{live}");
        }
    }

    #[test]
    fn quantities_are_compared_by_what_they_mean_and_only_where_they_stand() {
        let limits =
            |cpu: &str, memory: &str| json!({"resources": {"limits": {"cpu": cpu, "memory": memory}}});
        assert!(!differs(&limits("0.5", "1024Mi"), &limits("500m", "1Gi")));
        assert!(differs(&limits("500m", "1Gi"), &limits("501m", "1Gi")));
        assert!(differs(&limits("500m", "1Gi"), &limits("500m", "1G")));
        assert!(differs(&json!({"labels": {"a": "1000m"}}), &json!({"labels": {"a": "1"}})));
    }

    #[test]
    fn lists_without_keys_hold_nothing_else() {
        let toleration = json!({"key": "a", "operator": "Exists"});
        let desired = json!({"tolerations": [toleration]});
        assert!(!differs(&desired, &desired));
        assert!(differs(&desired, &json!({"tolerations": [toleration, {"key": "b"}]})));
    }

    /// What a server-side apply does, as far as the comparison needs it.
    fn apply(live: &Value, desired: &Value) -> Value {
        match (live, desired) {
            (Value::Object(live), Value::Object(desired)) => {
                let mut merged = live.clone();
                for (key, wanted) in desired {
                    let value = live.get(key).map_or_else(|| wanted.clone(), |live| apply(live, wanted));
                    merged.insert(key.clone(), value);
                }
                Value::Object(merged)
            }
            (Value::Array(live), Value::Array(desired)) => match key_of(desired) {
                Some(key) => {
                    let same = |a: &Value, b: &Value| same_item(key, a, b);
                    let mut merged: Vec<Value> = desired
                        .iter()
                        .map(|wanted| match live.iter().find(|item| same(item, wanted)) {
                            Some(item) => apply(item, wanted),
                            None => wanted.clone(),
                        })
                        .collect();
                    merged.extend(
                        live.iter().filter(|item| !desired.iter().any(|wanted| same(item, wanted))).cloned(),
                    );
                    Value::Array(merged)
                }
                None => Value::Array(desired.clone()),
            },
            (_, desired) => desired.clone(),
        }
    }

    fn tree() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(Value::from),
            (1..5i64).prop_map(Value::from),
            "[a-c]{0,2}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::btree_map("[a-d]", inner.clone(), 0..4)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::Array),
                prop::collection::btree_map("[a-c]", inner, 0..3).prop_map(|items| {
                    Value::Array(
                        items
                            .into_iter()
                            .map(|(name, value)| json!({"name": name, "value": value}))
                            .collect(),
                    )
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_was_applied_does_not_differ(live in tree(), desired in tree()) {
            prop_assert!(!differs(&desired, &apply(&live, &desired)));
        }

        #[test]
        fn fields_of_others_are_ignored(desired in tree(), foreign in tree()) {
            let desired = json!({"spec": desired});
            let mut live = desired.clone();
            live["foreign"] = foreign.clone();
            live["spec2"] = foreign;
            prop_assert!(!differs(&desired, &live));
        }

        #[test]
        fn a_value_that_was_changed_differs(desired in tree(), key in "[a-d]", value in 10..20i64) {
            let desired = json!({"spec": {"tree": desired, (key.clone()): value}});
            let mut live = desired.clone();
            live["spec"][&key] = json!(value + 1);
            prop_assert!(differs(&desired, &live));
        }
    }
}
