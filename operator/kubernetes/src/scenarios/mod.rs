//! What one look at a system sends to the API, call by call.

mod answers;
mod api;
mod contests;
mod failures;
mod moves;
mod scaling;

use crate::apply::{Contests, Refusals};
use crate::asks::Asks;
use crate::cache::Cache;
use crate::door::Door;
use crate::keys::Keys;
use crate::kind::{Kind, SystemKey};
use crate::lease::keeper::Leadership;
use crate::metrics::Metrics;
use crate::reconcile::{Context, Looked, Next, reconcile};
use crate::setbacks::Setbacks;
use api::{Api, dynamic};
use mcp_system_plan::Target;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use tokio::sync::watch;

const SYSTEM: &str = "/apis/mcpsystem.io/v1alpha1/namespaces/test/mcpsystems/demo";

struct Scene {
    api: Api,
    context: Context,
    key: SystemKey,
}

impl Scene {
    fn new(spec: Value) -> Self {
        Self::led_by(spec, Leadership::Always)
    }

    fn led_by(spec: Value, leadership: Leadership) -> Self {
        let api = Api::default();
        let metrics = Arc::new(Metrics::new().expect("metrics"));
        let context = Context {
            door: Door::new(api.client(), leadership, metrics.clone()),
            cache: Arc::new(Cache::default()),
            asks: Arc::new(Asks::new(Duration::from_mins(1))),
            refusals: Refusals::default(),
            contests: Contests::default(),
            keys: Keys::default(),
            setbacks: Setbacks::default(),
            metrics,
            target: Target::Cluster { image: "mcp-system:1".to_owned() },
            monitors: AtomicBool::new(false),
            reporter: "test".to_owned(),
        };
        let scene = Self { api, context, key: SystemKey::new("test", "demo") };
        scene.set(spec, 1);
        scene
    }

    /// Sets the spec, as a person would.
    fn set(&self, spec: Value, generation: u64) {
        let mut object = self.api.raw(SYSTEM);
        object["apiVersion"] = json!("mcpsystem.io/v1alpha1");
        object["kind"] = json!("McpSystem");
        object["metadata"] = json!({
            "name": "demo", "namespace": "test", "uid": "the-uid",
            "generation": generation, "resourceVersion": self.api.next_version(),
        });
        object["spec"] = spec;
        self.api.put_raw(SYSTEM, object.clone());
        self.context.cache.put_system(dynamic(&object));
    }

    async fn look(&self) -> (Looked, Vec<String>) {
        let looked = reconcile(&self.context, &self.key).await;
        (looked, self.api.calls())
    }

    /// Looks until there is nothing to do any more.
    async fn settle(&self) {
        let mut last = Vec::new();
        for _ in 0..5 {
            last = self.look().await.1;
            if last.is_empty() {
                return;
            }
        }
        panic!("there is always something to do: {last:?}");
    }

    fn condition(&self, type_: &str) -> (String, String, String) {
        let status = self.api.raw(SYSTEM)["status"].clone();
        let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
        let condition =
            conditions.into_iter().find(|condition| condition["type"] == type_).unwrap_or_default();
        let text = |field: &str| condition[field].as_str().unwrap_or_default().to_owned();
        (text("status"), text("reason"), text("message"))
    }

    /// What is shown of the system among the metrics, as `condition value`.
    fn shown(&self) -> Vec<String> {
        let prefix = r#"mcp_operator_system_condition{namespace="test",name="demo",condition=""#;
        let text = self.context.metrics.text();
        let conditions = text.lines().filter_map(|line| line.strip_prefix(prefix));
        conditions.map(|condition| condition.replace("\"}", "")).collect()
    }

    fn change(&self, kind: Kind, name: &str, change: impl FnOnce(&mut Value)) {
        self.api.change(&self.context.cache, kind, name, change);
    }
}

/// Only the memory server: fewer calls to read.
fn memory_only() -> Value {
    json!({"servers": {"orchestrator": {"enabled": false}, "tools": {"enabled": false}}})
}

