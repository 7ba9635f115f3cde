//! Declared tools on a real server and a real database.

use super::*;
use crate::registry::Registry;
use crate::tool::Call;
use axum::extract::{Json, Path, Query};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Redirect;
use axum::routing::{get, post};
use mcp_system_config::ToolsSettings;
use mcp_system_kit::Metrics;
use serde_json::json;
use std::collections::HashMap;
use tokio::net::TcpListener;

async fn serve() -> String {
    let seen = |headers: HeaderMap| {
        headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or("none").to_owned()
    };
    let routes = axum::Router::new()
        .route(
            "/items/{id}",
            get(
                async move |Path(id): Path<String>,
                            Query(query): Query<HashMap<String, String>>,
                            headers: HeaderMap| {
                    Json(json!({"id": id, "q": query.get("q"), "key": seen(headers)}))
                },
            ),
        )
        .route("/items", post(async |Json(body): Json<Value>| (StatusCode::CREATED, Json(body))))
        .route("/refused", get(async || (StatusCode::CONFLICT, "it is taken")))
        .route("/text", get(async || "plain"))
        .route("/unable", get(async || (StatusCode::SERVICE_UNAVAILABLE, "not now")))
        .route(
            "/away/{port}",
            get(async |Path(port): Path<u16>| {
                Redirect::temporary(&format!("http://127.0.0.1:{port}/items/1"))
            }),
        )
        .route("/out", get(async || Redirect::temporary("http://169.254.169.254/latest/meta-data")));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let base = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(async move { axum::serve(listener, routes).await });
    base
}

fn registry(yaml: &str) -> (Registry, Stock, Metrics) {
    let settings: ToolsSettings =
        serde_json::from_value(serde_yaml::from_str(yaml).expect("YAML")).expect("settings");
    let environment: Environment = Arc::new(|name| (name == "KEY").then(|| "s3cret".to_owned()));
    let metrics = Metrics::new("tools");
    let stock = Stock::with_environment(&settings, &metrics, environment).expect("a stock");
    (stock.registry(&settings).expect("a registry"), stock, metrics)
}

async fn call(registry: &Registry, tool: &str, arguments: Value) -> Result<Value, String> {
    let Value::Object(arguments) = arguments else { panic!("no object") };
    registry
        .get(tool)
        .unwrap_or_else(|| panic!("{tool} is not offered"))
        .execute(arguments, Call::default())
        .await
        .map_err(|failure| failure.0)
}

#[tokio::test]
async fn a_template_is_filled_sent_and_answered() {
    let (base, other) = (serve().await, serve().await);
    let port = other.rsplit(':').next().expect("a port");
    let (registry, ..) = registry(&format!(
        "
userTools:
- name: item
  description: Gets an item.
  inputSchema: {{properties: {{id: {{type: string}}, q: {{type: string, default: all}}}}, required: [id]}}
  http:
    url: '{base}/items/{{{{id}}}}'
    query: [{{name: q, value: '{{{{q}}}}'}}]
    headers: [{{name: Authorization, value: 'Bearer {{{{env.KEY}}}}'}}]
- name: add
  description: Adds an item.
  inputSchema: {{properties: {{name: {{type: string}}, tags: {{type: array}}}}, required: [name]}}
  http: {{method: POST, url: '{base}/items', body: '{{\"name\": \"{{{{name}}}}\", \"tags\": {{{{tags}}}}}}'}}
- {{name: refused, description: x, http: {{url: '{base}/refused'}}}}
- {{name: text, description: x, http: {{url: '{base}/text'}}}}
- {{name: out, description: x, http: {{url: '{base}/out'}}}}
- name: away
  description: x
  http: {{url: '{base}/away/{port}', headers: [{{name: Authorization, value: '{{{{env.KEY}}}}'}}]}}
"
    ));
    let item = call(&registry, "item", json!({"id": "a/ü"})).await.expect("answered");
    assert_eq!(item["body"], json!({"id": "a/ü", "q": "all", "key": "Bearer s3cret"}));
    let add = call(&registry, "execute_add", json!({"name": "\"x\"", "tags": [1]})).await.expect("answered");
    assert_eq!((&add["status"], &add["body"]), (&json!(201), &json!({"name": "\"x\"", "tags": [1]})));
    let text = call(&registry, "text", json!({})).await.expect("answered");
    assert_eq!(text["body"], "plain");
    let away = call(&registry, "away", json!({})).await.expect("answered");
    assert_eq!(away["body"]["key"], "none", "a secret does not go to another origin");
    for (tool, arguments, expected) in [
        ("refused", json!({}), "127.0.0.1 answered with status 409: it is taken"),
        ("out", json!({}), "169.254.169.254 is not among the hosts"),
        ("item", json!({"id": ".."}), "leads elsewhere"),
        ("item", json!({"id": 1}), "/id: 1 is not of type \"string\""),
        ("item", json!({"id": "1", "quick": true}), "('quick' was unexpected)"),
    ] {
        let error = call(&registry, tool, arguments).await.expect_err(expected);
        assert!(error.contains(expected), "{error}");
    }
}

