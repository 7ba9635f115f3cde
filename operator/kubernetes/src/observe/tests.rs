//! What pods and Deployments say, in words that stay the same while nothing happens.

use super::*;
use crate::cache::Cache;
use crate::kind::SystemKey;
use crate::render::tests::planned;
use mcp_system_crds::read_one;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::sync::LazyLock;

/// Read once: the schema behind it takes its time.
static PLAN: LazyLock<Plan> = LazyLock::new(|| {
    planned(
        &read_one(
            "{apiVersion: mcpsystem.io/v1alpha1, kind: McpSystem, metadata: {name: demo, namespace: test},
              spec: {servers: {orchestrator: {enabled: false}, memory: {enabled: false}}}}",
        )
        .expect("accepted"),
    )
});

/// One whose tools server has an autoscaler.
static SCALED: LazyLock<Plan> = LazyLock::new(|| {
    planned(
        &read_one(
            "{apiVersion: mcpsystem.io/v1alpha1, kind: McpSystem, metadata: {name: demo, namespace: test},
              spec: {servers: {orchestrator: {enabled: false}, memory: {enabled: false},
                tools: {autoscaling: {maxReplicas: 3}}}}}",
        )
        .expect("accepted"),
    )
});

fn object(name: &str, rest: Value) -> kube::core::DynamicObject {
    let mut object = rest;
    object["metadata"]["name"] = json!(name);
    object["metadata"]["namespace"] = json!("test");
    object["metadata"]["uid"] = json!(format!("uid-of-{name}"));
    object["metadata"]["labels"] = json!({
        "app.kubernetes.io/managed-by": "mcp-system-operator",
        "app.kubernetes.io/instance": "demo",
        "app.kubernetes.io/component": "tools",
    });
    serde_json::from_value(object).expect("an object")
}

/// A Deployment of which all copies have been ready since then, or have not.
fn available(status: &str, since: Timestamp) -> Value {
    let since = since.to_string();
    json!({"status": {"conditions": [{"type": "Available", "status": status, "lastTransitionTime": since}]}})
}

/// The tools server as it is seen with this Deployment status and these pod statuses.
fn seen(deployment: &Value, pods: &[Value], now: Timestamp) -> (ObservedServer, Option<Duration>) {
    seen_of(&PLAN, deployment, pods, now)
}

fn seen_of(
    plan: &Plan,
    deployment: &Value,
    pods: &[Value],
    now: Timestamp,
) -> (ObservedServer, Option<Duration>) {
    let cache = Cache::default();
    cache.put(
        Kind::Deployment,
        object("demo-tools", json!({"metadata": {"generation": 2}, "status": deployment})),
    );
    for (index, status) in pods.iter().enumerate() {
        let spec = json!({"containers": [{"name": "server", "image": "registry.example/tools:9"}]});
        cache.put(Kind::Pod, object(&format!("demo-tools-{index}"), json!({"spec": spec, "status": status})));
    }
    let family = cache.family(&SystemKey::new("test", "demo"));
    let mut seen = observe(plan, "demo", &family, &BTreeMap::new(), now);
    (seen.servers.remove("tools").expect("is planned"), seen.again)
}

fn message(pods: &[Value]) -> Option<String> {
    seen(&json!({}), pods, Timestamp::now()).0.failure.map(|failure| failure.message)
}

fn waiting(reason: &str, message: &str, restarts: u32) -> Value {
    json!({"containerStatuses": [{
        "name": "server", "image": "other-name", "imageID": "", "ready": false, "restartCount": restarts,
        "state": {"waiting": {"reason": reason, "message": message}},
        "lastState": {"terminated": {"exitCode": 3, "reason": "Error"}},
    }]})
}

fn running(restarts: u32) -> Value {
    json!({"containerStatuses": [{
        "name": "server", "image": "i", "imageID": "", "ready": false, "restartCount": restarts,
        "state": {"running": {}}, "lastState": {"terminated": {"exitCode": 3, "reason": "Error"}},
    }]})
}

fn terminated(reason: &str, code: i32, restarts: u32) -> Value {
    json!({"containerStatuses": [{
        "name": "server", "image": "i", "imageID": "", "ready": false, "restartCount": restarts,
        "state": {"terminated": {"exitCode": code, "reason": reason}},
    }]})
}

