//! One look at one system, in five steps: read, validate, plan, apply, tell.
//!
//! Only applying and telling touch the API; at rest neither does. Must not know watches, queues or leases.

use crate::apply::{Applied, Contests, Refusals, Tools, apply, note_moved, retain_claims};
use crate::asks::{Asks, Question, Told};
use crate::cache::{Cache, Family, System};
use crate::door::Door;
use crate::error::Error;
use crate::events::{self, News};
use crate::keys::{self, Keys};
use crate::kind::SystemKey;
use crate::metrics::Metrics;
use crate::observe::{embedded, incarnation, moved, observe, observe_known};
use crate::render::{Owner, render};
use crate::setbacks::{self, Setbacks};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use mcp_system_crds::{McpSystem, McpSystemStatus, Reason, ReclaimPolicy, ServerStatus};
use mcp_system_plan::{Finding, Observed, Plan, Target, invalid_status, plan, self_check, status, validate};
use mcp_system_probe::Endpoint;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// What every look needs.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) door: Door,
    pub(crate) cache: Arc<Cache>,
    pub(crate) asks: Arc<Asks>,
    pub(crate) refusals: Refusals,
    pub(crate) contests: Contests,
    pub(crate) keys: Keys,
    pub(crate) setbacks: Setbacks,
    pub(crate) metrics: Arc<Metrics>,
    /// The image of servers whose system names none.
    pub(crate) target: Target,
    /// Whether this cluster has ServiceMonitors.
    pub(crate) monitors: AtomicBool,
    /// The name under which Events are reported.
    pub(crate) reporter: String,
}

/// When to look again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// When something happens.
    Rest,
    /// After this, at the latest.
    After(Duration),
    /// As soon as it may work, later each time.
    Retry,
}

/// How a look ended.
#[derive(Debug)]
pub(crate) struct Looked {
    /// `ok`, `gone`, `invalid`, `unreadable`, `refused` or `error`.
    pub(crate) result: &'static str,
    pub(crate) next: Next,
    pub(crate) errors: Vec<Error>,
}

impl Looked {
    fn new(result: &'static str, next: Next) -> Self {
        Self { result, next, errors: Vec::new() }
    }
}

