use super::*;
use mcp_system_plan::{Embedded, Observed, Target, plan, validate};
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
      mounts:
        - {mountPath: /srv/weather, persistentVolumeClaim: {claimName: weather, readOnly: false}}
        - {mountPath: /etc/weather, configMap: {name: weather}}
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
    rendered_beside(text, variables, Embedded::Absent)
}

fn rendered_beside(text: &str, variables: &[(&str, &str)], embedded: Embedded) -> Rendered {
    let system = mcp_system_crds::read_one(text).unwrap();
    let directories = Directories::new(Path::new("/home/me/state"), "team", &|_| None).unwrap();
    let target =
        Target::Laptop { container_runtime: Some("docker".to_owned()), folder: directories.root.clone() };
    let plan = plan(&validate(&system, &target, &Observed { embedded, ..Observed::default() }).unwrap());
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

const POSTGRES: &str = "{apiVersion: mcpsystem.io/v1alpha1, kind: McpSystem, metadata: {name: team}, spec: {
  storage: {type: Postgres, postgres: {urlSecret: {name: db, key: url}}},
  servers: {orchestrator: {enabled: false}, tools: {enabled: false}}}}";

#[test]
fn the_url_of_a_database_comes_from_a_variable_or_from_a_file() {
    let content = |variables: &[(&str, &str)]| {
        let rendered = rendered(POSTGRES, variables);
        let memory = rendered.processes.first().expect("it runs");
        let secret = memory.secrets.first().expect("the URL");
        assert_eq!(secret.path, Path::new("/home/me/state/team/storage/postgres-url"));
        assert!(memory.data.is_none() && memory.moves.is_none());
        secret.content.clone()
    };
    let text = Content::Text(Value::from_environment("postgres://a:b@c/d"));
    let (url, file) = (("MCP_POSTGRES_URL", "postgres://a:b@c/d"), ("MCP_POSTGRES_URL_FILE", "secrets/url"));
    assert_eq!(content(&[url]), text);
    assert_eq!(content(&[file]), Content::Of("/home/me/project/secrets/url".into()));
    assert_eq!(content(&[file, url]), text);
    let withheld = rendered(POSTGRES, &[]).withheld.remove(0);
    assert_eq!(withheld.name, "memory");
    assert!(
        withheld.message.contains("MCP_POSTGRES_URL, or MCP_POSTGRES_URL_FILE to the path of a file")
            && withheld.message.contains("key url of Secret db"),
        "{withheld:?}"
    );
}

#[test]
fn memories_are_moved_before_the_first_start_and_later_plans_replace_nothing() {
    let variables = [("MCP_POSTGRES_URL", "postgres://a:b@c/d")];
    let moving = rendered_beside(POSTGRES, &variables, Embedded::Present).processes.remove(0);
    let moves = moving.moves.clone().expect("it moves");
    assert_eq!(moves.from, Path::new("/home/me/state/team/data/memory"));
    let config = "/home/me/state/team/config/memory.yaml";
    assert_eq!(
        moves.args,
        ["memory", "move", "--config", config, "--data", "/home/me/state/team/data/memory"]
    );
    let later = rendered_beside(POSTGRES, &variables, Embedded::Moved).processes.remove(0);
    assert!(later.moves.is_none() && moving.can_become(&later) && moving.reads_the_same(&later));
}

#[test]
fn no_two_systems_of_a_machine_have_containers_of_one_name() {
    let name = |system, server, root: &str| container_name(system, server, Path::new(root));
    let ours = name("a", "b-c", "/home/me/state/a");
    assert_eq!(ours, name("a", "b-c", "/home/me/state/a"));
    assert_ne!(ours, name("a", "b-c", "/tmp/state/a"));
    assert_ne!(ours, name("a-b", "c", "/home/me/state/a-b"));
}
