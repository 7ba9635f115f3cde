//! What servers answer though the spec cannot be carried out.

use super::{SYSTEM, Scene, memory_only};
use crate::asks::Asks;
use crate::kind::Kind;
use mcp_system_probe::Answer;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

const STATUS: &str = "PATCH mcpsystem.io/v1alpha1/mcpsystems/demo/status";

fn answer(answered: Result<(), String>) -> Answer {
    Answer { answered, version: None, tools: None, protocol: None, warnings: Vec::new() }
}

/// Whether the status says that it answered, and what else it says.
fn told(scene: &Scene) -> (Value, Value) {
    let server = scene.api.raw(SYSTEM)["status"]["servers"][0].clone();
    (server["answered"].clone(), server["message"].clone())
}

#[tokio::test(start_paused = true)]
async fn what_runs_elsewhere_is_asked_though_the_spec_cannot_be_carried_out() {
    let off = json!({"enabled": false});
    let mut scene = Scene::new(json!({
        "servers": {"orchestrator": off, "memory": off, "tools": off},
        "extraServers": [{"name": "tickets", "url": "https://tickets.example.com/mcp"}],
    }));
    scene.settle().await;
    assert!(scene.context.asks.answer(answer(Ok(()))).await);
    scene.settle().await;
    scene.set(json!({"storage": {"type": "Postgres"}}), 2);
    scene.settle().await;
    assert_eq!(scene.condition("Stalled").1, "InvalidSpec");
    assert_eq!(told(&scene), (json!(true), Value::Null));

    for is_news in [false, false, true] {
        assert_eq!(scene.context.asks.answer(answer(Err("refused".to_owned()))).await, is_news);
    }
    assert_eq!(scene.look().await.1, [STATUS]);
    let silent = (json!(false), json!("runs elsewhere and does not answer"));
    assert_eq!(told(&scene), silent);
    assert_eq!(scene.look().await.1, [""; 0]);

    // Another leader, which has asked nobody yet.
    scene.context.asks = Arc::new(Asks::new(Duration::from_mins(1)));
    assert_eq!(scene.look().await.1, [""; 0]);
    let asked = scene.context.asks.answer(answer(Ok(())));
    assert!(tokio::time::timeout(Duration::from_mins(5), asked).await.expect("it is asked"));
    assert_eq!(scene.look().await.1, [STATUS]);
    assert_eq!(told(&scene), (json!(true), Value::Null));
    assert_eq!(scene.look().await.1, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn what_runs_here_is_asked_by_another_leader_though_the_spec_cannot_be_carried_out() {
    let mut scene = Scene::new(memory_only());
    scene.settle().await;
    scene.change(Kind::Deployment, "demo-memory", |deployment| {
        deployment["status"] = json!({"replicas": 1, "updatedReplicas": 1, "readyReplicas": 1});
    });
    scene.settle().await;
    assert!(scene.context.asks.answer(answer(Ok(()))).await);
    scene.settle().await;
    scene.set(json!({"storage": {"type": "Postgres"}}), 2);
    scene.settle().await;
    assert_eq!(told(&scene), (json!(true), Value::Null));

    scene.context.asks = Arc::new(Asks::new(Duration::from_mins(1)));
    assert_eq!(scene.look().await.1, [""; 0]);
    for is_news in [false, false, true] {
        let asked = scene.context.asks.answer(answer(Err("refused".to_owned())));
        let answered = tokio::time::timeout(Duration::from_mins(5), asked).await;
        assert_eq!(answered.expect("it is asked"), is_news);
    }
    assert_eq!(scene.look().await.1, [STATUS, "EVENT ServerNotReady"]);
    assert_eq!(told(&scene), (json!(false), json!("memory runs but does not answer MCP requests")));
    assert_eq!(scene.look().await.1, [""; 0]);
}
