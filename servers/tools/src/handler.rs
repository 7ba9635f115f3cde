//! The MCP side: three tools to find tools, and `execute_<tool>` for each that can be called.

mod answers;
#[cfg(test)]
mod tests;

use crate::registry::{Entry, Registry};
use crate::search::Finder;
use crate::tool::{Call, Card, Effect, Failure};
use answers::{Categories, Details, GetToolDetails, Group, Match, Matches, SearchTools, Summary};
use arc_swap::ArcSwap;
use mcp_system_kit::Caller;
use mcp_system_kit::schema::plain_router;
use rmcp::handler::server::router::tool::{ToolRoute, ToolRouter};
use rmcp::handler::server::tool::ToolCallContext;
use rmcp::handler::server::wrapper::{Json, Parameters};
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, Implementation, IntoContents,
    ListToolsResult, PaginatedRequestParams, ServerCapabilities, ServerConfig, Tool, ToolAnnotations,
};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer, ServerHandler, tool, tool_router};
use std::sync::Arc;

const INSTRUCTIONS: &str = "\
A registry of tools. search_tools finds one by what you want to do, get_tool_details tells its arguments, \
and execute_<tool> calls it.";

const DEFAULT_LIMIT: u32 = 10;
const MAX_LIMIT: u32 = 100;

/// Answers MCP requests from a registry, which can be replaced while it serves. Clones share it.
#[derive(Clone, Debug)]
pub struct ToolsHandler {
    offer: Arc<ArcSwap<Offer>>,
}

/// A registry with what is made of it: once, not once a request.
#[derive(Debug)]
struct Offer {
    registry: Registry,
    router: ToolRouter<ToolsHandler>,
    finder: Finder,
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
        Self { offer: Arc::new(ArcSwap::from_pointee(Self::offer(registry))) }
    }

    /// Offers the tools of another registry from now on; calls that are running end as they began.
    pub fn replace(&self, registry: Registry) {
        self.offer.store(Arc::new(Self::offer(registry)));
    }

    fn offer(registry: Registry) -> Offer {
        let mut router = Self::tool_router();
        for entry in registry.entries().filter(|entry| entry.disabled().is_none()) {
            let name = entry.about.name.clone();
            router.add_route(ToolRoute::new_dyn(described(entry), move |call: ToolCallContext<'_, Self>| {
                let name = name.clone();
                Box::pin(async move {
                    let caller = caller(&call.request_context);
                    Ok(call.service.execute(&name, call.arguments, caller).await.into())
                })
            }));
        }
        let finder = Finder::new(registry.entries().map(|entry| &entry.about));
        Offer { registry, router: plain_router(router), finder }
    }

    async fn execute(
        &self,
        name: &str,
        arguments: Option<rmcp::model::JsonObject>,
        call: Call,
    ) -> CallToolResult {
        let offer = self.offer.load_full();
        let result = match offer.registry.get(name) {
            Some(entry) => entry.execute(arguments.unwrap_or_default(), call).await,
            None => Err(offer.registry.unknown_tool(name)),
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
        let offer = self.offer.load();
        if let Some(wanted) = &input.category
            && !offer.registry.categories().any(|(name, _)| name == wanted)
        {
            return Err(offer.registry.unknown_category(wanted));
        }
        let wanted = |card: &Card| input.category.as_deref().is_none_or(|wanted| wanted == card.category);
        let found = offer.finder.find(&input.query, wanted).into_iter().take(limit as usize);
        let found = found
            .filter_map(|(name, score)| Some(Match { tool: Summary::of(offer.registry.get(&name)?), score }));
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
        let offer = self.offer.load();
        match offer.registry.get(&input.tool_name) {
            Some(entry) => Ok(Json(Details::of(entry))),
            None => Err(offer.registry.unknown_tool(&input.tool_name)),
        }
    }

    #[tool(
        title = "List categories of tools",
        description = "List the categories, and the tools in each.",
        annotations(read_only_hint = true, open_world_hint = false)
    )]
    async fn list_tool_categories(&self) -> Result<Json<Categories>, Failure> {
        let offer = self.offer.load();
        let groups = offer
            .registry
            .categories()
            .map(|(name, description)| Group::of(name, description, offer.registry.entries()));
        Ok(Json(Categories::of(groups.collect())))
    }
}

/// Who calls, as far as tools may know.
fn caller(context: &RequestContext<RoleServer>) -> Call {
    Call { tenant: Caller::of(&context.extensions).tenant }
}

impl ServerHandler for ToolsHandler {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(Implementation::new("mcp-system-tools", env!("CARGO_PKG_VERSION")))
            .with_instructions(INSTRUCTIONS)
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(self.offer.load().router.list_all()))
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        self.offer.load().router.get(name).cloned()
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let offer = self.offer.load_full();
        if offer.router.has_route(&request.name) {
            return offer.router.call(ToolCallContext::new(self, request, context)).await;
        }
        match offer.registry.get(&request.name) {
            // A model that was told of a disabled tool is better served with the reason.
            Some(entry) if entry.call_name() == request.name => {
                let call = caller(&context);
                Ok(self.execute(&entry.about.name, request.arguments, call).await.into())
            }
            _ => Err(ErrorData::invalid_params(offer.registry.unknown_tool(&request.name).0, None)),
        }
    }
}

/// An entry as MCP lists it.
fn described(entry: &Entry) -> Tool {
    let Card { title, description, effect, open_world, .. } = &entry.about;
    let (effect, open_world) = (*effect, *open_world);
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
    Tool::new(entry.call_name(), description.clone(), entry.input_schema.clone())
        .with_title(title.clone())
        .with_raw_output_schema(entry.output_schema.clone())
        .with_annotations(annotations)
}
