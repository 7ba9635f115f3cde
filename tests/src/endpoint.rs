//! An HTTP endpoint of somebody else, as far as a server asks it: models behind OpenAI's protocol and a web search. It
//! answers what it was asked, so that a test sees its own words come back. One thread, one request a connection.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

/// It listens until it is dropped.
#[derive(Debug)]
pub struct Endpoint {
    address: SocketAddr,
    ends: Arc<AtomicBool>,
}

impl Endpoint {
    /// Starts to listen, on a free port of loopback.
    pub fn start() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no port for an endpoint")?;
        let address = listener.local_addr().context("an endpoint without an address")?;
        let ends = Arc::new(AtomicBool::new(false));
        let until = ends.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if until.load(Ordering::SeqCst) {
                    return;
                }
                // Who breaks a connection off is told nothing.
                let _ = stream.and_then(serve);
            }
        });
        Ok(Self { address, ends })
    }

    /// Its address, `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::SeqCst);
        // Wakes the thread, which then sees that it ends. It is not waited for: who drops this may have entered the
        // network of the cluster, from where the thread is not to be reached.
        drop(TcpStream::connect(self.address));
    }
}

fn serve(stream: TcpStream) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut reader = BufReader::new(stream);
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        match line.trim_end().split_once(':') {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                length = value.trim().parse().unwrap_or(0);
            }
            Some(_) => {}
            None => break,
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let path = first.split(' ').nth(1).unwrap_or_default();
    let (status, answer) = match answer(path, &serde_json::from_slice(&body).unwrap_or_default()) {
        Some(answer) => ("200 OK", answer),
        None => ("404 Not Found", json!({"error": {"message": format!("nothing is at {path}")}})),
    };
    let answer = answer.to_string();
    write!(
        reader.into_inner(),
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{answer}",
        answer.len()
    )
}

/// What is answered at a path; `None` where nothing is.
fn answer(path: &str, asked: &Value) -> Option<Value> {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    match path {
        // A vector of two numbers: the length of the text and a constant, with fractions, which every client keeps.
        "/v1/embeddings" => {
            let texts = asked["input"].as_array()?;
            let vector = |(index, text): (usize, &Value)| {
                let length = u32::try_from(text.as_str().map_or(0, str::len)).unwrap_or(u32::MAX);
                json!({"object": "embedding", "index": index, "embedding": [f64::from(length) + 0.5, 0.25]})
            };
            let data: Vec<Value> = texts.iter().enumerate().map(vector).collect();
            Some(json!({"object": "list", "model": asked["model"], "data": data}))
        }
        "/v1/chat/completions" => {
            let said = asked["messages"].as_array()?.last()?["content"].as_str()?;
            let message = json!({"role": "assistant", "content": format!("You said: {said}")});
            Some(json!({
                "id": "1", "object": "chat.completion", "model": asked["model"],
                "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
                "usage": {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8},
            }))
        }
        "/search" => {
            let result = json!({"title": query, "url": "http://example.com/", "content": "found"});
            Some(json!({"results": [result]}))
        }
        _ => None,
    }
}
