//! Two that both want to have their way.

use super::{Scene, memory_only};
use crate::kind::Kind;
use crate::reconcile::Next;
use serde_json::json;
use std::time::Duration;

const SERVICE: &str = "PATCH services/demo-memory";
const STATUS: &str = "PATCH mcpsystem.io/v1alpha1/mcpsystems/demo/status";

fn change_back(scene: &Scene) {
    scene.change(Kind::Service, "demo-memory", |service| {
        service["spec"]["selector"] = json!({"app": "other"});
    });
}

#[tokio::test(start_paused = true)]
async fn what_somebody_changes_back_each_time_is_put_right_later_each_time() {
    let scene = Scene::new(memory_only());
    scene.settle().await;
    for _ in 0..4 {
        change_back(&scene);
        assert_eq!(scene.look().await.1, [SERVICE, "EVENT Corrected"]);
    }
    change_back(&scene);
    assert_eq!(scene.look().await.1, [SERVICE, STATUS, "EVENT Corrected", "EVENT Contested"]);
    let (status, reason, message) = scene.condition("Degraded");
    assert_eq!((status.as_str(), reason.as_str()), ("True", "Contested"));
    assert!(message.starts_with("Service demo-memory is changed or deleted by somebody else"), "{message}");

    change_back(&scene);
    let (looked, calls) = scene.look().await;
    assert_eq!(calls, [""; 0]);
    let Next::After(pause) = looked.next else { panic!("{looked:?}") };
    assert!(pause <= Duration::from_secs(10), "{pause:?}");
    tokio::time::advance(pause).await;
    assert_eq!(scene.look().await.1, [SERVICE, "EVENT Corrected"]);

    let Next::After(peace) = scene.look().await.0.next else { panic!("it is not over yet") };
    tokio::time::advance(peace).await;
    assert_eq!(scene.look().await.1, [STATUS]);
    assert_eq!(scene.condition("Degraded").0, "False");
}

#[tokio::test(start_paused = true)]
async fn a_new_plan_does_not_wait_for_the_end_of_a_contest() {
    let scene = Scene::new(memory_only());
    scene.settle().await;
    for _ in 0..6 {
        change_back(&scene);
        scene.look().await;
    }
    assert_eq!(scene.look().await.1, [""; 0]);
    let mut spec = memory_only();
    spec["servers"]["memory"] = json!({"port": 9003});
    scene.set(spec, 2);
    let (_, calls) = scene.look().await;
    assert!(calls.contains(&SERVICE.to_owned()), "{calls:?}");
}
