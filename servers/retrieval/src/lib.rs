//! Finding texts: by their words and by their meaning, in memory, without a model server.
//!
//! A text is analysed once ([`Analysis`]: its stems, its WordPiece tokens, one static vector). An [`Index`] holds
//! the analyses of one scope and ranks them for a [`Query`]:
//!
//! 1. `lexical` scores every entry by BM25, `vectors` by the cosine of the mean vectors, guessed first and then exact;
//! 2. `soft` looks closer at the best few hundred: how well is each token of the query met by some token of the
//!    entry (`near` knows which are near to which);
//! 3. `fusion` adds the three, each divided by its best value, and lets the entries around a good one, in the same
//!    conversation, take part.
//!
//! This crate knows text and numbers. It must not know where texts are kept, who asks, MCP, or tokio, and does no I/O:
//! the tables it needs are compiled in.

mod analysis;
mod fold;
mod fusion;
mod index;
mod lexical;
mod near;
mod part;
mod soft;
mod table;
mod vectors;
mod wordpiece;
mod words;

pub use analysis::Analysis;
pub use index::{Hit, Index, Parts, Query};
pub use wordpiece::{Vocabulary, token_ids};
