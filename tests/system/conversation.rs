//! One conversation with a whole system, and what is to be heard in it: the same on a laptop and on a cluster.

use anyhow::{Context, Result, ensure};
use mcp_system_tests::clients::normalise::normalised;
use mcp_system_tests::clients::{Answers, Step};
use serde_json::{Value, json};

use crate::group::same;
use crate::parts::OWN_TOOLS;

/// What each client does, for an agent of its own.
pub(crate) fn conversation(agent: &str) -> Vec<Step> {
    let memory =
        json!({"agent_id": agent, "content": "The harbour crane lifts ninety tons", "memory_type": "fact"});
    vec![
        Step::list_tools("tools"),
        Step::call("store", "store_memory", memory),
        Step::call(
            "find",
            "search_memories",
            json!({"agent_id": agent, "query": "how much can cranes lift"}),
        ),
        Step::call("other", "search_memories", json!({"agent_id": "nobody", "query": "crane"})),
        Step::call("said", "store_conversation", said(agent, "user", "Is it open?")),
        Step::call("answered", "store_conversation", said(agent, "assistant", "It is.")),
        Step::call("history", "get_conversation_history", json!({"session_id": agent})),
        Step::call("statistics", "get_memory_statistics", json!({"agent_id": agent})),
        Step::call("set", "execute_cache_set", json!({"key": agent, "value": {"a": [1, 2]}})),
        Step::call("get", "execute_cache_get", json!({"key": agent})),
        Step::call("categories", "list_tool_categories", json!({})),
        Step::call("bad", "store_memory", json!({"agent_id": agent, "contents": "misspelled"})),
        Step::call("worse", "search_memories", json!({"agent_id": agent, "query": "x", "limit": 100_000})),
        Step::call("unknown", "store_memories", json!({})),
    ]
}

fn said(session: &str, role: &str, message: &str) -> Value {
    json!({"session_id": session, "agent_id": "host", "role": role, "message": message})
}

/// What every client has to hear.
pub(crate) fn check(answers: &Answers) -> Result<()> {
    same("the tools", &answers.tool_names("tools")?, &OWN_TOOLS)?;

    let stored = answers.of("store")?.value()?;
    let id = stored["memory_id"].as_str().context("a stored memory has no id")?;
    let found = answers.of("find")?.value()?;
    same("how many memories were found", &found["count"], &1)?;
    same("the memory found", &found["memories"][0]["memory_id"], id)?;
    same("its content", &found["memories"][0]["content"], "The harbour crane lifts ninety tons")?;
    same("what another agent finds", &answers.of("other")?.value()?["count"], &0)?;

    let history = answers.of("history")?.value()?;
    let messages = history["messages"].as_array().context("a history without messages")?;
    let messages: Vec<&str> = messages.iter().filter_map(|message| message["message"].as_str()).collect();
    same("the history", &messages, &["Is it open?", "It is."])?;
    let statistics = answers.of("statistics")?.value()?;
    same("the memories counted", &statistics["memories"], &1)?;
    same("the kinds counted", &statistics["memories_by_type"], &json!({"fact": 1}))?;

    let got = answers.of("get")?.value()?;
    same("the cached value", &got["value"], &json!({"a": [1, 2]}))?;

    let bad = answers.of("bad")?.complaint()?;
    ensure!(bad.contains("content"), "the complaint about a misspelled argument does not help: {bad}");
    let worse = answers.of("worse")?.complaint()?;
    ensure!(worse.contains("200"), "the complaint about a limit does not name the largest: {worse}");
    let unknown = answers.of("unknown")?;
    same("the code of an unknown tool", &unknown.refusal()?.code, &Some(-32602))?;
    let unknown = unknown.complaint()?;
    ensure!(
        unknown.contains("store_memory"),
        "the complaint about an unknown tool names no near one: {unknown}"
    );
    Ok(())
}

/// What was heard, without what differs from run to run.
pub(crate) fn seen(answers: &Answers, agent: &str) -> Result<Value> {
    let text = normalised(answers, MACHINE_DEPENDENT).to_string().replace(agent, "<agent>");
    serde_json::from_str(&text).context("normalised JSON is JSON")
}

/// Fields whose values depend on the machine and on what else it did.
const MACHINE_DEPENDENT: &[&str] = &["store_bytes", "score", "expires_in_seconds", "ttl_seconds"];

/// Compares step by step.
pub(crate) fn same_steps(one: &str, expected: &Value, other: &str, seen: &Value) -> Result<()> {
    let steps = expected.as_object().context("answers by step")?;
    for (step, expected) in steps {
        same(&format!("{step}: {other} and {one} see the same"), &seen[step], expected)?;
    }
    Ok(())
}
