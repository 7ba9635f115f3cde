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

pub(crate) fn read(log: &Path, from: u64, user: &str) -> Result<(Vec<AuditEvent>, u64)> {
    let mut file = File::open(log).with_context(|| format!("cannot open {}", log.display()))?;
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(from))
        .and_then(|_| file.read_to_end(&mut bytes))
        .with_context(|| format!("cannot read {}", log.display()))?;
    // The last line may be half written: it is read the next time.
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    let mut events = Vec::new();
    for line in bytes[..whole].split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let event: AuditEvent = serde_json::from_slice(line)
            .with_context(|| format!("{} holds a line that is no audit event", log.display()))?;
        if event.user() == user {
            events.push(event);
        }
    }
    Ok((events, from + whole as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

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
        std::fs::remove_file(&log).expect("removed");
        assert_eq!(next, whole.len() as u64);
        assert_eq!(events.iter().map(AuditEvent::is_write).collect::<Vec<_>>(), [true, false]);
        assert!(rest.is_empty());
    }
}
