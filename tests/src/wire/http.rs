//! One kept connection to an HTTP/1.1 server. Written by hand, so that a load generator takes little of the
//! machine that it shares with the server.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

/// After this a silent server counts as broken.
const SILENCE: Duration = Duration::from_mins(5);

/// Where a server listens, on loopback.
#[derive(Debug, Clone)]
pub struct Place {
    pub port: u16,
    pub path: String,
}

impl Place {
    /// Of a URL such as `http://127.0.0.1:8003/mcp`.
    pub fn of(url: &str) -> Result<Self> {
        let rest =
            url.strip_prefix("http://127.0.0.1:").with_context(|| format!("{url} is not on loopback"))?;
        let (port, path) = rest.split_once('/').unwrap_or((rest, ""));
        let port = port.parse().with_context(|| format!("{url} has no port"))?;
        Ok(Self { port, path: format!("/{path}") })
    }
}

/// A connection that stays open between requests.
#[derive(Debug)]
pub struct Connection {
    stream: BufReader<TcpStream>,
    /// Some servers close after each answer; the next request opens another, as every client does.
    closed: bool,
    place: Place,
    /// Further header lines, each ended.
    pub headers: String,
    out: Vec<u8>,
    line: String,
}

/// What came back.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub event_stream: bool,
    pub session: Option<String>,
    pub body: Vec<u8>,
}

impl Connection {
    /// Connects.
    pub fn open(place: &Place) -> Result<Self> {
        Ok(Self {
            stream: connect(place)?,
            closed: false,
            place: place.clone(),
            headers: String::new(),
            out: Vec::new(),
            line: String::new(),
        })
    }

    /// Sends a body and reads the whole answer.
    pub fn post(&mut self, body: &[u8]) -> Result<Reply> {
        if self.closed {
            self.stream = connect(&self.place)?;
            self.closed = false;
        }
        self.out.clear();
        write!(
            self.out,
            "POST {} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nContent-Type: application/json\r\nAccept: application/json, \
             text/event-stream\r\nContent-Length: {}\r\n{}\r\n",
            self.place.path,
            self.place.port,
            body.len(),
            self.headers
        )?;
        self.out.extend_from_slice(body);
        self.stream.get_mut().write_all(&self.out).context("the server closed the connection")?;
        self.read()
    }

    fn read(&mut self) -> Result<Reply> {
        let first = self.line()?;
        let status = first.split(' ').nth(1).and_then(|code| code.parse().ok());
        let status = status.with_context(|| format!("the server does not speak HTTP: {first:?}"))?;
        let mut reply = Reply { status, event_stream: false, session: None, body: Vec::new() };
        let (mut length, mut chunked, mut closes) = (None, false, false);
        loop {
            let line = self.line()?;
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.trim();
            let is = |header: &str| name.eq_ignore_ascii_case(header);
            if is("content-length") {
                length = value.parse().ok();
            } else if is("transfer-encoding") {
                chunked = value.eq_ignore_ascii_case("chunked");
            } else if is("connection") {
                closes = value.eq_ignore_ascii_case("close");
            } else if is("content-type") {
                reply.event_stream = value.starts_with("text/event-stream");
            } else if is("mcp-session-id") {
                reply.session = Some(value.to_owned());
            }
        }
        if chunked {
            while self.chunk(&mut reply.body)? {}
        } else if let Some(length) = length {
            reply.body.resize(length, 0);
            self.stream.read_exact(&mut reply.body).context("the server's answer broke off")?;
        } else if status != 202 && status != 204 {
            bail!("the server's answer has no length");
        }
        self.closed = closes;
        Ok(reply)
    }

    /// Reads one chunk; false after the last.
    fn chunk(&mut self, body: &mut Vec<u8>) -> Result<bool> {
        let line = self.line()?;
        let size = usize::from_str_radix(line.split(';').next().unwrap_or_default().trim(), 16)
            .with_context(|| format!("{line:?} is no size of a chunk"))?;
        let start = body.len();
        body.resize(start + size, 0);
        self.stream.read_exact(&mut body[start..]).context("the server's answer broke off")?;
        self.line()?;
        Ok(size > 0)
    }

    fn line(&mut self) -> Result<&str> {
        self.line.clear();
        let read = self.stream.read_line(&mut self.line).context("the server does not answer")?;
        ensure!(read > 0, "the server closed the connection");
        Ok(self.line.trim_end_matches(['\r', '\n']))
    }
}

fn connect(place: &Place) -> Result<BufReader<TcpStream>> {
    let stream = TcpStream::connect(("127.0.0.1", place.port))
        .with_context(|| format!("nothing listens on port {}", place.port))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(SILENCE))?;
    Ok(BufReader::with_capacity(64 << 10, stream))
}
