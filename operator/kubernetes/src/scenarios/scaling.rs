//! An autoscaler beside the operator.

use super::Scene;
use crate::kind::Kind;
use crate::reconcile::Next;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

const DEPLOYMENT: &str = "PATCH apps/v1/deployments/demo-tools";
const AUTOSCALER: &str = "autoscaling/v2/horizontalpodautoscalers/demo-tools";
const STATUS: &str = "PATCH mcpsystem.io/v1alpha1/mcpsystems/demo/status";
const LONG_AGO: &str = "2020-01-01T00:00:00Z";

/// Only the tools server, with these settings.
fn tools(settings: &Value) -> Value {
    json!({"servers": {"orchestrator": {"enabled": false}, "memory": {"enabled": false}, "tools": settings}})
}

/// Has the Deployment say whether all copies are ready.
fn available(scene: &Scene, status: &str, since: &str) {
    says(
        scene,
        Kind::Deployment,
        &json!({"type": "Available", "status": status, "lastTransitionTime": since}),
    );
}

/// Has the autoscaler say whether it can decide.
fn active(scene: &Scene, status: &str, reason: &str, message: &str, since: &str) {
    let condition = json!({
        "type": "ScalingActive", "status": status, "reason": reason, "message": message, "lastTransitionTime": since,
    });
    says(scene, Kind::Autoscaler, &condition);
}

fn says(scene: &Scene, kind: Kind, condition: &Value) {
    scene.change(kind, "demo-tools", |object| object["status"] = json!({"conditions": [condition]}));
}

fn replicas(scene: &Scene) -> Value {
    scene.api.object(Kind::Deployment, "demo-tools")["spec"]["replicas"].clone()
}

#[tokio::test]
async fn an_autoscaler_is_made_and_what_it_decides_is_left_to_it() {
    let autoscaling = json!({"minReplicas": 2, "maxReplicas": 5});
    let scene = Scene::new(tools(&json!({"autoscaling": autoscaling})));
    let (_, calls) = scene.look().await;
    assert!(calls.contains(&format!("PATCH {AUTOSCALER}")), "{calls:?}");
    assert_eq!(replicas(&scene), 2, "it begins with the fewest");
    scene.settle().await;

    scene.change(Kind::Deployment, "demo-tools", |deployment| deployment["spec"]["replicas"] = json!(4));
    assert_eq!(scene.look().await.1, [""; 0]);
    scene.set(tools(&json!({"autoscaling": autoscaling, "nodeSelector": {"disk": "ssd"}})), 2);
    assert_eq!(scene.look().await.1[0], DEPLOYMENT);
    assert_eq!(replicas(&scene), 4);

    scene.set(tools(&json!({"replicas": 3})), 3);
    let (_, calls) = scene.look().await;
    assert_eq!(calls[..2], [DEPLOYMENT.to_owned(), format!("DELETE {AUTOSCALER}")]);
    assert_eq!(replicas(&scene), 3);
}

#[tokio::test]
async fn an_autoscaler_that_cannot_decide_is_told_once_and_what_it_says_after_that_changes_nothing() {
    let scene = Scene::new(tools(&json!({"autoscaling": {"maxReplicas": 5}})));
    scene.settle().await;
    available(&scene, "True", LONG_AGO);
    let ready = scene.condition("Ready");
    let reason = "FailedGetResourceMetric";
    active(&scene, "False", reason, "no metrics API", LONG_AGO);
    assert_eq!(scene.look().await.1, [STATUS, "EVENT AutoscalerFailing"]);
    let (status, told, message) = scene.condition("Degraded");
    assert_eq!((status.as_str(), told.as_str()), ("True", "AutoscalerFailing"));
    assert!(message.ends_with("FailedGetResourceMetric: no metrics API"), "{message}");
    assert_eq!(scene.condition("Ready"), ready);

    active(&scene, "False", reason, "no metrics of its pods", &Timestamp::now().to_string());
    let (looked, calls) = scene.look().await;
    assert_eq!((looked.next, calls), (Next::Rest, Vec::new()));

    active(&scene, "True", "ValidMetricFound", "", &Timestamp::now().to_string());
    assert_eq!(scene.look().await.1, [STATUS]);
    assert_eq!(scene.condition("Degraded").0, "False");

    active(&scene, "False", reason, "no metrics API", &Timestamp::now().to_string());
    let (looked, calls) = scene.look().await;
    assert_eq!(calls, [""; 0], "it may just have new pods");
    assert!(matches!(looked.next, Next::After(_)), "{looked:?}");
}

#[tokio::test]
async fn a_roll_out_that_takes_long_is_no_fault_of_the_autoscaler() {
    let scene = Scene::new(tools(&json!({"autoscaling": {"maxReplicas": 5}})));
    scene.settle().await;
    active(&scene, "False", "FailedGetResourceMetric", "", LONG_AGO);
    available(&scene, "False", LONG_AGO);
    let (looked, calls) = scene.look().await;
    assert_eq!((looked.next, calls), (Next::Rest, Vec::new()));

    available(&scene, "True", &Timestamp::now().to_string());
    let (looked, calls) = scene.look().await;
    assert_eq!(calls, [""; 0], "its pods are new");
    assert!(matches!(looked.next, Next::After(_)), "{looked:?}");

    available(&scene, "True", LONG_AGO);
    assert_eq!(scene.look().await.1, [STATUS, "EVENT AutoscalerFailing"]);
}

#[tokio::test]
async fn fewest_copies_that_are_raised_reach_what_somebody_else_scales() {
    let external = |fewest: u32| {
        let bounds = json!({"type": "External", "minReplicas": fewest, "maxReplicas": 5});
        tools(&json!({"autoscaling": bounds}))
    };
    let scene = Scene::new(external(1));
    scene.settle().await;
    scene.change(Kind::Deployment, "demo-tools", |deployment| deployment["spec"]["replicas"] = json!(2));
    assert_eq!(scene.look().await.1, [""; 0]);

    scene.set(external(3), 2);
    assert_eq!(scene.look().await.1[0], DEPLOYMENT);
    assert_eq!(replicas(&scene), 3);
    scene.settle().await;

    scene.change(Kind::Deployment, "demo-tools", |deployment| deployment["spec"]["replicas"] = json!(1));
    assert_eq!(scene.look().await.1, [DEPLOYMENT, "EVENT Corrected"]);
    assert_eq!(replicas(&scene), 3);
    assert_eq!(scene.look().await.1, [""; 0]);
}
