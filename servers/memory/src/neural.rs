//! What neural models add, where the settings name some: vectors of queries and entries, and a second look at the best
//! of a search.
//!
//! Search works without them. Whatever fails here costs some quality until it works again, never an answer: it is
//! logged once, and health and metrics tell of it.

use crate::cache::{Bounds, Cache};
use mcp_system_config::{EmbeddingSettings, Lookup, Resilience};
use mcp_system_embedding::{Batches, Embedder, Error, Reranker};
use mcp_system_kit::Metrics;
use mcp_system_kit::breaker::State;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A query whose vector is not there by then is answered without it.
const PATIENCE: Duration = Duration::from_secs(2);
/// What a model that works has a vector for.
const WORD: &str = "word";
/// Vectors of queries that are kept: what is asked again, perhaps with other filters, costs no call.
const QUERIES: Bounds = Bounds { entries: 1000, ttl: Duration::from_hours(1) };

/// The models of one state of the settings.
#[derive(Debug)]
pub struct Neural {
    settings: EmbeddingSettings,
    batches: Option<Batches>,
    reranker: Option<Reranker>,
    patience: Duration,
    queries: Cache<String, Arc<[f32]>>,
    failure: Mutex<Option<String>>,
    failures: AtomicU64,
    embedded: AtomicU64,
}

impl Neural {
    /// No models.
    pub fn none() -> Self {
        Self::with(EmbeddingSettings::default(), None, None)
    }

    /// The models that the settings name, loaded, which takes a part of a second and its thread. `environment` is asked for an endpoint's key. An endpoint's calls are
    /// shown in `metrics`, if given. Needs a tokio runtime.
    ///
    /// # Errors
    /// Says which setting or file cannot be used.
    pub fn of(
        settings: &EmbeddingSettings,
        resilience: &Resilience,
        environment: &Lookup<'_>,
        metrics: Option<&Metrics>,
    ) -> Result<Self, Error> {
        let embedder = Embedder::of(settings, resilience, environment)?;
        let reranker = settings.rerank.as_ref().map(Reranker::load).transpose()?;
        // Now that nothing can fail any more: until then those that are in force are shown.
        let embedder = embedder.map(|embedder| match metrics {
            Some(metrics) => embedder.measured(resilience, metrics),
            None => embedder,
        });
        Ok(Self::with(settings.clone(), embedder.map(Batches::start), reranker))
    }

    fn with(settings: EmbeddingSettings, batches: Option<Batches>, reranker: Option<Reranker>) -> Self {
        Self {
            settings,
            batches,
            reranker,
            patience: PATIENCE,
            queries: Cache::new(QUERIES),
            failure: Mutex::default(),
            failures: AtomicU64::new(0),
            embedded: AtomicU64::new(0),
        }
    }

    /// The same, on a machine that may be busy with other things.
    #[cfg(test)]
    pub(crate) fn patient(self) -> Self {
        Self { patience: Duration::from_mins(2), ..self }
    }

    /// Whether these are what such settings make of weights as their files hold them now.
    pub(crate) fn are_of(&self, settings: &EmbeddingSettings) -> bool {
        self.settings == *settings
            && self.batches.as_ref().is_none_or(|batches| batches.embedder().is_current())
            && self.reranker.as_ref().is_none_or(Reranker::is_current)
    }

    /// Whether there are none.
    pub(crate) const fn is_empty(&self) -> bool {
        self.batches.is_none() && self.reranker.is_none()
    }

    /// The model whose vectors entries have, when there is one.
    pub fn model(&self) -> Option<&str> {
        self.batches.as_ref().map(|batches| batches.embedder().model())
    }

    /// The vector of a query; `None` without a model.
    ///
    /// # Errors
    /// When it is not to be had now.
    pub(crate) async fn of_query(&self, query: &str) -> Result<Option<Arc<[f32]>>, Error> {
        let Some(batches) = &self.batches else { return Ok(None) };
        // It means nothing, and some endpoints refuse it, with all that was asked in the same batch.
        if query.trim().is_empty() {
            return Ok(None);
        }
        let query = query.to_owned();
        if let Some(vector) = self.queries.get(&query, Instant::now()) {
            return Ok(Some(vector));
        }
        let asked = tokio::time::timeout(self.patience, batches.embed_query(query.clone())).await;
        let vector: Arc<[f32]> = self.noted(asked.unwrap_or(Err(Error::Late(self.patience))))?.into();
        self.queries.put(query, vector.clone(), Instant::now());
        Ok(Some(vector))
    }

    /// The vectors of the texts of entries, in order.
    ///
    /// # Errors
    /// When they are not to be had now, or some text is refused.
    pub(crate) async fn of_texts(&self, texts: Vec<String>) -> Result<Vec<Vec<f32>>, Error> {
        let Some(batches) = &self.batches else { return Err(Error::Closed) };
        let vectors = self.noted(batches.embed(texts).await)?;
        self.embedded.fetch_add(vectors.len() as u64, Ordering::Relaxed);
        Ok(vectors)
    }

    /// Sees whether it makes vectors now, of whatever text.
    ///
    /// # Errors
    /// When it does not.
    pub(crate) async fn answers(&self) -> Result<(), Error> {
        let Some(batches) = &self.batches else { return Err(Error::Closed) };
        self.noted(batches.embed(vec![WORD.to_owned()]).await).map(drop)
    }

    /// How many of the best of a search are looked at once more; 0 without a model for it.
    pub(crate) fn candidates(&self) -> usize {
        self.reranker.as_ref().map_or(0, Reranker::candidates)
    }

    /// How well each text answers a query, from 0 to 1, in order; `None` without a model for it.
    ///
    /// # Errors
    /// When the model cannot be run, or not in time.
    pub(crate) async fn judge(&self, query: &str, texts: Vec<String>) -> Result<Option<Vec<f32>>, Error> {
        let Some(reranker) = &self.reranker else { return Ok(None) };
        let asked = tokio::time::timeout(self.patience, reranker.scores(query.to_owned(), texts)).await;
        self.noted(asked.unwrap_or(Err(Error::Late(self.patience)))).map(Some)
    }

    /// Remembers how it went, and logs the first of several failures.
    fn noted<T>(&self, result: Result<T, Error>) -> Result<T, Error> {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        match &result {
            Ok(_) => {
                if failure.take().is_some() {
                    tracing::info!("the neural model works again");
                }
            }
            Err(error) => {
                self.failures.fetch_add(1, Ordering::Relaxed);
                if failure.replace(error.to_string()).is_none() {
                    tracing::warn!(%error, "the neural model fails; search goes on without it");
                }
            }
        }
        drop(failure);
        result
    }

    /// Why it failed last, unless it has worked since.
    pub(crate) fn failure(&self) -> Option<String> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Calls that failed.
    pub(crate) fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// Texts of entries that got a vector.
    pub(crate) fn embedded(&self) -> u64 {
        self.embedded.load(Ordering::Relaxed)
    }

    /// Puts other limits into force before the endpoint.
    pub(crate) fn take_resilience(&self, resilience: &Resilience) {
        let guarded = self.batches.as_ref().and_then(|batches| batches.embedder().guarded());
        if let Some(guarded) = guarded {
            guarded.set(resilience);
        }
    }

    /// The state of the circuit breaker before the endpoint, when there is one.
    pub(crate) fn circuit_breaker(&self) -> Option<State> {
        self.batches.as_ref().and_then(|batches| batches.embedder().circuit_breaker())
    }
}
