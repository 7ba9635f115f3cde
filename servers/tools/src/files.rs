//! Full text over the files of one folder: passages of some lines, found by the same retrieval as memories.
//! Files that changed are read again when somebody searches. Symbolic links are not followed, so nothing
//! outside the folder is read.

use crate::tool::Failure;
use ignore::WalkBuilder;
use mcp_system_config::FileSearchSettings;
use mcp_system_retrieval::{Analysis, Index, Query};
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// The most lines and letters of a passage.
const PASSAGE_LINES: usize = 40;
const PASSAGE_CHARS: usize = 2000;
/// The most files that are held, whatever they weigh.
const MAX_FILES: usize = 50_000;

/// A folder with its index.
#[derive(Debug)]
pub(crate) struct Files {
    settings: FileSearchSettings,
    folder: PathBuf,
    state: Mutex<State>,
    /// Held by the one who searches, from before it takes a thread.
    turn: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Debug)]
struct State {
    index: Index<Passage>,
    files: BTreeMap<PathBuf, Known>,
    next_key: u64,
    looked: Option<Instant>,
    left_out: usize,
}

/// A file that was read.
#[derive(Debug)]
struct Known {
    stamp: Stamp,
    keys: Vec<u64>,
}

/// What tells that a file changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    bytes: u64,
    modified: Option<SystemTime>,
}

/// Some lines of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Passage {
    /// Its path below the folder.
    pub(crate) path: Arc<str>,
    /// The first of its lines, counted from 1, and the last.
    pub(crate) lines: (usize, usize),
    /// What stands there.
    pub(crate) text: String,
}

/// What a search brought.
#[derive(Debug)]
pub(crate) struct Found {
    /// Best first.
    pub(crate) passages: Vec<(Passage, f32)>,
    /// How many files are in the index.
    pub(crate) files: usize,
    /// How many were too large, not text, or beyond the bounds.
    pub(crate) left_out: usize,
}

impl Files {
    /// The folder of the settings, when there is one; the one from before when nothing changed.
    pub(crate) fn open(settings: &FileSearchSettings, before: Option<&Arc<Self>>) -> Option<Arc<Self>> {
        let folder = settings.folder.clone()?;
        if let Some(before) = before.filter(|before| before.settings == *settings) {
            return Some(before.clone());
        }
        let state =
            State { index: Index::new(), files: BTreeMap::new(), next_key: 0, looked: None, left_out: 0 };
        let (state, turn) = (Mutex::new(state), Arc::default());
        Some(Arc::new(Self { settings: settings.clone(), folder, state, turn }))
    }

    /// Searches, one caller after the other: many who wait for a folder to be read would otherwise hold all the threads
    /// that may block, which others need to look up names and to read files.
    pub(crate) async fn search_in_turn(
        self: &Arc<Self>,
        query: String,
        below: String,
        limit: usize,
    ) -> Result<Found, Failure> {
        let (files, turn) = (self.clone(), self.turn.clone().lock_owned().await);
        let search = move || {
            let _until_done = turn;
            files.search(&query, &below, limit)
        };
        tokio::task::spawn_blocking(search).await.map_err(|error| Failure(error.to_string()))?
    }

    /// Looks for changes when the last look is some time ago, then searches.
    fn search(&self, query: &str, below: &str, limit: usize) -> Result<Found, Failure> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = Duration::from_secs(self.settings.refresh_seconds.into());
        if state.looked.is_none_or(|looked| looked.elapsed() >= fresh) {
            self.refresh(&mut state)?;
            state.looked = Some(Instant::now());
        }
        let mut wanted = Query::of(query);
        wanted.limit = limit;
        let below = below.trim_matches('/');
        let is_below = |passage: &Passage| {
            passage.path.strip_prefix(below).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let accept: Option<&dyn Fn(&Passage) -> bool> = if below.is_empty() { None } else { Some(&is_below) };
        let hits = state.index.search(&wanted, accept, |_| 1.0);
        let passages =
            hits.iter().filter_map(|hit| Some((state.index.get(hit.key)?.clone(), hit.score))).collect();
        Ok(Found { passages, files: state.files.len(), left_out: state.left_out })
    }

