//! Endpoints of both eras, and of none.

use mcp_system_probe::{Answer, Endpoint, ask, client};
use rmcp::model::{ListToolsResult, PaginatedRequestParams, ServerCapabilities, ServerConfig, Tool};
use rmcp::service::RequestContext;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{ErrorData, RoleServer, ServerHandler};
use std::sync::Arc;
use std::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_secs(10);

/// A server with five tools on two pages.
#[derive(Clone)]
struct Paged;

impl ServerHandler for Paged {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(rmcp::model::Implementation::new("paged", "1.2.3"))
    }

    async fn list_tools(
        &self,
        request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let tool = |index: usize| Tool::new(format!("tool-{index}"), "A tool.", serde_json::Map::new());
        let second = request.and_then(|request| request.cursor).is_some();
        let mut page = ListToolsResult::with_all_items(if second {
            vec![tool(3), tool(4)]
        } else {
            vec![tool(0), tool(1), tool(2)]
        });
        page.next_cursor = (!second).then(|| "second".to_owned());
        Ok(page)
    }
}

async fn serve(router: axum::Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let address = listener.local_addr().expect("has an address");
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}/mcp")
}

fn mcp(config: StreamableHttpServerConfig) -> (axum::Router, Arc<LocalSessionManager>) {
    let sessions = Arc::new(LocalSessionManager::default());
    let service = StreamableHttpService::new(|| Ok(Paged), sessions.clone(), config);
    (axum::Router::new().nest_service("/mcp", service), sessions)
}

async fn answer(url: &str) -> Answer {
    ask(&client().expect("a client"), &Endpoint::Mcp(url.to_owned()), DEADLINE).await
}

#[tokio::test]
async fn the_newest_revision_is_spoken_where_it_is_known() {
    let (router, _) = mcp(StreamableHttpServerConfig::default());
    let answer = answer(&serve(router).await).await;
    assert_eq!(
        answer,
        Answer {
            answered: Ok(()),
            version: Some("1.2.3".to_owned()),
            tools: Some(5),
            protocol: Some("2026-07-28".to_owned()),
            warnings: Vec::new(),
        }
    );
}

/// Refuses `server/discover` in the ways that older servers do.
async fn legacy(
    axum::extract::State(how): axum::extract::State<How>,
    request: axum::extract::Request,
    next: axum::middleware::Next,
) -> axum::response::Response {
    use axum::response::IntoResponse;
    let (parts, body) = request.into_parts();
    let bytes = axum::body::to_bytes(body, 1 << 20).await.expect("a body");
    if String::from_utf8_lossy(&bytes).contains("server/discover") {
        return match how {
            How::PlainText => {
                (axum::http::StatusCode::BAD_REQUEST, "Bad Request: no valid session ID").into_response()
            }
            How::ServerError => axum::http::StatusCode::INTERNAL_SERVER_ERROR.into_response(),
            How::Silence => std::future::pending().await,
        };
    }
    next.run(axum::extract::Request::from_parts(parts, bytes.into())).await
}

#[derive(Clone, Copy)]
enum How {
    PlainText,
    ServerError,
    Silence,
}

#[tokio::test]
async fn older_servers_are_asked_in_a_session_that_is_closed_again() {
    for how in [How::PlainText, How::ServerError, How::Silence] {
        let (router, sessions) = mcp(StreamableHttpServerConfig::default());
        let router = router.layer(axum::middleware::from_fn_with_state(how, legacy));
        let answer = answer(&serve(router).await).await;
        assert_eq!(answer.answered, Ok(()));
        assert_eq!((answer.tools, answer.protocol.as_deref()), (Some(5), Some("2025-11-25")));
        let deadline = Instant::now() + Duration::from_secs(5);
        while !sessions.sessions.read().await.is_empty() {
            assert!(Instant::now() < deadline, "the session stays open");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test]
async fn a_web_page_is_no_mcp_server() {
    let router = axum::Router::new().route("/mcp", axum::routing::any(|| async { "hello" }));
    let answer = answer(&serve(router).await).await;
    assert!(answer.answered.is_err());
    assert_eq!((answer.version, answer.tools, answer.protocol), (None, None, None));
}

#[tokio::test]
async fn nobody_at_home_is_told_at_once() {
    let started = Instant::now();
    let answer = answer("http://127.0.0.1:9/mcp").await;
    assert!(answer.answered.is_err());
    assert!(started.elapsed() < DEADLINE / 2);
}

#[tokio::test]
async fn silence_ends_with_the_deadline() {
    let router = axum::Router::new().route("/mcp", axum::routing::any(std::future::pending::<String>));
    let url = serve(router).await;
    let answer = ask(&client().expect("a client"), &Endpoint::Mcp(url), Duration::from_millis(500)).await;
    assert_eq!(answer.answered, Err("no answer within 0.5 s".to_owned()));
}

/// What a server's own `/health` answers, as an answer to whoever asks.
async fn told(code: u16, report: &'static str) -> Answer {
    let code = axum::http::StatusCode::from_u16(code).expect("a code");
    let router = axum::Router::new().route("/mcp", axum::routing::get(move || async move { (code, report) }));
    let endpoint = Endpoint::SelfCheck(serve(router).await);
    ask(&client().expect("a client"), &endpoint, DEADLINE).await
}

#[tokio::test]
async fn a_servers_own_check_is_taken_from_its_health() {
    let report = r#"{"status": "degraded", "version": "1.2.3", "tools": 7, "protocol_versions": ["2025-11-25", "2026-07-28"]}"#;
    assert_eq!(
        told(200, report).await,
        Answer {
            answered: Ok(()),
            version: Some("1.2.3".to_owned()),
            tools: Some(7),
            protocol: Some("2026-07-28".to_owned()),
            warnings: Vec::new(),
        }
    );
}

#[tokio::test]
async fn what_of_its_settings_a_server_cannot_use_is_a_warning() {
    let report = r#"{
        "status": "degraded", "tools": 7,
        "dependencies": {
            "databases": {"status": "unhealthy", "message": "it may come back"},
            "settings": {"status": "unhealthy", "message": "all in one", "findings": ["userTools[a]:\nno", "userTools[b]: no"]}
        },
        "configuration": {
            "callers": {"status": "current"},
            "settings": {"status": "rejected", "message": "a typo"}
        }
    }"#;
    assert_eq!(
        told(200, report).await.warnings,
        [
            "userTools[a]: no",
            "userTools[b]: no",
            "settings: a changed file is not taken over, what it held before stays in force: a typo"
        ]
    );
}

#[tokio::test]
async fn a_server_that_does_not_answer_itself_does_not_answer() {
    for (code, report, why) in [
        (
            503,
            r#"{"status": "unhealthy", "message": "tools/list was not answered"}"#,
            "it is unhealthy: tools/list",
        ),
        (503, r#"{"status": "starting"}"#, "it is starting"),
        (200, r#"{"status": "ok"}"#, "has not answered itself"),
        (200, "hello", "no health report"),
    ] {
        let answered = told(code, report).await.answered.expect_err(report);
        assert!(answered.contains(why), "{answered}");
    }
    let nobody = Endpoint::SelfCheck("http://127.0.0.1:9/health".to_owned());
    assert!(ask(&client().expect("a client"), &nobody, DEADLINE).await.answered.is_err());
}