/// Looks at one system and does what is to be done.
pub(crate) async fn reconcile(context: &Context, key: &SystemKey) -> Looked {
    // Read.
    let Some(system) = context.cache.system(key).filter(|system| !system.deleting) else {
        // What belonged to it goes by its owner references.
        context.asks.forget(key);
        context.refusals.forget(key);
        context.contests.forget(key);
        context.keys.forget(key);
        context.setbacks.forget(key);
        context.metrics.forget(key);
        return Looked::new("gone", Next::Rest);
    };
    let resource: Box<McpSystem> = match serde_json::from_str(&system.text) {
        Ok(resource) => resource,
        Err(error) => return unreadable(context, key, &system, &error).await,
    };
    let previous = resource.status.clone();

    // Validate.
    let embedded = embedded(&key.name, &context.cache.family(key));
    let mut observed = Observed { embedded, ..Observed::default() };
    let validated = match validate(&resource, &context.target, &observed) {
        Ok(validated) => validated,
        Err(findings) => {
            return invalid(context, key, &system, previous.as_ref(), &findings, "invalid").await;
        }
    };

    // Plan.
    let plan = plan(&validated);

    // Apply.
    let owner = Owner { namespace: key.namespace.clone(), name: key.name.clone(), uid: system.uid.clone() };
    let desired = render(&plan, &owner, context.monitors.load(Ordering::Relaxed));
    let tools = Tools {
        door: &context.door,
        cache: &context.cache,
        refusals: &context.refusals,
        contests: &context.contests,
    };
    let mut applied = Applied::default();
    // Before the pods that mount it.
    keys::ensure(&context.keys, tools, key, &owner, &plan, &mut applied).await;
    apply(tools, key, &owner, &desired, &mut applied).await;
    if resource.spec.storage.embedded.reclaim_policy == ReclaimPolicy::Retain {
        retain_claims(tools, key, &owner, &desired, &mut applied).await;
    }
    forget_monitors(context, &mut applied);

    // Tell.
    let family = context.cache.family(key);
    let told = context.asks.set(key, questions(&plan, &key.name, &family, previous.as_ref()));
    let now = Timestamp::now();
    let seen = observe(&plan, &key.name, &family, &told, now);
    observed.servers = seen.servers;
    observed.problems = std::mem::take(&mut applied.problems);
    observed.shortfalls = std::mem::take(&mut applied.shortfalls);
    observed.shortfalls.extend(seen.shortfalls);
    let mut news = events::of_changes(&applied.changes);
    if let Some((workload, report)) = moved(&plan, &key.name, &family) {
        let claim = owner.object_name(&workload.name);
        if note_moved(tools, &owner, &claim, &family, now, &mut applied).await {
            news.push(events::of_move(&claim, report));
        }
    }
    let is_interrupted = !applied.errors.is_empty();
    // What could not be tried says nothing of the new generation: that is told when it was, or when trying goes on in vain.
    let goes_on = context.setbacks.note(key, is_interrupted);
    if !is_interrupted || goes_on {
        setbacks::tell(&applied.errors, &mut observed);
        let next = status(&plan, &observed, system.generation, previous.as_ref(), &Time(now));
        match put_status(context, key, &system, previous.as_ref(), &next).await {
            Ok(()) => news.extend(events::of_status(previous.as_ref(), &next)),
            Err(error) => applied.errors.push(error),
        }
    }
    publish(context, key, &system, news).await;
    let again = applied.again.into_iter().chain(seen.again).min();
    let (result, next) = match (applied.errors.is_empty(), again) {
        (false, _) => ("error", Next::Retry),
        (true, again) => {
            let result = if applied.refused.is_empty() { "ok" } else { "refused" };
            (result, again.map_or(Next::Rest, Next::After))
        }
    };
    applied.errors.append(&mut applied.refused);
    Looked { result, next, errors: applied.errors }
}

/// ServiceMonitors may go at any time, with the Prometheus Operator: that is no failure.
fn forget_monitors(context: &Context, applied: &mut Applied) {
    applied.errors.retain(|error| {
        let is_monitor = matches!(error, Error::UnknownKind { kind: "ServiceMonitor" });
        if is_monitor {
            context.monitors.store(false, Ordering::Relaxed);
        }
        !is_monitor
    });
}

/// Whom to ask: every server that has ready pods, and everything that runs elsewhere.
fn questions(plan: &Plan, name: &str, family: &Family, previous: Option<&McpSystemStatus>) -> Vec<Question> {
    let before = |server: &str| {
        let known = previous.and_then(|status| status.servers.iter().find(|known| known.name == server));
        known.map(told_before).unwrap_or_default()
    };
    let workloads = plan.workloads.iter().map(|workload| Question {
        server: workload.name.clone(),
        endpoint: match &workload.self_check {
            Some(url) => Endpoint::SelfCheck(url.clone()),
            None => Endpoint::Mcp(workload.endpoint.clone()),
        },
        incarnation: incarnation(name, &workload.name, family).filter(|_| workload.replicas > 0),
        before: before(&workload.name),
    });
    let remotes = plan.remotes.iter().map(|remote| Question {
        server: remote.name.clone(),
        endpoint: Endpoint::Mcp(remote.url.clone()),
        incarnation: Some(0).filter(|_| !plan.suspended),
        before: before(&remote.name),
    });
    workloads.chain(remotes).collect()
}

/// Whom to ask where an earlier status is all that is known: as a plan has it done. What should have no copies here, and was
/// asked all the same, runs elsewhere.
fn known_questions(status: &McpSystemStatus, name: &str, family: &Family) -> Vec<Question> {
    let question = |server: &ServerStatus| {
        let endpoint = server.endpoint.clone()?;
        Some(Question {
            server: server.name.clone(),
            incarnation: match server.desired {
                0 => server.answered.map(|_| 0),
                _ => incarnation(name, &server.name, family),
            },
            endpoint: match self_check(&server.name, &endpoint) {
                Some(url) => Endpoint::SelfCheck(url),
                None => Endpoint::Mcp(endpoint),
            },
            before: told_before(server),
        })
    };
    status.servers.iter().filter_map(question).collect()
}

