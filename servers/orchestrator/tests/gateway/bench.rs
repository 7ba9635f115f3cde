//! A server's handler that tells who was called with what.

use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, ErrorData, JsonObject,
    ListToolsResult, MetaObject, PaginatedRequestParams, ProgressNotificationParam, ProtocolVersion,
    ServerCapabilities, Tool, ToolAnnotations,
};
use rmcp::service::RequestContext;
use rmcp::{RoleServer, ServerHandler};
use serde_json::{Value, json};
use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// A server's handler: tools of any name answer who was called with what; some names do more.
#[derive(Clone, Debug)]
pub(crate) struct Bench(Arc<Counted>);

#[derive(Debug)]
pub(crate) struct Counted {
    title: String,
    tools: Vec<String>,
    pub(crate) lists: AtomicUsize,
    pub(crate) calls: AtomicUsize,
    pub(crate) given_up: AtomicUsize,
    /// Milliseconds for which its list may be used; 0 to say nothing of it.
    pub(crate) ttl_ms: AtomicU64,
}

struct GivenUp<'a>(&'a AtomicUsize);

impl Drop for GivenUp<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn object(value: &Value) -> JsonObject {
    value.as_object().cloned().unwrap_or_default()
}

impl Bench {
    pub(crate) fn new(title: &str, tools: &[&str]) -> Self {
        let tools = tools.iter().map(|tool| (*tool).to_owned()).collect();
        let (lists, calls, given_up) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
        let (title, ttl_ms) = (title.to_owned(), AtomicU64::new(0));
        Self(Arc::new(Counted { title, tools, lists, calls, given_up, ttl_ms }))
    }

    pub(crate) fn counted(&self) -> &Counted {
        &self.0
    }

    pub(crate) fn tools(&self) -> Vec<Tool> {
        let schema = object(&json!({"type": "object", "properties": {"text": {"type": "string"}}}));
        let output = object(&json!({"type": "object", "properties": {"server": {"type": "string"}}}));
        let tools = self.0.tools.iter().map(|name| {
            let mut tool = Tool::new(name.clone(), format!("Tells about {}.", self.0.title), schema.clone());
            tool.title = Some(format!("{name} of {}", self.0.title));
            tool.output_schema = Some(Arc::new(output.clone()));
            tool.annotations = Some(ToolAnnotations::new().read_only(true).open_world(false));
            tool.meta = Some(MetaObject(object(&json!({"example.com/kind": "bench"}))));
            tool
        });
        tools.collect()
    }
}

impl ServerHandler for Bench {
    fn get_info(&self) -> rmcp::model::ServerConfig {
        rmcp::model::ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }

    async fn list_tools(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        self.0.lists.fetch_add(1, Ordering::SeqCst);
        let mut result = ListToolsResult::with_all_items(self.tools());
        result.ttl_ms = Some(self.0.ttl_ms.load(Ordering::SeqCst)).filter(|told| *told > 0);
        Ok(result)
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        self.0.calls.fetch_add(1, Ordering::SeqCst);
        match &*request.name {
            "hang" => {
                let _given_up = GivenUp(&self.0.given_up);
                context.ct.cancelled().await;
                return Err(ErrorData::internal_error("given up", None));
            }
            // What came with the request, of what could open or tell something.
            "told" => {
                let parts = context.extensions.get::<http::request::Parts>();
                let header = |name: &str| Some(parts?.headers.get(name)?.to_str().ok()?.to_owned());
                let caller = mcp_system_kit::Caller::of(&context.extensions);
                return Ok(CallToolResult::structured(json!({
                    "authorization": header("authorization"),
                    "tenant": header("mcp-tenant"),
                    "agents": header("mcp-agents"),
                    "principal": &*caller.principal,
                    "for": &*caller.tenant,
                }))
                .into());
            }
            // More than the gateway reads.
            "huge" => {
                return Ok(CallToolResult::success(vec![ContentBlock::text("x".repeat(17 << 20))]).into());
            }
            "refuse" => {
                return Err(ErrorData::invalid_params("not like this", Some(json!({"why": "because"}))));
            }
            "progress" => {
                for step in 1..=3u8 {
                    let Some(token) = context.meta.get_progress_token() else { break };
                    let progress = ProgressNotificationParam::new(token, step.into()).with_message("working");
                    let _ = context.peer.notify_progress(progress).await;
                }
            }
            _ => {}
        }
        let said = json!({"server": self.0.title, "tool": request.name, "arguments": request.arguments});
        let mut result = CallToolResult::structured(said);
        result.meta = Some(MetaObject(object(&json!({"example.com/trace": context.meta.get_traceparent()}))));
        Ok(result.into())
    }
}

/// A handler that knows only the earlier revisions.
#[derive(Clone, Debug)]
pub(crate) struct Earlier(pub(crate) Bench);

impl ServerHandler for Earlier {
    fn supported_protocol_versions(&self) -> Cow<'static, [ProtocolVersion]> {
        Cow::Borrowed(&[ProtocolVersion::V_2025_06_18, ProtocolVersion::V_2025_11_25])
    }

    fn get_info(&self) -> rmcp::model::ServerConfig {
        self.0.get_info()
    }

    async fn list_tools(
        &self,
        request: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        self.0.list_tools(request, context).await
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        self.0.call_tool(request, context).await
    }
}
