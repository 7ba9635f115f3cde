//! What alert rules and dashboards speak of: each metric is one that the operator or the servers declare, and each label one that they
//! give it or that Prometheus adds.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::{file, repository};

/// The labels that Prometheus adds to what it scrapes, what it calls the namespace that a metric tells itself, and those that names and
/// histograms have.
const ADDED: [&str; 6] = ["__name__", "namespace", "exported_namespace", "service", "pod", "le"];
/// Where the metrics stand that all servers have, below the sources of their kit.
const KIT: [&str; 4] = ["metrics.rs", "metrics/calls.rs", "metrics/text.rs", "reload/told.rs"];
const SERVERS: [&str; 4] = ["memory", "orchestrator", "tools", "weaviate-direct"];

/// What one program measures.
struct Program {
    /// How the names of its metrics begin that the sources declare without that.
    prefix: String,
    /// What declares them.
    sources: String,
}

fn operator() -> Vec<Program> {
    vec![Program { prefix: String::new(), sources: file("operator/kubernetes/src/metrics.rs") }]
}

fn servers() -> Vec<Program> {
    let kit: String = KIT.iter().map(|path| file(&format!("servers/kit/src/{path}"))).collect();
    let program = |server: &str| {
        let mut sources = kit.clone();
        read_all(&repository().join("servers").join(server).join("src"), &mut sources);
        Program { prefix: format!("mcp_{}_", server.replace('-', "_")), sources }
    };
    SERVERS.into_iter().map(program).collect()
}

fn read_all(folder: &Path, text: &mut String) {
    for entry in fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            read_all(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&fs::read_to_string(&path).expect("readable"));
        }
    }
}

impl Program {
    /// Whether a literal that begins a declaration, `counter("requests_total", ...)` say, names this metric.
    fn declares(&self, metric: &str) -> bool {
        let metric =
            ["_bucket", "_count", "_sum"].iter().find_map(|end| metric.strip_suffix(end)).unwrap_or(metric);
        let own = metric.strip_prefix(&*self.prefix);
        let own = own.or_else(|| metric.starts_with("process_").then_some(metric));
        let Some(own) = own else { return false };
        // Those of what a server depends on get their names in one step more.
        let (own, calls): (&str, &[&str]) = match own.strip_prefix("dependency_") {
            Some(own) => (own, &["options("]),
            None => (own, &["name(", "new(", "counter(", "counters(", "gauge(", "histogram("]),
        };
        self.sources.match_indices(&format!("\"{own}\"")).any(|(at, _)| {
            let before = self.sources[..at].trim_end();
            calls.iter().any(|call| before.ends_with(*call))
        })
    }

    /// Whether it gives its metrics this label, by its name or in lines that it writes itself.
    fn labels(&self, label: &str) -> bool {
        [format!("\"{label}\""), format!("{{{label}=\""), format!(",{label}=\"")]
            .iter()
            .any(|given| self.sources.contains(given.as_str()))
    }
}

#[test]
fn only_what_is_declared_counts_as_declared() {
    let programs: Vec<Program> = operator().into_iter().chain(servers()).collect();
    let declared = |metric: &str| programs.iter().any(|program| program.declares(metric));
    for metric in [
        "mcp_operator_leader",
        "mcp_operator_system_condition",
        "mcp_operator_server_silent",
        "mcp_operator_reconcile_duration_seconds_bucket",
        "mcp_memory_requests_total",
        "mcp_weaviate_direct_request_duration_seconds_count",
        "mcp_tools_dependency_calls_total",
        "mcp_orchestrator_backend_up",
        "process_open_fds",
    ] {
        assert!(declared(metric), "{metric} is declared");
    }
    for metric in [
        "mcp_operator_requests_total",
        "mcp_memory_backend_up",
        "mcp_tools_calls_total",
        "mcp_orchestrator_index_bytes",
        "mcp_requests_total",
        "process_virtual_memory_bytes",
    ] {
        assert!(!declared(metric), "{metric} is not declared");
    }
}

/// The metrics and the labels that stand in an expression.
#[derive(Debug, Default, PartialEq, Eq)]
struct Terms {
    metrics: BTreeSet<String>,
    labels: BTreeSet<String>,
}

impl Terms {
    fn of(expression: &str) -> Self {
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '$';
        let mut found = Self::default();
        let (mut in_braces, mut in_list, mut word) = (false, false, "");
        let mut rest = expression;
        while let Some(first) = rest.chars().next() {
            if first == '"' {
                let (text, after) = rest[1..].split_once('"').expect("a text ends");
                if word == "__name__" {
                    found.metrics.extend(alternatives(text));
                }
                rest = after;
            } else if is_part(first) {
                let end = rest.find(|c: char| !is_part(c)).unwrap_or(rest.len());
                (word, rest) = rest.split_at(end);
                if in_braces || in_list {
                    found.labels.insert(word.to_owned());
                } else if word.starts_with("mcp_") || word.starts_with("process_") {
                    found.metrics.insert(word.to_owned());
                }
            } else {
                match first {
                    '{' => in_braces = true,
                    '}' => in_braces = false,
                    '(' if ["by", "without", "on", "ignoring"].contains(&word) => in_list = true,
                    ')' => in_list = false,
                    _ => {}
                }
                rest = &rest[first.len_utf8()..];
            }
        }
        found
    }
}

