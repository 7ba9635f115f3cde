//! The commands as a person uses them, laptop mode above all: the real program, real servers, real signals. Each test has a home and
//! ports of its own, and ends what it started.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod home;
mod plans;

use home::{Home, eventually, program, signal};
use mcp_system_tests::wire::{Client, Place};
use nix::sys::signal::Signal;
use serde_json::json;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

#[test]
fn a_system_is_started_looked_at_repaired_and_ended() {
    let home = Home::new();
    let up = home.run(&["up", "-d"]).succeeds();
    for text in ["memory", "tools", "orchestrator", &format!("http://127.0.0.1:{}/mcp", home.port(0))] {
        assert!(up.contains(text), "{text} is missing in:\n{up}");
    }
    // It returns once all are ready; docs/BENCHMARKS.md tells how soon that is.
    let first = home.report();
    assert_eq!(first["ready"], true);
    assert_eq!(first["readyServers"], "3/3");
    assert_eq!(home.server("memory")["version"], env!("CARGO_PKG_VERSION"));
    eventually("its tools are told", || home.tools("orchestrator") > 0);

    // Once more is harmless: the same processes go on.
    let again = home.run(&["up", "-d"]).succeeds();
    assert!(again.contains("runs already"), "{again}");
    assert_eq!(home.pid("memory"), first_pid(&first, "memory"));

    // A server that is killed is back.
    let killed = home.pid("memory");
    signal(killed, Signal::SIGKILL);
    eventually("memory is back", || {
        let memory = home.server("memory");
        memory["state"] == "ready" && memory["pid"].as_u64().is_some_and(|pid| pid != u64::from(killed))
    });
    assert_eq!(home.server("memory")["restarts"], 1);
    assert_eq!(home.pid("tools"), first_pid(&first, "tools"));
    let told = home.run(&["logs", "supervisor"]).succeeds();
    assert!(told.contains("memory: was ended by SIGKILL"), "{told}");

    let logs = home.run(&["logs", "-n", "3"]).succeeds();
    assert!(logs.lines().any(|line| line.starts_with("memory") && line.contains("| ")), "{logs}");
    let unknown = home.run(&["logs", "nobody"]).fails();
    assert!(unknown.contains("memory") && unknown.contains("nobody"), "{unknown}");

    // A restart that was asked for is none that the server needed.
    let before = home.pid("tools");
    home.run(&["restart", "tools"]).succeeds();
    assert_ne!(home.pid("tools"), before);
    assert_eq!(home.server("tools")["restarts"], 0);
    let unknown = home.run(&["restart", "nobody"]).fails();
    assert!(unknown.contains("memory, orchestrator, tools"), "{unknown}");

    home.run(&["down"]).succeeds();
    assert_eq!(home.processes(), Vec::<String>::new());
    assert!(home.run(&["status"]).fails().contains("mcp-system up"));
    assert!(home.run(&["down"]).succeeds().contains("nothing runs"));
    assert!(home.run(&["logs", "memory"]).succeeds().contains("listening"), "logs outlive the system");
}

fn first_pid(report: &serde_json::Value, server: &str) -> u32 {
    let servers = report["servers"].as_array().unwrap();
    let server = servers.iter().find(|found| found["name"] == server).unwrap();
    server["pid"].as_u64().unwrap().try_into().unwrap()
}

#[test]
fn a_busy_port_is_named_with_its_holder_before_anything_starts() {
    let home = Home::new();
    let _holder = TcpListener::bind(("127.0.0.1", home.port(1))).unwrap();
    for command in [&["up", "-d"] as &[&str], &["up"]] {
        let message = home.run(command).fails();
        let pid = format!("process {}", std::process::id());
        for text in [&pid, "memory", "MCP_MEMORY_PORT", &home.port(1).to_string()] {
            assert!(message.contains(text), "{text} is missing in:\n{message}");
        }
        assert_eq!(home.processes(), Vec::<String>::new());
    }
}

