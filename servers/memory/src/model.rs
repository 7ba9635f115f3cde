//! What the server remembers: plain values, as the store keeps them.
//!
//! Memories and messages of conversations are both an [`Entry`]: one search finds either, and one sequence of
//! changes tells of both. Nothing here reads a clock, a file or the network.

use crate::moment::Moment;
use rmcp::model::JsonObject;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::num::ParseIntError;
use std::sync::Arc;

/// Whose entries: an agent of a tenant. Nothing is ever read or written but inside one scope.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope {
    /// The tenant that the caller acts for.
    pub tenant: Arc<str>,
    /// The agent that the call names.
    pub agent_id: Arc<str>,
}

impl Scope {
    /// The scope of an agent of a tenant.
    pub fn new(tenant: impl Into<Arc<str>>, agent_id: impl Into<Arc<str>>) -> Self {
        Self { tenant: tenant.into(), agent_id: agent_id.into() }
    }
}

/// Whether an entry was stored as a memory or said in a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Memory,
    Message,
}

/// Who spoke.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    User,
    Assistant,
    System,
    Tool,
}

impl Role {
    /// The name that the store and clients use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::System => "system",
            Self::Tool => "tool",
        }
    }

    /// The role with this name.
    pub fn of_name(name: &str) -> Option<Self> {
        [Self::User, Self::Assistant, Self::System, Self::Tool].into_iter().find(|role| role.name() == name)
    }
}

/// Who said a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Speaker {
    /// In which part.
    pub role: Role,
    /// The person who took part, when one was named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
}

/// The type of every message; memories may have any.
pub const MESSAGE_TYPE: &str = "message";

/// A memory, or a message of a conversation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Its own id, unique in its scope.
    pub id: String,
    /// Who said it: a message has a speaker, a memory has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speaker: Option<Speaker>,
    /// The session that it belongs to; a message always has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    /// Its type.
    pub memory_type: String,
    /// What is remembered, or was said.
    pub content: String,
    /// What was said about it when it was stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<JsonObject>,
    /// From 0 (trivial) to 1 (vital).
    pub importance: f64,
    /// When it was stored.
    pub created_at: Moment,
    /// When it was last changed by its agent.
    pub updated_at: Moment,
    /// Set when an optimisation put it away: it is found no more, but can be brought back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archived: Option<Archived>,
}

impl Entry {
    /// Memory or message.
    pub fn kind(&self) -> Kind {
        if self.speaker.is_some() { Kind::Message } else { Kind::Memory }
    }

    /// Roughly the bytes that it takes in an answer.
    pub fn weight(&self) -> usize {
        let context = self.context.as_ref().and_then(|context| serde_json::to_string(context).ok());
        self.content.len() + context.map_or(0, |text| text.len()) + 256
    }
}

/// When and why an entry was put away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Archived {
    /// When.
    pub at: Moment,
    /// The optimisation that did it.
    pub run_id: String,
    /// The entry that says the same and stayed; without one, it was put away for its age.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merged_into: Option<String>,
}

/// An entry as the store holds it.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept {
    /// Its place in its scope: later entries have greater numbers, and an entry keeps its own for ever.
    pub number: u64,
    /// The scope's version that its last change made.
    pub version: u64,
    /// The entry itself.
    pub entry: Entry,
}

/// What tells equal contents apart from others: the first half of a SHA-256, written as 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct ContentHash(pub [u8; 16]);

impl ContentHash {
    /// Of a content; white space around it does not count.
    pub fn of(content: &str) -> Self {
        let digest = Sha256::digest(content.trim().as_bytes());
        let mut half = [0; 16];
        half.copy_from_slice(&digest[..16]);
        Self(half)
    }
}

impl fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl From<ContentHash> for String {
    fn from(hash: ContentHash) -> Self {
        format!("{hash:?}")
    }
}

impl TryFrom<String> for ContentHash {
    type Error = ParseIntError;

    fn try_from(text: String) -> Result<Self, ParseIntError> {
        u128::from_str_radix(&text, 16).map(|number| Self(number.to_be_bytes()))
    }
}

/// An idempotency key: it makes a repeated store of the same content harmless.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// As its caller chose it, unique in a scope.
    pub name: String,
    /// The content that it was used for, whatever became of that since; `None` where it is not known any more, and any
    /// content counts as a repetition.
    pub used_for: Option<ContentHash>,
}

impl Key {
    /// One that is used for this content.
    pub fn of(name: impl Into<String>, content: &str) -> Self {
        Self { name: name.into(), used_for: Some(ContentHash::of(content)) }
    }
}

/// An entry to be written.
#[derive(Clone, Debug, PartialEq)]
pub struct Draft {
    /// The entry.
    pub entry: Entry,
    /// Makes a repeated store of the same memory harmless.
    pub idempotency_key: Option<Key>,
    /// What the search index needs of its text, in bytes that only the retrieval crate reads.
    pub analysis: Vec<u8>,
}

