//! The official conformance suite against its fixtures, which stand on the kit (`servers/kit/examples/conformance`):
//! what the kit makes of the protocol, judged by those who wrote it.

use std::net::{Ipv4Addr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use mcp_system_tests::conformance::Suite;
use mcp_system_tests::ports::free_port;
use mcp_system_tests::tied::Tied;

use crate::group::{Fixture, Group, Scenario, Shared, same};

static FIXTURES: Shared<Fixtures> = Shared::new(Fixtures::start);
static SUITE: Shared<Suite> = Shared::new(Suite::install);

/// The fixtures at work. Dropped, they end.
struct Fixtures {
    url: String,
    _process: Tied,
}

/// What a revision makes of the fixtures.
struct Expected {
    revision: &'static str,
    /// The scenarios that it requires of a server, and the checks in them that pass.
    required: usize,
    checks: usize,
    warnings: &'static [&'static str],
}

const REVISIONS: [Expected; 2] = [
    Expected { revision: "2026-07-28", required: 37, checks: 120, warnings: &[] },
    Expected {
        revision: "2025-11-25",
        required: 30,
        checks: 67,
        // There are no sessions, by choice: the scenario says so and looks no further.
        warnings: &["server-sse-multiple-streams-session"],
    },
];

pub(crate) fn group() -> Group {
    let scenarios = REVISIONS.map(|expected| {
        Scenario::new(format!("what_{}_requires", expected.revision), move || conforms(&expected))
    });
    Group { name: "conformance", scenarios: scenarios.into(), shared: vec![&FIXTURES, &SUITE] }
}

fn conforms(expected: &Expected) -> Result<()> {
    let findings =
        SUITE.with(|suite| FIXTURES.with(|fixtures| suite.run(&fixtures.url, expected.revision)))?;
    let failures = findings.failures();
    ensure!(failures.is_empty(), "{}\n{}", failures.join("\n"), findings.story);
    same("the scenarios that it requires", &findings.scenarios.len(), &expected.required)?;
    same("the checks that passed", &findings.passed(), &expected.checks)?;
    same("what it warns of", &findings.warnings(), &expected.warnings)
}

impl Fixtures {
    fn start() -> Result<Self> {
        let port = free_port()?;
        let process = Tied::until_dropped(Command::new(program()?).arg(port.to_string()))?;
        let started = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            if started.elapsed() > Duration::from_secs(20) {
                bail!("the fixtures of the conformance suite do not listen within 20 s");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(Self { url: format!("http://127.0.0.1:{port}/mcp"), _process: process })
    }
}

/// Beside the tests, where `cargo test --workspace` leaves it.
fn program() -> Result<PathBuf> {
    // target/TRIPLE/PROFILE/deps/TEST
    let test = std::env::current_exe().context("cannot tell where this test lies")?;
    let folder = test.ancestors().nth(2).context("this test does not lie in a target folder")?;
    let path = folder.join("examples/conformance");
    ensure!(
        path.is_file(),
        "{} is missing: build it with `cargo build --package mcp-system-kit --example conformance`",
        path.display()
    );
    Ok(path)
}

impl Fixture for Fixtures {
    fn end(self) -> Result<()> {
        drop(self);
        Ok(())
    }
}

impl Fixture for Suite {
    fn end(self) -> Result<()> {
        Ok(())
    }
}
