//! What is stored outlives its system.

use anyhow::Result;
use mcp_system_tests::clients::{Era, Sdk, Step};
use serde_json::json;

use super::site::{Site, eventually, on_site, system, text};
use crate::group::{Scenario, same};

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new(
            "storage::a_deleted_system_leaves_its_volume_and_a_new_one_finds_the_memories",
            retained,
        ),
        Scenario::new("storage::a_claim_that_is_to_go_goes", deleted),
        Scenario::new("storage::a_replaced_pod_finds_the_memories", replaced),
    ]
}

const SPEC: &str = "{servers: {tools: {enabled: false}}}";

fn count(site: &Site, system: &str, store: Option<&str>) -> Result<serde_json::Value> {
    let object = site.ready(system)?;
    let mut steps = Vec::new();
    if let Some(content) = store {
        steps.push(Step::call("store", "store_memory", json!({"agent_id": "a", "content": content})));
    }
    steps.push(Step::call("find", "search_memories", json!({"agent_id": "a", "query": "lighthouse"})));
    let answers = eventually("the memory answers through the orchestrator", || {
        let answers = site.clients.run(Sdk::Python, Era::Modern, text(&object["status"]["url"]), &steps)?;
        Ok(answers.of("find")?.value().is_ok().then_some(answers))
    })?;
    Ok(answers.of("find")?.value()?["count"].clone())
}

fn retained() -> Result<()> {
    on_site(|site| {
        site.apply(&system("kept", SPEC))?;
        same("memories", &count(site, "kept", Some("The lighthouse is white"))?, &1)?;
        site.delete(&["kept"])?;
        let claim = site.get(&["pvc", "kept-memory"])?;
        same("the claim", &claim["status"]["phase"], "Bound")?;
        site.apply(&system("kept", SPEC))?;
        same("memories of the new system", &count(site, "kept", None)?, &1)?;
        let again = site.get(&["pvc", "kept-memory"])?;
        same("the volume", &again["spec"]["volumeName"], &claim["spec"]["volumeName"])
    })
}

fn replaced() -> Result<()> {
    on_site(|site| {
        let selector = "app.kubernetes.io/instance=kept,app.kubernetes.io/component=memory";
        site.kubectl(&["delete", "pods", "--selector", selector, "--grace-period=0", "--force"])?;
        site.kubectl(&["rollout", "status", "deployment/kept-memory", "--timeout=120s"])?;
        same("memories", &count(site, "kept", None)?, &1)?;
        site.delete(&["kept"])?;
        site.kubectl(&["delete", "pvc", "kept-memory", "--wait"])?;
        site.cluster.reclaim_volumes().map(drop)
    })
}

fn deleted() -> Result<()> {
    on_site(|site| {
        let spec = "{storage: {embedded: {reclaimPolicy: Delete}}, servers: {tools: {enabled: false}}}";
        site.apply(&system("gone", spec))?;
        site.ready("gone")?;
        site.delete(&["gone"])?;
        eventually("the claim goes as well", || {
            let claims = site.get(&["pvc", "--selector=app.kubernetes.io/instance=gone"])?;
            Ok(claims["items"].as_array().is_some_and(Vec::is_empty).then_some(()))
        })?;
        site.cluster.reclaim_volumes().map(drop)
    })
}
