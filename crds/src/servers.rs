//! This project's own servers in a system.

use crate::Workload;
use crate::rules;

use mcp_system_config::{GatewaySettings, MemorySettings, ServerKind, ToolsSettings};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The servers of a system. Orchestrator, memory and tools run unless they are disabled.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Servers {
    /// The one endpoint before all the others. Port 8002.
    pub orchestrator: OrchestratorServer,
    /// Memories, conversations and sessions. Port 8003.
    pub memory: MemoryServer,
    /// A registry of tools. Port 8006.
    pub tools: ToolsServer,
    /// Direct access to a Weaviate database; runs only when it is set. Port 8001.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weaviate_direct: Option<WeaviateDirectServer>,
}

macro_rules! server {
    ($(#[$doc:meta])* $name:ident, $kind:expr, $settings:ty $(, $(#[$settings_attribute:meta])+)?) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
        #[serde(rename_all = "camelCase", default)]
        pub struct $name {
            /// Whether it runs. Default true.
            pub enabled: bool,
            /// The port that it listens on, and that its Service has.
            #[schemars(range(min = 1, max = 65535))]
            pub port: u16,
            #[serde(flatten)]
            pub workload: Workload,
            /// The server's own settings.
            $($(#[$settings_attribute])+)?
            pub config: $settings,
        }

        impl Default for $name {
            fn default() -> Self {
                Self {
                    enabled: true,
                    port: $kind.default_port(),
                    workload: Workload::default(),
                    config: <$settings>::default(),
                }
            }
        }
    };
}

server!(
    /// The orchestrator.
    OrchestratorServer,
    ServerKind::Orchestrator,
    GatewaySettings
);

server!(
    /// The memory server.
    MemoryServer,
    ServerKind::Memory,
    MemorySettings,
    #[schemars(extend("x-kubernetes-validations" = rules::memory_settings()))]
);

server!(
    /// The tools server.
    ToolsServer,
    ServerKind::Tools,
    ToolsSettings
);

/// The weaviate-direct server. This version of the operator does not run it yet and says so.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct WeaviateDirectServer {
    /// The port that it listens on, and that its Service has.
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,
    /// Where Weaviate is reached.
    #[schemars(length(max = 2048))]
    pub url: String,
    #[serde(flatten)]
    pub workload: Workload,
}

impl Default for WeaviateDirectServer {
    fn default() -> Self {
        Self { port: 8001, url: "http://weaviate:8080".to_owned(), workload: Workload::default() }
    }
}
