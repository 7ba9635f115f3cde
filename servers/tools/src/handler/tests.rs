//! The tools over HTTP, called as a client calls them: arguments in, results out.

use mcp_system_config::{ServerConfig, ToolsSettings};
use mcp_system_kit::{Overrides, Reloaded};
use rmcp::model::{CallToolRequestParams, Tool};
use rmcp::service::{RunningService, ServiceError};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use rmcp::{RoleClient, ServiceExt};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use tokio::net::TcpListener;

struct Client {
    service: RunningService<RoleClient, ()>,
    tools: BTreeMap<String, Tool>,
    url: String,
}

/// A server of its own, and a client of it.
async fn connect(allowed_hosts: &[&str]) -> Client {
    let mut config = ServerConfig::<ToolsSettings>::of_kind();
    config.settings.http_fetch.allowed_hosts = allowed_hosts.iter().map(|host| (*host).to_owned()).collect();
    connect_to(config.into()).await
}

async fn connect_to(settings: Reloaded<ToolsSettings>) -> Client {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let (server, follow) = crate::server(settings).expect("a server");
    tokio::spawn(follow);
    tokio::spawn(server.run_on(listener, std::future::pending()));
    let transport = StreamableHttpClientTransport::with_client(
        mcp_system_kit::http_client().expect("a client"),
        StreamableHttpClientTransportConfig::with_uri(format!("{url}/mcp")),
    );
    let service = ().serve(transport).await.expect("connects");
    let tools = service.list_all_tools().await.expect("lists");
    let tools = tools.into_iter().map(|tool| (tool.name.to_string(), tool)).collect();
    Client { service, tools, url }
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
        Ok(value)
    }
}

impl Client {
    /// The tools that are offered by now.
    async fn offered(&self) -> Vec<String> {
        let tools = self.service.list_all_tools().await.expect("lists");
        tools.into_iter().map(|tool| tool.name.to_string()).collect()
    }

    async fn comes_to_offer(&self, tool: &str) {
        while !self.offered().await.iter().any(|offered| offered == tool) {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }
}

fn names(answer: &Value) -> Vec<&str> {
    answer["tools"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|tool| tool["name"].as_str().expect("a name"))
        .collect()
}

#[tokio::test]
async fn each_tool_that_can_be_called_is_listed_with_its_schemas_and_hints() {
    let client = connect(&[]).await;
    let names: Vec<&str> = client.tools.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "execute_cache_delete",
            "execute_cache_get",
            "execute_cache_set",
            "execute_system_disks",
            "execute_system_info",
            "execute_system_processes",
            "get_tool_details",
            "list_tool_categories",
            "search_tools"
        ]
    );
    for (name, tool) in &client.tools {
        let annotations = tool.annotations.as_ref().expect("annotations");
        let writes = ["execute_cache_delete", "execute_cache_set"].contains(&name.as_str());
        assert_eq!(annotations.read_only_hint, Some(!writes), "{name}");
        assert!(tool.title.is_some() && tool.description.is_some() && tool.output_schema.is_some(), "{name}");
    }
    let with_fetch = connect(&["example.com"]).await;
    let fetch = &with_fetch.tools["execute_http_fetch"];
    assert_eq!(fetch.annotations.as_ref().and_then(|it| it.open_world_hint), Some(true));
}

#[tokio::test]
async fn tools_are_found_looked_up_and_listed() {
    let client = connect(&[]).await;
    let found = client
        .call("search_tools", json!({"query": "keep a value for later", "limit": 1}))
        .await
        .expect("found");
    assert_eq!(names(&found), ["cache_set"]);
    assert_eq!(found["tools"][0]["execute"], "execute_cache_set");
    let all = client.call("search_tools", json!({"query": "", "category": "cache"})).await.expect("found");
    assert_eq!(names(&all), ["cache_delete", "cache_get", "cache_set"]);

    let details = client.call("get_tool_details", json!({"tool_name": "cache_set"})).await.expect("known");
    assert_eq!(details["input_schema"]["required"], json!(["key", "value"]));
    let same =
        client.call("get_tool_details", json!({"tool_name": "execute_cache_set"})).await.expect("known");
    assert_eq!(details, same);

    let categories = client.call("list_tool_categories", json!({})).await.expect("listed");
    assert_eq!(categories["count"], 6);
    assert_eq!(categories["categories"][1]["tools"], json!(["cache_delete", "cache_get", "cache_set"]));
}

#[tokio::test]
async fn a_disabled_tool_is_found_with_the_reason() {
    let client = connect(&[]).await;
    let found = client.call("search_tools", json!({"query": "download a web page"})).await.expect("found");
    let fetch = &found["tools"][0];
    assert_eq!((&fetch["name"], &fetch["enabled"]), (&json!("http_fetch"), &json!(false)));
    assert!(fetch["disabled_reason"].as_str().expect("a reason").contains("httpFetch.allowedHosts"));
    let error =
        client.call("execute_http_fetch", json!({"url": "http://example.com"})).await.expect_err("disabled");
    assert!(error.contains("is disabled: no host may be fetched from"), "{error}");
}

