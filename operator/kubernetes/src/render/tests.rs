//! Every object of a system with defaults only, and of one that sets everything.

use super::*;
use mcp_system_crds::{McpSystem, read_one};
use mcp_system_plan::{Target, plan, validate};

pub(crate) fn planned(system: &McpSystem) -> Plan {
    let target = Target::Cluster { image: "registry.example/mcp-system:1.2.3".to_owned() };
    plan(&validate(system, &target).expect("valid"))
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
    for system in [default_system(), rich_system()] {
        let plan = planned(&system);
        for object in render(&plan, &owner(&plan), true) {
            if object.kind != Kind::Deployment {
                continue;
            }
            let pod = &object.body["spec"]["template"]["spec"];
            assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
            assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
            assert_eq!(pod["automountServiceAccountToken"], false);
            assert_eq!(pod["enableServiceLinks"], false);
            let container = &pod["containers"][0]["securityContext"];
            assert_eq!(container["allowPrivilegeEscalation"], false);
            assert_eq!(container["capabilities"]["drop"], json!(["ALL"]));
            assert_eq!(container["readOnlyRootFilesystem"], true);
        }
    }
}
