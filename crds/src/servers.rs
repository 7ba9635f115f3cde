//! This project's own servers in a system.

use crate::rules;
use crate::{SecretKey, Workload};

use mcp_system_config::{GatewaySettings, MemorySettings, ServerKind, ToolsSettings, WeaviateDirectSettings};
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
        #[schemars(extend("x-kubernetes-validations" = rules::workload()))]
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

/// The weaviate-direct server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = rules::weaviate_direct()))]
pub struct WeaviateDirectServer {
    /// The port that it listens on, and that its Service has.
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,
    /// The key of a Secret that holds Weaviate's API key; without it no key is sent. On a laptop it is taken
    /// from the environment variable that config.apiKeyEnv names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_key_secret: Option<SecretKey>,
    #[serde(flatten)]
    pub workload: Workload,
    /// The server's own settings: where Weaviate is reached, among others.
    pub config: WeaviateDirectSettings,
}

impl Default for WeaviateDirectServer {
    fn default() -> Self {
        Self {
            port: ServerKind::WeaviateDirect.default_port(),
            api_key_secret: None,
            workload: Workload::default(),
            config: WeaviateDirectSettings::default(),
        }
    }
}
