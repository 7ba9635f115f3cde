//! A file that is followed: read again when its content changes.
//!
//! The content is looked at, not the time of change: a mounted ConfigMap or Secret is swapped by a symbolic
//! link, and some editors write a new file in the old one's place.

use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
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

/// What was seen of a file last.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    Content([u8; 32]),
    Unreadable(String),
}

/// One file and what was seen of it last.
#[derive(Debug)]
pub(crate) struct Followed {
    path: PathBuf,
    seen: Seen,
}

impl Followed {
    /// A file that held this when it was read.
    pub(crate) fn read_before(path: &Path, text: &str) -> Self {
        Self { path: path.to_owned(), seen: Seen::Content(Sha256::digest(text).into()) }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The file's text when it is another than at the last look, or why it cannot be read any more.
    pub(crate) async fn change(&mut self) -> Option<Result<String, String>> {
        let mut read = self.read().await;
        if self.seen == seen(&read) {
            return None;
        }
        for _ in 0..LOOKS {
            tokio::time::sleep(SETTLED_AFTER).await;
            let again = self.read().await;
            let settled = seen(&again) == seen(&read);
            read = again;
            if settled {
                break;
            }
        }
        let now = seen(&read);
        if self.seen == now {
            return None;
        }
        self.seen = now;
        Some(read)
    }

    async fn read(&self) -> Result<String, String> {
        let error = |error: std::io::Error| format!("{} cannot be read: {error}", self.path.display());
        tokio::fs::read_to_string(&self.path).await.map_err(error)
    }
}

fn seen(read: &Result<String, String>) -> Seen {
    match read {
        Ok(text) => Seen::Content(Sha256::digest(text).into()),
        Err(error) => Seen::Unreadable(error.clone()),
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
