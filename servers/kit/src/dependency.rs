//! What a server depends on, as its health shows it. Checked in the background, never on a probe's path.

use crate::breaker;
use futures::future::BoxFuture;
use serde_json::{Map, Value};
use std::time::Duration;

/// Something without which a server works less well: a store, a server behind it.
///
/// A failed check makes the server `degraded`, never unready: a dead dependency must restart nobody.
pub trait Dependency: Send + Sync + 'static {
    /// Whether it can be used now; the error is shown to people in `/health`. A check that takes longer
    /// than two seconds counts as failed.
    fn check(&self) -> impl Future<Output = Result<(), String>> + Send;

    /// The state of the circuit breaker before it, when there is one.
    fn circuit_breaker(&self) -> Option<breaker::State> {
        None
    }

    /// More to show beside `status`.
    fn details(&self) -> Map<String, Value> {
        Map::new()
    }

    /// How often it is checked.
    fn interval(&self) -> Duration {
        Duration::from_secs(5)
    }
}

/// A plain function serves where there is nothing but the check.
impl<F, Fut> Dependency for F
where
    F: Fn() -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), String>> + Send,
{
    fn check(&self) -> impl Future<Output = Result<(), String>> + Send {
        self()
    }
}

/// [`Dependency`] behind a pointer, which its own `check` does not allow.
pub(crate) trait AnyDependency: Send + Sync {
    fn check(&self) -> BoxFuture<'_, Result<(), String>>;
    fn circuit_breaker(&self) -> Option<breaker::State>;
    fn details(&self) -> Map<String, Value>;
    fn interval(&self) -> Duration;
}

impl<D: Dependency> AnyDependency for D {
    fn check(&self) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(Dependency::check(self))
    }

    fn circuit_breaker(&self) -> Option<breaker::State> {
        Dependency::circuit_breaker(self)
    }

    fn details(&self) -> Map<String, Value> {
        Dependency::details(self)
    }

    fn interval(&self) -> Duration {
        Dependency::interval(self)
    }
}