#[tokio::test]
async fn the_first_look_creates_everything_and_the_second_does_nothing() {
    let scene = Scene::new(memory_only());
    let (looked, calls) = scene.look().await;
    assert_eq!((looked.result, looked.next), ("ok", Next::Rest));
    assert_eq!(
        calls,
        [
            "GET serviceaccounts/demo-memory",
            "PATCH serviceaccounts/demo-memory",
            "GET configmaps/demo-memory",
            "PATCH configmaps/demo-memory",
            "GET persistentvolumeclaims/demo-memory",
            "PATCH persistentvolumeclaims/demo-memory",
            "GET services/demo-memory",
            "PATCH services/demo-memory",
            "GET apps/v1/deployments/demo-memory",
            "PATCH apps/v1/deployments/demo-memory",
            "PATCH mcpsystem.io/v1alpha1/mcpsystems/demo/status",
            "EVENT Created",
        ]
    );
    assert_eq!(scene.condition("Ready").1, "ServersNotReady");
    let (looked, calls) = scene.look().await;
    assert_eq!(calls, [""; 0]);
    assert_eq!((looked.result, looked.next), ("ok", Next::Rest));
}

#[tokio::test]
async fn what_was_changed_by_hand_is_put_back_and_what_others_own_stays() {
    let scene = Scene::new(memory_only());
    scene.settle().await;
    scene.change(Kind::Deployment, "demo-memory", |deployment| {
        deployment["spec"]["template"]["metadata"]["annotations"]["kubectl.kubernetes.io/restartedAt"] =
            json!("now");
        deployment["metadata"]["labels"]["foreign"] = json!("x");
    });
    assert_eq!(scene.look().await.1, [""; 0]);
    scene.change(Kind::Deployment, "demo-memory", |deployment| deployment["spec"]["replicas"] = json!(7));
    assert_eq!(scene.look().await.1, ["PATCH apps/v1/deployments/demo-memory", "EVENT Corrected"]);
    let deployment = scene.api.object(Kind::Deployment, "demo-memory");
    assert_eq!(deployment["spec"]["replicas"], 1);
    assert_eq!(deployment["metadata"]["labels"]["foreign"], "x");
    assert_eq!(scene.look().await.1, [""; 0]);
}

#[tokio::test]
async fn a_deleted_child_comes_back() {
    let scene = Scene::new(memory_only());
    scene.settle().await;
    scene.api.delete(&scene.context.cache, Kind::Service, "demo-memory");
    assert_eq!(
        scene.look().await.1,
        ["GET services/demo-memory", "PATCH services/demo-memory", "EVENT Created"]
    );
}

#[tokio::test]
async fn a_changed_spec_changes_only_what_it_touches() {
    let scene = Scene::new(memory_only());
    scene.settle().await;
    let mut spec = memory_only();
    spec["servers"]["memory"] = json!({"nodeSelector": {"disk": "ssd"}});
    scene.set(spec, 2);
    assert_eq!(
        scene.look().await.1,
        [
            "PATCH apps/v1/deployments/demo-memory",
            "PATCH mcpsystem.io/v1alpha1/mcpsystems/demo/status",
            "EVENT Updated",
        ]
    );
    assert_eq!(scene.api.raw(SYSTEM)["status"]["observedGeneration"], 2);
}

#[tokio::test]
async fn a_disabled_server_goes_and_its_volume_stays() {
    let scene = Scene::new(memory_only());
    scene.settle().await;
    let mut spec = memory_only();
    spec["servers"]["memory"] = json!({"enabled": false});
    scene.set(spec, 2);
    assert_eq!(
        scene.look().await.1,
        [
            "DELETE serviceaccounts/demo-memory",
            "DELETE configmaps/demo-memory",
            "DELETE services/demo-memory",
            "DELETE apps/v1/deployments/demo-memory",
            "PATCH mcpsystem.io/v1alpha1/mcpsystems/demo/status",
            "EVENT Deleted",
            "EVENT Ready",
        ]
    );
    assert!(scene.api.object(Kind::VolumeClaim, "demo-memory").is_object());
}