    fn refresh(&self, state: &mut State) -> Result<(), Failure> {
        let unreadable = |error: &dyn std::fmt::Display| {
            Failure(format!("the folder of fileSearch.folder cannot be read: {error}"))
        };
        let root = self.folder.canonicalize().map_err(|error| unreadable(&error))?;
        let mut there: BTreeMap<PathBuf, Stamp> = BTreeMap::new();
        let (mut total, mut left_out) = (0, 0);
        for entry in WalkBuilder::new(&root).follow_links(false).require_git(false).build() {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) if there.is_empty() && !root.is_dir() => return Err(unreadable(&error)),
                Err(_) => continue,
            };
            // Of a link this is the link itself, which is no file.
            if !entry.file_type().is_some_and(|kind| kind.is_file()) {
                continue;
            }
            let Ok(metadata) = entry.metadata() else { continue };
            let fits = metadata.len() <= u64::from(self.settings.max_file_bytes)
                && total + metadata.len() <= u64::from(self.settings.max_total_bytes)
                && there.len() < MAX_FILES;
            if fits {
                total += metadata.len();
                let stamp = Stamp { bytes: metadata.len(), modified: metadata.modified().ok() };
                there.insert(entry.into_path(), stamp);
            } else {
                left_out += 1;
            }
        }
        let changed = |path: &PathBuf, known: &Known| there.get(path) != Some(&known.stamp);
        let gone: Vec<PathBuf> = state
            .files
            .iter()
            .filter(|(path, known)| changed(path, known))
            .map(|(path, _)| path.clone())
            .collect();
        for path in gone {
            for key in state.files.remove(&path).into_iter().flat_map(|known| known.keys) {
                state.index.remove(key);
            }
        }
        for (path, stamp) in there {
            if !state.files.contains_key(&path) {
                let text = read(&root, &path, self.settings.max_file_bytes);
                left_out += usize::from(text.is_none());
                // What is no text is remembered too, so that it is not read each time.
                let keys = text.map(|text| state.insert(&root, &path, &text)).unwrap_or_default();
                state.files.insert(path, Known { stamp, keys });
            } else if state.files.get(&path).is_some_and(|known| known.keys.is_empty() && stamp.bytes > 0) {
                left_out += 1;
            }
        }
        state.left_out = left_out;
        Ok(())
    }
}

impl State {
    fn insert(&mut self, root: &Path, path: &Path, text: &str) -> Vec<u64> {
        let name = path.strip_prefix(root).unwrap_or(path).to_string_lossy().replace('\\', "/");
        let name: Arc<str> = name.into();
        let group = self.next_key;
        let mut keys = Vec::new();
        for (lines, text) in passages(text) {
            let key = self.next_key;
            self.next_key += 1;
            let analysis = Analysis::of(&text, Some(&name));
            let passage = Passage { path: name.clone(), lines, text };
            self.index.insert(key, Some(group), &analysis, None, passage);
            keys.push(key);
        }
        keys
    }
}

/// The text of a file of the folder; `None` when it is no text, or has grown too large.
fn read(root: &Path, path: &Path, max_bytes: u32) -> Option<String> {
    let mut bytes = Vec::new();
    let max = u64::from(max_bytes);
    open(root, path)?.take(max + 1).read_to_end(&mut bytes).ok()?;
    if bytes.len() as u64 > max || bytes.contains(&0) {
        return None;
    }
    String::from_utf8(bytes).ok()
}

/// Opens a file of the folder one step after the other, none of which is a link. Whoever writes in the folder may have
/// put another thing there since the walk: a link to what lies outside, or a pipe, which nobody waits for.
fn open(root: &Path, path: &Path) -> Option<File> {
    let mut at = OwnedFd::from(File::open(root).ok()?);
    let mut steps = path.strip_prefix(root).ok()?.components().peekable();
    while let Some(step) = steps.next() {
        let Component::Normal(name) = step else { return None };
        let kind = if steps.peek().is_some() { OFlag::O_DIRECTORY } else { OFlag::O_NONBLOCK };
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | kind;
        at = openat(&at, name, flags, Mode::empty()).ok()?;
    }
    let file = File::from(at);
    file.metadata().ok()?.is_file().then_some(file)
}

