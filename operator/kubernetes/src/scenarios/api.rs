//! An API server of a few maps, which notes every call.

use crate::cache::Cache;
use crate::kind::Kind;
use http::{Method, Request, Response};
use http_body_util::BodyExt;
use kube::client::Body;
use kube::core::DynamicObject;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

#[derive(Clone, Default)]
pub(super) struct Api(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    objects: BTreeMap<String, Value>,
    calls: Vec<String>,
    version: u64,
    /// Paths whose writes are refused, with what.
    refuses: BTreeMap<String, (u16, String)>,
    /// What happens elsewhere while a call of this path is answered.
    meanwhile: BTreeMap<String, Box<dyn FnOnce() + Send>>,
}

impl Api {
    pub(super) fn client(&self) -> kube::Client {
        let (service, mut handle) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
        let api = self.clone();
        tokio::spawn(async move {
            while let Some((request, reply)) = handle.next_request().await {
                let (parts, body) = request.into_parts();
                let bytes = body.collect().await.expect("a body").to_bytes();
                let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
                let (code, value) = api.answer(&parts.method, parts.uri.path(), body);
                let response =
                    Response::builder().status(code).body(Body::from(value.to_string().into_bytes()));
                reply.send_response(response.expect("a response"));
            }
        });
        kube::Client::new(service, "default")
    }

    fn answer(&self, method: &Method, path: &str, body: Value) -> (u16, Value) {
        let mut inner = self.0.lock().expect("not poisoned");
        let short =
            path.trim_start_matches("/api/v1").trim_start_matches("/apis/").replace("/namespaces/test", "");
        inner.calls.push(match *method {
            Method::POST if short.ends_with("/events") => {
                format!("EVENT {}", body["reason"].as_str().unwrap_or_default())
            }
            _ => format!("{method} {}", short.trim_start_matches('/')),
        });
        if let Some(happen) = inner.meanwhile.remove(path) {
            happen();
        }
        if let Some((code, message)) = inner.refuses.get(path).filter(|_| *method != Method::GET).cloned() {
            return failure(code, if code == 409 { "AlreadyExists" } else { "Invalid" }, &message);
        }
        let stored = path.trim_end_matches("/status").to_owned();
        match *method {
            Method::GET => match inner.objects.get(&stored) {
                Some(object) => (200, object.clone()),
                None => failure(404, "NotFound", "not found"),
            },
            Method::PATCH => {
                inner.version += 1;
                let version = inner.version;
                let known = inner.objects.get(&stored).cloned();
                if let (Some(known), Some(uid)) = (&known, body["metadata"]["uid"].as_str())
                    && known["metadata"]["uid"] != uid
                {
                    return failure(409, "Conflict", "another uid");
                }
                let mut object = merge(known.unwrap_or_else(|| json!({})), &body);
                let metadata = &mut object["metadata"];
                metadata["resourceVersion"] = json!(version.to_string());
                metadata["namespace"] = json!("test");
                if metadata["uid"].is_null() {
                    metadata["uid"] = json!(format!("uid-{version}"));
                }
                inner.objects.insert(stored, object.clone());
                (200, object)
            }
            Method::DELETE => match inner.objects.remove(&stored) {
                Some(object) => (200, object),
                None => failure(404, "NotFound", "not found"),
            },
            _ => {
                inner.objects.insert(stored, body.clone());
                (201, body)
            }
        }
    }

    /// A resource version that is newer than all others.
    pub(super) fn next_version(&self) -> String {
        let mut inner = self.0.lock().expect("not poisoned");
        inner.version += 1;
        inner.version.to_string()
    }

    /// The calls since the last time this was asked.
    pub(super) fn calls(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().expect("not poisoned").calls)
    }

    /// Changes an object as somebody else would, and lets the watch see it.
    pub(super) fn change(&self, cache: &Cache, kind: Kind, name: &str, change: impl FnOnce(&mut Value)) {
        let mut inner = self.0.lock().expect("not poisoned");
        inner.version += 1;
        let version = inner.version;
        let object = inner.objects.entry(path(kind, name)).or_insert_with(
            || json!({"metadata": {"name": name, "namespace": "test", "uid": format!("uid-{version}")}}),
        );
        change(object);
        object["metadata"]["resourceVersion"] = json!(version.to_string());
        let labels = &object["metadata"]["labels"];
        if labels["app.kubernetes.io/managed-by"] == "mcp-system-operator" {
            cache.put(kind, dynamic(object));
        }
    }

    /// Deletes an object as somebody else would, and lets the watch see it.
    pub(super) fn delete(&self, cache: &Cache, kind: Kind, name: &str) {
        if let Some(object) = self.0.lock().expect("not poisoned").objects.remove(&path(kind, name)) {
            cache.remove(kind, &dynamic(&object));
        }
    }

    pub(super) fn object(&self, kind: Kind, name: &str) -> Value {
        self.0.lock().expect("not poisoned").objects.get(&path(kind, name)).cloned().unwrap_or_default()
    }

    pub(super) fn put_raw(&self, path: &str, object: Value) {
        self.0.lock().expect("not poisoned").objects.insert(path.to_owned(), object);
    }

    pub(super) fn raw(&self, path: &str) -> Value {
        self.0.lock().expect("not poisoned").objects.get(path).cloned().unwrap_or_default()
    }

    /// Refuses writes of an object from now on, or takes them again.
    pub(super) fn refuse(&self, kind: Kind, name: &str, with: Option<(u16, &str)>) {
        self.refuse_path(&path(kind, name), with);
    }

    /// Refuses writes under a path from now on, or takes them again.
    pub(super) fn refuse_path(&self, path: &str, with: Option<(u16, &str)>) {
        let refuses = &mut self.0.lock().expect("not poisoned").refuses;
        match with {
            Some((code, message)) => refuses.insert(path.to_owned(), (code, message.to_owned())),
            None => refuses.remove(path),
        };
    }

    /// Has something happen elsewhere before the next call of a path is answered.
    pub(super) fn meanwhile(&self, path: &str, happen: impl FnOnce() + Send + 'static) {
        self.0.lock().expect("not poisoned").meanwhile.insert(path.to_owned(), Box::new(happen));
    }
}

pub(super) fn dynamic(object: &Value) -> DynamicObject {
    serde_json::from_value(object.clone()).expect("an object")
}

fn path(kind: Kind, name: &str) -> String {
    let resource = kind.resource();
    let root = if resource.group.is_empty() {
        "/api/v1".to_owned()
    } else {
        format!("/apis/{}", resource.api_version)
    };
    format!("{root}/namespaces/test/{}/{name}", resource.plural)
}

fn failure(code: u16, reason: &str, message: &str) -> (u16, Value) {
    let status =
        json!({"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": message});
    (code, status)
}

/// As far as these scenarios need it: objects are merged, everything else is replaced, null removes.
fn merge(live: Value, patch: &Value) -> Value {
    match (live, patch) {
        (Value::Object(mut live), Value::Object(patch)) => {
            for (key, value) in patch {
                if value.is_null() {
                    live.shift_remove(key);
                } else {
                    let known = live.shift_remove(key).unwrap_or_else(|| json!({}));
                    live.insert(key.clone(), merge(known, value));
                }
            }
            Value::Object(live)
        }
        (_, patch) => patch.clone(),
    }
}
