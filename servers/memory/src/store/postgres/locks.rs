//! The numbers of the database's advisory locks: here together, so that no two are the same.

/// Servers that start at once bring the tables up to date one after the other.
pub(super) const MIGRATION: i64 = 0x6d63_706d_656d;
/// Of two restores, the later one waits to see what the earlier one has begun.
pub(super) const RESTORE: i64 = 0x6d63_7072_6573_746f;
/// The replica that has it gives vectors to the entries without one.
pub(super) const UNEMBEDDED: i64 = 0x6d63_7076_6563_746f;
/// The replica that has it tells Weaviate of vectors.
pub(super) const TELLING: i64 = 0x6d63_7074_656c_6c21;
