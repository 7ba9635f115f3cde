//! Writing a backup, and going on with one that broke off.

use super::lines::{Reading, next};
use super::{Counts, FORMAT, Line, PAGE, VERSION, verify};
use crate::locked::Locked;
use crate::model::{Kind, Scope, Session};
use crate::store::Store;
use anyhow::{Context, bail};
use std::collections::{HashSet, VecDeque};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{BufReader, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Entries of a file that are remembered to find the place after them: some may have been deleted since.
const REMEMBERED: usize = 1000;

/// How a file is begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// What it holds is lost.
    Anew,
    /// After its last whole line.
    Resumed,
}

/// Writes everything that a store holds; it may be written to meanwhile, what is stored after the start may be missing, but
/// no session of a message that is there.
/// `progress` learns after each page how much was written.
pub async fn export<S: Store>(
    store: &S,
    output: impl Write,
    progress: impl FnMut(Counts),
) -> anyhow::Result<Counts> {
    Ok(write(store, output, Position::default(), progress).await?.0)
}

/// What a backup would hold, and the SHA-256 that would stand in its last line.
pub(crate) async fn checksum<S: Store>(store: &S) -> anyhow::Result<(Counts, String)> {
    write(store, std::io::sink(), Position::default(), |_| ()).await
}

/// Does that into a file, from its beginning or from where an export broke off. What was changed or deleted between the two
/// keeps, in the part that was written first, its old form.
///
/// # Errors
/// Where the file cannot be written, another process is writing it, or it is no part of a backup of this store.
pub async fn export_into<S: Store>(
    store: &S,
    path: &Path,
    start: Start,
    mut progress: impl FnMut(Counts),
) -> anyhow::Result<Counts> {
    let of_file = || format!("the backup {}", path.display());
    let file = open(path).with_context(of_file)?;
    let cannot = || format!("{} cannot be gone on with: begin it anew", path.display());
    let position = match start {
        Start::Anew => Position::default(),
        Start::Resumed => position(store, &file, &mut progress).await.with_context(cannot)?,
    };
    if position.written.is_whole() {
        return Ok(position.written.counts());
    }
    file.set_len(position.bytes).with_context(of_file)?;
    (&*file).seek(SeekFrom::Start(position.bytes)).with_context(of_file)?;
    let (counts, _) = write(store, BufWriter::new(&*file), position, progress).await.with_context(of_file)?;
    file.sync_all().with_context(of_file)?;
    Ok(counts)
}

/// Writes a backup into a file that is there in full, verified, or not at all: until then it lies beside it, as
/// `FILE.partial`, which is also where one that broke off goes on.
pub async fn backup<S: Store>(
    store: &S,
    file: &Path,
    start: Start,
    mut progress: impl FnMut(Counts),
) -> anyhow::Result<Counts> {
    let mut partial = file.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    let counts = export_into(store, &partial, start, &mut progress).await?;
    let named = || format!("the backup {}", partial.display());
    let read_back = verify(File::open(&partial).with_context(named)?, progress).with_context(named)?;
    if read_back != counts {
        bail!("{} holds {read_back:?} instead of {counts:?}", partial.display());
    }
    std::fs::rename(&partial, file).with_context(|| format!("cannot make {}", file.display()))?;
    Ok(counts)
}

/// Opens a file that only this process writes for now: one that was started from afar may go on after its caller was cut off.
fn open(path: &Path) -> anyhow::Result<Locked> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => bail!("another process is writing it"),
        // Not every file system has locks.
        Ok(()) | Err(TryLockError::Error(_)) => Ok(Locked(file)),
    }
}

/// Where an export stands.
#[derive(Default)]
struct Position {
    /// The scope that was begun.
    scope: Option<Scope>,
    /// What of it is there.
    after: After,
    /// Its sessions that are there.
    sessions: HashSet<String>,
    written: Reading,
    /// The length of what was written.
    bytes: u64,
}

/// The last row of a scope that is there. Sessions come before entries, but for one that was begun while they were written:
/// it comes before its first message.
#[derive(Default)]
enum After {
    #[default]
    Nothing,
    Session(String),
    /// By its number.
    Entry(u64),
}

/// Reads what a file holds up to its last whole line.
async fn position<S: Store>(
    store: &S,
    file: &File,
    mut progress: impl FnMut(Counts),
) -> anyhow::Result<Position> {
    let (mut input, mut text) = (BufReader::new(file), Vec::new());
    let mut at = Position::default();
    let mut entries = VecDeque::new();
    while next(&mut input, &mut text)? {
        if !text.ends_with(b"\n") {
            break;
        }
        match at.written.line(&text)? {
            Line::Scope { tenant, agent_id } => {
                at.scope = Some(Scope::new(tenant, agent_id));
                at.after = After::Nothing;
                at.sessions.clear();
                entries.clear();
            }
            Line::Session(session) => {
                at.sessions.insert(session.id.clone());
                at.after = After::Session(session.id);
            }
            Line::Entry { entry, .. } => {
                entries.push_front(entry.id);
                entries.truncate(REMEMBERED);
            }
            Line::Header { .. } | Line::End { .. } => {}
        }
        at.bytes += text.len() as u64;
        if at.written.is_at_page() {
            progress(at.written.counts());
        }
    }
    let (Some(scope), false) = (&at.scope, at.written.is_whole()) else { return Ok(at) };
    if !is_there(store, scope).await? {
        bail!("it is of another store: this one holds nothing of the agent {:?}", &*scope.agent_id);
    }
    if !entries.is_empty() {
        at.after = After::Entry(place_of(store, scope, &entries).await?);
    }
    Ok(at)
}