#[test]
fn a_typo_is_answered_with_the_nearest_name() {
    let home = Home::new();
    let file = home.file("servers: {memory: {replica: 1}, tols: {}}");
    for command in [&["up", "-d", "-f", &file] as &[&str], &["plan", "-f", &file]] {
        let message = home.run(command).fails();
        for text in ["spec.servers.memory.replica", "\"replicas\"", "spec.servers.tols", "\"tools\"", &file] {
            assert!(message.contains(text), "{text} is missing in:\n{message}");
        }
    }
    let message = home.with("MCP_CACHE_SIZE", "big").run(&["up", "-d"]).fails();
    assert!(message.contains("MCP_CACHE_SIZE") && message.contains("\"big\""), "{message}");
}

#[test]
fn what_a_killed_supervisor_left_behind_is_ended_by_down_and_by_up() {
    let home = Home::new();
    home.run(&["up", "-d"]).succeeds();
    home.kill_supervisor();
    eventually("the supervisor is gone", || home.run(&["status"]).fails().contains("was killed"));
    assert_eq!(home.processes().len(), 3, "the servers go on");
    let down = home.run(&["down"]).succeeds();
    assert!(down.contains("memory") && down.contains("what was left"), "{down}");
    assert_eq!(home.processes(), Vec::<String>::new());

    let elsewhere = home.path().join("pids").display().to_string();
    home.with("MCP_PID_DIR", &elsewhere).run(&["up", "-d"]).succeeds();
    let left = home.pid("memory");
    home.kill_supervisor();
    home.run(&["up", "-d"]).succeeds();
    assert_ne!(home.pid("memory"), left);
    assert_eq!(home.processes().len(), 4, "three servers and their supervisor: {:?}", home.processes());
}

#[test]
fn a_changed_file_changes_just_what_differs() {
    let home = Home::new();
    let extra = format!(
        "extraServers: [{{name: more, port: {}, process: {{command: {}}}, \
         args: [serve, tools, --port, $(PORT)], healthPath: /health}}]",
        home.port(3),
        program()
    );
    let file = home.file("{}");
    home.run(&["up", "-d", "-f", &file]).succeeds();
    let (memory, tools, orchestrator) = (home.pid("memory"), home.pid("tools"), home.pid("orchestrator"));

    let offered = || home.tools("orchestrator");
    let before = home.tools("memory") + home.tools("tools");
    eventually("the orchestrator offers the tools of both", || before > 0 && offered() == before);

    // A server behind it reaches the orchestrator that runs.
    home.file(&extra);
    let up = home.run(&["up", "-d", "-f", &file]).succeeds();
    assert!(up.contains("started: more") && up.contains("given new settings: orchestrator"), "{up}");
    assert_eq!(home.state("more"), "ready");
    let more = home.tools("more");
    assert!(more > 0);
    eventually("the orchestrator offers the tools of the new server as well", || offered() == before + more);
    assert_eq!((home.pid("memory"), home.pid("tools")), (memory, tools));
    assert_eq!(home.pid("orchestrator"), orchestrator);

    // A change that cannot be carried out touches nothing.
    let _holder = TcpListener::bind(("127.0.0.1", home.port(4))).unwrap();
    home.file(&format!("servers: {{tools: {{port: {}}}}}", home.port(4)));
    let message = home.without("MCP_TOOLS_PORT").run(&["up", "-d", "-f", &file]).fails();
    assert!(message.contains("is held by"), "{message}");
    assert_eq!(home.pid("tools"), tools);

    home.file("servers: {tools: {enabled: false}}");
    let up = home.run(&["up", "-d", "-f", &file]).succeeds();
    assert!(up.contains("stopped: more, tools"), "{up}");
    assert_eq!(home.report()["readyServers"], "2/2");
    assert_eq!(home.pid("memory"), memory);

    home.file("suspend: true");
    let up = home.run(&["up", "-d", "-f", &file]).succeeds();
    assert!(up.contains("suspended"), "{up}");
    assert_eq!(home.processes().len(), 1, "the supervisor alone: {:?}", home.processes());
}

