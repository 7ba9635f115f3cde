//! A file that is followed: read again when its content changes.
//!
//! The content is looked at, not the time of change: a mounted ConfigMap or Secret is swapped by a symbolic
//! link, and some editors write a new file in the old one's place. Files that it names may count as parts of it.

use sha2::{Digest, Sha256};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How long a changed content must stay as it is before it is believed: whoever writes it may not be done.
const SETTLED_AFTER: Duration = Duration::from_millis(50);
/// A file that never settles is read as it is after so many looks.
const LOOKS: usize = 20;

/// How often a file is looked at.
pub(crate) const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Resolves with a file's text when that is another than this one, which was read from it; white space around it is no
/// difference, and a file that cannot be read is none either. For files beside the settings.
pub async fn until_other(path: &Path, text: &str) -> String {
    let mut file = Followed::read_before(path, text);
    loop {
        match file.change().await {
            Some(Ok(now)) if now.trim() != text.trim() => return now,
            Some(Err(error)) => tracing::warn!(error, "what was read before stays in force"),
            _ => {}
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Tells of the files that a text names whatever tells one content of theirs from another.
pub(crate) type Beside = dyn Fn(&str) -> String + Send + Sync;

/// What was seen of a file last.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    Content([u8; 32]),
    Unreadable(String),
}

impl Seen {
    /// A text, and what was told of the files that it names.
    fn content(text: &str, beside: &str) -> Self {
        let digest = Sha256::new_with_prefix(text).chain_update([0_u8]).chain_update(beside).finalize();
        Self::Content(digest.into())
    }
}

/// One file and what was seen of it last.
pub(crate) struct Followed {
    path: PathBuf,
    beside: Option<Arc<Beside>>,
    seen: Seen,
}

impl fmt::Debug for Followed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Followed").field("path", &self.path).field("seen", &self.seen).finish_non_exhaustive()
    }
}

impl Followed {
    /// A file that held this when it was read.
    pub(crate) fn read_before(path: &Path, text: &str) -> Self {
        Self { path: path.to_owned(), beside: None, seen: Seen::content(text, "") }
    }

    /// The same with the files that it names: this was told of them when the text was read.
    pub(crate) fn with(self, beside: Arc<Beside>, text: &str, told: &str) -> Self {
        Self { beside: Some(beside), seen: Seen::content(text, told), ..self }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The file's text when it, or a file that it names, is another than at the last look, or why it cannot be read any more.
    pub(crate) async fn change(&mut self) -> Option<Result<String, String>> {
        let (mut read, mut now) = self.look().await;
        if self.seen == now {
            return None;
        }
        for _ in 0..LOOKS {
            tokio::time::sleep(SETTLED_AFTER).await;
            let before = now;
            (read, now) = self.look().await;
            if now == before {
                break;
            }
        }
        if self.seen == now {
            return None;
        }
        self.seen = now;
        Some(read)
    }

    async fn look(&self) -> (Result<String, String>, Seen) {
        let error = |error: std::io::Error| format!("{} cannot be read: {error}", self.path.display());
        let read = tokio::fs::read_to_string(&self.path).await.map_err(error);
        let seen = match &read {
            Ok(text) => Seen::content(text, &self.told(text).await),
            Err(error) => Seen::Unreadable(error.clone()),
        };
        (read, seen)
    }

    /// What is told of the files that a text names. On a thread of its own, as they may lie where nothing answers.
    async fn told(&self, text: &str) -> String {
        let Some(beside) = self.beside.clone() else { return String::new() };
        let text = text.to_owned();
        tokio::task::spawn_blocking(move || beside(&text)).await.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_secret_is_another_one_when_its_text_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("url");
        std::fs::write(&path, "one\n").expect("written");
        let other = until_other(&path, "one");
        tokio::pin!(other);
        let within = Duration::from_millis(1500);
        assert!(tokio::time::timeout(within, &mut other).await.is_err(), "a new line is no difference");
        std::fs::remove_file(&path).expect("removed");
        assert!(tokio::time::timeout(within, &mut other).await.is_err(), "nor is a file that is gone");
        std::fs::write(&path, "two").expect("written");
        let text = tokio::time::timeout(within * 4, other).await.expect("it is another one");
        assert_eq!(text, "two");
    }

    #[tokio::test]
    async fn a_file_that_is_named_counts_as_a_part() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("config.yaml");
        std::fs::write(&path, "one").expect("written");
        let named = folder.path().to_owned();
        let beside = move |text: &str| std::fs::read_to_string(named.join(text)).unwrap_or_default();
        let mut file = Followed::read_before(&path, "one").with(Arc::new(beside), "one", "");
        assert_eq!(file.change().await, None);
        std::fs::write(folder.path().join("one"), "first").expect("written");
        assert_eq!(file.change().await, Some(Ok("one".into())));
        assert_eq!(file.change().await, None);
        // Both at once are one change.
        std::fs::write(folder.path().join("two"), "second").expect("written");
        std::fs::write(&path, "two").expect("written");
        assert_eq!(file.change().await, Some(Ok("two".into())));
        std::fs::write(folder.path().join("one"), "no more named").expect("written");
        assert_eq!(file.change().await, None);
        std::fs::write(folder.path().join("two"), "third").expect("written");
        assert_eq!(file.change().await, Some(Ok("two".into())));
    }

    #[tokio::test]
    async fn a_change_is_told_once_whatever_way_it_came() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("config.yaml");
        std::fs::write(&path, "one").expect("written");
        let mut file = Followed::read_before(&path, "one");
        assert_eq!(file.change().await, None);
        std::fs::write(&path, "two").expect("written");
        assert_eq!(file.change().await, Some(Ok("two".into())));
        assert_eq!(file.change().await, None);
        std::fs::write(&path, "two").expect("written");
        assert_eq!(file.change().await, None, "written anew with the same content");
        std::fs::remove_file(&path).expect("removed");
        assert!(file.change().await.expect("gone").expect_err("gone").contains("config.yaml cannot be read"));
        assert_eq!(file.change().await, None);

        // As a kubelet does it: the file is a link into a folder that is itself a link, which is swapped.
        for (name, text) in [("1", "three"), ("2", "four")] {
            std::fs::create_dir(folder.path().join(name)).expect("a folder");
            std::fs::write(folder.path().join(name).join("config.yaml"), text).expect("written");
        }
        let link = |from: &str, to: &Path| std::os::unix::fs::symlink(from, to).expect("a link");
        link("1", &folder.path().join("..data"));
        link("..data/config.yaml", &path);
        assert_eq!(file.change().await, Some(Ok("three".into())));
        link("2", &folder.path().join("new"));
        std::fs::rename(folder.path().join("new"), folder.path().join("..data")).expect("swapped");
        assert_eq!(file.change().await, Some(Ok("four".into())));
    }
}
