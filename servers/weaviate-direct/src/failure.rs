//! Why a tool did nothing, in words that the model which called can act on.

use mcp_system_weaviate::{Error, Unusable};
use rmcp::model::{ContentBlock, IntoContents};

/// What a tool says instead of a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure(pub(crate) String);

impl IntoContents for Failure {
    fn into_contents(self) -> Vec<ContentBlock> {
        vec![ContentBlock::text(self.0)]
    }
}

impl From<Unusable> for Failure {
    fn from(Unusable(reason): Unusable) -> Self {
        Self(reason)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let text = error.to_string();
        match advice(&text) {
            Some(advice) => Self(format!("{text}. {advice}")),
            None => Self(text),
        }
    }
}

/// What helps against an error that Weaviate words in its own terms.
fn advice(message: &str) -> Option<&'static str> {
    const ADVICE: [(&[&str], &str); 7] = [
        (
            &["without vectorizer", "could not vectorize", "no vectorizer"],
            "Weaviate makes no vectors for this collection: give a vector, or set alpha to 0 to search by words alone",
        ),
        (
            &["vector lengths don't match", "vector dimensions", "vectors must have the same length"],
            "The vector needs as many numbers as those that the collection holds",
        ),
        (&["already exists"], "Leave the id out for a new one, or set replace_existing"),
        (&["tenant not found", "tenant does not exist"], "get_schema with include_tenants lists the tenants"),
        (&["tenant not active", "tenant is not active"], "The tenant must be activated in Weaviate first"),
        (
            &["requires an inverted index", "is not indexed", "Filtering by"],
            "The property's index must be enabled in the collection's definition",
        ),
        (&["target vector"], "get_schema lists the names of the collection's vectors"),
    ];
    let holds = |words: &[&str]| words.iter().any(|word| message.contains(word));
    ADVICE.iter().find(|(words, _)| holds(words)).map(|(_, advice)| *advice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weaviates_own_words_come_with_advice() {
        let error = Error::Query(
            "explorer: get class: vectorize params: VectorFromInput was called without vectorizer".into(),
        );
        let Failure(text) = error.into();
        assert!(text.contains("VectorFromInput") && text.contains("set alpha to 0"), "{text}");
        assert_eq!(advice("something new"), None);
    }
}
