//! The move from one store into another: everything is copied, and then looked for, text by text.
//!
//! What the other store holds already, by its id, is left as it is, so a move that broke off is simply repeated. One that
//! was complete is noted in the other store: repeated by somebody who does not know of it, it brings back nothing that
//! was deleted there since. The first store only loses its place: nothing of it is changed.

use crate::backup::{self, Counts, PAGE};
use crate::engine;
use crate::model::{Entry, Scope};
use crate::moment::Moment;
use crate::store::postgres::PostgresStore;
use crate::store::{Onto, Store};
use anyhow::{Context, bail};
use mcp_system_config::MOVED_FILE;
use sha2::{Digest, Sha256};
use std::collections::{HashMap, HashSet};
use std::path::Path;

/// What was moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// What the first store holds; the other one holds all of it, or did after an earlier move.
    pub held: Counts,
    /// What of it was not there before.
    pub new: Counts,
}

/// What an entry must be in the other store.
struct Seal {
    sum: [u8; 32],
    updated_at: Moment,
}

impl Seal {
    fn of(entry: &Entry) -> anyhow::Result<Self> {
        // Whether it was put away may have changed there since, without a time that would tell.
        let text = Entry { archived: None, ..entry.clone() };
        Ok(Self { sum: Sha256::digest(serde_json::to_vec(&text)?).into(), updated_at: entry.updated_at })
    }

    /// Whether this is that entry, or what its agent made of it later.
    fn fits(&self, there: &Self) -> bool {
        self.sum == there.sum || there.updated_at > self.updated_at
    }
}

/// [`transfer`], unless just what the first store holds was moved before.
pub async fn transfer_once<F: Store>(from: &F, to: &PostgresStore) -> anyhow::Result<Moved> {
    let (held, sha256) = backup::checksum(from).await?;
    if to.was_moved_here(&sha256).await? {
        return Ok(Moved { held, new: Counts::default() });
    }
    let moved = transfer(from, to).await?;
    to.note_move(&sha256).await?;
    Ok(moved)
}

/// Copies everything, and sees that it is there by count and checksum.
///
/// # Errors
/// Where a store does not work, or the other one does not hold what it was given.
async fn transfer<F: Store, T: Store>(from: &F, to: &T) -> anyhow::Result<Moved> {
    let mut moved = Moved::default();
    let mut last: Option<Scope> = None;
    loop {
        let scopes = from.scopes(last.as_ref(), PAGE).await?;
        let Some(end) = scopes.last() else { return Ok(moved) };
        last = Some(end.clone());
        for scope in &scopes {
            let sessions = copy_sessions(from, to, scope, &mut moved).await?;
            let entries = copy_entries(from, to, scope, &mut moved).await?;
            let of = || format!("of the agent {:?} of the tenant {:?}", &*scope.agent_id, &*scope.tenant);
            check_sessions(to, scope, sessions).await.with_context(of)?;
            check_entries(to, scope, entries).await.with_context(of)?;
        }
    }
}

/// Notes in a data directory that all it holds was moved, so that nobody serves it again by mistake.
pub fn note(directory: &Path, moved: &Moved) -> anyhow::Result<()> {
    let file = directory.join(MOVED_FILE);
    let Counts { sessions, entries } = moved.held;
    let text = serde_json::json!({ "entries": entries, "sessions": sessions }).to_string();
    std::fs::write(&file, text).with_context(|| format!("{} cannot be written", file.display()))
}

/// Answers the ids of what was copied.
async fn copy_sessions<F: Store, T: Store>(
    from: &F,
    to: &T,
    scope: &Scope,
    moved: &mut Moved,
) -> anyhow::Result<HashSet<String>> {
    let mut ids = HashSet::new();
    let mut after: Option<String> = None;
    loop {
        let page = from.export_sessions(scope, after.as_deref(), PAGE).await?;
        let Some(end) = page.last() else { break };
        after = Some(end.id.clone());
        ids.extend(page.iter().map(|session| session.id.clone()));
        moved.new.sessions += to.import(scope, page, Vec::new(), Onto::Anything).await?.1;
    }
    moved.held.sessions += ids.len() as u64;
    Ok(ids)
}

/// Answers what must be there now, by id.
async fn copy_entries<F: Store, T: Store>(
    from: &F,
    to: &T,
    scope: &Scope,
    moved: &mut Moved,
) -> anyhow::Result<HashMap<String, Seal>> {
    let mut seals = HashMap::new();
    let mut after = 0;
    loop {
        let page = from.export_entries(scope, after, PAGE).await?;
        let Some((end, _)) = page.last() else { break };
        after = end.number;
        let mut drafts = Vec::with_capacity(page.len());
        for (kept, key) in page {
            seals.insert(kept.entry.id.clone(), Seal::of(&kept.entry)?);
            drafts.push(engine::draft(kept.entry, key));
        }
        moved.new.entries += to.import(scope, Vec::new(), drafts, Onto::Anything).await?.0;
    }
    moved.held.entries += seals.len() as u64;
    Ok(seals)
}

