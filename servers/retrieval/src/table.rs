//! The static vectors of tokens, compiled in: what a text means without running a model.
//!
//! A text's vector is the mean of its tokens', each weighted by how seldom the token is in general (smooth inverse
//! frequency: Arora, Liang, Ma 2017, with a fixed prior, so that a stored vector never changes).

use crate::vectors::quantised;
use crate::wordpiece::Token;
use serde::Deserialize;
use std::sync::OnceLock;

/// Numbers in a vector.
pub(crate) const DIMENSIONS: usize = 128;
/// The first of them, which tell most: the table was made by principal components.
pub(crate) const HEAD: usize = 32;
/// How strongly frequent tokens are held back; the value of the paper.
const SMOOTHING: f32 = 1e-3;

/// A vector of 128 signed bytes. Its length means nothing; only its direction does.
pub(crate) type Vector = [i8; DIMENSIONS];

/// One row for each token.
#[derive(Debug)]
pub(crate) struct Table {
    rows: &'static [[i8; DIMENSIONS]],
    scales: Vec<f32>,
    /// What each token counts in a mean.
    weights: Vec<f32>,
}

#[derive(Deserialize)]
struct Header {
    embedding: Tensor,
    scale: Tensor,
    prior: Tensor,
}

#[derive(Deserialize)]
struct Tensor {
    data_offsets: (usize, usize),
}

impl Table {
    /// The table that is compiled in. Made at its first use, in a few milliseconds.
    pub(crate) fn built_in() -> &'static Self {
        static BUILT_IN: OnceLock<Table> = OnceLock::new();
        // A test reads it: a broken file cannot be shipped. Without rows, texts are found by their words alone.
        BUILT_IN.get_or_init(|| {
            Self::of(include_bytes!("../data/minilm-distilled-128-i8.safetensors"))
                .unwrap_or_else(Self::empty)
        })
    }

    /// Reads a safetensors file: eight bytes of length, a JSON header, then the numbers.
    fn of(file: &'static [u8]) -> Option<Self> {
        let (length, rest) = file.split_first_chunk::<8>()?;
        let (header, data) = rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
        let header: Header = serde_json::from_slice(header).ok()?;
        let bytes = |tensor: &Tensor| data.get(tensor.data_offsets.0..tensor.data_offsets.1);
        let (rows, rest) =
            bytemuck::cast_slice::<u8, i8>(bytes(&header.embedding)?).as_chunks::<DIMENSIONS>();
        let scales = floats(bytes(&header.scale)?);
        let weights: Vec<f32> =
            floats(bytes(&header.prior)?).into_iter().map(|prior| SMOOTHING / (SMOOTHING + prior)).collect();
        (rest.is_empty() && rows.len() == scales.len() && rows.len() == weights.len()).then_some(Self {
            rows,
            scales,
            weights,
        })
    }

    const fn empty() -> Self {
        Self { rows: &[], scales: Vec::new(), weights: Vec::new() }
    }

    /// Tokens that there are.
    pub(crate) const fn len(&self) -> usize {
        self.rows.len()
    }

    /// The vectors of all tokens.
    #[cfg(test)]
    pub(crate) const fn rows(&self) -> &'static [Vector] {
        self.rows
    }

    /// The weighted mean of tokens, as bytes; all zero for none.
    pub(crate) fn mean(&self, tokens: &[Token]) -> Vector {
        let mut sum = [0.0f32; DIMENSIONS];
        for &token in tokens {
            let token = usize::from(token);
            let Some(row) = self.rows.get(token) else { continue };
            let factor = self.scales[token] * self.weights[token];
            for (sum, byte) in sum.iter_mut().zip(row) {
                *sum += factor * f32::from(*byte);
            }
        }
        let mut mean = [0; DIMENSIONS];
        mean.copy_from_slice(&quantised(&sum));
        mean
    }
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|four| f32::from_le_bytes(*four)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wordpiece::token_ids;

    fn cosine(a: &str, b: &str) -> f32 {
        let table = Table::built_in();
        crate::vectors::cosine(&table.mean(&token_ids(a)), &table.mean(&token_ids(b)))
    }

    #[test]
    fn the_table_that_is_compiled_in_has_a_row_for_each_token() {
        let table = Table::built_in();
        assert_eq!(table.rows.len(), include_str!("../data/vocabulary.txt").lines().count());
        assert!(table.weights.iter().all(|weight| (0.0..=1.0).contains(weight)));
        assert!(table.rows.iter().flatten().all(|number| *number > i8::MIN), "dots wants none that is -128");
    }

    #[test]
    fn what_means_alike_lies_near() {
        assert!(cosine("the doctor cured her illness", "a physician healed the disease") > 0.5);
        assert!(
            cosine("a dog", "the puppy") > cosine("a dog", "the invoice"),
            "a puppy is nearer to a dog than an invoice"
        );
    }

    #[test]
    fn a_text_of_nothing_is_like_nothing() {
        assert!(cosine("", "a dog").abs() < f32::EPSILON);
    }
}
