//! Why a call brought nothing, in words that tell what to do.

use std::time::Duration;

/// Why a call brought nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Nobody listens there: the call was not sent.
    #[error("Weaviate cannot be reached at {url} ({cause}); check that it runs and that the url is right")]
    NotConnected { url: String, cause: String },
    /// The call was sent, and no whole answer of its own came.
    #[error("Weaviate did not answer ({cause}); a write may have been carried out all the same")]
    Lost { cause: String },
    /// The time for the call is up.
    #[error(
        "Weaviate did not answer within {} ms; ask for less, or raise its timeout; a write may have been \
         carried out all the same", .0.as_millis()
    )]
    Late(Duration),
    /// It says that it cannot serve now; nothing was done.
    #[error("Weaviate is not ready or too busy ({status}): {message}; try again later")]
    Busy { status: u16, message: String },
    /// It failed so often that it is left alone for a while; the call was not sent.
    #[error(
        "Weaviate failed several times in a row and is left alone; the call was not made, try again in {} s",
        .0.as_secs().max(1)
    )]
    Open(Duration),
    /// Too many calls to it are under way; this one was not sent.
    #[error(
        "Weaviate is busy with {0} calls, which is the limit (resilience.bulkhead.maxConcurrentCalls); the call was not \
         made, try again in a moment"
    )]
    Full(u32),
    /// The key is missing or not enough.
    #[error("Weaviate refused the API key ({status}): {message}; give this server a key that may do this")]
    Refused { status: u16, message: String },
    /// There is nothing of that name or id.
    #[error("Weaviate has no such thing: {0}")]
    Missing(String),
    /// It understood the call and cannot do it.
    #[error("Weaviate answered with an error ({status}): {message}")]
    Failed { status: u16, message: String },
    /// A query failed; these are its messages.
    #[error("Weaviate could not carry out the query: {0}")]
    Query(String),
    /// The answer is larger than this client takes.
    #[error("Weaviate's answer has more than {limit} bytes; ask for fewer objects, properties or vectors")]
    TooLarge { limit: usize },
    /// The answer is none that Weaviate gives.
    #[error("the answer is not one of Weaviate ({0}); check the url")]
    Unreadable(String),
    /// This client cannot be used as it is set up.
    #[error("{0}")]
    Setting(String),
}

impl Error {
    /// Whether the database itself did not work, rather than the call.
    pub const fn is_outage(&self) -> bool {
        matches!(
            self,
            Self::NotConnected { .. }
                | Self::Lost { .. }
                | Self::Late(_)
                | Self::Busy { .. }
                | Self::Open(_)
                | Self::Full(_)
        )
    }

    /// Whether it is certain that nothing was done.
    pub(crate) const fn had_no_effect(&self) -> bool {
        matches!(self, Self::NotConnected { .. } | Self::Busy { .. })
    }
}
