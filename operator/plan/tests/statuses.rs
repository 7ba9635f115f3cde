//! What is said of a system, for the observations that it can meet.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use mcp_system_crds::{
    McpSystem, McpSystemSpec, McpSystemStatus, PostgresStorage, Reason, SecretKey, ServerStatus, StorageType,
};
use mcp_system_plan::{
    Embedded, Failure, Finding, Known, Observed, ObservedServer, Plan, Target, invalid_status, plan, status,
    validate,
};
use proptest::prelude::*;

fn system_plan(change: fn(&mut McpSystemSpec)) -> Plan {
    let mut spec = McpSystemSpec::default();
    change(&mut spec);
    let target = Target::Cluster { image: "mcp-system:1".into() };
    plan(&validate(&McpSystem::new("demo", spec), &target, &Observed::default()).expect("valid"))
}

fn ready_server() -> ObservedServer {
    ObservedServer {
        ready: 1,
        running: 1,
        wanted: 1,
        current: true,
        version: Some("1".into()),
        answered: Some(true),
        tools: Some(7),
        warnings: Vec::new(),
        failure: None,
    }
}

fn all_ready() -> Observed {
    let names = ["orchestrator", "memory", "tools"];
    Observed { servers: names.map(|name| (name.to_owned(), ready_server())).into(), ..Observed::default() }
}

fn at(second: i64) -> Time {
    Time(k8s_openapi::jiff::Timestamp::from_second(second).expect("in range"))
}

fn told(plan: &Plan, observed: &Observed) -> McpSystemStatus {
    status(plan, observed, Some(1), None, &at(0))
}

/// `Ready=True AllServersReady`, and so on, one a line.
fn summary(status: &McpSystemStatus) -> String {
    status
        .conditions
        .iter()
        .map(|condition| {
            format!("{}={} {}: {}\n", condition.type_, condition.status, condition.reason, condition.message)
        })
        .collect::<Vec<_>>()
        .concat()
}

#[test]
fn a_move_is_told_while_it_is_under_way() {
    let url_secret = SecretKey { name: "db".into(), key: "url".into(), optional: None };
    let mut spec = McpSystemSpec::default();
    spec.storage.type_ = StorageType::Postgres;
    spec.storage.postgres = Some(PostgresStorage { url_secret, weaviate: None });
    let there = Observed { embedded: Embedded::Present, ..all_ready() };
    let target = Target::Cluster { image: "mcp-system:1".into() };
    let plan = plan(&validate(&McpSystem::new("demo", spec), &target, &there).expect("valid"));
    let mut observed = there;
    observed.servers.insert("memory".into(), ObservedServer { ready: 0, ..ready_server() });
    let summary = summary(&told(&plan, &observed));
    let expected = "Reconciling=True RollingOut: memory: 0 of 1 ready; before it serves, memories are moved to PostgreSQL\n";
    assert!(summary.contains(expected), "{summary}");
}

#[test]
fn what_servers_tell_of_their_settings_is_told_once() {
    let plan = system_plan(|spec| {
        spec.servers.tools.config.databases =
            serde_json::from_value(serde_json::json!([{"name": "shop", "url": "mysql://x"}]))
                .expect("a database");
    });
    let known = plan.shortfalls[0].message.trim_start_matches("spec.servers.tools.config.").to_owned();
    let mut observed = all_ready();
    let missing = "userTools[shop]: openApi.file: /etc/shop.yaml: No such file or directory".to_owned();
    let warnings = vec![known, missing.clone()];
    observed.servers.insert("tools".into(), ObservedServer { warnings: warnings.clone(), ..ready_server() });
    let status = told(&plan, &observed);
    let summary = summary(&status);
    let expected = format!("Degraded=True InvalidTools: {}; tools: {missing}\n", plan.shortfalls[0].message);
    assert!(summary.contains(&expected), "{summary}");
    assert!(summary.contains("Ready=True AllServersReady"), "{summary}");
    let server = status.servers.iter().find(|server| server.name == "tools").expect("told of");
    assert_eq!(server.warnings, warnings);
    let plan = system_plan(|_| ());
    observed.servers.insert("tools".into(), ObservedServer { warnings: vec![missing], ..ready_server() });
    assert!(
        self::summary(&told(&plan, &observed))
            .contains("Degraded=True InvalidSettings: tools: userTools[shop]")
    );
}

