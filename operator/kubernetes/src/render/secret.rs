//! The Secret with the keys with which a system's orchestrator calls the servers behind it.
//!
//! Not among the objects that are applied: what stands in it is random, and it is never read.

use crate::kind::Kind;
use crate::render::{Owner, labels};
use kube::core::DynamicObject;
use mcp_system_plan::CallerKeys;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The Secret of this name that holds these keys, and that goes with its system.
pub(crate) fn render(name: &str, keys: &CallerKeys, owner: &Owner) -> DynamicObject {
    let labels = [
        (labels::INSTANCE, owner.name.as_str()),
        ("app.kubernetes.io/part-of", "mcp-system"),
        (labels::MANAGED_BY, labels::MANAGER),
    ];
    let labels: BTreeMap<String, String> =
        labels.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let files: Map<String, Value> =
        keys.files().into_iter().map(|(name, text)| (name.to_owned(), text.into())).collect();
    let mut secret = DynamicObject::new(name, &Kind::Secret.resource()).within(&owner.namespace);
    secret.metadata.labels = Some(labels);
    secret.metadata.owner_references = Some(vec![owner.reference()]);
    secret.data(json!({"stringData": files}))
}
