//! What is said of a system, computed once, for both backends, from what was observed.

use crate::{Finding, Known, Observed, ObservedServer, Plan};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use mcp_system_crds::{ConditionType, McpSystemStatus, Reason, ServerStatus};

/// How one server is doing.
enum State {
    Ready,
    /// On its way, with what is missing.
    Pending(String),
    /// Runs, but does not answer MCP requests.
    Silent(String),
    /// Cannot become ready by itself.
    Failing(Reason, String),
}

/// One condition before times are put to it.
struct Verdict(ConditionType, bool, Reason, String);

/// The status of a system whose plan is being carried out. Times are taken from `previous` where a
/// condition did not change, so that equal observations give equal statuses.
pub fn status(
    plan: &Plan,
    observed: &Observed,
    generation: Option<i64>,
    previous: Option<&McpSystemStatus>,
    now: &Time,
) -> McpSystemStatus {
    let missing = ObservedServer::default();
    let seen = |name: &str| observed.servers.get(name).unwrap_or(&missing);
    let states: Vec<State> = plan
        .workloads
        .iter()
        .map(|workload| state(&workload.name, workload.replicas, workload.moves, seen(&workload.name)))
        .collect();
    let ready = states.iter().filter(|state| matches!(state, State::Ready)).count();

    let mut servers: Vec<ServerStatus> = plan
        .workloads
        .iter()
        .zip(&states)
        .map(|(workload, state)| ServerStatus {
            name: workload.name.clone(),
            desired: i32::try_from(workload.replicas).unwrap_or(i32::MAX),
            endpoint: Some(workload.endpoint.clone()),
            ..server_status(state, seen(&workload.name))
        })
        .collect();
    servers.extend(plan.remotes.iter().map(|remote| ServerStatus {
        name: remote.name.clone(),
        endpoint: Some(remote.url.clone()),
        ..remote_status(seen(&remote.name))
    }));
    servers.extend(plan.left_out.iter().map(|left_out| ServerStatus {
        name: left_out.name.clone(),
        message: Some(format!("left out: {}", left_out.reason)),
        ..ServerStatus::default()
    }));
    servers.sort_by(|a, b| a.name.cmp(&b.name));

    let verdicts = verdicts(plan, observed, &states, ready);
    McpSystemStatus {
        observed_generation: generation,
        conditions: conditions(verdicts, generation, previous, now),
        url: plan.url.clone(),
        ready_servers: Some(format!("{ready}/{}", plan.workloads.len())),
        servers,
    }
}

/// The status of a system whose spec cannot be carried out: what runs goes on as it was, and `known` tells how. What
/// that leaves out of the servers that `previous` names stands as it was told.
pub fn invalid_status(
    findings: &[Finding],
    known: &Known,
    generation: Option<i64>,
    previous: Option<&McpSystemStatus>,
    now: &Time,
) -> McpSystemStatus {
    let reason = findings.first().map_or(Reason::InvalidSpec, |finding| finding.reason);
    let message = join(findings.iter().map(|finding| finding.message.clone()));
    let verdicts = vec![
        Verdict(ConditionType::Ready, false, reason, message.clone()),
        Verdict(ConditionType::Reconciling, false, reason, "waits for a change of the spec".to_owned()),
        Verdict(ConditionType::Stalled, true, reason, message),
        Verdict(ConditionType::Degraded, false, Reason::NothingWrong, "what runs was not touched".to_owned()),
    ];
    let mut told = previous.cloned().unwrap_or_default();
    let mut ready = 0;
    for server in &mut told.servers {
        let fresh = match (known.running.get(&server.name), known.elsewhere.get(&server.name)) {
            (Some(seen), _) => {
                let desired = u32::try_from(server.desired).unwrap_or_default();
                let state = state(&server.name, desired, false, seen);
                ready += usize::from(matches!(state, State::Ready));
                server_status(&state, seen)
            }
            (None, Some(seen)) => remote_status(seen),
            (None, None) => continue,
        };
        *server = ServerStatus {
            name: std::mem::take(&mut server.name),
            desired: server.desired,
            endpoint: server.endpoint.take(),
            ..fresh
        };
    }
    if !known.running.is_empty() {
        told.ready_servers = Some(format!("{ready}/{}", known.running.len()));
    }
    McpSystemStatus {
        observed_generation: generation,
        conditions: conditions(verdicts, generation, previous, now),
        ..told
    }
}

