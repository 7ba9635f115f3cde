//! The MCP side: three tools to find tools, and `execute_<tool>` for each that can be called.

mod answers;
#[cfg(test)]
mod tests;

use crate::registry::{Entry, Registry};
use crate::search;
use crate::tool::{About, Effect, Failure};
use answers::{Categories, Details, GetToolDetails, Group, Match, Matches, SearchTools, Summary};
use rmcp::handler::server::router::tool::{ToolRoute, ToolRouter};
use rmcp::handler::server::tool::ToolCallContext;
use rmcp::handler::server::wrapper::{Json, Parameters};
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, Implementation, IntoContents,
    ServerCapabilities, ServerConfig, Tool, ToolAnnotations,
};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer, ServerHandler, tool, tool_handler, tool_router};
use std::sync::Arc;

const INSTRUCTIONS: &str = "\
A registry of tools. search_tools finds one by what you want to do, get_tool_details tells its arguments, \
and execute_<tool> calls it.";

const DEFAULT_LIMIT: u32 = 10;
const MAX_LIMIT: u32 = 100;

/// Answers MCP requests from a registry. Clones share it.
#[derive(Clone, Debug)]
pub struct ToolsHandler {
    registry: Arc<Registry>,
    // Built from every tool's schemas: once, not once a request.
    router: Arc<ToolRouter<Self>>,
}

impl IntoContents for Failure {
    fn into_contents(self) -> Vec<ContentBlock> {
        vec![ContentBlock::text(self.0)]
    }
}

#[tool_router]
impl ToolsHandler {
    /// Offers the tools of this registry.
    pub fn new(registry: Registry) -> Self {
        let registry = Arc::new(registry);
        let mut router = Self::tool_router();
        for entry in registry.entries().filter(|entry| entry.disabled().is_none()) {
            let name = entry.about.name;
            router.add_route(ToolRoute::new_dyn(described(entry), move |call: ToolCallContext<'_, Self>| {
                Box::pin(async move { Ok(call.service.execute(name, call.arguments).await.into()) })
            }));
        }
        Self { registry, router: Arc::new(router) }
    }

    async fn execute(&self, name: &str, arguments: Option<rmcp::model::JsonObject>) -> CallToolResult {
        let result = match self.registry.get(name) {
            Some(entry) => entry.execute(arguments.unwrap_or_default()).await,
            None => Err(self.registry.unknown_tool(name)),
        };
        match result {
            Ok(value) => CallToolResult::structured(value),
            Err(failure) => CallToolResult::error(failure.into_contents()),
        }
    }

    #[tool(
        title = "Search tools",
        description = "Find tools by what you want to do, best first. Each is called by the name under \
                       execute; get_tool_details tells its arguments.",
        annotations(read_only_hint = true, open_world_hint = false)
    )]
    async fn search_tools(
        &self,
        Parameters(input): Parameters<SearchTools>,
    ) -> Result<Json<Matches>, Failure> {
        let limit = input.limit.unwrap_or(DEFAULT_LIMIT);
        if !(1..=MAX_LIMIT).contains(&limit) {
            return Err(Failure(format!("limit is {limit}; it must be a number from 1 to {MAX_LIMIT}")));
        }
        let categories = self.registry.categories();
        if let Some(wanted) = &input.category
            && !categories.iter().any(|category| category.name == wanted)
        {
            return Err(self.registry.unknown_category(wanted));
        }
        let wanted = |entry: &&Entry| {
            input.category.as_deref().is_none_or(|wanted| wanted == entry.about.category.name)
        };
        let entries: Vec<&Entry> = self.registry.entries().filter(wanted).collect();
        let abouts: Vec<About> = entries.iter().map(|entry| entry.about).collect();
        let found = search::rank(&input.query, &abouts).into_iter().take(limit as usize);
        let found = found.map(|(place, score)| Match { tool: Summary::of(entries[place]), score });
        Ok(Json(Matches::of(found.collect())))
    }

    #[tool(
        title = "Get details of a tool",
        description = "Tell everything about one tool: what it does and the schemas of its arguments and \
                       its result.",
        annotations(read_only_hint = true, open_world_hint = false)
    )]
    async fn get_tool_details(
        &self,
        Parameters(input): Parameters<GetToolDetails>,
    ) -> Result<Json<Details>, Failure> {
        match self.registry.get(&input.tool_name) {
            Some(entry) => Ok(Json(Details::of(entry))),
            None => Err(self.registry.unknown_tool(&input.tool_name)),
        }
    }

    #[tool(
        title = "List categories of tools",
        description = "List the categories, and the tools in each.",
        annotations(read_only_hint = true, open_world_hint = false)
    )]
    async fn list_tool_categories(&self) -> Result<Json<Categories>, Failure> {
        let groups = self.registry.categories().into_iter();
        let groups = groups.map(|category| Group::of(category, self.registry.entries()));
        Ok(Json(Categories::of(groups.collect())))
    }
}

#[tool_handler(router = self.router)]
impl ServerHandler for ToolsHandler {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(Implementation::new("mcp-system-tools", env!("CARGO_PKG_VERSION")))
            .with_instructions(INSTRUCTIONS)
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        if self.router.has_route(&request.name) {
            return self.router.call(ToolCallContext::new(self, request, context)).await;
        }
        match self.registry.get(&request.name) {
            // A model that was told of a disabled tool is better served with the reason.
            Some(entry) if entry.call_name() == request.name => {
                Ok(self.execute(entry.about.name, request.arguments).await.into())
            }
            _ => Err(ErrorData::invalid_params(self.registry.unknown_tool(&request.name).0, None)),
        }
    }
}

/// An entry as MCP lists it.
fn described(entry: &Entry) -> Tool {
    let About { title, description, effect, open_world, .. } = entry.about;
    let annotations = match effect {
        Effect::Reads => ToolAnnotations::from_raw(None, Some(true), None, None, Some(open_world)),
        Effect::Writes { destructive, idempotent } => ToolAnnotations::from_raw(
            None,
            Some(false),
            Some(destructive),
            Some(idempotent),
            Some(open_world),
        ),
    };
    Tool::new(entry.call_name(), description, entry.input_schema.clone())
        .with_title(title)
        .with_raw_output_schema(entry.output_schema.clone())
        .with_annotations(annotations)
}
