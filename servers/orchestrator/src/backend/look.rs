//! Looking at a server in the background: how it is, which tools it has, and when to look again.

use super::{Backend, Listed};
use crate::connection::{Extras, Failure};
use rmcp::model::{
    CacheScope, ClientRequest, ErrorCode, PaginatedRequestParams, RequestOptionalParam, ServerResult,
};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

/// A server that takes longer to list its tools, or to tell its health, counts as down for now.
const LOOK_DEADLINE: Duration = Duration::from_secs(5);
/// How often a server that tells its health is asked for it.
const HEALTH_EVERY: Duration = Duration::from_secs(5);
/// Servers of one system start together: at first one that is missing is looked for again at once.
const EAGER: Duration = Duration::from_secs(3);
const EAGER_PAUSE: Duration = Duration::from_millis(25);
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// A server that lets its list be used for less is still asked no more often.
const SHORTEST_TTL: Duration = Duration::from_secs(1);
/// Pages of a list that are read; a server that pages for ever is not waited for.
const PAGES: usize = 1000;

impl Backend {
    /// Asks the server how it is and, when its list is due, for its tools. Tells whether those changed.
    pub(crate) async fn look(&self) -> bool {
        let late = || Err(format!("it did not answer within {} s", LOOK_DEADLINE.as_secs()));
        // A key that was replaced is known before the old one is refused.
        self.connection.key.read().await;
        let (listed, result) =
            tokio::time::timeout(LOOK_DEADLINE, self.ask()).await.unwrap_or_else(|_| (None, late()));
        let up = result.is_ok();
        self.measures.up(self.name(), up);
        if !(up || listed.is_some()) {
            // What comes up in its place is not yet known to hang.
            self.hung.store(false, Ordering::Relaxed);
        } else if !self.hung.load(Ordering::Relaxed) {
            // It answers, so calls may try: what opened the breaker is over.
            self.guarded.heard();
        }
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.failures = match (up, self.started.elapsed() < EAGER) {
            (true, _) => 0,
            // Those of the first moments say nothing of how long it may take.
            (false, true) => 1,
            (false, false) => state.failures.saturating_add(1),
        };
        state.last = Some(result);
        let Some(listed) = listed else {
            if !up {
                // It is asked for its tools as soon as it answers: it may be another one then.
                state.listed_at = None;
            }
            return false;
        };
        state.listed_at = Some(Instant::now());
        if state.listed.as_ref() == Some(&listed) {
            return false;
        }
        tracing::info!(backend = self.name(), tools = listed.tools.len(), "tools listed");
        state.listed = Some(listed);
        true
    }

    /// Its tools, when they are due, and how it is. A server that says it is not ready still has its tools.
    async fn ask(&self) -> (Option<Listed>, Result<(), String>) {
        let due = {
            let state = self.read();
            state.listed_at.is_none_or(|listed| listed.elapsed() >= self.list_ttl(&state))
        };
        if !due {
            return (None, self.healthy().await);
        }
        match self.list().await {
            Ok(listed) => (Some(listed), self.healthy().await),
            Err(error) => {
                // What comes up again in its place may speak another era of the protocol.
                self.connection.renegotiate().await;
                (None, Err(error))
            }
        }
    }

    async fn healthy(&self) -> Result<(), String> {
        let Some(url) = &self.settings.health_url else { return Ok(()) };
        let asked = self.connection.client.get(url).send().await;
        let status = asked
            .map_err(|error| format!("its health cannot be asked for: {}", error.without_url()))?
            .status();
        if status.is_success() {
            Ok(())
        } else {
            Err(format!("it says that it is not ready (HTTP {status})"))
        }
    }

