//! The index of one scope: what was analysed, found again by a query.

use crate::analysis::Analysis;
use crate::fusion::{self, Best, REACH, Weights};
use crate::lexical::{Lexical, MOST_SLOTS};
use crate::soft::{self, Weighted};
use crate::table::DIMENSIONS;
use crate::vectors::{Rows, quantised};
use crate::wordpiece::Token;
use rustc_hash::FxHashMap;

/// Entries that get the close look.
const CLOSE: usize = 200;
/// An entry that shares no word with the query must be this much like it, or stand beside one that is.
const LEAST_COSINE: f32 = 0.25;
/// What was removed is forgotten for good when it is this much, and as much as what is left.
const LEAST_GARBAGE: usize = 256;

/// What to look for.
#[derive(Clone, Debug)]
pub struct Query {
    analysis: Analysis,
    /// The most hits. Default 10.
    pub limit: usize,
    /// The query's vector by the model whose vectors the entries have; without one they are not compared.
    pub dense: Option<Vec<f32>>,
}

impl Query {
    /// Any text; a question serves as well as words.
    pub fn of(text: &str) -> Self {
        Self { analysis: Analysis::of(text, None), limit: 10, dense: None }
    }
}

/// An entry that was found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hit {
    /// The entry's key.
    pub key: u64,
    /// How well it fits, from 0 to 1, times the weight that the caller gave it. Only scores of one search compare.
    pub score: f32,
    /// What the score is made of.
    pub parts: Parts,
}

/// The parts of a score. They add up to it, once multiplied by `weight`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Parts {
    /// The words that query and entry share (BM25).
    pub lexical: f32,
    /// How alike the two are as a whole (cosine of the static vectors).
    pub vector: f32,
    /// How well each word of the query is met by some word of the entry.
    pub soft: f32,
    /// How alike the two are to the neural model, when there is one.
    pub dense: f32,
    /// What the entries around it in the same group add.
    pub neighbours: f32,
    /// What the caller made of the entry's attributes; 1 changes nothing.
    pub weight: f32,
}

/// No slot.
const NONE: u32 = u32::MAX;

/// The entries of one scope, each with a key, attributes `A`, and perhaps a group (a conversation) in which those added
/// after each other are neighbours.
///
/// Some 350 bytes an entry of a sentence or two. Search looks at every entry: at 128 bytes each, exact is as quick as
/// approximate up to some hundred thousand.
#[derive(Debug)]
pub struct Index<A> {
    slots: FxHashMap<u64, u32>,
    keys: Vec<u64>,
    /// `None`: removed.
    attributes: Vec<Option<A>>,
    before: Vec<u32>,
    after: Vec<u32>,
    /// The last entry of each group.
    tails: FxHashMap<u64, u32>,
    groups: Vec<Option<u64>>,
    lexical: Lexical,
    vectors: Rows,
    dense: Option<Rows>,
    /// The tokens of all slots, one after the other, and where each slot's end.
    tokens: Vec<Token>,
    ends: Vec<usize>,
    /// In how many entries each token stands.
    having: FxHashMap<Token, u32>,
}

impl<A> Default for Index<A> {
    fn default() -> Self {
        Self::new()
    }
}

impl<A> Index<A> {
    /// An index of nothing.
    pub fn new() -> Self {
        Self {
            slots: FxHashMap::default(),
            keys: Vec::new(),
            attributes: Vec::new(),
            before: Vec::new(),
            after: Vec::new(),
            tails: FxHashMap::default(),
            groups: Vec::new(),
            lexical: Lexical::default(),
            vectors: Rows::of_width(DIMENSIONS),
            dense: None,
            tokens: Vec::new(),
            ends: Vec::new(),
            having: FxHashMap::default(),
        }
    }

    /// Entries.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Heap bytes, roughly; what attributes point to is not counted.
    pub fn bytes(&self) -> usize {
        self.slots.capacity() * 13
            + self.keys.capacity() * 8
            + self.attributes.capacity() * size_of::<Option<A>>()
            + (self.before.capacity() + self.after.capacity()) * 4
            + self.tails.capacity() * 13
            + self.groups.capacity() * size_of::<Option<u64>>()
            + self.lexical.heap_bytes()
            + self.vectors.heap_bytes()
            + self.dense.as_ref().map_or(0, Rows::heap_bytes)
            + self.tokens.capacity() * size_of::<Token>()
            + self.ends.capacity() * size_of::<usize>()
            + self.having.capacity() * 7
    }