#[test]
fn a_deployment_is_current_when_all_its_copies_are() {
    let current = |status: Value| seen(&status, &[], Timestamp::now()).0;
    let server =
        current(json!({"observedGeneration": 2, "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1}));
    assert_eq!((server.ready, server.running, server.current, server.answered), (1, 1, true, None));
    assert!(
        !current(json!({"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1}))
            .current
    );
    assert!(
        !current(json!({"observedGeneration": 2, "replicas": 2, "updatedReplicas": 1, "readyReplicas": 2}))
            .current
    );
}

#[test]
fn another_number_of_copies_makes_none_of_them_an_older_one() {
    let cache = Cache::default();
    let current = |generation: i64, observed: i64, replicas: u32, note: &str| {
        let spec = json!({"replicas": replicas, "template": {"metadata": {"annotations": {"note": note}}}});
        let status =
            json!({"observedGeneration": observed, "replicas": 2, "updatedReplicas": 2, "readyReplicas": 2});
        let live = json!({"metadata": {"generation": generation}, "spec": spec, "status": status});
        cache.put(Kind::Deployment, object("demo-tools", live));
        let family = cache.family(&SystemKey::new("test", "demo"));
        observe(&PLAN, "demo", &family, &BTreeMap::new(), Timestamp::now()).servers["tools"].current
    };
    assert!(current(2, 2, 2, "a"));
    assert!(current(3, 2, 4, "a"), "an autoscaler wants more");
    assert!(!current(4, 3, 4, "b"), "the plan wants others");
    assert!(!current(5, 3, 2, "b"));
    assert!(current(5, 4, 2, "b"));
}

#[test]
fn as_many_copies_are_wanted_as_the_deployment_says() {
    let cache = Cache::default();
    let live = json!({"metadata": {"generation": 1}, "spec": {"replicas": 4}});
    cache.put(Kind::Deployment, object("demo-tools", live));
    let family = cache.family(&SystemKey::new("test", "demo"));
    let seen = observe(&PLAN, "demo", &family, &BTreeMap::new(), Timestamp::now());
    assert_eq!(seen.servers["tools"].wanted, 4);
}

#[test]
fn an_autoscaler_that_cannot_decide_is_told_once_that_has_lasted_and_in_the_same_words() {
    let start: Timestamp = "2026-01-01T00:00:00Z".parse().expect("a time");
    let after = |seconds: i64| start + k8s_openapi::jiff::SignedDuration::from_secs(seconds);
    let cache = Cache::default();
    cache.put(Kind::Deployment, object("demo-tools", available("True", start)));
    // Whether anything is new, what is told, and when to look again.
    let at = |seconds: i64, conditions: Value| {
        let live = json!({"status": {"conditions": conditions}});
        let is_news = !cache.put(Kind::Autoscaler, object("demo-tools", live)).is_empty();
        let family = cache.family(&SystemKey::new("test", "demo"));
        let seen = observe(&SCALED, "demo", &family, &BTreeMap::new(), after(seconds));
        let told: Vec<String> = seen.shortfalls.into_iter().map(|finding| finding.message).collect();
        (is_news, told.join("; "), seen.again.map(|again| again.as_secs()))
    };
    let fails = |type_: &str, reason: &str, words: &str, since: i64| {
        json!([{
            "type": type_, "status": "False", "reason": reason, "message": words,
            "lastTransitionTime": after(since).to_string(),
        }])
    };
    let unmeasured = |words: &str, since| fails("ScalingActive", "FailedGetResourceMetric", words, since);
    let told = |what: &str| format!("tools: its HorizontalPodAutoscaler cannot scale it: {what}");
    let nothing = String::new;

    assert_eq!(at(0, Value::Null), (true, nothing(), None), "its conditions come later");
    assert_eq!(at(15, unmeasured("no metrics", 15)), (true, nothing(), Some(120)));
    assert_eq!(at(75, unmeasured("no metrics", 15)), (false, nothing(), Some(60)));
    let first = told("FailedGetResourceMetric: no metrics");
    assert_eq!(at(135, unmeasured("no metrics", 15)), (false, first.clone(), None));
    assert_eq!(at(140, unmeasured("the server is busy", 139)), (false, first, None));
    let lost = fails("AbleToScale", "FailedGetScale", "not found", 145);
    assert_eq!(at(145, lost), (true, told("FailedGetScale: not found"), None));
    let off = fails("ScalingActive", "ScalingDisabled", "no copies are wanted", 150);
    assert_eq!(at(150, off), (true, nothing(), None));
    let works = json!([{"type": "ScalingActive", "status": "True"}]);
    assert_eq!(at(155, works), (false, nothing(), None));
}

#[test]
fn an_autoscaler_has_its_time_once_all_copies_are_ready() {
    let start: Timestamp = "2026-01-01T00:00:00Z".parse().expect("a time");
    let after = |seconds: i64| start + k8s_openapi::jiff::SignedDuration::from_secs(seconds);
    let cache = Cache::default();
    let unmeasured = json!({"status": {"conditions": [{
        "type": "ScalingActive", "status": "False", "reason": "FailedGetResourceMetric",
        "lastTransitionTime": start.to_string(),
    }]}});
    cache.put(Kind::Autoscaler, object("demo-tools", unmeasured));
    // Whether it is told, and when to look again.
    let at = |seconds: i64, status: &str, since: i64| {
        cache.put(Kind::Deployment, object("demo-tools", available(status, after(since))));
        let family = cache.family(&SystemKey::new("test", "demo"));
        let seen = observe(&SCALED, "demo", &family, &BTreeMap::new(), after(seconds));
        (!seen.shortfalls.is_empty(), seen.again.map(|again| again.as_secs()))
    };
    assert_eq!(at(600, "False", 0), (false, None), "they are on their way");
    assert_eq!(at(610, "True", 605), (false, Some(115)));
    assert_eq!(at(725, "True", 605), (true, None));
    assert_eq!(at(730, "False", 730), (false, None), "there is something else to tell");
}

#[test]
fn an_image_that_cannot_be_had_is_one_situation() {
    let expected = "the image registry.example/tools:9 cannot be pulled: check its name, the registry and the pull secrets";
    for (reason, text) in [
        ("ErrImagePull", "rpc error at 12:03"),
        ("ImagePullBackOff", "Back-off 5m0s"),
        ("InvalidImageName", ""),
    ] {
        assert_eq!(message(&[waiting(reason, text, 0)]).as_deref(), Some(expected));
    }
    assert_eq!(message(&[waiting("ContainerCreating", "", 0)]), None);
}

#[test]
fn a_missing_secret_is_named() {
    let pod = waiting("CreateContainerConfigError", "secret \"search\" not found", 0);
    assert_eq!(message(&[pod]).as_deref(), Some("its container cannot be made: secret \"search\" not found"));
}

#[test]
fn a_container_that_ends_again_and_again_is_one_situation_whatever_it_does_now() {
    let expected = "it ends again and again: exit code 3; its log tells why";
    for pod in [waiting("CrashLoopBackOff", "back-off 40s", 4), running(5), terminated("Error", 3, 6)] {
        assert_eq!(message(&[pod]).as_deref(), Some(expected));
    }
    assert_eq!(message(&[running(1)]), None, "once is no loop");
    let out_of_memory = message(&[terminated("OOMKilled", 137, 3)]).expect("a failure");
    assert!(out_of_memory.contains("raise resources.limits.memory"), "{out_of_memory}");
}

#[test]
fn restarts_of_the_past_do_not_count_against_a_container_that_has_run_for_a_while() {
    let since: Timestamp = "2026-01-01T00:00:00Z".parse().expect("a time");
    let mut pod = running(7);
    pod["containerStatuses"][0]["state"]["running"]["startedAt"] = json!("2026-01-01T00:00:00Z");
    let at = |minutes: i64| {
        let now = since + k8s_openapi::jiff::SignedDuration::from_mins(minutes);
        let (server, again) = seen(&json!({}), std::slice::from_ref(&pod), now);
        (server.failure.is_some(), again)
    };
    assert_eq!(at(4), (true, Some(Duration::from_mins(6))), "it may end once more, or not");
    assert_eq!(at(10), (false, None), "its probe fails for a reason of today");
}

#[test]
fn an_end_after_a_long_run_is_no_loop() {
    let end = |to: &str| json!({"terminated": {"exitCode": 3, "startedAt": "2026-01-01T00:00:00Z", "finishedAt": to}});
    for (to, is_loop) in [("2026-01-01T00:01:00Z", true), ("2026-01-01T00:10:00Z", false)] {
        let mut again = running(7);
        again["containerStatuses"][0]["lastState"] = end(to);
        let mut ended = terminated("Error", 3, 7);
        ended["containerStatuses"][0]["state"] = end(to);
        for pod in [again, ended] {
            assert_eq!(message(std::slice::from_ref(&pod)).is_some(), is_loop, "{pod}");
        }
    }
}

fn mover(state: &Value, restarts: u32) -> Value {
    json!({"initContainerStatuses": [{
        "name": "move", "image": "i", "imageID": "", "ready": false, "restartCount": restarts, "state": state,
        "lastState": {"terminated": {"exitCode": 1, "message": "a line\nerror: the database cannot be reached\n"}},
    }], "containerStatuses": [{
        "name": "server", "image": "i", "imageID": "", "ready": false, "restartCount": 0,
        "state": {"waiting": {"reason": "PodInitializing"}},
    }]})
}

#[test]
fn why_memories_are_not_moved_is_told_in_the_movers_own_words() {
    let expected = "its memories cannot be moved to PostgreSQL: the database cannot be reached";
    let end = json!({"terminated": {"exitCode": 1, "message": "error: the database cannot be reached"}});
    for state in [json!({"waiting": {"reason": "CrashLoopBackOff"}}), json!({"running": {}}), end] {
        assert_eq!(message(&[mover(&state, 3)]).as_deref(), Some(expected));
        assert_eq!(message(&[mover(&state, 1)]), None, "the database may just not be there yet");
    }
    let done = json!({"terminated": {"exitCode": 0, "message": "moved"}});
    assert_eq!(message(&[mover(&done, 9)]), None);
}

#[test]
fn a_move_may_take_its_time() {
    let slow = json!({"observedGeneration": 2, "conditions": [
        {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"},
    ]});
    let failure = |pod: Value| seen(&slow, &[pod], Timestamp::now()).0.failure;
    assert_eq!(failure(mover(&json!({"running": {}}), 0)), None);
    assert!(failure(mover(&json!({"waiting": {"reason": "PodInitializing"}}), 0)).is_some());
}

#[test]
fn a_ready_pod_has_no_trouble() {
    let mut pod = running(9);
    pod["conditions"] = json!([{"type": "Ready", "status": "True"}]);
    assert_eq!(message(&[pod]), None);
}

#[test]
fn a_pod_without_a_node_is_a_failure_after_a_while() {
    let since: Timestamp = "2026-01-01T00:00:00Z".parse().expect("a time");
    let pod = json!({"conditions": [{
        "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
        "message": "0/3 nodes are available", "lastTransitionTime": "2026-01-01T00:00:00Z",
    }]});
    let at = |seconds: i64| {
        let now = since + k8s_openapi::jiff::SignedDuration::from_secs(seconds);
        let (server, again) = seen(&json!({}), std::slice::from_ref(&pod), now);
        (server.failure.is_some(), again)
    };
    assert_eq!(at(10), (false, Some(Duration::from_secs(20))));
    assert_eq!(at(31), (true, None));
}

#[test]
fn a_pod_whose_volumes_are_missing_is_a_failure_that_names_what_it_mounts() {
    let since: Timestamp = "2026-01-01T00:00:00Z".parse().expect("a time");
    let pod = |mounted: &str| {
        let mut pod = waiting("ContainerCreating", "", 0);
        pod["phase"] = json!("Pending");
        pod["conditions"] = json!([
            {"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"},
            {"type": "PodReadyToStartContainers", "status": mounted},
        ]);
        pod
    };
    let at = |plan: &Plan, pod: Value, seconds: i64| {
        let now = since + k8s_openapi::jiff::SignedDuration::from_secs(seconds);
        let (server, again) = seen_of(plan, &json!({}), &[pod], now);
        (server.failure.map(|failure| failure.message), again)
    };
    let plan = planned(
        &read_one(
            "{apiVersion: mcpsystem.io/v1alpha1, kind: McpSystem, metadata: {name: demo, namespace: test},
              spec: {callers: {secretRef: {name: team}}, servers: {orchestrator: {enabled: false}, memory: {enabled: false},
                tools: {mounts: [{mountPath: /srv/notes, persistentVolumeClaim: {claimName: notes}},
                  {mountPath: /etc/shop, configMap: {name: shop, items: [{key: api, path: api.yaml}]}}]}}}}",
        )
        .expect("accepted"),
    );
    assert_eq!(at(&plan, pod("False"), 10), (None, Some(Duration::from_secs(50))));
    let message = "its pods wait for what they mount (the key keys.yaml of Secret team, ConfigMap shop with api, volume \
                   claim notes): create what is missing; kubectl describe pod tells which";
    assert_eq!(at(&plan, pod("False"), 60), (Some(message.to_owned()), None));
    assert_eq!(at(&plan, pod("True"), 60), (None, None), "an image may take longer");
    let mut evicted = pod("False");
    evicted["phase"] = json!("Failed");
    assert_eq!(at(&plan, evicted, 60), (None, None), "one that has ended waits for nothing");
    assert_eq!(at(&PLAN, pod("False"), 60), (None, None), "nothing of it is the user's");
}

#[test]
fn what_became_of_an_evicted_pod_says_nothing_of_its_server() {
    let mut evicted = terminated("Error", 137, 5);
    assert!(message(std::slice::from_ref(&evicted)).is_some());
    evicted["phase"] = json!("Failed");
    assert_eq!(message(&[evicted]), None);
}

#[test]
fn a_claim_that_keeps_pods_from_a_node_is_named() {
    let plan = planned(
        &read_one(
            "{apiVersion: mcpsystem.io/v1alpha1, kind: McpSystem, metadata: {name: demo, namespace: test},
              spec: {servers: {orchestrator: {enabled: false}, memory: {enabled: false},
                tools: {mounts: [{mountPath: /srv/notes, persistentVolumeClaim: {claimName: notes}}]}}}}",
        )
        .expect("accepted"),
    );
    let pod = json!({"conditions": [{
        "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }]});
    let (server, _) = seen_of(&plan, &json!({}), &[pod], Timestamp::now());
    let message = server.failure.expect("a failure").message;
    assert!(message.ends_with("; it mounts volume claim notes"), "{message}");
}

#[test]
fn what_the_deployment_tells_counts_when_no_pod_tells_more() {
    let slow = json!({"observedGeneration": 2, "conditions": [
        {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"},
    ]});
    let failure = |pods: &[Value]| seen(&slow, pods, Timestamp::now()).0.failure.expect("a failure");
    assert_eq!(failure(&[]).reason, Reason::ProgressDeadlineExceeded);
    assert_eq!(failure(&[running(5)]).reason, Reason::ServerFailing);

    let refused = |pod: &str, used: &str| {
        let message = format!(
            "pods \"{pod}\" is forbidden: exceeded quota: small, requested: cpu=1, used: cpu={used}, limited: cpu=2"
        );
        let status =
            json!({"conditions": [{"type": "ReplicaFailure", "status": "True", "message": message}]});
        seen(&status, &[], Timestamp::now()).0.failure.expect("a failure").message
    };
    assert_eq!(refused("demo-tools-x1", "2"), "its pods are refused: exceeded quota: small");
    assert_eq!(refused("demo-tools-x1", "2"), refused("demo-tools-y2", "1"));
}

proptest! {
    /// Two pods of one broken template, in whatever phase each of them is: always the same words.
    #[test]
    fn phases_do_not_change_the_words(phases in prop::collection::vec(0..3usize, 2..4), restarts in 2..50u32) {
        let pods: Vec<Value> = phases
            .iter()
            .map(|phase| match phase {
                0 => waiting("CrashLoopBackOff", &format!("back-off {restarts}s"), restarts),
                1 => running(restarts),
                _ => terminated("Error", 3, restarts),
            })
            .collect();
        let told = message(&pods);
        prop_assert_eq!(told.as_deref(), Some("it ends again and again: exit code 3; its log tells why"));
    }
}
