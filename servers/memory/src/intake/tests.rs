//! A server's socket in this process: what is sent is stored and found, what is wrong harms nobody.

use super::*;
use crate::backup::tests::{FILLED, exported, filled};
use crate::engine::tests::{capacity, search};
use crate::engine::{Search, draft};
use crate::moment::Moment;
use crate::store::conformance::{memory, scope};
use tempfile::TempDir;
use tokio::task::JoinHandle;

/// A store that is served, as far as backups are concerned.
struct Serving {
    directory: PathBuf,
    engine: Arc<Engine<SqliteStore>>,
    task: JoinHandle<()>,
}

impl Serving {
    async fn start(directory: &Path) -> Self {
        Self::start_with(directory, SILENCE).await
    }

    async fn start_with(directory: &Path, silence: Duration) -> Self {
        let store = SqliteStore::open(directory, &Options::default()).await.expect("opens");
        let engine = Arc::new(Engine::new(Arc::new(store), capacity(10 << 20)));
        let listener = listen(directory).expect("listens");
        let task = tokio::spawn(serve(listener, engine.clone(), silence));
        Self { directory: directory.to_owned(), engine, task }
    }

    async fn take_in(&self, bytes: &[u8], onto: Onto) -> anyhow::Result<Counts> {
        take_in(&self.directory, bytes, onto, |_| {}).await
    }

    async fn found(&self, query: &str) -> Vec<String> {
        let search = Search { limit: 1, ..search(query) };
        let page = self.engine.search(&scope("a"), &search, Moment(3000)).await.expect("searches");
        page.items.into_iter().map(|found| found.kept.entry.content.clone()).collect()
    }

    /// Ends as a process does: the socket stays where it is.
    async fn end(self) {
        self.task.abort();
        let _ = self.task.await;
        self.engine.store().close().await;
    }
}

async fn a_backup(directory: &TempDir) -> Vec<u8> {
    let store = filled(&directory.path().join("from")).await;
    let bytes = exported(&store).await;
    store.close().await;
    bytes
}

#[tokio::test]
async fn what_is_sent_to_a_server_is_found_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let bytes = a_backup(&directory).await;
    let serving = Serving::start(&directory.path().join("to")).await;
    // Its index is loaded before.
    let earlier = draft(memory(9000, "an earlier crane").entry, None);
    serving.engine.store().insert(&scope("a"), vec![earlier]).await.expect("stored");
    assert_eq!(serving.found("crane").await, ["an earlier crane"]);
    let mut told = Counts::default();
    let new = take_in(&serving.directory, &bytes[..], Onto::Anything, |counts| told = counts).await;
    assert_eq!(new.expect("taken in"), FILLED);
    assert_eq!(told, FILLED);
    assert_eq!(serving.found("word 300").await, ["word 300 of a"]);
    assert_eq!(serving.take_in(&bytes, Onto::Anything).await.expect("again"), Counts::default());
    let refused = serving.take_in(&bytes, Onto::Nothing).await.expect_err("it holds something");
    assert!(refused.to_string().contains("not empty"), "{refused:#}");
    serving.end().await;
}

#[tokio::test]
async fn without_a_server_it_is_taken_in_all_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let bytes = a_backup(&directory).await;
    let to = directory.path().join("to");
    assert_eq!(take_in(&to, &bytes[..], Onto::Nothing, |_| {}).await.expect("restored"), FILLED);
    // And by a server whose predecessor left its socket behind.
    Serving::start(&to).await.end().await;
    assert!(to.join(SOCKET).exists());
    let serving = Serving::start(&to).await;
    assert_eq!(serving.take_in(&bytes, Onto::Anything).await.expect("again"), Counts::default());
    let mode = std::fs::metadata(to.join(SOCKET)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    serving.end().await;
}

