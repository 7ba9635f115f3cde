//! The tools on a real PostgreSQL and a real Redis.

use crate::registry::Registry;
use crate::stock::{Environment, Stock};
use crate::tool::Call;
use mcp_system_config::ToolsSettings;
use mcp_system_kit::{Dependency, Metrics};
use mcp_system_tests::databases::{Database, postgres, redis, sql};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const SETUP: &str = "
    CREATE TYPE mood AS ENUM ('sad', 'glad');
    CREATE DOMAIN plz AS text;
    CREATE TABLE things (
        id int PRIMARY KEY, name text NOT NULL DEFAULT 'x', price numeric(12, 4), seen timestamptz, day date,
        data jsonb, bytes bytea, tags text[], grid int[][], mood mood, code plz, id128 uuid, span interval
    );
    CREATE INDEX by_name ON things (name);
    CREATE VIEW dear AS SELECT name FROM things WHERE price > 10;
    INSERT INTO things VALUES (
        1, 'Ann', 12345678.9000, '2026-01-02 03:04:05.6+00', '1999-12-31', '{\"a\": [1, null]}', '\\x00ff',
        '{a,NULL,c}', '{{1,2},{3,4}}', 'glad', '12345', '00000000-0000-4000-8000-000000000001', '1 day 2 hours'
    );
    INSERT INTO things (id) VALUES (2);
    CREATE SEQUENCE counter;
";

/// A database with the table of above, and the settings that name it.
fn shop() -> (Database, Value) {
    let database = postgres(&[("fsync", "off")]).expect("a PostgreSQL");
    sql(database.url(), SETUP).expect("set up");
    let mut url = reqwest::Url::parse(database.url()).expect("an address");
    let password = url.password().expect("a password").to_owned();
    url.set_password(None).expect("taken out");
    let settings = json!({
        "name": "shop", "url": url.as_str(), "passwordEnv": format!("IS_{password}"),
        "maxRows": 100, "timeoutSeconds": 2, "maxConnections": 2,
    });
    (database, settings)
}

fn registry(settings: Value) -> Registry {
    stocked(settings).1
}

fn stocked(settings: Value) -> (Stock, Registry) {
    let settings: ToolsSettings = serde_json::from_value(settings).expect("settings");
    // `IS_x` holds x: a password that only the test knows.
    let environment: Environment = Arc::new(|name| name.strip_prefix("IS_").map(str::to_owned));
    let stock = Stock::with_environment(&settings, &Metrics::new("tools"), environment).expect("a stock");
    let registry = stock.registry(&settings).expect("a registry");
    (stock, registry)
}

async fn call_as(tenant: &str, registry: &Registry, tool: &str, arguments: Value) -> Result<Value, String> {
    let Value::Object(arguments) = arguments else { panic!("no object") };
    let call = Call { tenant: tenant.into() };
    let entry = registry.get(tool).unwrap_or_else(|| panic!("{tool} is not offered"));
    entry.execute(arguments, call).await.map_err(|failure| failure.0)
}

async fn call(registry: &Registry, tool: &str, arguments: Value) -> Result<Value, String> {
    call_as("default", registry, tool, arguments).await
}

async fn query(registry: &Registry, sql: &str) -> Result<Value, String> {
    call(registry, "query_database", json!({ "sql": sql })).await
}