/// A text in passages: at empty lines where that leaves none too small, else after so many lines or letters.
fn passages(text: &str) -> Vec<((usize, usize), String)> {
    let mut passages = Vec::new();
    let (mut first, mut held) = (1, String::new());
    let mut lines = 0;
    let mut flush = |first: usize, last: usize, held: &mut String| {
        let text = std::mem::take(held);
        if !text.trim().is_empty() {
            passages.push(((first, last), text.trim_end().to_owned()));
        }
    };
    for (place, line) in text.lines().enumerate() {
        let number = place + 1;
        let is_break = line.trim().is_empty() && lines >= PASSAGE_LINES / 2;
        if lines >= PASSAGE_LINES || held.len() + line.len() > PASSAGE_CHARS || is_break {
            flush(first, number - 1, &mut held);
            (first, lines) = (number, 0);
        }
        // A line that is longer than a passage is cut into several of the same number.
        let mut rest = line;
        while rest.len() > PASSAGE_CHARS {
            let (part, others) = rest.split_at(rest.floor_char_boundary(PASSAGE_CHARS));
            held.push_str(part);
            flush(number, number, &mut held);
            first = number;
            rest = others;
        }
        held.push_str(rest);
        held.push('\n');
        lines += 1;
    }
    flush(first, text.lines().count(), &mut held);
    passages
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fs;
    use tempfile::TempDir;

    fn folder(change: fn(&mut FileSearchSettings)) -> (TempDir, Arc<Files>) {
        let folder = tempfile::tempdir().expect("a folder");
        let mut settings = FileSearchSettings {
            folder: Some(folder.path().join("docs")),
            refresh_seconds: 0,
            ..FileSearchSettings::default()
        };
        change(&mut settings);
        fs::create_dir_all(folder.path().join("docs/deep/er")).expect("made");
        for (name, text) in [
            ("docs/cats.md", "Cats purr when they are content.\nThey sleep most of the day.\n"),
            ("docs/deep/er/boats.txt", "A boat needs an anchor.\n"),
            ("outside.txt", "The secret password is swordfish.\n"),
        ] {
            fs::write(folder.path().join(name), text).expect("written");
        }
        let files = Files::open(&settings, None).expect("named");
        (folder, files)
    }

    fn paths(files: &Files, query: &str) -> Vec<String> {
        let found = files.search(query, "", 10).expect("searched");
        found.passages.iter().map(|(passage, _)| passage.path.to_string()).collect()
    }

    #[test]
    fn files_are_found_by_what_they_say() {
        let (_folder, files) = folder(|_| {});
        let found = files.search("do cats purr", "", 10).expect("searched");
        let (passage, _) = &found.passages[0];
        assert_eq!((&*passage.path, passage.lines), ("cats.md", (1, 2)));
        assert!(passage.text.starts_with("Cats purr"));
        assert_eq!((found.files, found.left_out), (2, 0));
        let below = files.search("cats boat", "deep", 10).expect("searched");
        assert!(below.passages.iter().all(|(passage, _)| &*passage.path == "deep/er/boats.txt"));
        assert_eq!(below.passages.len(), 1);
    }

    #[test]
    fn changes_are_seen() {
        let (folder, files) = folder(|_| {});
        assert_eq!(paths(&files, "anchor")[0], "deep/er/boats.txt");
        fs::write(folder.path().join("docs/cats.md"), "Nothing about zeppelins here, or perhaps.")
            .expect("written");
        fs::write(folder.path().join("docs/new.md"), "An anchor of hope.").expect("written");
        fs::remove_file(folder.path().join("docs/deep/er/boats.txt")).expect("removed");
        assert_eq!(paths(&files, "anchor")[0], "new.md");
        assert!(!paths(&files, "anchor boat").contains(&"deep/er/boats.txt".to_owned()));
        assert_eq!(paths(&files, "zeppelins")[0], "cats.md");
        assert!(
            !files
                .search("purr", "", 10)
                .expect("searched")
                .passages
                .iter()
                .any(|(p, _)| p.text.contains("purr"))
        );
    }

    #[test]
    fn what_lies_outside_hidden_or_ignored_is_not_read() {
        let (folder, files) = folder(|_| {});
        let docs = folder.path().join("docs");
        std::os::unix::fs::symlink(folder.path().join("outside.txt"), docs.join("link.txt")).expect("linked");
        std::os::unix::fs::symlink(folder.path(), docs.join("up")).expect("linked");
        fs::write(docs.join(".hidden"), "swordfish").expect("written");
        fs::write(docs.join(".gitignore"), "ignored.txt\n").expect("written");
        fs::write(docs.join("ignored.txt"), "swordfish").expect("written");
        let found = files.search("secret password swordfish", "", 10).expect("searched");
        assert!(found.passages.iter().all(|(passage, _)| !passage.text.contains("swordfish")), "{found:?}");
    }

    #[test]
    fn what_took_the_place_of_a_file_since_the_walk_is_not_read() {
        let (folder, _) = folder(|_| {});
        let docs = folder.path().join("docs").canonicalize().expect("there");
        let of = |path: &str| read(&docs, &docs.join(path), 1000);
        assert_eq!(of("deep/er/boats.txt").as_deref(), Some("A boat needs an anchor.\n"));
        let outside = folder.path().join("outside.txt");
        std::os::unix::fs::symlink(&outside, docs.join("link.txt")).expect("linked");
        std::os::unix::fs::symlink(folder.path(), docs.join("up")).expect("linked");
        std::os::unix::fs::symlink(docs.join("deep"), docs.join("shallow")).expect("linked");
        nix::unistd::mkfifo(&docs.join("pipe"), Mode::S_IRWXU).expect("made");
        for path in ["link.txt", "up/outside.txt", "shallow/er/boats.txt", "pipe", "deep", "../outside.txt"] {
            assert_eq!(of(path), None, "{path}");
        }
        assert_eq!(read(&docs, &outside, 1000), None);
    }

    #[test]
    fn what_is_too_large_or_no_text_is_left_out() {
        let (folder, files) = folder(|settings| settings.max_file_bytes = 100);
        fs::write(folder.path().join("docs/large.txt"), "zeppelin ".repeat(50)).expect("written");
        fs::write(folder.path().join("docs/binary.bin"), b"zeppelin\0\xff").expect("written");
        for _ in 0..2 {
            let found = files.search("zeppelin", "", 10).expect("searched");
            assert_eq!(found.left_out, 2);
            assert!(found.passages.iter().all(|(passage, _)| !passage.text.contains("zeppelin")));
        }
    }

    #[test]
    fn those_who_wait_for_their_turn_take_no_thread() {
        let (_folder, files) = folder(|_| {});
        let runtime =
            tokio::runtime::Builder::new_multi_thread().max_blocking_threads(2).enable_time().build();
        let runtime = runtime.expect("a runtime");
        let held = files.state.lock().expect("not poisoned");
        let searches = (0..9).map(|_| {
            let files = files.clone();
            runtime.spawn(async move { files.search_in_turn("cats".into(), String::new(), 1).await })
        });
        let searches: Vec<_> = searches.collect();
        let other = runtime.block_on(async {
            while files.turn.try_lock().is_ok() {
                tokio::task::yield_now().await;
            }
            tokio::time::timeout(Duration::from_secs(20), tokio::task::spawn_blocking(|| 7)).await
        });
        assert_eq!(other.expect("a thread is free").expect("it ran"), 7);
        drop(held);
        for search in searches {
            let found = runtime.block_on(search).expect("ran").expect("searched");
            assert_eq!(found.passages.len(), 1);
        }
    }

    #[test]
    fn a_folder_that_is_not_there_is_told() {
        let settings =
            FileSearchSettings { folder: Some("/nowhere/at/all".into()), ..FileSearchSettings::default() };
        let files = Files::open(&settings, None).expect("named");
        let error = files.search("x", "", 1).expect_err("no folder");
        assert!(error.0.contains("fileSearch.folder cannot be read"), "{error}");
    }

    proptest! {
        #[test]
        fn passages_hold_every_line_in_order(text in "([a-zé ]{0,30}\n){0,200}[x]{0,5000}") {
            let passages = passages(&text);
            let joined: String = passages.iter().flat_map(|(_, text)| text.chars()).filter(|c| !c.is_whitespace()).collect();
            let whole: String = text.chars().filter(|c| !c.is_whitespace()).collect();
            prop_assert_eq!(joined, whole);
            for ((first, last), text) in &passages {
                prop_assert!(first <= last && text.len() <= PASSAGE_CHARS + PASSAGE_LINES);
            }
        }
    }
}
