//! Every tool of every server, called by the official SDKs with good arguments and with bad ones.
//!
//! A server's file here says what is called with good arguments. Bad ones are made of those and of the schema that the
//! tool itself lists, so that no tool can be forgotten: one that nobody calls fails the test.

mod builtin;
mod memory;
mod weaviate;

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail, ensure};
use mcp_system_tests::clients::{Answers, Era, Sdk, Step};
use mcp_system_tests::single::Single;
use serde_json::{Map, Value, json};

use crate::group::{Fixture, Group, Scenario, Shared};
use crate::parts::clients;

/// A tool and good arguments.
type Good = (&'static str, Value);

/// A resource's URI and words that stand in it.
type Readable = (String, &'static str);

/// What is done with one server.
#[derive(Clone, Copy)]
struct Course {
    server: &'static Shared<Single>,
    /// Called in this order. What it is given is a name of the caller's own.
    first: fn(&str) -> Vec<Good>,
    /// Called after that, with what came of it.
    then: fn(&str, &Answers) -> Result<Vec<Good>>,
    /// Resources that there are after the first calls.
    reads: fn(&str, &Answers) -> Result<Vec<Readable>>,
    /// Good arguments of what cannot succeed here, with words of the refusal.
    refused: fn() -> Vec<(Good, &'static str)>,
}

pub(crate) fn group() -> Group {
    let courses =
        [("memory", memory::COURSE), ("tools", builtin::COURSE), ("weaviate_direct", weaviate::COURSE)];
    // Each SDK with another revision: the servers are the same for both, and other tests cross them.
    let eras = [(Sdk::Python, Era::Modern), (Sdk::TypeScript, Era::Legacy)];
    let scenarios = courses.into_iter().flat_map(|(name, course)| {
        eras.map(|(sdk, era)| {
            Scenario::new(format!("{name}_by_{sdk}_{era}"), move || every_tool(&course, sdk, era))
        })
    });
    Group {
        name: "every_tool",
        scenarios: scenarios.collect(),
        shared: vec![
            &memory::SERVER,
            &builtin::ENDPOINT,
            &builtin::SERVER,
            &weaviate::DATABASE,
            &weaviate::SERVER,
        ],
    }
}

impl Fixture for Single {
    fn end(self) -> Result<()> {
        drop(self);
        Ok(())
    }
}

fn every_tool(course: &Course, sdk: Sdk, era: Era) -> Result<()> {
    let clients = clients()?;
    course.server.with(|server| {
        let (url, caller) = (server.url(), format!("caller-{sdk}"));
        let tools = Tools::of(&clients.run(sdk, era, &url, &[Step::list_tools("tools")])?)?;
        let first = tools.listed((course.first)(&caller));
        let steps: Vec<Step> =
            first.iter().enumerate().map(|(number, call)| step("first", number, call)).collect();
        let before = clients.run(sdk, era, &url, &steps)?;

        let then = tools.listed((course.then)(&caller, &before)?);
        let mut refused = (course.refused)();
        refused.retain(|((tool, _), _)| tools.get(tool).is_ok());
        let calls: Vec<&Good> =
            first.iter().chain(&then).chain(refused.iter().map(|(call, _)| call)).collect();
        tools.ensure_all_called(&calls)?;
        let mut bad = tools.bad_calls(&calls)?;
        bad.extend(
            refused.iter().map(|(call, words)| Bad { call: call.clone(), culprit: (*words).to_owned() }),
        );
        let mut steps: Vec<Step> =
            then.iter().enumerate().map(|(number, call)| step("then", number, call)).collect();
        steps.extend(bad.iter().enumerate().map(|(number, bad)| step("bad", number, &bad.call)));
        let readable = (course.reads)(&caller, &before)?;
        steps.extend(readable.iter().map(|(uri, _)| Step::read(uri, uri)));
        if !readable.is_empty() {
            steps.push(Step::list_resources("resources"));
            steps.push(Step::read("no resource", format!("{}/none", readable[0].0)));
        }
        let after = clients.run(sdk, era, &url, &steps)?;

        for (part, calls, answers) in [("first", &first, &before), ("then", &then, &after)] {
            for (number, (tool, _)) in calls.iter().enumerate() {
                tools.check(tool, &answers.of(&format!("{part} {number}"))?.value()?)?;
            }
        }
        check_resources(&readable, &after)?;
        for (number, bad) in bad.iter().enumerate() {
            let (tool, arguments) = &bad.call;
            let complaint = after.of(&format!("bad {number}"))?.complaint();
            let complaint = complaint.with_context(|| format!("{tool} took {arguments}"))?;
            ensure!(
                complaint.contains(&bad.culprit),
                "{tool} was called with {arguments} and does not say {:?}: {complaint}",
                bad.culprit
            );
        }
        Ok(())
    })
}

/// Whether resources say what they should, are listed or fit a template that is, and one that is not there is refused.
fn check_resources(readable: &[Readable], after: &Answers) -> Result<()> {
    for (uri, words) in readable {
        let read = after.of(uri)?.result()?;
        let text =
            read["contents"][0]["text"].as_str().with_context(|| format!("{uri} has no text: {read}"))?;
        ensure!(text.contains(words), "{uri} does not say {words:?}: {text}");
    }
    if let Some((uri, _)) = readable.first() {
        let listed = after.of("resources")?.result()?;
        let uris = listed["resources"].as_array().into_iter().flatten().map(|resource| &resource["uri"]);
        ensure!(
            uris.clone().any(|listed| listed == uri),
            "{uri} is not among {:?}",
            uris.collect::<Vec<_>>()
        );
        let templates = listed["templates"].as_array().map_or(0, Vec::len);
        ensure!(templates >= 2, "{templates} templates of resources are listed");
        let refusal = after.of("no resource")?.refusal()?;
        ensure!(refusal.message.contains("no resource"), "what is not there is refused with {refusal:?}");
    }
    Ok(())
}

fn step(part: &str, number: usize, (tool, arguments): &Good) -> Step {
    Step::call(format!("{part} {number}"), *tool, arguments.clone())
}

/// A call that must fail, and what the complaint must name.
struct Bad {
    call: Good,
    culprit: String,
}

/// What a server lists.
struct Tools(Vec<Value>);

impl Tools {
    fn of(answers: &Answers) -> Result<Self> {
        let tools = answers.of("tools")?.result()?["tools"].as_array().context("no tools")?.clone();
        for tool in &tools {
            for part in ["description", "annotations", "outputSchema"] {
                ensure!(tool[part].is_string() || tool[part].is_object(), "{} has no {part}", tool["name"]);
            }
        }
        Ok(Self(tools))
    }

    fn get(&self, name: &str) -> Result<&Value> {
        self.0.iter().find(|tool| tool["name"] == name).with_context(|| format!("{name} is not listed"))
    }

    /// The calls of tools that are listed: a server lists what its settings allow.
    fn listed(&self, mut calls: Vec<Good>) -> Vec<Good> {
        calls.retain(|(tool, _)| self.get(tool).is_ok());
        calls
    }

    fn ensure_all_called(&self, calls: &[&Good]) -> Result<()> {
        let called: BTreeSet<&str> = calls.iter().map(|(tool, _)| *tool).collect();
        let listed = self.0.iter().filter_map(|tool| tool["name"].as_str());
        let forgotten: Vec<&str> = listed.filter(|name| !called.contains(name)).collect();
        ensure!(forgotten.is_empty(), "no client calls {forgotten:?}; add them to tests/system/every_tool");
        Ok(())
    }

    /// Whether a result is what the tool's own schema says.
    fn check(&self, tool: &str, result: &Value) -> Result<()> {
        let schema = &self.get(tool)?["outputSchema"];
        let schema = jsonschema::validator_for(schema)
            .with_context(|| format!("the output schema of {tool} is none: {schema}"))?;
        let errors: Vec<String> =
            schema.iter_errors(result).map(|error| format!("{}: {error}", error.instance_path())).collect();
        ensure!(errors.is_empty(), "{tool} answered {result}, against its schema: {}", errors.join("; "));
        Ok(())
    }

    /// Of each tool's first good call: one without each argument that it needs, and one with an argument that it does
    /// not know, where it takes no others.
    fn bad_calls(&self, calls: &[&Good]) -> Result<Vec<Bad>> {
        let mut bad = Vec::new();
        let mut seen = BTreeSet::new();
        for (tool, arguments) in calls {
            if !seen.insert(*tool) {
                continue;
            }
            let schema = &self.get(tool)?["inputSchema"];
            let Some(good) = arguments.as_object() else { bail!("the arguments of {tool} are no object") };
            let mut add = |culprit: &str, arguments: Map<String, Value>| {
                bad.push(Bad { call: (tool, Value::Object(arguments)), culprit: culprit.to_owned() });
            };
            for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                let mut arguments = good.clone();
                arguments.remove(name);
                add(name, arguments);
            }
            if schema["additionalProperties"] == Value::Bool(false) {
                let mut surplus = good.clone();
                surplus.insert("no_such_argument".to_owned(), json!(1));
                // A tool without arguments may say just that.
                let none = schema["properties"].as_object().is_none_or(Map::is_empty);
                add(if none { "argument" } else { "no_such_argument" }, surplus);
            }
        }
        Ok(bad)
    }
}
