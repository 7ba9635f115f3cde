//! How many copies run is for an autoscaler to decide, where there is one. It is given a number to begin with, and where it
//! is not the system's, it is held to the bounds of the file.

use crate::child::Progress;
use crate::render::{Copies, Desired};
use serde_json::{Value, json};

/// The object as it can be applied, with what is there of it.
pub(super) fn fit(object: &Desired, live: Option<&Progress>) -> Value {
    let mut body = object.body.clone();
    if let Some(replicas) = object.copies.and_then(|copies| told(copies, live)) {
        body["spec"]["replicas"] = json!(replicas);
    }
    body
}

/// How many copies there are to be, where that is to be said.
///
/// A field that is ours must not be left out: it would go, and the API put 1 in its place. So the number stays ours, as it
/// is, until the autoscaler writes its own for the first time, which makes it the autoscaler's.
fn told(Copies { fewest, most }: Copies, live: Option<&Progress>) -> Option<u32> {
    let Some(live) = live else { return Some(fewest) };
    let fitting = live.wanted.min(most.unwrap_or(u32::MAX)).max(fewest);
    // Whoever wants no copies has switched scaling off, as with a HorizontalPodAutoscaler.
    let is_held = most.is_some() && live.wanted > 0 && fitting != live.wanted;
    (live.owns_wanted || is_held).then_some(fitting)
}
