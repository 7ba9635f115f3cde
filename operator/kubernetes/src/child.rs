//! What is kept of an object in the cluster.
//!
//! Memory matters where there are ten thousand systems: of an object that was found to be as it should be,
//! only facts and a fingerprint stay. Must not know what it should be.

use crate::door::FIELD_MANAGER;
use crate::kind::{Kind, SystemKey};
use crate::render::{APPLIED, INSTANCE, MANAGED_BY, MANAGER, MOVED};
use k8s_openapi::api::apps::v1::DeploymentStatus;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscalerStatus;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, ObjectMeta, OwnerReference, Time};
use k8s_openapi::jiff::Timestamp;
use kube::core::DynamicObject;
use mcp_system_crds::GROUP;
use serde_json::{Value, json};
use std::hash::{DefaultHasher, Hash, Hasher};

/// The longest message of the API that is passed on, in characters.
const LONGEST: usize = 500;

/// An object that belongs, or seems to belong, to a system.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Child {
    pub(crate) kind: Kind,
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) version: u64,
    /// The owner that controls it.
    pub(crate) owner: Option<OwnerReference>,
    /// The system that its labels name, if they say that this operator writes it.
    pub(crate) instance: Option<String>,
    /// Whether it is on its way out.
    pub(crate) deleting: bool,
    /// The hash of what was last applied.
    pub(crate) applied: Option<String>,
    /// Tells whether what people and controllers may write has changed.
    pub(crate) fingerprint: u64,
    /// What people and controllers may write; dropped once it is known to be as it should be.
    pub(crate) content: Option<Box<str>>,
    /// The hash of the object that it was found to hold.
    pub(crate) settled: Option<String>,
    pub(crate) facts: Facts,
}

/// What is asked of an object besides what it should be.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Facts {
    Deployment(Progress),
    Claim(Claim),
    /// What keeps an autoscaler from deciding, where anything does.
    Autoscaler(Option<Hindrance>),
    None,
}

/// How far a Deployment is.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Progress {
    pub(crate) generation: i64,
    /// The first generation, as far as was seen, that wants such copies as the present one does: another number of
    /// them makes another generation too.
    pub(crate) since: i64,
    pub(crate) observed_generation: i64,
    /// Tells whether such copies are wanted as before.
    pub(crate) template: u64,
    /// How many copies are wanted, by whomever.
    pub(crate) wanted: u32,
    /// Whether that number is a field of ours.
    pub(crate) owns_wanted: bool,
    pub(crate) replicas: i32,
    pub(crate) updated: i32,
    pub(crate) ready: i32,
    /// Since when as many copies as are wanted have been ready; none while fewer are.
    pub(crate) available: Option<Timestamp>,
    /// Whether it took longer than it may.
    pub(crate) too_slow: bool,
    /// Why its pods are refused.
    pub(crate) refused: Option<String>,
}

/// What a claim holds that cannot be changed any more, and what was done with it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Claim {
    pub(crate) size: Option<String>,
    pub(crate) storage_class_name: Option<String>,
    pub(crate) access_modes: Vec<String>,
    /// Whether all that lies on it was moved into PostgreSQL.
    pub(crate) moved: bool,
}

/// What keeps an autoscaler from deciding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hindrance {
    /// Since when anything does, as far as was seen.
    pub(crate) since: Timestamp,
    pub(crate) reason: String,
    /// What was told with this reason first: the words change while it stays the same.
    pub(crate) message: String,
}

