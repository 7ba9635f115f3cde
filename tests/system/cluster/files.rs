//! Files that servers read from mounts, tools that a file declares, and what else needs a real pod: a Weaviate outside
//! of it, and its profiles.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mcp_system_tests::clients::{Answers, Era, Sdk, Step, everything_image};
use mcp_system_tests::databases::{self, Access, Relay};
use mcp_system_tests::tied::Tied;
use mcp_system_tests::weights;
use mcp_system_tests::wire::{Client, Place};
use serde_json::{Value, json};

use super::site::{Site, condition, eventually, on_site, system, text};
use crate::group::{Scenario, same};

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("files::what_is_missing_is_named_and_the_example_runs", missing),
        Scenario::new("files::tools_of_a_file_work_and_a_bad_one_is_named", tools),
        Scenario::new("files::a_pod_tells_its_profiles_to_its_own_loopback", profiles),
        Scenario::new("files::weights_on_a_claim_take_part_in_search", neural),
        Scenario::new("files::weaviate_direct_reaches_a_database_outside", weaviate),
    ]
}

const EXAMPLE: &str = include_str!("../../../examples/files.yaml");

fn missing() -> Result<()> {
    on_site(|site| {
        let (config_map, system) = EXAMPLE.split_once("\n---\n").context("the example is two objects")?;
        site.apply(system)?;
        let message = site.condition("files", "Stalled", "True", "ServerFailing")?;
        ensure!(
            message.contains("tools: its pods wait for what they mount (ConfigMap shop-api)"),
            "{message}"
        );
        let object = site.get(&["mcps", "files"])?;
        same("Ready", &condition(&object, "Ready")["status"], "False")?;

        site.apply(config_map)?;
        // The kubelet would look again in its own time.
        site.kubectl(&["delete", "pods", "--selector", &selector("files", "tools")])?;
        let url = url(&site.ready("files")?)?;
        eventually("the document's operation is a tool", || offers(site, &url, "execute_shop_order"))?;
        same("the condition", &condition(&site.get(&["mcps", "files"])?, "Stalled")["status"], "False")?;

        a_changed_mount_replaces_the_pods(site, config_map, system)?;
        site.delete(&["files"])?;
        site.kubectl(&["delete", "configmap", "shop-api", "other-api"])?;
        site.kubectl(&["delete", "pvc", "files-memory", "--wait"])?;
        site.cluster.reclaim_volumes().map(drop)
    })
}

fn a_changed_mount_replaces_the_pods(site: &Site, config_map: &str, system: &str) -> Result<()> {
    let before = pod(site, "files", "tools")?["metadata"]["uid"].clone();
    let renamed = |text: &str| text.replace("shop-api", "other-api");
    site.apply(&renamed(config_map).replace("operationId: order", "operationId: parcel"))?;
    site.apply(&renamed(system))?;
    eventually("another pod mounts the other one", || {
        let pod = pod(site, "files", "tools")?;
        Ok((pod["metadata"]["uid"] != before && pod["spec"]["volumes"].to_string().contains("other-api"))
            .then_some(()))
    })?;
    let url = url(&site.ready("files")?)?;
    eventually("the other document's operation is a tool", || offers(site, &url, "execute_shop_parcel"))
}

const NAME: &str = "own-tools";
const HEALTH: &str = "http://own-tools-orchestrator.default.svc:8002";

