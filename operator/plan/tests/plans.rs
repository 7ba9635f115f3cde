//! Plans of the examples, on either side, and what must hold for the plan of any system.

use mcp_system_crds::config::{LogLevel, MemorySettings, OrchestratorSettings, Pool, ServerConfig};
use mcp_system_crds::{
    Autoscaling as AutoscalingSpec, Callers, ExtraServer, McpSystem, McpSystemSpec, PostgresStorage,
    ProcessCommand, Reason, SecretKey, SecretReference, StorageType, WeaviateIndex, read_one,
};
use mcp_system_plan::{
    Autoscaling, ConfigFile, Embedded, HorizontalAutoscaler, MountSource, Observed, Plan, SecretFile,
    SecretSource, Strategy, Target, Workload, plan, validate,
};
use proptest::prelude::{any, prop, prop_assert, prop_assert_eq, prop_compose, proptest};
use std::path::Path;

fn cluster() -> Target {
    Target::Cluster { image: "registry.example/mcp-system:1.2.3".to_owned() }
}

fn laptop() -> Target {
    Target::Laptop { container_runtime: None, folder: "/home/me/state".into() }
}

fn example(name: &str) -> McpSystem {
    let path = format!("{}/../../examples/{name}.yaml", env!("CARGO_MANIFEST_DIR"));
    read_one(&std::fs::read_to_string(path).expect("the example is there")).expect("the example is accepted")
}

fn planned(system: &McpSystem, target: &Target) -> Plan {
    plan(&validate(system, target, &Observed::default()).expect("valid"))
}

fn workload<'a>(plan: &'a Plan, name: &str) -> &'a Workload {
    plan.workloads.iter().find(|workload| workload.name == name).expect("planned")
}

#[test]
fn the_examples_on_either_side() {
    for name in ["minimal", "tuned", "extra-servers", "weaviate-direct", "postgres", "files"] {
        let system = example(name);
        insta::assert_yaml_snapshot!(format!("{name}-cluster"), planned(&system, &cluster()));
        insta::assert_yaml_snapshot!(format!("{name}-laptop"), planned(&system, &laptop()));
    }
}

fn planned_beside(system: &McpSystem, target: &Target, embedded: Embedded) -> Plan {
    let observed = Observed { embedded, ..Observed::default() };
    plan(&validate(system, target, &observed).expect("valid"))
}

#[test]
fn postgres_holds_any_number_of_replicas_and_no_volume() {
    for embedded in [Embedded::Absent, Embedded::Moved] {
        let plan = planned_beside(&example("postgres"), &cluster(), embedded);
        let memory = workload(&plan, "memory");
        assert_eq!((memory.replicas, memory.strategy), (2, Strategy::RollingUpdate));
        assert!(memory.volume.is_none() && !memory.moves);
        let text = &memory.config.as_ref().expect("own").text;
        let config = ServerConfig::<MemorySettings>::parse(text).expect("readable");
        let postgres = config.settings.postgres.expect("a database");
        assert_eq!(postgres.url_file.as_deref(), Some(Path::new("/etc/mcp-system/storage/postgres-url")));
        assert_eq!(postgres.pool.min_size, 10, "the default of a database, not of embedded storage");
        let SecretSource::Given { secret, key, .. } = &memory.secrets[1].source else { panic!("{memory:?}") };
        assert_eq!((secret.as_str(), key.as_str()), ("memory-database", "url"));
    }
}

#[test]
fn weaviate_may_index_the_vectors_of_postgres() {
    let mut system = example("postgres");
    let key = SecretKey { name: "weaviate".to_owned(), key: "api-key".to_owned(), optional: None };
    let index = WeaviateIndex { url: "http://weaviate:8080".to_owned(), api_key_secret: Some(key) };
    system.spec.storage.postgres.as_mut().expect("named").weaviate = Some(index);
    let plan = planned(&system, &cluster());
    let memory = workload(&plan, "memory");
    let config = ServerConfig::<MemorySettings>::parse(&memory.config.as_ref().expect("own").text);
    let postgres = config.expect("readable").settings.postgres.expect("a database");
    assert_eq!(postgres.weaviate.expect("an index").url, "http://weaviate:8080");
    assert!(memory.env.iter().any(|env| env.name == "WEAVIATE_API_KEY"), "{:?}", memory.env);
}

