//! The chart over time: its upgrades, operators of some namespaces alone, and what becomes of the CRD.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use mcp_system_tests::laptop;
use serde_json::{Value, json};

use super::files::printed;
use super::site::{OPERATOR, OPERATOR_USER, Site, chart, eventually, on_site, system, text};
use crate::group::{Scenario, same};

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("chart::an_upgrade_brings_its_crd", upgrade),
        Scenario::new("chart::an_operator_of_named_namespaces_leaves_the_others_alone", named_namespaces),
        Scenario::new("chart::other_values_make_other_objects", other_values),
        Scenario::new("chart::who_sees_or_changes_a_namespace_does_so_with_its_systems", users),
    ]
}

/// What ends with every system deleted, and so comes after all others.
pub(super) fn last_scenarios() -> Vec<Scenario> {
    vec![Scenario::new("chart::the_crd_stays_goes_or_is_a_persons_own_as_the_values_say", uninstalled)]
}

const SMALL: &str = "{servers: {memory: {enabled: false}}}";
const CRD: &str = "customresourcedefinition/mcpsystems.mcpsystem.io";

fn upgrade() -> Result<()> {
    on_site(|site| {
        site.apply(&system("upgraded", SMALL))?;
        let before = site.ready("upgraded")?["metadata"]["uid"].clone();
        // Another version of the chart: its CRD calls a column differently.
        let folder = tempfile::tempdir().context("no folder for a chart")?;
        printed(Command::new("cp").arg("-R").arg(chart()).arg(folder.path()))?;
        let other = folder.path().join("mcp-system");
        let file = other.join("files/mcpsystems.yaml");
        let definition = fs::read_to_string(&file).context("the chart brings no CRD")?;
        let changed = definition.replacen("name: Reason", "name: Why", 1);
        fs::write(&file, changed).context("cannot change the CRD")?;

        let columns = || {
            let names = "--output=jsonpath={.spec.versions[0].additionalPrinterColumns[*].name}";
            site.kubectl(&["get", CRD, names])
        };
        site.install_operator(&other, &[])?;
        same("the columns of one chart", &columns()?, "Ready Servers Why URL Age Message")?;
        site.install_operator(&chart(), &[])?;
        same("the columns of the other", &columns()?, "Ready Servers Reason URL Age Message")?;
        same("the system", &site.get(&["mcps", "upgraded"])?["metadata"]["uid"], &before)?;
        site.ready("upgraded")?;
        site.delete(&["upgraded"])
    })
}

fn named_namespaces() -> Result<()> {
    const INSIDE: &str = "inside";
    const OUTSIDE: &str = "outside";
    on_site(|site| {
        for namespace in [INSIDE, OUTSIDE] {
            site.apply(&format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {namespace}}}\n"))?;
        }
        site.install_operator(&chart(), &[&format!("namespaces={{{INSIDE}}}")])?;
        let notes = site.cluster.helm(&["get", "notes", OPERATOR, "--namespace", OPERATOR])?;
        ensure!(notes.contains("kubectl apply --namespace inside -f"), "they name no namespace: {notes}");
        for (namespace, expected) in [(INSIDE, true), (OUTSIDE, false)] {
            same(namespace, &may(site, OPERATOR_USER, "create", "deployments.apps", namespace), &expected)?;
        }
        for namespace in [OUTSIDE, INSIDE] {
            let place = format!("{{name: small, namespace: {namespace}}}");
            site.apply(&system("small", SMALL).replace("{name: small}", &place))?;
        }
        ready_in(site, INSIDE)?;
        // The one outside came first.
        let outside = site.get(&["mcps", "small", "--namespace", OUTSIDE])?;
        same("what is said of the system outside", &outside["status"], &Value::Null)?;
        let made = site.get(&["deployments,services", "--namespace", OUTSIDE])?;
        same("what is made for it", &made["items"].as_array().map(Vec::len), &Some(0))?;

        site.install_operator(&chart(), &[])?;
        ready_in(site, OUTSIDE)?;
        site.kubectl(&["delete", "namespace", INSIDE, OUTSIDE, "--wait"]).map(drop)
    })
}

fn ready_in(site: &Site, namespace: &str) -> Result<()> {
    let wait = ["wait", "--for=condition=Ready", "mcps/small", "--timeout=120s", "--namespace", namespace];
    site.kubectl(&wait).map(drop)
}