    /// The attributes of an entry.
    pub fn get(&self, key: u64) -> Option<&A> {
        self.attributes[*self.slots.get(&key)? as usize].as_ref()
    }

    /// Adds an entry, or puts it in the place of the one with this key. Within a group it stands after those that were
    /// added before; one that is replaced keeps its place unless its group changes.
    ///
    /// The first `dense` vector fixes how many numbers such vectors have; one of another length counts as none.
    pub fn insert(
        &mut self,
        key: u64,
        group: Option<u64>,
        analysis: &Analysis,
        dense: Option<&[f32]>,
        attributes: A,
    ) {
        if self.keys.len() >= MOST_SLOTS as usize {
            self.compact();
        }
        let Some(slot) = u32::try_from(self.keys.len()).ok().filter(|slot| *slot < MOST_SLOTS) else {
            return;
        };
        let place = self.slots.get(&key).copied().map(|old| {
            let place = (self.groups[old as usize] == group).then(|| self.links(old));
            self.forget(old);
            place
        });
        self.keys.push(key);
        self.attributes.push(Some(attributes));
        self.groups.push(group);
        self.before.push(NONE);
        self.after.push(NONE);
        self.link(slot, group, place.flatten());
        self.lexical.push(&analysis.terms);
        self.vectors.push(&analysis.vector);
        self.push_dense(slot, dense);
        self.tokens.extend_from_slice(&analysis.tokens);
        self.ends.push(self.tokens.len());
        for token in distinct(&analysis.tokens) {
            *self.having.entry(token).or_default() += 1;
        }
        self.slots.insert(key, slot);
        self.compact_if_worth_it();
    }

    /// Removes an entry; tells whether there was one.
    pub fn remove(&mut self, key: u64) -> bool {
        let Some(slot) = self.slots.remove(&key) else { return false };
        self.forget(slot);
        self.compact_if_worth_it();
        true
    }

    /// The entries that fit a query best and that `accept` lets through, best first.
    ///
    /// `weigh` gives a factor for an entry's score, from 0 to 1: less than 1 for what is old or unimportant.
    pub fn search(&self, query: &Query, accept: impl Fn(&A) -> bool, weigh: impl Fn(&A) -> f32) -> Vec<Hit> {
        if query.limit == 0 || query.analysis.is_empty() || self.is_empty() {
            return Vec::new();
        }
        let accepted = |slot: usize| self.attributes[slot].as_ref().is_some_and(&accept);
        let (mut scores, close) = self.scores(query, &accepted);
        // These have a chance; what stands around them is all that is looked at from here on.
        let candidates = self.with_around(&close);
        scores.settle(&self.with_around(&candidates), &close, &accepted);
        let own = |slot: u32| scores.own[slot as usize];
        let around = |slot: u32| {
            let side = |links| chain(slot, links).map(own);
            fusion::surroundings(own(slot), side(&self.before), side(&self.after))
        };
        let mut best = Best::new(query.limit);
        for slot in candidates {
            let score = fusion::own(own(slot)) + around(slot);
            if score <= 0.0 || !best.wants(score) {
                continue;
            }
            if let Some(attributes) = self.attributes[slot as usize].as_ref().filter(|it| accept(it)) {
                let weighed = score * weigh(attributes);
                if weighed > 0.0 && best.wants(weighed) {
                    best.push(weighed, slot);
                }
            }
        }
        let hit = |(score, slot): (f32, u32)| {
            let weight = self.attributes[slot as usize].as_ref().map_or(1.0, &weigh);
            let parts = Parts { neighbours: around(slot), weight, ..scores.parts(slot) };
            Hit { key: self.keys[slot as usize], score, parts }
        };
        best.sorted().into_iter().map(hit).collect()
    }

