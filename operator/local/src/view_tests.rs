use super::*;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;

const PLAIN: Style = Style { colour: false };

fn report() -> Report {
    let server = |name: &str, state, message: Option<&str>| ServerReport {
        name: name.to_owned(),
        state,
        message: message.map(str::to_owned),
        url: Some(format!("http://127.0.0.1:8000/{name}")),
        ..ServerReport::default()
    };
    let condition = |type_: &str, status: &str, reason: &str| Condition {
        type_: type_.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: String::new(),
        observed_generation: None,
        last_transition_time: Time(Timestamp::UNIX_EPOCH),
    };
    Report {
        name: "team".to_owned(),
        ready_servers: "1/3".to_owned(),
        url: Some("http://127.0.0.1:8002/mcp".to_owned()),
        file: Some("/home/me/mcp-system.yaml".into()),
        supervisor: 41,
        conditions: vec![
            condition("Ready", "False", "ServerFailing"),
            condition("Reconciling", "False", "UpToDate"),
            condition("Stalled", "True", "ServerFailing"),
            condition("Degraded", "True", "ServerFailing"),
        ],
        servers: vec![
            server("files", State::Failed, Some("ended with exit code 1")),
            ServerReport {
                pid: Some(42),
                uptime_seconds: Some(3_725.5),
                ready_after_milliseconds: Some(87),
                restarts: 1,
                version: Some("0.1.0".to_owned()),
                tools: Some(7),
                memory_bytes: Some(21_000_000),
                ..server("memory", State::Ready, None)
            },
            server("orchestrator", State::Starting, None),
            ServerReport { url: None, ..server("search", State::LeftOut, Some("left out: no docker")) },
        ],
        not_mounted: vec!["memory: /models is read from this machine's own disk".to_owned()],
        ..Report::default()
    }
}

#[test]
fn the_table_of_status() {
    insta::assert_snapshot!(status(&report(), PLAIN));
}

#[test]
fn progress_of_a_start() {
    insta::assert_snapshot!(progress(&report(), Duration::from_millis(1_250), PLAIN).join("\n"));
}

#[test]
fn what_is_said_when_it_is_ready() {
    insta::assert_snapshot!(ready(&report(), Duration::from_millis(212), PLAIN));
}

#[test]
fn a_system_with_keys_says_that_a_client_needs_one() {
    let told = connect(&Report { needs_key: true, ..report() });
    assert!(told.contains("--header \"Authorization: Bearer KEY\""), "{told}");
    assert!(!told.contains("no authentication"), "{told}");
}

#[test]
fn colours_are_used_only_when_they_may_be() {
    assert!(!status(&report(), PLAIN).contains('\x1b'));
    assert!(status(&report(), Style { colour: true }).contains("\x1b[32mready"));
    assert_eq!(log_prefix("memory", 1, 8, PLAIN), "memory   |");
}

#[test]
fn times_are_short() {
    for (seconds, expected) in [(5, "5s"), (65, "1m05s"), (3_700, "1h01m"), (90_000, "1d01h")] {
        assert_eq!(uptime(Duration::from_secs(seconds)), expected);
    }
}
