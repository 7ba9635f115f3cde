//! What is told when the API goes on failing.

use super::{Scene, memory_only};
use crate::kind::Kind;
use crate::reconcile::Next;
use serde_json::json;
use std::time::Duration;

const STATUS: &str = "PATCH mcpsystem.io/v1alpha1/mcpsystems/demo/status";
const DEPLOYMENT: &str = "PATCH apps/v1/deployments/demo-memory";

async fn wait(seconds: u64) {
    tokio::time::advance(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_lasts_is_told_once_and_until_it_is_over() {
    let scene = Scene::new(memory_only());
    scene.settle().await;
    let why = "Internal error occurred: failed calling webhook \"audit.example\": no endpoints available";
    scene.api.refuse(Kind::Deployment, "demo-memory", Some((500, why)));
    scene.change(Kind::Deployment, "demo-memory", |deployment| deployment["spec"]["replicas"] = json!(7));
    let (looked, calls) = scene.look().await;
    assert_eq!((looked.result, looked.next), ("error", Next::Retry));
    assert_eq!(calls, [DEPLOYMENT], "it may pass");

    wait(15).await;
    assert_eq!(scene.look().await.1, [DEPLOYMENT, STATUS]);
    let (status, reason, message) = scene.condition("Reconciling");
    assert_eq!((status.as_str(), reason.as_str()), ("True", "ApplyFailed"));
    assert!(message.starts_with(&format!("apply of Deployment demo-memory fails: {why}")), "{message}");
    assert_eq!(scene.condition("Ready").1, "ApplyFailed");
    assert_eq!(scene.condition("Stalled").0, "False");

    wait(60).await;
    assert_eq!(scene.look().await.1, [DEPLOYMENT], "nothing new is to be said");
    scene.api.refuse(Kind::Deployment, "demo-memory", None);
    assert_eq!(scene.look().await.1, [DEPLOYMENT, STATUS, "EVENT Corrected"]);
    assert_eq!(scene.condition("Reconciling").1, "RollingOut");
}

#[tokio::test(start_paused = true)]
async fn a_right_that_is_missing_is_told_with_the_words_of_the_api() {
    let scene = Scene::new(memory_only());
    scene.settle().await;
    let why = "User \"operator\" cannot delete resource \"services\" in API group \"\"";
    let refusal = format!("services \"demo-memory\" is forbidden: {why}");
    scene.api.refuse(Kind::Service, "demo-memory", Some((403, &refusal)));
    let mut spec = memory_only();
    spec["servers"]["memory"] = json!({"enabled": false});
    scene.set(spec, 2);
    scene.look().await;
    assert_eq!(scene.condition("Stalled").0, "False");

    wait(15).await;
    scene.look().await;
    let (status, reason, message) = scene.condition("Stalled");
    assert_eq!((status.as_str(), reason.as_str()), ("True", "ApplyFailed"));
    assert_eq!(message, format!("the API refuses delete of Service demo-memory: {why}"));
    wait(60).await;
    assert_eq!(scene.look().await.1, ["DELETE services/demo-memory"]);
    scene.api.refuse(Kind::Service, "demo-memory", None);
    scene.look().await;
    assert_eq!(scene.condition("Stalled").0, "False");
    assert_eq!(scene.condition("Ready").0, "True");
}
