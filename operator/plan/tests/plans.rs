//! Plans of the examples, on either side, and what must hold for the plan of any system.

use mcp_system_crds::config::{OrchestratorSettings, ServerConfig};
use mcp_system_crds::{ExtraServer, McpSystem, McpSystemSpec, ProcessCommand, Reason, StorageType, read_one};
use mcp_system_plan::{Plan, Target, Workload, plan, validate};
use proptest::prelude::*;

fn cluster() -> Target {
    Target::Cluster { image: "registry.example/mcp-system:1.2.3".to_owned() }
}

fn laptop() -> Target {
    Target::Laptop { container_runtime: None }
}

fn example(name: &str) -> McpSystem {
    let path = format!("{}/../../examples/{name}.yaml", env!("CARGO_MANIFEST_DIR"));
    read_one(&std::fs::read_to_string(path).expect("the example is there")).expect("the example is accepted")
}

fn planned(system: &McpSystem, target: &Target) -> Plan {
    plan(&validate(system, target).expect("valid"))
}

fn workload<'a>(plan: &'a Plan, name: &str) -> &'a Workload {
    plan.workloads.iter().find(|workload| workload.name == name).expect("planned")
}

#[test]
fn the_examples_on_either_side() {
    for name in ["minimal", "tuned", "extra-servers"] {
        let system = example(name);
        insta::assert_yaml_snapshot!(format!("{name}-cluster"), planned(&system, &cluster()));
        insta::assert_yaml_snapshot!(format!("{name}-laptop"), planned(&system, &laptop()));
    }
}

#[test]
fn postgres_is_refused_with_what_to_do() {
    let mut system = example("minimal");
    system.spec.storage.type_ = StorageType::Postgres;
    let findings = validate(&system, &cluster()).expect_err("refused");
    assert_eq!(findings[0].reason, Reason::NotSupported);
    assert!(findings[0].message.contains("use Embedded"), "{findings:?}");
}

#[test]
fn objects_from_before_a_rule_are_refused_by_the_plan_as_well() {
    let mut system = example("minimal");
    system.spec.servers.memory.workload.replicas = 2;
    system.spec.servers.tools.port = system.spec.servers.memory.port;
    let findings = validate(&system, &cluster()).expect_err("refused");
    assert_eq!(findings.len(), 2, "{findings:?}");
}

#[test]
fn the_image_is_completed_from_the_operators_own() {
    let image = |change: fn(&mut McpSystemSpec)| {
        let mut system = example("minimal");
        change(&mut system.spec);
        validate(&system, &cluster()).expect("valid").image.expect("a cluster has one").reference
    };
    assert_eq!(image(|_| ()), "registry.example/mcp-system:1.2.3");
    assert_eq!(image(|spec| spec.image.tag = Some("2".into())), "registry.example/mcp-system:2");
    assert_eq!(image(|spec| spec.image.repository = Some("host:5000/mine".into())), "host:5000/mine:1.2.3");
    let digest = format!("sha256:{}", "0".repeat(64));
    assert_eq!(
        image(|spec| spec.image.digest = Some(format!("sha256:{}", "0".repeat(64)))),
        format!("registry.example/mcp-system@{digest}")
    );
}

#[test]
fn a_new_backend_restarts_the_orchestrator_and_nobody_else() {
    let before = planned(&example("minimal"), &cluster());
    let mut system = example("minimal");
    system.spec.extra_servers.push(ExtraServer {
        name: "elsewhere".into(),
        url: Some("http://elsewhere.example/mcp".into()),
        ..ExtraServer::default()
    });
    let after = planned(&system, &cluster());
    let hash =
        |plan: &Plan, name: &str| workload(plan, name).config.as_ref().expect("own").restart_hash.clone();
    assert_ne!(hash(&before, "orchestrator"), hash(&after, "orchestrator"));
    assert_eq!(hash(&before, "memory"), hash(&after, "memory"));
    assert_eq!(hash(&before, "tools"), hash(&after, "tools"));
}

