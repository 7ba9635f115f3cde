//! Sentence encoders of the BERT family as ONNX weights, such as all-MiniLM-L6-v2: tokens in, the mean of the last layer
//! out, of length one.

use crate::Error;
use crate::weights::Weights;
use mcp_system_config::OnnxEmbeddings;
use mcp_system_retrieval::token_ids;
use rten::{Model, ModelOptions, NodeId, RunOptions, ThreadPool, Value, ValueOrView};
use rten_tensor::NdTensor;
use std::path::Path;
use std::sync::Arc;

/// What BERT's vocabulary puts at the beginning and after each text.
const BEGIN: i32 = 101;
const END: i32 = 102;
/// Tokens of one text, marks included: what models of this family were trained with.
const MOST_TOKENS: usize = 256;
/// Tokens that are run at once, padding included: this many keep the working memory at some tens of megabytes.
const TOKENS_AT_ONCE: usize = 4096;

/// Weights that make vectors.
#[derive(Debug)]
pub struct Onnx {
    network: Arc<Network>,
    model: String,
}

impl Onnx {
    /// Loads the weights.
    ///
    /// # Errors
    /// Names the file, and what cannot be used about it.
    pub fn load(settings: &OnnxEmbeddings) -> Result<Self, Error> {
        let network = Network::load(Path::new(&settings.path))?;
        let model = format!("onnx:{}", network.weights.digest());
        Ok(Self { network: Arc::new(network), model })
    }

    pub(crate) fn model(&self) -> &str {
        &self.model
    }

    pub(crate) fn is_current(&self) -> bool {
        self.network.weights.are_current()
    }

    pub(crate) async fn embed(&self, texts: Vec<String>) -> Result<Vec<Vec<f32>>, Error> {
        let network = self.network.clone();
        on_a_thread(move || {
            let sequences: Vec<Sequence> = texts.iter().map(|text| Sequence::of(text)).collect();
            network.in_parts(&sequences, pooled)
        })
        .await
    }
}

/// Computing takes milliseconds: it must not hold up what else the server does.
pub(crate) async fn on_a_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Error::Model(error.to_string()))?
}

/// Tokens as a model takes them: what each is, and which text it belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sequence {
    ids: Vec<i32>,
    texts: Vec<i32>,
}

impl Sequence {
    /// One text.
    pub(crate) fn of(text: &str) -> Self {
        let mut sequence = Self { ids: vec![BEGIN], texts: vec![0] };
        sequence.push(text, 0, MOST_TOKENS - 2);
        sequence
    }

    /// A query and a text that may answer it; a long text is cut, a query that fills everything too.
    pub(crate) fn pair(query: &str, text: &str) -> Self {
        let mut sequence = Self::default();
        sequence.ids.push(BEGIN);
        sequence.texts.push(0);
        sequence.push(query, 0, MOST_TOKENS / 2);
        let left = MOST_TOKENS - 1 - sequence.ids.len();
        sequence.push(text, 1, left);
        sequence
    }

    fn push(&mut self, text: &str, number: i32, most: usize) {
        self.ids.extend(token_ids(text).into_iter().take(most).map(i32::from).chain([END]));
        self.texts.resize(self.ids.len(), number);
    }
}

/// A model and the names of what goes in and comes out.
pub(crate) struct Network {
    model: Model,
    inputs: Vec<(NodeId, Input)>,
    output: NodeId,
    pool: Arc<ThreadPool>,
    /// Where it comes from.
    pub(crate) weights: Weights,
}

impl std::fmt::Debug for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Network").field("weights", &self.weights).finish_non_exhaustive()
    }
}

#[derive(Clone, Copy, Debug)]
enum Input {
    Ids,
    Mask,
    Texts,
}

/// What a model answered for some sequences, padded to one length: `[sequence][token][number]`, or without tokens.
pub(crate) struct Output {
    shape: Vec<usize>,
    numbers: Vec<f32>,
    width: usize,
}

impl Network {
    pub(crate) fn load(path: &Path) -> Result<Self, Error> {
        let unusable =
            |what: String| Error::Setting(format!("the weights {} cannot be used: {what}", path.display()));
        let (weights, bytes) = Weights::read(path).map_err(|error| unusable(error.to_string()))?;
        let model = ModelOptions::with_all_ops()
            .load(bytes)
            .map_err(|error| unusable(format!("no ONNX model: {error}")))?;
        let mut inputs = Vec::new();
        for &id in model.input_ids() {
            let info = model.node_info(id);
            let name = info.as_ref().and_then(rten::NodeInfo::name).unwrap_or_default();
            let input = match name {
                "input_ids" => Input::Ids,
                "attention_mask" => Input::Mask,
                "token_type_ids" => Input::Texts,
                other => {
                    return Err(unusable(format!(
                        "it asks for {other:?}; a text encoder asks for input_ids, attention_mask and token_type_ids"
                    )));
                }
            };
            inputs.push((id, input));
        }
        let output = *model.output_ids().first().ok_or_else(|| unusable("it has no output".into()))?;
        // One thread: requests are what is done side by side here.
        Ok(Self { model, inputs, output, pool: Arc::new(ThreadPool::with_num_threads(1)), weights })
    }

