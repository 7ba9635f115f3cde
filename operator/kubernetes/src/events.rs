//! What a person should be told of, as Events of the system.
//!
//! Events are derived from what changed: the status before and after, and what was written. So none is
//! repeated while nothing happens, nor after a restart of the operator. Not the recorder of kube-runtime,
//! which merges Events of one reason and would lose all messages but the first.

use crate::apply::{Change, What};
use crate::kind::{Kind, SystemKey};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, MicroTime};
use k8s_openapi::jiff::Timestamp;
use kube::api::ObjectMeta;
use mcp_system_crds::{ConditionType, GROUP, McpSystemStatus, Reason, ServerStatus, VERSION};
use std::collections::BTreeMap;

/// The controller that reports.
const CONTROLLER: &str = "mcpsystem.io/operator";
/// The API takes notes of up to 1024 bytes.
const LONGEST: usize = 1000;

/// One thing to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct News {
    pub(crate) is_warning: bool,
    pub(crate) reason: &'static str,
    pub(crate) action: &'static str,
    pub(crate) note: String,
}

impl News {
    fn normal(reason: &'static str, action: &'static str, note: impl Into<String>) -> Self {
        Self { is_warning: false, reason, action, note: note.into() }
    }

    fn warning(reason: &'static str, action: &'static str, note: impl Into<String>) -> Self {
        Self { is_warning: true, reason, action, note: note.into() }
    }
}

/// What there is to tell of a change of the status.
pub(crate) fn of_status(before: Option<&McpSystemStatus>, after: &McpSystemStatus) -> Vec<News> {
    let mut news: Vec<News> = after
        .servers
        .iter()
        .filter_map(|server| {
            let known =
                before.and_then(|status| status.servers.iter().find(|known| known.name == server.name));
            of_server(known, server)
        })
        .collect();
    let is = |status: Option<&McpSystemStatus>, type_| {
        condition(status, type_).is_some_and(|c| c.status == "True")
    };
    let said = |status, type_| condition(status, type_).map(|condition| condition.message.clone());

    let stalled = ConditionType::Stalled;
    if is(Some(after), stalled)
        && (!is(before, stalled) || said(before, stalled) != said(Some(after), stalled))
        && let Some(condition) = condition(Some(after), stalled)
    {
        news.push(News::warning(reason(&condition.reason), "Reconcile", &condition.message));
    }
    // What is wrong with a system that runs all the same. Every other reason is told by what it leads to.
    let degraded = ConditionType::Degraded;
    if let Some(condition) = condition(Some(after), degraded)
        && condition.status == "True"
        && said(before, degraded).as_ref() != Some(&condition.message)
    {
        let told = [
            (Reason::InvalidTools, "Plan"),
            (Reason::Contested, "Apply"),
            (Reason::AutoscalerFailing, "Observe"),
        ];
        let told = told.into_iter().find(|(reason, _)| reason.name() == condition.reason);
        news.extend(told.map(|(reason, action)| News::warning(reason.name(), action, &condition.message)));
    }
    let ready = ConditionType::Ready;
    if is(Some(after), ready) && !is(before, ready) {
        news.push(News::normal("Ready", "Observe", said(Some(after), ready).unwrap_or_default()));
    }
    if !is(Some(after), ready) && is(before, ready) {
        news.push(News::warning("NotReady", "Observe", said(Some(after), ready).unwrap_or_default()));
    }
    news
}

fn of_server(before: Option<&ServerStatus>, after: &ServerStatus) -> Option<News> {
    let message = after.message.clone().unwrap_or_default();
    if message.starts_with("left out") {
        let is_new = before.and_then(|server| server.message.as_ref()) != after.message.as_ref();
        return is_new.then(|| News::warning("LeftOut", "Plan", format!("{}: {message}", after.name)));
    }
    let was_ready = before.is_some_and(is_ready);
    match (was_ready, is_ready(after)) {
        (false, true) => {
            Some(News::normal("ServerReady", "Observe", format!("{} answers MCP requests", after.name)))
        }
        // That copies are being replaced, or stopped because that was asked for, is no reason to worry.
        (true, false) if after.ready < after.desired || after.answered == Some(false) => {
            Some(News::warning("ServerNotReady", "Observe", message))
        }
        _ => None,
    }
}

fn is_ready(server: &ServerStatus) -> bool {
    server.message.is_none() && server.desired > 0
}

fn condition(status: Option<&McpSystemStatus>, type_: ConditionType) -> Option<&Condition> {
    status?.conditions.iter().find(|condition| condition.type_ == type_.name())
}

/// A condition's reason as the constant that it came from.
fn reason(name: &str) -> &'static str {
    [
        Reason::ServerFailing,
        Reason::ProgressDeadlineExceeded,
        Reason::InvalidSpec,
        Reason::NotSupported,
        Reason::ObjectNotOurs,
        Reason::ApplyFailed,
    ]
    .into_iter()
    .map(Reason::name)
    .find(|known| *known == name)
    .unwrap_or("Stalled")
}

/// What there is to tell of what was written.
pub(crate) fn of_changes(changes: &[Change]) -> Vec<News> {
    let mut by_object: BTreeMap<(What, &str), Vec<Kind>> = BTreeMap::new();
    for change in changes {
        by_object.entry((change.what, &change.name)).or_default().push(change.kind);
    }
    by_object
        .into_iter()
        .map(|((what, name), kinds)| {
            let kinds = kinds.into_iter().map(Kind::name).collect::<Vec<_>>().join(", ");
            match what {
                What::Created => News::normal("Created", "Apply", format!("created {name}: {kinds}")),
                What::Changed => {
                    News::normal("Updated", "Apply", format!("updated {name} to the spec: {kinds}"))
                }
                What::Corrected => News::warning(
                    "Corrected",
                    "Apply",
                    format!("{name} was changed by hand and put back: {kinds}"),
                ),
                What::Deleted => News::normal("Deleted", "Apply", format!("deleted {name}: {kinds}")),
            }
        })
        .collect()
}

