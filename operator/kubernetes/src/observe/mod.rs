//! What was seen of a system's objects, in the terms that a cluster and a laptop share.
//!
//! Pure, and stable: as long as the same situation lasts, the same words come out, whatever the kubelet
//! alternates between. Must not know the API.

use crate::asks::Told;
use crate::cache::Family;
use crate::child::{Facts, Progress};
use crate::kind::Kind;
use crate::pod::{Pod, Trouble};
use k8s_openapi::jiff::Timestamp;
use mcp_system_crds::Reason;
use mcp_system_plan::{Failure, ObservedServer, Plan, Workload};
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

/// A pod may be without a node for so long before that counts as a failure: volumes are bound and nodes
/// are added in that time.
const PLACING: Duration = Duration::from_secs(30);

/// What was seen of the servers, and when that has to be looked at again though nothing changes.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Seen {
    pub(crate) servers: BTreeMap<String, ObservedServer>,
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
        let progress = progress(name, workload, family);
        let pods = pods(workload, family);
        let (failure, again) = failure(progress, &pods, now);
        let server = ObservedServer {
            ready: count(progress.map(|progress| progress.ready)),
            running: count(progress.map(|progress| progress.replicas)),
            current: progress.is_some_and(is_current),
            failure,
            ..answered(told.get(&workload.name))
        };
        seen.servers.insert(workload.name.clone(), server);
        seen.again = seen.again.into_iter().chain(again).min();
    }
    for remote in &plan.remotes {
        seen.servers.insert(remote.name.clone(), answered(told.get(&remote.name)));
    }
    seen
}

/// A number that changes whenever the pods that answer for a server do; none while there are none.
pub(crate) fn incarnation(name: &str, workload: &Workload, family: &Family) -> Option<u64> {
    let progress = progress(name, workload, family).filter(|progress| progress.ready > 0)?;
    let mut hasher = DefaultHasher::new();
    progress.observed_generation.hash(&mut hasher);
    for (name, pod) in pods(workload, family).into_iter().filter(|(_, pod)| pod.ready && !pod.deleting) {
        (name, &pod.uid).hash(&mut hasher);
    }
    Some(hasher.finish())
}

fn progress<'a>(name: &str, workload: &Workload, family: &'a Family) -> Option<&'a Progress> {
    let child = family.objects.get(&(Kind::Deployment, format!("{name}-{}", workload.name)))?;
    match &child.facts {
        Facts::Deployment(progress) => Some(progress),
        Facts::Claim(_) | Facts::None => None,
    }
}

fn pods<'a>(workload: &Workload, family: &'a Family) -> Vec<(&'a String, &'a Pod)> {
    family.pods.iter().filter(|(_, pod)| pod.server == workload.name).collect()
}

fn count(number: Option<i32>) -> u32 {
    number.and_then(|number| u32::try_from(number).ok()).unwrap_or_default()
}

/// Whether the Deployment's controller has seen the plan and replaced every older copy.
fn is_current(progress: &Progress) -> bool {
    progress.observed_generation >= progress.generation && progress.updated == progress.replicas
}

fn answered(told: Option<&Told>) -> ObservedServer {
    let told = told.cloned().unwrap_or_default();
    ObservedServer {
        answered: told.answered,
        version: told.version,
        tools: told.tools,
        // What runs elsewhere is whatever it is; for what runs here this is overwritten.
        current: true,
        ..ObservedServer::default()
    }
}

fn failure(
    progress: Option<&Progress>,
    pods: &[(&String, &Pod)],
    now: Timestamp,
) -> (Option<Failure>, Option<Duration>) {
    let failing = |message: String| Some(Failure { reason: Reason::ServerFailing, message });
    // The least in the order of troubles, so that it does not matter which pod is looked at first.
    let trouble =
        pods.iter().filter(|(_, pod)| !pod.deleting).filter_map(|(_, pod)| pod.trouble.as_ref()).min();
    let mut again = None;
    match trouble {
        Some(Trouble::Image(message) | Trouble::Container(message) | Trouble::Ends(message)) => {
            return (failing(message.clone()), None);
        }
        Some(Trouble::Unplaced(since)) => {
            let waited = Duration::try_from(now.duration_since(*since)).unwrap_or_default();
            if waited >= PLACING {
                let message = "no node takes its pods: compare resources, nodeSelector, tolerations and \
                               volumes with the nodes; kubectl describe pod tells more";
                return (failing(message.to_owned()), None);
            }
            again = Some(PLACING.saturating_sub(waited).max(Duration::from_secs(1)));
        }
        None => {}
    }
    let Some(progress) = progress else { return (None, again) };
    if let Some(refused) = &progress.refused {
        return (failing(format!("its pods are refused: {refused}")), None);
    }
    if progress.too_slow && progress.observed_generation >= progress.generation {
        let message = "it did not become ready in time: its log and kubectl describe pod tell why";
        let failure = Failure { reason: Reason::ProgressDeadlineExceeded, message: message.to_owned() };
        return (Some(failure), again);
    }
    (None, again)
}

#[cfg(test)]
mod tests;