/// What a cluster may ask for that the defaults do not give: an OpenShift that chooses users itself, say.
const OTHER_VALUES: &str = r#"
fullnameOverride: other
commonLabels: {team: red}
crds: {install: false}
serviceAccount: {create: false, name: theirs}
namespaces: [default, kube-system]
strategy: {type: Recreate}
deploymentAnnotations: {note: kept}
extraArgs: ["--probe-interval=30"]
extraEnv: [{name: HTTPS_PROXY, value: "http://proxy:3128"}]
podSecurityContext: {runAsUser: null, runAsGroup: null}
securityContext: {runAsNonRoot: true}
volumes: [{name: scratch, emptyDir: {}}]
volumeMounts: [{name: scratch, mountPath: /scratch}]
metrics:
  serviceMonitor:
    enabled: true
    scrapeTimeout: 5s
    annotations: {note: kept}
    relabelings: [{targetLabel: cluster, replacement: here}]
    metricRelabelings: [{action: labeldrop, regex: endpoint}]
  dashboards:
    enabled: true
    namespace: default
    labels: {grafana_dashboard: null, shown: here}
  prometheusRule:
    enabled: true
    labels: {release: monitoring}
    additionalRuleLabels: {severity: page, team: red}
    additionalRuleAnnotations: {runbook_url: 'https://example.com'}
"#;

/// Null takes a default away.
const NO_VALUES: &str = "
fullnameOverride: other
crds: {install: false}
commonLabels: null
namespaces: null
metrics:
  dashboards: {enabled: true, labels: null}
  prometheusRule: {enabled: true, additionalRuleLabels: null, additionalRuleAnnotations: null}
podSecurityContext: null
volumes: null
";

