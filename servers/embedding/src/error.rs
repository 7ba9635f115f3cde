//! What can go wrong.

use std::time::Duration;

/// Why there are no vectors. It can be shared by all whose texts were in one batch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The settings cannot be used.
    #[error("{0}")]
    Setting(String),
    /// The endpoint could not be reached, or answered with an error.
    #[error("the embeddings endpoint failed: {0}")]
    Endpoint(String),
    /// The endpoint failed so often that it is left alone for now.
    #[error("the embeddings endpoint failed repeatedly; it is asked again in {} s", .0.as_secs() + 1)]
    Open(Duration),
    /// Too many calls to it are under way.
    #[error(
        "the embeddings endpoint is busy with {0} calls, which is the limit (resilience.bulkhead.maxConcurrentCalls)"
    )]
    Full(u32),
    /// It did not answer in time.
    #[error("the embeddings endpoint did not answer within {} s", .0.as_secs())]
    Late(Duration),
    /// What was answered is not what was asked for.
    #[error("the embeddings cannot be used: {0}")]
    Answer(String),
    /// The weights cannot be run.
    #[error("the ONNX model failed: {0}")]
    Model(String),
    /// The server is about to end.
    #[error("no vectors are made any more: the server is about to end")]
    Closed,
}

impl Error {
    /// Whether the same call may go well a little later.
    pub const fn passing(&self) -> bool {
        matches!(self, Self::Endpoint(_) | Self::Open(_) | Self::Full(_) | Self::Late(_))
    }
}