#[test]
fn a_missing_secret_keeps_one_server_from_starting_and_no_other() {
    let home = Home::new();
    let file = home.file(&format!(
        "extraServers: [{{name: more, port: {}, process: {{command: {}}}, args: [serve, tools, --port, $(PORT)], \
         env: [{{name: MORE_TOKEN, valueFrom: {{secretKeyRef: {{name: more, key: token}}}}}}]}}]",
        home.port(3),
        program()
    ));
    let message = home.run(&["up", "-d", "-f", &file]).fails();
    assert!(message.contains("MORE_TOKEN") && message.contains("more"), "{message}");
    assert_eq!((home.state("more"), home.state("memory")), ("failed".to_owned(), "ready".to_owned()));
    assert!(home.run(&["status"]).fails().contains("MORE_TOKEN"));
    home.with("MORE_TOKEN", "s3cret").run(&["up", "-d", "-f", &file]).succeeds();
    assert_eq!(home.state("more"), "ready");
    let plan = home.with("MORE_TOKEN", "s3cret").run(&["plan", "-f", &file]).succeeds();
    assert!(plan.contains("MORE_TOKEN") && !plan.contains("s3cret"), "{plan}");
}

/// The HTTP status with which a server answers a call with this key, or without one.
fn called(port: u16, key: Option<&str>) -> String {
    let body = r#"{"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": {"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientInfo": {"name": "t", "version": "1"}, "io.modelcontextprotocol/clientCapabilities": {}}}}"#;
    let authorization = key.map(|key| format!("authorization: Bearer {key}\r\n")).unwrap_or_default();
    let request = format!(
        "POST /mcp HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-type: application/json\r\n\
         accept: application/json, text/event-stream\r\nmcp-protocol-version: 2026-07-28\r\n\
         mcp-method: tools/list\r\n{authorization}content-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split_whitespace().nth(1).unwrap_or_default().to_owned()
}

#[test]
fn servers_take_only_calls_with_a_key_and_status_needs_none() {
    let home = Home::new();
    home.run(&["up", "-d"]).succeeds();
    let callers = home.path().join("state/default/callers");
    for name in ["keys.yaml", "orchestrator"] {
        let mode = std::fs::metadata(callers.join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let key = std::fs::read_to_string(callers.join("orchestrator")).unwrap();
    assert_eq!(called(home.port(0), None), "200", "without keys of the user's, this machine may call");
    for port in [home.port(1), home.port(2)] {
        assert_eq!(called(port, None), "401");
        assert_eq!(called(port, Some("0123456789abcdef")), "401");
        assert_eq!(called(port, Some(&key)), "200");
    }
    assert_eq!(home.server("memory")["answered"], true);
    assert!(home.server("memory")["tools"].as_i64().unwrap() > 0);
    // One server alone comes up again with the keys that the others know.
    let offered = home.server("orchestrator")["tools"].clone();
    home.run(&["restart", "memory"]).succeeds();
    assert_eq!(home.server("orchestrator")["tools"], offered);
    assert_eq!(std::fs::read_to_string(callers.join("orchestrator")).unwrap(), key);
}

#[test]
fn keys_of_the_user_guard_the_endpoint_and_reach_it_without_a_restart() {
    let home = Home::new();
    let file = home.file("callers: {secretRef: {name: team}}");
    let message = home.run(&["up", "-d", "-f", &file]).fails();
    assert!(message.contains("MCP_CALLERS_FILE") && message.contains("Secret team"), "{message}");
    assert_eq!((home.state("orchestrator"), home.state("memory")), ("failed".to_owned(), "ready".to_owned()));

    let keys = home.path().join("keys.yaml");
    let write = |key: &str| {
        let text = format!("keys: [{{principal: me, key: {key}, tenants: [mine]}}]");
        std::fs::write(&keys, text).unwrap();
    };
    let (first, second) = ("first-key-of-the-user", "second-key-of-the-user");
    write(first);
    home.with("MCP_CALLERS_FILE", "keys.yaml").run(&["up", "-d", "-f", &file]).succeeds();
    let endpoint = home.port(0);
    assert_eq!((called(endpoint, None), called(endpoint, Some(first))), ("401".to_owned(), "200".to_owned()));
    let pid = home.pid("orchestrator");
    write(second);
    eventually("the new key is taken", || called(endpoint, Some(second)) == "200");
    assert_eq!(called(endpoint, Some(first)), "401");
    assert_eq!(home.pid("orchestrator"), pid);
}

#[test]
fn a_key_of_one_agent_reaches_no_other_through_the_orchestrator() {
    let home = Home::new();
    let keys = home.path().join("keys.yaml");
    let (ada, bob) = ("the-key-of-ada-00001", "the-key-of-bob-00001");
    let entry = |agent: &str, key: &str| {
        format!("{{principal: {agent}, key: {key}, tenants: [team], agents: [{agent}]}}")
    };
    std::fs::write(&keys, format!("keys: [{}, {}]", entry("ada", ada), entry("bob", bob))).unwrap();
    let file = home.file("callers: {secretRef: {name: team}}");
    home.with("MCP_CALLERS_FILE", "keys.yaml").run(&["up", "-d", "-f", &file]).succeeds();
    eventually("the orchestrator offers the tools of both", || {
        let behind = home.tools("memory") + home.tools("tools");
        behind > 0 && home.tools("orchestrator") == behind
    });

    let place = Place { port: home.port(0), path: "/mcp".to_owned() };
    let client = |headers: &str| Client::http_with(&place, headers).unwrap();
    let mut ada = client(&format!("Authorization: Bearer {ada}\r\n"));
    let secret = json!({"agent_id": "ada", "content": "the secret word is xyzzy"});
    ada.call("store_memory", &secret).unwrap();
    // A header of one's own takes away, and adds nothing.
    for header in ["", "Mcp-Agents: ada\r\n", "Mcp-Agents: ada, bob\r\n"] {
        let mut bob = client(&format!("Authorization: Bearer {bob}\r\n{header}"));
        for (tool, arguments) in [
            ("search_memories", json!({"agent_id": "ada", "query": "xyzzy"})),
            ("get_recent_memories", json!({"agent_id": "ada"})),
            ("store_memory", json!({"agent_id": "ada", "content": "the secret word is plugh"})),
            ("optimize_memory_storage", json!({"agent_id": "ada"})),
        ] {
            let error = bob.call(tool, &arguments).unwrap_err().to_string();
            assert!(error.contains("may not be named here"), "{header:?} {tool}: {error}");
            assert!(!error.contains("xyzzy"), "{header:?} {tool}: {error}");
        }
        let counted = bob.call("get_memory_statistics", &json!({})).unwrap().result().unwrap();
        assert_eq!(counted["structuredContent"]["memories"], 0, "{header:?}");
        assert!(counted["structuredContent"]["store_bytes"].is_null(), "{header:?}: {counted}");
    }
    let counted = ada.call("get_memory_statistics", &json!({})).unwrap().result().unwrap();
    assert_eq!(counted["structuredContent"]["memories"], 1);
}

#[test]
fn a_tool_that_cannot_work_is_told_and_the_system_runs() {
    let home = Home::new();
    let file = home.file(
        "servers: {tools: {config: {userTools: [{name: silent, http: {url: 'https://a.example'}}, \
         {name: weather, description: Tells the weather., http: {url: 'https://a.example/weather'}}]}}}",
    );
    let finding = "spec.servers.tools.config.userTools[silent]: description";
    let plan = home.run(&["plan", "-f", &file]).succeeds();
    assert_eq!(plan.matches(finding).count(), 2, "once for each side:\n{plan}");
    home.run(&["up", "-d", "-f", &file]).succeeds();
    let status = home.run(&["status"]).succeeds();
    assert!(status.contains(finding) && !status.contains("userTools[weather]"), "{status}");
    let conditions = home.report()["conditions"].clone();
    let degraded = conditions.as_array().unwrap().iter().find(|it| it["type"] == "Degraded").unwrap();
    assert_eq!((&degraded["status"], &degraded["reason"]), (&"True".into(), &"InvalidTools".into()));
}

#[test]
fn a_server_that_cannot_start_is_told_with_the_end_of_its_log() {
    let home = Home::new();
    let file = home.file(&format!(
        "extraServers: [{{name: broken, port: {}, process: {{command: sh}}, \
         args: [-c, 'echo no database in $PWD on $(PORT) >&2; exit 3']}}]",
        home.port(3)
    ));
    let message = home.run(&["up", "-d", "-f", &file]).fails();
    let log = format!("no database in {} on {}", home.path().canonicalize().unwrap().display(), home.port(3));
    for text in ["broken: ended with exit code 3", log.as_str()] {
        assert!(message.contains(text), "{text} is missing in:\n{message}");
    }
    assert!(home.server("broken")["restarts"].as_u64().unwrap() >= 1);
    assert_eq!(home.state("tools"), "ready");
    home.file(&format!(
        "extraServers: [{{name: broken, port: {}, process: {{command: no-such}}}}]",
        home.port(3)
    ));
    let message = home.run(&["up", "-d", "-f", &file]).fails();
    assert!(message.contains("no-such cannot be started"), "{message}");
}

#[test]
fn in_the_foreground_it_follows_until_it_is_interrupted() {
    let home = Home::new();
    let up = home.start(&["up"]);
    eventually("it is ready", || up.output().contains("is ready in"));
    assert!(up.output().contains("claude mcp add"), "{}", up.output());
    let again = home.run(&["up"]).succeeds();
    assert!(again.contains("runs already"), "{again}");
    signal(home.pid("tools"), Signal::SIGKILL);
    eventually("logs are followed", || up.output().contains("tools: was ended by SIGKILL"));
    signal(up.id(), Signal::SIGINT);
    assert_eq!(up.exit_code(), Some(0));
    assert_eq!(home.processes(), Vec::<String>::new());
}

#[test]
fn a_second_ctrl_c_waits_for_nobody() {
    let home = Home::new();
    let file = home.file(&format!(
        "extraServers: [{{name: deaf, port: {}, process: {{command: sh}}, \
         args: [-c, 'trap \"\" TERM; while true; do sleep 0.1; done']}}]",
        home.port(3)
    ));
    let up = home.start(&["up", "-f", &file]);
    eventually("the others are ready", || home.state("orchestrator") == "ready" && home.pid("deaf") > 1);
    let deaf = home.pid("deaf");
    signal(up.id(), Signal::SIGINT);
    eventually("it ends", || up.output().contains("Ctrl-C again"));
    // Once more until it has heard it: the first may still be on its way.
    let since = std::time::Instant::now();
    eventually("it has ended", || {
        if !up.has_ended() {
            signal(up.id(), Signal::SIGINT);
        }
        up.has_ended()
    });
    assert!(since.elapsed() < Duration::from_secs(10), "the grace period is 30 s: {:?}", since.elapsed());
    assert!(nix::sys::signal::kill(nix::unistd::Pid::from_raw(deaf.try_into().unwrap()), None).is_err());
}

#[test]
fn down_ends_one_in_the_foreground_as_well() {
    let home = Home::new();
    let up = home.with("MCP_PARALLEL_STARTUP", "false").start(&["up"]);
    eventually("it is ready", || up.output().contains("is ready in"));
    home.run(&["down"]).succeeds();
    assert_eq!(up.exit_code(), Some(0));
    assert_eq!(home.processes(), Vec::<String>::new());
}

#[test]
fn of_two_systems_one_is_chosen_by_name() {
    let home = Home::new();
    home.run(&["up", "-d"]).succeeds();
    let file = home.file(&format!(
        "servers: {{orchestrator: {{port: {}}}, memory: {{enabled: false}}, tools: {{enabled: false}}}}",
        home.port(3)
    ));
    home.without("MCP_ORCHESTRATOR_PORT").run(&["up", "-d", "-f", &file]).succeeds();
    assert!(home.run(&["status"]).fails().contains("--name"));
    home.run(&["status", "--name", "default"]).succeeds();
    home.run(&["down", "-f", &file]).succeeds();
    home.run(&["status"]).succeeds();
}

#[test]
fn a_server_above_its_memory_limit_is_restarted_and_says_why() {
    let home = Home::new().with("MCP_HEALTH_CHECK_INTERVAL", "0.1");
    let file = home.file("servers: {tools: {resources: {limits: {memory: 1Mi}, requests: {memory: 1Mi}}}}");
    // It may be ready for a moment before it is measured, so `up` may say either.
    let _ = home.run(&["up", "-d", "-f", &file]);
    eventually("tools is restarted", || home.server("tools")["restarts"].as_u64() > Some(0));
    let message = home.run(&["logs", "supervisor"]).succeeds();
    for text in ["tools: holds", "more than its memory limit of 1 MiB", "MCP_MEMORY_LIMIT"] {
        assert!(message.contains(text), "{text} is missing in:\n{message}");
    }
    assert_eq!(home.server("memory")["restarts"], 0);
}

/// Stands in for docker: it notes what it is told, and its only image is the tools server.
const DOCKER: &str = r#"#!/bin/sh
echo "$@" >> "$DOCKER_NOTES/docker.log"
case "$1" in
run)
    while [ "$1" != --publish ]; do shift; done
    port=${2##*:}
    echo "token $IMAGE_TOKEN"
    echo $$ > "$DOCKER_NOTES/docker.pid"
    exec "$PROGRAM" serve tools --port "$port" ;;
stop) kill "$(cat "$DOCKER_NOTES/docker.pid")" ;;
container) [ -f "$DOCKER_NOTES/docker.pid" ] ;;
rm) [ ! -f "$DOCKER_NOTES/docker.pid" ] || { kill -9 "$(cat "$DOCKER_NOTES/docker.pid")"; rm "$DOCKER_NOTES/docker.pid"; } ;;
esac
"#;

