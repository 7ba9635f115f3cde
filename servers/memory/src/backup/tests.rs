//! Bytes in, a store out, and back: whole, damaged, broken off and gone on with.

use super::*;
use crate::model::Filter;
use crate::moment::Moment;
use crate::store::StoreError;
use crate::store::conformance::{keyed, memory, message, scope};
use crate::store::sqlite::{Options, SqliteStore};
use std::path::{Path, PathBuf};

/// What [`filled`] holds.
pub(crate) const FILLED: Counts = Counts { sessions: 2, entries: 1202 };

async fn open(directory: &Path) -> SqliteStore {
    SqliteStore::open(directory, &Options::default()).await.expect("opens")
}

/// A store with two agents.
pub(crate) async fn filled(directory: &Path) -> SqliteStore {
    let store = open(directory).await;
    for agent in ["a", "b"] {
        let drafts = (0..600).map(|number| memory(number, &format!("word {number} of {agent}"))).collect();
        store.insert(&scope(agent), drafts).await.expect("stored");
        store.say(&scope(agent), message("s", 1000), Moment(2000)).await.expect("said");
    }
    store
}

pub(crate) async fn exported(store: &SqliteStore) -> Vec<u8> {
    let mut bytes = Vec::new();
    export(store, &mut bytes, |_| {}).await.expect("exported");
    bytes
}

fn holds(bytes: &[u8]) -> anyhow::Result<Counts> {
    verify(bytes, |_| {})
}

async fn taken_in(store: &SqliteStore, bytes: &[u8], onto: Onto) -> anyhow::Result<Counts> {
    import(store, bytes, onto, |_| {}).await
}

#[tokio::test]
async fn what_is_backed_up_is_restored_and_imported_once() {
    let directory = tempfile::tempdir().unwrap();
    let store = filled(&directory.path().join("from")).await;
    let file = directory.path().join("backup.jsonl");
    assert_eq!(backup(&store, &file, Start::Anew, |_| {}).await.expect("backed up"), FILLED);
    let bytes = std::fs::read(&file).unwrap();
    assert_eq!(holds(&bytes).expect("whole"), FILLED);
    let other = open(&directory.path().join("to")).await;
    let mut told = Vec::new();
    let restored = import(&other, &bytes[..], Onto::Nothing, |counts| told.push(counts)).await;
    assert_eq!(restored.expect("restored"), FILLED);
    assert!(told.len() > 2 && told.is_sorted_by_key(|counts| counts.entries), "{told:?}");
    assert_eq!(told.last(), Some(&FILLED));
    let newest =
        async |store: &SqliteStore| store.recent(&scope("a"), &Filter::default(), 1000).await.unwrap();
    assert_eq!(newest(&other).await, newest(&store).await);
    let refused = taken_in(&other, &bytes, Onto::Nothing).await.expect_err("not empty");
    assert!(matches!(refused.downcast_ref(), Some(StoreError::NotEmpty)), "{refused:#}");
    assert_eq!(taken_in(&other, &bytes, Onto::Anything).await.expect("again"), Counts::default());
    // The same bytes come out again.
    assert_eq!(exported(&other).await, bytes);
}

#[tokio::test]
async fn a_damaged_backup_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let store = filled(&directory.path().join("from")).await;
    let bytes = exported(&store).await;
    let said = |bytes: &[u8]| format!("{:#}", holds(bytes).expect_err("damaged"));
    assert!(said(&bytes[..bytes.len() / 2]).contains("line"));
    let text = String::from_utf8(bytes.clone()).unwrap();
    assert!(said(text.replacen("word 7 ", "word 8 ", 1).as_bytes()).contains("checksum"));
    let others = |line: &&str| !line.contains("word 7 of a");
    let without: String = text.split_inclusive('\n').filter(others).collect();
    assert!(said(without.as_bytes()).contains("holds"));
    let end = text.rfind("{\"end\"").unwrap();
    assert!(said(&text.as_bytes()[..end]).contains("no end"));
    assert!(said(format!("{text}{text}").as_bytes()).contains("follows after the end"));
    assert!(said(b"").contains("empty"));
    assert!(said(b"{}\n").contains("line 1"));
}

#[tokio::test]
async fn no_byte_of_a_backup_can_be_another_one() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    store.insert(&scope("a"), vec![memory(1, "one"), memory(2, "two")]).await.expect("stored");
    store.say(&scope("a"), message("s", 3), Moment(2000)).await.expect("said");
    let bytes = exported(&store).await;
    assert!(holds(&bytes).is_ok());
    // The last one is the end of the last line.
    for at in 0..bytes.len() - 1 {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        assert!(holds(&damaged).is_err(), "byte {at}");
    }
}