#[tokio::test]
async fn what_is_wrong_is_answered_and_the_next_one_is_served() {
    let directory = tempfile::tempdir().unwrap();
    let bytes = a_backup(&directory).await;
    let serving = Serving::start(&directory.path().join("to")).await;
    let damaged = String::from_utf8(bytes.clone()).unwrap().replacen("word 599 of b", "word 598 of b", 1);
    for (sent, why) in [
        (damaged.as_bytes(), "checksum"),
        (&bytes[..bytes.len() / 2], "line"),
        (&b"{\"header\":7}\n\xff\xfe"[..], "line 1"),
        (&b""[..], "empty"),
        (&b" ".repeat(1 << 20), "line 1"),
    ] {
        let stream = connect(&serving.directory).expect("listens");
        let refused = send(stream, sent, Onto::Anything, |_| {}).await.expect_err("wrong").to_string();
        assert!(refused.contains(why), "{refused}");
    }
    // Who says nothing, no order, or goes in the middle, is nobody's trouble.
    for sent in
        [&b""[..], b"\"everything\"\n", &b"x".repeat(100_000), &[b"\"anything\"\n", &bytes[..5000]].concat()]
    {
        let mut stream = connect(&serving.directory).expect("listens");
        let _ = stream.write_all(sent).await;
    }
    // The damaged one was taken in but for its last page: that waits for the end, which did not fit.
    let rest = Counts { sessions: 0, entries: 2 };
    assert_eq!(serving.take_in(&bytes, Onto::Anything).await.expect("taken in"), rest);
    assert!(exported(serving.engine.store()).await == bytes);
    serving.end().await;
}

#[tokio::test]
async fn a_server_that_ends_says_so_and_the_rest_follows() {
    let directory = tempfile::tempdir().unwrap();
    let bytes = a_backup(&directory).await;
    let to = directory.path().join("to");
    let serving = Serving::start(&to).await;
    // As much as makes a page, and then no more.
    let (mut backup, input) = tokio::io::duplex(1 << 20);
    let stream = connect(&to).expect("listens");
    let (progress, mut news) = watch::channel(Counts::default());
    let sending = tokio::spawn(send(stream, input, Onto::Anything, move |counts| {
        progress.send_replace(counts);
    }));
    backup.write_all(&bytes[..bytes.len() / 2]).await.expect("sent");
    news.changed().await.expect("a page was taken in");
    serving.end().await;
    let broken_off = sending.await.expect("ends").expect_err("broken off");
    assert!(broken_off.to_string().contains("the server ended"), "{broken_off:#}");
    let serving = Serving::start(&to).await;
    let rest = serving.take_in(&bytes, Onto::Anything).await.expect("the rest");
    assert!(rest.entries > 0 && rest.entries < FILLED.entries, "{rest:?}");
    assert_eq!(exported(serving.engine.store()).await, bytes);
    serving.end().await;
}

#[tokio::test]
async fn those_that_fall_silent_leave_their_places_to_others() {
    let directory = tempfile::tempdir().unwrap();
    let bytes = a_backup(&directory).await;
    let serving = Serving::start_with(&directory.path().join("to"), Duration::from_millis(200)).await;
    let mut silent = Vec::new();
    for sent in [&b""[..], &[b"\"anything\"\n", &bytes[..5000]].concat()] {
        let mut stream = connect(&serving.directory).expect("listens");
        stream.write_all(sent).await.expect("sent");
        silent.push(stream);
    }
    assert_eq!(silent.len(), AT_ONCE);
    assert_eq!(serving.take_in(&bytes, Onto::Nothing).await.expect("taken in"), FILLED);
    for stream in silent {
        let told = hear(stream.into_split().0, |_| {}).await.expect_err("not all was sent").to_string();
        assert!(told.contains("nothing was sent for"), "{told}");
    }
    serving.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_folder_that_somebody_else_uses_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let lock = File::create(directory.path().join("memory.lock")).unwrap();
    lock.try_lock().unwrap();
    let refused = take_in(directory.path(), &b""[..], Onto::Anything, |_| {}).await.expect_err("in use");
    let told = format!("{refused:#}");
    assert!(told.contains("uses") && told.contains(SOCKET), "{told}");
    assert!(told.contains(&directory.path().display().to_string()), "{told}");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_path_of_the_folder_may_be_long() {
    let directory = tempfile::tempdir().unwrap();
    let bytes = a_backup(&directory).await;
    let to = directory.path().join("d".repeat(200));
    let serving = Serving::start(&to).await;
    assert_eq!(serving.take_in(&bytes, Onto::Nothing).await.expect("restored"), FILLED);
    serving.end().await;
}
