//! Asks servers how they are. Must not know why it is asked: what is to become of a server that does not
//! answer is the supervisor's to say.

use crate::render::ProcessSpec;
use anyhow::Context;
use mcp_system_probe::{Answer, Endpoint};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::OnceCell;

/// How long an answer about health may take, and one to an MCP request.
const HEALTH_DEADLINE: Duration = Duration::from_secs(3);
const MCP_DEADLINE: Duration = Duration::from_secs(5);

/// Asks servers.
#[derive(Clone, Debug)]
pub(crate) struct Observer {
    /// For this machine: it trusts no certificate and is built at once.
    local: reqwest::Client,
    /// For the world outside: it reads the system's certificates, so it is built when it is needed.
    outside: Arc<OnceCell<reqwest::Client>>,
}

impl Observer {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let local = reqwest::Client::builder()
            .tls_certs_only([])
            .no_proxy()
            .tcp_nodelay(true)
            .connect_timeout(HEALTH_DEADLINE)
            .redirect(reqwest::redirect::Policy::none())
            .pool_max_idle_per_host(0)
            .build()
            .context("no HTTP client can be built")?;
        Ok(Self { local, outside: Arc::default() })
    }

    /// Whether a server says that it is ready; without a place to say so, whether its port is open.
    pub(crate) async fn is_healthy(&self, spec: &ProcessSpec) -> Result<(), String> {
        if let Some(urls) = &spec.health {
            return self.get(&urls.ready, HEALTH_DEADLINE).await;
        }
        let connected = TcpStream::connect((Ipv4Addr::LOCALHOST, spec.port));
        match tokio::time::timeout(HEALTH_DEADLINE, connected).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(format!("does not listen on port {} yet", spec.port)),
        }
    }

    /// Whether the process of a server is alive. One that has no place to say so is: it runs.
    pub(crate) async fn is_alive(&self, spec: &ProcessSpec) -> bool {
        let deadline = Duration::from_secs(spec.liveness.timeout_seconds.into());
        match &spec.health {
            Some(urls) => self.get(&urls.live, deadline).await.is_ok(),
            None => true,
        }
    }

    /// Asks a server on this machine whether it answers MCP requests.
    pub(crate) async fn ask(&self, endpoint: &Endpoint) -> Answer {
        mcp_system_probe::ask(&self.local, endpoint, MCP_DEADLINE).await
    }

    /// Sends an MCP request to a server that runs elsewhere.
    pub(crate) async fn ask_outside(&self, url: &str) -> Answer {
        let client = self
            .outside
            .get_or_try_init(|| async {
                tokio::task::spawn_blocking(mcp_system_probe::client).await.context("the task ended")?
            })
            .await;
        let endpoint = Endpoint::Mcp(url.to_owned());
        mcp_system_probe::ask(client.unwrap_or(&self.local), &endpoint, MCP_DEADLINE).await
    }

    async fn get(&self, url: &str, deadline: Duration) -> Result<(), String> {
        match self.local.get(url).timeout(deadline).send().await {
            Ok(response) if response.status().is_success() => Ok(()),
            Ok(response) => Err(format!("answers {} at {url}", response.status())),
            Err(error) if error.is_timeout() => Err(format!("does not answer at {url}")),
            Err(_) => Err(format!("does not listen at {url} yet")),
        }
    }
}
