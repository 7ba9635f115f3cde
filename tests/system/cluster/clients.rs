//! Official SDK clients through the Service of an orchestrator with two copies, and other people's servers.

use anyhow::{Context, Result, ensure};
use mcp_system_tests::clients::{Era, Sdk, Step, everything_image};
use mcp_system_tests::laptop::Laptop;
use serde_json::{Value, json};

use super::site::{Site, eventually, on_site, server, text};
use super::system::MINIMAL;
use crate::conversation::{check, conversation, same_steps, seen};
use crate::group::{Scenario, same};
use crate::parts::OWN_TOOLS;

const TUNED: &str = include_str!("../../../examples/tuned.yaml");
const EXTRA: &str = include_str!("../../../examples/extra-servers.yaml");

pub(super) fn scenarios() -> Vec<Scenario> {
    let pairs = Sdk::ALL.into_iter().flat_map(|sdk| Era::ALL.map(|era| (sdk, era)));
    let mut scenarios: Vec<Scenario> = pairs
        .map(|(sdk, era)| {
            Scenario::new(format!("clients::{sdk}_{era}_through_two_copies"), move || two_copies(sdk, era))
        })
        .collect();
    scenarios.push(Scenario::new("clients::the_same_file_means_the_same_on_both_sides", both_sides));
    scenarios.push(Scenario::new("clients::other_peoples_servers_in_each_form", other_peoples_servers));
    scenarios
}

fn url(object: &Value) -> &str {
    text(&object["status"]["url"])
}

fn two_copies(sdk: Sdk, era: Era) -> Result<()> {
    on_site(|site| {
        site.apply(TUNED)?;
        let object = site.ready("tuned")?;
        same("copies of the orchestrator", &server(&object, "orchestrator")["ready"], &2)?;
        let agent = format!("{sdk}-{era}");
        let answers = site.clients.run(sdk, era, url(&object), &conversation(&agent))?;
        check(&answers)
    })
}

/// One file through `up` and on the cluster, one script of calls: the answers are the same.
fn both_sides() -> Result<()> {
    on_site(|site| {
        site.apply(MINIMAL)?;
        let object = site.ready("minimal")?;
        let agent = "both-sides";
        let on_cluster = site.clients.run(Sdk::Python, Era::Modern, url(&object), &conversation(agent))?;
        let laptop = Laptop::up(MINIMAL)?;
        let on_laptop =
            site.clients.run(Sdk::Python, Era::Modern, laptop.status()?.url()?, &conversation(agent))?;
        laptop.down()?;
        same_steps("the laptop", &seen(&on_laptop, agent)?, "the cluster", &seen(&on_cluster, agent)?)
    })
}

/// Somewhere else, as far as the system is concerned.
fn elsewhere(site: &Site) -> Result<String> {
    let image = everything_image::NAME;
    site.apply(&format!(
        "apiVersion: v1
kind: Pod
metadata: {{name: elsewhere, labels: {{app: elsewhere}}}}
spec:
  containers:
    - name: everything
      image: {image}
      args: [node, index.js, streamableHttp]
      env: [{{name: PORT, value: '3003'}}]
      readinessProbe: {{tcpSocket: {{port: 3003}}, periodSeconds: 1}}
---
apiVersion: v1
kind: Service
metadata: {{name: elsewhere}}
spec:
  selector: {{app: elsewhere}}
  ports: [{{port: 3003}}]
"
    ))?;
    site.kubectl(&["wait", "--for=condition=Ready", "pod/elsewhere", "--timeout=120s"])?;
    Ok(EXTRA.replace("http://127.0.0.1:3003/mcp", "http://elsewhere.default.svc:3003/mcp"))
}

fn other_peoples_servers() -> Result<()> {
    on_site(|site| {
        let manifest = elsewhere(site)?;
        site.apply(&manifest)?;
        let object = site.ready("extra-servers")?;
        let left_out = server(&object, "everything-process");
        ensure!(
            text(&left_out["message"]).contains("a process runs on a laptop only"),
            "the process is not named as left out: {left_out}"
        );
        let names = ["everything-image_echo", "elsewhere_echo"];
        let mut steps = vec![Step::list_tools("tools")];
        steps.extend(names.map(|name| Step::call(name, name, json!({"message": name}))));
        let long = json!({"duration": 1, "steps": 4});
        let tool = "everything-image_trigger-long-running-operation";
        steps.push(Step::call("long", tool, long).with_progress());

        // The orchestrator may have listed its backends before the last of them was up.
        let answers = eventually("both servers' tools are listed", || {
            let answers = site.clients.run(Sdk::TypeScript, Era::Modern, url(&object), &steps)?;
            let listed = answers.tool_names("tools")?;
            Ok(names.iter().all(|name| listed.contains(name)).then_some(answers))
        })?;
        let listed = answers.tool_names("tools")?;
        ensure!(OWN_TOOLS.iter().all(|tool| listed.contains(tool)), "own tools are missing: {listed:?}");
        for name in names {
            same("an echo", &answers.of(name)?.text()?, &format!("Echo: {name}"))?;
        }
        same("notices of progress", &answers.progress("long").len(), &4)?;
        let answered = server(&object, "elsewhere");
        same("the remote answered", answered.get("answered").context("it was not asked")?, &true)?;
        site.delete(&["extra-servers"])?;
        site.kubectl(&["delete", "pod/elsewhere", "service/elsewhere"]).map(drop)
    })
}