/// What is said of a server that runs here.
fn server_status(state: &State, server: &ObservedServer) -> ServerStatus {
    ServerStatus {
        ready: i32::try_from(server.ready).unwrap_or(i32::MAX),
        message: match state {
            State::Ready => None,
            State::Pending(message) | State::Silent(message) | State::Failing(_, message) => {
                Some(message.clone())
            }
        },
        ..told(server)
    }
}

/// What is said of a server that runs elsewhere.
fn remote_status(server: &ObservedServer) -> ServerStatus {
    ServerStatus {
        message: (server.answered == Some(false)).then(|| "runs elsewhere and does not answer".to_owned()),
        ..told(server)
    }
}

fn told(server: &ObservedServer) -> ServerStatus {
    ServerStatus {
        version: server.version.clone(),
        answered: server.answered,
        tools: server.tools.map(|tools| i32::try_from(tools).unwrap_or(i32::MAX)),
        warnings: server.warnings.clone(),
        ..ServerStatus::default()
    }
}

fn state(name: &str, desired: u32, moves: bool, server: &ObservedServer) -> State {
    let failure = server.failure.as_ref().filter(|_| desired > 0 && !is_surplus(desired, server));
    if let Some(failure) = failure {
        return State::Failing(failure.reason, format!("{name}: {}", failure.message));
    }
    if desired == 0 {
        return if server.running == 0 {
            State::Ready
        } else {
            State::Pending(format!("{name} is stopping"))
        };
    }
    if server.ready < desired {
        let moves = if moves { "; before it serves, memories are moved to PostgreSQL" } else { "" };
        return State::Pending(format!("{name}: {} of {desired} ready{moves}", server.ready));
    }
    if !server.current {
        return State::Pending(format!("{name}: older copies are being replaced"));
    }
    match server.answered {
        Some(true) => State::Ready,
        Some(false) => State::Silent(format!("{name} runs but does not answer MCP requests")),
        None => State::Pending(format!("{name} was not asked yet")),
    }
}

/// Whether whatever fails of a server can only be copies beyond the fewest: these are ready, and none is an older one.
fn is_surplus(desired: u32, server: &ObservedServer) -> bool {
    server.wanted > desired && server.ready >= desired && server.current
}