#[tokio::test(flavor = "multi_thread")]
async fn values_of_postgresql_come_with_their_types() {
    let (_database, shop) = shop();
    let registry = registry(json!({"databases": [shop]}));
    let answer = query(&registry, "SELECT * FROM things ORDER BY id").await.expect("read");
    let first = json!([
        1,
        "Ann",
        "12345678.9000",
        "2026-01-02T03:04:05.6Z",
        "1999-12-31",
        {"a": [1, null]},
        "AP8=",
        ["a", null, "c"],
        [[1, 2], [3, 4]],
        "glad",
        "12345",
        "00000000-0000-4000-8000-000000000001",
        "P1DT7200S"
    ]);
    assert_eq!(answer["rows"][0], first);
    assert_eq!(answer["rows"][1].as_rest(2), [(); 11].map(|()| Value::Null));
    assert_eq!(answer["columns"][2], json!({"name": "price", "type": "numeric"}));
    let numbers = query(&registry, "SELECT 0::numeric, -0.05::numeric, 1e10::numeric, 'NaN'::numeric, 10001::numeric, 'inf'::float8, true, '10.0.0.0/8'::cidr")
        .await
        .expect("read");
    assert_eq!(
        numbers["rows"][0],
        json!(["0", "-0.05", "10000000000", "NaN", "10001", "inf", true, "10.0.0.0/8"])
    );
    let bound = call(
        &registry,
        "query_database",
        json!({
            "sql": "SELECT $1, $2 + 1, $3::bool, $4::timestamptz, $5::jsonb, id FROM things WHERE id = ANY($6)",
            "parameters": ["'; DROP TABLE things; --", 1, true, "2026-01-02T00:00:00Z", {"k": 1}, [1, 7]],
        }),
    )
    .await
    .expect("read");
    assert_eq!(
        bound["rows"][0],
        json!(["'; DROP TABLE things; --", 2, true, "2026-01-02T00:00:00Z", {"k": 1}, 1])
    );
}

trait Rest {
    fn as_rest(&self, from: usize) -> &[Value];
}

