//! What was seen of a system's objects, in the terms that a cluster and a laptop share.
//!
//! Pure, and stable: as long as the same situation lasts, the same words come out, whatever the kubelet
//! alternates between. Must not know the API.

use crate::asks::Told;
use crate::cache::Family;
use crate::child::{Facts, Hindrance, Progress};
use crate::kind::Kind;
use crate::pod::{Mover, Pod, STEADY, Trouble};
use k8s_openapi::jiff::Timestamp;
use mcp_system_crds::config::ServerKind;
use mcp_system_crds::{McpSystemStatus, Reason};
use mcp_system_plan::{
    Autoscaling, Embedded, Failure, Finding, Known, MountSource, ObservedServer, Plan, SecretSource, Workload,
};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

/// A pod may be without a node for so long before that counts as a failure: volumes are bound and nodes
/// are added in that time.
const PLACING: Duration = Duration::from_secs(30);
/// A pod may wait for its volumes for so long: some are attached to its node first.
const MOUNTING: Duration = Duration::from_mins(1);
/// An autoscaler may be kept from deciding for so long once all pods are ready: what new ones use is not known at once.
const MEASURING: Duration = Duration::from_mins(2);

/// What was seen of the servers, and when that has to be looked at again though nothing changes.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Seen {
    pub(crate) servers: BTreeMap<String, ObservedServer>,
    /// What does not work of what is there besides them.
    pub(crate) shortfalls: Vec<Finding>,
    pub(crate) again: Option<Duration>,
}

/// Looks at everything that belongs to a plan.
pub(crate) fn observe(
    plan: &Plan,
    name: &str,
    family: &Family,
    told: &BTreeMap<String, Told>,
    now: Timestamp,
) -> Seen {
    let mut seen = Seen::default();
    for workload in &plan.workloads {
        let progress = progress(name, &workload.name, family);
        let pods = pods(&workload.name, family);
        let (failure, again) = failure(workload, progress, &pods, now);
        let server = ObservedServer { failure, ..running(progress, told.get(&workload.name)) };
        seen.servers.insert(workload.name.clone(), server);
        let (hindered, then) = hindered(workload, progress, name, family, now);
        seen.shortfalls.extend(hindered);
        seen.again = seen.again.into_iter().chain(again).chain(then).min();
    }
    for remote in &plan.remotes {
        seen.servers.insert(remote.name.clone(), answered(told.get(&remote.name)));
    }
    seen
}

/// Looks at the servers that an earlier status names, where no plan says which there should be.
pub(crate) fn observe_known(
    status: &McpSystemStatus,
    name: &str,
    family: &Family,
    told: &BTreeMap<String, Told>,
) -> Known {
    let mut known = Known::default();
    for server in &status.servers {
        let progress = progress(name, &server.name, family);
        if server.desired > 0 || progress.is_some() {
            known.running.insert(server.name.clone(), running(progress, told.get(&server.name)));
        } else if server.endpoint.is_some() {
            // What is left out has no endpoint either.
            known.elsewhere.insert(server.name.clone(), answered(told.get(&server.name)));
        }
    }
    known
}

/// The embedded store of a system. A claim on its way out is none any more.
pub(crate) fn embedded(name: &str, family: &Family) -> Embedded {
    let claim = family.objects.get(&(Kind::VolumeClaim, format!("{name}-{}", ServerKind::Memory)));
    match claim.filter(|child| !child.deleting).map(|child| &child.facts) {
        Some(Facts::Claim(claim)) if claim.moved => Embedded::Moved,
        Some(_) => Embedded::Present,
        None => Embedded::Absent,
    }
}

/// The server that now serves from PostgreSQL all that its claim holds, and what its mover told.
pub(crate) fn moved<'a>(plan: &'a Plan, name: &str, family: &'a Family) -> Option<(&'a Workload, &'a str)> {
    let workload = plan.workloads.iter().find(|workload| workload.moves)?;
    progress(name, &workload.name, family).filter(|progress| is_current(progress) && progress.ready > 0)?;
    let mut ready = pods(&workload.name, family).into_iter().filter(|(_, pod)| pod.ready && !pod.over);
    ready.find_map(|(_, pod)| match &pod.mover {
        Some(Mover::Done(report)) => Some((workload, report.as_str())),
        _ => None,
    })
}