#[test]
fn a_line_without_an_end_does_not_fill_the_memory() {
    let error = verify(std::io::repeat(b' '), |_| {}).expect_err("endless").to_string();
    assert!(error.contains("line 1 is longer"), "{error}");
}

#[tokio::test]
async fn what_came_before_the_damage_stays_and_a_repetition_adds_the_rest() {
    let directory = tempfile::tempdir().unwrap();
    let bytes = exported(&filled(&directory.path().join("from")).await).await;
    let store = open(&directory.path().join("to")).await;
    let cut = taken_in(&store, &bytes[..bytes.len() / 2], Onto::Nothing).await.expect_err("cut");
    assert!(format!("{cut:#}").contains("line"), "{cut:#}");
    assert_eq!(store.size(&scope("a")).await.unwrap(), 599, "the pages that were whole");
    let rest = taken_in(&store, &bytes, Onto::Anything).await.expect("the rest");
    assert_eq!(rest, Counts { sessions: FILLED.sessions - 1, entries: FILLED.entries - 599 });
    assert_eq!(exported(&store).await, bytes);
}

/// A file with this part of a backup.
fn broken_off(directory: &Path, bytes: &[u8]) -> PathBuf {
    let file = directory.join("part.jsonl");
    std::fs::write(&file, bytes).unwrap();
    file
}

async fn resumed(store: &SqliteStore, file: &Path) -> anyhow::Result<Counts> {
    export_into(store, file, Start::Resumed, |_| {}).await
}

#[tokio::test]
async fn an_export_goes_on_wherever_it_broke_off() {
    let directory = tempfile::tempdir().unwrap();
    let store = filled(&directory.path().join("from")).await;
    let bytes = exported(&store).await;
    let lines: Vec<usize> =
        bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at).collect();
    // In and around the header, a scope, its session and its first entries; in the middle of pages; around the end.
    let ends = lines[..5].iter().chain(&lines[598..606]).chain(&lines[lines.len() - 3..]);
    let cuts = ends.flat_map(|end| [end - 3, *end, end + 1]).chain((0..bytes.len()).step_by(49_999));
    for cut in cuts {
        let file = broken_off(directory.path(), &bytes[..cut]);
        assert_eq!(resumed(&store, &file).await.expect("goes on"), FILLED, "from byte {cut}");
        assert!(std::fs::read(&file).unwrap() == bytes, "from byte {cut}");
    }
    let missing = directory.path().join("new.jsonl");
    assert_eq!(resumed(&store, &missing).await.expect("begins"), FILLED);
}

#[tokio::test]
async fn a_backup_goes_on_with_its_partial_file_only_when_it_shall() {
    let directory = tempfile::tempdir().unwrap();
    let store = filled(&directory.path().join("from")).await;
    let (file, partial) = (directory.path().join("b.jsonl"), directory.path().join("b.jsonl.partial"));
    let bytes = exported(&store).await;
    let text = String::from_utf8(bytes.clone()).unwrap();
    let old = text.replacen("word 7 of a", "an old form", 1);
    let write_part = || std::fs::write(&partial, &old[..old.len() / 2]).unwrap();
    write_part();
    assert_eq!(backup(&store, &file, Start::Resumed, |_| {}).await.expect("goes on"), FILLED);
    let resumed = std::fs::read_to_string(&file).unwrap();
    assert!(resumed.contains("an old form") && holds(resumed.as_bytes()).is_ok());
    assert!(!partial.exists());
    write_part();
    assert_eq!(backup(&store, &file, Start::Anew, |_| {}).await.expect("begins"), FILLED);
    assert!(std::fs::read(&file).unwrap() == bytes);
}

#[tokio::test]
async fn what_was_deleted_since_does_not_hide_where_to_go_on() {
    let directory = tempfile::tempdir().unwrap();
    let store = filled(&directory.path().join("from")).await;
    let bytes = exported(&store).await;
    let text = String::from_utf8(bytes.clone()).unwrap();
    let cut = text.find("\"word 300 of a\"").unwrap();
    for number in 290..310 {
        assert!(store.delete(&scope("a"), &format!("m{number}")).await.expect("deletes"));
    }
    let file = broken_off(directory.path(), &bytes[..cut]);
    // The ten that were written stay written; the ten that were not are gone.
    let all = Counts { entries: FILLED.entries - 10, ..FILLED };
    assert_eq!(resumed(&store, &file).await.expect("goes on"), all);
    assert_eq!(holds(&std::fs::read(&file).unwrap()).expect("whole"), all);
    let other = open(&directory.path().join("to")).await;
    let restored = taken_in(&other, &std::fs::read(&file).unwrap(), Onto::Nothing).await;
    assert_eq!(restored.expect("each once"), all);
}