#[tokio::test]
async fn a_claim_is_retained_though_its_server_does_not_run_when_that_is_said() {
    let spec = |enabled: bool, policy: &str| {
        let mut spec = memory_only();
        spec["servers"]["memory"] = json!({"enabled": enabled});
        spec["storage"] = json!({"embedded": {"reclaimPolicy": policy}});
        spec
    };
    let scene = Scene::new(spec(true, "Delete"));
    scene.settle().await;
    assert_eq!(
        scene.api.object(Kind::VolumeClaim, "demo-memory")["metadata"]["ownerReferences"][0]["uid"],
        "the-uid"
    );
    scene.set(spec(false, "Delete"), 2);
    scene.settle().await;
    scene.set(spec(false, "Retain"), 3);
    let (_, calls) = scene.look().await;
    assert!(calls.contains(&"PATCH persistentvolumeclaims/demo-memory".to_owned()), "{calls:?}");
}

#[tokio::test]
async fn what_is_not_ours_is_left_alone_and_the_rest_goes_on() {
    let scene = Scene::new(memory_only());
    scene.change(Kind::Service, "demo-memory", |service| service["spec"] = json!({"type": "ExternalName"}));
    scene.change(Kind::VolumeClaim, "demo-memory", |claim| claim["spec"] = json!({}));
    let (looked, calls) = scene.look().await;
    assert_eq!(
        calls,
        [
            "GET serviceaccounts/demo-memory",
            "PATCH serviceaccounts/demo-memory",
            "GET configmaps/demo-memory",
            "PATCH configmaps/demo-memory",
            "GET persistentvolumeclaims/demo-memory",
            "GET services/demo-memory",
            "PATCH mcpsystem.io/v1alpha1/mcpsystems/demo/status",
            "EVENT Created",
            "EVENT ObjectNotOurs",
        ],
        "a pod with somebody else's volume must not start"
    );
    assert_eq!(looked.next, Next::After(Duration::from_mins(1)));
    let (status, reason, message) = scene.condition("Stalled");
    assert_eq!((status.as_str(), reason.as_str()), ("True", "ObjectNotOurs"));
    assert!(message.contains("Service test/demo-memory exists and is not this system's"), "{message}");
    assert_eq!(scene.api.object(Kind::Service, "demo-memory")["spec"], json!({"type": "ExternalName"}));
    // Looking again reads what is not watched, and writes nothing.
    assert_eq!(scene.look().await.1, ["GET persistentvolumeclaims/demo-memory", "GET services/demo-memory"]);
}

#[tokio::test]
async fn a_volume_that_outlived_an_earlier_system_is_found_again() {
    let first = Scene::new(memory_only());
    first.settle().await;
    let claim = first.api.object(Kind::VolumeClaim, "demo-memory");
    assert_eq!(claim["metadata"]["ownerReferences"], Value::Null);

    let second = Scene::new(memory_only());
    second.change(Kind::VolumeClaim, "demo-memory", |object| *object = claim);
    let (looked, calls) = second.look().await;
    assert_eq!(looked.result, "ok");
    assert!(!calls.iter().any(|call| call.ends_with("persistentvolumeclaims/demo-memory")), "{calls:?}");
    assert!(calls.contains(&"PATCH apps/v1/deployments/demo-memory".to_owned()));
}