    /// The scores of every slot, not yet settled, and the slots that got the close look.
    fn scores(&self, query: &Query, accepted: &impl Fn(usize) -> bool) -> (Scores, Vec<u32>) {
        let lexical = self.lexical.scores(&query.analysis.terms);
        let vector = self.vectors.cosines(&query.analysis.vector);
        let (most_lexical, most_vector) = (greatest(&lexical, accepted), greatest(&vector, accepted));
        let dense = self.dense_scores(query, &vector, most_vector, accepted);
        let plain = if dense.is_some() { Weights::DENSE } else { Weights::STATIC };
        let (dense, most_dense) = dense.unwrap_or((Vec::new(), 1.0));
        let weights = Weights {
            lexical: plain.lexical / most_lexical,
            vector: plain.vector / most_vector,
            dense: plain.dense / most_dense,
            soft: plain.soft,
        };
        // Words and vectors alike, each over its best, decide who gets the close look.
        let alike = |weight: f32, plain: f32| if plain > 0.0 { weight / plain } else { 0.0 };
        let first = Weights {
            lexical: alike(weights.lexical, plain.lexical),
            vector: alike(weights.vector, plain.vector),
            dense: alike(weights.dense, plain.dense),
            soft: 0.0,
        };
        let mut scores =
            Scores { own: Vec::new(), lexical, vector, dense, soft: FxHashMap::default(), weights };
        scores.own = scores.sums(first);
        let mut close = Best::new(CLOSE.max(query.limit));
        for (block, firsts) in scores.own.chunks(BLOCK).enumerate() {
            if !close.wants(highest(firsts)) {
                continue;
            }
            for (slot, &first) in (block * BLOCK..).zip(firsts) {
                if close.wants(first) && scores.is_related(slot) && accepted(slot) {
                    close.push(first, to_slot(slot));
                }
            }
        }
        let close: Vec<u32> = close.sorted().into_iter().map(|(_, slot)| slot).collect();
        let tokens = self.weighted(&query.analysis.tokens);
        let soft = soft::scores(&tokens, close.iter().map(|&slot| self.tokens(slot)));
        scores.weights.soft /= highest(&soft).max(f32::MIN_POSITIVE);
        scores.soft = close.iter().copied().zip(soft).collect();
        (scores, close)
    }

    /// The cosines with a query's neural vector, and the greatest of them; `None` without such a vector, or where no
    /// entry has one yet. An entry that has none is judged by its static vector instead: vectors come a
    /// little after their entries, which must not be worse off until then.
    fn dense_scores(
        &self,
        query: &Query,
        vector: &[f32],
        most_vector: f32,
        accepted: &impl Fn(usize) -> bool,
    ) -> Option<(Vec<f32>, f32)> {
        let (wanted, rows) = query.dense.as_ref().zip(self.dense.as_ref())?;
        let mut cosines = rows.cosines(&quantised(wanted));
        let most = greatest(&cosines, accepted);
        if most <= f32::MIN_POSITIVE {
            return None;
        }
        for (slot, cosine) in cosines.iter_mut().enumerate() {
            if rows.is_blank(slot) {
                *cosine = vector[slot] / most_vector * most;
            }
        }
        Some((cosines, most))
    }

    /// The tokens of a query, each once, weighted by how rare it is here. Squared: a rare word says more than its
    /// logarithm does.
    fn weighted(&self, tokens: &[Token]) -> Vec<Weighted> {
        #[allow(clippy::cast_precision_loss, reason = "a score, not an account")]
        let all = self.len() as f32;
        let mut weighted: Vec<Weighted> = distinct(tokens)
            .into_iter()
            .take(soft::MOST_TOKENS)
            .map(|token| {
                #[allow(clippy::cast_precision_loss, reason = "a score, not an account")]
                let having = self.having.get(&token).copied().unwrap_or(0) as f32;
                (token, (1.0 + (all - having + 0.5) / (having + 0.5)).ln().powi(2))
            })
            .collect();
        let sum: f32 = weighted.iter().map(|(_, weight)| weight).sum();
        for (_, weight) in &mut weighted {
            *weight /= sum.max(f32::MIN_POSITIVE);
        }
        weighted
    }

    /// These slots and those around them in their groups, each once.
    fn with_around(&self, slots: &[u32]) -> Vec<u32> {
        let mut seen = vec![0u64; self.keys.len().div_ceil(64)];
        let mut all = Vec::with_capacity(slots.len() * (1 + 2 * REACH));
        let around = |slot: u32| chain(slot, &self.before).chain(chain(slot, &self.after));
        for slot in slots.iter().flat_map(|&slot| std::iter::once(slot).chain(around(slot))) {
            let (word, bit) = (slot as usize / 64, 1 << (slot % 64));
            if seen[word] & bit == 0 {
                seen[word] |= bit;
                all.push(slot);
            }
        }
        all
    }