fn verdicts(plan: &Plan, observed: &Observed, states: &[State], ready: usize) -> Vec<Verdict> {
    use ConditionType::{Degraded, Ready, Reconciling, Stalled};
    let messages = |pick: fn(&State) -> Option<&String>| join(states.iter().filter_map(pick).cloned());
    let pending = messages(|state| if let State::Pending(message) = state { Some(message) } else { None });
    let silent = messages(|state| if let State::Silent(message) = state { Some(message) } else { None });
    let failing = messages(|state| if let State::Failing(_, message) = state { Some(message) } else { None });
    let problems = join(observed.problems.iter().map(|problem| problem.message.clone()));
    let setbacks = join(observed.setbacks.iter().map(|setback| setback.message.clone()));
    let unreachable = join(plan.remotes.iter().filter_map(|remote| {
        let answered = observed.servers.get(&remote.name)?.answered;
        (answered == Some(false)).then(|| format!("{} does not answer at {}", remote.name, remote.url))
    }));

    let stalled = if let Some(problem) = observed.problems.first() {
        Some((problem.reason, join([problems.clone(), failing.clone()])))
    } else {
        states.iter().find_map(|state| match state {
            State::Failing(reason, _) => Some((*reason, failing.clone())),
            _ => None,
        })
    };
    let all = join([problems, failing, setbacks.clone(), silent.clone(), pending.clone()]);

    let is_hindered = !observed.problems.is_empty() || !observed.setbacks.is_empty();
    let is_ready = ready == states.len() && !is_hindered && !plan.suspended;
    let left_out = join(plan.left_out.iter().map(|left_out| left_out.name.clone()));
    let ready_verdict = if plan.suspended {
        let message = "suspended: every server is stopped; set spec.suspend to false to start them";
        Verdict(Ready, false, Reason::Suspended, message.to_owned())
    } else if is_ready {
        let note = if left_out.is_empty() { String::new() } else { format!("; left out here: {left_out}") };
        Verdict(Ready, true, Reason::AllServersReady, format!("{ready} of {ready} servers answer{note}"))
    } else {
        let reason = match &stalled {
            Some((reason, _)) => *reason,
            None if !setbacks.is_empty() => Reason::ApplyFailed,
            None if pending.is_empty() => Reason::McpNotAnswered,
            None => Reason::ServersNotReady,
        };
        Verdict(Ready, false, reason, all)
    };

    let reconciling_verdict = match (&stalled, pending.is_empty(), setbacks.is_empty()) {
        (None, _, false) => Verdict(Reconciling, true, Reason::ApplyFailed, join([setbacks, pending])),
        (None, false, true) => Verdict(Reconciling, true, Reason::RollingOut, pending),
        _ => Verdict(Reconciling, false, Reason::UpToDate, "nothing is being changed".to_owned()),
    };
    let (warnings, missed) = (warnings(plan, observed), missed(plan, observed));
    let shortfalls = || plan.shortfalls.iter().chain(&observed.shortfalls).chain(&missed).chain(&warnings);
    let first = shortfalls().next();
    let shortfalls = join(shortfalls().map(|shortfall| shortfall.message.clone()));
    let degraded_reason = match (&stalled, first) {
        (Some((reason, _)), _) => *reason,
        (None, Some(shortfall)) if silent.is_empty() && unreachable.is_empty() => shortfall.reason,
        _ => Reason::McpNotAnswered,
    };
    let stalled_message = stalled.as_ref().map(|(_, message)| message.clone()).unwrap_or_default();
    let degraded = join([stalled_message, silent, unreachable, shortfalls]);
    vec![
        ready_verdict,
        reconciling_verdict,
        match stalled {
            Some((reason, message)) => Verdict(Stalled, true, reason, message),
            None => Verdict(Stalled, false, Reason::NothingWrong, "nothing stands in the way".to_owned()),
        },
        if degraded.is_empty() {
            Verdict(Degraded, false, Reason::NothingWrong, "nothing is wrong".to_owned())
        } else {
            Verdict(Degraded, true, degraded_reason, degraded)
        },
    ]
}

/// Why there are fewer copies than an autoscaler wants, where there are enough to be ready.
fn missed(plan: &Plan, observed: &Observed) -> Vec<Finding> {
    let missed = plan.workloads.iter().filter_map(|workload| {
        let server = observed.servers.get(&workload.name)?;
        let failure = server.failure.as_ref()?;
        let is_missed = workload.replicas > 0 && is_surplus(workload.replicas, server);
        is_missed.then(|| Finding::new(failure.reason, format!("{}: {}", workload.name, failure.message)))
    });
    missed.collect()
}

/// What servers tell of their settings, besides what the plan knows already.
fn warnings(plan: &Plan, observed: &Observed) -> Vec<Finding> {
    let is_known = |warning: &str| plan.shortfalls.iter().any(|known| known.message.ends_with(warning));
    let mut findings = Vec::new();
    for (name, server) in &observed.servers {
        for warning in server.warnings.iter().filter(|warning| !is_known(warning)) {
            findings.push(Finding::new(Reason::InvalidSettings, format!("{name}: {warning}")));
        }
    }
    findings
}

fn conditions(
    verdicts: Vec<Verdict>,
    generation: Option<i64>,
    previous: Option<&McpSystemStatus>,
    now: &Time,
) -> Vec<Condition> {
    let fresh = verdicts
        .into_iter()
        .map(|Verdict(type_, status, reason, message)| Condition {
            type_: type_.name().to_owned(),
            status: if status { "True" } else { "False" }.to_owned(),
            reason: reason.name().to_owned(),
            message,
            observed_generation: generation,
            last_transition_time: now.clone(),
        })
        .collect();
    merge_conditions(previous.map_or(&[], |previous| &previous.conditions), fresh)
}

/// Keeps the transition time of every condition whose status did not change.
pub fn merge_conditions(previous: &[Condition], mut fresh: Vec<Condition>) -> Vec<Condition> {
    for condition in &mut fresh {
        if let Some(old) =
            previous.iter().find(|old| old.type_ == condition.type_ && old.status == condition.status)
        {
            condition.last_transition_time = old.last_transition_time.clone();
        }
    }
    fresh
}

fn join(parts: impl IntoIterator<Item = String>) -> String {
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("; ")
}
