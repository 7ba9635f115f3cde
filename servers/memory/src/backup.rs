//! Backups: everything that a store holds as JSON Lines, the same for every store. docs/MEMORY.md describes the format.
//!
//! A backup is checked as a whole before anything of it is taken in, and once more while it is. Taking it in twice changes
//! nothing, so an import that broke off is simply repeated; an export that broke off goes on after its last whole line.

mod lines;
mod writing;

use crate::engine;
use crate::model::{ContentHash, Entry, Key, Scope, Session};
use crate::store::{Onto, Store};
use anyhow::Context;
use lines::{Reading, next, next_of};
use serde::{Deserialize, Serialize};
use std::io::{BufReader, Read};
use tokio::io::AsyncBufRead;

pub(crate) use writing::checksum;
pub use writing::{Start, backup, export, export_into};

const FORMAT: &str = "mcp-system-memory";
const VERSION: u32 = 1;
/// Rows that are read and written at once.
pub(crate) const PAGE: u32 = 500;
/// Rows that an import stores at once: no other write waits for more of them.
const TAKEN_IN: usize = 200;
/// Bytes of lines after which a page is full, however few its rows.
const PAGE_BYTES: usize = 4 << 20;

/// One line of a backup.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Line {
    /// The first line.
    Header { format: String, version: u32 },
    /// What follows belongs to this scope.
    Scope { tenant: String, agent_id: String },
    /// A session of the scope.
    Session(Session),
    /// A memory or a message of the scope.
    Entry {
        #[serde(flatten)]
        entry: Entry,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        idempotency_key: Option<String>,
        /// Of the content that the key was used for, where the entry was changed since; otherwise it is its own.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key_hash: Option<ContentHash>,
    },
    /// The last line: how many sessions and entries there are, and the SHA-256 of all bytes before this line.
    End { sessions: u64, entries: u64, sha256: String },
}

impl Line {
    fn entry(entry: Entry, key: Option<Key>) -> Self {
        let key_hash = key.as_ref().and_then(|key| key.used_for).filter(|_| is_changed(&entry));
        Self::Entry { entry, idempotency_key: key.map(|key| key.name), key_hash }
    }
}

/// The key that a line of an entry tells of.
fn key(entry: &Entry, name: String, hash: Option<ContentHash>) -> Key {
    let own = || (!is_changed(entry)).then(|| ContentHash::of(&entry.content));
    Key { used_for: hash.or_else(own), name }
}

fn is_changed(entry: &Entry) -> bool {
    entry.updated_at != entry.created_at
}

/// What a backup holds, or what was taken in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Sessions.
    pub sessions: u64,
    /// Memories and messages.
    pub entries: u64,
}

/// Reads a backup from its start to its end and says what it holds. `progress` learns now and then how much was read.
///
/// # Errors
/// Says what is wrong with it, and where.
pub fn verify(input: impl Read, mut progress: impl FnMut(Counts)) -> anyhow::Result<Counts> {
    let mut input = BufReader::new(input);
    let mut reading = Reading::default();
    let mut text = Vec::new();
    while next(&mut input, &mut text)? {
        reading.line(&text)?;
        if reading.is_at_page() {
            progress(reading.counts());
        }
    }
    reading.end()
}

/// Takes in a backup; what is there already, by its id, is left as it is. Answers what was new. `progress` learns after
/// each page how much was read.
///
/// # Errors
/// Where the store fails, or where a line is wrong: what was taken in before stays. Whoever wants a damaged backup to be
/// refused as a whole verifies it first.
pub async fn import<S: Store>(
    store: &S,
    mut input: impl AsyncBufRead + Unpin,
    mut onto: Onto,
    mut progress: impl FnMut(Counts),
) -> anyhow::Result<Counts> {
    let mut reading = Reading::default();
    let mut text = Vec::new();
    let mut new = Counts::default();
    let mut scope = None;
    let mut page = Page::default();
    while next_of(&mut input, &mut text).await? {
        let line = reading.line(&text)?;
        let is_over = matches!(line, Line::Scope { .. } | Line::End { .. });
        if let Some(scope) = scope.as_ref().filter(|_| page.is_full() || is_over) {
            let (entries, sessions) = std::mem::take(&mut page).into_store(store, scope, onto).await?;
            new.entries += entries;
            new.sessions += sessions;
            onto = Onto::Anything;
            progress(reading.counts());
        }
        page.bytes += text.len();
        match line {
            Line::Scope { tenant, agent_id } => scope = Some(Scope::new(tenant, agent_id)),
            Line::Session(session) => page.sessions.push(session),
            Line::Entry { entry, idempotency_key, key_hash } => {
                let key = idempotency_key.map(|name| key(&entry, name, key_hash));
                page.entries.push((entry, key));
            }
            Line::Header { .. } | Line::End { .. } => {}
        }
    }
    reading.end()?;
    Ok(new)
}

/// What is taken in at once: it bounds the memory that an import needs, and the time that other writes wait for it.
#[derive(Default)]
struct Page {
    sessions: Vec<Session>,
    entries: Vec<(Entry, Option<Key>)>,
    bytes: usize,
}

impl Page {
    fn is_full(&self) -> bool {
        self.sessions.len() + self.entries.len() >= TAKEN_IN || self.bytes >= PAGE_BYTES
    }

    async fn into_store<S: Store>(self, store: &S, scope: &Scope, onto: Onto) -> anyhow::Result<(u64, u64)> {
        let Self { sessions, entries, .. } = self;
        // Hundreds of texts are analysed: whoever else is served by this thread should not wait for that.
        let drafts = tokio::task::spawn_blocking(move || {
            entries.into_iter().map(|(entry, key)| engine::draft(entry, key)).collect()
        });
        let drafts = drafts.await.context("the texts could not be analysed")?;
        Ok(store.import(scope, sessions, drafts, onto).await?)
    }
}

#[cfg(test)]
pub(crate) mod tests;
