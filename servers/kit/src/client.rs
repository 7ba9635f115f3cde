//! HTTP clients: one set of settings for every server.

use anyhow::Context;
use std::time::Duration;

/// Installs the ring provider for TLS unless one is there. Without it the first TLS client would panic.
pub fn install_crypto() {
    // An error says only that another thread was first.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// A client for calls to other servers: small messages go out at once, idle connections are kept.
///
/// Connections idle for four seconds are closed, because servers on Node.js close theirs after five, and a
/// request that meets such a closing is lost. There is no deadline for whole calls: callers know theirs.
pub fn http_client() -> anyhow::Result<reqwest::Client> {
    install_crypto();
    match settings().build() {
        Ok(client) => Ok(client),
        // A container without certificates can still speak plain HTTP to its neighbours.
        Err(error) => {
            tracing::warn!(%error, "the system's certificates cannot be read; https will be refused");
            plain_client()
        }
    }
}

/// A client that trusts no certificate at all: for loopback, and quick to build.
pub(crate) fn plain_client() -> anyhow::Result<reqwest::Client> {
    install_crypto();
    settings().tls_certs_only([]).build().context("no HTTP client can be built")
}

fn settings() -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .tcp_nodelay(true)
        .tcp_keepalive(Duration::from_secs(30))
        .connect_timeout(Duration::from_secs(2))
        .pool_idle_timeout(Duration::from_secs(4))
        .pool_max_idle_per_host(64)
        // Neighbours are reached directly; a proxy of the environment is meant for the world outside.
        .no_proxy()
        // A redirect would carry a call, and with it its content, to somewhere nobody configured.
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("mcp-system/", env!("CARGO_PKG_VERSION")))
}

#[cfg(test)]
mod tests {
    #[test]
    fn clients_can_be_built_more_than_once() {
        super::http_client().expect("the first");
        super::plain_client().expect("the second");
    }
}
