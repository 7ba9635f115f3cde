//! The tools over HTTP, called as a client calls them: arguments in, results out.

mod isolation;

use super::*;
use crate::store::sqlite::SqliteStore;
use mcp_system_config::{MemorySettings, ServerConfig};
use rmcp::ServiceExt;
use rmcp::model::{CallToolRequestParams, ReadResourceRequestParams, Tool};
use rmcp::service::RunningService;
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use tempfile::TempDir;
use tokio::net::TcpListener;

struct Client {
    directory: Arc<TempDir>,
    service: RunningService<rmcp::RoleClient, ()>,
    tools: BTreeMap<String, Tool>,
}

/// A server of its own, with room for 1000 bytes of content, and clients of it, one for each key.
async fn connect_with<const N: usize>(keys: [Option<&str>; N], keys_file: Option<&str>) -> [Client; N] {
    let directory = Arc::new(tempfile::tempdir().unwrap());
    let mut config = ServerConfig::<MemorySettings>::of_kind();
    config.settings.max_content_bytes = 1000;
    if let Some(text) = keys_file {
        let file = directory.path().join("keys.yaml");
        std::fs::write(&file, text).expect("written");
        config.callers.keys_file = Some(file);
    }
    let store =
        SqliteStore::open(directory.path(), &crate::store::sqlite::Options::default()).await.expect("opens");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/mcp", listener.local_addr().expect("an address"));
    let engine = Arc::new(Engine::new(Arc::new(store), crate::capacity(&config.settings)));
    let dependencies = mcp_system_kit::Dependencies::default();
    crate::show(&dependencies, &engine);
    tokio::spawn(
        crate::server(config.into(), &engine, dependencies, mcp_system_kit::Metrics::new("memory"))
            .run_on(listener, std::future::pending()),
    );
    let mut clients = Vec::new();
    for key in keys {
        let mut to = StreamableHttpClientTransportConfig::with_uri(url.clone());
        if let Some(key) = key {
            to = to.auth_header(key);
        }
        let http = mcp_system_kit::http_client().expect("a client");
        let transport = StreamableHttpClientTransport::with_client(http, to);
        let service = ().serve(transport).await.expect("connects");
        let tools = service.list_all_tools().await.expect("lists");
        let tools = tools.into_iter().map(|tool| (tool.name.to_string(), tool)).collect();
        clients.push(Client { directory: directory.clone(), service, tools });
    }
    clients.try_into().unwrap_or_else(|_| panic!("one for each key"))
}

