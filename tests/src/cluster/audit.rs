//! Reads the API server's audit log.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;

/// One answered request.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditEvent {
    /// get, list, watch, create, update, patch, delete, deletecollection.
    pub verb: String,
    #[serde(rename = "requestURI")]
    pub request_uri: String,
    #[serde(default)]
    pub object_ref: ObjectReference,
    #[serde(default)]
    pub response_status: ResponseStatus,
    #[serde(default)]
    pub user_agent: String,
    user: User,
}

/// What the request was about.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ObjectReference {
    pub api_group: String,
    pub resource: String,
    pub subresource: String,
    pub namespace: String,
    pub name: String,
}

/// How it was answered.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct ResponseStatus {
    pub code: u16,
}

#[derive(Debug, Clone, Deserialize)]
struct User {
    username: String,
    #[serde(default)]
    extra: BTreeMap<String, Vec<String>>,
}

impl AuditEvent {
    /// Whether it asked for a change. A review ("may I?", "who is this?") is created, but nothing is stored.
    pub fn is_write(&self) -> bool {
        !matches!(self.verb.as_str(), "get" | "list" | "watch")
            && !self.object_ref.resource.ends_with("reviews")
    }

    /// Whether it was answered as it was asked.
    fn is_granted(&self) -> bool {
        (200..300).contains(&self.response_status.code)
    }

    /// Who asked.
    pub fn user(&self) -> &str {
        &self.user.username
    }

    /// The pod whose token it was, where it was one's.
    pub fn pod(&self) -> Option<&str> {
        let names = self.user.extra.get("authentication.kubernetes.io/pod-name")?;
        names.first().map(String::as_str)
    }
}

/// Writes of pods that did not hold the lease when they wrote, in a log of everything that a leader and its rivals wrote.
/// `leader` is the pod that held it at the beginning; empty, where nobody did.
pub fn without_the_lead<'a>(events: &'a [AuditEvent], leader: &'a str) -> Vec<&'a AuditEvent> {
    let mut leader = leader;
    let mut found = Vec::new();
    for event in events.iter().filter(|event| event.is_write()) {
        let pod = event.pod().unwrap_or_default();
        if event.object_ref.resource != "leases" {
            if pod.is_empty() || pod != leader {
                found.push(event);
            }
        } else if event.is_granted() {
            leader = pod;
        }
    }
    found
}

pub(crate) fn read(log: &Path, from: u64, user: &str) -> Result<(Vec<AuditEvent>, u64)> {
    let mut file = File::open(log).with_context(|| format!("cannot open {}", log.display()))?;
    let mut bytes = Vec::new();
    // The first line begins after a line's end: whoever noted the place may have seen half of one.
    let start = from.saturating_sub(1);
    file.seek(SeekFrom::Start(start))
        .and_then(|_| file.read_to_end(&mut bytes))
        .with_context(|| format!("cannot read {}", log.display()))?;
    let end_of_line = |byte: &u8| *byte == b'\n';
    // The last line may be half written: it is read the next time.
    let Some(end) = bytes.iter().rposition(end_of_line) else { return Ok((Vec::new(), from)) };
    let begin = if from == 0 { 0 } else { bytes.iter().position(end_of_line).map_or(0, |first| first + 1) };
    let whole = begin..end + 1;
    let next = start + whole.end as u64;
    let mut events = Vec::new();
    for line in bytes[whole].split(end_of_line).filter(|line| !line.is_empty()) {
        let event: AuditEvent = serde_json::from_slice(line)
            .with_context(|| format!("{} holds a line that is no audit event", log.display()))?;
        if event.user() == user {
            events.push(event);
        }
    }
    Ok((events, next))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_writes_without_the_lead_is_found() {
        let event = |pod: &str, resource: &str, code: u16| -> AuditEvent {
            let extra = serde_json::json!({"authentication.kubernetes.io/pod-name": [pod]});
            serde_json::from_value(serde_json::json!({"verb": "update", "requestURI": pod,
                "user": {"username": "me", "extra": extra},
                "objectRef": {"resource": resource}, "responseStatus": {"code": code}}))
            .expect("an event")
        };
        let events = [
            event("a", "services", 200),
            event("b", "leases", 409),
            event("a", "services", 200),
            event("b", "leases", 200),
            event("a", "leases", 409),
            event("b", "services", 200),
            event("a", "services", 200),
        ];
        let found = |leader| {
            let found = without_the_lead(&events, leader);
            found.iter().map(|event| event.request_uri.clone()).collect::<Vec<_>>()
        };
        assert_eq!(found("a"), ["a"]);
        assert_eq!(found(""), ["a", "a", "a"]);
    }

    #[test]
    fn reads_whole_lines_of_one_user_and_goes_on_where_it_stopped() {
        let line = |user: &str, verb: &str, resource: &str| {
            serde_json::json!({"verb": verb, "requestURI": "/", "user": {"username": user},
                "objectRef": {"resource": resource}, "responseStatus": {"code": 200}})
        };
        let log = std::env::temp_dir().join(format!("mcp-system-tests-audit-{}", std::process::id()));
        let whole = format!(
            "{}\n{}\n{}\n",
            line("me", "patch", "pods"),
            line("you", "get", "pods"),
            line("me", "create", "selfsubjectreviews")
        );
        std::fs::write(&log, format!("{whole}{{\"half")).expect("written");
        let (events, next) = read(&log, 0, "me").expect("read");
        let (rest, _) = read(&log, next, "me").expect("read");
        let half = line("me", "patch", "pods").to_string().len() as u64 / 2;
        let (later, _) = read(&log, half, "me").expect("read");
        std::fs::remove_file(&log).expect("removed");
        assert_eq!(next, whole.len() as u64);
        assert_eq!(events.iter().map(AuditEvent::is_write).collect::<Vec<_>>(), [true, false]);
        assert!(rest.is_empty());
        assert_eq!(later.len(), 1, "the first line was half written when its place was noted");
    }
}