impl Rest for Value {
    fn as_rest(&self, from: usize) -> &[Value] {
        &self.as_array().expect("a row")[from..]
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_is_only_read_and_within_bounds() {
    let (database, shop) = shop();
    let registry = registry(json!({"databases": [shop]}));
    for (sql, expected) in [
        ("DELETE FROM things", "only reading statements are"),
        ("WITH gone AS (DELETE FROM things RETURNING id) SELECT * FROM gone", "must be at the top level"),
        ("EXPLAIN ANALYZE DELETE FROM things", "read-only transaction"),
        ("SELECT * INTO copy FROM things", "INTO is not allowed here"),
        ("SELECT id FROM things FOR UPDATE", "read-only transaction"),
        ("SELECT set_config('transaction_read_only', 'off', true)", "set_config is not allowed"),
        ("SELECT nextval('counter')", "nextval is not allowed"),
        ("SELECT pg_read_file('/etc/passwd')", "pg_read_file is not allowed"),
        ("SELECT 1; DELETE FROM things", "more than one statement"),
        // PostgreSQL ends such a comment there, and takes the second string for more of the first.
        ("SELECT 1 --\r, set_config('a.b', 'c', true)", "set_config is not allowed"),
        ("SELECT E'a'\n'\\' || set_config('a.b', 'c', true) --'", "write them as one"),
        ("SELECT pg_sleep(10)", "took longer than 2 seconds"),
        ("SELECT count(*) FROM generate_series(1, 1000000000)", "took longer than 2 seconds"),
        ("SELECT nothing", "column \"nothing\" does not exist (SQLSTATE 42703)"),
    ] {
        let error = query(&registry, sql).await.expect_err(sql);
        assert!(error.contains(expected), "{sql}: {error}");
    }
    for _ in 0..5 {
        let many = query(&registry, "SELECT generate_series(1, 10000000)").await.expect("read");
        assert_eq!((&many["row_count"], &many["truncated"]), (&json!(100), &json!("rows")));
    }
    // One that is found to be too large here, and one that PostgreSQL does not send.
    for length in [2_000_000, 20_000_000] {
        let wide = query(&registry, &format!("SELECT repeat('x', {length})")).await.expect("read");
        assert_eq!((&wide["row_count"], &wide["truncated"]), (&json!(0), &json!("bytes")));
    }
    assert_eq!(sql(database.url(), "SELECT count(*) FROM things").expect("asked"), "2");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_way_to_read_keeps_its_columns_and_its_order() {
    let (_database, shop) = shop();
    let registry = registry(json!({"databases": [shop]}));
    for (sql, columns, rows) in [
        ("SELECT 1 AS q, 2 AS s, 3 AS s", json!(["q", "s", "s"]), json!([[1, 2, 3]])),
        ("(SELECT 2 AS a) UNION (SELECT 1) ORDER BY 1 DESC; -- all", json!(["a"]), json!([[2], [1]])),
        ("WITH a AS (VALUES (2), (1)) SELECT * FROM a", json!(["column1"]), json!([[2], [1]])),
        ("VALUES (1, NULL::int)", json!(["column1", "column2"]), json!([[1, null]])),
        ("TABLE dear", json!(["name"]), json!([["Ann"]])),
        ("SELECT name FROM things WHERE false", json!([]), json!([])),
        ("SHOW transaction_read_only", json!(["transaction_read_only"]), json!([["on"]])),
        ("EXPLAIN (COSTS false) SELECT 1", json!(["QUERY PLAN"]), json!([["Result"]])),
    ] {
        let answer = query(&registry, sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
        let names = answer["columns"].as_rest(0).iter().map(|column| column["name"].clone());
        assert_eq!((Value::Array(names.collect()), &answer["rows"]), (columns, &rows), "{sql}");
    }
    let beyond = "SELECT 1) AS s) AS q UNION SELECT 2 FROM (SELECT * FROM (SELECT 3";
    let error = query(&registry, beyond).await.expect_err("no statement");
    assert!(error.contains("syntax error"), "{error}");
}

/// A port that leads on to this one, and how many bytes came from there.
async fn counted(port: u16) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let own = listener.local_addr().expect("an address").port();
    let came = Arc::new(AtomicUsize::new(0));
    let counter = came.clone();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let (mut from_client, mut to_client) = client.into_split();
            let server = TcpStream::connect(("127.0.0.1", port)).await.expect("connects");
            let (mut from_server, mut to_server) = server.into_split();
            tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
            let counter = counter.clone();
            tokio::spawn(async move {
                let mut bytes = vec![0; 1 << 16];
                while let Ok(count @ 1..) = from_server.read(&mut bytes).await {
                    counter.fetch_add(count, Ordering::Relaxed);
                    if to_client.write_all(&bytes[..count]).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    (own, came)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_of_postgresql_that_is_too_large_is_not_sent() {
    let (_database, mut shop) = shop();
    let mut url = reqwest::Url::parse(shop["url"].as_str().expect("a text")).expect("an address");
    let (port, came) = counted(url.port().expect("a port")).await;
    url.set_port(Some(port)).expect("set");
    shop["url"] = json!(url.as_str());
    shop["timeoutSeconds"] = json!(60);
    let registry = registry(json!({"databases": [shop]}));
    let sql = "SELECT repeat('x', n) FROM (VALUES (9), (50000000), (9)) AS t (n)";
    let wide = query(&registry, sql).await.expect("read");
    assert_eq!((&wide["rows"], &wide["truncated"]), (&json!([["xxxxxxxxx"]]), &json!("bytes")));
    let came = came.load(Ordering::Relaxed);
    assert!((1..1_000_000).contains(&came), "{came} bytes came");
    query(&registry, "SELECT 1").await.expect("the next one is not touched by it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_with_no_connection_left_is_no_broken_one() {
    let (_database, shop) = shop();
    let registry = registry(json!({"databases": [shop]}));
    let slow = (0..20).map(|_| query(&registry, "SELECT count(*) FROM generate_series(1, 1000000000)"));
    let answers = futures::future::join_all(slow).await;
    let told =
        |part: &str| answers.iter().filter(|it| it.as_ref().is_err_and(|it| it.contains(part))).count();
    assert!(told("connections are in use") >= 5, "{answers:?}");
    query(&registry, "SELECT 1").await.expect("the breaker did not open");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_busy_is_healthy() {
    let (_database, shop) = shop();
    let (stock, registry) = stocked(json!({"databases": [shop]}));
    let (_, part) = stock.dependencies().pop().expect("the only one");
    let slow = (0..2).map(|_| query(&registry, "SELECT count(*) FROM generate_series(1, 1000000000)"));
    // They have both connections before it asks.
    let (answers, checked) = tokio::join!(futures::future::join_all(slow), part.check());
    assert!(answers.iter().all(Result::is_err), "{answers:?}");
    assert_eq!(checked, Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_of_postgresql_are_listed_and_described() {
    let (database, shop) = shop();
    let registry = registry(json!({"databases": [shop]}));
    let listed = call(&registry, "list_tables", json!({})).await.expect("listed");
    assert_eq!(
        listed["databases"][0]["tables"],
        json!([
            {"schema": "public", "name": "dear", "kind": "view"},
            {"schema": "public", "name": "things", "kind": "table"},
        ])
    );
    let described = call(&registry, "describe_table", json!({"table": "things"})).await.expect("described");
    assert_eq!(
        described["columns"].as_rest(0)[..3],
        [
            json!({"name": "id", "type": "integer", "nullable": false, "primary_key": true}),
            json!({"name": "name", "type": "text", "nullable": false, "default": "'x'::text", "primary_key": false}),
            json!({"name": "price", "type": "numeric(12,4)", "nullable": true, "primary_key": false}),
        ]
    );
    assert_eq!(described["indexes"][0]["name"], "by_name");
    query(&registry, "SELECT * FROM things WHERE id = 2").await.expect("read");
    sql(database.url(), "ALTER TABLE things ALTER COLUMN id TYPE bigint, DROP COLUMN span").expect("changed");
    let changed = query(&registry, "SELECT * FROM things WHERE id = 2").await.expect("prepared anew");
    assert_eq!(changed["columns"].as_rest(0).len(), 12);
    let error = call(&registry, "describe_table", json!({"table": "thing"})).await.expect_err("unknown");
    assert!(error.contains("there is no table \"thing\" there"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_declared_statement_writes_to_postgresql_and_one_that_is_cut_off_does_not() {
    let (mut database, shop) = shop();
    let statement =
        "INSERT INTO things (id, name, seen) VALUES ({{id}}, {{name}}, {{seen}}::timestamptz) RETURNING id";
    let properties =
        json!({"id": {"type": "integer"}, "name": {"type": "string"}, "seen": {"type": "string"}});
    let add = json!({
        "name": "add", "description": "Adds a thing.",
        "inputSchema": {"properties": properties, "required": ["id", "name"]},
        "sql": {"database": "shop", "write": true, "statement": statement},
    });
    let registry = registry(json!({"databases": [shop], "userTools": [add]}));
    let added = call(&registry, "add", json!({"id": 5, "name": "x'); --"})).await.expect("added");
    assert_eq!((&added["rows"], &added["rows_affected"]), (&json!([[5]]), &json!(1)));
    let again = call(&registry, "add", json!({"id": 5, "name": "y"})).await.expect_err("there already");
    assert!(again.contains("duplicate key") && again.contains("23505"), "{again}");
    assert_eq!(sql(database.url(), "SELECT name FROM things WHERE id = 5").expect("asked"), "x'); --");
    database.kill().expect("killed");
    call(&registry, "add", json!({"id": 6, "name": "z"})).await.expect_err("nobody there");
    database.start().expect("started");
    call(&registry, "add", json!({"id": 7, "name": "z"})).await.expect("back again");
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_keeps_values_for_all_replicas_and_each_tenant_its_own() {
    let mut server = redis().expect("a Redis");
    let settings = json!({"cache": {"redis": {"url": server.url()}, "ttlSeconds": 60}});
    let (one, two) = (registry(settings.clone()), registry(settings));
    let value = json!({"a": [1, null, "ü"]});
    let kept = call(&one, "cache_set", json!({"key": "k", "value": value})).await.expect("kept");
    assert_eq!(kept, json!({"key": "k", "replaced": false, "expires_in_seconds": 60}));
    let got = call(&two, "cache_get", json!({"key": "k"})).await.expect("got");
    assert_eq!((&got["found"], &got["value"]), (&json!(true), &value));
    let other = call_as("other", &two, "cache_get", json!({"key": "k"})).await.expect("answered");
    assert_eq!(other, json!({"key": "k", "found": false}));
    let again =
        call(&two, "cache_set", json!({"key": "k", "value": 2, "ttl_seconds": 1})).await.expect("kept");
    assert_eq!(again["replaced"], true);
    while call(&one, "cache_get", json!({"key": "k"})).await.expect("answered")["found"] == true {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    call(&one, "cache_set", json!({"key": "d", "value": 1})).await.expect("kept");
    server.kill().expect("killed");
    let error = call(&one, "cache_get", json!({"key": "d"})).await.expect_err("nobody there");
    assert!(error.contains("Redis server cannot be used"), "{error}");
    server.start().expect("started");
    while call(&one, "cache_get", json!({"key": "d"})).await.is_err() {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let deleted = call(&two, "cache_delete", json!({"key": "d"})).await.expect("deleted");
    assert_eq!(deleted["deleted"], true);
}
