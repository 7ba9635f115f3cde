//! Every file in examples/ runs.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use mcp_system_tests::clients::{Era, Sdk, Step};
use mcp_system_tests::laptop::{Laptop, Setup};
use mcp_system_tests::ports::free_port;
use serde_json::json;

use super::with;
use crate::group::{Scenario, same};
use crate::parts::{OWN_TOOLS, clients};

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("examples::each_has_a_scenario", each_has_a_scenario),
        Scenario::new("examples::minimal", || own_servers("minimal")),
        Scenario::new("examples::tuned", || own_servers("tuned")),
        Scenario::new("examples::extra_servers", extra_servers),
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
    same("the examples", &names, &["extra-servers.yaml", "minimal.yaml", "tuned.yaml"])
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
            let steps = [Step::call("echo", tool, json!({"message": server}))];
            let answers = clients.run(Sdk::Python, Era::Modern, status.url()?, &steps)?;
            same("an echo", &answers.of("echo")?.text()?, &format!("Echo: {server}"))?;
        }
        Ok(())
    })
}
