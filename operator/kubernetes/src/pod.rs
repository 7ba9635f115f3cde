//! What is kept of a pod: whether it is ready, and what keeps it from that.
//!
//! The kubelet alternates between reasons while nothing changes (`ErrImagePull`, `ImagePullBackOff`; running,
//! terminated, `CrashLoopBackOff`). Here the same situation always gives the same words.

use crate::child::{label, stable};
use crate::render::{COMPONENT, MOVER};
use k8s_openapi::api::core::v1::{ContainerState, ContainerStateTerminated, ContainerStatus, PodStatus};
use k8s_openapi::jiff::Timestamp;
use kube::core::DynamicObject;
use std::time::Duration;

/// Restarts after which a container counts as one that ends again and again.
const RESTARTS: i32 = 2;
/// A container that ran for so long has left its earlier restarts behind, as the kubelet forgets its back-off then.
pub(crate) const STEADY: Duration = Duration::from_mins(10);

/// A pod of a server.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Pod {
    pub(crate) uid: String,
    pub(crate) version: u64,
    /// The server.
    pub(crate) server: String,
    pub(crate) ready: bool,
    /// Whether it is being deleted, or has ended for good (evicted, its node shut down): the Deployment makes another, and
    /// what this one tells matters no more.
    pub(crate) over: bool,
    /// Since when it has a node and is to start there; none once it has started or ended.
    pub(crate) placed: Option<Timestamp>,
    /// Whether its volumes are mounted: whatever it mounts was there.
    pub(crate) mounted: bool,
    pub(crate) trouble: Option<Trouble>,
    /// How far it is with moving what its volume holds, where it does that first.
    pub(crate) mover: Option<Mover>,
}

/// How far the container is that moves memories.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Mover {
    /// It moves them.
    Runs,
    /// It is done, and told this.
    Done(String),
}

/// What keeps a pod from being ready, by itself for ever.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Trouble {
    /// Its image cannot be had.
    Image(String),
    /// Its container cannot be made.
    Container(String),
    /// Its container ends again and again. Where it runs right now, since then: it may be over that soon.
    Ends(String, Option<Timestamp>),
    /// No node takes it, since then; which often passes.
    Unplaced(Timestamp),
}

impl Pod {
    pub(crate) fn read(object: &DynamicObject) -> Self {
        let status: PodStatus = object
            .data
            .get("status")
            .and_then(|status| serde_json::from_value(status.clone()).ok())
            .unwrap_or_default();
        let metadata = &object.metadata;
        let is_true = |type_| condition(&status, type_).is_some_and(|condition| condition.status == "True");
        let ready = is_true("Ready");
        Self {
            uid: metadata.uid.clone().unwrap_or_default(),
            version: crate::child::version(metadata),
            server: label(metadata, COMPONENT).unwrap_or_default().to_owned(),
            ready,
            over: metadata.deletion_timestamp.is_some()
                || matches!(status.phase.as_deref(), Some("Failed" | "Succeeded")),
            placed: condition(&status, "PodScheduled")
                .filter(|placed| placed.status == "True" && status.phase.as_deref() == Some("Pending"))
                .and_then(|placed| placed.last_transition_time.as_ref())
                .map(|time| time.0),
            // True once there is a sandbox, which comes after the volumes and before any image. A kubelet before 1.29
            // does not tell.
            mounted: ready || is_true("PodReadyToStartContainers"),
            trouble: if ready { None } else { trouble(&status, object) },
            mover: mover(&status),
        }
    }
}

fn condition<'a>(status: &'a PodStatus, type_: &str) -> Option<&'a k8s_openapi::api::core::v1::PodCondition> {
    status.conditions.iter().flatten().find(|condition| condition.type_ == type_)
}

fn trouble(status: &PodStatus, object: &DynamicObject) -> Option<Trouble> {
    if let Some(placed) = condition(status, "PodScheduled").filter(|placed| placed.status == "False") {
        if placed.reason.as_deref() == Some("Unschedulable") {
            return placed.last_transition_time.as_ref().map(|time| Trouble::Unplaced(time.0));
        }
        return None;
    }
    let first = status.init_container_statuses.iter().flatten();
    first
        .chain(status.container_statuses.iter().flatten())
        .find_map(|container| container_trouble(container, object))
}

