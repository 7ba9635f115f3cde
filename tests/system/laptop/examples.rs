//! Every file in examples/ runs.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use mcp_system_tests::clients::{Era, Sdk, Step};
use mcp_system_tests::databases;
use mcp_system_tests::laptop::{Laptop, Setup};
use mcp_system_tests::ports::free_port;
use serde_json::json;

use super::{until_offered, with};
use crate::group::{Scenario, same};
use crate::parts::{OWN_TOOLS, clients};

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("examples::each_has_a_scenario", each_has_a_scenario),
        Scenario::new("examples::minimal", || own_servers("minimal")),
        Scenario::new("examples::tuned", || own_servers("tuned")),
        Scenario::new("examples::extra_servers", extra_servers),
        Scenario::new("examples::weaviate_direct", weaviate_direct),
        Scenario::new("examples::files", files),
        Scenario::new("examples::postgres", postgres),
        Scenario::new("examples::postgres_after_embedded_storage", postgres_after_embedded),
    ]
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples")
}

fn read(name: &str) -> Result<String> {
    std::fs::read_to_string(folder().join(name)).with_context(|| format!("cannot read the example {name}"))
}

fn each_has_a_scenario() -> Result<()> {
    let entries = std::fs::read_dir(folder()).context("cannot read examples")?;
    let mut names: Vec<String> =
        entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    same(
        "the examples",
        &names,
        &[
            "extra-servers.yaml",
            "files.yaml",
            "minimal.yaml",
            "postgres.yaml",
            "tuned.yaml",
            "weaviate-direct.yaml",
        ],
    )
}

/// An example that needs nothing but the binary.
fn own_servers(name: &str) -> Result<()> {
    with(Laptop::up(&read(&format!("{name}.yaml"))?)?, |system| {
        let status = system.status()?;
        ensure!(status.ready, "not ready: {status:?}");
        same("the system's name", &status.name, name)?;
        same("the servers that are ready", &status.ready_servers, "3/3")?;
        let steps = [Step::list_tools("tools"), Step::call("info", "execute_system_info", json!({}))];
        let answers = clients()?.run(Sdk::TypeScript, Era::Modern, status.url()?, &steps)?;
        same("the tools", &answers.tool_names("tools")?, &OWN_TOOLS)?;
        answers.of("info")?.value().map(drop)
    })
}

/// Beside a real Weaviate, which wants its key.
fn weaviate_direct() -> Result<()> {
    const KEY: &str = "the-key-of-weaviate";
    let access = databases::Access::Key(KEY);
    let weaviate = databases::weaviate(access)?;
    let class = json!({"class": "Ship", "vectorizer": "none", "properties": [{"name": "name", "dataType": ["text"]}]});
    databases::make_collection(weaviate.url(), access, &class)?;
    let setup = Setup::new(&read("weaviate-direct.yaml")?)?
        .with("MCP_WEAVIATE_DIRECT_PORT", free_port()?.to_string())
        .with("WEAVIATE_URL", weaviate.url())
        .with("WEAVIATE_API_KEY", KEY);
    with(setup.up()?, |system| {
        let status = system.status()?;
        same("the servers that are ready", &status.ready_servers, "4/4")?;
        same("its tools", &status.server("weaviate-direct")?.tools, &Some(6))?;
        let object = json!({"collection": "Ship", "properties": {"name": "Alexandra"}});
        let steps = [Step::call("add", "add_object", object), Step::call("schema", "get_schema", json!({}))];
        let answers = clients()?.run(Sdk::TypeScript, Era::Modern, status.url()?, &steps)?;
        answers.of("add")?.value()?;
        let schema = answers.of("schema")?.value()?.to_string();
        ensure!(schema.contains("Ship"), "Weaviate does not know what was added: {schema}");
        Ok(())
    })
}

/// What a cluster mounts lies on the machine's own disk, and `up` says so.
fn files() -> Result<()> {
    // Not below /tmp, which a mount may not hide.
    let folder = tempfile::tempdir_in("/var/tmp").context("no folder for files")?;
    let path = folder.path().display().to_string();
    let example = read("files.yaml")?;
    let (_, document) = example.split_once("shop.yaml: |\n").context("the example holds no document")?;
    let (document, _) = document.split_once("---").context("the document has no end")?;
    let document: Vec<&str> =
        document.lines().map(|line| line.strip_prefix("    ").unwrap_or(line)).collect();
    std::fs::write(folder.path().join("shop.yaml"), document.join("\n"))
        .context("cannot write the document")?;
    with(Laptop::up(&example.replace("/etc/shop", &path))?, |system| {
        let told = system.run(&["status"])?;
        let expected =
            format!("tools: {path} is read from this machine's own disk; ConfigMap shop-api is mounted");
        ensure!(told.contains(&expected), "nobody says that nothing is mounted: {told}");
        let steps = [Step::list_tools("tools")];
        let answers = clients()?.run(Sdk::TypeScript, Era::Modern, system.status()?.url()?, &steps)?;
        let names = answers.tool_names("tools")?;
        ensure!(names.contains(&"execute_shop_order"), "the document gave no tool: {names:?}");
        Ok(())
    })
}