#[test]
fn an_image_runs_in_a_container_which_is_ended_by_its_name() {
    let home = Home::new();
    let docker = home.path().join("docker");
    std::fs::write(&docker, DOCKER).unwrap();
    std::fs::set_permissions(&docker, std::fs::Permissions::from_mode(0o755)).unwrap();
    let notes = home.path().display().to_string();
    let path = format!("{}:{}", home.path().display(), std::env::var("PATH").unwrap());
    let file = home.file(&format!(
        "extraServers: [{{name: packed, image: example.com/tools, port: {}, healthPath: /health, env: \
         [{{name: IMAGE_TOKEN, valueFrom: {{secretKeyRef: {{name: packed, key: token}}}}}}]}}]",
        home.port(3)
    ));
    let home = home
        .with("PATH", &path)
        .with("PROGRAM", &program())
        .with("DOCKER_NOTES", &notes)
        .with("IMAGE_TOKEN", "s3cret");
    home.run(&["up", "-d", "-f", &file]).succeeds();
    assert_eq!(home.state("packed"), "ready");
    assert!(home.run(&["logs", "packed"]).succeeds().contains("token s3cret"));

    // Left behind by a killed supervisor, it is found by its name as well.
    let packed = home.pid("packed");
    home.kill_supervisor();
    home.run(&["up", "-d", "-f", &file]).succeeds();
    assert_ne!(home.pid("packed"), packed);
    home.run(&["down"]).succeeds();
    assert_eq!(home.processes(), Vec::<String>::new());
    let told = std::fs::read_to_string(home.path().join("docker.log")).unwrap();
    for line in [
        format!("--publish 127.0.0.1:{0}:{0}", home.port(3)),
        "run --rm --name mcp-from-file-packed-".to_owned(),
        " --pull missing --publish ".to_owned(),
        "--memory 1073741824b --cpus 0.800 --env IMAGE_TOKEN".to_owned(),
        "stop --time 30 mcp-from-file-packed-".to_owned(),
        "rm --force mcp-from-file-packed-".to_owned(),
    ] {
        assert!(told.contains(&line), "{line} is missing in:\n{told}");
    }
    assert!(!told.contains("s3cret"), "{told}");
}

#[test]
fn logs_and_pid_files_lie_where_the_environment_says() {
    let home = Home::new();
    let (logs, pids) = (home.path().join("my-logs"), home.path().join("my-pids"));
    let started =
        home.with("MCP_LOG_DIR", logs.to_str().unwrap()).with("MCP_PID_DIR", pids.to_str().unwrap());
    started.run(&["up", "-d"]).succeeds();
    let pid = std::fs::read_to_string(pids.join("default/memory.pid")).unwrap();
    assert_eq!(pid.lines().next().unwrap(), home.pid("memory").to_string());
    assert!(logs.join("default/memory.log").is_file());
    // Later commands find them without these variables.
    assert!(home.run(&["logs", "memory"]).succeeds().contains("listening"));
    home.run(&["down"]).succeeds();
    assert!(!pids.join("default/memory.pid").exists());
}
