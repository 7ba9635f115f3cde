//! The conversations as the file has them, read into turns and questions.

use std::collections::HashSet;

use anyhow::{Context, Result};
use serde_json::Value;

use super::list;

/// One conversation of many sessions.
#[derive(Debug)]
pub(super) struct Conversation {
    pub(super) id: String,
    pub(super) turns: Vec<Turn>,
    pub(super) questions: Vec<Question>,
}

/// What one speaker said at once.
#[derive(Debug, PartialEq)]
pub(super) struct Turn {
    /// Session and number: `D3:12`.
    pub(super) id: String,
    pub(super) session: String,
    /// With the speaker, the date, and what a shared picture shows.
    pub(super) text: String,
}

/// A question, and the turns that answer it.
#[derive(Debug, PartialEq)]
pub(super) struct Question {
    pub(super) text: String,
    pub(super) gold: Vec<String>,
    pub(super) category: u64,
}

/// Questions of this category have no answer.
const ADVERSARIAL: u64 = 5;

/// Reads them all; questions whose evidence names no turn are left out.
pub(super) fn read(text: &str) -> Result<Vec<Conversation>> {
    let samples: Value = serde_json::from_str(text).context("it is no JSON")?;
    list(&samples).iter().map(conversation).collect()
}

fn conversation(sample: &Value) -> Result<Conversation> {
    let talk = sample["conversation"].as_object().context("a sample without a conversation")?;
    let mut sessions: Vec<(u64, &String)> =
        talk.keys().filter_map(|key| Some((key.strip_prefix("session_")?.parse().ok()?, key))).collect();
    sessions.sort_unstable();
    let mut turns = Vec::new();
    for (_, session) in sessions {
        let date = talk.get(&format!("{session}_date_time")).and_then(Value::as_str).unwrap_or_default();
        for said in list(&talk[session]) {
            turns.push(turn(said, session, date)?);
        }
    }
    let known: HashSet<&str> = turns.iter().map(|turn| turn.id.as_str()).collect();
    let questions = list(&sample["qa"]).iter().filter_map(|asked| question(asked, &known)).collect();
    let id = sample["sample_id"].as_str().context("a sample without an id")?.to_owned();
    Ok(Conversation { id, turns, questions })
}

fn turn(said: &Value, session: &str, date: &str) -> Result<Turn> {
    let id = said["dia_id"].as_str().context("a turn without an id")?;
    let id = ids(id).into_iter().next().with_context(|| format!("{id:?} is no turn's id"))?;
    let speaker = said["speaker"].as_str().context("a turn without a speaker")?;
    let words = said["text"].as_str().or(said["clean_text"].as_str()).unwrap_or_default();
    let words: Vec<&str> = words.split_whitespace().collect();
    let picture = said["blip_caption"].as_str().filter(|caption| !caption.is_empty());
    let picture = picture.map(|caption| format!(" [shared image: {caption}]")).unwrap_or_default();
    let text = format!("{speaker} ({date}): {}{picture}", words.join(" "));
    Ok(Turn { id, session: session.to_owned(), text })
}

fn question(asked: &Value, known: &HashSet<&str>) -> Option<Question> {
    let category = asked["category"].as_u64()?;
    let mut gold: Vec<String> = Vec::new();
    for evidence in list(&asked["evidence"]) {
        for id in ids(evidence.as_str()?) {
            if known.contains(id.as_str()) && !gold.contains(&id) {
                gold.push(id);
            }
        }
    }
    let wanted = category != ADVERSARIAL && !gold.is_empty();
    wanted.then_some(Question { text: asked["question"].as_str()?.to_owned(), gold, category })
}

/// The turns that a text names: `D8:6; D9:17`, `D30:05` and `D:11:26` all stand in the data.
fn ids(text: &str) -> Vec<String> {
    text.split('D').skip(1).filter_map(id).collect()
}

/// What stands behind a D: a colon perhaps, a session, a colon, a number.
fn id(text: &str) -> Option<String> {
    let text = text.trim_start();
    let text = text.strip_prefix(':').unwrap_or(text).trim_start();
    let (session, text) = number(text)?;
    let text = text.trim_start().strip_prefix(':')?.trim_start();
    let (turn, _) = number(text)?;
    Some(format!("D{session}:{turn}"))
}

fn number(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|digit: char| !digit.is_ascii_digit()).unwrap_or(text.len());
    Some((text[..end].parse().ok()?, &text[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn evidence_is_read_in_all_its_spellings() {
        assert_eq!(ids("D8:6; D9:17"), ["D8:6", "D9:17"]);
        assert_eq!(ids("D30:05"), ["D30:5"]);
        assert_eq!(ids("D:11:26"), ["D11:26"]);
        assert_eq!(ids("D"), Vec::<String>::new());
    }

    #[test]
    fn turns_come_in_the_order_of_their_sessions() {
        let said = |id: &str| json!({"dia_id": id, "speaker": "Ann", "text": " so \n it goes ", "blip_caption": "a dog"});
        let sample = json!([{"sample_id": "one", "conversation": {
            "session_10": [said("D10:1")], "session_2": [said("D2:1")], "session_2_date_time": "noon",
        }, "qa": [
            {"question": "what?", "evidence": ["D2:1"], "category": 4},
            {"question": "whom?", "evidence": ["D7:1"], "category": 4},
            {"question": "why?", "evidence": ["D2:1"], "category": 5},
        ]}]);
        let read = read(&sample.to_string()).unwrap();
        let ids: Vec<&str> = read[0].turns.iter().map(|turn| turn.id.as_str()).collect();
        assert_eq!(ids, ["D2:1", "D10:1"]);
        assert_eq!(read[0].turns[0].text, "Ann (noon): so it goes [shared image: a dog]");
        assert_eq!(read[0].questions.len(), 1, "{:?}", read[0].questions);
    }
}