impl Draft {
    /// The hash by which a second store of the same content is recognised; messages may repeat.
    pub fn hash(&self) -> Option<ContentHash> {
        (self.entry.kind() == Kind::Memory).then(|| ContentHash::of(&self.entry.content))
    }

    /// Whether an earlier store of this draft may have made an entry with this role and session: a memory, or a message of the
    /// same session.
    pub(crate) fn may_have_made(&self, role: Option<&str>, session_id: Option<&str>) -> bool {
        match self.entry.kind() {
            Kind::Memory => role.is_none(),
            Kind::Message => role.is_some() && session_id == self.entry.session_id.as_deref(),
        }
    }
}

/// The name of an idempotency key that several of these drafts use for different contents.
pub(crate) fn ambiguous_key(drafts: &[Draft]) -> Option<&str> {
    let mut uses = HashMap::new();
    let mut keys = drafts.iter().filter_map(|draft| draft.idempotency_key.as_ref());
    let other = keys.find(|key| *uses.entry(&key.name).or_insert(key.used_for) != key.used_for);
    other.map(|key| key.name.as_str())
}

/// What became of a draft.
#[derive(Clone, Debug, PartialEq)]
pub struct Inserted {
    /// The id of the entry, as all that follows: the draft's, or that of the entry that was there before.
    pub id: String,
    /// See [`Entry`].
    pub memory_type: String,
    /// See [`Entry`].
    pub importance: f64,
    /// When that entry was stored.
    pub created_at: Moment,
    /// Its place, and the version of the scope at which it is there.
    pub number: u64,
    /// See `number`.
    pub version: u64,
    /// Whether the same content, or the same idempotency key, was there before; nothing was stored then.
    pub duplicate: bool,
}

impl Inserted {
    /// A new entry with this number, at this version.
    pub(crate) fn new(entry: &Entry, number: i64, version: i64) -> Self {
        Self {
            id: entry.id.clone(),
            memory_type: entry.memory_type.clone(),
            importance: entry.importance,
            created_at: entry.created_at,
            number: number.cast_unsigned(),
            version: version.cast_unsigned(),
            duplicate: false,
        }
    }
}

/// What the search index needs of an entry.
#[derive(Clone, Debug, PartialEq)]
pub struct Indexed {
    /// See [`Kept`].
    pub number: u64,
    /// See [`Kept`].
    pub version: u64,
    /// Memory or message.
    pub kind: Kind,
    /// See [`Entry`].
    pub memory_type: String,
    /// See [`Entry`].
    pub session_id: Option<String>,
    /// See [`Entry`].
    pub importance: f64,
    /// See [`Entry`].
    pub created_at: Moment,
    /// The analysis that was stored with it; empty when there is none yet.
    pub analysis: Vec<u8>,
    /// Its vector of the model that was asked for, when it has one.
    pub dense: Option<Vec<f32>>,
}

/// One step of a scope's history.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// An entry that is there, as it is now.
    Put(Box<Indexed>),
    /// An entry that is not found any more.
    Gone {
        /// Its place.
        number: u64,
        /// The version that this made.
        version: u64,
    },
}

impl Change {
    /// The version of the scope that it made.
    pub fn version(&self) -> u64 {
        match self {
            Self::Put(indexed) => indexed.version,
            Self::Gone { version, .. } => *version,
        }
    }
}

/// What happened in a scope since a version.
#[derive(Clone, Debug, PartialEq)]
pub enum Changes {
    /// The next changes, in the order of their versions; none when there is nothing newer.
    Next(Vec<Change>),
    /// Too much: whoever follows must load the scope anew.
    Reload,
}

/// Which entries of a scope are looked at; what is `None` excludes nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter {
    /// Memories or messages only.
    pub kind: Option<Kind>,
    /// Only this type.
    pub memory_type: Option<String>,
    /// Only entries of this session.
    pub session_id: Option<String>,
    /// Only entries at least this important.
    pub min_importance: Option<f64>,
    /// Only entries stored then or later.
    pub since: Option<Moment>,
    /// Only entries stored before then.
    pub until: Option<Moment>,
}

impl Filter {
    /// Whether an entry passes.
    pub fn accepts(&self, entry: &Entry) -> bool {
        self.kind.is_none_or(|kind| kind == entry.kind())
            && self.memory_type.as_ref().is_none_or(|it| *it == entry.memory_type)
            && self.session_id.as_ref().is_none_or(|it| entry.session_id.as_ref() == Some(it))
            && self.min_importance.is_none_or(|least| entry.importance >= least)
            && self.since.is_none_or(|since| entry.created_at >= since)
            && self.until.is_none_or(|until| entry.created_at < until)
    }
}