/// Whether a scope exists, though it may hold nothing now.
async fn is_there<S: Store>(store: &S, scope: &Scope) -> anyhow::Result<bool> {
    Ok(store.version(scope).await? > 0 || !store.export_sessions(scope, None, 1).await?.is_empty())
}

/// The place of the first of these that is still there.
async fn place_of<S: Store>(store: &S, scope: &Scope, ids: &VecDeque<String>) -> anyhow::Result<u64> {
    for id in ids {
        if let Some(kept) = store.get(scope, id).await? {
            return Ok(kept.number);
        }
    }
    bail!("none of the last {} memories and messages that it holds is in the store any more", ids.len())
}

/// Writes what follows after a position; answers what the whole backup holds, and its SHA-256.
async fn write<S: Store>(
    store: &S,
    output: impl Write,
    position: Position,
    progress: impl FnMut(Counts),
) -> anyhow::Result<(Counts, String)> {
    let Position { scope, after, sessions, written, .. } = position;
    let mut writing = Writing { store, output, written, sessions, progress };
    if writing.written.is_empty() {
        writing.line(&Line::Header { format: FORMAT.into(), version: VERSION })?;
    }
    if let Some(scope) = &scope {
        writing.rows(scope, after).await?;
    }
    let mut last = scope;
    loop {
        let scopes = store.scopes(last.as_ref(), PAGE).await?;
        let Some(end) = scopes.last() else { break };
        last = Some(end.clone());
        for scope in &scopes {
            let (tenant, agent_id) = (scope.tenant.to_string(), scope.agent_id.to_string());
            writing.line(&Line::Scope { tenant, agent_id })?;
            writing.sessions.clear();
            writing.rows(scope, After::Nothing).await?;
        }
    }
    let counts = writing.written.counts();
    let Counts { sessions, entries } = counts;
    let sha256 = writing.written.sum();
    writing.line(&Line::End { sessions, entries, sha256: sha256.clone() })?;
    writing.output.flush().context(CANNOT)?;
    Ok((counts, sha256))
}

const CANNOT: &str = "the backup cannot be written";

/// An export under way.
struct Writing<'a, S, W, P> {
    store: &'a S,
    output: W,
    written: Reading,
    /// Those of the present scope that are there.
    sessions: HashSet<String>,
    progress: P,
}

impl<S: Store, W: Write, P: FnMut(Counts)> Writing<'_, S, W, P> {
    /// What a scope holds after a row.
    async fn rows(&mut self, scope: &Scope, after: After) -> anyhow::Result<()> {
        let number = match after {
            After::Nothing => {
                self.sessions(scope, None).await?;
                0
            }
            After::Session(id) => {
                self.sessions(scope, Some(id)).await?;
                0
            }
            After::Entry(number) => number,
        };
        self.entries(scope, number).await
    }

    async fn sessions(&mut self, scope: &Scope, mut after: Option<String>) -> anyhow::Result<()> {
        loop {
            let sessions = self.store.export_sessions(scope, after.as_deref(), PAGE).await?;
            let Some(last) = sessions.last() else { return Ok(()) };
            after = Some(last.id.clone());
            sessions.into_iter().try_for_each(|session| self.session(session))?;
            (self.progress)(self.written.counts());
        }
    }

    async fn entries(&mut self, scope: &Scope, mut after: u64) -> anyhow::Result<()> {
        loop {
            let entries = self.store.export_entries(scope, after, PAGE).await?;
            let Some((last, _)) = entries.last() else { return Ok(()) };
            after = last.number;
            for (kept, key) in entries {
                if let Some(id) = kept.entry.session_id.as_deref()
                    && kept.entry.kind() == Kind::Message
                    && !self.sessions.contains(id)
                    && let Some(session) = self.store.session(scope, id).await?
                {
                    self.session(session)?;
                }
                self.line(&Line::entry(kept.entry, key))?;
            }
            (self.progress)(self.written.counts());
        }
    }

    fn session(&mut self, session: Session) -> anyhow::Result<()> {
        if self.sessions.insert(session.id.clone()) {
            self.line(&Line::Session(session))?;
        }
        Ok(())
    }

    fn line(&mut self, line: &Line) -> anyhow::Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        self.written.note(line, &text)?;
        self.output.write_all(&text).context(CANNOT)
    }
}
