//! A server's settings: the command line, else the environment, else the file, else the default.

use anyhow::Context;
use mcp_system_config::{Lookup, ServerConfig, Settings};
use std::net::IpAddr;
use std::path::Path;

/// What the command line overrides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// The address to bind.
    pub host: Option<IpAddr>,
    /// The port to bind; 0 lets the system choose one.
    pub port: Option<u16>,
}

/// Reads the file, when there is one, and lets the environment and the command line override it.
///
/// # Errors
/// Names the file and the field, or the variable, that cannot be used.
pub fn load<S: Settings>(
    file: Option<&Path>,
    environment: &Lookup<'_>,
    overrides: Overrides,
) -> anyhow::Result<ServerConfig<S>> {
    let mut config = match file {
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("the settings {} cannot be read", path.display()))?;
            if text.trim().is_empty() {
                ServerConfig::of_kind()
            } else {
                ServerConfig::parse(&text)
                    .with_context(|| format!("the settings {} are wrong", path.display()))?
            }
        }
        None => ServerConfig::of_kind(),
    };
    config.apply_environment(environment)?;
    if let Some(host) = overrides.host {
        config.listen.host = host;
    }
    if let Some(port) = overrides.port {
        config.listen.port = port;
    }
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mcp_system_config::ToolsSettings;
    use std::io::Write;

    fn file(text: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(text.as_bytes()).expect("written");
        file
    }

    fn nothing(_: &str) -> Option<String> {
        None
    }

    #[test]
    fn the_command_line_beats_the_environment_which_beats_the_file_which_beats_the_default() {
        let file = file("{listen: {port: 1}, shutdown: {drainSeconds: 9}}");
        let environment = |name: &str| (name == "MCP_TOOLS_PORT").then(|| "2".to_owned());
        let loaded = |environment: &Lookup<'_>, port| {
            let overrides = Overrides { host: None, port };
            load::<ToolsSettings>(Some(file.path()), environment, overrides).expect("loads")
        };
        assert_eq!(loaded(&nothing, None).listen.port, 1);
        assert_eq!(loaded(&environment, None).listen.port, 2);
        assert_eq!(loaded(&environment, Some(3)).listen.port, 3);
        assert_eq!(loaded(&nothing, None).shutdown.drain_seconds, 9);
        assert_eq!(
            load::<ToolsSettings>(None, &nothing, Overrides::default()).expect("loads").listen.port,
            8006
        );
    }

    #[test]
    fn an_error_names_the_file_and_the_field() {
        let file = file("{listen: {port: many}}");
        let error =
            load::<ToolsSettings>(Some(file.path()), &nothing, Overrides::default()).expect_err("no port");
        let text = format!("{error:#}");
        assert!(text.contains(&file.path().display().to_string()) && text.contains("port"), "{text}");
        let error = load::<ToolsSettings>(Some(Path::new("/nowhere/x")), &nothing, Overrides::default());
        assert!(format!("{:#}", error.expect_err("no file")).contains("/nowhere/x"));
    }

    #[test]
    fn an_empty_file_holds_the_defaults() {
        let file = file("\n");
        let config = load::<ToolsSettings>(Some(file.path()), &nothing, Overrides::default()).expect("loads");
        assert_eq!(config, ServerConfig::of_kind());
    }
}
