//! A client of Weaviate: objects, schema and searches over REST and GraphQL.
//!
//! `connection` makes calls (key, deadline, repetition, circuit breaker), `schema` knows which collections and
//! properties there are, `filter` and `search` turn values into queries as pure functions, `objects` reads and
//! writes. Names that reach a query are names of the schema and texts are escaped by `literal`, so nothing that a
//! caller passes can change a query's form. The crate must not know MCP, nor what is kept in Weaviate.

mod connection;
mod error;
mod filter;
mod literal;
mod objects;
mod schema;
mod search;

pub use connection::{Connection, Weaviate};
pub use error::Error;
pub use filter::{Condition, Filter, Operator, PropertyPath, Unusable};
pub use objects::{Added, NewObject, Object, Order, Page, Sort, Vectors};
pub use schema::{Collection, DataType, Property, Schema};
pub use search::{
    Combination, Fusion, Hit, Hybrid, KeywordOperator, Metadata, NearVector, Nearness, Returned, Search,
};