#[test]
fn what_a_system_works_without_makes_it_degraded_and_not_unready() {
    let mut observed = all_ready();
    let words = "tools: its HorizontalPodAutoscaler cannot scale it";
    observed.shortfalls.push(Finding::new(Reason::AutoscalerFailing, words));
    let text = summary(&told(&system_plan(|_| ()), &observed));
    assert!(text.contains("Ready=True AllServersReady") && text.contains("Stalled=False"), "{text}");
    assert!(text.contains(&format!("Degraded=True AutoscalerFailing: {words}\n")), "{text}");
}

#[test]
fn copies_beyond_the_fewest_that_cannot_run_make_no_system_unready() {
    let plan = system_plan(|_| ());
    let said = |server: ObservedServer| {
        let failure = Failure { reason: Reason::ServerFailing, message: "no node takes its pods".into() };
        let mut observed = all_ready();
        observed.servers.insert("tools".into(), ObservedServer { failure: Some(failure), ..server });
        summary(&told(&plan, &observed))
    };
    let text = said(ObservedServer { running: 3, wanted: 3, ..ready_server() });
    assert!(text.contains("Ready=True") && text.contains("Stalled=False"), "{text}");
    assert!(text.contains("Degraded=True ServerFailing: tools: no node takes its pods\n"), "{text}");
    for server in [
        ready_server(),
        ObservedServer { wanted: 3, ready: 0, ..ready_server() },
        ObservedServer { wanted: 3, current: false, ..ready_server() },
    ] {
        let text = said(server);
        assert!(text.contains("Ready=False") && text.contains("Stalled=True"), "{text}");
    }
}

#[test]
fn what_is_said_in_each_situation() {
    let plan = system_plan(|_| ());
    let mut situations = vec![("nothing runs yet", told(&plan, &Observed::default()))];
    situations.push(("all ready", told(&plan, &all_ready())));

    let mut observed = all_ready();
    observed.servers.get_mut("memory").expect("there").answered = Some(false);
    situations.push(("memory is silent", told(&plan, &observed)));

    let mut observed = all_ready();
    observed.servers.get_mut("tools").expect("there").current = false;
    situations.push(("tools is replaced", told(&plan, &observed)));

    let mut observed = all_ready();
    let failure = Failure { reason: Reason::ServerFailing, message: "the image x:1 cannot be pulled".into() };
    *observed.servers.get_mut("tools").expect("there") =
        ObservedServer { running: 1, current: true, failure: Some(failure), ..ObservedServer::default() };
    situations.push(("tools has a bad image", told(&plan, &observed)));

    let mut observed = all_ready();
    observed
        .problems
        .push(Finding::new(Reason::ObjectNotOurs, "Service demo-tools belongs to somebody else"));
    situations.push(("a name is taken", told(&plan, &observed)));

    let mut plan_with_bad_tools = plan.clone();
    plan_with_bad_tools.shortfalls.push(Finding::new(
        Reason::InvalidTools,
        "spec.servers.tools.config.userTools[weather]: description: say what it does",
    ));
    situations.push(("a tool cannot work", told(&plan_with_bad_tools, &all_ready())));

    let suspended = system_plan(|spec| spec.suspend = true);
    situations.push(("suspended, still stopping", told(&suspended, &all_ready())));
    situations.push(("suspended", told(&suspended, &Observed::default())));

    let findings = [Finding::new(Reason::NotSupported, "Postgres is not offered")];
    let before = told(&plan, &all_ready());
    let invalid = invalid_status(&findings, &Known::default(), Some(2), Some(&before), &at(5));
    situations.push(("invalid", invalid));

    let text = situations
        .iter()
        .map(|(name, status)| format!("## {name}\n{}\n", summary(status)))
        .collect::<Vec<_>>()
        .concat();
    insta::assert_snapshot!(text);
}

#[test]
fn what_keeps_failing_is_on_its_way_and_not_ready() {
    let mut observed = all_ready();
    let busy = "apply of Service demo-tools fails: the webhook does not answer";
    observed.setbacks.push(Finding::new(Reason::ApplyFailed, busy));
    let plan = system_plan(|_| ());
    let text = summary(&told(&plan, &observed));
    assert!(text.contains(&format!("Ready=False ApplyFailed: {busy}\n")), "{text}");
    assert!(text.contains(&format!("Reconciling=True ApplyFailed: {busy}\n")), "{text}");
    observed.problems.push(Finding::new(Reason::ApplyFailed, "the API refuses Service demo-memory: no"));
    let text = summary(&told(&plan, &observed));
    assert!(text.contains("Reconciling=False") && text.contains("Stalled=True"), "{text}");
}