/// A part of a longer list, cut where its bytes or its number reach a bound.
#[derive(Clone, Debug, PartialEq)]
pub struct Page<T> {
    /// The entries, in order.
    pub items: Vec<T>,
    /// Whether bytes, not the limit that was asked for, ended the page.
    pub truncated: bool,
}

impl<T> Page<T> {
    /// Bytes after which a page ends early: a hundred memories may hold more than a server should.
    pub const MAX_BYTES: usize = 4 << 20;
}

/// A page that is being filled, until what it holds is too heavy; the first item is always taken.
#[derive(Debug)]
pub(crate) struct Filling<T> {
    page: Page<T>,
    bytes: usize,
}

impl<T> Filling<T> {
    pub(crate) const fn new() -> Self {
        Self { page: Page { items: Vec::new(), truncated: false }, bytes: 0 }
    }

    /// Takes an item of so many bytes; answers whether there was room for it. Where there was none, the page is full.
    pub(crate) fn take(&mut self, item: T, bytes: usize) -> bool {
        self.bytes += bytes;
        if self.bytes > Page::<T>::MAX_BYTES && !self.page.items.is_empty() {
            self.page.truncated = true;
            return false;
        }
        self.page.items.push(item);
        true
    }

    pub(crate) fn into_page(self) -> Page<T> {
        self.page
    }
}

/// A conversation's frame.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Session {
    /// The session's id: made by `create_session`, or chosen by the agent.
    #[serde(rename = "session_id")]
    pub id: String,
    /// The person it was begun for, when one was named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    /// What its creator said about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<JsonObject>,
    /// When it began.
    pub created_at: Moment,
    /// When it ends, or ended.
    pub expires_at: Moment,
    /// Whether its end is fixed; otherwise each message moves it on.
    #[serde(rename = "fixed_end")]
    pub fixed: bool,
}

impl Session {
    /// Whether the session is over at that instant.
    pub fn ended(&self, now: Moment) -> bool {
        self.expires_at <= now
    }
}

/// A message was stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Said {
    /// The session as it is now.
    pub session: Session,
    /// Whether the message brought the session into being.
    pub begun: bool,
    /// Where the message stands.
    pub inserted: Inserted,
}

/// The point before which a history is read.
#[derive(Clone, Debug, PartialEq)]
pub enum Before {
    /// A message, by its id.
    Message(String),
    /// An instant.
    Moment(Moment),
}

/// A session and a part of what was said in it, oldest first.
#[derive(Clone, Debug, PartialEq)]
pub struct History {
    /// The session.
    pub session: Session,
    /// The newest messages before the point that was asked for, oldest first.
    pub messages: Page<Entry>,
}

/// What is to be put away, and the state in which it was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Archival {
    /// The entry.
    pub number: u64,
    /// Its version; an entry that has changed since stays.
    pub version: u64,
    /// The entry that says the same and stays: unless it is there as it was, this one stays too.
    pub merged_into: Option<Survivor>,
}

/// An entry that stays for others, and the state in which it was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survivor {
    /// Its id.
    pub id: String,
    /// See [`Kept`].
    pub number: u64,
    /// See [`Kept`].
    pub version: u64,
}

/// What a store holds, of one agent, of several, or of all of a tenant.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct Statistics {
    /// Memories in all.
    pub memories: u64,
    /// Memories of each type.
    pub memories_by_type: BTreeMap<String, u64>,
    /// Memories that an optimisation put away: not found any more, but not purged either.
    pub archived_memories: u64,
    /// Sessions in which something was said.
    pub conversations: u64,
    /// Messages in all.
    pub messages: u64,
    /// Sessions, those that ended among them.
    pub sessions: u64,
    /// Sessions that have not ended.
    pub active_sessions: u64,
    /// When the oldest memory was stored.
    pub oldest_memory: Option<Moment>,
    /// When the newest memory was stored.
    pub newest_memory: Option<Moment>,
    /// Bytes that the whole store takes on disk, everything in it together. Told to those who may touch every tenant and
    /// every agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store_bytes: Option<u64>,
}

impl Statistics {
    /// Counts in what the same store holds of another agent.
    pub(crate) fn count_in(&mut self, other: Self) {
        let Self {
            memories,
            memories_by_type,
            archived_memories,
            conversations,
            messages,
            sessions,
            active_sessions,
            oldest_memory,
            newest_memory,
            store_bytes,
        } = other;
        self.memories += memories;
        for (memory_type, count) in memories_by_type {
            *self.memories_by_type.entry(memory_type).or_default() += count;
        }
        self.archived_memories += archived_memories;
        self.conversations += conversations;
        self.messages += messages;
        self.sessions += sessions;
        self.active_sessions += active_sessions;
        self.oldest_memory = self.oldest_memory.into_iter().chain(oldest_memory).min();
        // Nothing is less than any moment.
        self.newest_memory = self.newest_memory.max(newest_memory);
        // Of the whole store each time, and it may have grown in between.
        self.store_bytes = self.store_bytes.max(store_bytes);
    }
}
