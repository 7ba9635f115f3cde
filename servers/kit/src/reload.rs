//! Settings that change while a server runs.
//!
//! [`Reloaded`] is the handle that a server and its handler share: [`Reloaded::current`] gives the settings as they
//! are now, [`Reloaded::subscribe`] tells of changes. The kit follows the file by its content and on SIGHUP. All
//! settings that can be taken over are taken over at once, or, when anything is wrong, none: the old ones
//! stay, and log, metrics and health say why. Which settings those are is declared in `mcp-system-config`
//! (`x-mcp-reload`); a change to any other is reported as one that needs a restart. Files that the settings name
//! can be followed as parts of them ([`Reloaded::beside`]).

mod follow;
mod told;

use crate::followed::Beside;
use crate::load::{Overrides, parse};
use anyhow::Context;
pub(crate) use follow::follow;
use mcp_system_config::{ServerConfig, Settings, take_over};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use tokio::sync::watch;
pub(crate) use told::{Told, Verdict};

type Take = dyn Fn(&str) -> anyhow::Result<Vec<String>> + Send + Sync;
type Environment = dyn Fn(&str) -> Option<String> + Send + Sync;
type Prepare<S> = dyn Fn(&ServerConfig<S>) -> anyhow::Result<Prepared> + Send + Sync;
type Tell<S> = dyn Fn(&ServerConfig<S>) -> String + Send + Sync;

/// What puts in force something that was made for new settings.
pub type Prepared = Box<dyn FnOnce() + Send>;

/// The settings of a server, as they are now. Clones share them.
pub struct Reloaded<S: Settings>(Arc<Inner<S>>);

/// What the settings of all servers have in common.
pub(crate) type Common = ServerConfig<()>;

struct Inner<S: Settings> {
    current: watch::Sender<Arc<ServerConfig<S>>>,
    /// The same without the server's own.
    common: watch::Sender<Arc<Common>>,
    source: Option<Source>,
    preparations: Mutex<Vec<Box<Prepare<S>>>>,
    /// Tells of the files that the settings name, and what it told when it was given.
    beside: OnceLock<(Box<Tell<S>>, String)>,
}

/// Where settings come from.
struct Source {
    file: PathBuf,
    /// What the file held when the server began.
    text: String,
    environment: Box<Environment>,
    overrides: Overrides,
}

/// A file of settings, followed without knowing which server's it is.
pub(crate) struct SettingsFile {
    pub(crate) path: PathBuf,
    /// What it held when the server began.
    pub(crate) text: String,
    /// What is told of the files that a text names, and was told of those of this one.
    pub(crate) beside: Option<(Arc<Beside>, String)>,
    /// [`Reloaded::take`].
    pub(crate) take: Arc<Take>,
}

impl<S: Settings> Clone for Reloaded<S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<S: Settings> fmt::Debug for Reloaded<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reloaded").field("current", &self.current()).finish_non_exhaustive()
    }
}

/// Settings that do not change.
impl<S: Settings> From<ServerConfig<S>> for Reloaded<S> {
    fn from(config: ServerConfig<S>) -> Self {
        Self::new(config, None)
    }
}

impl<S: Settings> Reloaded<S> {
    fn new(config: ServerConfig<S>, source: Option<Source>) -> Self {
        Self(Arc::new(Inner {
            common: watch::Sender::new(Arc::new(common(&config))),
            current: watch::Sender::new(Arc::new(config)),
            source,
            preparations: Mutex::default(),
            beside: OnceLock::new(),
        }))
    }

    /// Reads the file, when there is one, and lets the environment and the command line override it, now and
    /// after each change of the file.
    ///
    /// # Errors
    /// Names the file and the field, or the variable, that cannot be used.
    pub fn load(
        file: Option<&Path>,
        environment: impl Fn(&str) -> Option<String> + Send + Sync + 'static,
        overrides: Overrides,
    ) -> anyhow::Result<Self> {
        let Some(path) = file else { return Ok(Self::new(parse(None, &environment, overrides)?, None)) };
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("the settings {} cannot be read", path.display()))?;
        let config = parse(Some(&text), &environment, overrides)
            .with_context(|| format!("the settings {} are wrong", path.display()))?;
        let source = Source { file: path.to_owned(), text, environment: Box::new(environment), overrides };
        Ok(Self::new(config, Some(source)))
    }

    /// The settings as they are now.
    pub fn current(&self) -> Arc<ServerConfig<S>> {
        self.0.current.borrow().clone()
    }

    /// Tells of each change.
    pub fn subscribe(&self) -> watch::Receiver<Arc<ServerConfig<S>>> {
        self.0.current.subscribe()
    }

    /// Has new settings checked by this before they are taken over: for what only the server itself can tell.
    pub fn check(&self, check: impl Fn(&ServerConfig<S>) -> anyhow::Result<()> + Send + Sync + 'static) {
        self.prepare(move |config| {
            check(config)?;
            Ok(Box::new(|| {}))
        });
    }

    /// Has this make what new settings need before they are taken over, which they are not if that fails. What it answers with is
    /// called once nothing can fail any more, and puts it in force. It may block its thread for a while.
    pub fn prepare(
        &self,
        prepare: impl Fn(&ServerConfig<S>) -> anyhow::Result<Prepared> + Send + Sync + 'static,
    ) {
        self.0.preparations.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(prepare));
    }

    /// Has files that the settings name count as parts of the settings' file: when `tell` tells something else of them, the
    /// settings are taken over once more, or refused. It is asked each second, of settings that may not be in force, so it
    /// should look at no more than lengths and times. To be called once, before these files are read, and before the server is made.
    pub fn beside(&self, tell: impl Fn(&ServerConfig<S>) -> String + Send + Sync + 'static) {
        let told = tell(&self.current());
        let _ = self.0.beside.set((Box::new(tell), told));
    }

    /// What is told of the files that a text names; nothing where it is wrong.
    fn tell(&self, text: &str) -> String {
        let Some((tell, _)) = self.0.beside.get() else { return String::new() };
        let Some(source) = &self.0.source else { return String::new() };
        let wanted = parse(Some(text), &*source.environment, source.overrides);
        wanted.map(|config| tell(&config)).unwrap_or_default()
    }

    /// Tells of changes to what all servers have.
    pub(crate) fn common(&self) -> watch::Receiver<Arc<Common>> {
        self.0.common.subscribe()
    }

    /// The file that is followed.
    pub(crate) fn file(&self) -> Option<SettingsFile> {
        let Source { file, text, .. } = self.0.source.as_ref()?;
        let settings = self.clone();
        let take = Arc::new(move |text: &str| settings.take(text));
        let beside = self.0.beside.get().map(|(_, told)| {
            let settings = self.clone();
            let tell: Arc<Beside> = Arc::new(move |text: &str| settings.tell(text));
            (tell, told.clone())
        });
        Some(SettingsFile { path: file.clone(), text: text.clone(), beside, take })
    }

    /// Takes over what the file holds now, and tells which fields need a restart instead.
    ///
    /// # Errors
    /// Says what is wrong; nothing has changed then.
    fn take(&self, text: &str) -> anyhow::Result<Vec<String>> {
        let Some(source) = &self.0.source else { return Ok(Vec::new()) };
        let wanted = parse(Some(text), &*source.environment, source.overrides)?;
        let current = self.current();
        let taken = take_over(&current, &wanted).context("the settings do not fit the present ones")?;
        let mut prepared = Vec::new();
        for prepare in self.0.preparations.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            prepared.push(prepare(&taken.config)?);
        }
        for put_in_force in prepared {
            put_in_force();
        }
        if taken.config != *current {
            let common = common(&taken.config);
            self.0.current.send_replace(Arc::new(taken.config));
            self.0.common.send_replace(Arc::new(common));
        }
        Ok(taken.needs_restart)
    }
}