/// A number that changes whenever the pods that answer for a server do; none while there are none.
pub(crate) fn incarnation(name: &str, server: &str, family: &Family) -> Option<u64> {
    let progress = progress(name, server, family).filter(|progress| progress.ready > 0)?;
    let mut hasher = DefaultHasher::new();
    progress.observed_generation.hash(&mut hasher);
    for (name, pod) in pods(server, family).into_iter().filter(|(_, pod)| pod.ready && !pod.over) {
        (name, &pod.uid).hash(&mut hasher);
    }
    Some(hasher.finish())
}

fn progress<'a>(name: &str, server: &str, family: &'a Family) -> Option<&'a Progress> {
    let child = family.objects.get(&(Kind::Deployment, format!("{name}-{server}")))?;
    match &child.facts {
        Facts::Deployment(progress) => Some(progress),
        Facts::Claim(_) | Facts::Autoscaler(_) | Facts::None => None,
    }
}

fn pods<'a>(server: &str, family: &'a Family) -> Vec<(&'a String, &'a Pod)> {
    family.pods.iter().filter(|(_, pod)| pod.server == server).collect()
}

fn count(number: Option<i32>) -> u32 {
    number.and_then(|number| u32::try_from(number).ok()).unwrap_or_default()
}

/// Whether the Deployment's controller has seen which copies are wanted and replaced every older one. How many are wanted
/// is another matter: an autoscaler that scales makes none of them an older one.
fn is_current(progress: &Progress) -> bool {
    progress.observed_generation >= progress.since && progress.updated == progress.replicas
}

fn running(progress: Option<&Progress>, told: Option<&Told>) -> ObservedServer {
    ObservedServer {
        ready: count(progress.map(|progress| progress.ready)),
        running: count(progress.map(|progress| progress.replicas)),
        wanted: progress.map(|progress| progress.wanted).unwrap_or_default(),
        current: progress.is_some_and(is_current),
        ..answered(told)
    }
}

fn answered(told: Option<&Told>) -> ObservedServer {
    let told = told.cloned().unwrap_or_default();
    ObservedServer {
        answered: told.answered,
        version: told.version,
        tools: told.tools,
        warnings: told.warnings,
        // What runs elsewhere is whatever it is; for what runs here this is overwritten.
        current: true,
        ..ObservedServer::default()
    }
}

fn failure(
    workload: &Workload,
    progress: Option<&Progress>,
    pods: &[(&String, &Pod)],
    now: Timestamp,
) -> (Option<Failure>, Option<Duration>) {
    let failing = |message: String| Some(Failure { reason: Reason::ServerFailing, message });
    let (message, again) = stuck(workload, pods, now);
    if let Some(message) = message {
        return (failing(message), again);
    }
    let Some(progress) = progress else { return (None, again) };
    if let Some(refused) = &progress.refused {
        return (failing(format!("its pods are refused: {refused}")), again);
    }
    let moves = pods.iter().any(|(_, pod)| !pod.over && pod.mover == Some(Mover::Runs));
    // How long memories are on their way depends on how many there are.
    if progress.too_slow && !moves && progress.observed_generation >= progress.generation {
        let message = "it did not become ready in time: its log and kubectl describe pod tell why".to_owned();
        let failure = Failure { reason: Reason::ProgressDeadlineExceeded, message };
        return (Some(failure), again);
    }
    (None, again)
}

/// What keeps the system's own autoscaler of a server from deciding, and when that has to be looked at again. What is not
/// ready cannot be measured: while copies are missing, that is what there is to tell, and its end is told of.
fn hindered(
    workload: &Workload,
    progress: Option<&Progress>,
    name: &str,
    family: &Family,
    now: Timestamp,
) -> (Option<Finding>, Option<Duration>) {
    let server = &workload.name;
    let is_made = matches!(workload.autoscaling, Some(Autoscaling::Horizontal(_)));
    let child = family.objects.get(&(Kind::Autoscaler, format!("{name}-{server}")));
    let facts = child.filter(|child| is_made && !child.deleting).map(|child| &child.facts);
    let Some(Facts::Autoscaler(Some(hindrance))) = facts else { return (None, None) };
    let Some(available) = progress.and_then(|progress| progress.available) else { return (None, None) };
    let Hindrance { since, reason, message } = hindrance;
    let (message, again) = until(MEASURING, available.max(*since), now, || {
        format!("{server}: its HorizontalPodAutoscaler cannot scale it: {reason}: {message}")
    });
    (message.map(|message| Finding::new(Reason::AutoscalerFailing, message)), again)
}