fn other_values() -> Result<()> {
    on_site(|site| {
        rendered(site, NO_VALUES).context("nothing in place of defaults")?;

        let items = rendered(site, OTHER_VALUES)?;
        for item in &items {
            same("a common label", &item["metadata"]["labels"]["team"], "red")?;
            let name = text(&item["metadata"]["name"]);
            ensure!(name.starts_with("other"), "{} is called {name}", item["kind"]);
            ensure!(item["kind"] != "ServiceAccount", "the chart makes a service account all the same");
            if let Some(subjects) = item.get("subjects") {
                same("who gets the rights", &subjects[0]["name"], "theirs")?;
            }
        }
        let of_kind = |kind: &str| {
            let found = items.iter().find(|item| item["kind"] == kind);
            found.with_context(|| format!("there is no {kind}"))
        };

        let deployment = of_kind("Deployment")?;
        same("an annotation", &deployment["metadata"]["annotations"]["note"], "kept")?;
        same("the strategy", &deployment["spec"]["strategy"], &json!({"type": "Recreate"}))?;
        let template = &deployment["spec"]["template"];
        same("a label of the pods", &template["metadata"]["labels"]["team"], "red")?;
        let pod = &template["spec"];
        same("the service account", &pod["serviceAccountName"], "theirs")?;
        let user = json!({"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}});
        same("the pods' security", &pod["securityContext"], &user)?;
        same("a volume", &pod["volumes"], &json!([{"name": "scratch", "emptyDir": {}}]))?;
        let container = &pod["containers"][0];
        let security = &container["securityContext"];
        same("what is added to the container's security", &security["runAsNonRoot"], &true)?;
        same("what stays of it", &security["readOnlyRootFilesystem"], &true)?;
        let mounts = json!([{"name": "scratch", "mountPath": "/scratch"}]);
        same("where the volume is mounted", &container["volumeMounts"], &mounts)?;
        let last = |list: &Value| list.as_array().and_then(|list| list.last()).cloned().unwrap_or_default();
        same("the last argument", &last(&container["args"]), "--probe-interval=30")?;
        same("the last variable", &last(&container["env"])["name"], "HTTPS_PROXY")?;

        let monitor = of_kind("ServiceMonitor")?;
        same("an annotation of the monitor", &monitor["metadata"]["annotations"]["note"], "kept")?;
        let endpoint = &monitor["spec"]["endpoints"][0];
        same("its patience", &endpoint["scrapeTimeout"], "5s")?;
        same("what it does to targets", &endpoint["relabelings"][0]["targetLabel"], "cluster")?;
        same("what it does to samples", &endpoint["metricRelabelings"][0]["action"], "labeldrop")?;

        let map = of_kind("ConfigMap")?;
        same("where a dashboard is", &map["metadata"]["namespace"], "default")?;
        same("how it is found", &map["metadata"]["labels"]["shown"], "here")?;
        same("how it is not", &map["metadata"]["labels"]["grafana_dashboard"], &Value::Null)?;
        let rule = of_kind("PrometheusRule")?;
        same("a label of the rules", &rule["metadata"]["labels"]["release"], "monitoring")?;
        let (operator, servers) = (&rule["spec"]["groups"][0], &rule["spec"]["groups"][1]);
        let alert = &operator["rules"][0];
        let expected = r#"absent(mcp_operator_leader{namespace="mcp-system", service="other"})"#;
        same("what an alert looks at", &alert["expr"], expected)?;
        same("its labels", &alert["labels"], &json!({"severity": "page", "team": "red"}))?;
        same("an annotation of it", &alert["annotations"]["runbook_url"], "https://example.com")?;
        let at = text(&servers["rules"][0]["expr"]);
        ensure!(at.contains(r#"{namespace=~"default|kube-system"}"#), "others are looked at: {at}");
        Ok(())
    })
}

/// What the chart makes of these values, as the API server would store it.
fn rendered(site: &Site, values: &str) -> Result<Vec<Value>> {
    let folder = tempfile::tempdir().context("no folder for values")?;
    let file = folder.path().join("values.yaml");
    fs::write(&file, values).context("cannot write values")?;
    let (chart, file) = (chart().display().to_string(), file.display().to_string());
    let template =
        ["template", OPERATOR, &chart, "--namespace", OPERATOR, "--kube-version=1.33.0", "--values", &file];
    let manifest = site.cluster.helm(&template)?;
    let apply = ["apply", "--dry-run=server", "--output=json", "--filename=-"];
    let list = site.cluster.kubectl_with_input(&apply, &manifest)?;
    let list: Value = serde_json::from_str(&list).context("kubectl gave no JSON")?;
    list["items"].as_array().cloned().context("the chart makes less than two objects")
}

fn users() -> Result<()> {
    on_site(|site| {
        for role in ["view", "edit"] {
            site.kubectl(&["create", "rolebinding", role, "--clusterrole", role, "--user", role])?;
        }
        // Another controller puts the roles together.
        eventually("who sees a namespace sees its systems", || {
            Ok(may(site, "view", "list", "mcps", "default").then_some(()))
        })?;
        eventually("who changes a namespace changes its systems", || {
            Ok(may(site, "edit", "create", "mcps", "default").then_some(()))
        })?;
        for (user, verb, what, namespace) in [
            ("view", "patch", "mcps", "default"),
            ("edit", "patch", "mcps/status", "default"),
            ("edit", "list", "mcps", "kube-system"),
        ] {
            ensure!(!may(site, user, verb, what, namespace), "{user} may {verb} {what} in {namespace}");
        }
        site.kubectl(&["delete", "rolebinding", "view", "edit"]).map(drop)
    })
}

fn may(site: &Site, user: &str, verb: &str, what: &str, namespace: &str) -> bool {
    let user = format!("--as={user}");
    let (what, subresource) = what.split_once('/').unwrap_or((what, ""));
    let subresource = format!("--subresource={subresource}");
    let question = ["auth", "can-i", verb, what, &subresource, "--namespace", namespace, &user];
    // It fails when the answer is no.
    site.kubectl(&question).is_ok_and(|answer| answer.trim() == "yes")
}

fn uninstalled() -> Result<()> {
    on_site(|site| {
        site.apply(&system("survivor", SMALL))?;
        let before = site.ready("survivor")?["metadata"]["uid"].clone();
        let is_there = |what: &str| -> Result<()> {
            same(what, &site.get(&["mcps", "survivor"])?["metadata"]["uid"], &before)
        };
        site.uninstall_operator()?;
        is_there("the system without an operator")?;
        site.install_operator(&chart(), &["crds.keep=false"])?;
        is_there("the system whose CRD the chart has found")?;
        site.uninstall_operator()?;
        eventually("the CRD goes, and every system with it", || {
            let known = site.kubectl(&["get", CRD, "--ignore-not-found", "--output=name"])?;
            Ok(known.is_empty().then_some(()))
        })?;

        // As the README says to those who handle the CRD themselves.
        let definition = printed(Command::new(laptop::binary()?).arg("crd"))?.stdout;
        let definition = String::from_utf8(definition).context("the CRD is not UTF-8")?;
        site.cluster.kubectl_with_input(&["apply", "--server-side", "--filename=-"], &definition)?;
        site.kubectl(&["wait", "--for=condition=Established", "--timeout=60s", CRD])?;
        site.install_operator(&chart(), &["crds.install=false"])?;
        let manifest = site.cluster.helm(&["get", "manifest", OPERATOR, "--namespace", OPERATOR])?;
        ensure!(!manifest.contains("CustomResourceDefinition"), "the chart brings the CRD all the same");
        site.apply(&system("own", SMALL))?;
        site.ready("own")?;
        site.delete(&["own"])
    })
}
