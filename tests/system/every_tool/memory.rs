//! The tools of the memory server.

use anyhow::{Context, Result};
use mcp_system_tests::clients::Answers;
use mcp_system_tests::single::Single;
use serde_json::json;

use super::{Course, Good, Readable};
use crate::group::{Shared, same};

pub(super) static SERVER: Shared<Single> = Shared::new(|| Single::start("memory", "{}"));

pub(super) const COURSE: Course = Course { server: &SERVER, first, then, reads, refused: Vec::new };

fn first(caller: &str) -> Vec<Good> {
    vec![
        (
            "store_memory",
            json!({
                "agent_id": caller,
                "content": "The harbour crane lifts ninety tons",
                "memory_type": "fact",
                "context": {"place": "harbour"},
                "importance": 0.8,
                "session_id": caller,
            }),
        ),
        ("create_session", json!({"agent_id": caller, "ttl_hours": 2})),
        (
            "store_conversation",
            json!({"session_id": caller, "agent_id": caller, "user_id": "ann", "role": "user", "message": "Is it open?"}),
        ),
        ("store_memory", json!({"agent_id": caller, "content": "The ferry leaves at noon"})),
    ]
}

fn then(caller: &str, before: &Answers) -> Result<Vec<Good>> {
    let session = before.of("first 1")?.value()?["session_id"].clone();
    let found = before.of("first 0")?.value()?;
    same("the agent of what was stored", &found["agent_id"], caller)?;
    let (kept, other) = (&found["memory_id"], before.of("first 3")?.value()?["memory_id"].clone());
    let cached = json!({"agent_id": caller, "query": "crane", "use_cache": true});
    let batch = json!([{"content": "The tide is high at six"}, {"content": "The pilot is called Bo"}]);
    Ok(vec![
        (
            "search_memories",
            json!({"agent_id": caller, "query": "how much can the crane lift", "limit": 3, "min_importance": 0.5}),
        ),
        ("get_recent_memories", json!({"agent_id": caller, "memory_type": "fact"})),
        ("get_conversation_history", json!({"session_id": caller})),
        (
            "store_conversation",
            json!({"session_id": session, "agent_id": caller, "role": "assistant", "message": "It is."}),
        ),
        ("store_memory_batch", json!({"agent_id": caller, "memories": batch})),
        ("search_memories_cached", cached.clone()),
        ("search_memories_cached", cached),
        ("update_memory", json!({"agent_id": caller, "memory_id": kept, "importance": 0.9})),
        ("delete_memory", json!({"agent_id": caller, "memory_id": other})),
        ("optimize_memory_storage", json!({"agent_id": caller, "action": "preview"})),
        ("get_memory_statistics", json!({"agent_id": caller})),
        ("clear_cache", json!({"cache_type": "all"})),
        ("health_check", json!({})),
    ])
}

/// The memory that was kept and the session that was begun, as resources.
fn reads(caller: &str, before: &Answers) -> Result<Vec<Readable>> {
    let kept = before.of("first 0")?.value()?["memory_id"].as_str().context("no id")?.to_owned();
    Ok(vec![
        (format!("memory://{caller}/memories/{kept}"), "The harbour crane lifts ninety tons"),
        (format!("memory://{caller}/sessions/{caller}"), "Is it open?"),
    ])
}