async fn check_sessions<T: Store>(
    to: &T,
    scope: &Scope,
    mut expected: HashSet<String>,
) -> anyhow::Result<()> {
    let mut after: Option<String> = None;
    loop {
        let page = to.export_sessions(scope, after.as_deref(), PAGE).await?;
        let Some(end) = page.last() else { break };
        after = Some(end.id.clone());
        for session in &page {
            expected.remove(&session.id);
        }
    }
    complete("sessions", expected.iter())
}

async fn check_entries<T: Store>(
    to: &T,
    scope: &Scope,
    mut expected: HashMap<String, Seal>,
) -> anyhow::Result<()> {
    let mut after = 0;
    loop {
        let page = to.export_entries(scope, after, PAGE).await?;
        let Some((end, _)) = page.last() else { break };
        after = end.number;
        for (kept, _) in &page {
            if let Some(seal) = expected.remove(&kept.entry.id)
                && !seal.fits(&Seal::of(&kept.entry)?)
            {
                bail!("the memory {} is another one there: its checksum is wrong", kept.entry.id);
            }
        }
    }
    complete("memories and messages", expected.keys())
}

fn complete<'a>(what: &str, mut missing: impl ExactSizeIterator<Item = &'a String>) -> anyhow::Result<()> {
    let count = missing.len();
    if let Some(first) = missing.next() {
        bail!("{count} {what} are not there, {first} among them");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::conformance::{memory, message, scope};
    use crate::store::postgres;
    use crate::store::sqlite::{Options, SqliteStore};
    use mcp_system_config::{Pool, Resilience};
    use mcp_system_tests::databases::{self, Database};
    use std::time::Duration;
    use tempfile::TempDir;

    /// An embedded store that holds something, with its directory, and an empty PostgreSQL.
    async fn both() -> (TempDir, SqliteStore, Database, PostgresStore) {
        let directory = tempfile::tempdir().unwrap();
        let from = SqliteStore::open(directory.path(), &Options::default()).await.expect("opens");
        fill(&from).await;
        let database = databases::postgres(&[("fsync", "off")]).expect("a PostgreSQL");
        let options = postgres::Options {
            url: database.url().to_owned(),
            password: None,
            pool: Pool { min_size: 1, max_size: 6 },
            patience: Duration::from_mins(1),
            deadline: Duration::from_mins(1),
            resilience: Resilience::default(),
            weaviate: None,
        };
        let to = PostgresStore::open(&options).await.expect("opens");
        (directory, from, database, to)
    }

    async fn fill(store: &SqliteStore) {
        for agent in ["a", "b"] {
            let mut drafts: Vec<_> =
                (0..600).map(|number| memory(number, &format!("word {number} of {agent}"))).collect();
            drafts[0].entry.context = serde_json::json!({"z": 1e300, "a": ["\0", 0.1]}).as_object().cloned();
            store.insert(&scope(agent), drafts).await.expect("stored");
            store.say(&scope(agent), message("s", 1000), Moment(2000)).await.expect("said");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn all_of_it_is_in_postgres_and_a_repetition_adds_nothing() {
        let (_directory, from, database, to) = both().await;
        let all = Counts { sessions: 2, entries: 1202 };
        assert_eq!(transfer(&from, &to).await.expect("moved"), Moved { held: all, new: all });
        let again = Moved { held: all, new: Counts::default() };
        assert_eq!(transfer(&from, &to).await.expect("moved"), again);
        assert_eq!(to.size(&scope("a")).await.unwrap(), from.size(&scope("a")).await.unwrap());

        // What was changed there since stays so; what is another text of the same time is an error.
        let sql = |statement: &str| databases::sql(database.url(), statement).expect("done");
        sql("UPDATE mcp_memory.entries SET content = 'new', updated_at = updated_at + 1 WHERE id = 'm7'");
        assert_eq!(transfer(&from, &to).await.expect("moved"), again);
        sql("UPDATE mcp_memory.entries SET content = 'damaged' WHERE id = 'm8'");
        let told = format!("{:#}", transfer(&from, &to).await.expect_err("damaged"));
        assert!(told.contains("m8") && told.contains("checksum") && told.contains("agent \"a\""), "{told}");
        to.close().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_was_deleted_since_a_move_stays_deleted_when_nobody_knows_of_it() {
        let (_directory, from, _database, to) = both().await;
        let held = Counts { sessions: 2, entries: 1202 };
        let once = async || transfer_once(&from, &to).await.expect("moved");
        assert_eq!(once().await, Moved { held, new: held });
        assert!(to.delete(&scope("a"), "m7").await.expect("deleted"));
        assert_eq!(once().await, Moved { held, new: Counts::default() });
        assert_eq!(to.get(&scope("a"), "m7").await.expect("reads"), None);

        // Another move takes along what the first store got since; it cannot tell what was deleted.
        from.insert(&scope("a"), vec![memory(2000, "later")]).await.expect("stored");
        let new = Counts { sessions: 0, entries: 2 };
        assert_eq!(once().await, Moved { held: Counts { entries: 1203, ..held }, new });
        to.close().await;
    }

    #[test]
    fn what_is_missing_is_counted_and_named() {
        let missing = ["m1".to_owned(), "m2".to_owned()];
        let told = complete("sessions", missing.iter()).expect_err("missing").to_string();
        assert_eq!(told, "2 sessions are not there, m1 among them");
        assert!(complete("sessions", [].iter()).is_ok());
    }
}
