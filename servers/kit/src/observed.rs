//! A server's MCP handler with its requests measured, its lists given a lifetime and its calls ended when
//! their client goes.

use crate::handler::{Context, Handler, Notified};
use crate::metrics::{Metrics, Outcome};
use crate::self_check::SelfCheck;
use crate::trace::{span, trace_id};
use rmcp::ServerHandler;
#[allow(deprecated, reason = "clients of the earlier revisions still use what the latest deprecates")]
use rmcp::model::{
    CacheScope, CallToolRequestParams, CallToolResponse, CancelTaskParams, CancelledNotificationParam,
    CompleteRequestParams, CompleteResult, CustomNotification, CustomRequest, CustomResult, DiscoverResult,
    ErrorCode, ErrorData, GetPromptRequestParams, GetPromptResponse, GetSkillRequestParams, GetSkillResult,
    GetTaskParams, GetTaskResult, InitializeRequestParams, InitializeResult, ListPromptsResult,
    ListResourceTemplatesResult, ListResourcesResult, ListSkillsResult, ListToolsResult,
    PaginatedRequestParams, ProgressNotificationParam, ProtocolVersion, ReadResourceDirectoryRequestParams,
    ReadResourceDirectoryResult, ReadResourceRequestParams, ReadResourceResponse, ServerConfig,
    SetLevelRequestParams, SubscribeRequestParams, SubscriptionFilter, Tool, UnsubscribeRequestParams,
    UpdateTaskParams,
};
use rmcp::service::SubscriptionContext;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;
use tracing::Instrument;

/// How long clients may use a list when the handler says nothing: one that changed is seen within a minute.
const LIST_TTL_MILLISECONDS: u64 = 60_000;

/// A handler, observed.
#[derive(Clone)]
pub(crate) struct Observed {
    pub(crate) inner: Arc<dyn Handler>,
    pub(crate) metrics: Metrics,
    pub(crate) check: SelfCheck,
}

/// Records a request when it ends, and as cancelled when it is dropped before that.
struct Measure<'a> {
    metrics: Option<&'a Metrics>,
    method: &'static str,
    tool: String,
    started: Instant,
    outcome: Outcome,
}

impl Drop for Measure<'_> {
    fn drop(&mut self) {
        if let Some(metrics) = self.metrics {
            metrics.observe(self.method, &self.tool, self.outcome, self.started.elapsed());
        }
    }
}

impl Observed {
    /// The server's questions to itself are no requests of clients.
    fn measure(&self, method: &'static str, tool: String, context: &Context) -> Measure<'_> {
        let metrics = (!self.check.asked(&context.extensions)).then_some(&self.metrics);
        Measure { metrics, method, tool, started: Instant::now(), outcome: Outcome::Cancelled }
    }

    async fn observe<T>(
        &self,
        method: &'static str,
        context: Context,
        handle: impl AsyncFnOnce(Context) -> Result<T, ErrorData>,
    ) -> Result<T, ErrorData> {
        let mut measure = self.measure(method, String::new(), &context);
        let result = handle(context).await;
        measure.outcome = if result.is_ok() { Outcome::Ok } else { Outcome::Error };
        result
    }

    /// The name as a label: names that the server does not know would let clients make labels at will.
    fn label(&self, name: &str) -> String {
        if self.check.lists(name) || self.inner.get_tool(name).is_some() { name } else { "unknown" }
            .to_owned()
    }
}

/// Requests that are measured and otherwise passed on as they are.
macro_rules! pass_on {
    ($($name:ident($request:ty) -> $result:ty = $method:literal;)*) => {$(
        async fn $name(&self, request: $request, context: Context) -> Result<$result, ErrorData> {
            self.observe($method, context, async |context| self.inner.$name(request, context).await).await
        }
    )*};
}

#[allow(deprecated, reason = "clients of the earlier revisions still use what the latest deprecates")]
impl ServerHandler for Observed {
    pass_on! {
        initialize(InitializeRequestParams) -> InitializeResult = "initialize";
        complete(CompleteRequestParams) -> CompleteResult = "completion/complete";
        set_level(SetLevelRequestParams) -> () = "logging/setLevel";
        get_prompt(GetPromptRequestParams) -> GetPromptResponse = "prompts/get";
        list_prompts(Option<PaginatedRequestParams>) -> ListPromptsResult = "prompts/list";
        list_resources(Option<PaginatedRequestParams>) -> ListResourcesResult = "resources/list";
        list_resource_templates(Option<PaginatedRequestParams>) -> ListResourceTemplatesResult
            = "resources/templates/list";
        read_resource(ReadResourceRequestParams) -> ReadResourceResponse = "resources/read";
        subscribe(SubscribeRequestParams) -> () = "resources/subscribe";
        unsubscribe(UnsubscribeRequestParams) -> () = "resources/unsubscribe";
        on_custom_request(CustomRequest) -> CustomResult = "custom";
        get_task(GetTaskParams) -> GetTaskResult = "tasks/get";
        update_task(UpdateTaskParams) -> () = "tasks/update";
        cancel_task(CancelTaskParams) -> () = "tasks/cancel";
        list_skills(Option<PaginatedRequestParams>) -> ListSkillsResult = "skills/list";
        get_skill(GetSkillRequestParams) -> GetSkillResult = "skills/get";
        read_resource_directory(ReadResourceDirectoryRequestParams) -> ReadResourceDirectoryResult
            = "resources/directory/read";
    }

