//! What is decided about objects that exist.

use crate::apply::decide::{Step, Why, decide};
use crate::child::Child;
use crate::kind::Kind;
use crate::render::tests::planned;
use crate::render::{Desired, Owner, render};
use mcp_system_crds::{ReclaimPolicy, read_one};
use serde_json::{Value, json};

fn owner() -> Owner {
    Owner { namespace: "test".to_owned(), name: "demo".to_owned(), uid: "the-uid".to_owned() }
}

fn desired(kind: Kind, size: &str, class: Option<&str>, reclaim: ReclaimPolicy) -> Desired {
    let text = "{apiVersion: mcpsystem.io/v1alpha1, kind: McpSystem, metadata: {name: demo, namespace: test}, spec: {}}";
    let mut system = read_one(text).expect("accepted");
    let embedded = &mut system.spec.storage.embedded;
    embedded.size = size.to_owned();
    embedded.storage_class_name = class.map(str::to_owned);
    embedded.reclaim_policy = reclaim;
    render(&planned(&system), &owner(), true)
        .into_iter()
        .find(|object| object.kind == kind && object.server == "memory")
        .expect("rendered")
}

fn claim(size: &str) -> Desired {
    desired(Kind::VolumeClaim, size, None, ReclaimPolicy::Retain)
}

/// The object as it stands in the cluster, with what the API and others add.
fn child(object: &Desired, change: impl FnOnce(&mut Value)) -> Child {
    let mut body = object.body.clone();
    body["metadata"]["uid"] = json!("object-uid");
    body["metadata"]["resourceVersion"] = json!("7");
    body["metadata"]["labels"]["foreign"] = json!("x");
    body["status"] = json!({});
    if object.kind == Kind::VolumeClaim {
        body["spec"]["storageClassName"] = json!("standard");
        body["spec"]["volumeMode"] = json!("Filesystem");
    }
    change(&mut body);
    Child::read(object.kind, serde_json::from_value(body).expect("an object"))
}

fn step(object: &Desired, change: impl FnOnce(&mut Value)) -> Step {
    decide(object, &child(object, change), &owner()).step
}

#[test]
fn an_object_as_it_should_be_is_settled_and_then_kept() {
    for kind in [Kind::ServiceAccount, Kind::ConfigMap, Kind::VolumeClaim, Kind::Service, Kind::Deployment] {
        let object = desired(kind, "1Gi", None, ReclaimPolicy::Retain);
        let mut child = child(&object, |_| {});
        assert_eq!(decide(&object, &child, &owner()).step, Step::Settle, "{kind:?}");
        child.settled = Some(object.hash.clone());
        child.content = None;
        assert_eq!(decide(&object, &child, &owner()).step, Step::Keep);
        child.settled = Some("another".to_owned());
        assert!(matches!(decide(&object, &child, &owner()).step, Step::Write(_, Why::Plan)));
    }
}

#[test]
fn a_change_of_the_plan_and_one_by_hand_are_told_apart() {
    let object = desired(Kind::Service, "1Gi", None, ReclaimPolicy::Retain);
    let by_hand = step(&object, |service| service["spec"]["selector"] = json!({"app": "other"}));
    let Step::Write(body, Why::Drift) = by_hand else { panic!("{by_hand:?}") };
    assert_eq!(body["metadata"]["uid"], "object-uid");
    let by_plan =
        step(&object, |service| service["metadata"]["annotations"]["mcpsystem.io/applied"] = json!("old"));
    assert!(matches!(by_plan, Step::Write(_, Why::Plan)), "{by_plan:?}");
}

#[test]
fn whose_an_object_is_decides_first() {
    let object = desired(Kind::Service, "1Gi", None, ReclaimPolicy::Retain);
    let owned_by = |kind: &str, name: &str, uid: &str| {
        step(&object, |service| {
            service["metadata"]["ownerReferences"][0]["kind"] = json!(kind);
            service["metadata"]["ownerReferences"][0]["name"] = json!(name);
            service["metadata"]["ownerReferences"][0]["uid"] = json!(uid);
        })
    };
    assert_eq!(owned_by("McpSystem", "demo", "an-earlier-uid"), Step::Wait);
    assert!(matches!(owned_by("McpSystem", "other", "other-uid"), Step::Refuse(_)));
    assert!(matches!(owned_by("Deployment", "demo", "other-uid"), Step::Refuse(_)));
    assert!(matches!(
        step(&object, |service| service["metadata"]["ownerReferences"] = json!(null)),
        Step::Refuse(_)
    ));
    let deleting =
        step(&object, |service| service["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z"));
    assert_eq!(deleting, Step::Wait);
}

#[test]
fn a_claim_without_our_labels_is_not_ours_and_the_message_says_how_to_hand_it_over() {
    let refused = step(&claim("1Gi"), |claim| claim["metadata"]["labels"] = json!({}));
    let Step::Refuse(finding) = refused else { panic!("{refused:?}") };
    assert!(finding.message.contains("app.kubernetes.io/instance=demo"), "{}", finding.message);
}

#[test]
fn a_claim_grows_and_never_shrinks() {
    let small = claim("1Gi");
    let grown = decide(&claim("2Gi"), &child(&small, |_| {}), &owner());
    let Step::Write(body, Why::Plan) = grown.step else { panic!("{grown:?}") };
    assert_eq!(body["spec"]["resources"]["requests"]["storage"], "2Gi");
    assert_eq!(body["spec"]["storageClassName"], "standard", "what cannot change is sent as it is");

    let shrunk = decide(&claim("512Mi"), &child(&small, |_| {}), &owner());
    let Step::Write(body, _) = &shrunk.step else { panic!("{shrunk:?}") };
    assert_eq!(body["spec"]["resources"]["requests"]["storage"], "1Gi");
    assert!(shrunk.shortfalls[0].message.contains("cannot shrink to 512Mi"), "{shrunk:?}");
}