#[test]
fn what_runs_is_told_while_the_spec_cannot_be_carried_out() {
    let mut before = told(&system_plan(|_| ()), &all_ready());
    let endpoint = Some("https://tickets.example.com/mcp".to_owned());
    before.servers.push(ServerStatus { name: "tickets".into(), endpoint, ..ServerStatus::default() });
    let findings = [Finding::new(Reason::InvalidSpec, "no")];
    let after = |known: &Known| invalid_status(&findings, known, Some(2), Some(&before), &at(5));
    let mut known = Known { running: all_ready().servers, ..Known::default() };
    let same = after(&known);
    assert_eq!((&same.servers, &same.ready_servers), (&before.servers, &before.ready_servers));
    let down = ObservedServer { running: 1, current: true, ..ObservedServer::default() };
    known.running.insert("memory".into(), down);
    let silent = ObservedServer { answered: Some(false), current: true, ..ObservedServer::default() };
    known.elsewhere.insert("tickets".into(), silent);
    let fewer = after(&known);
    assert_eq!(fewer.ready_servers.as_deref(), Some("2/3"));
    let server = |name: &str| fewer.servers.iter().find(|server| server.name == name).expect("is named");
    let memory = server("memory");
    assert_eq!((memory.ready, memory.message.as_deref()), (0, Some("memory: 0 of 1 ready")));
    assert!(memory.endpoint.is_some());
    let tickets = server("tickets");
    let message = Some("runs elsewhere and does not answer");
    assert_eq!((tickets.answered, tickets.message.as_deref()), (Some(false), message));
    assert!(tickets.endpoint.is_some());
}

#[test]
fn each_server_is_told_by_itself() {
    insta::assert_yaml_snapshot!(told(&system_plan(|_| ()), &all_ready()));
}

#[test]
fn equal_observations_give_equal_statuses_at_any_time() {
    let plan = system_plan(|_| ());
    let first = status(&plan, &all_ready(), Some(1), None, &at(0));
    let later = status(&plan, &all_ready(), Some(1), Some(&first), &at(1000));
    assert_eq!(first, later);
}

#[test]
fn a_transition_time_moves_only_with_its_status() {
    let plan = system_plan(|_| ());
    let waiting = status(&plan, &Observed::default(), Some(1), None, &at(0));
    let ready = status(&plan, &all_ready(), Some(1), Some(&waiting), &at(10));
    let times: Vec<i64> =
        ready.conditions.iter().map(|condition| condition.last_transition_time.0.as_second()).collect();
    // Ready and Reconciling changed; Stalled and Degraded did not.
    assert_eq!(times, [10, 10, 0, 0]);
}

proptest! {
    #[test]
    fn conditions_never_contradict_each_other(
        ready in prop::collection::vec(0..3_u32, 3),
        answered in prop::collection::vec(prop::option::of(any::<bool>()), 3),
        current in prop::collection::vec(any::<bool>(), 3),
        failing in prop::collection::vec(any::<bool>(), 3),
        suspend in any::<bool>(),
    ) {
        let plan = if suspend { system_plan(|spec| spec.suspend = true) } else { system_plan(|_| ()) };
        let servers = ["orchestrator", "memory", "tools"].into_iter().enumerate().map(|(i, name)| {
            let failure = failing[i].then(|| Failure { reason: Reason::ServerFailing, message: "x".into() });
            let server = ObservedServer {
                ready: ready[i], running: ready[i], current: current[i], answered: answered[i], failure,
                ..ObservedServer::default()
            };
            (name.to_owned(), server)
        }).collect();
        let status = told(&plan, &Observed { servers, ..Observed::default() });
        let is = |name: &str| status.conditions.iter().any(|c| c.type_ == name && c.status == "True");
        prop_assert_eq!(status.conditions.len(), 4);
        prop_assert!(!(is("Ready") && (is("Reconciling") || is("Stalled") || is("Degraded"))));
        prop_assert!(!(is("Reconciling") && is("Stalled")), "kstatus would call a stalled system in progress");
        prop_assert!(!(suspend && is("Ready")));
        if !suspend {
            prop_assert!(is("Ready") || is("Reconciling") || is("Stalled") || is("Degraded"), "nobody says why it is not ready");
        }
        for condition in &status.conditions {
            prop_assert!(!condition.reason.is_empty() && !condition.message.is_empty());
        }
    }
}
