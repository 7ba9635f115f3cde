//! Other people's servers behind the orchestrator: a real one from npm, as a process and as a URL.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use mcp_system_tests::clients::everything::Serving;
use mcp_system_tests::clients::{Clients, Era, Sdk, Step};
use mcp_system_tests::laptop::Laptop;
use mcp_system_tests::ports::free_port;
use serde_json::{Value, json};

use super::using;
use crate::group::{Fixture, Scenario, Shared, same};
use crate::parts::{OWN_TOOLS, clients};

/// A system with the server in both forms.
pub(super) struct Both {
    system: Laptop,
    elsewhere: Serving,
}

pub(super) static BOTH: Shared<Both> = Shared::new(Both::start);

pub(super) fn scenarios() -> Vec<Scenario> {
    let mut scenarios = vec![Scenario::new("extra::tools_of_a_process_and_of_a_url", tools_of_both_forms)];
    for (sdk, era) in Sdk::ALL.into_iter().flat_map(|sdk| [Era::Modern, Era::Legacy].map(|era| (sdk, era))) {
        scenarios.push(Scenario::new(format!("extra::progress_before_the_result_{sdk}_{era}"), move || {
            progress_comes_before_the_result(sdk, era)
        }));
    }
    scenarios
}

impl Fixture for Both {
    fn end(self) -> Result<()> {
        self.system.down()
    }
}

impl Both {
    fn start() -> Result<Self> {
        let elsewhere = clients()?.everything().start()?;
        let system = format!(
            "{HEAD}\n  - {}\n  - {}\n",
            process("local", &clients()?)?,
            json!({"name": "elsewhere", "url": elsewhere.url}),
        );
        Ok(Self { system: Laptop::up(&system)?, elsewhere })
    }
}

/// The start of a file that goes on with extra servers.
pub(super) const HEAD: &str = "\
apiVersion: mcpsystem.io/v1alpha1
kind: McpSystem
metadata:
  name: extra
spec:
  servers:
    orchestrator:
      config:
        callTimeoutSeconds: 5
  extraServers:";

/// The third-party server as an entry in the process form, on a port of its own.
pub(super) fn process(name: &str, clients: &Clients) -> Result<Value> {
    let everything = clients.everything();
    let (variable, value) = everything.on_loopback()?;
    Ok(json!({
        "name": name,
        "process": {"command": "node"},
        "args": everything.arguments(),
        "port": free_port()?,
        "env": [{"name": variable, "value": value}],
    }))
}

fn tools_of_both_forms() -> Result<()> {
    let clients = clients()?;
    BOTH.with(|both| {
        using(&both.system, |system| {
            let status = system.status()?;
            let direct =
                clients.run(Sdk::Python, Era::Legacy, &both.elsewhere.url, &[Step::list_tools("tools")])?;
            let theirs = direct.tool_names("tools")?;
            ensure!(theirs.contains(&"echo"), "server-everything offers no echo: {theirs:?}");
            let expected: BTreeSet<String> = OWN_TOOLS
                .into_iter()
                .map(str::to_owned)
                .chain(
                    theirs
                        .iter()
                        .flat_map(|tool| ["local", "elsewhere"].map(|server| format!("{server}_{tool}"))),
                )
                .collect();
            for name in ["local", "elsewhere"] {
                let tools = status.server(name)?.tools;
                same("the tools that the status counts", &tools, &i32::try_from(theirs.len()).ok())?;
            }
            for (sdk, era) in Sdk::ALL.into_iter().flat_map(|sdk| Era::ALL.map(|era| (sdk, era))) {
                let answers = clients.run(
                    sdk,
                    era,
                    status.url()?,
                    &[
                        Step::list_tools("tools"),
                        Step::call("local", "local_echo", json!({"message": "to the process"})),
                        Step::call("elsewhere", "elsewhere_echo", json!({"message": "to the URL"})),
                        Step::call("sum", "local_get-sum", json!({"a": 2, "b": 3})),
                        Step::call("bad", "local_get-sum", json!({"a": "two"})),
                        Step::call("image", "elsewhere_get-tiny-image", json!({})),
                        Step::call(
                            "structured",
                            "local_get-structured-content",
                            json!({"location": "Chicago"}),
                        ),
                    ],
                )?;
                let names: Vec<String> =
                    answers.tool_names("tools")?.into_iter().map(str::to_owned).collect();
                same(
                    &format!("the tools that {sdk} sees with {era}"),
                    &names,
                    &expected.iter().cloned().collect::<Vec<_>>(),
                )?;
                same("echo of the process", &answers.of("local")?.text()?, "Echo: to the process")?;
                same("echo of the URL", &answers.of("elsewhere")?.text()?, "Echo: to the URL")?;
                same("a sum", &answers.of("sum")?.text()?, "The sum of 2 and 3 is 5.")?;
                let bad = answers.of("bad")?.complaint()?;
                ensure!(
                    bad.contains("-32602") || bad.contains('b'),
                    "a bad call was not refused in a helpful way: {bad}"
                );
                let image = answers.of("image")?.result()?;
                let blocks = image["content"].as_array().context("an image without content")?;
                ensure!(
                    blocks.iter().any(|block| block["mimeType"] == "image/png"),
                    "no image came: {image}"
                );
                let structured = answers.of("structured")?.value()?;
                ensure!(
                    structured["temperature"].is_number(),
                    "the structured content is lost: {structured}"
                );
            }
            Ok(())
        })
    })
}

fn progress_comes_before_the_result(sdk: Sdk, era: Era) -> Result<()> {
    let clients = clients()?;
    BOTH.with(|both| {
        using(&both.system, |system| {
            let long = |step: &str, server: &str| {
                let arguments = json!({"duration": 1, "steps": 4});
                Step::call(step, format!("{server}_trigger-long-running-operation"), arguments)
                    .with_progress()
            };
            let steps = [
                Step::together(vec![long("local", "local"), long("elsewhere", "elsewhere")]),
                Step::call(
                    "silent",
                    "local_trigger-long-running-operation",
                    json!({"duration": 0.2, "steps": 2}),
                ),
            ];
            let mut running = clients.start(sdk, era, system.status()?.url()?, &steps)?;
            // The first notice comes long before the result does, not with it.
            let seen = running
                .wait_for(|event| matches!(event, mcp_system_tests::clients::answers::Event::Progress(_)))?;
            ensure!(seen.order().is_empty(), "a result came before any progress: {:?}", seen.events());
            let answers = running.finish()?;
            for step in ["local", "elsewhere"] {
                let progress = answers.progress(step);
                let seen: Vec<(f64, Option<f64>)> =
                    progress.iter().map(|progress| (progress.progress, progress.total)).collect();
                same(
                    &format!("the progress of {step}"),
                    &seen,
                    &[1.0, 2.0, 3.0, 4.0].map(|number| (number, Some(4.0))),
                )?;
                let text = answers.of(step)?.text()?;
                same(
                    "the result",
                    &text,
                    &"Long running operation completed. Duration: 1 seconds, Steps: 4.",
                )?;
                let took = Duration::from_secs_f64(answers.of(step)?.seconds);
                ensure!(took < Duration::from_secs(10), "a call of one second took {took:?}");
            }
            answers.of("silent")?.text().map(drop)
        })
    })
}
