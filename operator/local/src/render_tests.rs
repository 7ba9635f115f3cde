use super::*;
use mcp_system_plan::{Target, plan, validate};
use std::net::Ipv4Addr;

const EVERY_KIND: &str = r#"
apiVersion: mcpsystem.io/v1alpha1
kind: McpSystem
metadata:
  name: team
spec:
  servers:
    memory:
      port: 9003
      resources:
        limits: {memory: 512Mi}
  extraServers:
    - name: filesystem
      process:
        command: ./bin/files
        workingDirectory: data
      port: 9100
      args: ["--port=$(PORT)", "--literal=$$(PORT)", "--greeting", "$(GREETING)", "$(UNKNOWN)"]
      healthPath: /healthz
      env:
        - {name: NAME, value: world}
        - {name: GREETING, value: "hello $(NAME)"}
        - name: TOKEN
          valueFrom: {secretKeyRef: {name: files, key: token}}
        - name: ABSENT
          valueFrom: {secretKeyRef: {name: files, key: absent, optional: true}}
    - name: weather
      image: example.com/weather:1
      imagePullPolicy: Always
      port: 9101
      args: ["--token", "$(TOKEN)"]
      env:
        - {name: UNITS, value: metric}
        - name: TOKEN
          valueFrom: {secretKeyRef: {name: weather, key: token}}
    - name: search
      url: https://search.example.com/mcp
    - name: secretive
      process: {command: npx}
      port: 9102
      env:
        - name: NOBODY_KNOWS
          valueFrom: {secretKeyRef: {name: secretive, key: password}}
"#;

fn rendered(text: &str, variables: &[(&str, &str)]) -> Rendered {
    let system = mcp_system_crds::read_one(text).unwrap();
    let target = Target::Laptop { container_runtime: Some("docker".to_owned()) };
    let plan = plan(&validate(&system, &target).unwrap());
    let directories = Directories::new(Path::new("/home/me/state"), "team", &|_| None).unwrap();
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let place = Place {
        program: Path::new("/usr/local/bin/mcp-system"),
        directories: &directories,
        base: Path::new("/home/me/project"),
        bind: Ipv4Addr::LOCALHOST.into(),
        runtime: Some("docker"),
        variables: &variables,
    };
    render(&plan, &place)
}

#[test]
fn every_kind_of_server_becomes_a_process() {
    let rendered = rendered(EVERY_KIND, &[("TOKEN", "s3cret"), ("PATH", "/bin")]);
    insta::assert_yaml_snapshot!(rendered);
}

#[test]
fn a_secret_reaches_the_process_and_nothing_that_is_shown() {
    let rendered = rendered(EVERY_KIND, &[("TOKEN", "s3cret")]);
    let files = rendered.processes.iter().find(|process| process.name == "filesystem").unwrap();
    assert_eq!(files.env["TOKEN"].text(), "s3cret");
    assert!(!format!("{files:?}").contains("s3cret"));
    assert!(!serde_json::to_string(files).unwrap().contains("s3cret"));
}

#[test]
fn a_variable_that_a_server_reads_replaces_it_when_it_changes() {
    let memory = |variables: &[(&str, &str)]| rendered(EVERY_KIND, variables).processes.remove(0);
    let before = memory(&[("MCP_POOL_MAX_SIZE", "7"), ("PWD", "/a")]);
    assert_eq!(before.env["MCP_POOL_MAX_SIZE"].text(), "7");
    assert!(before.can_become(&memory(&[("MCP_POOL_MAX_SIZE", "7"), ("PWD", "/b")])));
    assert!(!before.can_become(&memory(&[("MCP_POOL_MAX_SIZE", "8"), ("PWD", "/a")])));
}

#[test]
fn a_suspended_system_has_no_processes() {
    let text =
        "{apiVersion: mcpsystem.io/v1alpha1, kind: McpSystem, metadata: {name: team}, spec: {suspend: true}}";
    assert_eq!(rendered(text, &[]), Rendered::default());
}

#[test]
fn only_what_a_server_cannot_take_over_replaces_it() {
    let spec = rendered(EVERY_KIND, &[]).processes.remove(0);
    let mut other = spec.clone();
    other.config.as_mut().unwrap().text.push_str("# reloaded");
    assert!(spec.can_become(&other));
    other.config.as_mut().unwrap().restart_hash.push('x');
    assert!(!spec.can_become(&other));
    assert!(!spec.can_become(&ProcessSpec { port: 1, ..spec.clone() }));
}