async fn connect() -> Client {
    let [client] = connect_with([None], None).await;
    client
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
            "clear_cache",
            "create_session",
            "delete_memory",
            "get_conversation_history",
            "get_memory_statistics",
            "get_recent_memories",
            "health_check",
            "optimize_memory_storage",
            "search_memories",
            "search_memories_cached",
            "store_conversation",
            "store_memory",
            "store_memory_batch",
            "update_memory"
        ]
    );
    for (name, tool) in &client.tools {
        let annotations = tool.annotations.as_ref().expect("annotations");
        let reads = name.starts_with("get_") || name.starts_with("search_") || name == "health_check";
        assert_eq!(annotations.read_only_hint, Some(reads), "{name}");
        assert_eq!(annotations.open_world_hint, Some(false), "{name}");
        assert!(tool.description.is_some() && tool.title.is_some() && tool.output_schema.is_some(), "{name}");
        for (argument, schema) in
            tool.input_schema.get("properties").and_then(Value::as_object).into_iter().flatten()
        {
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
    assert_eq!(ids(&found, "memories", "memory_id")[0], stored["memory_id"].as_str().expect("an id"));
    let memory = &found["memories"][0];
    assert_eq!(memory["content"], "Ada prefers tea");
    assert_eq!(memory["context"], json!({"person": "Ada"}));
    assert_eq!(memory["created_at"], stored["created_at"]);
    assert_eq!(found["truncated"], json!(false));

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

#[tokio::test]
async fn memories_are_stored_in_batches_once_changed_and_deleted() {
    let client = connect().await;
    let memories: Vec<Value> =
        (0..250).map(|number| json!({"content": format!("fact number {number}")})).collect();
    let batch = json!({"agent_id": "a", "memories": memories});
    let stored = client.call("store_memory_batch", batch.clone()).await.expect("stored");
    assert_eq!((&stored["stored"], &stored["duplicates"]), (&json!(250), &json!(0)));
    let again = client.call("store_memory_batch", batch).await.expect("answered");
    assert_eq!((&again["stored"], &again["duplicates"]), (&json!(0), &json!(250)));
    assert_eq!(again["memories"][7]["memory_id"], stored["memories"][7]["memory_id"]);
    // A duplicate changes nothing, and the answer tells what is there.
    let dearer = json!({"agent_id": "a", "content": "fact number 7", "importance": 1, "memory_type": "x"});
    assert_eq!(client.call("store_memory", dearer).await.expect("answered"), again["memories"][7]);

    let id = &stored["memories"][0]["memory_id"];
    let change =
        json!({"agent_id": "a", "memory_id": id, "content": "Ada moved to Lisbon", "importance": 0.9});
    let changed = client.call("update_memory", change).await.expect("changed");
    assert_eq!(
        (&changed["content"], &changed["memory_type"]),
        (&json!("Ada moved to Lisbon"), &json!("general"))
    );
    let found = client.call(
        "search_memories",
        json!({"agent_id": "a", "query": "Where does Ada live? Lisbon", "explain": true}),
    );
    let found = found.await.expect("found");
    assert_eq!((&found["memories"][0]["memory_id"], &found["memories"][0]["importance"]), (id, &json!(0.9)));
    assert!(found["memories"][0]["explanation"]["lexical"].as_f64() > Some(0.0));
    let gone = json!({"agent_id": "a", "memory_id": id});
    assert_eq!(client.call("delete_memory", gone.clone()).await.expect("deleted")["deleted"], true);
    assert_eq!(client.call("delete_memory", gone).await.expect("asked")["deleted"], false);
    let error =
        client.call("update_memory", json!({"agent_id": "a", "memory_id": id, "importance": 1})).await;
    assert!(error.expect_err("gone").contains("has no memory"));
}

#[tokio::test]
async fn an_idempotency_key_makes_a_repeated_store_harmless() {
    let client = connect().await;
    let call = |content: &str| json!({"agent_id": "a", "content": content, "idempotency_key": "k"});
    let first = client.call("store_memory", call("one")).await.expect("stored");
    let again = client.call("store_memory", call("one")).await.expect("answered");
    assert_eq!((&again["memory_id"], &again["duplicate"]), (&first["memory_id"], &json!(true)));
    let change = json!({"agent_id": "a", "memory_id": first["memory_id"], "content": "changed"});
    client.call("update_memory", change).await.expect("changed");
    let again = client.call("store_memory", call("one")).await.expect("answered");
    assert_eq!((&again["memory_id"], &again["duplicate"]), (&first["memory_id"], &json!(true)));
    for other in ["two", "changed"] {
        let error = client.call("store_memory", call(other)).await.expect_err("another content");
        assert!(error.contains("use a new key for a new content"), "{error}");
    }
}

#[tokio::test]
async fn a_message_may_be_said_again_but_a_repeated_call_stores_it_once() {
    let client = connect().await;
    let say = async |key: Option<&str>| {
        let mut said = json!({"session_id": "s", "agent_id": "a", "role": "user", "message": "yes"});
        if let Some(key) = key {
            said["idempotency_key"] = key.into();
        }
        client.call("store_conversation", said).await.expect("stored")
    };
    let first = say(Some("k")).await;
    assert_eq!((&first["duplicate"], &first["session_created"]), (&json!(false), &json!(true)));
    let again = say(Some("k")).await;
    assert_eq!((&again["duplicate"], &again["message_id"]), (&json!(true), &first["message_id"]));
    assert_eq!((&again["created_at"], &again["session_created"]), (&first["created_at"], &json!(false)));
    for key in [Some("l"), None, None] {
        assert_eq!(say(key).await["duplicate"], false, "{key:?}");
    }
    let history = client.call("get_conversation_history", json!({"session_id": "s"})).await.expect("read");
    assert_eq!(history["count"], 4);
}

#[tokio::test]
async fn a_batch_tells_which_of_its_memories_cannot_be_stored() {
    let client = connect().await;
    let mut memories: Vec<Value> =
        (0..150).map(|number| json!({"content": format!("fact number {number}")})).collect();
    let mut refused = async |place: usize, memory: Value| {
        let before = std::mem::replace(&mut memories[place], memory);
        let batch = json!({"agent_id": "a", "memories": &memories});
        let error = client.call("store_memory_batch", batch).await.expect_err("refused");
        memories[place] = before;
        let counted = client.call("get_memory_statistics", json!({"agent_id": "a"})).await.expect("counted");
        (error, counted["memories"].as_u64().expect("a number"))
    };
    let (error, stored) = refused(120, json!({"content": " "})).await;
    assert!(
        error.contains("memories[120]: content is empty") && error.contains("nothing of this call"),
        "{error}"
    );
    assert_eq!(stored, 0);
    let keyed = json!({"agent_id": "a", "content": "one", "idempotency_key": "k"});
    client.call("store_memory", keyed).await.expect("stored");
    // The first hundred go into a transaction of their own.
    let (error, stored) = refused(120, json!({"content": "two", "idempotency_key": "k"})).await;
    assert!(error.contains("memories[120]: the idempotency key \"k\" was used before"), "{error}");
    assert!(error.contains("the first 100 of this call are stored"), "{error}");
    assert_eq!(stored, 101);
    let (error, _) = refused(7, json!({"content": "two", "idempotency_key": "k"})).await;
    assert!(error.contains("memories[7]: ") && error.contains("the first 0 of this call"), "{error}");
}

#[tokio::test]
async fn a_cached_search_says_so_until_something_is_stored() {
    let client = connect().await;
    client
        .call("store_memory", json!({"agent_id": "a", "content": "Ada prefers tea"}))
        .await
        .expect("stored");
    let search = json!({"agent_id": "a", "query": "tea"});
    let cached = async |search: Value| {
        let found = client.call("search_memories_cached", search).await.expect("found");
        (found["cached"].as_bool().expect("told"), found["count"].as_u64().expect("told"))
    };
    assert_eq!(cached(search.clone()).await, (false, 1));
    assert_eq!(cached(search.clone()).await, (true, 1));
    assert_eq!(cached(json!({"agent_id": "a", "query": "tea", "use_cache": false})).await, (false, 1));
    client
        .call("store_memory", json!({"agent_id": "a", "content": "Bob prefers tea"}))
        .await
        .expect("stored");
    assert_eq!(cached(search.clone()).await, (false, 2));
    let health = client.call("health_check", json!({})).await.expect("told");
    assert_eq!((&health["status"], &health["search_cache"]["hits"]), (&json!("healthy"), &json!(1)));
    let cleared = client.call("clear_cache", json!({"cache_type": "search"})).await.expect("cleared");
    assert_eq!((&cleared["search"], &cleared["memory"]), (&json!(2), &json!(0)));
    assert_eq!(cached(search).await, (false, 2));
}

#[tokio::test]
async fn an_optimisation_is_previewed_done_undone_and_purged() {
    let client = connect().await;
    for content in ["Ada prefers green tea in the morning", "ada prefers green tea, in the morning!"] {
        client.call("store_memory", json!({"agent_id": "a", "content": content})).await.expect("stored");
    }
    let optimise = async |action: &str| {
        client
            .call("optimize_memory_storage", json!({"agent_id": "a", "action": action}))
            .await
            .expect("done")
    };
    assert_eq!(optimise("preview").await["merged"], 1);
    let done = optimise("optimize").await;
    assert!(done["run_id"].is_string() && done["merges"][0]["merged_into"].is_string(), "{done}");
    let statistics = client.call("get_memory_statistics", json!({"agent_id": "a"})).await.expect("counted");
    assert_eq!((&statistics["memories"], &statistics["archived_memories"]), (&json!(1), &json!(1)));
    assert_eq!(optimise("undo").await["restored"], 1);
    assert_eq!(optimise("purge").await["purged"], 0);
    optimise("optimize").await;
    assert_eq!(optimise("purge").await["purged"], 1);
    assert_eq!(optimise("undo").await["restored"], 0);
}

#[tokio::test]
async fn an_optimisation_that_breaks_off_tells_how_to_undo_it() {
    let client = connect().await;
    let dull = |number: usize| json!({"content": format!("dull fact {number}"), "importance": 0.1});
    for numbers in [0..1000, 1000..1001] {
        let batch = json!({"agent_id": "a", "memories": numbers.map(dull).collect::<Vec<_>>()});
        client.call("store_memory_batch", batch).await.expect("stored");
    }
    // A thousand are put away at once.
    let file = sqlx::sqlite::SqliteConnectOptions::new().filename(client.directory.path().join("memory.db"));
    let mut store = sqlx::ConnectOptions::connect(&file).await.expect("opens");
    let broken = "CREATE TRIGGER broken BEFORE UPDATE OF archived_at ON entries
        WHEN NEW.content = 'dull fact 1000' BEGIN SELECT RAISE(ABORT, 'out of order'); END";
    sqlx::query(broken).execute(&mut store).await.expect("made");
    let optimise = json!({"agent_id": "a", "archive_after_days": 0});
    let error = client.call("optimize_memory_storage", optimise.clone()).await.expect_err("broken");
    assert!(error.contains("out of order"), "{error}");
    assert!(error.contains("; 1000 of 1001 memories were put away before"), "{error}");
    let run_id = error.split('"').nth(1).expect("a run_id");
    let undo = json!({"agent_id": "a", "action": "undo", "run_id": run_id});
    let undone = client.call("optimize_memory_storage", undo).await.expect("undone");
    assert_eq!(undone["restored"], 1000);

    sqlx::query("DROP TRIGGER broken").execute(&mut store).await.expect("mended");
    let away = client.call("optimize_memory_storage", optimise).await.expect("done");
    assert_eq!(away["aged_out"], 1001);
}

#[tokio::test]
async fn memories_and_sessions_are_resources() {
    let client = connect().await;
    let stored =
        client.call("store_memory", json!({"agent_id": "a b", "content": "tea"})).await.expect("stored");
    let said = json!({"session_id": "s/1", "agent_id": "a b", "role": "user", "message": "hello"});
    client.call("store_conversation", said).await.expect("stored");
    let templates = client.service.list_all_resource_templates().await.expect("listed");
    assert_eq!(templates.len(), 2);
    let listed = client.service.list_all_resources().await.expect("listed");
    let id = stored["memory_id"].as_str().expect("an id");
    assert_eq!(listed[0].uri, format!("memory://a%20b/memories/{id}"));
    let read = async |uri: &str| {
        let read = client.service.read_resource(ReadResourceRequestParams::new(uri)).await;
        read.map(|result| serde_json::to_string(&result.contents).expect("JSON"))
    };
    assert!(read(&listed[0].uri).await.expect("read").contains("tea"));
    assert!(read("memory://a%20b/sessions/s%2F1").await.expect("read").contains("hello"));
    // The same ids under another agent are not there.
    for uri in [format!("memory://b/memories/{id}"), "memory://b/sessions/s%2F1".into(), "memory://".into()] {
        assert!(read(&uri).await.is_err(), "{uri}");
    }
}
