//! Autoscalers beside the operator.
//!
//! That of the cluster has no metrics here. It keeps the number of copies within its bounds all the same, and leaves what
//! another hand finds right within them.

use std::collections::BTreeSet;

use anyhow::Result;
use serde_json::Value;

use super::site::{Site, condition, eventually, on_site, server, system, text};
use crate::group::{Scenario, same};

/// A server whose autoscaler never learns what copies use.
const UNMEASURED: &str = "{autoscaling: {maxReplicas: 2}}";

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("scaling::copies_stay_when_an_autoscaler_takes_over", handed_over),
        Scenario::new("scaling::what_an_autoscaler_decides_is_left_to_it", decided),
        Scenario::new("scaling::somebody_elses_autoscaler_and_none_again", others),
        Scenario::new("scaling::an_autoscaler_without_metrics_is_told", unmeasured),
    ]
}

/// A system whose tools server is told this.
fn file(suspend: bool, tools: &str) -> String {
    let servers = format!("{{memory: {{enabled: false}}, tools: {tools}}}");
    system("scaled", &format!("{{suspend: {suspend}, servers: {servers}}}"))
}

/// A system of nothing but a tools server that is told this.
fn alone(tools: &str) -> String {
    let others = "orchestrator: {enabled: false}, memory: {enabled: false}";
    system("alone", &format!("{{servers: {{{others}, tools: {tools}}}}}"))
}

/// Applies it, and waits until it is ready.
fn scaled(site: &Site, tools: &str) -> Result<Value> {
    site.apply(&file(false, tools))?;
    site.ready("scaled")
}

/// How many copies are wanted.
fn copies(site: &Site) -> Result<Value> {
    Ok(site.get(&["deployment", "scaled-tools"])?["spec"]["replicas"].clone())
}

/// Wants so many, as an autoscaler does, and waits until the operator tells of them.
fn scale(site: &Site, copies: u32) -> Result<()> {
    site.kubectl(&["scale", "deployment", "scaled-tools", &format!("--replicas={copies}")])?;
    eventually(&format!("the operator tells of {copies} copies"), || {
        let told = server(&site.get(&["mcps", "scaled"])?, "tools")["ready"].clone();
        Ok((told == copies).then_some(()))
    })
}

fn pods(site: &Site) -> Result<BTreeSet<String>> {
    let selector = "app.kubernetes.io/instance=scaled,app.kubernetes.io/component=tools";
    let pods = site.get(&["pods", "--selector", selector])?;
    let stay = pods["items"].as_array().into_iter().flatten();
    let stay = stay.filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
    Ok(stay.map(|pod| text(&pod["metadata"]["name"]).to_owned()).collect())
}

fn handed_over() -> Result<()> {
    on_site(|site| {
        // For the last of these scenarios: what it waits for takes two minutes, some of which pass meanwhile.
        site.apply(&alone(UNMEASURED))?;
        scaled(site, "{replicas: 3}")?;
        let before = pods(site)?;
        scaled(site, "{autoscaling: {minReplicas: 1, maxReplicas: 4}}")?;
        let bounds = site.get(&["horizontalpodautoscaler", "scaled-tools"])?["spec"].clone();
        same("the fewest", &bounds["minReplicas"], &1)?;
        same("the most", &bounds["maxReplicas"], &4)?;
        same("the copies", &copies(site)?, &3)?;
        same("the pods", &pods(site)?, &before)
    })
}

fn decided() -> Result<()> {
    on_site(|site| {
        scaled(site, "{replicas: 3}")?;
        scaled(site, "{autoscaling: {minReplicas: 1, maxReplicas: 2}}")?;
        eventually("the autoscaler keeps to its bounds", || Ok((copies(site)? == 2).then_some(())))?;
        let object = site.ready("scaled")?;
        let position = site.audit_position()?;
        for wanted in [1, 2] {
            scale(site, wanted)?;
            same("the copies", &copies(site)?, &wanted)?;
        }
        let writes = site.writes_since(position)?.into_iter();
        let writes = writes.filter(|event| event.object_ref.resource == "deployments");
        let writes: Vec<String> = writes.map(|event| event.request_uri).collect();
        same("writes to Deployments", &writes, &Vec::<String>::new())?;
        let since = |object: &Value| condition(object, "Ready")["lastTransitionTime"].clone();
        same("since when it is ready", &since(&site.ready("scaled")?), &since(&object))?;

        // A change of the file, so that the operator writes the Deployment once more.
        scaled(site, "{annotations: {note: new}, autoscaling: {minReplicas: 1, maxReplicas: 2}}")?;
        same("the copies", &copies(site)?, &2)
    })
}

fn others() -> Result<()> {
    let external = "{autoscaling: {type: External, minReplicas: 2, maxReplicas: 4}}";
    on_site(|site| {
        scaled(site, external)?;
        eventually("the system's own autoscaler goes", || {
            let owned = site.owned("scaled")?;
            Ok(owned.iter().all(|object| !object.starts_with("HorizontalPodAutoscaler/")).then_some(()))
        })?;
        scale(site, 3)?;
        same("the copies", &copies(site)?, &3)?;
        scaled(site, "{autoscaling: {type: External, minReplicas: 4, maxReplicas: 5}}")?;
        same("the copies when there have to be more", &copies(site)?, &4)?;
        site.kubectl(&["scale", "deployment", "scaled-tools", "--replicas=1"])?;
        eventually("the fewest copies are kept", || Ok((copies(site)? == 4).then_some(())))?;

        site.apply(&file(true, external))?;
        site.condition("scaled", "Ready", "False", "Suspended")?;
        same("the copies of a suspended system", &copies(site)?, &0)?;
        scaled(site, external)?;
        same("the copies of one that begins again", &copies(site)?, &2)?;

        scale(site, 3)?;
        scaled(site, "{replicas: 1}")?;
        same("the copies that the file wants", &copies(site)?, &1)?;
        site.delete(&["scaled"])
    })
}

fn unmeasured() -> Result<()> {
    on_site(|site| {
        site.apply(&alone(UNMEASURED))?;
        site.kubectl(&["wait", "--for=condition=Degraded", "--timeout=240s", "mcps/alone"])?;
        let object = site.ready("alone")?;
        let degraded = condition(&object, "Degraded");
        same("the reason", &degraded["reason"], "AutoscalerFailing")?;
        let autoscaler = site.get(&["horizontalpodautoscaler", "alone-tools"])?;
        let own = condition(&autoscaler, "ScalingActive");
        same("what the autoscaler says of itself", &own["status"], "False")?;
        let expected = format!(
            "tools: its HorizontalPodAutoscaler cannot scale it: {}: {}",
            text(&own["reason"]),
            text(&own["message"])
        );
        same("what is told of it", text(&degraded["message"]), expected.as_str())?;

        site.apply(&alone("{replicas: 1}"))?;
        site.condition("alone", "Degraded", "False", "NothingWrong")?;
        site.delete(&["alone"])
    })
}