fn mover(status: &PodStatus) -> Option<Mover> {
    let mut first = status.init_container_statuses.iter().flatten();
    let state = first.find(|container| container.name == MOVER)?.state.as_ref()?;
    match &state.terminated {
        Some(end) => (end.exit_code == 0).then(|| Mover::Done(end.message.clone().unwrap_or_default())),
        None => state.running.as_ref().map(|_| Mover::Runs),
    }
}

fn container_trouble(container: &ContainerStatus, object: &DynamicObject) -> Option<Trouble> {
    let state = container.state.as_ref();
    if let Some(waiting) = state.and_then(|state| state.waiting.as_ref()) {
        match waiting.reason.as_deref().unwrap_or_default() {
            "ErrImagePull"
            | "ImagePullBackOff"
            | "InvalidImageName"
            | "ErrImageNeverPull"
            | "ImageInspectError"
            | "RegistryUnavailable"
            | "SignatureValidationFailed" => {
                return Some(Trouble::Image(format!(
                    "the image {} cannot be pulled: check its name, the registry and the pull secrets",
                    image(container, object)
                )));
            }
            "CreateContainerConfigError" => {
                let why = stable(waiting.message.as_deref().unwrap_or_default());
                return Some(Trouble::Container(format!("its container cannot be made: {why}")));
            }
            "CreateContainerError" | "PreCreateHookError" => {
                let why = "its container cannot be made: kubectl describe pod tells why";
                return Some(Trouble::Container(why.to_owned()));
            }
            _ => {}
        }
    }
    if container.restart_count < RESTARTS {
        return None;
    }
    let ended = |state: Option<&ContainerState>| state.and_then(|state| state.terminated.as_ref()).cloned();
    let end = ended(state).or_else(|| ended(container.last_state.as_ref()));
    if container.name == MOVER {
        // It is there to end: how long it runs tells nothing.
        let is_done = ended(state).is_some_and(|end| end.exit_code == 0);
        return (!is_done).then(|| Trouble::Ends(unmoved(end.as_ref()), None));
    }
    // Restarts are counted for as long as the pod lives: what matters is how long it ran the last time.
    if end.as_ref().is_some_and(ran_long) {
        return None;
    }
    let running = state.and_then(|state| state.running.as_ref());
    let since = running.and_then(|running| running.started_at.as_ref()).map(|time| time.0);
    Some(Trouble::Ends(how(end.as_ref()), since))
}

fn ran_long(end: &ContainerStateTerminated) -> bool {
    let (Some(from), Some(to)) = (&end.started_at, &end.finished_at) else { return false };
    Duration::try_from(to.0.duration_since(from.0)).is_ok_and(|ran| ran >= STEADY)
}

/// The image as the spec names it; the status may hold another name of the same one.
fn image(container: &ContainerStatus, object: &DynamicObject) -> String {
    object
        .data
        .get("spec")
        .into_iter()
        .flat_map(|spec| ["initContainers", "containers"].map(|list| spec[list].as_array()))
        .flatten()
        .flatten()
        .find(|spec| spec["name"].as_str() == Some(container.name.as_str()))
        .and_then(|spec| spec["image"].as_str())
        .unwrap_or(&container.image)
        .to_owned()
}

/// Why memories could not be moved: the last line that the mover wrote.
fn unmoved(end: Option<&ContainerStateTerminated>) -> String {
    let written = end.and_then(|end| end.message.as_deref()).unwrap_or_default();
    match written.lines().rfind(|line| !line.trim().is_empty()) {
        Some(line) => format!(
            "its memories cannot be moved to PostgreSQL: {}",
            line.trim().trim_start_matches("error: ")
        ),
        None => how(end),
    }
}

fn how(end: Option<&ContainerStateTerminated>) -> String {
    let told = match end {
        Some(end) if end.reason.as_deref() == Some("OOMKilled") => {
            "it used more memory than its limit (OOMKilled): raise resources.limits.memory".to_owned()
        }
        Some(end) => match end.reason.as_deref().filter(|reason| !matches!(*reason, "Error" | "Completed")) {
            Some(reason) => format!("exit code {} ({reason}); its log tells why", end.exit_code),
            None => format!("exit code {}; its log tells why", end.exit_code),
        },
        None => "its log tells why".to_owned(),
    };
    format!("it ends again and again: {told}")
}
