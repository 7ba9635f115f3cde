//! What a server depends on, as its health shows it. Checked in the background, never on a probe's path.

use crate::breaker;
use futures::future::BoxFuture;
use serde_json::{Map, Value};
use std::time::Duration;

/// Something without which a server works less well: a store, a server behind it.
///
/// A failed check makes the server `degraded`, never unready: a dead dependency must restart nobody. A probe only
/// reads what the last check found.
///
/// ```
/// use mcp_system_config::Resilience;
/// use mcp_system_kit::guarded::{Guarded, Verdict};
/// use mcp_system_kit::{Dependencies, Dependency, Metrics, breaker};
/// use std::sync::Arc;
/// use std::time::Duration;
///
/// struct Search {
///     guarded: Arc<Guarded>,
/// }
///
/// impl Dependency for Search {
///     async fn check(&self) -> Result<(), String> {
///         let asked = self.guarded.call(Duration::from_secs(1), |_| Verdict::Failed, || async {
///             // A real one asks the search engine here.
///             Ok::<(), String>(())
///         });
///         asked.await.map_err(|trouble| trouble.to_string())
///     }
///
///     fn circuit_breaker(&self) -> Option<breaker::State> {
///         Some(self.guarded.state())
///     }
/// }
///
/// let metrics = Metrics::new("tools");
/// let guarded = Arc::new(Guarded::new("search", &Resilience::default(), &metrics));
/// let search = Search { guarded: guarded.clone() };
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// assert_eq!(search.check().await, Ok(()));
/// # });
/// assert_eq!(search.circuit_breaker(), Some(breaker::State::Closed));
/// // `Server::dependency("search", search)` has it checked in the background; so does a set that may change:
/// let dependencies = Dependencies::default();
/// dependencies.insert("search", search);
/// assert_eq!(format!("{dependencies:?}"), r#"{"search"}"#);
/// ```
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
