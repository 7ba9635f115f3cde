//! The six tools over HTTP, on a real Weaviate with an API key.

use mcp_system_config::{Resilience, Retry, ServerConfig, WeaviateDirectSettings};
use mcp_system_tests::databases::{Access, Database, weaviate};
use mcp_system_weaviate::{Connection, Weaviate};
use rmcp::model::{CallToolRequestParams, Tool};
use rmcp::service::RunningService;
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use rmcp::{RoleClient, ServiceExt};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::net::TcpListener;

const KEY: &str = "only-for-tests";

/// A Weaviate, a server before it, and a client of that.
struct Stage {
    database: Database,
    weaviate: Weaviate,
    service: RunningService<RoleClient, ()>,
    tools: BTreeMap<String, Tool>,
    url: String,
}

impl Stage {
    async fn set(key: &str) -> Self {
        let database = tokio::task::block_in_place(|| weaviate(Access::Key(KEY))).expect("a Weaviate");
        let resilience = Resilience {
            failure_threshold: 3,
            recovery_seconds: 1,
            retry: Retry { attempts: 2, min_backoff_milliseconds: 10, max_backoff_milliseconds: 20 },
            ..Resilience::default()
        };
        let mut config = ServerConfig::<WeaviateDirectSettings>::of_kind();
        config.settings.url = database.url().to_owned();
        config.resilience = resilience.clone();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let server = mcp_system_weaviate_direct::server(config, Some(key.to_owned())).expect("a server");
        tokio::spawn(server.run_on(listener, std::future::pending()));
        let transport = StreamableHttpClientTransport::with_client(
            mcp_system_kit::http_client().expect("a client"),
            StreamableHttpClientTransportConfig::with_uri(format!("{url}/mcp")),
        );
        let service = ().serve(transport).await.expect("connects");
        let tools = service.list_all_tools().await.expect("lists");
        let tools = tools.into_iter().map(|tool| (tool.name.to_string(), tool)).collect();
        let connection = Connection {
            url: database.url().to_owned(),
            api_key: Some(KEY.to_owned()),
            deadline: Duration::from_mins(1),
            max_answer_bytes: 1 << 24,
            resilience,
        };
        let weaviate = Weaviate::new(&connection).expect("a client");
        Self { database, weaviate, service, tools, url }
    }

    async fn call(&self, tool: &str, arguments: Value) -> Result<Value, String> {
        let Value::Object(arguments) = arguments else { panic!("{arguments} is no object") };
        let call = CallToolRequestParams::new(tool.to_owned()).with_arguments(arguments);
        let result = self.service.call_tool(call).await.expect("a result, not a protocol error");
        if result.is_error == Some(true) {
            return Err(result.content[0].as_text().expect("words").text.clone());
        }
        let value = result.structured_content.expect("structured");
        let schema = self.tools[tool].output_schema.as_ref().expect("an output schema");
        jsonschema::validate(&Value::Object(schema.as_ref().clone()), &value).expect("fits the schema");
        Ok(value)
    }

    async fn ok(&self, tool: &str, arguments: Value) -> Value {
        let told = arguments.to_string();
        self.call(tool, arguments).await.unwrap_or_else(|error| panic!("{tool} {told}: {error}"))
    }

    async fn titles(&self, search: Value) -> Vec<String> {
        let mut arguments = json!({"collection": "Article", "query": "harbour"});
        arguments.as_object_mut().expect("an object").extend(search.as_object().expect("an object").clone());
        let found = self.ok("hybrid_search", arguments).await;
        let titles = found["objects"].as_array().expect("a list").iter();
        titles.map(|object| object["properties"]["title"].as_str().expect("a title").to_owned()).collect()
    }
}

fn id(number: u32) -> String {
    format!("00000000-0000-0000-0000-{number:012}")
}