impl Child {
    /// Takes what is needed of an object and lets go of the rest.
    pub(crate) fn read(kind: Kind, mut object: DynamicObject) -> Self {
        let facts = facts(kind, &object);
        let metadata = &object.metadata;
        let content = {
            if let Value::Object(fields) = &mut object.data {
                fields.shift_remove("status");
            }
            json!({
                "metadata": {
                    "name": metadata.name,
                    "namespace": metadata.namespace,
                    "uid": metadata.uid,
                    "labels": metadata.labels,
                    "annotations": metadata.annotations,
                    "ownerReferences": metadata.owner_references,
                },
                "data": object.data,
            })
            .to_string()
        };
        let mut hasher = DefaultHasher::new();
        content.hash(&mut hasher);
        Self {
            kind,
            name: metadata.name.clone().unwrap_or_default(),
            uid: metadata.uid.clone().unwrap_or_default(),
            version: version(metadata),
            owner: controller(metadata).cloned(),
            instance: label(metadata, MANAGED_BY)
                .filter(|manager| *manager == MANAGER)
                .and_then(|_| label(metadata, INSTANCE))
                .map(str::to_owned),
            deleting: metadata.deletion_timestamp.is_some(),
            applied: metadata.annotations.as_ref().and_then(|annotations| annotations.get(APPLIED)).cloned(),
            fingerprint: hasher.finish(),
            content: Some(content.into_boxed_str()),
            settled: None,
            facts,
        }
    }

    /// Takes over from what the object was before what can be told only by comparing the two, or is to stay as it was.
    pub(crate) fn follow(&mut self, before: &Self) {
        if let (Facts::Deployment(now), Facts::Deployment(before)) = (&mut self.facts, &before.facts)
            && now.template == before.template
        {
            now.since = before.since;
        }
        if let (Facts::Autoscaler(Some(now)), Facts::Autoscaler(Some(before))) =
            (&mut self.facts, &before.facts)
        {
            now.since = before.since;
            if now.reason == before.reason {
                now.message.clone_from(&before.message);
            }
        }
    }

    /// The object, as far as it is comparable with one that is desired.
    pub(crate) fn comparable(&self) -> Option<Value> {
        let mut value: Value = serde_json::from_str(self.content.as_deref()?).ok()?;
        let metadata = value["metadata"].take();
        let mut data = value["data"].take();
        if !data.is_object() {
            data = json!({});
        }
        let resource = self.kind.resource();
        data["apiVersion"] = resource.api_version.into();
        data["kind"] = resource.kind.into();
        data["metadata"] = metadata;
        Some(data)
    }

    /// Whether that system controls it.
    pub(crate) fn is_controlled_by(&self, uid: &str) -> bool {
        self.owner.as_ref().is_some_and(|owner| owner.uid == uid)
    }

    /// Whether a system of that name controlled it that is gone: what is left of it will go by itself.
    pub(crate) fn is_left_over(&self, name: &str, uid: &str) -> bool {
        self.owner.as_ref().is_some_and(|owner| is_system(owner) && owner.name == name && owner.uid != uid)
    }
}

/// The system to which an object's owner, or else its labels, assign it.
pub(crate) fn system_of(metadata: &ObjectMeta) -> Option<SystemKey> {
    let namespace = metadata.namespace.as_deref()?;
    let owner = controller(metadata).filter(|owner| is_system(owner)).map(|owner| owner.name.as_str());
    owner.or_else(|| label(metadata, INSTANCE)).map(|name| SystemKey::new(namespace, name))
}

/// The resource version as a number, as which the API lets versions of one kind be compared.
pub(crate) fn version(metadata: &ObjectMeta) -> u64 {
    metadata.resource_version.as_deref().and_then(|version| version.parse().ok()).unwrap_or_default()
}

pub(crate) fn label<'a>(metadata: &'a ObjectMeta, name: &str) -> Option<&'a str> {
    metadata.labels.as_ref()?.get(name).map(String::as_str)
}

fn controller(metadata: &ObjectMeta) -> Option<&OwnerReference> {
    metadata.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))
}

fn is_system(owner: &OwnerReference) -> bool {
    owner.kind == "McpSystem" && owner.api_version.split('/').next() == Some(GROUP)
}

fn facts(kind: Kind, object: &DynamicObject) -> Facts {
    match kind {
        Kind::Deployment => Facts::Deployment(progress(object)),
        Kind::VolumeClaim => Facts::Claim(claim(object)),
        Kind::Autoscaler => Facts::Autoscaler(hindrance(object)),
        _ => Facts::None,
    }
}