#[tokio::test]
async fn a_document_makes_a_tool_of_each_operation() {
    let base = serve().await;
    let document = r"
      openapi: 3.1.0
      paths:
        /items/{id}:
          get:
            operationId: getItem
            summary: Gets an item.
            parameters:
            - {name: id, in: path, required: true, schema: {type: string}}
            - {name: q, in: query, schema: {type: string}}
        /items:
          post: {operationId: addItem, requestBody: {content: {application/json: {schema: {type: object}}}}}
    ";
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("api.yaml");
    std::fs::write(&file, document).expect("written");
    let (registry, ..) = registry(&format!(
        "userTools: [{{name: api, openApi: {{file: '{}', server: '{base}'}}}}]",
        file.display()
    ));
    let item = call(&registry, "api_get_item", json!({"id": "7", "q": "b c"})).await.expect("answered");
    assert_eq!(item["body"], json!({"id": "7", "q": "b c", "key": "none"}));
    let added = call(&registry, "api_add_item", json!({"body": {"a": 1}})).await.expect("answered");
    assert_eq!(added["body"], json!({"a": 1}));
}

#[tokio::test]
async fn a_document_that_becomes_unusable_is_told_and_its_tools_stay() {
    use mcp_system_kit::Dependency;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("api.yaml");
    let write = |text: &str| std::fs::write(&file, text).expect("written");
    write("{openapi: 3.1.0, servers: [{url: 'http://a.test'}], paths: {/x: {get: {operationId: look}}}}");
    let yaml = format!("userTools: [{{name: api, openApi: {{file: '{}'}}}}]", file.display());
    let (first, stock, _) = registry(&yaml);
    assert!(first.get("api_look").is_some());
    let settings = serde_yaml::from_str(&yaml).expect("settings");
    let told = async || stock.dependencies().pop().expect("a part of health").1.check().await;
    // Twice, since what is in force then was not read just before.
    for _ in 0..2 {
        write("openapi: [");
        assert!(stock.registry(&settings).expect("a registry").get("api_look").is_some());
        let why = told().await.expect_err("something is wrong");
        assert!(why.contains("its tools stay as they were"), "{why}");
    }
    write("{openapi: 3.1.0, servers: [{url: 'http://a.test'}], paths: {/x: {get: {operationId: see}}}}");
    let mended = stock.registry(&settings).expect("a registry");
    assert!(mended.get("api_see").is_some() && mended.get("api_look").is_none());
    told().await.expect("nothing is wrong");
}

