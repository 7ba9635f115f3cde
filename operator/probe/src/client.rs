//! The HTTP client that asks.

use anyhow::Context;
use std::time::Duration;

/// A client for [`crate::ask`]; one is enough for any number of endpoints.
///
/// Idle connections are not kept: an endpoint is asked about once a minute, and a kept connection would
/// go on reaching a pod that its Service no longer names.
///
/// # Errors
/// Where no TLS can be set up at all.
pub fn client() -> anyhow::Result<reqwest::Client> {
    // An error says only that a provider is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match settings().build() {
        Ok(client) => Ok(client),
        // A container without certificates can still ask its neighbours over plain HTTP.
        Err(error) => {
            tracing::warn!(%error, "the system's certificates cannot be read; https endpoints will not answer");
            settings().tls_certs_only([]).build().context("no HTTP client can be built")
        }
    }
}

fn settings() -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .tcp_nodelay(true)
        .connect_timeout(Duration::from_secs(3))
        .pool_max_idle_per_host(0)
        // A proxy of the environment is meant for the world outside, and would answer in a server's place.
        .no_proxy()
        // A redirect would lead to somewhere that nobody configured.
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("mcp-system-probe/", env!("CARGO_PKG_VERSION")))
}