#[test]
fn connections_to_postgres_are_as_many_as_the_file_says() {
    let mut system = example("postgres");
    system.spec.servers.memory.config.pool = Pool { min_size: 2, max_size: 7 };
    let plan = planned(&system, &cluster());
    let text = &workload(&plan, "memory").config.as_ref().expect("own").text;
    let config = ServerConfig::<MemorySettings>::parse(text).expect("readable");
    assert_eq!(config.settings.postgres.expect("a database").pool, Pool { min_size: 2, max_size: 7 });
}

#[test]
fn what_embedded_storage_holds_is_moved_by_one_that_holds_the_volume() {
    for target in [cluster(), laptop()] {
        let plan = planned_beside(&example("postgres"), &target, Embedded::Present);
        let memory = workload(&plan, "memory");
        assert_eq!((memory.replicas, memory.strategy), (1, Strategy::Recreate));
        assert!(memory.volume.is_some() && memory.moves);
        assert!(plan.workloads.iter().filter(|workload| workload.moves).count() == 1);
    }
    let mut system = example("postgres");
    system.spec.suspend = true;
    let plan = planned_beside(&system, &cluster(), Embedded::Present);
    assert_eq!(workload(&plan, "memory").replicas, 0);
}

#[test]
fn nobody_is_served_from_what_was_moved_unless_that_is_asked_for() {
    let observed = Observed { embedded: Embedded::Moved, ..Observed::default() };
    let mut system = example("minimal");
    for (target, consent) in [
        (cluster(), "the annotation mcpsystem.io/moved from the volume claim minimal-memory"),
        (laptop(), "the file moved.json"),
    ] {
        let findings = validate(&system, &target, &observed).expect_err("refused");
        assert_eq!((findings.len(), findings[0].reason), (1, Reason::NotSupported));
        assert!(findings[0].message.contains(consent), "{findings:?}");
        assert!(findings[0].message.contains("what was stored since"), "{findings:?}");
    }
    system.spec.servers.memory.enabled = false;
    assert!(validate(&system, &cluster(), &observed).is_ok(), "then there is nobody to be served");
}

#[test]
fn a_database_that_is_not_told_is_refused_by_the_plan_as_well() {
    let mut system = example("postgres");
    system.spec.storage.postgres = None;
    let findings = validate(&system, &cluster(), &Observed::default()).expect_err("refused");
    assert!(findings[0].message.contains("spec.storage.postgres is missing"), "{findings:?}");
}

#[test]
fn objects_from_before_a_rule_are_refused_by_the_plan_as_well() {
    let mut system = example("minimal");
    system.spec.servers.memory.workload.replicas = 2;
    system.spec.servers.tools.port = system.spec.servers.memory.port;
    let findings = validate(&system, &cluster(), &Observed::default()).expect_err("refused");
    assert_eq!(findings.len(), 2, "{findings:?}");
}

