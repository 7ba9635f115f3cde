//! The one door to the API through which a system's objects are read and written.
//!
//! Nothing is written without the lead, nothing is begun that could not end before the lead does, and every
//! write is counted. Must not know why something is written.

use crate::error::Error;
use crate::kind::{Kind, SystemKey};
use crate::lease::keeper::Leadership;
use crate::metrics::Metrics;
use k8s_openapi::api::events::v1::Event;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::core::{ApiResource, DynamicObject};
use kube::{Api, Client, Resource};
use mcp_system_crds::McpSystem;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// The name under which fields are owned.
pub(crate) const FIELD_MANAGER: &str = "mcp-system";
/// The longest time that one request may take.
const DEADLINE: Duration = Duration::from_secs(10);

/// Reads and writes.
#[derive(Clone)]
pub(crate) struct Door {
    client: Client,
    leadership: Leadership,
    metrics: Arc<Metrics>,
}

impl std::fmt::Debug for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Door").field("leadership", &self.leadership).finish_non_exhaustive()
    }
}

/// How an apply treats what others own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Apply {
    /// There is no such object. If one came meanwhile, its fields are left to whoever owns them.
    New,
    /// The object is ours: our fields are ours.
    Ours,
}

impl Door {
    pub(crate) fn new(client: Client, leadership: Leadership, metrics: Arc<Metrics>) -> Self {
        Self { client, leadership, metrics }
    }

    fn api(&self, kind: Kind, namespace: &str) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), namespace, &kind.resource())
    }

    /// Reads an object, where there is one.
    pub(crate) async fn get(
        &self,
        kind: Kind,
        namespace: &str,
        name: &str,
    ) -> Result<Option<DynamicObject>, Error> {
        let api = self.api(kind, namespace);
        match tokio::time::timeout(DEADLINE, api.get_opt(name)).await {
            Ok(result) => result.map_err(|error| Error::from_api("get", kind, name, error)),
            Err(_) => Err(Error::TooSlow { verb: "get", kind: kind.name(), name: name.to_owned() }),
        }
    }

    /// Creates an object, and tells whether there was none of that name.
    pub(crate) async fn create(
        &self,
        kind: Kind,
        namespace: &str,
        name: &str,
        object: &DynamicObject,
    ) -> Result<bool, Error> {
        let api = self.api(kind, namespace);
        match self.write("create", kind.name(), name, api.create(&PostParams::default(), object)).await {
            Ok(_) => Ok(true),
            Err(Error::Conflict { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Applies an object.
    pub(crate) async fn apply(
        &self,
        kind: Kind,
        namespace: &str,
        name: &str,
        body: &Value,
        how: Apply,
    ) -> Result<DynamicObject, Error> {
        let parameters = PatchParams { force: how == Apply::Ours, ..PatchParams::apply(FIELD_MANAGER) };
        let api = self.api(kind, namespace);
        let patch = Patch::Apply(body);
        self.write("apply", kind.name(), name, api.patch(name, &parameters, &patch)).await
    }

    /// Merges a patch into an object, list by list as the API merges them.
    pub(crate) async fn patch(
        &self,
        kind: Kind,
        namespace: &str,
        name: &str,
        patch: &Value,
    ) -> Result<DynamicObject, Error> {
        let parameters =
            PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let api = self.api(kind, namespace);
        let patch = Patch::Strategic(patch);
        self.write("patch", kind.name(), name, api.patch(name, &parameters, &patch)).await
    }

    /// Deletes the object of that uid, and what it controls with it.
    pub(crate) async fn delete(
        &self,
        kind: Kind,
        namespace: &str,
        name: &str,
        uid: &str,
    ) -> Result<(), Error> {
        let preconditions = Preconditions { uid: Some(uid.to_owned()), resource_version: None };
        let parameters = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::background() };
        let api = self.api(kind, namespace);
        match self.write("delete", kind.name(), name, api.delete(name, &parameters)).await {
            // It is gone, or another one stands there: either way, that one is deleted.
            Ok(_) | Err(Error::Conflict { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Puts a status to the system of that uid. Absent fields of it are removed.
    pub(crate) async fn put_status(
        &self,
        key: &SystemKey,
        uid: &str,
        status: &Value,
    ) -> Result<DynamicObject, Error> {
        let patch = Patch::Merge(json!({"metadata": {"uid": uid}, "status": status}));
        let parameters =
            PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), &key.namespace, &ApiResource::erase::<McpSystem>(&()));
        self.write("patch", "McpSystem", &key.name, api.patch_status(&key.name, &parameters, &patch)).await
    }

    /// Creates an Event.
    pub(crate) async fn create_event(&self, namespace: &str, event: &Event) -> Result<(), Error> {
        let api: Api<Event> = Api::namespaced(self.client.clone(), namespace);
        let name = event.meta().name.clone().unwrap_or_default();
        self.write("create", "Event", &name, api.create(&PostParams::default(), event)).await.map(drop)
    }

    async fn write<T>(
        &self,
        verb: &'static str,
        kind: &'static str,
        name: &str,
        request: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, Error> {
        let until = self.leadership.until().ok_or(Error::NotLeading)?;
        self.metrics.write(kind, verb);
        match timeout_at(until.min(Instant::now() + DEADLINE), request).await {
            Ok(result) => result.map_err(|error| Error::sorted(verb, kind, name, error)),
            Err(_) => Err(Error::TooSlow { verb, kind, name: name.to_owned() }),
        }
    }
}
