//! The clients themselves, against a server that others made: what fails here is no fault of our servers.

use anyhow::{Result, bail, ensure};
use mcp_system_tests::clients::everything::Serving;
use mcp_system_tests::clients::{Era, Sdk, Step};
use serde_json::json;

use crate::group::{Fixture, Group, Scenario, Shared, same};
use crate::parts::clients;

static SERVER: Shared<Serving> = Shared::new(|| clients()?.everything().start());

pub(crate) fn group() -> Group {
    let pairs = Sdk::ALL.into_iter().flat_map(|sdk| [Era::Legacy, Era::OlderLegacy].map(|era| (sdk, era)));
    let mut scenarios: Vec<Scenario> = pairs
        .map(|(sdk, era)| Scenario::new(format!("{sdk}_{era}"), move || talks_to_a_real_server(sdk, era)))
        .collect();
    scenarios.extend(Sdk::ALL.map(|sdk| {
        Scenario::new(format!("{sdk}_is_not_content_with_another_revision"), move || never_falls_back(sdk))
    }));
    scenarios.push(Scenario::new("each_is_started_by_a_given_command", each_is_started_by_a_given_command));
    Group { name: "clients", scenarios, shared: vec![&SERVER] }
}

impl Fixture for Serving {
    fn end(self) -> Result<()> {
        drop(self);
        Ok(())
    }
}

fn talks_to_a_real_server(sdk: Sdk, era: Era) -> Result<()> {
    let clients = clients()?;
    SERVER.with(|server| {
        let long = json!({"duration": 1, "steps": 2});
        let steps = [
            Step::list_tools("tools"),
            Step::together(vec![
                Step::call("long", "trigger-long-running-operation", long).with_progress(),
                Step::call("echo", "echo", json!({"message": "hi"})),
            ]),
            Step::call("bad", "echo", json!({})),
            Step::list_resources("resources"),
            Step::read("text", "demo://resource/dynamic/text/1"),
            Step::read("nothing", "demo://nothing"),
        ];
        let answers = clients.run(sdk, era, &server.url, &steps)?;
        ensure!(answers.tool_names("tools")?.contains(&"echo"), "no echo");
        same(
            "what ended when",
            &answers.order(),
            &["tools", "echo", "long", "bad", "resources", "text", "nothing"],
        )?;
        same("an echo", &answers.of("echo")?.text()?, "Echo: hi")?;
        same("the notices of progress", &answers.progress("long").len(), &2)?;
        let complaint = answers.of("bad")?.complaint()?;
        ensure!(complaint.contains("-32602"), "a bad call: {complaint}");
        let templates = answers.of("resources")?.result()?["templates"].to_string();
        ensure!(templates.contains("demo://resource/dynamic/text/"), "the templates: {templates}");
        let text = &answers.of("text")?.result()?["contents"][0]["uri"];
        same("a resource", text, "demo://resource/dynamic/text/1")?;
        answers.of("nothing")?.refusal().map(drop)
    })
}

/// The server knows no newer revision than 2025-11-25.
fn never_falls_back(sdk: Sdk) -> Result<()> {
    let clients = clients()?;
    SERVER.with(|server| match clients.run(sdk, Era::Modern, &server.url, &[]) {
        Ok(answers) => bail!("the client connected: {:?}", answers.events()),
        Err(error) => {
            let error = format!("{error:#}");
            ensure!(error.contains(Era::Modern.revision()), "the error does not name the revision: {error}");
            Ok(())
        }
    })
}

/// As `nsenter` starts them in the network of a cluster.
fn each_is_started_by_a_given_command() -> Result<()> {
    let clients = clients()?;
    SERVER.with(|server| {
        let missing = clients.clone().behind(["no-such-program"]);
        for sdk in Sdk::ALL {
            clients.clone().behind(["env", "-u", "HOME"]).run(sdk, Era::Legacy, &server.url, &[])?;
            let Err(error) = missing.run(sdk, Era::Legacy, &server.url, &[]) else {
                bail!("{sdk} was started without the command before it");
            };
            let error = format!("{error:#}");
            ensure!(error.contains("no-such-program"), "the error names no program: {error}");
        }
        Ok(())
    })
}
