//! What can go wrong while a system is looked at. That a server is not ready is none of it: that is a value.

use crate::child::stable;
use crate::kind::Kind;

/// Why a step could not be done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The API refuses the object for what stands in it, or for who asks.
    #[error("the API refuses {verb} of {kind} {name}: {message}")]
    Refused { verb: &'static str, kind: &'static str, name: String, message: String },
    /// Somebody else changed the object, or it is gone.
    #[error("{kind} {name} changed meanwhile: {message}")]
    Conflict { kind: &'static str, name: String, message: String },
    /// The namespace is being deleted.
    #[error("the namespace of {kind} {name} is being deleted")]
    NamespaceEnds { kind: &'static str, name: String },
    /// The API does not know the kind, or not any more.
    #[error("the API does not know {kind}")]
    UnknownKind { kind: &'static str },
    /// The API could not be reached, or failed.
    #[error("{verb} of {kind} {name} failed: {source}")]
    Api { verb: &'static str, kind: &'static str, name: String, source: Box<kube::Error> },
    /// The API took too long.
    #[error("{verb} of {kind} {name} took too long")]
    TooSlow { verb: &'static str, kind: &'static str, name: String },
    /// This process does not lead any more, so it must not write.
    #[error("this operator does not lead")]
    NotLeading,
}

impl Error {
    /// Sorts an error of the client.
    pub(crate) fn from_api(verb: &'static str, kind: Kind, name: &str, source: kube::Error) -> Self {
        Self::sorted(verb, kind.name(), name, source)
    }

    pub(crate) fn sorted(verb: &'static str, kind: &'static str, name: &str, source: kube::Error) -> Self {
        let name = name.to_owned();
        let kube::Error::Api(status) = &source else {
            return Self::Api { verb, kind, name, source: Box::new(source) };
        };
        let ends = status
            .details
            .iter()
            .flat_map(|details| &details.causes)
            .any(|cause| cause.reason == "NamespaceTerminating");
        match status.code {
            403 if ends => Self::NamespaceEnds { kind, name },
            403 if status.message.ends_with("custom resource definition is terminating") => {
                Self::UnknownKind { kind }
            }
            // That an object is not there has a reason; a path that is not served has none.
            404 if status.reason != "NotFound" => Self::UnknownKind { kind },
            404 | 409 => Self::Conflict { kind, name, message: status.message.clone() },
            400 | 403 | 405 | 413 | 415 | 422 => {
                Self::Refused { verb, kind, name, message: status.message.clone() }
            }
            _ => Self::Api { verb, kind, name, source: Box::new(source) },
        }
    }

    /// What a person is told of it, in words that stay the same as long as the reason does.
    pub(crate) fn sentence(&self) -> String {
        match self {
            Self::Refused { verb, kind, name, message } => {
                format!("the API refuses {verb} of {kind} {name}: {}", stable(message))
            }
            Self::Conflict { kind, name, message } => {
                format!("{kind} {name} changes again and again meanwhile: {}", stable(message))
            }
            Self::Api { verb, kind, name, source } => {
                let why = if let kube::Error::Api(status) = &**source {
                    stable(&status.message)
                } else {
                    "the log of the operator tells why".to_owned()
                };
                format!("{verb} of {kind} {name} fails: {why}")
            }
            Self::NamespaceEnds { .. }
            | Self::UnknownKind { .. }
            | Self::TooSlow { .. }
            | Self::NotLeading => self.to_string(),
        }
    }

    /// The label that metrics carry.
    pub(crate) const fn reason(&self) -> &'static str {
        match self {
            Self::Refused { .. } => "refused",
            Self::Conflict { .. } => "conflict",
            Self::NamespaceEnds { .. } => "namespace_ends",
            Self::UnknownKind { .. } => "unknown_kind",
            Self::Api { .. } => "api",
            Self::TooSlow { .. } => "too_slow",
            Self::NotLeading => "not_leading",
        }
    }
}
