//! The key that a server behind the gateway wants: read from a file, and again when that was replaced.

use arc_swap::ArcSwapOption;
use std::path::PathBuf;
use std::sync::Arc;

/// A key, where there is one.
#[derive(Debug, Default)]
pub(crate) struct Key {
    file: Option<PathBuf>,
    current: ArcSwapOption<Read>,
}

/// What the file held last. Not printed: it may be a key.
struct Read(Result<String, String>);

impl std::fmt::Debug for Read {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_ok() { "Read(a key)" } else { "Read(nothing)" })
    }
}

impl Key {
    /// The key in this file, read for the first time when it is needed first.
    pub(crate) fn in_file(file: Option<PathBuf>) -> Self {
        Self { file, current: ArcSwapOption::empty() }
    }

    /// The key, which is read where it was not yet.
    pub(crate) async fn get(&self) -> Option<String> {
        self.file.as_ref()?;
        if self.current.load().is_none() {
            self.read().await;
        }
        self.last()
    }

    /// The key as it was read last, if it was.
    pub(crate) fn last(&self) -> Option<String> {
        self.current.load().as_ref().and_then(|read| read.0.as_ref().ok().cloned())
    }

    /// Reads the file again and tells whether there is another key now.
    pub(crate) async fn read(&self) -> bool {
        let Some(file) = &self.file else { return false };
        let read = match tokio::fs::read_to_string(file).await {
            Ok(text) if text.trim().is_empty() => Err(format!("the key file {} is empty", file.display())),
            Ok(text) => Ok(text.trim().to_owned()),
            Err(error) => Err(format!("the key file {} cannot be read: {error}", file.display())),
        };
        let before = self.current.load();
        if before.as_ref().is_some_and(|before| before.0 == read) {
            return false;
        }
        if let Err(error) = &read {
            tracing::error!(error, "calls go without a key");
        }
        let found = read.is_ok();
        self.current.store(Some(Arc::new(Read(read))));
        found
    }

    /// Why a call without a fitting key was turned away, and what to do.
    pub(crate) fn complaint(&self) -> String {
        match (&self.file, self.current.load().as_deref()) {
            (None, _) => "it wants a key, and none is configured for it (keyFile)".to_owned(),
            (Some(_), Some(Read(Err(error)))) => format!("it wants a key, but {error}"),
            (Some(file), _) => format!("it does not know the key in {}", file.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_key_is_read_again_and_never_printed() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("key");
        let key = Key::in_file(Some(file.clone()));
        assert_eq!(key.get().await, None);
        assert!(key.complaint().contains("cannot be read"));
        std::fs::write(&file, "first\n").expect("written");
        assert!(key.read().await && !key.read().await);
        assert_eq!(key.get().await.as_deref(), Some("first"));
        std::fs::write(&file, "second").expect("written");
        assert_eq!(key.get().await.as_deref(), Some("first"), "read once");
        assert!(key.read().await);
        assert_eq!(key.get().await.as_deref(), Some("second"));
        assert!(!format!("{key:?}").contains("second") && !key.complaint().contains("second"));
        assert_eq!(Key::default().get().await, None);
        assert!(Key::default().complaint().contains("none is configured"));
    }
}