#[test]
fn the_image_is_completed_from_the_operators_own() {
    let image = |change: fn(&mut McpSystemSpec)| {
        let mut system = example("minimal");
        change(&mut system.spec);
        validate(&system, &cluster(), &Observed::default())
            .expect("valid")
            .image
            .expect("a cluster has one")
            .reference
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

fn files(plan: &Plan) -> Vec<(&str, &ConfigFile)> {
    let own = plan.workloads.iter().filter_map(|it| Some((it.name.as_str(), it.config.as_ref()?)));
    own.collect()
}

/// The servers whose files differ, and whether they are to be restarted for that.
fn changed<'a>(before: &'a Plan, after: &Plan) -> Vec<(&'a str, bool)> {
    let pairs = files(before).into_iter().zip(files(after));
    pairs
        .filter(|((_, old), (_, new))| old.text != new.text)
        .map(|((name, old), (_, new))| (name, old.restart_hash != new.restart_hash))
        .collect()
}

#[test]
fn what_a_running_server_takes_over_restarts_nobody() {
    let before = planned(&example("minimal"), &cluster());
    let after = |change: fn(&mut McpSystemSpec)| {
        let mut system = example("minimal");
        change(&mut system.spec);
        changed(&before, &planned(&system, &cluster()))
    };
    let every = |restarts: bool| ["memory", "tools", "orchestrator"].map(|name| (name, restarts));
    assert_eq!(after(|spec| spec.log_level = LogLevel::Debug), every(false));
    assert_eq!(after(|spec| spec.resilience.failure_threshold = 9), every(false));
    assert_eq!(
        after(|spec| spec.servers.orchestrator.config.call_timeout_seconds = 7),
        [("orchestrator", false)]
    );
    let a_new_backend = after(|spec| {
        spec.extra_servers.push(ExtraServer {
            name: "elsewhere".into(),
            url: Some("http://elsewhere.example/mcp".into()),
            ..ExtraServer::default()
        });
    });
    assert_eq!(a_new_backend, [("orchestrator", false)]);
    assert_eq!(after(|spec| spec.servers.tools.port = 9000), [("tools", true), ("orchestrator", false)]);
}

#[test]
fn servers_behind_the_orchestrator_take_its_key_and_it_takes_the_users() {
    let mut system = example("minimal");
    system.spec.callers = Some(Callers { secret_ref: SecretReference { name: "team".into() } });
    let plan = planned(&system, &cluster());
    let paths = |name: &str| -> Vec<String> {
        workload(&plan, name).secrets.iter().map(|secret| secret.path.clone()).collect()
    };
    assert_eq!(paths("memory"), ["callers/keys.yaml"]);
    assert_eq!(paths("orchestrator"), ["callers/users.yaml", "callers/orchestrator"]);
    let text = &workload(&plan, "orchestrator").config.as_ref().expect("own").text;
    let config = ServerConfig::<OrchestratorSettings>::parse(text).expect("readable");
    assert_eq!(config.callers.keys_file.as_deref(), Some(Path::new("/etc/mcp-system/callers/users.yaml")));
    for backend in config.settings.backends {
        assert_eq!(backend.key_file.as_deref(), Some(Path::new("/etc/mcp-system/callers/orchestrator")));
    }

    system.spec.servers.orchestrator.enabled = false;
    let plan = planned(&system, &cluster());
    let secrets: Vec<_> = plan.workloads.iter().flat_map(|workload| &workload.secrets).collect();
    let is_users = |secret: &&SecretFile| matches!(&secret.source, SecretSource::Given { secret, .. } if secret == "team");
    assert_eq!((secrets.len(), secrets.iter().all(is_users)), (2, true));
}

#[test]
fn tools_that_cannot_work_are_told_and_keep_nothing_from_running() {
    let system = read_one(
        "{apiVersion: mcpsystem.io/v1alpha1, kind: McpSystem, metadata: {name: demo}, spec: {servers: {tools: {config: {userTools: [
          {name: silent, http: {url: 'https://a.example'}},
          {name: weather, description: Tells the weather., http: {url: 'https://a.example/weather'}},
        ]}}}}}",
    )
    .expect("the schema takes it");
    for target in [cluster(), laptop()] {
        let plan = planned(&system, &target);
        assert_eq!(plan.workloads.len(), 3);
        let [told] = plan.shortfalls.as_slice() else { panic!("{:?}", plan.shortfalls) };
        assert_eq!(told.reason, Reason::InvalidTools);
        assert!(
            told.message.starts_with("spec.servers.tools.config.userTools[silent]: description"),
            "{told:?}"
        );
    }
}

