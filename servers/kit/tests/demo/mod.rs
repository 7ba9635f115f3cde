//! A small server with one tool of each kind that matters to the kit.

use mcp_system_config::{ServerConfig, ToolsSettings};
use mcp_system_kit::Caller;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, ErrorCode, ErrorData, JsonObject,
    ListToolsResult, PaginatedRequestParams, ProgressNotificationParam, ServerCapabilities, Tool,
};
use rmcp::service::RequestContext;
use rmcp::{RoleServer, ServerHandler};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

#[derive(Clone, Debug, Default)]
pub(crate) struct Demo(Arc<Seen>);

#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Calls of `wait` that began, that ran to their end, and that were given up.
    pub(crate) began: AtomicUsize,
    pub(crate) finished: AtomicUsize,
    pub(crate) dropped: AtomicUsize,
    /// Makes `tools/list` fail.
    pub(crate) broken: AtomicBool,
}

impl Demo {
    #[allow(dead_code, reason = "the example has no use for it")]
    pub(crate) fn seen(&self) -> &Seen {
        &self.0
    }
}

/// Counts a call that was dropped before it was done.
struct Dropped(Arc<Seen>, bool);

impl Drop for Dropped {
    fn drop(&mut self) {
        let counter = if self.1 { &self.0.finished } else { &self.0.dropped };
        counter.fetch_add(1, Ordering::SeqCst);
    }
}

fn object(value: &serde_json::Value) -> JsonObject {
    value.as_object().cloned().unwrap_or_default()
}

fn tools() -> Vec<Tool> {
    let text =
        object(&json!({"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}));
    let milliseconds =
        object(&json!({"type": "object", "properties": {"milliseconds": {"type": "integer"}}}));
    let none = object(&json!({"type": "object"}));
    vec![
        Tool::new("echo", "Says what it was told.", text),
        Tool::new("fail", "Fails as tools fail.", none.clone()),
        Tool::new("progress", "Tells three times how far it is.", none.clone()),
        Tool::new("wait", "Takes its time.", milliseconds),
        Tool::new("whoami", "Says who calls, and for whom.", none),
    ]
}

impl ServerHandler for Demo {
    fn get_info(&self) -> rmcp::model::ServerConfig {
        rmcp::model::ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        tools().into_iter().find(|tool| tool.name == name)
    }

    async fn list_tools(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        if self.0.broken.load(Ordering::SeqCst) {
            return Err(ErrorData::internal_error("out of order", None));
        }
        Ok(ListToolsResult::with_all_items(tools()))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let argument =
            |name: &str| request.arguments.as_ref().and_then(|arguments| arguments.get(name)).cloned();
        let text = match &*request.name {
            "echo" => {
                tracing::info!("echoing");
                argument("text").and_then(|text| text.as_str().map(str::to_owned)).unwrap_or_default()
            }
            // Whom the kit takes the caller for.
            "whoami" => {
                let caller = Caller::of(&context.extensions);
                let parts = context.extensions.get::<http::request::Parts>().expect("over HTTP");
                assert!(!parts.headers.contains_key("authorization"), "a key came through the door");
                let agents = caller.agents.map(|agents| format!(" {}", agents.join("+")));
                format!("{} {}{}", caller.principal, caller.tenant, agents.unwrap_or_default())
            }
            "fail" => return Ok(CallToolResult::error(vec![ContentBlock::text("it did not work")]).into()),
            "progress" => {
                if let Some(token) = context.meta.get_progress_token() {
                    for step in 1..=3u8 {
                        let progress =
                            ProgressNotificationParam::new(token.clone(), step.into()).with_total(3.0);
                        let _ = context.peer.notify_progress(progress).await;
                    }
                }
                "done".to_owned()
            }
            "wait" => {
                self.0.began.fetch_add(1, Ordering::SeqCst);
                let mut call = Dropped(self.0.clone(), false);
                let milliseconds =
                    argument("milliseconds").and_then(|value| value.as_u64()).unwrap_or(60_000);
                tokio::time::sleep(Duration::from_millis(milliseconds)).await;
                call.1 = true;
                "waited".to_owned()
            }
            name => {
                let message = format!("there is no tool called {name:?}");
                return Err(ErrorData::new(ErrorCode::INVALID_PARAMS, message, None));
            }
        };
        Ok(CallToolResult::success(vec![ContentBlock::text(text)]).into())
    }
}

/// Settings for tests: no drain, a second of grace.
pub(crate) fn settings() -> ServerConfig<ToolsSettings> {
    let mut config = ServerConfig::of_kind();
    config.listen.port = 0;
    config.shutdown.drain_seconds = 0;
    config.shutdown.grace_seconds = 1;
    config
}
