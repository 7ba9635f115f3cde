//! What happens to a running system: pods die, objects are deleted and edited by hand, the file changes.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::site::{Site, eventually, on_site, server, system, text};
use crate::group::{Scenario, same};

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("changes::a_killed_pod_comes_back", killed_pod),
        Scenario::new("changes::a_deleted_deployment_comes_back", deleted_deployment),
        Scenario::new("changes::an_edited_service_is_put_right", edited_service),
        Scenario::new("changes::foreign_marks_and_restarts_survive", foreign_marks),
        Scenario::new("changes::a_bad_image_is_told_and_a_good_one_heals", bad_image),
        Scenario::new("changes::a_disabled_server_goes_and_comes", disabled_server),
        Scenario::new("changes::what_is_not_ours_is_not_taken", not_ours),
        Scenario::new("changes::one_unreadable_system_disturbs_no_other", unreadable),
        Scenario::new("changes::suspended_and_resumed", suspended),
    ]
}

/// A small system of its own for these scenarios, made once.
fn small(site: &Site) -> Result<Value> {
    site.apply(&system("small", "{servers: {memory: {enabled: false}}}"))?;
    site.ready("small")
}

fn uid(site: &Site, kind: &str, name: &str) -> Result<String> {
    Ok(text(&site.get(&[kind, name])?["metadata"]["uid"]).to_owned())
}

fn tools_pod(site: &Site) -> Result<String> {
    let selector = "app.kubernetes.io/instance=small,app.kubernetes.io/component=tools";
    let pods = site.get(&["pods", "--selector", selector, "--field-selector=status.phase=Running"])?;
    // One that is about to end still runs through its drain.
    let stays = |pod: &&Value| pod["metadata"]["deletionTimestamp"].is_null();
    let pod = pods["items"].as_array().and_then(|pods| pods.iter().find(stays)).unwrap_or(&Value::Null);
    Ok(text(&pod["metadata"]["name"]).to_owned())
}

fn killed_pod() -> Result<()> {
    on_site(|site| {
        small(site)?;
        let before = tools_pod(site)?;
        site.kubectl(&["delete", "pod", &before, "--grace-period=0", "--force"])?;
        let after = eventually("another pod runs", || {
            let pod = tools_pod(site)?;
            Ok((!pod.is_empty() && pod != before).then_some(pod))
        })?;
        site.ready("small")?;
        ensure!(after != before, "the pod was not replaced");
        Ok(())
    })
}

fn deleted_deployment() -> Result<()> {
    on_site(|site| {
        small(site)?;
        let before = uid(site, "deployment", "small-tools")?;
        site.kubectl(&["delete", "deployment", "small-tools", "--wait"])?;
        eventually("another Deployment is there", || {
            Ok((uid(site, "deployment", "small-tools")? != before).then_some(()))
        })?;
        site.ready("small").map(drop)
    })
}

fn edited_service() -> Result<()> {
    on_site(|site| {
        small(site)?;
        let patch = r#"{"spec":{"selector":{"app.kubernetes.io/component":"nobody"},"ports":[{"name":"http","port":8006,"targetPort":1}]}}"#;
        site.kubectl(&["patch", "service", "small-tools", "--type=merge", "--patch", patch])?;
        eventually("the Service is put right", || {
            let spec = site.get(&["service", "small-tools"])?["spec"].clone();
            let component = &spec["selector"]["app.kubernetes.io/component"];
            Ok((component == "tools" && spec["ports"][0]["targetPort"] != 1).then_some(()))
        })?;
        site.ready("small").map(drop)
    })
}

fn foreign_marks() -> Result<()> {
    on_site(|site| {
        small(site)?;
        site.kubectl(&["annotate", "deployment", "small-tools", "example.com/mine=kept", "--overwrite"])?;
        site.kubectl(&["label", "service", "small-tools", "example.com/mine=kept", "--overwrite"])?;
        let before = tools_pod(site)?;
        site.kubectl(&["rollout", "restart", "deployment/small-tools"])?;
        site.kubectl(&["rollout", "status", "deployment/small-tools", "--timeout=120s"])?;
        // A change of the file, so that the operator writes this object once more.
        site.apply(&system("small", "{servers: {memory: {enabled: false}, tools: {replicas: 2}}}"))?;
        eventually("two copies are wanted", || {
            Ok((site.get(&["deployment", "small-tools"])?["spec"]["replicas"] == 2).then_some(()))
        })?;
        site.ready("small")?;
        let deployment = site.get(&["deployment", "small-tools"])?;
        same("the annotation", &deployment["metadata"]["annotations"]["example.com/mine"], "kept")?;
        let restarted =
            &deployment["spec"]["template"]["metadata"]["annotations"]["kubectl.kubernetes.io/restartedAt"];
        ensure!(restarted.is_string(), "the restart was undone: {deployment}");
        same(
            "the label",
            &site.get(&["service", "small-tools"])?["metadata"]["labels"]["example.com/mine"],
            "kept",
        )?;
        ensure!(tools_pod(site)? != before, "nothing was restarted");
        small(site).map(drop)
    })
}

