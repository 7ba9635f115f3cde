//! The MCP endpoint: which protocol features it has and whom it lets in.
//!
//! No state is kept between requests, in either era of the protocol: any replica can answer any request.

use crate::observed::Observed;
use mcp_system_config::Listen;
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// What a browser on this machine sends: development tools such as the MCP Inspector.
const LOCAL_ORIGINS: [&str; 6] = [
    "http://localhost:*",
    "http://127.0.0.1:*",
    "http://[::1]:*",
    "https://localhost:*",
    "https://127.0.0.1:*",
    "https://[::1]:*",
];

/// Silence after which a comment is sent, so that nobody in between takes a slow call for a dead one.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

pub(crate) type Service = StreamableHttpService<Observed, NeverSessionManager>;

/// The endpoint's service. `cut_off` ends whatever is still running.
pub(crate) fn service(handler: Observed, listen: &Listen, cut_off: CancellationToken) -> Service {
    let config = StreamableHttpServerConfig::default()
        .with_legacy_session_mode(false)
        .with_json_response(true)
        .with_sse_keep_alive(Some(KEEP_ALIVE))
        .with_allowed_hosts(hosts(listen))
        .with_allowed_origins(origins(listen))
        .enforce_origin_validation()
        // Bodies were read before, within a limit that may change.
        .with_max_request_body_bytes(usize::MAX)
        .with_cancellation_token(cut_off);
    StreamableHttpService::new(move || Ok(handler.clone()), Arc::new(NeverSessionManager::default()), config)
}

/// Loopback and the address itself; a name without a port is allowed with any.
fn hosts(listen: &Listen) -> Vec<String> {
    let mut hosts: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(Into::into).into();
    if !listen.host.is_unspecified() && !listen.host.is_loopback() {
        hosts.push(listen.host.to_string());
    }
    hosts.extend(listen.allowed_hosts.iter().filter(|host| !host.trim().is_empty()).cloned());
    hosts
}

/// An origin without a port stands for its scheme's own: a browser leaves that port out.
fn origins(listen: &Listen) -> Vec<String> {
    let own = listen.allowed_origins.iter().map(|origin| {
        let default = match origin.split_once("://") {
            Some(("https", rest)) if !has_port(rest) => ":443",
            Some(("http", rest)) if !has_port(rest) => ":80",
            _ => "",
        };
        format!("{}{default}", origin.trim_end_matches('/'))
    });
    LOCAL_ORIGINS.map(Into::into).into_iter().chain(own).collect()
}

fn has_port(authority: &str) -> bool {
    authority.trim_end_matches('/').rsplit_once(':').is_some_and(|(_, port)| !port.contains(']'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_itself_and_what_was_configured_are_allowed() {
        let listen = Listen {
            host: "10.1.2.3".parse().expect("an address"),
            allowed_hosts: vec!["memory.ns.svc".into(), String::new(), "example.com:444".into()],
            ..Listen::default()
        };
        assert_eq!(
            hosts(&listen),
            ["localhost", "127.0.0.1", "::1", "10.1.2.3", "memory.ns.svc", "example.com:444"]
        );
    }

    #[test]
    fn an_origin_without_a_port_means_its_schemes_own() {
        let allowed = ["https://app.example.com", "https://[::2]", "http://x:8080", "https://y:*"];
        let listen = Listen { allowed_origins: allowed.map(Into::into).into(), ..Listen::default() };
        assert_eq!(
            origins(&listen)[LOCAL_ORIGINS.len()..],
            ["https://app.example.com:443", "https://[::2]:443", "http://x:8080", "https://y:*"]
        );
    }
}
