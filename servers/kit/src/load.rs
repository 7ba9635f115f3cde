//! A server's settings: the command line, else the environment, else the file, else the default.

use mcp_system_config::{Lookup, ServerConfig, Settings};
use std::net::IpAddr;

/// What the command line overrides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// The address to bind.
    pub host: Option<IpAddr>,
    /// The port to bind; 0 lets the system choose one.
    pub port: Option<u16>,
}

/// The settings that a file's text gives, when there is one, with the environment and the command line over it.
///
/// # Errors
/// Names the field or the variable that cannot be used.
pub(crate) fn parse<S: Settings>(
    text: Option<&str>,
    environment: &Lookup<'_>,
    overrides: Overrides,
) -> anyhow::Result<ServerConfig<S>> {
    let mut config = match text {
        Some(text) if !text.trim().is_empty() => ServerConfig::parse(text)?,
        _ => ServerConfig::of_kind(),
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

    fn nothing(_: &str) -> Option<String> {
        None
    }

    fn parsed(
        text: Option<&str>,
        environment: &Lookup<'_>,
        port: Option<u16>,
    ) -> ServerConfig<ToolsSettings> {
        parse(text, environment, Overrides { host: None, port }).expect("parses")
    }

    #[test]
    fn the_command_line_beats_the_environment_which_beats_the_file_which_beats_the_default() {
        let text = Some("{listen: {port: 1}, shutdown: {drainSeconds: 9}}");
        let environment = |name: &str| (name == "MCP_TOOLS_PORT").then(|| "2".to_owned());
        assert_eq!(parsed(text, &nothing, None).listen.port, 1);
        assert_eq!(parsed(text, &environment, None).listen.port, 2);
        assert_eq!(parsed(text, &environment, Some(3)).listen.port, 3);
        assert_eq!(parsed(text, &nothing, None).shutdown.drain_seconds, 9);
        assert_eq!(parsed(None, &nothing, None).listen.port, 8006);
    }

    #[test]
    fn an_error_names_the_field() {
        let error = parse::<ToolsSettings>(Some("{listen: {port: many}}"), &nothing, Overrides::default());
        assert!(format!("{:#}", error.expect_err("no port")).contains("port"));
    }

    #[test]
    fn an_empty_file_holds_the_defaults() {
        assert_eq!(parsed(Some("\n"), &nothing, None), ServerConfig::of_kind());
    }
}