/// What a server told before this operator started.
fn told_before(server: &ServerStatus) -> Told {
    Told {
        answered: server.answered,
        version: server.version.clone(),
        tools: server.tools.and_then(|tools| u32::try_from(tools).ok()),
        warnings: server.warnings.clone(),
    }
}

/// A spec that cannot be carried out: what runs goes on as it was, and is asked and observed as before.
async fn invalid(
    context: &Context,
    key: &SystemKey,
    system: &System,
    previous: Option<&McpSystemStatus>,
    findings: &[Finding],
    result: &'static str,
) -> Looked {
    context.setbacks.forget(key);
    let family = context.cache.family(key);
    let asked = previous.map(|status| known_questions(status, &key.name, &family)).unwrap_or_default();
    let told = context.asks.set(key, asked);
    let observe = |status| observe_known(status, &key.name, &family, &told);
    let known = previous.map(observe).unwrap_or_default();
    let now = Time(Timestamp::now());
    let next = invalid_status(findings, &known, system.generation, previous, &now);
    let news = events::of_status(previous, &next);
    if let Err(error) = put_status(context, key, system, previous, &next).await {
        return Looked { result: "error", next: Next::Retry, errors: vec![error] };
    }
    publish(context, key, system, news).await;
    Looked::new(result, Next::Rest)
}

/// A system that was stored under another schema and cannot be read now. It disturbs no other one. Its
/// status tells what is wrong, unless the API refuses that as well: then the log and an Event do.
async fn unreadable(
    context: &Context,
    key: &SystemKey,
    system: &System,
    error: &serde_json::Error,
) -> Looked {
    tracing::error!(system = %key, %error, "this McpSystem cannot be read");
    context.metrics.unreadable.inc();
    let message =
        format!("this McpSystem cannot be read, and what runs is left as it is: {error}; correct its spec");
    let finding = Finding::new(Reason::InvalidSpec, message);
    let previous = serde_json::from_str::<Value>(&system.text)
        .ok()
        .and_then(|object| McpSystemStatus::deserialize(object.get("status")?).ok());
    let looked =
        invalid(context, key, system, previous.as_ref(), std::slice::from_ref(&finding), "unreadable").await;
    if looked.errors.iter().any(|error| matches!(error, Error::Refused { .. })) {
        let news = News { is_warning: true, reason: "InvalidSpec", action: "Read", note: finding.message };
        publish(context, key, system, vec![news]).await;
        // Only a change of the object can help.
        return Looked { next: Next::Rest, ..looked };
    }
    looked
}

/// Writes the status if it is another one than stands there. Among the metrics it is shown in either case.
async fn put_status(
    context: &Context,
    key: &SystemKey,
    system: &System,
    previous: Option<&McpSystemStatus>,
    next: &McpSystemStatus,
) -> Result<(), Error> {
    context.metrics.show(key, next);
    if previous == Some(next) {
        return Ok(());
    }
    let mut value = serde_json::to_value(next).unwrap_or_default();
    for field in ["observedGeneration", "url", "readyServers"] {
        // In a merge patch, only null removes.
        if value.get(field).is_none() {
            value[field] = json!(null);
        }
    }
    let written = context.door.put_status(key, &system.uid, &value).await?;
    context.cache.renew_system(written);
    Ok(())
}

/// Tells people. That an Event could not be created stops nothing.
async fn publish(context: &Context, key: &SystemKey, system: &System, news: Vec<News>) {
    for news in news {
        let event = events::event(key, &system.uid, &context.reporter, news, Timestamp::now());
        if let Err(error) = context.door.create_event(&key.namespace, &event).await {
            tracing::warn!(system = %key, %error, "an Event could not be created");
        }
    }
}
