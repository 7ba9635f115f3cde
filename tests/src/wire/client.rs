//! A client of MCP for load and for crashes, which the official SDKs are too slow or too kind for.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use memchr::memmem;
use serde::Serialize;
use serde_json::{Value, json};

use super::http::{Connection, Place};
use super::stdio::Pipe;

/// What most clients of today speak.
const REVISION: &str = "2025-06-18";

/// How a server is reached.
#[derive(Debug)]
enum Wire {
    Http(Box<Connection>),
    Stdio(Pipe),
}

/// A client with a connection of its own.
#[derive(Debug)]
pub struct Client {
    wire: Wire,
    ids: u64,
    /// Of a server that has sessions.
    headers: String,
}

/// A request. It borrows what it is about, since load is made of many.
#[derive(Serialize)]
struct Request<'a, P> {
    jsonrpc: &'static str,
    id: u64,
    method: &'a str,
    params: P,
}

/// What a request to call a tool is about.
#[derive(Serialize)]
struct ToolCall<'a> {
    name: &'a str,
    arguments: &'a Value,
}

/// An answer as it came, and how long it took.
#[derive(Debug)]
pub struct Timed {
    pub took: Duration,
    body: Vec<u8>,
    event_stream: bool,
}

impl Client {
    /// Over HTTP.
    pub fn http(place: &Place) -> Result<Self> {
        Self::http_with(place, "")
    }

    /// The same with further header lines in each request, each ended, such as that of a key.
    pub fn http_with(place: &Place, headers: &str) -> Result<Self> {
        let mut connection = Connection::open(place)?;
        headers.clone_into(&mut connection.headers);
        Self::begin(Wire::Http(Box::new(connection)))
    }

    /// Over a process's standard input and output.
    pub fn stdio(pipe: Pipe) -> Result<Self> {
        Self::begin(Wire::Stdio(pipe))
    }

    /// Another connection of the same client.
    pub fn another(&self, place: &Place) -> Result<Self> {
        let mut connection = Connection::open(place)?;
        connection.headers.clone_from(&self.headers);
        Ok(Self { wire: Wire::Http(Box::new(connection)), ids: 0, headers: self.headers.clone() })
    }

    fn begin(wire: Wire) -> Result<Self> {
        let mut client = Self { wire, ids: 0, headers: String::new() };
        let about = json!({"protocolVersion": REVISION, "capabilities": {}, "clientInfo": {"name": "mcp-system-tests", "version": "1"}});
        let message = client.message("initialize", &about)?;
        if let Wire::Http(connection) = &mut client.wire {
            let reply = connection.post(&message)?;
            ensure!(reply.status == 200, "initialize was answered with HTTP {}", reply.status);
            let session = reply.session.map(|id| format!("Mcp-Session-Id: {id}\r\n")).unwrap_or_default();
            let own = &connection.headers;
            client.headers = format!("{own}MCP-Protocol-Version: {REVISION}\r\n{session}");
            connection.headers.clone_from(&client.headers);
        } else {
            client.exchange(&message)?.result()?;
        }
        let initialized = br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
        match &mut client.wire {
            Wire::Http(connection) => drop(connection.post(initialized)?),
            Wire::Stdio(pipe) => pipe.send(initialized)?,
        }
        Ok(client)
    }

    /// The process at the other end, where this client started it.
    pub fn pid(&self) -> Option<i32> {
        match &self.wire {
            Wire::Stdio(pipe) => pipe.pid(),
            Wire::Http(_) => None,
        }
    }

    /// The names of the tools.
    pub fn tools(&mut self) -> Result<Vec<String>> {
        let message = self.message("tools/list", &json!({}))?;
        let result = self.exchange(&message)?.result()?;
        let tools = result["tools"].as_array().context("tools/list named no tools")?;
        Ok(tools.iter().filter_map(|tool| tool["name"].as_str().map(str::to_owned)).collect())
    }

    /// Calls a tool and reads the answer only as far as to see whether it failed.
    pub fn call(&mut self, tool: &str, arguments: &Value) -> Result<Timed> {
        let message = self.message("tools/call", &ToolCall { name: tool, arguments })?;
        let timed = self.exchange(&message)?;
        ensure!(!failed(&timed.body), "{tool} failed: {}", String::from_utf8_lossy(&timed.body));
        Ok(timed)
    }

    fn message(&mut self, method: &str, params: &impl Serialize) -> Result<Vec<u8>> {
        self.ids += 1;
        let request = Request { jsonrpc: "2.0", id: self.ids, method, params };
        serde_json::to_vec(&request).context("the request is no JSON")
    }

    fn exchange(&mut self, message: &[u8]) -> Result<Timed> {
        let started = Instant::now();
        match &mut self.wire {
            Wire::Http(connection) => {
                let reply = connection.post(message)?;
                let took = started.elapsed();
                if reply.status != 200 {
                    bail!("HTTP {}: {}", reply.status, String::from_utf8_lossy(&reply.body));
                }
                Ok(Timed { took, body: reply.body, event_stream: reply.event_stream })
            }
            Wire::Stdio(pipe) => {
                pipe.send(message)?;
                let body = pipe.receive()?;
                Ok(Timed { took: started.elapsed(), body, event_stream: false })
            }
        }
    }
}

impl Timed {
    /// The result; an error of the protocol is an error here.
    pub fn result(&self) -> Result<Value> {
        let mut message: Value = if self.event_stream {
            let text = String::from_utf8_lossy(&self.body);
            let messages = text.lines().filter_map(|line| line.strip_prefix("data:"));
            let mut parsed = messages.filter_map(|data| serde_json::from_str::<Value>(data.trim()).ok());
            parsed.find(|message| message.get("id").is_some()).context("the stream holds no answer")?
        } else {
            serde_json::from_slice(&self.body).context("the answer is no JSON")?
        };
        if let Some(error) = message.get("error") {
            bail!("the server refused: {error}");
        }
        Ok(message["result"].take())
    }
}

/// Whether a tool's result says that it failed. Text within a string that says so has its quotes escaped, and does not
/// count.
fn failed(body: &[u8]) -> bool {
    const MARK: &[u8] = b"\"isError\":";
    memmem::find_iter(body, MARK).any(|at| body[at + MARK.len()..].trim_ascii_start().starts_with(b"true"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_that_says_so_failed() {
        for body in [
            r#"{"result":{"content":[],"isError":true}}"#,
            r#"{"result": {"isError": true, "content": []}}"#,
            r#"{"of_one":{"isError":false},"of_another":{"isError":true}}"#,
        ] {
            assert!(failed(body.as_bytes()), "{body}");
        }
    }

    #[test]
    fn a_result_that_denies_it_or_says_nothing_or_quotes_one_that_failed_did_not() {
        for body in [
            "",
            r#"{"result":{"content":[]}}"#,
            r#"{"result":{"isError":false,"structuredContent":true}}"#,
            r#"{"result":{"content":[{"type":"text","text":"{\"isError\":true}"}]}}"#,
            r#"{"result":{"isError":"#,
        ] {
            assert!(!failed(body.as_bytes()), "{body}");
        }
    }
}