    fn tokens(&self, slot: u32) -> &[Token] {
        let slot = slot as usize;
        let begin = if slot == 0 { 0 } else { self.ends[slot - 1] };
        &self.tokens[begin..self.ends[slot]]
    }

    fn links(&self, slot: u32) -> (u32, u32) {
        (self.before[slot as usize], self.after[slot as usize])
    }

    /// Puts a slot between two others of its group, or at the group's end.
    fn link(&mut self, slot: u32, group: Option<u64>, place: Option<(u32, u32)>) {
        let Some(group) = group else { return };
        let (before, after) =
            place.unwrap_or_else(|| (self.tails.get(&group).copied().unwrap_or(NONE), NONE));
        self.before[slot as usize] = before;
        self.after[slot as usize] = after;
        if before != NONE {
            self.after[before as usize] = slot;
        }
        if after == NONE {
            self.tails.insert(group, slot);
        } else {
            self.before[after as usize] = slot;
        }
    }

    /// Takes a slot out of everything that is not found by its number; its number stays used.
    fn forget(&mut self, slot: u32) {
        let (before, after) = self.links(slot);
        if before != NONE {
            self.after[before as usize] = after;
        }
        if after != NONE {
            self.before[after as usize] = before;
        }
        if let Some(group) = self.groups[slot as usize].take()
            && after == NONE
        {
            if before == NONE {
                self.tails.remove(&group);
            } else {
                self.tails.insert(group, before);
            }
        }
        self.before[slot as usize] = NONE;
        self.after[slot as usize] = NONE;
        self.attributes[slot as usize] = None;
        for token in distinct(self.tokens(slot)) {
            if let Some(having) = self.having.get_mut(&token) {
                *having = having.saturating_sub(1);
            }
        }
    }

    fn push_dense(&mut self, slot: u32, vector: Option<&[f32]>) {
        if let (None, Some(vector)) = (&self.dense, vector) {
            let mut rows = Rows::of_width(vector.len());
            (0..slot).for_each(|_| rows.push(&[]));
            self.dense = Some(rows);
        }
        if let Some(rows) = &mut self.dense {
            rows.push(&vector.map(quantised).unwrap_or_default());
        }
    }

    fn compact_if_worth_it(&mut self) {
        let garbage = self.keys.len() - self.slots.len();
        if garbage > LEAST_GARBAGE && garbage > self.slots.len() {
            self.compact();
        }
    }

    /// Numbers the slots anew, so that removed ones take no room.
    fn compact(&mut self) {
        let mut next = 0;
        let new: Vec<Option<u32>> = self
            .attributes
            .iter()
            .map(|attributes| {
                attributes.is_some().then(|| {
                    next += 1;
                    next - 1
                })
            })
            .collect();
        let renumbered = |slot: u32| new.get(slot as usize).copied().flatten().unwrap_or(NONE);
        let mut tokens = Vec::new();
        let mut ends = Vec::with_capacity(self.slots.len());
        let mut vectors = Rows::of_width(DIMENSIONS);
        let mut dense = self.dense.as_ref().map(|rows| Rows::of_width(rows.width()));
        for slot in (0..new.len()).filter(|slot| new[*slot].is_some()) {
            tokens.extend_from_slice(self.tokens(to_slot(slot)));
            ends.push(tokens.len());
            vectors.push(self.vectors.get(slot));
            if let (Some(dense), Some(old)) = (&mut dense, &self.dense) {
                dense.push(old.get(slot));
            }
        }
        (self.tokens, self.ends, self.vectors, self.dense) = (tokens, ends, vectors, dense);
        self.lexical.renumber(&new);
        keep(&mut self.keys, &new);
        keep(&mut self.groups, &new);
        keep(&mut self.before, &new);
        keep(&mut self.after, &new);
        keep(&mut self.attributes, &new);
        let links = self.before.iter_mut().chain(&mut self.after).chain(self.tails.values_mut());
        links.chain(self.slots.values_mut()).for_each(|slot| *slot = renumbered(*slot));
        self.having.retain(|_, having| *having > 0);
    }
}