fn bad_image() -> Result<()> {
    on_site(|site| {
        small(site)?;
        let bad = "{image: {tag: no-such-tag, pullPolicy: Never}, servers: {memory: {enabled: false}}}";
        site.apply(&system("small", bad))?;
        let message = site.condition("small", "Stalled", "True", "ServerFailing")?;
        ensure!(message.contains("no-such-tag"), "the message does not name the image: {message}");
        let object = site.get(&["mcps", "small"])?;
        same("Ready", &super::site::condition(&object, "Ready")["status"], "False")?;
        same("Reconciling", &super::site::condition(&object, "Reconciling")["status"], "False")?;
        small(site)?;
        site.condition("small", "Stalled", "False", "NothingWrong").map(drop)
    })
}

fn disabled_server() -> Result<()> {
    on_site(|site| {
        small(site)?;
        site.apply(&system("small", "{servers: {memory: {enabled: false}, tools: {enabled: false}}}"))?;
        eventually("all of tools goes", || {
            Ok(site.owned("small")?.iter().all(|object| !object.contains("small-tools")).then_some(()))
        })?;
        let object = site.ready("small")?;
        same("servers", &object["status"]["readyServers"], "1/1")?;
        let object = small(site)?;
        same("servers", &object["status"]["readyServers"], "2/2")
    })
}

fn not_ours() -> Result<()> {
    on_site(|site| {
        site.apply(
            "apiVersion: v1\nkind: Service\nmetadata: {name: taken-tools, labels: {owner: somebody}}\nspec: {ports: [{port: 80}]}\n",
        )?;
        let before = site.get(&["service", "taken-tools"])?;
        site.apply(&system("taken", "{servers: {memory: {enabled: false}}}"))?;
        let message = site.condition("taken", "Stalled", "True", "ObjectNotOurs")?;
        ensure!(message.contains("taken-tools"), "the message does not name the object: {message}");
        eventually("the other server runs all the same", || {
            Ok((site.get(&["deployment", "taken-orchestrator"])?["status"]["readyReplicas"] == 1)
                .then_some(()))
        })?;
        let after = site.get(&["service", "taken-tools"])?;
        same(
            "the foreign Service",
            &after["metadata"]["resourceVersion"],
            &before["metadata"]["resourceVersion"],
        )?;
        site.delete(&["taken"])?;
        site.get(&["service", "taken-tools"]).context("the foreign Service is gone")?;
        site.kubectl(&["delete", "service", "taken-tools"]).map(drop)
    })
}

/// The API server stores what its schema allows; here it is widened for a moment, as by a newer version's CRD.
fn unreadable() -> Result<()> {
    on_site(|site| {
        small(site)?;
        let path = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/logLevel/enum";
        let crd = "crd/mcpsystems.mcpsystem.io";
        let widen = format!(r#"[{{"op":"add","path":"{path}/-","value":"deafening"}}]"#);
        site.kubectl(&["patch", crd, "--type=json", "--patch", &widen])?;
        eventually("the unreadable system is stored", || {
            site.apply(&system("unreadable", "{logLevel: deafening}")).map(Some)
        })?;
        let narrow = format!(r#"[{{"op":"remove","path":"{path}/5"}}]"#);
        site.kubectl(&["patch", crd, "--type=json", "--patch", &narrow])?;

        site.apply(&system("beside", "{servers: {memory: {enabled: false}}}"))?;
        site.ready("beside")?;
        site.kubectl(&["delete", "deployment", "small-tools", "--wait"])?;
        eventually("the healthy ones are looked after", || {
            Ok((site.get(&["deployment", "small-tools"])?["status"]["readyReplicas"] == 1).then_some(()))
        })?;
        same("what runs for the unreadable one", &site.owned("unreadable")?, &Vec::<String>::new())?;
        site.kubectl(&["delete", "mcps", "unreadable", "--wait"])?;
        site.delete(&["beside"])
    })
}

fn suspended() -> Result<()> {
    on_site(|site| {
        small(site)?;
        site.apply(&system("small", "{suspend: true, servers: {memory: {enabled: false}}}"))?;
        site.condition("small", "Ready", "False", "Suspended")?;
        eventually("no pod is left", || {
            Ok(site.owned("small")?.iter().all(|object| !object.starts_with("Pod/")).then_some(()))
        })?;
        site.apply(&system("small", "{suspend: false, servers: {memory: {enabled: false}}}"))?;
        let object = site.ready("small")?;
        same("tools answered", &server(&object, "tools")["answered"], &true)?;
        site.delete(&["small"])
    })
}
