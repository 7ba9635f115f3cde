//! All that a server depends on. The set may change while the server runs, as its settings do.

use crate::dependency::Dependency;
use crate::health::{DEPENDENCY_DEADLINE, Watched};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

type Named = BTreeMap<String, Arc<Watched>>;

/// The dependencies of a server, by name. Clones share them.
#[derive(Clone)]
pub struct Dependencies(Arc<watch::Sender<Named>>);

impl Default for Dependencies {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(Named::new())))
    }
}

impl fmt::Debug for Dependencies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.borrow().keys()).finish()
    }
}

impl Dependencies {
    /// Checks this from now on and shows it in health, in place of what had its name before.
    pub fn insert(&self, name: &str, check: impl Dependency) {
        let watched = Arc::new(Watched::new(name.to_owned(), Box::new(check)));
        self.0.send_modify(|named| {
            named.insert(name.to_owned(), watched);
        });
    }

    /// Does not check this any more.
    pub fn remove(&self, name: &str) {
        self.0.send_if_modified(|named| named.remove(name).is_some());
    }

    /// All of them, by name.
    pub(crate) fn all(&self) -> Vec<Arc<Watched>> {
        self.0.borrow().values().cloned().collect()
    }

    /// Looks at each of them in its own time, for as long as it is polled.
    pub(crate) async fn watch(self) {
        let mut changes = self.0.subscribe();
        let mut looking: BTreeMap<String, (Arc<Watched>, AbortOnDropHandle<()>)> = BTreeMap::new();
        loop {
            let named = changes.borrow_and_update().clone();
            looking.retain(|name, (watched, _)| {
                named.get(name).is_some_and(|current| Arc::ptr_eq(current, watched))
            });
            for (name, watched) in named {
                looking.entry(name).or_insert_with(|| {
                    let look = tokio::spawn(look(watched.clone()));
                    (watched, AbortOnDropHandle::new(look))
                });
            }
            if changes.changed().await.is_err() {
                return;
            }
        }
    }
}

async fn look(dependency: Arc<Watched>) {
    loop {
        dependency.look(DEPENDENCY_DEADLINE).await;
        tokio::time::sleep(dependency.check.interval()).await;
    }
}

impl Watched {
    /// What the last check brought; none before the first.
    pub(crate) fn last(&self) -> Option<Result<(), String>> {
        self.last.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