/// What there is to tell of memories that were moved, and what the mover told.
pub(crate) fn of_move(claim: &str, report: &str) -> News {
    let report = if report.is_empty() { "moved" } else { report };
    News::normal(
        "Moved",
        "Move",
        format!(
            "{report}; memories are served from PostgreSQL now, and the volume claim {claim} stays as it is"
        ),
    )
}

/// The Event that tells it.
pub(crate) fn event(key: &SystemKey, uid: &str, reporter: &str, news: News, now: Timestamp) -> Event {
    let mut note = news.note;
    if note.len() > LONGEST {
        let end = (0..=LONGEST).rev().find(|end| note.is_char_boundary(*end)).unwrap_or_default();
        note.truncate(end);
        note.push('…');
    }
    Event {
        metadata: ObjectMeta {
            name: Some(format!("{}.{}", key.name, uuid::Uuid::now_v7().simple())),
            namespace: Some(key.namespace.clone()),
            ..ObjectMeta::default()
        },
        event_time: Some(MicroTime(now)),
        type_: Some(if news.is_warning { "Warning" } else { "Normal" }.to_owned()),
        reason: Some(news.reason.to_owned()),
        action: Some(news.action.to_owned()),
        note: Some(note),
        regarding: Some(ObjectReference {
            api_version: Some(format!("{GROUP}/{VERSION}")),
            kind: Some("McpSystem".to_owned()),
            name: Some(key.name.clone()),
            namespace: Some(key.namespace.clone()),
            uid: Some(uid.to_owned()),
            ..ObjectReference::default()
        }),
        reporting_controller: Some(CONTROLLER.to_owned()),
        reporting_instance: Some(reporter.chars().take(128).collect()),
        ..Event::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    fn status(conditions: &[(&str, &str, &str, &str)], servers: Vec<ServerStatus>) -> McpSystemStatus {
        let conditions = conditions
            .iter()
            .map(|(type_, status, reason, message)| Condition {
                type_: (*type_).to_owned(),
                status: (*status).to_owned(),
                reason: (*reason).to_owned(),
                message: (*message).to_owned(),
                observed_generation: None,
                last_transition_time: Time(Timestamp::UNIX_EPOCH),
            })
            .collect();
        McpSystemStatus { conditions, servers, ..McpSystemStatus::default() }
    }

    fn server(ready: i32, answered: Option<bool>, message: Option<&str>) -> ServerStatus {
        let message = message.map(str::to_owned);
        ServerStatus {
            name: "memory".to_owned(),
            desired: 1,
            ready,
            answered,
            message,
            ..ServerStatus::default()
        }
    }

    fn reasons(before: Option<&McpSystemStatus>, after: &McpSystemStatus) -> Vec<&'static str> {
        of_status(before, after).into_iter().map(|news| news.reason).collect()
    }

    #[test]
    fn only_what_changed_is_told() {
        let starting =
            status(&[("Ready", "False", "ServersNotReady", "0 of 1")], vec![server(0, None, Some("0 of 1"))]);
        let ready =
            status(&[("Ready", "True", "AllServersReady", "1 of 1")], vec![server(1, Some(true), None)]);
        let silent = status(
            &[("Ready", "False", "McpNotAnswered", "silent")],
            vec![server(1, Some(false), Some("silent"))],
        );
        assert_eq!(reasons(None, &starting), [""; 0]);
        assert_eq!(reasons(Some(&starting), &ready), ["ServerReady", "Ready"]);
        assert_eq!(reasons(Some(&ready), &ready), [""; 0]);
        assert_eq!(reasons(Some(&ready), &silent), ["ServerNotReady", "NotReady"]);
    }

    #[test]
    fn a_stop_is_told_once_for_each_reason() {
        let stalled = |message| status(&[("Stalled", "True", "ServerFailing", message)], vec![]);
        assert_eq!(reasons(None, &stalled("a")), ["ServerFailing"]);
        assert_eq!(reasons(Some(&stalled("a")), &stalled("a")), [""; 0]);
        assert_eq!(reasons(Some(&stalled("a")), &stalled("b")), ["ServerFailing"]);
    }

    #[test]
    fn a_server_that_is_left_out_is_told_once() {
        let left_out =
            status(&[], vec![ServerStatus { desired: 0, ..server(0, None, Some("left out: a process")) }]);
        assert_eq!(reasons(None, &left_out), ["LeftOut"]);
        assert_eq!(reasons(Some(&left_out), &left_out), [""; 0]);
    }

    #[test]
    fn what_is_wrong_with_a_system_that_runs_is_told_once() {
        for reason in ["InvalidTools", "Contested", "AutoscalerFailing"] {
            let degraded = |message| status(&[("Degraded", "True", reason, message)], vec![]);
            assert_eq!(reasons(None, &degraded("a")), [reason]);
            assert_eq!(reasons(Some(&degraded("a")), &degraded("a")), [""; 0]);
            assert_eq!(reasons(Some(&degraded("a")), &degraded("b")), [reason]);
        }
    }

    #[test]
    fn a_long_note_is_cut_where_the_api_wants_it() {
        let key = SystemKey::new("test", "demo");
        let news = News::normal("Ready", "Observe", "ä".repeat(2000));
        let note = event(&key, "uid", "me", news, Timestamp::now()).note.expect("a note");
        assert!(note.len() <= 1024, "{}", note.len());
    }
}
