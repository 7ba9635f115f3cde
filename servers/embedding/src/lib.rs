//! Neural vectors of texts, for those who want more than the static ones: by an OpenAI-compatible endpoint, or by ONNX
//! weights on this machine. Both are opt-in; nothing is downloaded.
//!
//! [`Embedder`] is what there is to call; [`Batches`] gathers the texts of concurrent callers for it; [`Reranker`] looks at
//! the best hits of a search once more with a cross-encoder.
//!
//! This crate knows settings, HTTP and tensors. It must not know what is done with the vectors, nor MCP.

mod batches;
mod endpoint;
mod error;
mod onnx;
mod reranker;
mod weights;

pub use batches::Batches;
pub use endpoint::Endpoint;
pub use error::Error;
use mcp_system_config::{EmbeddingSettings, Lookup, Resilience};
use mcp_system_kit::Metrics;
use mcp_system_kit::breaker::State;
use mcp_system_kit::guarded::Guarded;
pub use onnx::Onnx;
pub use reranker::Reranker;
use std::sync::Arc;
pub use weights::stamps;

/// A way to make vectors.
#[derive(Debug)]
pub enum Embedder {
    /// A server that is asked over HTTP.
    Endpoint(Endpoint),
    /// Weights on this machine.
    Onnx(Onnx),
}

impl Embedder {
    /// The embedder of these settings; `None` when they name none. `environment` is asked for the endpoint's key.
    ///
    /// # Errors
    /// Says what cannot be used: two ways at once, a URL, a file.
    pub fn of(
        settings: &EmbeddingSettings,
        resilience: &Resilience,
        environment: &Lookup<'_>,
    ) -> Result<Option<Self>, Error> {
        match (&settings.endpoint, &settings.onnx) {
            (None, None) => Ok(None),
            (Some(endpoint), None) => {
                Endpoint::new(endpoint, resilience, environment).map(Self::Endpoint).map(Some)
            }
            (None, Some(onnx)) => Onnx::load(onnx).map(Self::Onnx).map(Some),
            (Some(_), Some(_)) => Err(Error::Setting(
                "embeddings names both an endpoint and onnx weights; keep one of them".into(),
            )),
        }
    }

    /// Has an endpoint's calls, and the state of its breaker, shown in these metrics from now on.
    #[must_use]
    pub fn measured(mut self, resilience: &Resilience, metrics: &Metrics) -> Self {
        if let Self::Endpoint(endpoint) = &mut self {
            endpoint.measure(resilience, metrics);
        }
        self
    }

    /// What stands before an endpoint: a server whose settings change puts them into force there. Weights have none.
    pub const fn guarded(&self) -> Option<&Arc<Guarded>> {
        match self {
            Self::Endpoint(endpoint) => Some(endpoint.guarded()),
            Self::Onnx(_) => None,
        }
    }

    /// The model's name: vectors of different names do not compare.
    pub fn model(&self) -> &str {
        match self {
            Self::Endpoint(endpoint) => endpoint.model(),
            Self::Onnx(onnx) => onnx.model(),
        }
    }

    /// Whether it is what its settings would make now: files of weights hold what was read of them, or are gone.
    pub fn is_current(&self) -> bool {
        match self {
            Self::Endpoint(_) => true,
            Self::Onnx(onnx) => onnx.is_current(),
        }
    }

    /// The state of the circuit breaker before an endpoint; weights have none.
    pub fn circuit_breaker(&self) -> Option<State> {
        match self {
            Self::Endpoint(endpoint) => Some(endpoint.circuit_breaker()),
            Self::Onnx(_) => None,
        }
    }

    /// The vector of each text, in order, of length one.
    ///
    /// # Errors
    /// When the endpoint does not answer as it should, or the weights cannot be run. There are no partial answers.
    pub async fn embed(&self, texts: Vec<String>) -> Result<Vec<Vec<f32>>, Error> {
        let count = texts.len();
        let vectors = match self {
            Self::Endpoint(endpoint) => endpoint.embed(texts).await?,
            Self::Onnx(onnx) => onnx.embed(texts).await?,
        };
        let width = vectors.first().map_or(0, Vec::len);
        let sound =
            |vector: &Vec<f32>| vector.len() == width && vector.iter().all(|number| number.is_finite());
        if vectors.len() != count || !vectors.iter().all(sound) {
            return Err(Error::Answer(format!(
                "the model answered {} vectors for {count} texts, or vectors of different lengths",
                vectors.len()
            )));
        }
        Ok(vectors.into_iter().map(unit).collect())
    }
}

/// The same direction at length one; zeros stay zeros.
fn unit(mut vector: Vec<f32>) -> Vec<f32> {
    let length = vector.iter().map(|number| number * number).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
    for number in &mut vector {
        *number /= length;
    }
    vector
}
