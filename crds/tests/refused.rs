//! Each file in `refused/` says in its first line how it is refused. Laptop mode is tried here; the
//! tests of the whole system try the same files on a real API server.

use mcp_system_crds::{FileError, McpSystem, read_one};
use std::path::PathBuf;

fn folder(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", name].iter().collect()
}

#[test]
fn what_cannot_work_is_refused_with_a_message_that_says_what_to_change() {
    let mut tried = 0;
    for entry in std::fs::read_dir(folder("refused")).expect("the folder is there") {
        let path = entry.expect("an entry").path();
        let text = std::fs::read_to_string(&path).expect("readable");
        let expected = text
            .lines()
            .find_map(|line| {
                line.strip_prefix("# refused: ").or_else(|| line.strip_prefix("# refused on a laptop: "))
            })
            .unwrap_or_else(|| panic!("{} does not say how it is refused", path.display()));
        let told = read_one(&text).map(|_| ()).expect_err(&path.display().to_string()).to_string();
        assert!(told.contains(expected), "{}: expected {expected:?}, was told {told:?}", path.display());
        tried += 1;
    }
    assert!(tried > 20, "only {tried} files were found");
}

#[test]
fn every_rule_has_a_file_that_breaks_it() {
    let refused: String = std::fs::read_dir(folder("refused"))
        .expect("the folder is there")
        .map(|entry| std::fs::read_to_string(entry.expect("an entry").path()).expect("readable"))
        .collect();
    let yaml = mcp_system_crds::crd_yaml();
    let crd: serde_json::Value = serde_yaml::from_str(&yaml).expect("parses");
    let mut messages = Vec::new();
    collect(&crd, &mut messages);
    assert!(messages.len() > 15, "{messages:?}");
    for message in messages {
        assert!(refused.contains(&message), "no file in refused/ breaks the rule {message:?}");
    }
}

fn collect(value: &serde_json::Value, messages: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(object) => {
            if let Some(rules) = object.get("x-kubernetes-validations").and_then(|rules| rules.as_array()) {
                messages
                    .extend(rules.iter().filter_map(|rule| Some(rule.get("message")?.as_str()?.to_owned())));
            }
            object.values().for_each(|child| collect(child, messages));
        }
        serde_json::Value::Array(items) => items.iter().for_each(|item| collect(item, messages)),
        _ => {}
    }
}

fn spec(text: &str) -> Result<McpSystem, FileError> {
    read_one(&format!(
        "apiVersion: mcpsystem.io/v1alpha1\nkind: McpSystem\nmetadata:\n  name: demo\nspec:\n  {text}\n"
    ))
}

#[test]
fn an_empty_spec_is_a_whole_system() {
    let system = spec("{}").expect("accepted");
    assert_eq!(system.spec, mcp_system_crds::McpSystemSpec::default());
}

#[test]
fn a_missing_kind_and_version_are_told() {
    let told = read_one("metadata: {name: x}\nspec: {}").expect_err("refused").to_string();
    assert!(told.contains("apiVersion: is missing; write apiVersion: mcpsystem.io/v1alpha1"), "{told}");
    assert!(told.contains("kind: is missing"), "{told}");
}

#[test]
fn every_typo_is_told_at_once() {
    let told = spec("servers: {memry: {}, tools: {prot: 1}}").expect_err("refused").to_string();
    assert!(told.contains("spec.servers.memry") && told.contains("\"memory\""), "{told}");
    assert!(told.contains("spec.servers.tools.prot"), "{told}");
}

#[test]
fn other_documents_are_passed_over() {
    let text = "kind: ConfigMap\napiVersion: v1\n---\napiVersion: mcpsystem.io/v1alpha1\nkind: McpSystem\nmetadata: {name: a}\nspec: {}\n";
    assert_eq!(read_one(text).expect("accepted").metadata.name.as_deref(), Some("a"));
}

#[test]
fn every_system_that_the_readme_and_the_docs_show_is_accepted() {
    for (page, least) in [("README.md", 2), ("docs/FILES.md", 1)] {
        let text = std::fs::read_to_string(folder("../..").join(page)).expect("readable");
        let shown: Vec<&str> =
            text.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
        // The other files that they show are no systems.
        let shown: Vec<&str> = shown.into_iter().filter(|text| text.contains("kind: McpSystem")).collect();
        assert!(shown.len() >= least, "{page} shows only {} systems", shown.len());
        for text in shown {
            read_one(text).unwrap_or_else(|error| panic!("{page}: {error}\n{text}"));
        }
    }
}