#[tokio::test]
async fn a_value_is_cached_until_it_is_deleted_or_expires() {
    let client = connect(&[]).await;
    for value in [json!({"a": [1, null]}), json!(null), json!("text")] {
        client
            .call("execute_cache_set", json!({"key": "k", "value": value, "ttl_seconds": 60}))
            .await
            .expect("kept");
        let got = client.call("execute_cache_get", json!({"key": "k"})).await.expect("got");
        assert_eq!((&got["found"], &got["value"]), (&json!(true), &value));
        assert!(got["expires_in_seconds"].as_u64().is_some_and(|seconds| (50..=60).contains(&seconds)));
    }
    let deleted = client.call("execute_cache_delete", json!({"key": "k"})).await.expect("deleted");
    assert_eq!(deleted["deleted"], true);
    let got = client.call("execute_cache_get", json!({"key": "k"})).await.expect("answered");
    assert_eq!(got, json!({"key": "k", "found": false}));

    let kept = client.call("execute_cache_set", json!({"key": "k", "value": 1, "ttl_seconds": 1}));
    assert_eq!(kept.await.expect("kept")["expires_in_seconds"], 1);
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    let got = client.call("execute_cache_get", json!({"key": "k"})).await.expect("answered");
    assert_eq!(got["found"], false);

    let http = mcp_system_kit::http_client().expect("a client");
    let metrics = http.get(format!("{}/metrics", client.url)).send().await.expect("answered");
    let metrics = metrics.text().await.expect("text");
    assert!(metrics.contains("mcp_tools_cache_lookups_total{result=\"hit\"} 3"), "{metrics}");
    assert!(metrics.contains("mcp_tools_cache_lookups_total{result=\"miss\"} 2"), "{metrics}");
}

#[tokio::test]
async fn a_call_that_cannot_be_carried_out_says_what_to_change() {
    let client = connect(&[]).await;
    for (tool, arguments, expected) in [
        ("execute_cache_set", json!({"key": "k"}), "\"value\" is a required property"),
        ("execute_cache_set", json!({"key": "k", "value": 1, "ttl_seconds": 0}), "/ttl_seconds: 0 is"),
        ("execute_cache_get", json!({"key": ""}), "/key: \"\" is shorter than 1 character"),
        ("execute_cache_get", json!({"key": "k", "kee": 1}), "('kee' was unexpected)"),
        ("get_tool_details", json!({"tool_name": "cache_gte"}), "did you mean cache_get"),
        (
            "search_tools",
            json!({"query": "x", "category": "cash"}),
            "did you mean cache? there are ai, cache, ",
        ),
        ("search_tools", json!({"query": "x", "limit": 0}), "limit is 0; it must be a number from 1 to 100"),
        ("search_tools", json!({}), "missing field `query`"),
    ] {
        let error = client.call(tool, arguments).await.expect_err(expected);
        assert!(error.contains(expected), "{error}");
    }
    let unknown = client.service.call_tool(CallToolRequestParams::new("execute_cache_gett")).await;
    let Err(ServiceError::McpError(error)) = unknown else { panic!("an unknown tool is a protocol error") };
    assert_eq!(error.code, rmcp::model::ErrorCode::INVALID_PARAMS);
    assert!(error.message.contains("did you mean cache_get"), "{}", error.message);
}

#[tokio::test]
async fn the_machine_is_described() {
    let client = connect(&[]).await;
    let info = client.call("execute_system_info", json!({})).await.expect("described");
    assert!(info["memory"]["total_bytes"].as_u64().is_some_and(|bytes| bytes > 0), "{info}");
}

#[tokio::test]
async fn changed_settings_give_other_tools_without_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("tools.yaml");
    std::fs::write(&file, "settings: {cache: {maxEntries: 10}}").expect("written");
    let settings = Reloaded::load(Some(&file), |_| None, Overrides::default()).expect("loads");
    let client = connect_to(settings).await;
    client.call("execute_cache_set", json!({"key": "k", "value": 1})).await.expect("kept");
    let changed = "
settings:
  cache: {maxEntries: 20}
  httpFetch: {allowedHosts: [example.com]}
  userTools:
  - {name: weather, description: Tells the weather., http: {url: 'http://127.0.0.1:1/weather'}}
";
    std::fs::write(&file, changed).expect("written");
    client.comes_to_offer("execute_weather").await;
    assert!(client.offered().await.contains(&"execute_http_fetch".to_owned()));
    let found = client.call("search_tools", json!({"query": "weather"})).await.expect("found");
    assert_eq!(found["tools"][0]["name"], "weather");
    let kept = client.call("execute_cache_get", json!({"key": "k"})).await.expect("answered");
    assert_eq!(kept["value"], 1, "what was cached stays");
}

#[tokio::test]
async fn a_changed_document_gives_other_tools_and_one_that_is_gone_leaves_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("api.json");
    let document = |operation: &str| {
        json!({
            "openapi": "3.0.3", "info": {"title": "Shop", "version": "1"}, "servers": [{"url": "http://shop.example"}],
            "paths": {"/it": {"get": {
                "operationId": operation, "summary": "Gets it.", "responses": {"200": {"description": "It."}},
            }}},
        })
        .to_string()
    };
    std::fs::write(&file, document("order")).expect("written");
    let path = file.to_str().expect("UTF-8");
    let settings = json!({"settings": {"userTools": [{"name": "shop", "openApi": {"file": path}}]}});
    let config = ServerConfig::<ToolsSettings>::parse(&settings.to_string()).expect("settings");
    let client = connect_to(config.into()).await;
    client.comes_to_offer("execute_shop_order").await;
    std::fs::write(&file, document("parcel")).expect("written");
    client.comes_to_offer("execute_shop_parcel").await;
    assert!(!client.offered().await.contains(&"execute_shop_order".to_owned()));
    std::fs::remove_file(&file).expect("removed");
    tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
    assert!(client.offered().await.contains(&"execute_shop_parcel".to_owned()));
    std::fs::write(&file, document("receipt")).expect("written");
    client.comes_to_offer("execute_shop_receipt").await;
}
