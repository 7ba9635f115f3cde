//! How many copies run is for an autoscaler to decide, where there is one. It is given a number to begin with.

use crate::child::Progress;
use crate::render::Desired;
use serde_json::{Value, json};

/// The object as it can be applied, with what is there of it.
///
/// A field that is ours must not be left out: it would go, and the API put 1 in its place. So the number stays ours, as it
/// is, until the autoscaler writes its own for the first time, which makes it the autoscaler's.
pub(super) fn fit(object: &Desired, live: Option<&Progress>) -> Value {
    let mut body = object.body.clone();
    let Some(first) = object.begins_with else { return body };
    let replicas = match live {
        None => Some(first),
        Some(live) => live.owns_wanted.then(|| live.wanted.max(first)),
    };
    if let Some(replicas) = replicas {
        body["spec"]["replicas"] = json!(replicas);
    }
    body
}
