//! A system that changes from embedded storage to PostgreSQL.

use super::{Scene, memory_only, start_pod};
use crate::kind::Kind;
use crate::reconcile::Next;
use serde_json::{Value, json};
use std::time::Duration;

const CLAIM: &str = "PATCH persistentvolumeclaims/demo-memory";

fn postgres() -> Value {
    let mut spec = memory_only();
    spec["servers"]["memory"] = json!({"replicas": 2});
    spec["storage"] = json!({"type": "Postgres", "postgres": {"urlSecret": {"name": "db", "key": "url"}}});
    spec
}

/// One whose file has just changed, and whose Deployment is written.
async fn moving() -> Scene {
    let scene = Scene::new(memory_only());
    scene.settle().await;
    scene.set(postgres(), 2);
    scene.settle().await;
    let spec = deployment(&scene);
    assert_eq!(spec["template"]["spec"]["initContainers"][0]["name"], "move");
    assert_eq!((&spec["strategy"]["type"], &spec["replicas"]), (&json!("Recreate"), &json!(1)));
    scene
}

fn deployment(scene: &Scene) -> Value {
    scene.api.object(Kind::Deployment, "demo-memory")["spec"].clone()
}

fn annotation(scene: &Scene) -> Value {
    scene.api.object(Kind::VolumeClaim, "demo-memory")["metadata"]["annotations"]["mcpsystem.io/moved"]
        .clone()
}

/// The pod of the Deployment with this state of its mover.
fn pod(scene: &Scene, is_ready: bool, mover: &Value) {
    start_pod(scene, "demo-memory-1", "memory", is_ready);
    scene.change(Kind::Pod, "demo-memory-1", |pod| {
        pod["status"]["initContainerStatuses"] = json!([{
            "name": "move", "image": "i", "imageID": "", "ready": is_ready, "restartCount": 0, "state": mover,
        }]);
    });
    scene.change(Kind::Deployment, "demo-memory", |deployment| {
        let ready = i32::from(is_ready);
        deployment["status"] = json!({"replicas": 1, "updatedReplicas": 1, "readyReplicas": ready});
    });
}

#[tokio::test]
async fn a_claim_is_noted_as_moved_once_its_memories_are_served_and_not_before() {
    let scene = moving().await;
    pod(&scene, false, &json!({"running": {}}));
    scene.settle().await;
    let done =
        json!({"terminated": {"exitCode": 0, "message": "moved: 7 memories and messages, 1 sessions"}});
    pod(&scene, false, &done);
    scene.settle().await;
    assert_eq!(annotation(&scene), Value::Null, "it does not serve yet");

    pod(&scene, true, &done);
    let (looked, calls) = scene.look().await;
    assert_eq!(looked.next, Next::After(Duration::ZERO));
    assert_eq!(calls, [CLAIM, "PATCH mcpsystem.io/v1alpha1/mcpsystems/demo/status", "EVENT Moved"]);
    assert!(annotation(&scene).is_string());
    let (_, calls) = scene.look().await;
    assert_eq!(calls[0], "PATCH apps/v1/deployments/demo-memory");
    assert!(!calls.contains(&CLAIM.to_owned()), "{calls:?}");
    let spec = deployment(&scene);
    assert_eq!((&spec["strategy"]["type"], &spec["replicas"]), (&json!("RollingUpdate"), &json!(2)));
    scene.settle().await;
    assert!(scene.api.object(Kind::VolumeClaim, "demo-memory").is_object(), "nothing is deleted");
}

#[tokio::test]
async fn a_pod_of_an_earlier_plan_proves_nothing() {
    let scene = moving().await;
    let done = json!({"terminated": {"exitCode": 0}});
    pod(&scene, true, &done);
    scene.change(Kind::Deployment, "demo-memory", |deployment| {
        deployment["metadata"]["generation"] = json!(3);
        deployment["spec"]["template"]["metadata"]["annotations"]["newer"] = json!("x");
        deployment["status"]["observedGeneration"] = json!(2);
    });
    scene.settle().await;
    assert_eq!(annotation(&scene), Value::Null);
}

#[tokio::test]
async fn a_way_back_is_refused_until_the_note_is_removed() {
    let scene = moving().await;
    pod(&scene, true, &json!({"terminated": {"exitCode": 0}}));
    scene.settle().await;
    scene.set(memory_only(), 3);
    let (looked, calls) = scene.look().await;
    assert_eq!((looked.result, looked.next), ("invalid", Next::Rest));
    assert_eq!(calls, ["PATCH mcpsystem.io/v1alpha1/mcpsystems/demo/status", "EVENT NotSupported"]);
    assert!(scene.condition("Stalled").2.contains("what was stored since is only there"));
    assert_eq!(scene.look().await.1, [""; 0]);

    scene.change(Kind::VolumeClaim, "demo-memory", |claim| {
        claim["metadata"]["annotations"].as_object_mut().expect("some").shift_remove("mcpsystem.io/moved");
    });
    let (looked, calls) = scene.look().await;
    assert_eq!(looked.result, "ok");
    assert!(calls.contains(&"PATCH apps/v1/deployments/demo-memory".to_owned()), "{calls:?}");
    assert_eq!(deployment(&scene)["strategy"]["type"], "Recreate");
}
