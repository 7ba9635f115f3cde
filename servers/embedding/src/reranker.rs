//! A cross-encoder: it reads query and text together, which tells more than comparing two vectors and costs a run of the
//! model for each text. So it only sees the best few of a search.

use crate::Error;
use crate::onnx::{Network, Output, Sequence, on_a_thread};
use mcp_system_config::RerankSettings;
use std::path::Path;
use std::sync::Arc;

/// Weights that judge whether a text answers a query, such as ms-marco-MiniLM.
#[derive(Clone, Debug)]
pub struct Reranker {
    network: Arc<Network>,
    candidates: usize,
}

impl Reranker {
    /// Loads the weights.
    ///
    /// # Errors
    /// Names the file, and what cannot be used about it.
    pub fn load(settings: &RerankSettings) -> Result<Self, Error> {
        let network = Arc::new(Network::load(Path::new(&settings.path))?);
        Ok(Self { network, candidates: settings.candidates as usize })
    }

    /// Whether the file holds what was read of it, or is gone.
    pub fn is_current(&self) -> bool {
        self.network.weights.are_current()
    }

    /// How many of the best are worth looking at.
    pub const fn candidates(&self) -> usize {
        self.candidates
    }

    /// How well each text answers the query, from 0 to 1, in order.
    ///
    /// # Errors
    /// When the weights cannot be run, or are none of a cross-encoder.
    pub async fn scores(&self, query: String, texts: Vec<String>) -> Result<Vec<f32>, Error> {
        let network = self.network.clone();
        on_a_thread(move || {
            let pairs: Vec<Sequence> = texts.iter().map(|text| Sequence::pair(&query, text)).collect();
            network.in_parts(&pairs, judgement)
        })
        .await
    }
}

fn judgement(output: &Output, row: usize, _tokens: usize) -> Result<f32, Error> {
    match output.row(row)? {
        [logit] => Ok(1.0 / (1.0 + (-logit).exp())),
        numbers => Err(Error::Model(format!(
            "it answers {} numbers a pair; a cross-encoder answers one",
            numbers.len()
        ))),
    }
}