#[tokio::test]
async fn a_statement_reads_or_writes_as_it_says() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("shop.db");
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path).create_if_missing(true);
    let pool = sqlx::SqlitePool::connect_with(options).await.expect("created");
    sqlx::raw_sql("CREATE TABLE orders (id INTEGER PRIMARY KEY, customer TEXT)")
        .execute(&pool)
        .await
        .expect("filled");
    let (registry, ..) = registry(&format!(
        "
databases: [{{name: shop, url: 'sqlite:{}'}}]
userTools:
- name: order
  description: Adds an order.
  inputSchema: {{properties: {{customer: {{type: string}}}}, required: [customer]}}
  sql: {{database: shop, write: true, statement: 'INSERT INTO orders (customer) VALUES ({{{{customer}}}})'}}
- name: orders
  description: Lists orders.
  inputSchema: {{properties: {{customer: {{type: string}}}}}}
  sql:
    database: shop
    statement: 'SELECT id, customer FROM orders WHERE {{{{customer}}}} IS NULL OR customer = {{{{customer}}}}'
",
        path.display()
    ));
    let customer = "x'); DROP TABLE orders; --";
    let added = call(&registry, "order", json!({"customer": customer})).await.expect("written");
    assert_eq!(added["rows_affected"], 1);
    for arguments in [json!({}), json!({"customer": customer})] {
        let orders = call(&registry, "orders", arguments).await.expect("read");
        assert_eq!(orders["rows"], json!([[1, customer]]));
    }
    let none = call(&registry, "orders", json!({"customer": "y"})).await.expect("read");
    assert_eq!(none["row_count"], 0);
}

#[tokio::test]
async fn what_fails_again_and_again_is_left_alone_and_the_other_tools_work() {
    use mcp_system_config::Resilience;
    use mcp_system_kit::Dependency;
    use mcp_system_kit::breaker::State;
    let base = serve().await;
    let (registry, stock, _) = registry(&format!(
        "
userTools:
- {{name: text, description: x, http: {{url: '{base}/text'}}}}
- {{name: unable, description: x, http: {{url: '{base}/unable'}}}}
- {{name: refused, description: x, http: {{url: '{base}/refused'}}}}
"
    ));
    stock.guards.set(&Resilience { failure_threshold: 2, ..Resilience::default() });
    for expected in ["status 503: not now", "status 503: not now", "left alone"] {
        let error = call(&registry, "unable", json!({})).await.expect_err(expected);
        assert!(error.contains(expected), "{error}");
        let error = call(&registry, "refused", json!({})).await.expect_err("it works, and says no");
        assert!(error.contains("status 409"), "{error}");
    }
    assert!(call(&registry, "text", json!({})).await.is_ok());
    let mut parts = stock.dependencies().into_iter();
    let (_, health) = parts.find(|(name, _)| *name == guards::USER_TOOLS).expect("a part of health");
    assert_eq!(health.circuit_breaker(), Some(State::Open));
    assert_eq!(health.details()["circuit_breakers"], json!({"unable": "open"}));
    let told = health.check().await.expect_err("one is left alone");
    assert!(told.starts_with("unable: it failed"), "{told}");
}

#[tokio::test]
async fn a_bad_one_is_left_out_and_told_and_the_others_work() {
    use mcp_system_kit::Dependency;
    let base = serve().await;
    let (registry, stock, metrics) = registry(&format!(
        "
userTools:
- {{name: text, description: x, http: {{url: '{base}/text'}}}}
- {{name: bad, description: x, http: {{url: '{base}/{{{{id}}}}'}}}}
- {{name: keyless, description: x, http: {{url: '{base}', headers: [{{name: X, value: '{{{{env.NO_KEY}}}}'}}]}}}}
- {{name: api, openApi: {{file: /nowhere/api.yaml}}}}
"
    ));
    assert!(call(&registry, "text", json!({})).await.is_ok());
    assert!(["bad", "keyless", "api"].iter().all(|name| registry.get(name).is_none()));
    let (name, health) = stock.dependencies().pop().expect("a part of health");
    let told = health.check().await.expect_err("something is wrong");
    assert_eq!(name, "settings");
    for expected in [
        "userTools[bad]: http: url: there is no argument \"id\"",
        "userTools[keyless]: the environment variable NO_KEY is not set",
        "userTools[api]: openApi.file: /nowhere/api.yaml",
    ] {
        assert!(told.contains(expected), "{told}");
    }
    let families = metrics.registry().gather();
    let gauge = families.iter().find(|family| family.name() == "mcp_tools_user_tools").expect("measured");
    let mut values: Vec<_> = gauge.get_metric().iter().map(|metric| metric.get_gauge().get_value()).collect();
    values.sort_by(f64::total_cmp);
    assert_eq!(values, [1.0, 3.0]);
}
