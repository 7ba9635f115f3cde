//! The file that each server reads: the one contract between the operator and laptop mode, which
//! write it, and the servers, which read it.
//!
//! This crate knows serde and schemars only. It must not know tokio, HTTP, MCP or Kubernetes, and it
//! does no I/O: callers hand in bytes and a way to look up environment variables.
//!
//! A setting is taken from the command line, else the environment, else the file, else its default.
//! `reload` tells which ones a running server can take over when its file changes.

mod callers;
mod common;
mod embeddings;
mod environment;
mod kind;
mod memory;
mod orchestrator;
mod postgres;
mod reload;
mod tools;
mod weaviate_direct;

pub use callers::{
    Anonymous, Callers, EVERY_TENANT, Key, Keys, MOST_AGENTS, agent_rule, is_agent, is_name, name_rule,
};
pub use common::{Bulkhead, Listen, Log, LogFormat, LogLevel, Profiling, Resilience, Retry, Shutdown};
pub use embeddings::{EmbeddingSettings, EndpointEmbeddings, OnnxEmbeddings, RerankSettings};
pub use environment::{EnvironmentError, Lookup};
pub use kind::ServerKind;
pub use memory::{MOVED_FILE, MemoryCache, MemorySettings, Pool, Synchronous};
pub use orchestrator::{Backend, GatewaySettings, OrchestratorSettings};
pub use postgres::{PostgresSettings, WeaviateVectors};
pub use reload::{TakenOver, restart_view, take_over};
use schemars::JsonSchema;
use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Serialize};
pub use tools::{
    AiSettings, CacheSettings, Database, FileSearchSettings, HttpFetchSettings, HttpRequest, Method,
    NamedValue, OpenApiTools, RedisSettings, SqlStatement, ToolsSettings, UserTool, WebSearchSettings,
};
pub use weaviate_direct::WeaviateDirectSettings;

/// What one server's own settings have to tell: which server they are for, and which environment
/// variables override them.
pub trait Settings:
    Clone
    + Default
    + std::fmt::Debug
    + PartialEq
    + Serialize
    + DeserializeOwned
    + JsonSchema
    + Send
    + Sync
    + 'static
{
    /// The server that reads these settings.
    const KIND: ServerKind;

    /// Applies the environment variables that belong to this server alone.
    fn apply_environment(&mut self, lookup: &Lookup<'_>) -> Result<(), EnvironmentError>;
}

/// The whole file of one server. YAML or JSON; every field has a default, an unknown one is an error.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(
    rename_all = "camelCase",
    deny_unknown_fields,
    default,
    bound(deserialize = "S: Default + Deserialize<'de>")
)]
pub struct ServerConfig<S: Default> {
    /// Where the server listens and whom it lets in.
    pub listen: Listen,
    /// What it logs and how.
    pub log: Log,
    /// How it ends.
    #[schemars(extend("x-mcp-reload" = true))]
    pub shutdown: Shutdown,
    /// How it treats what it depends on.
    #[schemars(extend("x-mcp-reload" = true))]
    pub resilience: Resilience,
    /// Whether it can be profiled.
    #[serde(skip_serializing_if = "Profiling::is_default")]
    #[schemars(extend("x-mcp-reload" = true))]
    pub profiling: Profiling,
    /// Who may call it.
    pub callers: Callers,
    /// The server's own settings.
    pub settings: S,
}

impl<S: Settings> ServerConfig<S> {
    /// The defaults of this server: those of every server, with its own port.
    pub fn of_kind() -> Self {
        let mut config = Self {
            listen: Listen::default(),
            log: Log::default(),
            shutdown: Shutdown::default(),
            resilience: Resilience::default(),
            profiling: Profiling::default(),
            callers: Callers::default(),
            settings: S::default(),
        };
        config.listen.port = S::KIND.default_port();
        config
    }

    /// Reads a file's text (YAML, of which JSON is a part).
    ///
    /// # Errors
    /// Says which field is wrong and where it stands.
    pub fn parse(text: &str) -> Result<Self, serde_yaml::Error> {
        let mut unknown = Vec::new();
        // Settings are a part of the McpSystem too, whose schema may not forbid what it does not name: so they do not
        // refuse it themselves.
        let mut config: Self =
            serde_ignored::deserialize(serde_yaml::Deserializer::from_str(text), |field| {
                unknown.push(field.to_string());
            })?;
        if !unknown.is_empty() {
            let which = unknown.join(", ");
            return Err(Error::custom(format_args!("there is no setting {which} in this version")));
        }
        if config.listen.port == 0 {
            config.listen.port = S::KIND.default_port();
        }
        Ok(config)
    }

