//! The MCP side: each request, and which of the fixtures answers it.
#![allow(deprecated, reason = "the suite tests what the latest revision deprecates")]

use crate::rounds::{Round, Turn};
use crate::seal::Seal;
use crate::{prompts, resources, tools};
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ClientCapabilities, ContentBlock, ErrorData,
    GetPromptRequestParams, GetPromptResponse, InputResponses, ListPromptsResult,
    ListResourceTemplatesResult, ListResourcesResult, ListToolsResult, LoggingLevel,
    LoggingMessageNotificationParam, PaginatedRequestParams, ProgressNotificationParam,
    PromptListChangedNotification, ReadResourceRequestParams, ReadResourceResponse, ServerCapabilities,
    ServerConfig, ServerNotification, SetLevelRequestParams, SubscribeRequestParams, SubscriptionFilter,
    Tool, ToolListChangedNotification, UnsubscribeRequestParams,
};
use rmcp::service::{RequestContext, SubscriptionContext};
use rmcp::{RoleServer, ServerHandler};
use serde_json::json;
use std::time::Duration;
use tokio::sync::broadcast::{Sender, channel};

type Context = RequestContext<RoleServer>;

/// Between two notices of one call, so that a client sees them come.
const PAUSE: Duration = Duration::from_millis(20);

/// Every tool, prompt and resource that the suite's scenarios ask for.
#[derive(Clone)]
pub(crate) struct Fixtures {
    changes: Sender<Changed>,
    seal: Seal,
}

/// A list that clients may have subscribed to.
#[derive(Clone, Copy)]
enum Changed {
    Tools,
    Prompts,
}

impl Default for Fixtures {
    fn default() -> Self {
        Self { changes: channel(16).0, seal: Seal::default() }
    }
}

impl Fixtures {
    fn round<'a>(&'a self, given: &'a Given, context: &Context) -> Round<'a> {
        Round {
            responses: &given.responses,
            state: given.state.as_deref(),
            capabilities: context.client_capabilities().unwrap_or_default(),
            seal: &self.seal,
        }
    }
}

/// What a client brings along when it calls again.
struct Given {
    responses: InputResponses,
    state: Option<String>,
}

fn text(text: &str) -> CallToolResult {
    CallToolResult::success(vec![ContentBlock::text(text)])
}

async fn progress(context: &Context, done: f64) {
    if let Some(token) = context.meta.get_progress_token() {
        let notice = ProgressNotificationParam::new(token, done).with_total(100.0);
        // A client that is gone ends the call by itself.
        let _ = context.peer.notify_progress(notice).await;
        tokio::time::sleep(PAUSE).await;
    }
}

async fn log(context: &Context, message: &str) {
    let notice = LoggingMessageNotificationParam::new(LoggingLevel::Info, json!(message));
    let _ = context.peer.notify_logging_message(notice).await;
    tokio::time::sleep(PAUSE).await;
}

impl ServerHandler for Fixtures {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(
            ServerCapabilities::builder()
                .enable_tools()
                .enable_tool_list_changed()
                .enable_prompts()
                .enable_prompts_list_changed()
                .enable_resources()
                .enable_resources_subscribe()
                .enable_completions()
                .enable_logging()
                .build(),
        )
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        tools::all().into_iter().find(|tool| tool.name == name)
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: Context,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(tools::all()))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: Context,
    ) -> Result<CallToolResponse, ErrorData> {
        let name = &*request.name;
        if let Some(result) = tools::fixed(name) {
            return result.map(Into::into);
        }
        let given =
            Given { responses: request.input_responses.unwrap_or_default(), state: request.request_state };
        if name == "test_streaming_elicitation" {
            progress(&context, 50.0).await;
        }
        if let Some(turn) = self.round(&given, &context).play(name) {
            return Ok(match turn? {
                Turn::Done(done) => text(&done).into(),
                Turn::Ask(asked) => asked.into(),
            });
        }
        match name {
            "test_tool_with_logging" => {
                for step in ["started", "processing data", "completed"] {
                    log(&context, step).await;
                }
            }
            "test_tool_with_progress" => {
                for done in [0.0, 50.0, 100.0] {
                    progress(&context, done).await;
                }
            }
            "test_logging_tool" => {
                if context.meta.log_level().is_some() {
                    log(&context, "asked for").await;
                }
            }
            "test_missing_capability" => {
                if context.client_capabilities().is_none_or(|client| client.sampling.is_none()) {
                    let needed = ClientCapabilities::builder().enable_sampling().build();
                    return Err(ErrorData::missing_required_client_capability(needed));
                }
            }
            // No subscriber at all is no failure.
            "test_trigger_tool_change" => drop(self.changes.send(Changed::Tools)),
            "test_trigger_prompt_change" => drop(self.changes.send(Changed::Prompts)),
            _ => {
                let message = format!("there is no tool {name:?} that could be called so");
                return Err(ErrorData::invalid_params(message, None));
            }
        }
        Ok(text("done").into())
    }

    async fn list_prompts(
        &self,
        _: Option<PaginatedRequestParams>,
        _: Context,
    ) -> Result<ListPromptsResult, ErrorData> {
        prompts::list()
    }

    async fn get_prompt(
        &self,
        request: GetPromptRequestParams,
        context: Context,
    ) -> Result<GetPromptResponse, ErrorData> {
        let given =
            Given { responses: request.input_responses.unwrap_or_default(), state: request.request_state };
        match self.round(&given, &context).play(&request.name).transpose()? {
            Some(Turn::Done(done)) => prompts::prompt(&[tools::said(&done)]).map(Into::into),
            Some(Turn::Ask(asked)) => Ok(asked.into()),
            None => prompts::get(&request.name, &request.arguments.unwrap_or_default()).map(Into::into),
        }
    }

    async fn list_resources(
        &self,
        _: Option<PaginatedRequestParams>,
        _: Context,
    ) -> Result<ListResourcesResult, ErrorData> {
        resources::list()
    }

    async fn list_resource_templates(
        &self,
        _: Option<PaginatedRequestParams>,
        _: Context,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        resources::templates()
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        _: Context,
    ) -> Result<ReadResourceResponse, ErrorData> {
        resources::read(&request.uri).map(Into::into)
    }

    /// Nothing here changes by itself, and what a client subscribed to another copy could not know.
    async fn subscribe(&self, request: SubscribeRequestParams, _: Context) -> Result<(), ErrorData> {
        resources::read(&request.uri).map(drop)
    }

    async fn unsubscribe(&self, request: UnsubscribeRequestParams, _: Context) -> Result<(), ErrorData> {
        resources::read(&request.uri).map(drop)
    }

    async fn set_level(&self, _: SetLevelRequestParams, _: Context) -> Result<(), ErrorData> {
        Ok(())
    }

    fn accepted_subscription_filter(&self, requested: &SubscriptionFilter) -> Option<SubscriptionFilter> {
        Some(requested.clone())
    }

    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        let mut news = self.changes.subscribe();
        loop {
            let changed = tokio::select! {
                () = context.cancelled() => return Ok(()),
                changed = news.recv() => changed,
            };
            let notice = match changed {
                Ok(Changed::Tools) => {
                    ServerNotification::ToolListChangedNotification(ToolListChangedNotification::default())
                }
                Ok(Changed::Prompts) => {
                    ServerNotification::PromptListChangedNotification(PromptListChangedNotification::default())
                }
                Err(_) => continue,
            };
            // What this subscriber did not ask for is refused by the sink.
            let _ = context.sink().send(notice).await;
        }
    }
}
