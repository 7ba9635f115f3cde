//! An MCP handler behind a pointer. What serves it is then compiled once, in this crate, and not anew for each server:
//! that was a quarter of an hour, and thirty megabytes of the same code. It costs one allocation a request.

use futures::future::BoxFuture;
#[allow(deprecated, reason = "clients of the earlier revisions still use what the latest deprecates")]
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CancelTaskParams, CancelledNotificationParam,
    CompleteRequestParams, CompleteResult, CustomNotification, CustomRequest, CustomResult, DiscoverResult,
    ErrorData, GetPromptRequestParams, GetPromptResponse, GetSkillRequestParams, GetSkillResult,
    GetTaskParams, GetTaskResult, InitializeRequestParams, InitializeResult, ListPromptsResult,
    ListResourceTemplatesResult, ListResourcesResult, ListSkillsResult, ListToolsResult,
    PaginatedRequestParams, ProgressNotificationParam, ProtocolVersion, ReadResourceDirectoryRequestParams,
    ReadResourceDirectoryResult, ReadResourceRequestParams, ReadResourceResponse, ServerConfig,
    SetLevelRequestParams, SubscribeRequestParams, SubscriptionFilter, Tool, UnsubscribeRequestParams,
    UpdateTaskParams,
};
use rmcp::service::{NotificationContext, RequestContext, SubscriptionContext};
use rmcp::{RoleServer, ServerHandler};
use std::borrow::Cow;

pub(crate) type Context = RequestContext<RoleServer>;
pub(crate) type Notified = NotificationContext<RoleServer>;

macro_rules! handler {
    (
        requests { $($request:ident($params:ty) -> $result:ty;)* }
        bare_requests { $($bare:ident($context:ty) -> $bare_result:ty;)* }
        notifications { $($notification:ident($notice:ty);)* }
        bare_notifications { $($bare_notification:ident;)* }
        answers { $($answer:ident($($argument:ident: $asked:ty)?) -> $answered:ty;)* }
    ) => {
        /// [`ServerHandler`], whose methods give futures of any type, as a trait that has objects.
        #[allow(deprecated, reason = "clients of the earlier revisions still use what the latest deprecates")]
        pub(crate) trait Handler: Send + Sync {
            $(fn $request(&self, params: $params, context: Context) -> BoxFuture<'_, Result<$result, ErrorData>>;)*
            $(fn $bare(&self, context: $context) -> BoxFuture<'_, Result<$bare_result, ErrorData>>;)*
            $(fn $notification(&self, notice: $notice, context: Notified) -> BoxFuture<'_, ()>;)*
            $(fn $bare_notification(&self, context: Notified) -> BoxFuture<'_, ()>;)*
            $(fn $answer(&self, $($argument: $asked)?) -> $answered;)*
        }

        #[allow(deprecated, reason = "clients of the earlier revisions still use what the latest deprecates")]
        impl<H: ServerHandler> Handler for H {
            $(fn $request(&self, params: $params, context: Context) -> BoxFuture<'_, Result<$result, ErrorData>> {
                Box::pin(ServerHandler::$request(self, params, context))
            })*
            $(fn $bare(&self, context: $context) -> BoxFuture<'_, Result<$bare_result, ErrorData>> {
                Box::pin(ServerHandler::$bare(self, context))
            })*
            $(fn $notification(&self, notice: $notice, context: Notified) -> BoxFuture<'_, ()> {
                Box::pin(ServerHandler::$notification(self, notice, context))
            })*
            $(fn $bare_notification(&self, context: Notified) -> BoxFuture<'_, ()> {
                Box::pin(ServerHandler::$bare_notification(self, context))
            })*
            $(fn $answer(&self, $($argument: $asked)?) -> $answered {
                ServerHandler::$answer(self, $($argument)?)
            })*
        }
    };
}

handler! {
    requests {
        initialize(InitializeRequestParams) -> InitializeResult;
        complete(CompleteRequestParams) -> CompleteResult;
        set_level(SetLevelRequestParams) -> ();
        get_prompt(GetPromptRequestParams) -> GetPromptResponse;
        list_prompts(Option<PaginatedRequestParams>) -> ListPromptsResult;
        list_resources(Option<PaginatedRequestParams>) -> ListResourcesResult;
        list_resource_templates(Option<PaginatedRequestParams>) -> ListResourceTemplatesResult;
        read_resource(ReadResourceRequestParams) -> ReadResourceResponse;
        subscribe(SubscribeRequestParams) -> ();
        unsubscribe(UnsubscribeRequestParams) -> ();
        list_tools(Option<PaginatedRequestParams>) -> ListToolsResult;
        call_tool(CallToolRequestParams) -> CallToolResponse;
        on_custom_request(CustomRequest) -> CustomResult;
        get_task(GetTaskParams) -> GetTaskResult;
        update_task(UpdateTaskParams) -> ();
        cancel_task(CancelTaskParams) -> ();
        list_skills(Option<PaginatedRequestParams>) -> ListSkillsResult;
        get_skill(GetSkillRequestParams) -> GetSkillResult;
        read_resource_directory(ReadResourceDirectoryRequestParams) -> ReadResourceDirectoryResult;
    }
    bare_requests {
        ping(Context) -> ();
        discover(Context) -> DiscoverResult;
        listen(SubscriptionContext) -> ();
    }
    notifications {
        on_cancelled(CancelledNotificationParam);
        on_progress(ProgressNotificationParam);
        on_custom_notification(CustomNotification);
    }
    bare_notifications {
        on_initialized;
        on_roots_list_changed;
    }
    answers {
        negotiate_initialize(request: &InitializeRequestParams) -> Result<InitializeResult, ErrorData>;
        supported_protocol_versions() -> Cow<'static, [ProtocolVersion]>;
        accepted_subscription_filter(requested: &SubscriptionFilter) -> Option<SubscriptionFilter>;
        get_tool(name: &str) -> Option<Tool>;
        get_info() -> ServerConfig;
    }
}