    async fn ping(&self, context: Context) -> Result<(), ErrorData> {
        self.observe("ping", context, async |context| self.inner.ping(context).await).await
    }

    async fn discover(&self, context: Context) -> Result<DiscoverResult, ErrorData> {
        self.observe("server/discover", context, async |context| {
            let mut result = self.inner.discover(context).await?;
            if result.ttl_ms == 0 {
                result.ttl_ms = LIST_TTL_MILLISECONDS;
            }
            Ok(result)
        })
        .await
    }

    async fn list_tools(
        &self,
        request: Option<PaginatedRequestParams>,
        context: Context,
    ) -> Result<ListToolsResult, ErrorData> {
        self.observe("tools/list", context, async |context| {
            let modern =
                context.protocol_version().is_some_and(|version| version >= ProtocolVersion::V_2026_07_28);
            let mut result = self.inner.list_tools(request, context).await?;
            if modern {
                result.ttl_ms.get_or_insert(LIST_TTL_MILLISECONDS);
                // No server here shows different tools to different clients.
                result.cache_scope.get_or_insert(CacheScope::Public);
            }
            Ok(result)
        })
        .await
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: Context,
    ) -> Result<CallToolResponse, ErrorData> {
        let mut measure = self.measure("tools/call", self.label(&request.name), &context);
        let cancelled = context.ct.clone();
        let trace_id = trace_id(&context).map(str::to_owned);
        let span = span(trace_id.as_deref(), &measure.tool);
        let result = tokio::select! {
            result = self.inner.call_tool(request, context).instrument(span) => result,
            // The SDK only tells a handler that its client is gone; dropping the handler ends its work as well.
            () = cancelled.cancelled() => {
                return Err(ErrorData::new(ErrorCode::INTERNAL_ERROR, "the call was cancelled", None));
            }
        };
        measure.outcome = match &result {
            Ok(CallToolResponse::Complete(result)) if result.is_error == Some(true) => Outcome::ToolError,
            Ok(_) => Outcome::Ok,
            Err(_) => Outcome::Error,
        };
        let (tool, outcome) = (&*measure.tool, measure.outcome.label());
        let milliseconds = measure.started.elapsed().as_millis();
        tracing::debug!(tool, outcome, milliseconds, trace_id, "called");
        result
    }

    fn negotiate_initialize(&self, request: &InitializeRequestParams) -> Result<InitializeResult, ErrorData> {
        self.inner.negotiate_initialize(request)
    }

    fn supported_protocol_versions(&self) -> Cow<'static, [ProtocolVersion]> {
        self.inner.supported_protocol_versions()
    }

    fn accepted_subscription_filter(&self, requested: &SubscriptionFilter) -> Option<SubscriptionFilter> {
        self.inner.accepted_subscription_filter(requested)
    }

    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        self.inner.listen(context).await
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        self.inner.get_tool(name)
    }

    async fn on_cancelled(&self, notification: CancelledNotificationParam, context: Notified) {
        self.inner.on_cancelled(notification, context).await;
    }

    async fn on_progress(&self, notification: ProgressNotificationParam, context: Notified) {
        self.inner.on_progress(notification, context).await;
    }

    async fn on_initialized(&self, context: Notified) {
        self.inner.on_initialized(context).await;
    }

    async fn on_roots_list_changed(&self, context: Notified) {
        self.inner.on_roots_list_changed(context).await;
    }

    async fn on_custom_notification(&self, notification: CustomNotification, context: Notified) {
        self.inner.on_custom_notification(notification, context).await;
    }

    fn get_info(&self) -> ServerConfig {
        self.inner.get_info()
    }
}