/// Articles with a vector of the caller's, people with two, notes by tenant.
async fn define(weaviate: &Weaviate) {
    let property = |name: &str, kind: &str| json!({"name": name, "dataType": [kind]});
    let people = json!({
        "class": "Person",
        "vectorConfig": {
            "face": {"vectorizer": {"none": {}}, "vectorIndexType": "hnsw"},
            "voice": {"vectorizer": {"none": {}}, "vectorIndexType": "hnsw"},
        },
        "properties": [property("name", "text")],
    });
    let articles = json!({
        "class": "Article",
        "vectorizer": "none",
        "invertedIndexConfig": {"indexNullState": true, "indexTimestamps": true},
        "properties": [
            property("title", "text"), property("tags", "text[]"), property("pages", "int"),
            property("price", "number"), property("sold", "boolean"), property("printed", "date"),
            property("place", "geoCoordinates"), property("author", "Person"),
            {"name": "exact", "dataType": ["text"], "tokenization": "field"},
            {"name": "size", "dataType": ["object"], "nestedProperties": [property("width", "int")]},
        ],
    });
    let notes = json!({
        "class": "Note", "vectorizer": "none", "multiTenancyConfig": {"enabled": true},
        "properties": [property("text", "text")],
    });
    for definition in [people, articles, notes] {
        weaviate.create_collection(&definition).await.expect("made");
    }
    weaviate.create_tenants("Note", &["north", "south"]).await.expect("made");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_six_tools_on_a_real_weaviate() {
    let mut stage = Stage::set(KEY).await;
    define(&stage.weaviate).await;
    schema(&stage).await;
    objects(&stage).await;
    searches(&stage).await;
    several_vectors(&stage).await;
    tenants(&stage).await;
    no_text_changes_a_filter(&stage).await;
    raw(&stage).await;
    health(&mut stage).await;
}

async fn schema(stage: &Stage) {
    let all = stage.ok("get_schema", json!({})).await;
    assert_eq!(all["count"], 3);
    assert_eq!(all["collections"][0]["name"], "Article");
    assert_eq!(all["collections"][2]["vector_names"], json!(["face", "voice"]));
    let one = stage.ok("get_schema", json!({"collection": "Note", "include_tenants": true})).await;
    assert_eq!(one["collections"][0]["definition"]["class"], "Note");
    assert_eq!(one["collections"][0]["tenants"].as_array().expect("tenants").len(), 2);
    let error = stage.call("get_schema", json!({"collection": "Nothing"})).await.expect_err("none");
    assert!(error.contains("its collections: Article, Note, Person"), "{error}");
}

async fn objects(stage: &Stage) {
    stage
        .ok(
            "add_object",
            json!({"collection": "Person", "id": id(9), "properties": {"name": "Ada"},
                                  "vectors": {"face": [1.0, 0.0], "voice": [0.0, 1.0]}}),
        )
        .await;
    let article = |number: u32, title: &str, more: Value| {
        let mut properties = json!({"title": title, "pages": number * 10, "price": f64::from(number) + 0.5,
                                    "sold": number.is_multiple_of(2), "printed": format!("202{number}-01-01T00:00:00Z")});
        properties.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        properties
    };
    let beacon = json!([{"beacon": format!("weaviate://localhost/Person/{}", id(9))}]);
    let more = json!({"tags": ["sea", "ship"], "size": {"width": 7}, "author": beacon,
                      "place": {"latitude": 53.5, "longitude": 10.0}});
    let added = stage.ok("add_object", json!({"collection": "article", "objects": [
        {"id": id(1), "properties": article(1, "the harbour crane", more), "vector": [1.0, 0.0]},
        {"id": id(2), "properties": article(2, "harbour at night", json!({"tags": ["night"]})), "vector": [0.0, 1.0]},
        {"id": id(3), "properties": article(3, "a soup", json!({})), "vector": [0.7, 0.7]},
        {"id": id(4), "properties": {"title": "broken", "pages": "many"}, "vector": [0.7, 0.7]},
    ]})).await;
    assert_eq!((&added["added"], &added["failed"]), (&json!(3), &json!(1)));
    assert!(added["objects"][3]["error"].as_str().expect("an error").contains("pages"), "{added}");

    let twice = json!({"collection": "Article", "id": id(3), "properties": {"title": "a soup again"}});
    let error = stage.call("add_object", twice.clone()).await.expect_err("there already");
    assert!(error.contains("already exists") && error.contains("replace_existing"), "{error}");
    let mut replacing = twice;
    replacing["replace_existing"] = json!(true);
    replacing["properties"] = article(3, "a soup", json!({}));
    replacing["vector"] = json!([0.7, 0.7]);
    stage.ok("add_object", replacing).await;

    let one =
        stage.ok("get_object", json!({"collection": "Article", "id": id(1), "include_vector": true})).await;
    assert_eq!(one["objects"][0]["properties"]["pages"], 10);
    assert_eq!(one["objects"][0]["vector"], json!([1.0, 0.0]));
    let first = stage.ok("get_object", json!({"collection": "Article", "limit": 2})).await;
    let rest = json!({"collection": "Article", "limit": 2, "after": first["next_after"]});
    let rest = stage.ok("get_object", rest).await;
    assert_eq!((&rest["count"], &rest["objects"][0]["id"]), (&json!(1), &json!(id(3))));
    let sorted =
        json!({"collection": "Article", "sort_by": "pages", "descending": true, "limit": 1, "offset": 1});
    assert_eq!(stage.ok("get_object", sorted).await["objects"][0]["id"], id(2));

    stage
        .ok(
            "add_object",
            json!({"collection": "Article", "id": id(5), "properties": {}, "vector": [0.1, 0.1]}),
        )
        .await;
    let gone = json!({"collection": "Article", "id": id(5)});
    assert_eq!(stage.ok("delete_object", gone.clone()).await["deleted"], true);
    assert_eq!(stage.ok("delete_object", gone.clone()).await["deleted"], false);
    let error = stage.call("get_object", gone).await.expect_err("gone");
    assert!(error.contains("has no object"), "{error}");
}

async fn searches(stage: &Stage) {
    assert_eq!(stage.titles(json!({})).await.len(), 2, "by words alone");
    let near = json!({"vector": [1.0, 0.0], "alpha": 1, "limit": 1});
    assert_eq!(stage.titles(near).await, ["the harbour crane"]);
    let ranked = json!({"vector": [0.0, 1.0], "alpha": 0.5, "fusion_type": "ranked", "limit": 1});
    assert_eq!(stage.titles(ranked).await, ["harbour at night"]);
    assert_eq!(
        stage.titles(json!({"query": "harbour crane", "all_words": true})).await,
        ["the harbour crane"]
    );
    assert_eq!(stage.titles(json!({"limit": 1, "offset": 1})).await.len(), 1);
    for (filter, expected) in [
        (json!({"operator": "Equal", "path": "title", "value": "crane"}), "the harbour crane"),
        (json!({"operator": "GreaterThan", "path": "pages", "value": 15}), "harbour at night"),
        (json!({"operator": "LessThan", "path": "price", "value": 2}), "the harbour crane"),
        (json!({"operator": "Equal", "path": "sold", "value": true}), "harbour at night"),
        (
            json!({"operator": "LessThan", "path": "printed", "value": "2021-06-01T00:00:00Z"}),
            "the harbour crane",
        ),
        (json!({"operator": "Like", "path": "title", "value": "n?ght"}), "harbour at night"),
        (json!({"operator": "ContainsAny", "path": "tags", "value": ["ship", "none"]}), "the harbour crane"),
        (
            json!({"operator": "And", "operands": [
            {"operator": "IsNull", "path": "exact", "value": true},
            {"operator": "IsNull", "path": "pages", "value": false},
            {"operator": "Equal", "path": "pages", "value": 10}]}),
            "the harbour crane",
        ),
        (
            json!({"operator": "WithinGeoRange", "path": "place", "value":
            {"latitude": 53.5, "longitude": 10.0, "max_distance_meters": 1000}}),
            "the harbour crane",
        ),
        (
            json!({"operator": "Equal", "path": ["author", "Person", "name"], "value": "Ada"}),
            "the harbour crane",
        ),
        (
            json!({"operator": "Not", "operands": [
            {"operator": "Equal", "path": "id", "value": id(1)}]}),
            "harbour at night",
        ),
        (
            json!({"operator": "And", "operands": [
            {"operator": "GreaterThan", "path": "_creationTimeUnix", "value": "2020-01-01T00:00:00Z"},
            {"operator": "Or", "operands": [
                {"operator": "Equal", "path": "pages", "value": 20},
                {"operator": "Equal", "path": "pages", "value": 99}]}]}),
            "harbour at night",
        ),
    ] {
        assert_eq!(stage.titles(json!({"filter": filter})).await, [expected], "{filter}");
    }
    let found = stage
        .ok(
            "hybrid_search",
            json!({
                "collection": "Article", "query": "crane", "vector": [1.0, 0.0], "limit": 1,
                "return_properties": ["title", "size.width", "author.name", "place"],
                "return_metadata": ["explain_score", "creation_time", "last_update_time", "vector"],
            }),
        )
        .await;
    let best = &found["objects"][0];
    assert_eq!(best["properties"]["author"][0]["name"], "Ada");
    assert_eq!(best["properties"]["size"]["width"], 7);
    assert_eq!(best["metadata"]["vector"], json!([1, 0]));
    assert!(best["metadata"]["explainScore"].is_string() && best["score"].as_f64().expect("a score") > 0.0);
    assert_eq!(found["next_offset"], 1);
    let wrong = json!({"collection": "Article", "query": "x", "vector": [1.0, 2.0, 3.0], "alpha": 1});
    let error = stage.call("hybrid_search", wrong).await.expect_err("another length");
    assert!(error.contains("vector"), "{error}");
    let none = json!({"collection": "Article", "query": "x", "alpha": 0.5});
    let error = stage.call("hybrid_search", none).await.expect_err("no vector");
    assert!(error.contains("give a vector, or set alpha to 0"), "{error}");
}

async fn several_vectors(stage: &Stage) {
    stage
        .ok(
            "add_object",
            json!({"collection": "Person", "id": id(8), "properties": {"name": "Bob"},
                                  "vectors": {"face": [0.0, 1.0], "voice": [1.0, 0.0]}}),
        )
        .await;
    let find = async |more: Value| {
        let mut arguments = json!({"collection": "Person", "query": "", "alpha": 1, "limit": 1});
        arguments.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        stage.ok("hybrid_search", arguments).await["objects"][0]["properties"]["name"].clone()
    };
    assert_eq!(find(json!({"vectors": {"face": [1.0, 0.0]}})).await, "Ada");
    assert_eq!(find(json!({"vectors": {"voice": [1.0, 0.0]}})).await, "Bob");
    let both = json!({"face": [1.0, 0.0], "voice": [1.0, 0.0]});
    let weights = |face: f64, voice: f64| {
        json!({"vectors": both, "combination": "manual_weights",
                                                 "weights": {"face": face, "voice": voice}})
    };
    assert_eq!(find(weights(2.0, 1.0)).await, "Ada");
    assert_eq!(find(weights(1.0, 2.0)).await, "Bob");
}

async fn tenants(stage: &Stage) {
    let note =
        json!({"collection": "Note", "tenant": "north", "id": id(1), "properties": {"text": "cold wind"}});
    stage.ok("add_object", note).await;
    let search = |tenant: &str| json!({"collection": "Note", "query": "wind", "tenant": tenant});
    assert_eq!(stage.ok("hybrid_search", search("north")).await["count"], 1);
    assert_eq!(stage.ok("hybrid_search", search("south")).await["count"], 0);
    let error = stage.call("hybrid_search", search("east")).await.expect_err("no such tenant");
    assert!(error.contains("include_tenants"), "{error}");
    let error = stage
        .call("hybrid_search", json!({"collection": "Note", "query": "x"}))
        .await
        .expect_err("no tenant");
    assert!(error.contains("name the tenant"), "{error}");
    let read = |tenant: &str| json!({"collection": "Note", "tenant": tenant, "id": id(1)});
    assert_eq!(stage.ok("get_object", read("north")).await["objects"][0]["tenant"], "north");
    assert!(stage.call("get_object", read("south")).await.is_err());
}

/// Weaviate's own parser reads back what was written.
async fn no_text_changes_a_filter(stage: &Stage) {
    let strange =
        ["\"}) { x } }", "\\", "\\\"", "line\nbreak\r\ttab", "\u{1F600} \u{2028}", "{{ ]] ((", "\u{8}\u{c}"];
    for (number, text) in (100..).zip(strange) {
        let object = json!({"collection": "Article", "id": id(number), "vector": [0.5, 0.5],
                            "properties": {"title": "strange", "exact": text}});
        stage.ok("add_object", object).await;
        let filter = json!({"operator": "Equal", "path": "exact", "value": text});
        let search = json!({"collection": "Article", "query": text, "vector": [0.5, 0.5], "alpha": 1, "filter": filter});
        let found = stage.ok("hybrid_search", search).await;
        assert_eq!(
            (&found["count"], &found["objects"][0]["id"]),
            (&json!(1), &json!(id(number))),
            "{text:?}"
        );
    }
}

async fn raw(stage: &Stage) {
    let count =
        stage.ok("raw_graphql_query", json!({"query": "{ Aggregate { Person { meta { count } } } }"})).await;
    assert_eq!(count["data"]["Aggregate"]["Person"][0]["meta"]["count"], 2);
    let several = "query A { Get { Person { name } } } query B { Aggregate { Person { meta { count } } } }";
    let one = stage.ok("raw_graphql_query", json!({"query": several, "operation_name": "B"})).await;
    assert!(one["data"].get("Get").is_none());
    let error = stage.call("raw_graphql_query", json!({"query": "{ Get { Nothing { x } } }"})).await;
    assert!(error.expect_err("no such collection").contains("Nothing"));
    let error = stage.call("raw_graphql_query", json!({"query": "{ Get {"})).await.expect_err("half a query");
    assert!(error.contains("Syntax Error"), "{error}");
}

async fn health(stage: &mut Stage) {
    let tools: Vec<&str> = stage.tools.keys().map(String::as_str).collect();
    let expected =
        ["add_object", "delete_object", "get_object", "get_schema", "hybrid_search", "raw_graphql_query"];
    assert_eq!(tools, expected);
    assert!(stage.tools.values().all(|tool| tool.annotations.is_some() && tool.output_schema.is_some()));
    tokio::task::block_in_place(|| stage.database.kill()).expect("killed");
    let call = json!({"query": "{ Get { Person { name } } }"});
    let error = stage.call("raw_graphql_query", call.clone()).await.expect_err("no database");
    assert!(error.contains("Weaviate"), "{error}");
    loop {
        let error = stage.call("raw_graphql_query", call.clone()).await.expect_err("no database");
        if error.contains("left alone") {
            break;
        }
    }
    let report = async |url: &str| -> Value {
        let answer = reqwest::get(format!("{url}/mcp/weaviate_direct/health")).await.expect("answers");
        answer.json().await.expect("JSON")
    };
    while report(&stage.url).await["dependencies"]["weaviate"]["status"] == "healthy" {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    tokio::task::block_in_place(|| stage.database.start()).expect("started");
    while stage.call("raw_graphql_query", call.clone()).await.is_err() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_key_is_told() {
    let stage = Stage::set("another").await;
    let error = stage.call("get_schema", json!({})).await.expect_err("refused");
    assert!(error.contains("refused the API key (401)"), "{error}");
    let looking = async || loop {
        let answer = reqwest::get(format!("{}/health", stage.url)).await.expect("answers");
        let report: Value = answer.json().await.expect("JSON");
        let weaviate = &report["dependencies"]["weaviate"];
        if weaviate["status"] != "unknown" {
            break weaviate["message"].as_str().unwrap_or_default().to_owned();
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let told = tokio::time::timeout(Duration::from_mins(1), looking()).await.expect("health is known");
    assert!(told.contains("refused the API key (401)"), "{told}");
}