/// A system with tools of three kinds, and two that cannot work: one as anybody can see, one for want of a file that only
/// its pod can miss.
fn own_tools(site: &Site) -> Result<Value> {
    let document = json!({
        "openapi": "3.0.3", "info": {"title": "Health", "version": "1"}, "servers": [{"url": HEALTH}],
        "paths": {"/health": {"get": {
            "operationId": "health", "summary": "Tells how the orchestrator is.",
            "responses": {"200": {"description": "Its health."}},
        }}},
    });
    let files = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": NAME},
        "data": {"api.json": document.to_string()},
    });
    site.apply(&files.to_string())?;
    let database = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": NAME},
        "data": {"shop.db": STANDARD.encode(shop()?)},
    });
    site.apply(&database.to_string())?;
    let tools = json!({
        "mounts": [
            {"mountPath": "/etc/own", "configMap": {"name": NAME}},
            {"mountPath": "/srv/shop", "secret": {"name": NAME}},
        ],
        "config": {
            "databases": [{"name": "shop", "url": "sqlite:/srv/shop/shop.db"}],
            "userTools": [
                {
                    "name": "page", "description": "Gets a page of the orchestrator.",
                    "inputSchema": {"properties": {"page": {"type": "string"}}, "required": ["page"]},
                    "http": {"url": format!("{HEALTH}/{{{{page}}}}"), "allowPrivateAddresses": true},
                },
                {"name": "own", "openApi": {"file": "/etc/own/api.json", "allowPrivateAddresses": true}},
                {
                    "name": "orders", "description": "Counts the orders of a customer.",
                    "inputSchema": {"properties": {"customer": {"type": "string"}}, "required": ["customer"]},
                    "sql": {
                        "database": "shop",
                        "statement": "SELECT count(*) AS orders FROM orders WHERE customer = {{customer}}",
                    },
                },
                {"name": "silent", "http": {"url": "https://a.example"}},
                {"name": "lost", "openApi": {"file": "/etc/own/lost.yaml"}},
            ],
        },
    });
    let spec =
        json!({"profiling": {"enabled": true}, "servers": {"memory": {"enabled": false}, "tools": tools}});
    site.apply(&system(NAME, &spec.to_string()))?;
    site.ready(NAME)
}

/// An SQLite database with three orders, two of them Ann's.
fn shop() -> Result<Vec<u8>> {
    const MAKE: &str = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.executescript(sys.argv[2])";
    const TABLE: &str =
        "CREATE TABLE orders (customer TEXT); INSERT INTO orders VALUES ('Ann'), ('Bob'), ('Ann');";
    let folder = tempfile::tempdir().context("no folder for a database")?;
    let path = folder.path().join("shop.db");
    printed(Command::new("python3").args(["-c", MAKE]).arg(&path).arg(TABLE))?;
    fs::read(&path).context("cannot read the database")
}

fn tools() -> Result<()> {
    on_site(|site| {
        let object = own_tools(site)?;
        let degraded = condition(&object, "Degraded");
        same("the reason", &degraded["reason"], "InvalidTools")?;
        let message = text(&degraded["message"]);
        ensure!(message.contains("userTools[silent]: description"), "the bad tool is not named: {message}");
        ensure!(message.contains("tools: userTools[lost]: openApi.file: /etc/own/lost.yaml"), "{message}");
        ensure!(!message.contains("orders"), "a good one is blamed: {message}");

        let url = url(&object)?;
        eventually("the tools are there", || offers(site, &url, "execute_own_health"))?;
        let answers = call(
            site,
            &url,
            &[
                Step::list_tools("tools"),
                Step::call("page", "execute_page", json!({"page": "health"})),
                Step::call("own", "execute_own_health", json!({})),
                Step::call("orders", "execute_orders", json!({"customer": "Ann"})),
            ],
        )?;
        for step in ["page", "own"] {
            same(step, &answers.of(step)?.value()?["body"]["server_name"], "orchestrator")?;
        }
        let orders = answers.of("orders")?.value()?;
        same("Ann's orders", &orders["rows"][0][0], &2).with_context(|| orders.to_string())?;
        ensure!(!answers.tool_names("tools")?.contains(&"execute_silent"), "the bad tool is offered");
        Ok(())
    })
}

fn profiles() -> Result<()> {
    const PORT: u16 = 18006;
    on_site(|site| {
        own_tools(site)?;
        let address = |server| pod(site, NAME, server).map(|pod| text(&pod["status"]["podIP"]).to_owned());
        let (tools, orchestrator) = (address("tools")?, address("orchestrator")?);
        let outside = curl(&format!("http://{tools}:{PORT}/debug/tokio"))?;
        same("curl's exit code from outside (7: nobody listens)", &outside.status.code(), &Some(7))?;

        let mut forward = site.cluster.kubectl_command()?;
        forward.args(["port-forward", &format!("deployment/{NAME}-tools"), &PORT.to_string()]);
        let _forward = Tied::until_dropped(&forward)?;
        let get = |path: &str| {
            let output = curl(&format!("http://127.0.0.1:{PORT}{path}"))?;
            ensure!(output.status.success(), "{path}: {}", String::from_utf8_lossy(&output.stderr));
            Ok(output.stdout)
        };
        let runtime = eventually("the port-forward leads to the pod", || get("/debug/tokio").map(Some))?;
        let runtime: Value = serde_json::from_slice(&runtime).context("no JSON")?;
        ensure!(runtime["workers"].as_array().is_some_and(|workers| !workers.is_empty()), "{runtime}");
        // By the orchestrator, which has the key to the tools.
        let relay = Relay::before(&format!("http://{orchestrator}:8002"))?;
        let mut client = Client::http(&Place::of(&format!("http://{}/mcp", relay.address()))?)?;
        let time = std::thread::scope(|scope| {
            let asked = scope.spawn(|| get("/debug/pprof/profile?seconds=5"));
            while !asked.is_finished() {
                client.call("execute_orders", &json!({"customer": "Ann"}))?.result()?;
            }
            asked.join().unwrap_or_else(|_| bail!("nobody asked for a profile"))
        })?;
        ensure!(names(&time, "mcp_system")?, "no function of the server's own took any time");
        ensure!(names(&get("/debug/pprof/heap")?, "inuse_space")?, "the second profile is none of memory");
        site.delete(&[NAME])?;
        site.kubectl(&["delete", "configmap,secret", NAME]).map(drop)
    })
}