#[tokio::test]
async fn what_is_left_of_an_earlier_system_is_waited_for() {
    let scene = Scene::new(memory_only());
    scene.settle().await;
    scene.change(Kind::Service, "demo-memory", |service| {
        service["metadata"]["ownerReferences"][0]["uid"] = json!("an-earlier-one");
    });
    assert_eq!(scene.look().await.1, [""; 0]);
    scene.api.delete(&scene.context.cache, Kind::Service, "demo-memory");
    assert_eq!(
        scene.look().await.1,
        ["GET services/demo-memory", "PATCH services/demo-memory", "EVENT Created"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_told_and_not_sent_again_at_once() {
    let scene = Scene::new(memory_only());
    scene.api.refuse(Kind::Service, "demo-memory", Some((422, "port is taken\n(a long difference)")));
    let (looked, _) = scene.look().await;
    assert_eq!(looked.result, "refused");
    assert!(
        matches!(looked.next, Next::After(delay) if delay <= Duration::from_secs(5)),
        "{:?}",
        looked.next
    );
    assert_eq!(scene.condition("Ready").1, "ApplyFailed");
    assert_eq!(scene.condition("Degraded").2, "the API refuses Service demo-memory: port is taken");
    assert_eq!(scene.look().await.1, ["GET services/demo-memory"]);
    scene.api.refuse(Kind::Service, "demo-memory", None);
    let mut spec = memory_only();
    spec["servers"]["memory"] = json!({"port": 9003});
    scene.set(spec, 2);
    assert!(scene.look().await.1.contains(&"PATCH services/demo-memory".to_owned()), "it is another one now");
    assert_eq!(scene.condition("Stalled").0, "False");
}

#[tokio::test]
async fn a_system_that_cannot_work_touches_nothing() {
    let scene = Scene::new(memory_only());
    scene.settle().await;
    scene.set(json!({"storage": {"type": "Postgres"}}), 2);
    let (looked, calls) = scene.look().await;
    assert_eq!((looked.result, looked.next), ("invalid", Next::Rest));
    assert_eq!(calls, ["PATCH mcpsystem.io/v1alpha1/mcpsystems/demo/status", "EVENT InvalidSpec"]);
    assert_eq!(scene.look().await.1, [""; 0]);
}

#[tokio::test]
async fn what_runs_is_observed_though_the_spec_cannot_be_carried_out() {
    let scene = Scene::new(memory_only());
    scene.settle().await;
    let unreadable = json!({"servers": {"memory": {"port": "none"}}});
    for broken in [json!({"storage": {"type": "Postgres"}}), unreadable] {
        scene.set(broken, 2);
        scene.look().await;
        for (ready, message) in [(1, "memory was not asked yet"), (0, "memory: 0 of 1 ready")] {
            scene.change(Kind::Deployment, "demo-memory", |deployment| {
                deployment["status"] = json!({"replicas": 1, "updatedReplicas": 1, "readyReplicas": ready});
            });
            assert_eq!(scene.look().await.1, ["PATCH mcpsystem.io/v1alpha1/mcpsystems/demo/status"]);
            let server = scene.api.raw(SYSTEM)["status"]["servers"][0].clone();
            assert_eq!((&server["ready"], &server["message"]), (&json!(ready), &json!(message)));
            assert_eq!(scene.condition("Stalled").1, "InvalidSpec");
            assert_eq!(scene.look().await.1, [""; 0]);
        }
    }
}

#[tokio::test]
async fn an_unreadable_system_is_told_so() {
    let scene = Scene::new(json!({"servers": {"memory": {"port": "none"}}}));
    let (looked, calls) = scene.look().await;
    assert_eq!(looked.result, "unreadable");
    assert_eq!(calls, ["PATCH mcpsystem.io/v1alpha1/mcpsystems/demo/status", "EVENT InvalidSpec"]);
    assert_eq!(scene.look().await.1, [""; 0]);
}

#[tokio::test]
async fn nothing_is_written_without_the_lead() {
    let (_sender, receiver) = watch::channel(None);
    let scene = Scene::led_by(memory_only(), Leadership::ByLease(receiver));
    let (looked, calls) = scene.look().await;
    assert_eq!((looked.result, looked.next), ("error", Next::Retry));
    assert!(calls.iter().all(|call| call.starts_with("GET")), "{calls:?}");
}

#[tokio::test]
async fn a_system_on_its_way_out_is_left_to_the_garbage_collector() {
    let scene = Scene::new(memory_only());
    scene.settle().await;
    let mut object = scene.api.raw(SYSTEM);
    object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    object["metadata"]["resourceVersion"] = json!(scene.api.next_version());
    scene.context.cache.put_system(dynamic(&object));
    scene.api.delete(&scene.context.cache, Kind::Service, "demo-memory");
    let (looked, calls) = scene.look().await;
    assert_eq!((looked.result, calls.len()), ("gone", 0));
}

#[tokio::test]
async fn a_system_whose_end_is_seen_before_the_answer_to_a_write_stays_gone() {
    let scene = Scene::new(memory_only());
    let (cache, object) = (scene.context.cache.clone(), dynamic(&scene.api.raw(SYSTEM)));
    scene.api.meanwhile(&format!("{SYSTEM}/status"), move || drop(cache.remove_system(&object)));
    scene.look().await;
    assert_eq!(scene.context.cache.systems(), []);
    assert_eq!(scene.look().await.0.result, "gone");
}

#[tokio::test]
async fn what_is_true_of_a_system_is_shown_until_it_is_gone() {
    let scene = Scene::new(memory_only());
    assert_eq!(scene.shown(), [""; 0]);
    scene.look().await;
    assert_eq!(scene.shown(), ["Ready 0", "Stalled 0", "Degraded 0"]);
    // With no server at all, none is missing.
    let mut spec = memory_only();
    spec["servers"]["memory"] = json!({"enabled": false});
    scene.set(spec.clone(), 2);
    scene.settle().await;
    assert_eq!(scene.shown(), ["Ready 1", "Stalled 0", "Degraded 0"]);
    // The next leader shows it, though there is nothing to write.
    scene.context.metrics.lead(false);
    assert_eq!(scene.shown(), [""; 0]);
    assert_eq!(scene.look().await.1, [""; 0]);
    assert_eq!(scene.shown(), ["Ready 1", "Stalled 0", "Degraded 0"]);
    spec["suspend"] = json!(true);
    scene.set(spec, 3);
    scene.settle().await;
    assert_eq!(scene.condition("Ready").1, "Suspended");
    assert_eq!(scene.shown(), ["Stalled 0", "Degraded 0"]);
    scene.set(json!({"storage": {"type": "Postgres"}}), 4);
    scene.look().await;
    assert_eq!(scene.shown(), ["Ready 0", "Stalled 1", "Degraded 0"]);
    scene.context.cache.remove_system(&dynamic(&scene.api.raw(SYSTEM)));
    assert_eq!(scene.look().await.0.result, "gone");
    assert_eq!(scene.shown(), [""; 0]);
}

#[tokio::test]
async fn ready_means_that_it_answered() {
    let scene = Scene::new(memory_only());
    scene.settle().await;
    scene.change(Kind::Deployment, "demo-memory", |deployment| {
        deployment["status"] = json!({"replicas": 1, "updatedReplicas": 1, "readyReplicas": 1});
    });
    assert_eq!(scene.look().await.1, ["PATCH mcpsystem.io/v1alpha1/mcpsystems/demo/status"]);
    assert_eq!(scene.condition("Ready").2, "memory was not asked yet");
}

/// An orchestrator with memory behind it: what is called with a key.
fn with_keys() -> Value {
    json!({"servers": {"tools": {"enabled": false}}})
}

fn start_pod(scene: &Scene, name: &str, server: &str, is_ready: bool) {
    scene.change(Kind::Pod, name, |pod| {
        pod["metadata"]["labels"] = json!({
            "app.kubernetes.io/instance": "demo",
            "app.kubernetes.io/component": server,
            "app.kubernetes.io/managed-by": "mcp-system-operator",
        });
        let status = if is_ready { "True" } else { "False" };
        pod["status"] = json!({"conditions": [{"type": "Ready", "status": status}]});
    });
}

#[tokio::test(start_paused = true)]
async fn keys_are_made_before_the_pods_that_mount_them_and_never_read() {
    let scene = Scene::new(with_keys());
    let (_, calls) = scene.look().await;
    assert_eq!(calls[0], "POST secrets");
    assert_eq!(calls.iter().filter(|call| call.contains("secrets")).count(), 1, "{calls:?}");
    let secret = scene.api.raw("/api/v1/namespaces/test/secrets");
    assert_eq!(secret["metadata"]["name"], "demo-callers");
    assert_eq!(secret["metadata"]["ownerReferences"][0]["uid"], "the-uid");
    let orchestrator = secret["stringData"]["orchestrator"].as_str().expect("a key");
    assert_eq!(orchestrator.len(), 64);
    assert!(!secret["stringData"]["keys.yaml"].as_str().expect("a file").contains(orchestrator));
    // Pods that do not start for a reason of their own tell nothing of it.
    assert_eq!(scene.look().await.1, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn keys_that_may_be_missing_are_made_again_while_pods_wait_for_them() {
    let scene = Scene::new(with_keys());
    scene.settle().await;
    start_pod(&scene, "demo-memory-1", "memory", false);
    let (looked, calls) = scene.look().await;
    assert_eq!(calls, [""; 0]);
    let Next::After(delay) = looked.next else { panic!("{looked:?}") };
    tokio::time::advance(delay).await;
    scene.api.refuse_path(
        "/api/v1/namespaces/test/secrets",
        Some((409, "secrets \"demo-callers\" already exists")),
    );
    assert_eq!(scene.look().await.1, ["POST secrets"], "that it is there is no failure");
    assert_eq!(scene.condition("Stalled").0, "False");
    assert_eq!(scene.look().await.1, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn pods_that_wait_for_a_secret_of_the_users_do_not_have_ours_made_for_ever() {
    let mut spec = with_keys();
    spec["callers"] = json!({"secretRef": {"name": "team"}});
    let scene = Scene::new(spec);
    scene.settle().await;
    scene.api.refuse_path("/api/v1/namespaces/test/secrets", Some((409, "it already exists")));
    start_pod(&scene, "demo-orchestrator-1", "orchestrator", false);
    let mut calls = Vec::new();
    for _ in 0..20 {
        let (looked, sent) = scene.look().await;
        calls.extend(sent);
        let Next::After(delay) = looked.next else { break };
        tokio::time::advance(delay).await;
    }
    assert_eq!(scene.look().await.0.next, Next::Rest);
    assert!(calls.iter().all(|call| call == "POST secrets"), "{calls:?}");
    assert!((1..10).contains(&calls.len()), "{calls:?}");
}

#[tokio::test(start_paused = true)]
async fn keys_that_a_pod_has_mounted_are_there_whatever_else_it_waits_for() {
    let scene = Scene::new(with_keys());
    scene.settle().await;
    start_pod(&scene, "demo-memory-1", "memory", false);
    scene.change(Kind::Pod, "demo-memory-1", |pod| {
        pod["status"] = json!({"conditions": [
            {"type": "Ready", "status": "False"},
            {"type": "PodReadyToStartContainers", "status": "True"},
        ]});
    });
    let (looked, calls) = scene.look().await;
    assert_eq!((looked.next, calls), (Next::Rest, Vec::new()));
    // Another leader, which knows nothing of all this.
    scene.context.keys.forget(&scene.key);
    assert_eq!(scene.look().await.1, [""; 0]);
}

#[tokio::test]
async fn keys_that_cannot_be_made_are_told() {
    let scene = Scene::new(with_keys());
    scene.api.refuse_path("/api/v1/namespaces/test/secrets", Some((403, "secrets is forbidden: no right")));
    scene.look().await;
    let (status, reason, message) = scene.condition("Stalled");
    assert_eq!((status.as_str(), reason.as_str()), ("True", "ApplyFailed"));
    assert!(
        message.contains("the API refuses Secret demo-callers") && message.contains("no right"),
        "{message}"
    );
    assert_eq!(scene.look().await.1, [""; 0]);
}
