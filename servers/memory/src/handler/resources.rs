//! Memories and sessions as MCP resources: `memory://AGENT/memories/ID` and `memory://AGENT/sessions/ID`.

use super::answers::{History, Memory};
use super::{Failure, MemoryHandler, own_scopes, scope};
use crate::model::{Filter, Kind, Scope};
use crate::moment::Moment;
use crate::store::{Store, StoreError};
use mcp_system_kit::Caller;
use rmcp::model::{
    ErrorData, Extensions, ListResourceTemplatesResult, ListResourcesResult, ReadResourceResponse,
    ReadResourceResult, Resource, ResourceContents, ResourceTemplate,
};
use serde::Serialize;
use serde_json::json;
use std::fmt::Write;

/// Agents, and memories of each, that a list names.
const LISTED_AGENTS: u32 = 20;
/// See above.
const LISTED_MEMORIES: u32 = 10;
/// Messages of a session that its resource shows.
const MESSAGES: u32 = 200;

/// The kinds of resources there are.
pub(super) fn templates() -> ListResourceTemplatesResult {
    let template = |uri: &str, name: &str, title: &str, description: &str| {
        ResourceTemplate::new(uri, name)
            .with_title(title)
            .with_description(description)
            .with_mime_type("application/json")
    };
    ListResourceTemplatesResult::with_all_items(vec![
        template(
            "memory://{agent_id}/memories/{memory_id}",
            "memory",
            "A memory",
            "One memory of an agent, by its memory_id.",
        ),
        template(
            "memory://{agent_id}/sessions/{session_id}",
            "session",
            "A session",
            "A session of an agent with its newest messages, oldest first.",
        ),
    ])
}

impl<S: Store> MemoryHandler<S> {
    /// The newest memories of the agents that were last written to, or of those that the caller's key names, in its order;
    /// templates lead to all others.
    pub(super) async fn list(&self, extensions: &Extensions) -> Result<ListResourcesResult, ErrorData> {
        let caller = Caller::of(extensions);
        let scopes = match own_scopes(&caller) {
            Some(own) => own,
            None => self.store.recent_scopes(Some(&caller.tenant), LISTED_AGENTS).await.map_err(internal)?,
        };
        let mut resources = Vec::new();
        for scope in scopes {
            if resources.len() >= (LISTED_AGENTS * LISTED_MEMORIES) as usize {
                break;
            }
            let filter = Filter { kind: Some(Kind::Memory), ..Filter::default() };
            let newest = self.store.recent(&scope, &filter, LISTED_MEMORIES).await.map_err(internal)?;
            for entry in newest.items {
                let title: String = entry.content.chars().take(80).collect();
                let uri = format!("memory://{}/memories/{}", encoded(&scope.agent_id), encoded(&entry.id));
                resources
                    .push(Resource::new(uri, entry.id).with_title(title).with_mime_type("application/json"));
            }
        }
        Ok(ListResourcesResult::with_all_items(resources))
    }

    /// What stands under a URI.
    pub(super) async fn resource(
        &self,
        uri: &str,
        extensions: &Extensions,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let unknown = || {
            let message = format!("there is no resource {uri:?}; see resources/templates/list");
            ErrorData::resource_not_found(message, Some(json!({"uri": uri})))
        };
        let (agent_id, kind, id) = parsed(uri).ok_or_else(unknown)?;
        let scope = scope(extensions, agent_id)
            .map_err(|failure| ErrorData::invalid_params(failure.to_string(), Some(json!({"uri": uri}))))?;
        let text = match kind {
            "memories" => self.memory_text(&scope, &id).await,
            "sessions" => self.session_text(&scope, &id).await,
            _ => return Err(unknown()),
        };
        let text = text.map_err(internal)?.ok_or_else(unknown)?;
        let contents = ResourceContents::text(text, uri).with_mime_type("application/json");
        Ok(ReadResourceResult::new(vec![contents]).into())
    }

    async fn memory_text(&self, scope: &Scope, id: &str) -> Result<Option<String>, StoreError> {
        let kept = self.store.get(scope, id).await?;
        Ok(kept.map(|kept| text(&Memory::of(scope, kept.entry))))
    }

    async fn session_text(&self, scope: &Scope, id: &str) -> Result<Option<String>, StoreError> {
        let history = self.store.history(scope, id, None, MESSAGES).await?;
        Ok(history.map(|history| text(&History::of(scope, history, Moment::now()))))
    }
}

fn text(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

fn internal(error: StoreError) -> ErrorData {
    ErrorData::internal_error(Failure::from(error).to_string(), None)
}

/// The agent, the kind and the id of a URI.
fn parsed(uri: &str) -> Option<(String, &str, String)> {
    let mut parts = uri.strip_prefix("memory://")?.split('/');
    let (agent, kind, id) = (parts.next()?, parts.next()?, parts.next()?);
    parts.next().is_none().then_some(())?;
    Some((decoded(agent)?, kind, decoded(id)?))
}

/// Percent-encoding of all that is not unreserved in a URI.
fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut uri, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(uri, "%{byte:02X}");
        }
        uri
    })
}

fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        if first == b'%' {
            let (digits, after) = after.split_at_checked(2)?;
            bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
            rest = after;
        } else {
            bytes.push(first);
            rest = after;
        }
    }
    String::from_utf8(bytes).ok().filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_no_uri_of_ours_is_refused() {
        for uri in [
            "",
            "memory://",
            "memory://a/memories",
            "memory://a/memories/x/y",
            "http://a/memories/x",
            "memory://%z/memories/x",
        ] {
            assert_eq!(parsed(uri), None, "{uri}");
        }
    }

    proptest! {
        #[test]
        fn any_agent_and_id_can_be_named(agent in ".+", id in ".+") {
            let uri = format!("memory://{}/sessions/{}", encoded(&agent), encoded(&id));
            prop_assert_eq!(parsed(&uri), Some((agent, "sessions", id)));
        }
    }
}