fn postgres() -> Result<()> {
    let example = read("postgres.yaml")?;
    let Err(told) = Setup::new(&example)?.up() else { bail!("it runs without a database") };
    let told = format!("{told:#}");
    ensure!(
        told.contains("MCP_POSTGRES_URL, or MCP_POSTGRES_URL_FILE"),
        "nobody says what is missing: {told}"
    );

    let database = databases::postgres(&[])?;
    with(Setup::new(&example)?.with("MCP_POSTGRES_URL", database.url()).up()?, |system| {
        let status = system.status()?;
        same("the servers that are ready", &status.ready_servers, "3/3")?;
        store(status.url()?, "The lighthouse is white")?;
        same("memories in PostgreSQL", &stored(database.url())?, "1")
    })
}

fn postgres_after_embedded() -> Result<()> {
    let database = databases::postgres(&[])?;
    let system = "{apiVersion: mcpsystem.io/v1alpha1, kind: McpSystem, metadata: {name: postgres}, spec: {}}";
    let setup = Setup::new(system)?
        .with("MCP_POSTGRES_URL", database.url())
        .beside("postgres.yaml", &folder().canonicalize()?.join("postgres.yaml"))?;
    with(setup.up()?, |system| {
        store(system.status()?.url()?, "The lighthouse is white")?;
        let up = ["up", "-d", "-f", "postgres.yaml"];
        system.run(&up)?;
        same("memories in PostgreSQL", &stored(database.url())?, "1")?;
        store(system.status()?.url()?, "The crane is red")?;
        same("memories in PostgreSQL", &stored(database.url())?, "2")?;
        let told = system.run(&up)?;
        ensure!(told.contains("nothing has changed"), "it was changed once more: {told}");
        let Err(told) = system.run(&["up", "-d", "-f", "system.yaml"]) else {
            bail!("it goes back in silence")
        };
        ensure!(format!("{told:#}").contains("moved.json"), "nobody says how to go back: {told:#}");
        same("the servers that are ready", &system.status()?.ready_servers, "3/3")
    })
}

fn store(url: &str, content: &str) -> Result<()> {
    let steps = [Step::call("store", "store_memory", json!({"agent_id": "a", "content": content}))];
    clients()?.run(Sdk::Python, Era::Modern, url, &steps)?.of("store")?.value().map(drop)
}

fn stored(url: &str) -> Result<String> {
    Ok(databases::sql(url, "SELECT count(*) FROM mcp_memory.entries")?.trim().to_owned())
}

/// On a machine without docker and podman: the image is left out, and the status says so.
fn extra_servers() -> Result<()> {
    let clients = clients()?;
    let everything = clients.everything();
    let text = read("extra-servers.yaml")?;
    // Its ports may be taken on this machine; nothing else of it is changed.
    let mut own_ports = text.clone();
    let mut elsewhere = 0;
    for port in ["3001", "3002", "3003"] {
        let free = free_port()?;
        ensure!(own_ports.contains(port), "the example has no port {port} any more");
        own_ports = own_ports.replace(port, &free.to_string());
        elsewhere = free;
    }
    let _served = everything.start_on(elsewhere)?;
    let (variable, value) = everything.on_loopback()?;
    let setup = Setup::new(&own_ports)?
        .with(variable, value)
        // npx takes the package of the folder that it runs in, which is the pinned one.
        .beside("node_modules", &everything.node_modules())?
        .with("npm_config_offline", "true")
        .with_only(&["node", "npx", "sh"])?;
    with(setup.up()?, |system| {
        let status = system.status()?;
        let image = status.server("everything-image")?;
        same("the state of an image without docker", &image.state, "left-out")?;
        let message = image.message.clone().unwrap_or_default();
        ensure!(message.contains("docker"), "nothing says why the image does not run: {image:?}");
        for (server, tool) in
            [("everything-process", "everything-process_echo"), ("elsewhere", "elsewhere_echo")]
        {
            same("the state of a server", &status.server(server)?.state, "ready")?;
            until_offered(system, tool)?;
            let steps = [Step::call("echo", tool, json!({"message": server}))];
            let answers = clients.run(Sdk::Python, Era::Modern, status.url()?, &steps)?;
            same("an echo", &answers.of("echo")?.text()?, &format!("Echo: {server}"))?;
        }
        Ok(())
    })
}