/// Whether this text stands in a profile's table of strings.
fn names(profile: &[u8], text: &str) -> Result<bool> {
    let folder = tempfile::tempdir().context("no folder for a profile")?;
    let path = folder.path().join("profile.gz");
    fs::write(&path, profile).context("cannot write a profile")?;
    let unpacked = printed(Command::new("gzip").args(["--decompress", "--stdout"]).arg(&path))?.stdout;
    Ok(unpacked.windows(text.len()).any(|bytes| bytes == text.as_bytes()))
}

fn neural() -> Result<()> {
    const MODELS: &str = "models";
    on_site(|site| {
        put_on_claim(site, MODELS, &weights::sentence_encoder()?, "minilm.onnx")?;

        let memory = json!({
            "mounts": [{"mountPath": "/models", "persistentVolumeClaim": {"claimName": MODELS}}],
            "config": {"embeddings": {"onnx": {"path": "/models/minilm.onnx"}}},
        });
        let spec = json!({"servers": {"tools": {"enabled": false}, "memory": memory}});
        site.apply(&system("neural", &spec.to_string()))?;
        let url = url(&site.ready("neural")?)?;
        for content in ["He was diagnosed with a peanut allergy as a child.", "The report is due on Friday."]
        {
            let step = Step::call("store", "store_memory", json!({"agent_id": "a", "content": content}));
            eventually("a memory is stored", || {
                Ok(call(site, &url, std::slice::from_ref(&step))?.of("store")?.value().ok())
            })?;
        }
        let search = json!({"agent_id": "a", "query": "which snacks are dangerous for him", "explain": true});
        eventually("the model takes part", || {
            let answers = call(site, &url, &[Step::call("find", "search_memories", search.clone())])?;
            let best = answers.of("find")?.value()?["memories"][0].clone();
            let dense = best["explanation"]["dense"].as_f64().context("no part of the neural model")?;
            Ok((dense > 0.0 && text(&best["content"]).contains("peanut")).then_some(()))
        })?;
        site.delete(&["neural"])?;
        site.kubectl(&["delete", "pvc", MODELS, "neural-memory", "--wait"])?;
        site.cluster.reclaim_volumes().map(drop)
    })
}

/// Makes a claim, and puts a file on its volume as a person would: through a pod that mounts it.
fn put_on_claim(site: &Site, claim: &str, file: &Path, name: &str) -> Result<()> {
    const SAVE: &str = "process.stdin.pipe(fs.createWriteStream(process.argv[1])).on('finish', \
                        () => console.log(fs.statSync(process.argv[1]).size))";
    let objects = json!({"apiVersion": "v1", "kind": "List", "items": [
        {
            "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": claim},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
        },
        {
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": claim},
            "spec": {
                "securityContext": {"fsGroup": 65532},
                "containers": [{
                    "name": "node", "image": everything_image::NAME,
                    "args": ["node", "--eval", "setInterval(() => {}, 1000)"],
                    "volumeMounts": [{"name": "volume", "mountPath": "/volume"}],
                }],
                "volumes": [{"name": "volume", "persistentVolumeClaim": {"claimName": claim}}],
            },
        },
    ]});
    site.apply(&objects.to_string())?;
    let pod = format!("pod/{claim}");
    site.kubectl(&["wait", "--for=condition=Ready", &pod, "--timeout=120s"])?;
    let bytes = fs::File::open(file).with_context(|| format!("cannot read {}", file.display()))?;
    let length = bytes.metadata().context("the file has no size")?.len();
    let mut copy = site.cluster.kubectl_command()?;
    let into = format!("/volume/{name}");
    copy.args(["exec", "--stdin", &pod, "--", "node", "--eval", SAVE, &into]).stdin(bytes);
    let copied = printed(&mut copy)?.stdout;
    same("what was copied", String::from_utf8_lossy(&copied).trim(), length.to_string().as_str())?;
    // The first process of a container heeds no request to end.
    site.kubectl(&["delete", &pod, "--grace-period=1"]).map(drop)
}