/// Why pods wait in vain, where they do, and when that has to be looked at again.
fn stuck(
    workload: &Workload,
    pods: &[(&String, &Pod)],
    now: Timestamp,
) -> (Option<String>, Option<Duration>) {
    let stay = || pods.iter().map(|(_, pod)| pod).filter(|pod| !pod.over);
    let troubles = stay().filter_map(|pod| pod.trouble.as_ref()).filter(|trouble| stands(trouble, now));
    // The least in the order of troubles, so that it does not matter which pod is looked at first.
    match troubles.min() {
        Some(Trouble::Image(message) | Trouble::Container(message)) => (Some(message.clone()), None),
        Some(Trouble::Ends(message, running)) => {
            (Some(message.clone()), running.and_then(|since| left(STEADY, since, now)))
        }
        Some(Trouble::Unplaced(since)) => until(PLACING, *since, now, || unplaced(workload)),
        None => {
            let needed = needed(workload);
            let waiting = stay().filter(|pod| !pod.mounted).filter_map(|pod| pod.placed).min();
            let Some(since) = waiting.filter(|_| !needed.is_empty()) else { return (None, None) };
            // Which of them is missing cannot be seen: this operator reads none.
            until(MOUNTING, since, now, || {
                format!(
                    "its pods wait for what they mount ({}): create what is missing; kubectl describe pod tells which",
                    needed.join(", ")
                )
            })
        }
    }
}

/// Whether a container that ended again and again may still do so.
fn stands(trouble: &Trouble, now: Timestamp) -> bool {
    match trouble {
        Trouble::Ends(_, Some(running)) => left(STEADY, *running, now).is_some(),
        Trouble::Ends(_, None) | Trouble::Image(_) | Trouble::Container(_) | Trouble::Unplaced(_) => true,
    }
}

/// What is wrong once the time for it is over, and before that when it will be.
fn until(
    allowed: Duration,
    since: Timestamp,
    now: Timestamp,
    message: impl FnOnce() -> String,
) -> (Option<String>, Option<Duration>) {
    match left(allowed, since, now) {
        Some(rest) => (None, Some(rest)),
        None => (Some(message()), None),
    }
}

/// How much is left of the time that something may take; none when it is over.
fn left(allowed: Duration, since: Timestamp, now: Timestamp) -> Option<Duration> {
    let waited = Duration::try_from(now.duration_since(since)).unwrap_or_default();
    (waited < allowed).then(|| allowed.saturating_sub(waited).max(Duration::from_secs(1)))
}

fn unplaced(workload: &Workload) -> String {
    let mut message =
        "no node takes its pods: compare resources, nodeSelector, tolerations and volumes with the \
                       nodes; kubectl describe pod tells more"
            .to_owned();
    let claims = workload.mounts.iter().filter(|mount| matches!(mount.source, MountSource::Claim { .. }));
    for claim in claims {
        let _ = write!(message, "; it mounts {}", claim.source);
    }
    message
}

/// What a server's pods mount of the user's own, without which they do not start.
fn needed(workload: &Workload) -> Vec<String> {
    let secrets = workload.secrets.iter().filter_map(|file| match &file.source {
        SecretSource::Given { secret, key, .. } => Some(format!("the key {key} of Secret {secret}")),
        SecretSource::Made { .. } => None,
    });
    let mounts = workload.mounts.iter().map(|mount| match &mount.source {
        MountSource::ConfigMap { items, .. } if !items.is_empty() => {
            let keys: Vec<&str> = items.iter().map(|(key, _)| key.as_str()).collect();
            format!("{} with {}", mount.source, keys.join(" and "))
        }
        source => source.to_string(),
    });
    secrets.chain(mounts).collect()
}

#[cfg(test)]
mod tests;