    async fn list(&self) -> Result<Listed, String> {
        let mut tools = Vec::new();
        let mut private = false;
        let mut ttl: Option<Duration> = None;
        let mut cursor = None;
        for _ in 0..PAGES {
            let params = PaginatedRequestParams::default().with_cursor(cursor.take());
            let request = ClientRequest::ListToolsRequest(RequestOptionalParam::with_param(params));
            let page = match self.connection.request(request, &Extras::default()).await {
                Ok(ServerResult::ListToolsResult(page)) => page,
                Ok(_) => return Err("it answered tools/list with something else".to_owned()),
                Err(Failure::Unreachable(why)) => return Err(format!("it cannot be reached: {why}")),
                Err(Failure::Lost(why) | Failure::Stale(why)) => {
                    return Err(format!("it gave no answer: {why}"));
                }
                Err(Failure::Answered(what)) => return Err(format!("it {what}")),
                Err(Failure::Denied) => return Err(self.connection.key.complaint()),
                // A server without any tools need not know the question.
                Err(Failure::Refused(error)) if error.code == ErrorCode::METHOD_NOT_FOUND => {
                    return Ok(Listed::default());
                }
                Err(Failure::Refused(error)) => {
                    return Err(format!("it answered tools/list with an error: {}", error.message));
                }
            };
            private |= page.cache_scope == Some(CacheScope::Private);
            // Zero is what servers say that have no opinion; every list would be out of date at once.
            let told = page.ttl_ms.filter(|told| *told > 0).map(Duration::from_millis);
            ttl = ttl.into_iter().chain(told).min();
            tools.extend(page.tools);
            cursor = page.next_cursor;
            if cursor.is_none() {
                return Ok(Listed {
                    tools: Arc::new(tools),
                    private,
                    ttl: ttl.map(|ttl| ttl.max(SHORTEST_TTL)),
                });
            }
        }
        Err(format!("its list of tools has more than {PAGES} pages"))
    }

    /// Tells the server that its session is not needed any more.
    pub(crate) async fn leave(&self) {
        self.connection.leave().await;
    }

    /// The same once no call is running any more, or could be.
    pub(crate) async fn leave_when_idle(&self) {
        let longest = Duration::from_secs(self.shared.current().settings.gateway.call_timeout_seconds.into());
        let idle = async {
            // Not by waiting for the lock: that would hold up a call which began in the meantime.
            while self.calls.try_write().is_err() {
                tokio::time::sleep(SHORTEST_PAUSE).await;
            }
        };
        let _ = tokio::time::timeout(longest, idle).await;
        self.leave().await;
    }

    /// Waits until the next look is due, or until something happened that makes it worth while.
    pub(crate) async fn pause(&self) {
        let pause = {
            let state = self.read();
            if state.failures > 0 {
                pause_after(state.failures, self.started.elapsed())
            } else if self.settings.health_url.is_some() {
                HEALTH_EVERY.min(self.list_ttl(&state))
            } else {
                self.list_ttl(&state)
            }
        };
        let rung = async {
            self.connection.changed.notified().await;
            self.state.write().unwrap_or_else(PoisonError::into_inner).listed_at = None;
            // A server that rings without end is still not asked without end.
            tokio::time::sleep(EAGER_PAUSE).await;
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = rung => {}
        }
    }
}

/// Quickly at first, then ever slower, up to a bound that a person waiting for a restart does not notice.
fn pause_after(failures: u32, since_start: Duration) -> Duration {
    if since_start < EAGER {
        return EAGER_PAUSE;
    }
    SHORTEST_PAUSE.saturating_mul(1 << failures.saturating_sub(1).min(10)).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_server_is_looked_for_eagerly_at_first_and_then_ever_slower() {
        let second = Duration::from_secs(1);
        assert_eq!(pause_after(40, second), EAGER_PAUSE);
        let later: Vec<_> = (1..8).map(|failures| pause_after(failures, 9 * second).as_millis()).collect();
        assert_eq!(later, [100, 200, 400, 800, 1600, 2000, 2000]);
        assert_eq!(pause_after(u32::MAX, 9 * second), LONGEST_PAUSE);
    }
}