fn weaviate() -> Result<()> {
    const EXAMPLE: &str = include_str!("../../../examples/weaviate-direct.yaml");
    const ACCESS: Access<'static> = Access::Key("the-key-of-weaviate");
    on_site(|site| {
        let database = databases::weaviate_at(&site.cluster.address()?, ACCESS)?;
        let class = json!({"class": "Ship", "vectorizer": "none", "properties": [{"name": "name", "dataType": ["text"]}]});
        databases::make_collection(database.url(), ACCESS, &class)?;
        let key = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "weaviate"},
            "stringData": {"api-key": "the-key-of-weaviate"},
        });
        site.apply(&key.to_string())?;
        ensure!(EXAMPLE.contains("http://weaviate:8080"), "the example has another address by now");
        site.apply(&EXAMPLE.replace("http://weaviate:8080", database.url()))?;
        let object = site.ready("weaviate-direct")?;
        same("servers ready", &object["status"]["readyServers"], "4/4")?;

        let address = text(&pod(site, "weaviate-direct", "weaviate-direct")?["status"]["podIP"]).to_owned();
        let health = curl(&format!("http://{address}:8001/mcp/weaviate_direct/health"))?;
        let health: Value = serde_json::from_slice(&health.stdout).context("health is no JSON")?;
        same("health", &health["status"], "healthy").with_context(|| health.to_string())?;

        let url = url(&object)?;
        eventually("its tools are offered", || offers(site, &url, "add_object"))?;
        let ship =
            json!({"collection": "Ship", "properties": {"name": "Alexandra"}, "vector": [0.1, 0.2, 0.3]});
        let search = json!({"collection": "Ship", "query": "Alexandra", "vector": [0.1, 0.2, 0.3]});
        let steps = [Step::call("add", "add_object", ship), Step::call("find", "hybrid_search", search)];
        let answers = call(site, &url, &steps)?;
        answers.of("add")?.value()?;
        let found = answers.of("find")?.value()?.to_string();
        ensure!(found.contains("Alexandra"), "what was added is not found: {found}");
        site.delete(&["weaviate-direct"])?;
        site.kubectl(&["delete", "secret", "weaviate"])?;
        site.kubectl(&["delete", "pvc", "weaviate-direct-memory", "--wait"])?;
        site.cluster.reclaim_volumes().map(drop)
    })
}

fn url(object: &Value) -> Result<String> {
    Ok(object["status"]["url"].as_str().context("the system has no URL")?.to_owned())
}

fn call(site: &Site, url: &str, steps: &[Step]) -> Result<Answers> {
    site.clients.run(Sdk::Python, Era::Modern, url, steps)
}

/// Something when a tool of this name is offered.
fn offers(site: &Site, url: &str, tool: &str) -> Result<Option<()>> {
    let answers = call(site, url, &[Step::list_tools("tools")])?;
    Ok(answers.tool_names("tools")?.contains(&tool).then_some(()))
}

fn selector(system: &str, server: &str) -> String {
    format!("app.kubernetes.io/instance={system},app.kubernetes.io/component={server}")
}

/// The one pod of a server that stays.
fn pod(site: &Site, system: &str, server: &str) -> Result<Value> {
    let pods = site.get(&["pods", "--selector", &selector(system, server)])?;
    let mut stays = pods["items"].as_array().cloned().unwrap_or_default();
    stays.retain(|pod| pod["metadata"]["deletionTimestamp"].is_null());
    match stays.as_slice() {
        [pod] => Ok(pod.clone()),
        other => bail!("{server} of {system} has {} pods", other.len()),
    }
}

fn curl(url: &str) -> Result<Output> {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--fail", "--max-time", "20", url]);
    command.output().context("curl is missing: install it")
}

/// What a program gives that ends well.
pub(super) fn printed(command: &mut Command) -> Result<Output> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(output)
}
