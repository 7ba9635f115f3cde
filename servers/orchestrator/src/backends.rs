//! The servers behind the gateway as the settings name them, and what changes when those do.

use crate::backend::Backend;
use anyhow::{Context, ensure};
use mcp_system_config::{OrchestratorSettings, ServerConfig};
use std::collections::BTreeSet;
use std::sync::Arc;

/// What a change of the settings makes of the servers.
#[derive(Debug, Default)]
pub(crate) struct Change {
    /// All servers from now on, in the order of the settings. Those whose settings are the same stay the same
    /// ones: their session, their list and what is known of their health go on.
    pub(crate) backends: Vec<Arc<Backend>>,
    /// Those that were not there before, or were another server under the same name.
    pub(crate) added: Vec<Arc<Backend>>,
    /// Those that are not called any more.
    pub(crate) gone: Vec<Arc<Backend>>,
}

/// Compares the servers that there are with those that are wanted. `make` makes one; it gets the one that it
/// replaces under its name.
pub(crate) fn change(
    present: &[Arc<Backend>],
    wanted: &[mcp_system_config::Backend],
    make: impl Fn(&mcp_system_config::Backend, Option<&Backend>) -> Backend,
) -> Change {
    let mut change = Change::default();
    for settings in wanted {
        let named = present.iter().find(|backend| backend.name() == settings.name);
        if let Some(same) = named.filter(|backend| backend.settings() == settings) {
            change.backends.push(same.clone());
        } else {
            let added = Arc::new(make(settings, named.map(|named| &**named)));
            change.backends.push(added.clone());
            change.added.push(added);
        }
    }
    let kept = |backend: &Arc<Backend>| change.backends.iter().any(|kept| Arc::ptr_eq(kept, backend));
    change.gone = present.iter().filter(|backend| !kept(backend)).cloned().collect();
    change
}

/// Whether servers of these settings can stand beside each other.
pub(crate) fn check(config: &ServerConfig<OrchestratorSettings>) -> anyhow::Result<()> {
    let mut names = BTreeSet::new();
    for (index, backend) in config.settings.backends.iter().enumerate() {
        let place = || format!("settings.backends[{index}] ({})", backend.name);
        ensure!(!backend.name.is_empty(), "settings.backends[{index}] has no name");
        ensure!(names.insert(&backend.name), "{}: another one has the same name", place());
        for (field, url) in [("url", Some(&backend.url)), ("healthUrl", backend.health_url.as_ref())] {
            let Some(url) = url else { continue };
            let parsed = reqwest::Url::parse(url)
                .with_context(|| format!("{}: the {field} {url:?} is none", place()))?;
            ensure!(
                matches!(parsed.scheme(), "http" | "https") && parsed.has_host(),
                "{}: the {field} {url:?} must begin with http:// or https:// and a host",
                place()
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(backends: &str) -> Result<(), String> {
        let text = format!("settings: {{backends: {backends}}}");
        let config = ServerConfig::parse(&text).expect("parses");
        check(&config).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn servers_that_cannot_stand_beside_each_other_are_named() {
        assert_eq!(checked("[{name: a, url: 'http://a/mcp'}, {name: b, url: 'https://b:1/mcp'}]"), Ok(()));
        for (backends, said) in [
            ("[{name: a, url: 'http://a'}, {name: a, url: 'http://b'}]", "settings.backends[1] (a): another"),
            ("[{name: '', url: 'http://a'}]", "settings.backends[0] has no name"),
            ("[{name: a, url: 'a/mcp'}]", "(a): the url \"a/mcp\" is none"),
            ("[{name: a, url: 'http://a', healthUrl: 'file:///x'}]", "must begin with http://"),
        ] {
            let error = checked(backends).expect_err(backends);
            assert!(error.contains(said), "{error}");
        }
    }
}
