//! What our memory server finds of the LoCoMo conversations: of each question the turns that hold its answer.
//!
//! Each turn is one memory, each conversation a store of its own. Any other script that stores the
//! same text in the same order, asks the same tools for ten memories and scores as usual, arrives at the same
//! figures.

mod data;
mod score;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use serde_json::{Value, json};

use crate::servers::{KINDS, Means, Server};
use data::{Conversation, Turn};
use score::Scores;

/// What to measure.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The folder with locomo10.json
    #[arg(long)]
    data: PathBuf,
    /// Only the first so many conversations
    #[arg(long)]
    conversations: Option<usize>,
    /// Store each turn without its session, so that nothing said around it can help a search
    #[arg(long)]
    without_sessions: bool,
    /// Our program; else the release build beside this one
    #[arg(long)]
    binary: Option<PathBuf>,
    /// Where to write the scores as JSON
    #[arg(long)]
    json: Option<PathBuf>,
}

/// Results that are asked for and scored.
const LIMIT: usize = 10;

const CATEGORIES: [(u64, &str); 4] =
    [(1, "multi-hop"), (2, "temporal"), (3, "open-domain"), (4, "single-hop")];

pub(crate) fn run(options: &Options) -> Result<()> {
    let binary = options.binary.clone().map_or_else(mcp_system_tests::laptop::binary, Ok)?;
    let path = options.data.join("locomo10.json");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut conversations = data::read(&text).with_context(|| format!("cannot use {}", path.display()))?;
    conversations.truncate(options.conversations.unwrap_or(usize::MAX));
    let mut all = Scores::default();
    let mut by_category = BTreeMap::<u64, Scores>::new();
    for conversation in &conversations {
        eprintln!("bench: {} with {} turns", conversation.id, conversation.turns.len());
        let mut server = Server::start(KINDS[0], Means { program: Some(&binary), home: None })?;
        store(&mut server, conversation, !options.without_sessions)?;
        let turns: HashMap<&str, Vec<&str>> = by_text(conversation);
        for question in &conversation.questions {
            let found = search(&mut server, conversation, &question.text, &turns)?;
            let score = Scores::of(&found, &question.gold);
            all.add(&score);
            by_category.entry(question.category).or_default().add(&score);
        }
    }
    println!("| questions | count | recall@5 | recall@10 | nDCG@10 | MRR@10 |\n|---|---|---|---|---|---|");
    println!("{}", all.row("all"));
    for (category, name) in CATEGORIES {
        if let Some(scores) = by_category.get(&category) {
            println!("{}", scores.row(name));
        }
    }
    if let Some(path) = &options.json {
        let mut value = json!({"all": all.means()});
        for (category, scores) in by_category {
            value[category.to_string()] = scores.means();
        }
        std::fs::write(path, value.to_string())
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn store(server: &mut Server, conversation: &Conversation, sessions: bool) -> Result<()> {
    for turn in &conversation.turns {
        server.client.call("store_memory", &arguments(conversation, turn, sessions))?;
    }
    Ok(())
}

/// What stores a turn. The session of a context is the memory's.
fn arguments(conversation: &Conversation, turn: &Turn, sessions: bool) -> Value {
    let mut context = json!({"turn": turn.id});
    if sessions {
        context["session"] = json!(turn.session);
    }
    json!({
        "agent_id": conversation.id,
        "content": turn.text,
        "memory_type": "conversation",
        "context": context,
        "importance": 0.5,
    })
}

/// The turns of each text; some things are said twice.
fn by_text(conversation: &Conversation) -> HashMap<&str, Vec<&str>> {
    let mut turns = HashMap::<&str, Vec<&str>>::new();
    for turn in &conversation.turns {
        turns.entry(&turn.text).or_default().push(&turn.id);
    }
    turns
}

/// The turns found, best first, each once.
fn search(
    server: &mut Server,
    conversation: &Conversation,
    query: &str,
    turns: &HashMap<&str, Vec<&str>>,
) -> Result<Vec<String>> {
    let arguments = json!({"agent_id": conversation.id, "query": query, "limit": LIMIT});
    let result = server.client.call("search_memories", &arguments)?.result()?;
    let memories = result["structuredContent"]["memories"].as_array();
    let memories = memories.with_context(|| format!("a search without memories: {result}"))?;
    let mut found: Vec<String> = Vec::new();
    for text in memories.iter().filter_map(|memory| memory["content"].as_str()) {
        for id in turns.get(text).into_iter().flatten() {
            if !found.iter().any(|known| known == id) {
                found.push((*id).to_owned());
            }
        }
    }
    found.truncate(LIMIT);
    Ok(found)
}

/// A list of values, or nothing.
fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_is_stored_with_its_session_or_without() {
        let turn = Turn { id: "D1:2".into(), session: "session_1".into(), text: "Ann: hello".into() };
        let conversation = Conversation { id: "one".into(), turns: Vec::new(), questions: Vec::new() };
        let with = arguments(&conversation, &turn, true);
        assert_eq!(with["context"], json!({"turn": "D1:2", "session": "session_1"}));
        let without = arguments(&conversation, &turn, false);
        assert_eq!(without["context"], json!({"turn": "D1:2"}));
        assert!(without.get("session_id").is_none(), "{without}");
    }
}