    /// The text of the file: YAML with a fixed order of fields, so that equal settings give equal bytes.
    pub fn to_text(&self) -> String {
        serde_yaml::to_string(self).unwrap_or_default()
    }

    /// Lets the environment override the file.
    ///
    /// # Errors
    /// Names the variable whose value cannot be used, and what it should be.
    pub fn apply_environment(&mut self, lookup: &Lookup<'_>) -> Result<(), EnvironmentError> {
        environment::set(lookup, &S::KIND.port_variable(), "a port from 1 to 65535", &mut self.listen.port)?;
        environment::set(lookup, "MCP_BIND_HOST", "an IP address", &mut self.listen.host)?;
        environment::set(lookup, "MCP_LOG_LEVEL", "error, warn, info, debug or trace", &mut self.log.level)?;
        environment::set(lookup, "MCP_LOG_FORMAT", "json or human", &mut self.log.format)?;
        environment::set(
            lookup,
            "MCP_FAILURE_THRESHOLD",
            "a number of failures",
            &mut self.resilience.failure_threshold,
        )?;
        environment::set(
            lookup,
            "MCP_RECOVERY_TIMEOUT",
            "a number of seconds",
            &mut self.resilience.recovery_seconds,
        )?;
        self.settings.apply_environment(lookup)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_gives_the_defaults_and_the_servers_own_port() {
        let config = ServerConfig::<MemorySettings>::parse("{}").expect("parses");
        assert_eq!(config.listen.port, 8003);
        assert_eq!(config, ServerConfig::of_kind());
    }

    #[test]
    fn what_is_written_is_read_back() {
        let mut config = ServerConfig::<OrchestratorSettings>::of_kind();
        config.settings.backends.push(Backend {
            name: "memory".into(),
            url: "http://127.0.0.1:8003/mcp".into(),
            health_url: None,
            key_file: None,
        });
        assert_eq!(ServerConfig::parse(&config.to_text()).expect("parses"), config);
    }

    #[test]
    fn profiles_have_a_port_beside_the_servers_own_unless_the_file_names_one() {
        let of = |text: &str| ServerConfig::<MemorySettings>::parse(text).expect("parses").profiling;
        assert!(!of("{}").enabled);
        assert_eq!(of("{}").port_beside(8003), 18003);
        assert_eq!(of("{}").port_beside(60_000), 50_000);
        assert_eq!(of("profiling: {port: 6060}").port_beside(8003), 6060);
    }

    #[test]
    fn an_unknown_field_is_named() {
        let error = ServerConfig::<ToolsSettings>::parse("listen: {prot: 1}").expect_err("a typo");
        assert!(error.to_string().contains("prot"), "{error}");
        let error =
            ServerConfig::<MemorySettings>::parse("settings: {cache: {maxEntries: 1, sise: 2}, rerank: {}}")
                .expect_err("neither is there");
        assert!(error.to_string().contains("settings.cache.sise, settings.rerank"), "{error}");
    }

    #[test]
    fn the_environment_overrides_the_file() {
        let mut config = ServerConfig::<MemorySettings>::parse("listen: {port: 1}").expect("parses");
        let lookup = |name: &str| match name {
            "MCP_MEMORY_PORT" => Some("9003".to_owned()),
            "MCP_LOG_LEVEL" => Some("debug".to_owned()),
            "MCP_POOL_MAX_SIZE" => Some("7".to_owned()),
            _ => None,
        };
        config.apply_environment(&lookup).expect("applies");
        assert_eq!(config.listen.port, 9003);
        assert_eq!(config.log.level, LogLevel::Debug);
        assert_eq!(config.settings.pool.max_size, 7);
    }

    #[test]
    fn a_bad_variable_is_named_with_what_it_should_be() {
        let mut config = ServerConfig::<MemorySettings>::of_kind();
        let lookup = |name: &str| (name == "MCP_MEMORY_PORT").then(|| "tcp://10.0.0.1:80".to_owned());
        let error = config.apply_environment(&lookup).expect_err("not a port").to_string();
        assert!(error.contains("MCP_MEMORY_PORT") && error.contains("a port"), "{error}");
    }
}