/// What a regular expression of the form `a(b|c)d` stands for.
fn alternatives(pattern: &str) -> Vec<String> {
    let Some((head, rest)) = pattern.split_once('(') else { return vec![pattern.to_owned()] };
    let (choices, tail) = rest.split_once(')').expect("it is closed");
    choices.split('|').map(|choice| format!("{head}{choice}{tail}")).collect()
}

#[test]
fn the_terms_of_an_expression_are_found() {
    let terms = Terms::of(r#"sum by (a, b) (rate({__name__=~"mcp_(x|y)_z", c="d"}[5m])) / process_e{f!=""}"#);
    let set = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    let expected = Terms {
        metrics: set(&["mcp_x_z", "mcp_y_z", "process_e"]),
        labels: set(&["__name__", "a", "b", "c", "f"]),
    };
    assert_eq!(terms, expected);
}

/// Panics where an expression speaks of what none of these programs measures.
fn check(expression: &str, programs: &[Program]) {
    let Terms { metrics, labels } = Terms::of(expression);
    assert!(!metrics.is_empty(), "no metric was found in {expression}");
    for metric in metrics {
        let declared = programs.iter().any(|program| program.declares(&metric));
        assert!(declared, "nobody declares {metric} of {expression}");
    }
    for label in labels {
        let given = ADDED.contains(&&*label) || programs.iter().any(|program| program.labels(&label));
        assert!(given, "nobody gives the label {label} of {expression}");
    }
}

/// The expressions of a dashboard, those of its variables among them.
fn expressions(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value.as_str() {
                    // The variable that chooses among the sources of data asks for their kind.
                    Some(text) if name == "expr" || (name == "query" && text != "prometheus") => {
                        found.push(text.to_owned());
                    }
                    _ => expressions(value, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| expressions(item, found)),
        _ => {}
    }
}

#[test]
fn dashboards_speak_of_what_is_measured() {
    for (name, programs) in [("operator", operator()), ("servers", servers())] {
        let text = file(&format!("charts/mcp-system/files/dashboards/{name}.json"));
        let dashboard: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(dashboard["title"], format!("mcp-system {name}"));
        let mut found = Vec::new();
        expressions(&dashboard, &mut found);
        assert!(found.len() > 10, "only {} expressions were found in {name}", found.len());
        for expression in &found {
            check(expression, &programs);
        }
    }
}

/// The alert rules as the template fills them in.
fn alerts() -> Value {
    let text = file("charts/mcp-system/files/alerts.yaml")
        .replace("${OPERATOR}", "namespace=\"a\", service=\"b\"")
        .replace("${SERVERS}", "namespace=~\".+\"");
    serde_yaml::from_str(&text).expect("the alert rules are YAML")
}

/// The labels that a template of Prometheus puts in.
fn spoken_of(text: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let begun = text.split("$labels.").skip(1);
    begun.filter_map(|rest| rest.split(|c: char| !is_part(c)).next()).map(str::to_owned).collect()
}

#[test]
fn alerts_tell_whom_they_are_about_by_labels_that_they_have() {
    let alerts = alerts();
    let groups = alerts["groups"].as_array().expect("groups").iter();
    let mut told = BTreeMap::new();
    for rule in groups.flat_map(|group| group["rules"].as_array().expect("rules")) {
        let text = |pointer: &str| rule.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        // What is summed up keeps those labels alone by which it is.
        let expr = text("/expr");
        let by = expr.split_once("by (").and_then(|(_, rest)| rest.split_once(')'));
        let labels: BTreeSet<String> = match by {
            Some((labels, _)) => labels.split(',').map(|label| label.trim().to_owned()).collect(),
            None => Terms::of(expr).labels,
        };
        for place in ["/labels/namespace", "/annotations/summary", "/annotations/description"] {
            let lost: Vec<String> = spoken_of(text(place)).difference(&labels).cloned().collect();
            assert!(lost.is_empty(), "{} has no {lost:?}, of which {place} speaks", text("/alert"));
        }
        told.insert(text("/alert"), (spoken_of(text("/annotations/summary")), text("/labels/namespace")));
    }
    let set = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<BTreeSet<String>>();
    let theirs = "{{ $labels.exported_namespace }}";
    assert_eq!(told["McpServerSilent"], (set(&["name", "server"]), theirs));
    assert_eq!(told["McpSystemNotReady"], (set(&["exported_namespace", "name"]), theirs));
    assert_eq!(told["McpOperatorFails"], (set(&["pod", "reason"]), ""));
}

#[test]
fn alerts_speak_of_what_is_measured_and_are_told_in_the_readme() {
    let readme = file("charts/mcp-system/README.md");
    let alerts = alerts();
    let mut count = 0;
    for group in alerts["groups"].as_array().expect("groups") {
        let programs = match group["name"].as_str() {
            Some("mcp-system-operator") => operator(),
            Some("mcp-system-servers") => servers(),
            other => panic!("whom does the group {other:?} speak of?"),
        };
        for rule in group["rules"].as_array().expect("rules") {
            let field = |pointer: &str| {
                let text = rule.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty());
                text.unwrap_or_else(|| panic!("{pointer} is missing in {rule}"))
            };
            check(field("/expr"), &programs);
            for told in ["/annotations/summary", "/annotations/description"] {
                field(told);
            }
            let after = field("/for").trim_end_matches('m');
            let row = format!("| {} | {after} min | {} |", field("/alert"), field("/labels/severity"));
            assert!(readme.contains(&row), "the README does not tell {row}");
            count += 1;
        }
    }
    let told = readme.lines().filter(|line| line.starts_with("| Mcp")).count();
    assert_eq!(told, count, "the README tells of alerts that are none");
}
