//! The tools over HTTP, called as a client calls them: arguments in, results out.

use super::*;
use crate::store::sqlite::SqliteStore;
use mcp_system_config::{MemorySettings, ServerConfig};
use rmcp::ServiceExt;
use rmcp::model::{CallToolRequestParams, Tool};
use rmcp::service::RunningService;
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use tempfile::TempDir;
use tokio::net::TcpListener;

struct Client {
    _directory: TempDir,
    service: RunningService<rmcp::RoleClient, ()>,
    tools: BTreeMap<String, Tool>,
}

/// A server of its own, with room for 1000 bytes of content, and a client of it.
async fn connect() -> Client {
    let directory = tempfile::tempdir().unwrap();
    let mut config = ServerConfig::<MemorySettings>::of_kind();
    config.settings.max_content_bytes = 1000;
    let store = SqliteStore::open(directory.path(), &config.settings.pool).await.expect("opens");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/mcp", listener.local_addr().expect("an address"));
    tokio::spawn(crate::server(config, Arc::new(store)).run_on(listener, std::future::pending()));
    let transport = StreamableHttpClientTransport::with_client(
        mcp_system_kit::http_client().expect("a client"),
        StreamableHttpClientTransportConfig::with_uri(url),
    );
    let service = ().serve(transport).await.expect("connects");
    let tools = service.list_all_tools().await.expect("lists");
    let tools = tools.into_iter().map(|tool| (tool.name.to_string(), tool)).collect();
    Client { _directory: directory, service, tools }
}

impl Client {
    async fn call(&self, tool: &str, arguments: Value) -> Result<Value, String> {
        let Value::Object(arguments) = arguments else { panic!("{arguments} is no object") };
        let call = CallToolRequestParams::new(tool.to_owned()).with_arguments(arguments);
        let result = self.service.call_tool(call).await.expect("a result, not a protocol error");
        if result.is_error == Some(true) {
            return Err(result.content[0].as_text().expect("words").text.clone());
        }
        let value = result.structured_content.expect("structured");
        let schema = self.tools[tool].output_schema.as_ref().expect("an output schema");
        let schema = Value::Object(schema.as_ref().clone());
        jsonschema::validate(&schema, &value).expect("fits the schema");
        assert_eq!(result.content[0].as_text().map(|text| text.text.clone()), Some(value.to_string()));
        Ok(value)
    }
}

fn ids<'a>(answer: &'a Value, list: &str, id: &str) -> Vec<&'a str> {
    answer[list].as_array().expect("a list").iter().map(|item| item[id].as_str().expect("an id")).collect()
}

#[tokio::test]
async fn every_tool_tells_its_arguments_and_what_it_does() {
    let client = connect().await;
    let names: Vec<&str> = client.tools.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "create_session",
            "get_conversation_history",
            "get_memory_statistics",
            "get_recent_memories",
            "search_memories",
            "store_conversation",
            "store_memory"
        ]
    );
    for (name, tool) in &client.tools {
        let annotations = tool.annotations.as_ref().expect("annotations");
        let reads = name.starts_with("get_") || name.starts_with("search_");
        assert_eq!(annotations.read_only_hint, Some(reads), "{name}");
        assert_eq!(annotations.open_world_hint, Some(false), "{name}");
        assert!(tool.description.is_some() && tool.title.is_some() && tool.output_schema.is_some(), "{name}");
        for (argument, schema) in tool.input_schema["properties"].as_object().expect("arguments") {
            let described = schema["description"].is_string() || schema["$ref"].is_string();
            assert!(described, "{name} {argument}: {schema}");
        }
    }
    assert_eq!(client.tools["store_memory"].input_schema["required"], json!(["agent_id", "content"]));
    assert_eq!(client.tools["search_memories"].input_schema["properties"]["limit"]["default"], json!(10));
}