#[tokio::test]
async fn a_file_that_is_no_part_of_this_export_stays_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let store = filled(&directory.path().join("from")).await;
    let bytes = exported(&store).await;
    let half = &bytes[..bytes.len() / 2];
    let refused = async |store: &SqliteStore, bytes: &[u8]| {
        let file = broken_off(directory.path(), bytes);
        let error = resumed(store, &file).await.expect_err("refused");
        assert!(std::fs::read(&file).unwrap() == bytes);
        format!("{error:#}")
    };
    let other = open(&directory.path().join("other")).await;
    assert!(refused(&other, half).await.contains("another store"));
    other.insert(&scope("b"), vec![memory(9000, "strange")]).await.expect("stored");
    other.insert(&scope("a"), vec![memory(9000, "strange")]).await.expect("stored");
    assert!(refused(&other, half).await.contains("none of the last"));
    let damaged = String::from_utf8(half.to_vec()).unwrap().replacen("\"entry\"", "\"enter\"", 1);
    assert!(refused(&store, damaged.as_bytes()).await.contains("is no line of a backup"));
    assert!(refused(&store, b"another file\nof the user").await.contains("line 1"));
}

#[tokio::test]
async fn one_file_is_written_by_one_process() {
    let directory = tempfile::tempdir().unwrap();
    let store = filled(&directory.path().join("from")).await;
    let file = broken_off(directory.path(), b"half");
    let other = std::fs::File::open(&file).unwrap();
    other.lock().unwrap();
    for start in [Start::Anew, Start::Resumed] {
        let error = export_into(&store, &file, start, |_| {}).await.expect_err("busy");
        assert!(format!("{error:#}").contains("another process is writing"), "{error:#}");
        assert_eq!(std::fs::read(&file).unwrap(), b"half");
    }
}

#[tokio::test]
async fn what_a_key_was_used_for_is_backed_up_where_the_memory_was_changed() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory.path().join("from")).await;
    let a = scope("a");
    store.insert(&a, vec![keyed(1, "first")]).await.expect("stored");
    assert!(!String::from_utf8(exported(&store).await).unwrap().contains("key_hash"), "it is its own");
    let kept = store.get(&a, "m1").await.expect("reads").expect("there");
    let mut changed = memory(1, "second");
    changed.entry.updated_at = Moment(2);
    store.replace(&a, (kept.number, kept.version), changed).await.expect("asked").expect("replaced");
    let bytes = exported(&store).await;
    let other = open(&directory.path().join("to")).await;
    taken_in(&other, &bytes, Onto::Nothing).await.expect("restored");
    assert!(other.insert(&a, vec![keyed(2, "first")]).await.expect("answered")[0].duplicate);
    let reused = other.insert(&a, vec![keyed(3, "second")]).await;
    assert!(matches!(reused, Err(StoreError::KeyReused { .. })), "{reused:?}");
    assert!(exported(&other).await == bytes);
}

#[tokio::test]
async fn a_session_that_begins_during_a_backup_is_in_it_where_a_message_of_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let store = filled(&directory.path().join("from")).await;
    let bytes = exported(&store).await;
    let text = String::from_utf8(bytes).unwrap();
    let first_entry = text.find("{\"entry\"").unwrap();
    let in_the_middle = text.find("\"word 300 of a\"").unwrap();
    for (id, cut) in [("a", first_entry), ("b", in_the_middle), ("z", in_the_middle)] {
        // Its sessions were written; then comes this.
        let file = broken_off(directory.path(), &text.as_bytes()[..cut]);
        let mut said = message(id, 1001);
        said.entry.id = format!("said in {id}");
        store.say(&scope("a"), said, Moment(3000)).await.expect("said");
        let all = resumed(&store, &file).await.expect("goes on");
        let written = std::fs::read(&file).unwrap();
        assert_eq!(holds(&written).expect("whole"), all);
        let other = open(&directory.path().join(format!("to {id}"))).await;
        assert_eq!(taken_in(&other, &written, Onto::Nothing).await.expect("restored"), all, "each once");
        let history = other.history(&scope("a"), id, None, 9).await.expect("reads").expect("its session");
        assert_eq!(history.messages.items.len(), 1);
        assert_eq!(history.session, store.session(&scope("a"), id).await.unwrap().unwrap());

        // Broken off right after such a session, and gone on with.
        let text = String::from_utf8(written.clone()).unwrap();
        let of_session = format!("{{\"session\":{{\"session_id\":\"{id}\"");
        let at = text.find(&of_session).expect("its line");
        let end = at + text[at..].find('\n').unwrap() + 1;
        let file = broken_off(directory.path(), &written[..end]);
        assert_eq!(resumed(&store, &file).await.expect("goes on"), all);
    }
}