    /// Runs all sequences, those of like length together, and reads each one's result out of the output.
    pub(crate) fn in_parts<T>(
        &self,
        sequences: &[Sequence],
        read: impl Fn(&Output, usize, usize) -> Result<T, Error>,
    ) -> Result<Vec<T>, Error> {
        let mut order: Vec<usize> = (0..sequences.len()).collect();
        order.sort_by_key(|&index| sequences[index].ids.len());
        let mut results: Vec<Option<T>> = sequences.iter().map(|_| None).collect();
        let mut rest = order.as_slice();
        while !rest.is_empty() {
            let mut count = 1;
            // Sorted: the last of a part is its longest.
            while count < rest.len() && (count + 1) * sequences[rest[count]].ids.len() <= TOKENS_AT_ONCE {
                count += 1;
            }
            let (part, later) = rest.split_at(count);
            let output = self.run(&part.iter().map(|&index| &sequences[index]).collect::<Vec<_>>())?;
            for (row, &index) in part.iter().enumerate() {
                results[index] = Some(read(&output, row, sequences[index].ids.len())?);
            }
            rest = later;
        }
        results
            .into_iter()
            .collect::<Option<Vec<T>>>()
            .ok_or_else(|| Error::Model("a result is missing".into()))
    }

    fn run(&self, sequences: &[&Sequence]) -> Result<Output, Error> {
        let width = sequences.iter().map(|sequence| sequence.ids.len()).max().unwrap_or(0);
        let tensor = |numbers: &dyn Fn(&Sequence) -> Vec<i32>| {
            let mut padded = Vec::with_capacity(sequences.len() * width);
            for sequence in sequences {
                let end = padded.len() + width;
                padded.extend(numbers(sequence));
                padded.resize(end, 0);
            }
            NdTensor::from_data([sequences.len(), width], padded)
        };
        let inputs: Vec<(NodeId, ValueOrView)> = self
            .inputs
            .iter()
            .map(|&(id, input)| {
                let tensor = match input {
                    Input::Ids => tensor(&|sequence| sequence.ids.clone()),
                    Input::Mask => tensor(&|sequence| vec![1; sequence.ids.len()]),
                    Input::Texts => tensor(&|sequence| sequence.texts.clone()),
                };
                (id, ValueOrView::from(Value::from(tensor)))
            })
            .collect();
        let options = RunOptions::default().with_thread_pool(Some(self.pool.clone()));
        let failed = |error: &dyn std::fmt::Display| Error::Model(error.to_string());
        let mut outputs =
            self.model.run(inputs, &[self.output], Some(options)).map_err(|error| failed(&error))?;
        let value = outputs.pop().ok_or_else(|| Error::Model("it answered nothing".into()))?;
        let tensor: rten_tensor::Tensor<f32> =
            value.try_into().map_err(|_| Error::Model("it answered no numbers".into()))?;
        Ok(Output { shape: rten_tensor::Layout::shape(&tensor).to_vec(), numbers: tensor.into_data(), width })
    }
}

impl Output {
    /// The numbers of one sequence: of each token, or of the whole.
    pub(crate) fn row(&self, row: usize) -> Result<&[f32], Error> {
        let size: usize = self.shape.iter().skip(1).product();
        self.numbers
            .get(row * size..(row + 1) * size)
            .filter(|numbers| !numbers.is_empty())
            .ok_or_else(|| Error::Model(format!("its answer has the shape {:?}", self.shape)))
    }
}

/// The sum of a sequence's own tokens, which points where their mean does. Some exports take it themselves.
fn pooled(output: &Output, row: usize, tokens: usize) -> Result<Vec<f32>, Error> {
    let numbers = output.row(row)?;
    let vector = match output.shape.as_slice() {
        [_, _] => numbers.to_vec(),
        [_, width, size] if *width == output.width => {
            let mut sum = vec![0.0; *size];
            for token in numbers.chunks_exact(*size).take(tokens) {
                for (sum, number) in sum.iter_mut().zip(token) {
                    *sum += number;
                }
            }
            sum
        }
        other => {
            return Err(Error::Model(format!(
                "its answer has the shape {other:?}; it is no sentence encoder"
            )));
        }
    };
    Ok(vector)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn texts_are_marked_as_the_models_expect() {
        let sequence = Sequence::pair("hello", "world");
        assert_eq!(sequence.ids, [101, 7592, 102, 2088, 102]);
        assert_eq!(sequence.texts, [0, 0, 0, 1, 1]);
        assert_eq!(Sequence::of("").ids, [101, 102]);
    }

    #[test]
    fn weights_that_are_none_are_named() {
        let missing = Network::load(Path::new("nowhere/model.onnx")).expect_err("no file").to_string();
        assert!(missing.contains("nowhere/model.onnx"), "{missing}");
        let other = Network::load(Path::new("Cargo.toml")).expect_err("no model").to_string();
        assert!(other.contains("Cargo.toml"), "{other}");
    }

    proptest! {
        #[test]
        fn no_text_makes_a_sequence_too_long(query in ".{0,2000}", text in ".{0,4000}") {
            for sequence in [Sequence::of(&text), Sequence::pair(&query, &text)] {
                prop_assert!(sequence.ids.len() <= MOST_TOKENS);
                prop_assert_eq!(sequence.ids.len(), sequence.texts.len());
                prop_assert_eq!(sequence.ids.last(), Some(&END));
            }
        }
    }
}