#[test]
fn what_tools_need_of_their_place_is_looked_for() {
    let system = read_one(
        "{apiVersion: mcpsystem.io/v1alpha1, kind: McpSystem, metadata: {name: demo}, spec: {servers: {tools: {
          env: [
            {name: GIVEN, value: x},
            {name: KEPT, valueFrom: {secretKeyRef: {name: a, key: b, optional: true}}},
          ],
          config: {userTools: [
            {name: asks, description: Asks., http: {url: 'https://a.example', headers: [
              {name: A, value: '{{env.GIVEN}}'}, {name: B, value: '{{env.KEPT}}'}, {name: C, value: '{{env.OWN}}'}]}},
            {name: api, openApi: {file: /etc/api.yaml}},
        ]}}}}}",
    )
    .expect("the schema takes it");
    let told = |target: &Target, observed: &Observed| -> Vec<String> {
        let plan = plan(&validate(&system, target, observed).expect("valid"));
        plan.shortfalls.into_iter().map(|finding| finding.message).collect()
    };
    let unset = |name: &str| {
        format!(
            "spec.servers.tools.config.userTools[asks]: the environment variable {name} is not set; set it with \
             servers.tools.env"
        )
    };
    assert_eq!(told(&cluster(), &Observed::default()), [unset("OWN")]);
    assert_eq!(told(&laptop(), &Observed::default()), [unset("KEPT"), unset("OWN")]);
    let observed = Observed {
        variables: ["KEPT", "OWN"].map(str::to_owned).into(),
        documents: [("/etc/api.yaml".to_owned(), Err("it is gone".to_owned()))].into(),
        ..Observed::default()
    };
    let gone = "spec.servers.tools.config.userTools[api]: openApi.file: /etc/api.yaml: it is gone";
    assert_eq!(told(&laptop(), &observed), [gone]);
}

fn mounting(replicas: i32, mounts: &str) -> McpSystem {
    read_one(&format!(
        "{{apiVersion: mcpsystem.io/v1alpha1, kind: McpSystem, metadata: {{name: demo}}, spec: {{servers: {{
          tools: {{replicas: {replicas}, mounts: [{mounts}]}}}}}}}}"
    ))
    .expect("accepted")
}

const MODELS: &str = "{mountPath: /models, persistentVolumeClaim: {claimName: models}}";
const SHOP: &str = "{mountPath: /etc/shop, configMap: {name: shop, items: [{key: api, path: api.yaml}]}}";

#[test]
fn mounts_are_planned_in_the_order_of_their_paths() {
    let plan = planned(&mounting(1, &format!("{MODELS}, {SHOP}")), &cluster());
    assert_eq!(plan, planned(&mounting(1, &format!("{SHOP}, {MODELS}")), &cluster()));
    let mounts = &workload(&plan, "tools").mounts;
    let paths: Vec<&str> = mounts.iter().map(|mount| mount.path.as_str()).collect();
    assert_eq!(paths, ["/etc/shop", "/models"]);
    let items = vec![("api".to_owned(), "api.yaml".to_owned())];
    assert_eq!(mounts[0].source, MountSource::ConfigMap { name: "shop".into(), items });
    assert_eq!(mounts[1].source, MountSource::Claim { name: "models".into(), read_only: true });
    assert!(workload(&plan, "memory").mounts.is_empty());
}

#[test]
fn copies_hand_a_claim_over_unless_there_are_several_that_share_it() {
    let strategy =
        |replicas, mounts| workload(&planned(&mounting(replicas, mounts), &cluster()), "tools").strategy;
    assert_eq!(strategy(1, MODELS), Strategy::Recreate);
    assert_eq!(strategy(2, MODELS), Strategy::RollingUpdate);
    assert_eq!(strategy(1, SHOP), Strategy::RollingUpdate);
    let mut system = mounting(1, MODELS);
    system.spec.servers.tools.workload.autoscaling = Some(up_to(2));
    assert_eq!(workload(&planned(&system, &cluster()), "tools").strategy, Strategy::RollingUpdate);
}

#[test]
fn a_laptop_says_what_it_reads_instead_of_mounts() {
    let system = mounting(1, &format!("{MODELS}, {SHOP}"));
    assert_eq!(
        planned(&system, &laptop()).not_mounted,
        [
            "tools: /etc/shop is read from this machine's own disk; ConfigMap shop is mounted there on a cluster only",
            "tools: /models is read from this machine's own disk; volume claim models is mounted there on a cluster only",
        ]
    );
    assert!(planned(&system, &cluster()).not_mounted.is_empty());
}

