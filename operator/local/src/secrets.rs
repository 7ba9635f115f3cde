//! The files with secrets that servers read: for their owner alone, and made once where they are the system's own.
//!
//! Must not know what the servers do with them.

use crate::directories::{Directories, create_private, write_whole};
use crate::render::{Content, Secret};
use anyhow::Context;
use mcp_system_plan::CallerKeys;
use std::fs;
use std::path::Path;

/// Makes the keys with which the orchestrator calls the servers behind it, unless they are there. They stay
/// over restarts, so that one server can be started again without the others.
pub(crate) fn make_keys(directories: &Directories) -> anyhow::Result<()> {
    let folder = directories.callers();
    create_private(&folder)?;
    let mut bytes = [0; 32];
    bytes[..16].copy_from_slice(uuid::Uuid::new_v4().as_bytes());
    bytes[16..].copy_from_slice(uuid::Uuid::new_v4().as_bytes());
    let files = CallerKeys::of_random(&bytes).files();
    // One without the other is of no use.
    let are_there = files.iter().all(|(name, _)| {
        fs::metadata(folder.join(name)).is_ok_and(|metadata| metadata.is_file() && metadata.len() > 0)
    });
    if are_there {
        return Ok(());
    }
    files.iter().try_for_each(|(name, text)| write_whole(&folder.join(name), text))
}

/// Puts what a user gave where a server reads it.
pub(crate) fn put(secret: &Secret) -> anyhow::Result<()> {
    let parent = secret.path.parent().unwrap_or(Path::new("/"));
    match &secret.content {
        Content::Made => Ok(()),
        Content::Text(value) => {
            create_private(parent)?;
            write_whole(&secret.path, value.text())
        }
        // A link, so that what is changed in the file reaches the server.
        Content::Of(file) => {
            anyhow::ensure!(file.is_file(), "the file {} is missing", file.display());
            create_private(parent)?;
            let _ = fs::remove_file(&secret.path);
            std::os::unix::fs::symlink(file, &secret.path)
                .with_context(|| format!("{} cannot be linked", secret.path.display()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::Value;
    use std::os::unix::fs::PermissionsExt;

    fn directories(home: &Path) -> Directories {
        Directories::new(home, "one", &|_| None).unwrap()
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn keys_are_made_once_and_for_their_owner_alone() {
        let home = tempfile::tempdir().unwrap();
        let directories = directories(home.path());
        make_keys(&directories).unwrap();
        let read = |name: &str| fs::read_to_string(directories.callers().join(name)).unwrap();
        let first = read("orchestrator");
        assert_eq!(first.len(), 64);
        assert_eq!(mode(&directories.callers()), 0o700);
        for name in ["orchestrator", "keys.yaml"] {
            assert_eq!(mode(&directories.callers().join(name)), 0o600);
        }
        make_keys(&directories).unwrap();
        assert_eq!(read("orchestrator"), first);
        fs::remove_file(directories.callers().join("keys.yaml")).unwrap();
        make_keys(&directories).unwrap();
        assert_ne!(read("orchestrator"), first, "they belong together");
    }

    #[test]
    fn what_a_user_gave_is_put_where_a_server_reads_it() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("state/weaviate/api-key");
        let text = |text: &str| Content::Text(Value::from_environment(text));
        put(&Secret { path: path.clone(), content: text("s3cret") }).unwrap();
        assert_eq!((fs::read_to_string(&path).unwrap().as_str(), mode(&path)), ("s3cret", 0o600));
        put(&Secret { path: path.clone(), content: text("other") }).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "other");

        let file = home.path().join("mine.yaml");
        let missing = put(&Secret { path: path.clone(), content: Content::Of(file.clone()) }).unwrap_err();
        assert!(missing.to_string().contains("mine.yaml is missing"), "{missing}");
        fs::write(&file, "keys: []").unwrap();
        put(&Secret { path: path.clone(), content: Content::Of(file.clone()) }).unwrap();
        fs::write(&file, "changed").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "changed");
    }
}