fn progress(object: &DynamicObject) -> Progress {
    let status: DeploymentStatus = object
        .data
        .get("status")
        .and_then(|status| serde_json::from_value(status.clone()).ok())
        .unwrap_or_default();
    let condition = |type_: &str, is: &str| {
        status
            .conditions
            .iter()
            .flatten()
            .find(|condition| condition.type_ == type_ && condition.status == is)
    };
    let generation = object.metadata.generation.unwrap_or_default();
    let wanted = object.data.pointer("/spec/replicas").and_then(Value::as_u64);
    let mut template = DefaultHasher::new();
    object.data.pointer("/spec/template").map(Value::to_string).hash(&mut template);
    Progress {
        generation,
        since: generation,
        template: template.finish(),
        wanted: wanted.and_then(|wanted| u32::try_from(wanted).ok()).unwrap_or_default(),
        owns_wanted: owns_replicas(object),
        observed_generation: status.observed_generation.unwrap_or_default(),
        replicas: status.replicas.unwrap_or_default(),
        updated: status.updated_replicas.unwrap_or_default(),
        ready: status.ready_replicas.unwrap_or_default(),
        available: condition("Available", "True")
            .map(|condition| time(condition.last_transition_time.as_ref())),
        too_slow: condition("Progressing", "False")
            .is_some_and(|condition| condition.reason.as_deref() == Some("ProgressDeadlineExceeded")),
        refused: condition("ReplicaFailure", "True")
            .map(|condition| stable(condition.message.as_deref().unwrap_or_default())),
    }
}

/// Whether how many copies a Deployment is to have is a field of ours.
fn owns_replicas(object: &DynamicObject) -> bool {
    let is_ours = |entry: &ManagedFieldsEntry| {
        let fields = entry.fields_v1.as_ref();
        entry.manager.as_deref() == Some(FIELD_MANAGER)
            && entry.operation.as_deref() == Some("Apply")
            && fields.is_some_and(|fields| fields.0.pointer("/f:spec/f:replicas").is_some())
    };
    object.metadata.managed_fields.iter().flatten().any(is_ours)
}

/// What an autoscaler says of itself; nothing as long as it has said nothing.
fn hindrance(object: &DynamicObject) -> Option<Hindrance> {
    let status = object.data.get("status")?;
    let status: HorizontalPodAutoscalerStatus = serde_json::from_value(status.clone()).ok()?;
    let lacks = |type_: &str| {
        status
            .conditions
            .iter()
            .flatten()
            .find(|condition| condition.type_ == type_ && condition.status == "False")
    };
    let inactive = || {
        let condition = lacks("ScalingActive")?;
        // Whoever scales a Deployment to no copies switches its autoscaler off by that.
        (condition.reason.as_deref() != Some("ScalingDisabled")).then_some(condition)
    };
    let condition = lacks("AbleToScale").or_else(inactive)?;
    Some(Hindrance {
        since: time(condition.last_transition_time.as_ref()),
        reason: condition.reason.clone().unwrap_or_default(),
        message: stable(condition.message.as_deref().unwrap_or_default()),
    })
}

/// When something changed; long ago where that is not told.
fn time(told: Option<&Time>) -> Timestamp {
    told.map_or(Timestamp::UNIX_EPOCH, |time| time.0)
}

/// The first line of a refusal, without the pod's random name and without the counts of a quota, both of
/// which change by themselves.
pub(crate) fn stable(message: &str) -> String {
    let message = message.lines().next().unwrap_or_default();
    let message = message.split_once(" is forbidden: ").map_or(message, |(_, reason)| reason);
    let end = [", requested:", ", used:", " (pod: "].iter().filter_map(|cut| message.find(cut)).min();
    message[..end.unwrap_or(message.len())].trim().chars().take(LONGEST).collect()
}

fn claim(object: &DynamicObject) -> Claim {
    let text = |pointer: &str| object.data.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let annotations = object.metadata.annotations.as_ref();
    Claim {
        moved: annotations.is_some_and(|annotations| annotations.contains_key(MOVED)),
        size: text("/spec/resources/requests/storage"),
        storage_class_name: text("/spec/storageClassName"),
        access_modes: object
            .data
            .pointer("/spec/accessModes")
            .and_then(Value::as_array)
            .map(|modes| modes.iter().filter_map(Value::as_str).map(str::to_owned).collect())
            .unwrap_or_default(),
    }
}