#[test]
fn a_storage_class_that_cannot_change_is_told() {
    let other = desired(Kind::VolumeClaim, "1Gi", Some("fast"), ReclaimPolicy::Retain);
    let decided = decide(&other, &child(&claim("1Gi"), |_| {}), &owner());
    assert!(decided.shortfalls[0].message.contains("standard"), "{decided:?}");
}

#[test]
fn what_becomes_of_a_claim_can_change() {
    let delete = desired(Kind::VolumeClaim, "1Gi", None, ReclaimPolicy::Delete);
    let decided = decide(&delete, &child(&claim("1Gi"), |_| {}), &owner());
    let Step::Write(body, _) = decided.step else { panic!("{decided:?}") };
    assert_eq!(body["metadata"]["ownerReferences"][0]["uid"], "the-uid");
    let retain = decide(&claim("1Gi"), &child(&delete, |_| {}), &owner());
    let Step::Write(body, _) = retain.step else { panic!("{retain:?}") };
    assert_eq!(body["metadata"].get("ownerReferences"), None);
}

/// The Deployment of the tools server, by what the file says of that.
fn tools(settings: &str) -> Desired {
    let text = format!(
        "{{apiVersion: mcpsystem.io/v1alpha1, kind: McpSystem, metadata: {{name: demo, namespace: test}},
          spec: {{servers: {{tools: {settings}}}}}}}"
    );
    render(&planned(&read_one(&text).expect("accepted")), &owner(), true)
        .into_iter()
        .find(|object| object.kind == Kind::Deployment && object.server == "tools")
        .expect("rendered")
}

/// That Deployment with so many copies, the number being a field of this manager's.
fn with_copies(object: &Desired, copies: u32, manager: &str) -> Child {
    child(object, |deployment| {
        deployment["spec"]["replicas"] = json!(copies);
        deployment["metadata"]["managedFields"] = json!([{
            "manager": manager, "operation": "Apply", "fieldsType": "FieldsV1",
            "fieldsV1": {"f:spec": {"f:replicas": {}}},
        }]);
    })
}

#[test]
fn an_autoscaler_takes_over_the_copies_that_there_are_and_keeps_what_it_makes_of_them() {
    let (ours, others) = ("mcp-system", "kube-controller-manager");
    let (fixed, scaled) = (tools("{replicas: 3}"), tools("{autoscaling: {minReplicas: 2, maxReplicas: 5}}"));
    let sent = |object: &Desired, live: &Child| match decide(object, live, &owner()).step {
        Step::Write(body, Why::Plan) => body["spec"]["replicas"].clone(),
        step => panic!("{step:?}"),
    };
    assert_eq!(sent(&scaled, &with_copies(&fixed, 3, ours)), 3, "left out, it would become 1");
    assert_eq!(sent(&scaled, &with_copies(&fixed, 0, ours)), 2, "it was suspended");
    assert_eq!(sent(&scaled, &with_copies(&fixed, 4, others)), Value::Null);
    assert_eq!(sent(&fixed, &with_copies(&scaled, 4, others)), 3, "the file decides again");
    for live in [with_copies(&scaled, 3, ours), with_copies(&scaled, 5, others)] {
        assert_eq!(decide(&scaled, &live, &owner()).step, Step::Settle);
    }
}

#[test]
fn somebody_elses_autoscaler_is_held_to_the_bounds_that_the_file_has_now() {
    let external = |bounds: &str| tools(&format!("{{autoscaling: {{type: External, {bounds}}}}}"));
    let scaled = external("minReplicas: 2, maxReplicas: 4");
    for manager in ["mcp-system", "keda"] {
        let step = |copies| decide(&scaled, &with_copies(&scaled, copies, manager), &owner()).step;
        for within in 2..=4 {
            assert_eq!(step(within), Step::Settle, "{manager}");
        }
        for (beyond, kept) in [(1, 2), (5, 4)] {
            let step = step(beyond);
            let Step::Write(body, Why::Drift) = step else { panic!("{manager}, {beyond}: {step:?}") };
            assert_eq!(body["spec"]["replicas"], kept, "{manager}");
        }
    }
    // No copies at all are none of the system's business, unless it has brought them to that itself, being suspended.
    let none = |manager| decide(&scaled, &with_copies(&scaled, 0, manager), &owner()).step;
    assert_eq!(none("keda"), Step::Settle);
    assert!(matches!(none("mcp-system"), Step::Write(..)));
    // Once it was found to be as it should be, nothing but this tells that it is not any more.
    let live = with_copies(&scaled, 3, "keda");
    let settled = Child { settled: Some(scaled.hash.clone()), content: None, ..live };
    assert_eq!(decide(&scaled, &settled, &owner()).step, Step::Keep);
    for (bounds, sent) in [
        ("minReplicas: 4, maxReplicas: 6", json!(4)),
        ("minReplicas: 1, maxReplicas: 2", json!(2)),
        ("minReplicas: 3, maxReplicas: 9", Value::Null),
    ] {
        let step = decide(&external(bounds), &settled, &owner()).step;
        let Step::Write(body, Why::Plan) = step else { panic!("{bounds}: {step:?}") };
        assert_eq!(body["spec"]["replicas"], sent, "{bounds}");
    }
}