fn common<S: Settings>(config: &ServerConfig<S>) -> Common {
    ServerConfig {
        listen: config.listen.clone(),
        log: config.log.clone(),
        shutdown: config.shutdown.clone(),
        resilience: config.resilience.clone(),
        profiling: config.profiling.clone(),
        callers: config.callers.clone(),
        settings: (),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::ensure;
    use mcp_system_config::{LogLevel, OrchestratorSettings};

    fn loaded(text: &str) -> Reloaded<OrchestratorSettings> {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), text).expect("written");
        let environment = |name: &str| (name == "MCP_FAILURE_THRESHOLD").then(|| "7".to_owned());
        Reloaded::load(Some(file.path()), environment, Overrides { host: None, port: Some(4) })
            .expect("loads")
    }

    #[test]
    fn all_that_can_be_is_taken_over_at_once_and_overrides_hold() {
        let settings = loaded("{listen: {port: 1}}");
        let mut changes = settings.subscribe();
        let restart = settings
            .take("{listen: {port: 2, maxBodyBytes: 9}, log: {level: debug, format: human}, resilience: {failureThreshold: 1}}")
            .expect("taken");
        assert_eq!(restart, ["log.format"], "the port is the command line's");
        assert!(changes.has_changed().expect("open"));
        let now = changes.borrow_and_update().clone();
        assert_eq!((now.log.level, now.listen.max_body_bytes, now.listen.port), (LogLevel::Debug, 9, 4));
        assert_eq!(now.resilience.failure_threshold, 7, "the environment's");
        settings.take("{log: {level: debug}, listen: {maxBodyBytes: 9}}").expect("taken");
        assert!(!changes.has_changed().expect("open"), "nothing that matters is different");
    }

    #[test]
    fn what_is_prepared_is_put_in_force_with_the_settings_or_not_at_all() {
        let settings = loaded("{}");
        let in_force = Arc::new(Mutex::new(Vec::new()));
        let shared = in_force.clone();
        settings.prepare(move |config| {
            let (shared, level) = (shared.clone(), config.log.level);
            Ok(Box::new(move || shared.lock().expect("whole").push(level)))
        });
        settings.check(|config| {
            ensure!(config.settings.backends.is_empty(), "no backends");
            Ok(())
        });
        let refused = "{log: {level: debug}, settings: {backends: [{name: a, url: b}]}}";
        settings.take(refused).expect_err("refused");
        assert!(in_force.lock().expect("whole").is_empty());
        settings.take("{log: {level: debug}}").expect("taken");
        // For the sake of a file that they name, the same settings once more.
        settings.take("{log: {level: debug}}").expect("taken");
        assert_eq!(*in_force.lock().expect("whole"), [LogLevel::Debug, LogLevel::Debug]);
    }

    #[test]
    fn when_anything_is_wrong_nothing_changes() {
        let settings = loaded("{}");
        settings.check(|config| {
            ensure!(config.settings.backends.len() < 2, "there are too many backends");
            Ok(())
        });
        let before = settings.current();
        for (text, said) in [
            ("{log: {level: debug}, listen: {prot: 1}}", "prot"),
            ("{log: {level: loud}}", "loud"),
            ("[", ""),
            (
                "{log: {level: debug}, settings: {backends: [{name: a, url: b}, {name: c, url: d}]}}",
                "too many backends",
            ),
        ] {
            let error = format!("{:#}", settings.take(text).expect_err(text));
            assert!(error.contains(said), "{error}");
            assert_eq!(settings.current(), before);
        }
    }
}