#[test]
fn a_suspended_system_keeps_its_servers_with_no_copies() {
    let mut system = example("minimal");
    system.spec.suspend = true;
    let plan = planned(&system, &cluster());
    assert!(plan.suspended && plan.workloads.iter().all(|workload| workload.replicas == 0));
    assert!(workload(&plan, "memory").volume.is_some());
}

prop_compose! {
    fn any_system()(
        enabled in any::<(bool, bool, bool)>(),
        replicas in 1..5_i32,
        suspend in any::<bool>(),
        extras in prop::collection::btree_map("[a-z][a-z0-9]{0,8}", 0..3_u8, 0..6),
    ) -> McpSystem {
        let mut spec = McpSystemSpec { suspend, ..McpSystemSpec::default() };
        spec.servers.orchestrator.enabled = enabled.0;
        spec.servers.memory.enabled = enabled.1;
        spec.servers.tools.enabled = enabled.2;
        spec.servers.orchestrator.workload.replicas = replicas;
        for (port, (name, form)) in (9000_u16..).zip(extras) {
            let mut extra = ExtraServer { name: format!("x{name}"), path: "/mcp".into(), ..ExtraServer::default() };
            match form {
                0 => extra.image = Some("example.com/x:1".into()),
                1 => extra.process = Some(ProcessCommand { command: "x".into(), working_directory: None }),
                _ => extra.url = Some("http://x.example/mcp".into()),
            }
            extra.port = (form < 2).then_some(port);
            spec.extra_servers.push(extra);
        }
        McpSystem::new("any", spec)
    }
}

proptest! {
    #[test]
    fn a_plan_is_deterministic_and_accounts_for_every_server(system in any_system(), on_cluster in any::<bool>()) {
        let target = if on_cluster { cluster() } else { laptop() };
        let plan = planned(&system, &target);
        prop_assert_eq!(&plan, &planned(&system, &target));

        let servers = &system.spec.servers;
        let own = [servers.orchestrator.enabled, servers.memory.enabled, servers.tools.enabled];
        let own = own.into_iter().filter(|enabled| *enabled).count();
        let told = plan.workloads.len() + plan.remotes.len() + plan.left_out.len();
        prop_assert_eq!(told, own + system.spec.extra_servers.len());
    }

    #[test]
    fn names_and_ports_are_unique_and_the_orchestrator_knows_all_others(system in any_system()) {
        let plan = planned(&system, &cluster());
        let mut names: Vec<_> = plan.workloads.iter().map(|workload| &workload.name).collect();
        let mut ports: Vec<_> = plan.workloads.iter().map(|workload| workload.port).collect();
        let all = names.len();
        names.sort();
        names.dedup();
        ports.sort_unstable();
        ports.dedup();
        prop_assert_eq!((names.len(), ports.len()), (all, all));

        if let Some(orchestrator) = plan.workloads.iter().find(|workload| workload.name == "orchestrator") {
            let text = &orchestrator.config.as_ref().expect("it reads a file").text;
            let config = ServerConfig::<OrchestratorSettings>::parse(text).expect("it is readable");
            let backends: Vec<_> = config.settings.backends.iter().map(|backend| backend.name.clone()).collect();
            let mut expected: Vec<_> = plan.workloads.iter().map(|workload| workload.name.clone())
                .chain(plan.remotes.iter().map(|remote| remote.name.clone()))
                .filter(|name| name != "orchestrator").collect();
            expected.sort();
            prop_assert_eq!(backends, expected);
        }
    }

    #[test]
    fn whoever_holds_a_volume_is_never_two(system in any_system()) {
        for workload in planned(&system, &cluster()).workloads {
            if workload.volume.is_some() {
                prop_assert!(workload.replicas <= 1);
                prop_assert_eq!(workload.strategy, mcp_system_plan::Strategy::Recreate);
            }
        }
    }
}