#[test]
fn a_suspended_system_keeps_its_servers_with_no_copies() {
    let mut system = example("minimal");
    system.spec.suspend = true;
    system.spec.servers.tools.workload.autoscaling = Some(up_to(5));
    let plan = planned(&system, &cluster());
    assert!(plan.suspended && plan.workloads.iter().all(|workload| workload.replicas == 0));
    assert_eq!(workload(&plan, "tools").autoscaling, None, "it would start copies");
    assert!(workload(&plan, "memory").volume.is_some());
}

/// An autoscaler that may go up to so many copies.
fn up_to(max_replicas: i32) -> AutoscalingSpec {
    AutoscalingSpec { max_replicas, ..AutoscalingSpec::default() }
}

#[test]
fn an_autoscaler_decides_where_there_is_anything_to_decide() {
    let tools = |settings: &str, target: &Target| {
        let system = read_one(&format!(
            "{{apiVersion: mcpsystem.io/v1alpha1, kind: McpSystem, metadata: {{name: demo}}, spec: {{servers: {{
              tools: {settings}}}}}}}"
        ));
        let plan = planned(&system.expect("accepted"), target);
        let tools = workload(&plan, "tools");
        (tools.replicas, tools.autoscaling.clone())
    };
    let horizontal = |max_replicas, cpu_percent, memory_percent| {
        Some(Autoscaling::Horizontal(HorizontalAutoscaler { max_replicas, cpu_percent, memory_percent }))
    };
    for (settings, expected) in [
        ("{autoscaling: {minReplicas: 2, maxReplicas: 5}}", (2, horizontal(5, Some(80), None))),
        (
            "{replicas: 3, autoscaling: {maxReplicas: 5, targetMemoryUtilizationPercentage: 60}}",
            (3, horizontal(5, None, Some(60))),
        ),
        (
            "{autoscaling: {type: External, maxReplicas: 5}}",
            (1, Some(Autoscaling::External { max_replicas: 5 })),
        ),
        ("{replicas: 5, autoscaling: {maxReplicas: 5}}", (5, None)),
    ] {
        assert_eq!(tools(settings, &cluster()), expected, "{settings}");
        assert_eq!(tools(settings, &laptop()), (1, None), "{settings}");
    }
}

prop_compose! {
    fn any_system()(
        enabled in any::<(bool, bool, bool)>(),
        replicas in 1..5_i32,
        most in 1..9_i32,
        suspend in any::<bool>(),
        postgres in any::<bool>(),
        extras in prop::collection::btree_map("[a-z][a-z0-9]{0,8}", 0..3_u8, 0..6),
    ) -> McpSystem {
        let mut spec = McpSystemSpec { suspend, ..McpSystemSpec::default() };
        spec.servers.orchestrator.enabled = enabled.0;
        spec.servers.memory.enabled = enabled.1;
        spec.servers.tools.enabled = enabled.2;
        spec.servers.orchestrator.workload.replicas = replicas;
        if postgres {
            let url_secret = SecretKey { name: "db".into(), key: "url".into(), optional: None };
            spec.storage.type_ = StorageType::Postgres;
            spec.storage.postgres = Some(PostgresStorage { url_secret, weaviate: None });
            spec.servers.memory.workload.replicas = replicas;
            spec.servers.memory.workload.autoscaling = Some(up_to(most));
        }
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
    fn whoever_holds_a_volume_is_never_two(system in any_system(), is_there in any::<bool>()) {
        let embedded = if is_there { Embedded::Present } else { Embedded::Absent };
        for workload in planned_beside(&system, &cluster(), embedded).workloads {
            prop_assert!(!workload.moves || workload.volume.is_some());
            if workload.volume.is_some() {
                prop_assert!(workload.replicas <= 1);
                prop_assert_eq!(workload.strategy, Strategy::Recreate);
                prop_assert_eq!(workload.autoscaling, None);
            }
        }
    }
}