/// The scores of one search.
struct Scores {
    /// What each slot has of itself: words and meaning alike at first; all kinds, weighted, once settled.
    own: Vec<f32>,
    lexical: Vec<f32>,
    vector: Vec<f32>,
    /// Empty without a neural model.
    dense: Vec<f32>,
    /// Of those that got the close look.
    soft: FxHashMap<u32, f32>,
    /// What each kind counts, divided by its best value.
    weights: Weights,
}

impl Scores {
    /// The weighted sum of all kinds but the close look's, for every slot.
    fn sums(&self, weights: Weights) -> Vec<f32> {
        let sum =
            |(lexical, vector): (&f32, &f32)| lexical * weights.lexical + vector.max(0.0) * weights.vector;
        let mut sums: Vec<f32> = self.lexical.iter().zip(&self.vector).map(sum).collect();
        for (sum, dense) in sums.iter_mut().zip(&self.dense) {
            *sum += dense.max(0.0) * weights.dense;
        }
        sums
    }

    /// Settles what these slots have of themselves, which is nothing for those that are not accepted; all others are
    /// left as they are. `close` are those that got the close look.
    fn settle(&mut self, slots: &[u32], close: &[u32], accepted: &impl Fn(usize) -> bool) {
        let Weights { lexical, vector, dense, soft } = self.weights;
        for slot in slots.iter().map(|&slot| slot as usize) {
            self.own[slot] = if accepted(slot) {
                let plain = self.lexical[slot] * lexical + self.vector[slot].max(0.0) * vector;
                plain + self.dense.get(slot).map_or(0.0, |cosine| cosine.max(0.0) * dense)
            } else {
                0.0
            };
        }
        for slot in close {
            self.own[*slot as usize] += self.soft[slot] * soft;
        }
    }

    /// Whether an entry has anything to do with the query by itself.
    fn is_related(&self, slot: usize) -> bool {
        self.lexical[slot] > 0.0
            || self.vector[slot] >= LEAST_COSINE
            || self.dense.get(slot).is_some_and(|cosine| *cosine >= LEAST_COSINE)
    }

    fn parts(&self, slot: u32) -> Parts {
        let at = slot as usize;
        let dense = self.dense.get(at).map_or(0.0, |cosine| cosine.max(0.0));
        let soft = self.soft.get(&slot).copied().unwrap_or(0.0);
        Parts {
            lexical: fusion::own(self.lexical[at] * self.weights.lexical),
            vector: fusion::own(self.vector[at].max(0.0) * self.weights.vector),
            soft: fusion::own(soft * self.weights.soft),
            dense: fusion::own(dense * self.weights.dense),
            ..Parts::default()
        }
    }
}

/// Scores that are looked at together first: most hold none that is wanted.
const BLOCK: usize = 64;

/// The highest of some scores; 0 where none is above.
fn highest(scores: &[f32]) -> f32 {
    scores.iter().fold(0.0, |highest, &score| if score > highest { score } else { highest })
}

/// The greatest score among those that are accepted, which is asked only of those that would be it.
fn greatest(scores: &[f32], accepted: impl Fn(usize) -> bool) -> f32 {
    let mut greatest = f32::MIN_POSITIVE;
    for (block, scores) in scores.chunks(BLOCK).enumerate() {
        if highest(scores) <= greatest {
            continue;
        }
        for (slot, &score) in (block * BLOCK..).zip(scores) {
            if score > greatest && accepted(slot) {
                greatest = score;
            }
        }
    }
    greatest
}

/// The slots on one side of one, nearest first, as far as conversations reach.
fn chain(slot: u32, links: &[u32]) -> impl Iterator<Item = u32> {
    let next = |slot: &u32| Some(links[*slot as usize]).filter(|next| *next != NONE);
    std::iter::successors(next(&slot), next).take(REACH)
}

fn distinct(tokens: &[Token]) -> Vec<Token> {
    let mut distinct = tokens.to_vec();
    distinct.sort_unstable();
    distinct.dedup();
    distinct
}

fn keep<T>(values: &mut Vec<T>, new: &[Option<u32>]) {
    let mut kept = new.iter().map(Option::is_some);
    values.retain(|_| kept.next().unwrap_or(false));
}

/// Slots are below [`MOST_SLOTS`].
fn to_slot(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(NONE)
}