#[tokio::test]
async fn what_is_stored_is_found() {
    let client = connect().await;
    let stored = client
        .call(
            "store_memory",
            json!({
                "agent_id": "a", "content": "Ada prefers tea", "memory_type": "preference",
                "context": {"person": "Ada"}, "importance": 0.9
            }),
        )
        .await
        .expect("stored");
    client.call("store_memory", json!({"agent_id": "a", "content": "Bob is away"})).await.expect("stored");
    let found = client
        .call("search_memories", json!({"agent_id": "a", "query": "what does Ada prefer?", "limit": 5}))
        .await
        .expect("found");
    assert_eq!(ids(&found, "memories", "memory_id"), [stored["memory_id"].as_str().expect("an id")]);
    let memory = &found["memories"][0];
    assert_eq!(memory["content"], "Ada prefers tea");
    assert_eq!(memory["context"], json!({"person": "Ada"}));
    assert_eq!(memory["created_at"], stored["created_at"]);
    assert_eq!((&found["count"], &found["truncated"]), (&json!(1), &json!(false)));

    let recent = client.call("get_recent_memories", json!({"agent_id": "a"})).await.expect("listed");
    assert_eq!(recent["memories"][0]["content"], "Bob is away");
    assert_eq!(recent["memories"][0]["importance"], 0.5);
    assert_eq!(recent["memories"][0]["memory_type"], "general");
    let other =
        client.call("search_memories", json!({"agent_id": "b", "query": "Ada"})).await.expect("searched");
    assert_eq!(other["count"], 0);
    let statistics = client.call("get_memory_statistics", json!({})).await.expect("counted");
    assert_eq!(statistics["memories_by_type"], json!({"general": 1, "preference": 1}));
    assert_eq!(statistics["newest_memory"], recent["memories"][0]["created_at"]);
}

#[tokio::test]
async fn a_conversation_is_kept_and_read_page_by_page() {
    let client = connect().await;
    let created = client
        .call(
            "create_session",
            json!({"agent_id": "a", "user_id": "u", "ttl_hours": 1, "metadata": {"k": 1}}),
        )
        .await
        .expect("created");
    let session = created["session_id"].as_str().expect("an id");
    for (role, message) in [("user", "one"), ("assistant", "two"), ("tool", "three")] {
        let said = client
            .call(
                "store_conversation",
                json!({"session_id": session, "agent_id": "a", "role": role, "message": message}),
            )
            .await
            .expect("stored");
        assert_eq!(said["session_created"], false);
        assert_eq!(said["session_expires_at"], created["expires_at"]);
    }
    let page = client
        .call("get_conversation_history", json!({"session_id": session, "limit": 2}))
        .await
        .expect("read");
    assert_eq!(ids(&page, "messages", "message"), ["two", "three"]);
    assert_eq!((&page["expired"], &page["session"]["metadata"]), (&json!(false), &json!({"k": 1})));
    let oldest = &page["messages"][0]["message_id"];
    let page = client
        .call("get_conversation_history", json!({"session_id": session, "before": oldest}))
        .await
        .expect("read");
    assert_eq!(ids(&page, "messages", "message"), ["one"]);

    let own = json!({"session_id": "standup", "agent_id": "a", "role": "user", "message": "hello"});
    let said = client.call("store_conversation", own).await.expect("an id of one's own begins a session");
    assert_eq!((&said["session_id"], &said["session_created"]), (&json!("standup"), &json!(true)));
}

#[tokio::test]
async fn a_call_that_cannot_be_carried_out_says_what_to_change() {
    let client = connect().await;
    for (tool, arguments, expected) in [
        ("store_memory", json!({"agent_id": "a"}), "missing field `content`"),
        (
            "store_memory",
            json!({"agent_id": "a", "content": "  "}),
            "content is empty; there is nothing to store",
        ),
        (
            "store_memory",
            json!({"agent_id": "a", "content": "x".repeat(1001)}),
            "content has 1001 bytes; this server takes at most 1000, so split it",
        ),
        (
            "store_memory",
            json!({"agent_id": "a", "content": "x", "importance": 7}),
            "importance is 7; it must be a number from 0 to 1",
        ),
        ("store_memory", json!({"agent_id": "a", "content": "x", "context": []}), "expected a map"),
        ("store_memory", json!({"agent_id": "a", "content": "x", "tags": []}), "unknown field `tags`"),
        (
            "store_conversation",
            json!({"session_id": "s", "agent_id": "a", "message": "x", "role": "robot"}),
            "unknown variant `robot`, expected one of `user`, `assistant`, `system`, `tool`",
        ),
        ("get_conversation_history", json!({"session_id": "none"}), "there is no session \"none\""),
        ("create_session", json!({"agent_id": "a", "ttl_hours": 0}), "ttl_hours is 0"),
    ] {
        let error = client.call(tool, arguments).await.expect_err(expected);
        assert!(error.contains(expected), "{error}");
    }
    let statistics = client.call("get_memory_statistics", json!({"agent_id": "a"})).await.expect("counted");
    assert_eq!((&statistics["memories"], &statistics["sessions"]), (&json!(0), &json!(0)));
}
