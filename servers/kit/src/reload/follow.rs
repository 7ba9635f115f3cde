//! Following the files of a server: once a second and on SIGHUP.

use super::{SettingsFile, Take, Told, Verdict};
use crate::callers::{Access, Keyring};
use crate::followed::{Followed, LOOK_EVERY};
use std::path::Path;
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};

/// How health, metrics and logs call the files.
const SETTINGS: &str = "settings";
const KEYS: &str = "keys";

/// Follows the settings' file and the keys' file, where there are such, for as long as it is polled.
pub(crate) async fn follow(
    settings: Option<SettingsFile>,
    access: Arc<Access>,
    mut keys: Option<Followed>,
    told: Told,
) {
    let mut file = settings.map(|SettingsFile { path, text, beside, take }| {
        let file = Followed::read_before(&path, &text);
        let file = match beside {
            Some((beside, told)) => file.with(beside, &text, &told),
            None => file,
        };
        (file, take)
    });
    if file.is_none() && keys.is_none() {
        // SIGHUP keeps its own effect.
        return;
    }
    if file.is_some() {
        told.began(SETTINGS);
    }
    if keys.is_some() {
        told.began(KEYS);
    }
    let mut hangups = match signal(SignalKind::hangup()) {
        Ok(hangups) => Some(hangups),
        Err(error) => {
            tracing::warn!(%error, "SIGHUP cannot be taken; files are looked at once a second all the same");
            None
        }
    };
    loop {
        let hangup = async {
            match &mut hangups {
                Some(hangups) => hangups.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            _ = hangup => tracing::info!("looking at the files because of SIGHUP"),
        }
        if let Some((file, take)) = &mut file
            && let Some(read) = file.change().await
        {
            told.tell(SETTINGS, settings_verdict(take.clone(), file.path(), read).await);
        }
        if let Some(keys) = &mut keys
            && let Some(read) = keys.change().await
        {
            told.tell(KEYS, keys_verdict(&access, keys.path(), read));
        }
    }
}

async fn settings_verdict(take: Arc<Take>, path: &Path, read: Result<String, String>) -> Verdict {
    let text = match read {
        Ok(text) => text,
        Err(error) => return Verdict::Rejected(error),
    };
    // What they need may take a while to be made, in which this thread has calls to answer.
    let taken = tokio::task::spawn_blocking(move || take(&text)).await;
    match taken.unwrap_or_else(|error| Err(error.into())) {
        Ok(needs_restart) => Verdict::Applied { needs_restart },
        Err(error) => Verdict::Rejected(format!("{}: {error:#}", path.display())),
    }
}

fn keys_verdict(access: &Access, path: &Path, read: Result<String, String>) -> Verdict {
    let parsed = read.and_then(|text| {
        Keyring::parse(&text).map_err(|error| format!("{} is no keys file: {error}", path.display()))
    });
    match parsed {
        Ok(keyring) => {
            if let Access::Keys(keys) = access {
                keys.store(Arc::new(keyring));
            }
            Verdict::Applied { needs_restart: Vec::new() }
        }
        Err(error) => Verdict::Rejected(error),
    }
}
