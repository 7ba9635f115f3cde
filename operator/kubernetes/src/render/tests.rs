//! Every object of a system with defaults only, and of one that sets everything.

use super::*;
use mcp_system_crds::{McpSystem, read_one};
use mcp_system_plan::{Embedded, Observed, Target, plan, validate};

pub(crate) fn planned(system: &McpSystem) -> Plan {
    let target = Target::Cluster { image: "registry.example/mcp-system:1.2.3".to_owned() };
    plan(&validate(system, &target, &Observed::default()).expect("valid"))
}

fn owner(plan: &Plan) -> Owner {
    Owner { namespace: plan.namespace.clone(), name: plan.system.clone(), uid: "the-uid".to_owned() }
}

fn default_system() -> McpSystem {
    read_one("{apiVersion: mcpsystem.io/v1alpha1, kind: McpSystem, metadata: {name: demo, namespace: test}, spec: {}}")
        .expect("accepted")
}

fn rich_system() -> McpSystem {
    read_one(include_str!("rich.yaml")).expect("accepted")
}

fn snapshot(name: &str, system: &McpSystem) {
    let plan = planned(system);
    let text: Vec<String> = render(&plan, &owner(&plan), true)
        .into_iter()
        .map(|object| serde_yaml::to_string(&object.body).expect("YAML"))
        .collect();
    insta::assert_snapshot!(name, text.join("---\n"));
}

#[test]
fn all_objects() {
    snapshot("default", &default_system());
    snapshot("rich", &rich_system());
}

fn postgres_system() -> McpSystem {
    read_one(
        "{apiVersion: mcpsystem.io/v1alpha1, kind: McpSystem, metadata: {name: demo, namespace: test}, spec: {
          storage: {type: Postgres, postgres: {urlSecret: {name: db, key: url}}},
          servers: {orchestrator: {enabled: false}, tools: {enabled: false}, memory: {replicas: 2}}}}",
    )
    .expect("accepted")
}

fn planned_beside(system: &McpSystem, embedded: Embedded) -> Plan {
    let target = Target::Cluster { image: "registry.example/mcp-system:1.2.3".to_owned() };
    plan(&validate(system, &target, &Observed { embedded, ..Observed::default() }).expect("valid"))
}

#[test]
fn a_deployment_that_moves_memories_and_the_one_after_it() {
    let system = postgres_system();
    let deployment = |embedded| {
        let plan = planned_beside(&system, embedded);
        let objects = render(&plan, &owner(&plan), false);
        let claims = objects.iter().filter(|object| object.kind == Kind::VolumeClaim).count();
        let deployment = objects.into_iter().find(|object| object.kind == Kind::Deployment).expect("one");
        (claims, serde_yaml::to_string(&deployment.body["spec"]).expect("YAML"))
    };
    let ((before, moving), (after, moved)) = (deployment(Embedded::Present), deployment(Embedded::Moved));
    assert_eq!((before, after), (1, 0));
    insta::assert_snapshot!("moving", moving);
    insta::assert_snapshot!("moved", moved);
}

#[test]
fn monitors_only_where_the_api_has_them_and_they_are_wanted() {
    let count = |system: &McpSystem, monitors: bool| {
        let plan = planned(system);
        render(&plan, &owner(&plan), monitors)
            .iter()
            .filter(|object| object.kind == Kind::ServiceMonitor)
            .count()
    };
    let mut system = default_system();
    assert_eq!((count(&system, true), count(&system, false)), (3, 0));
    system.spec.monitoring.enabled = false;
    assert_eq!(count(&system, true), 0);
}

#[test]
fn the_same_plan_gives_the_same_objects_and_another_gives_other_hashes() {
    let mut system = default_system();
    let objects = |system: &McpSystem| {
        let plan = planned(system);
        render(&plan, &owner(&plan), true)
    };
    let first = objects(&system);
    assert_eq!(first, objects(&system));
    system.spec.servers.tools.workload.replicas = 3;
    let changed: Vec<_> = first
        .iter()
        .zip(objects(&system))
        .filter(|(before, after)| before.hash != after.hash)
        .map(|(before, _)| (before.kind, before.name.clone()))
        .collect();
    assert_eq!(changed, [(Kind::Deployment, "demo-tools".to_owned())]);
}

#[test]
fn whatever_a_pod_needs_is_written_before_it() {
    let plan = planned(&rich_system());
    let kinds: Vec<Kind> = render(&plan, &owner(&plan), true).into_iter().map(|object| object.kind).collect();
    assert!(kinds.is_sorted());
    assert!(Kind::ConfigMap < Kind::Deployment && Kind::VolumeClaim < Kind::Deployment);
}

/// What the restricted Pod Security Standard asks for.
#[test]
fn pods_are_restricted() {
    let moving = planned_beside(&postgres_system(), Embedded::Present);
    for plan in [planned(&default_system()), planned(&rich_system()), moving] {
        for object in render(&plan, &owner(&plan), true) {
            if object.kind != Kind::Deployment {
                continue;
            }
            let pod = &object.body["spec"]["template"]["spec"];
            assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
            assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
            assert_eq!(pod["automountServiceAccountToken"], false);
            assert_eq!(pod["enableServiceLinks"], false);
            let first = pod["initContainers"].as_array().into_iter().flatten();
            for container in first.chain(pod["containers"].as_array().expect("some")) {
                let container = &container["securityContext"];
                assert_eq!(container["allowPrivilegeEscalation"], false);
                assert_eq!(container["capabilities"]["drop"], json!(["ALL"]));
                assert_eq!(container["readOnlyRootFilesystem"], true);
            }
        }
    }
}

#[test]
fn where_an_autoscaler_decides_it_is_told_what_the_file_says_and_the_deployment_names_no_number() {
    let system = read_one(
        "{apiVersion: mcpsystem.io/v1alpha1, kind: McpSystem, metadata: {name: demo, namespace: test}, spec: {servers: {
          memory: {enabled: false},
          tools: {replicas: 3, autoscaling: {type: External, maxReplicas: 9}},
          orchestrator: {autoscaling: {minReplicas: 2, maxReplicas: 6,
            targetCPUUtilizationPercentage: 70, targetMemoryUtilizationPercentage: 90}}}}}",
    )
    .expect("accepted");
    let plan = planned(&system);
    let objects = render(&plan, &owner(&plan), false);
    let of = |kind: Kind| objects.iter().filter(move |object| object.kind == kind);
    let deployments: Vec<_> = of(Kind::Deployment)
        .map(|it| (it.server.as_str(), it.copies, it.body["spec"].get("replicas").is_some()))
        .collect();
    let copies = |fewest, most| Some(Copies { fewest, most });
    let expected = [("tools", copies(3, Some(9)), false), ("orchestrator", copies(2, None), false)];
    assert_eq!(deployments, expected);

    let specs: Vec<_> = of(Kind::Autoscaler).map(|autoscaler| autoscaler.body["spec"].clone()).collect();
    let target = |resource: &str, percent: u32| {
        json!({"type": "Resource", "resource": {
            "name": resource, "target": {"type": "Utilization", "averageUtilization": percent},
        }})
    };
    let expected = json!({
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "demo-orchestrator"},
        "minReplicas": 2,
        "maxReplicas": 6,
        "metrics": [target("memory", 90), target("cpu", 70)],
    });
    assert_eq!(specs, [expected]);
}
