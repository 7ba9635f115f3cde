//! What is kept of a pod: whether it is ready, and what keeps it from that.
//!
//! The kubelet alternates between reasons while nothing changes (`ErrImagePull`, `ImagePullBackOff`; running,
//! terminated, `CrashLoopBackOff`). Here the same situation always gives the same words.

use crate::child::{label, stable};
use crate::render::COMPONENT;
use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, PodStatus};
use k8s_openapi::jiff::Timestamp;
use kube::core::DynamicObject;

/// Restarts after which a container counts as one that ends again and again.
const RESTARTS: i32 = 2;

/// A pod of a server.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Pod {
    pub(crate) uid: String,
    pub(crate) version: u64,
    /// The server.
    pub(crate) server: String,
    pub(crate) ready: bool,
    pub(crate) deleting: bool,
    pub(crate) trouble: Option<Trouble>,
}

/// What keeps a pod from being ready, by itself for ever.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Trouble {
    /// Its image cannot be had.
    Image(String),
    /// Its container cannot be made.
    Container(String),
    /// Its container ends again and again.
    Ends(String),
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
        let ready = condition(&status, "Ready").is_some_and(|condition| condition.status == "True");
        Self {
            uid: metadata.uid.clone().unwrap_or_default(),
            version: crate::child::version(metadata),
            server: label(metadata, COMPONENT).unwrap_or_default().to_owned(),
            ready,
            deleting: metadata.deletion_timestamp.is_some(),
            trouble: if ready { None } else { trouble(&status, object) },
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
    status.container_statuses.iter().flatten().find_map(|container| container_trouble(container, object))
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
    let ended = |state: Option<&k8s_openapi::api::core::v1::ContainerState>| {
        state.and_then(|state| state.terminated.as_ref()).cloned()
    };
    let end = ended(state).or_else(|| ended(container.last_state.as_ref()));
    Some(Trouble::Ends(how(end.as_ref())))
}

/// The image as the spec names it; the status may hold another name of the same one.
fn image(container: &ContainerStatus, object: &DynamicObject) -> String {
    object
        .data
        .pointer("/spec/containers")
        .and_then(|containers| containers.as_array())
        .and_then(|containers| {
            containers.iter().find(|spec| spec["name"].as_str() == Some(container.name.as_str()))
        })
        .and_then(|spec| spec["image"].as_str())
        .unwrap_or(&container.image)
        .to_owned()
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
