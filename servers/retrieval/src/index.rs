//! The index of one scope: what was analysed, found again by a query.

mod best;
mod search;

use crate::analysis::Analysis;
use crate::lexical::{Lexical, MOST_SLOTS};
use crate::table::{DIMENSIONS, HEAD};
use crate::vectors::{Rows, quantised};
use crate::wordpiece::Token;
use rustc_hash::FxHashMap;
pub use search::{Hit, Parts, Query};

/// What was removed is forgotten for good when it is this much, and as much as what is left.
const LEAST_GARBAGE: usize = 256;

/// No slot.
const NONE: u32 = u32::MAX;

/// The entries of one scope, each with a key, attributes `A`, and perhaps a group (a conversation) in which those added
/// after each other are neighbours.
///
/// Some 350 bytes an entry of a sentence or two. Search reads a quarter of each vector, and all of the best.
#[derive(Debug)]
pub struct Index<A> {
    slots: FxHashMap<u64, u32>,
    keys: Vec<u64>,
    /// `None`: removed.
    attributes: Vec<Option<A>>,
    /// Whether each slot has attributes.
    present: Vec<bool>,
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
            present: Vec::new(),
            before: Vec::new(),
            after: Vec::new(),
            tails: FxHashMap::default(),
            groups: Vec::new(),
            lexical: Lexical::default(),
            vectors: Rows::new(DIMENSIONS, HEAD),
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
            + self.present.capacity()
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
        self.present.push(true);
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

    /// Gives an entry that is there another `dense` vector; see [`Self::insert`].
    pub fn set_dense(&mut self, key: u64, dense: &[f32]) {
        let Some(&slot) = self.slots.get(&key) else { return };
        let count = self.keys.len();
        let rows = self.dense.get_or_insert_with(|| blank_dense(dense, count));
        rows.set(slot as usize, &quantised(dense));
    }

    /// Takes the `dense` vectors of all entries away: others, of another length even, may come.
    pub fn forget_dense(&mut self) {
        self.dense = None;
    }

    /// Removes an entry; tells whether there was one.
    pub fn remove(&mut self, key: u64) -> bool {
        let Some(slot) = self.slots.remove(&key) else { return false };
        self.forget(slot);
        self.compact_if_worth_it();
        true
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
        self.present[slot as usize] = false;
        for token in distinct(self.tokens(slot)) {
            if let Some(having) = self.having.get_mut(&token) {
                *having = having.saturating_sub(1);
            }
        }
    }

    fn push_dense(&mut self, slot: u32, vector: Option<&[f32]>) {
        if let (None, Some(vector)) = (&self.dense, vector) {
            self.dense = Some(blank_dense(vector, slot as usize));
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
        let mut vectors = self.vectors.emptied();
        let mut dense = self.dense.as_ref().map(Rows::emptied);
        for slot in (0..new.len()).filter(|slot| new[*slot].is_some()) {
            tokens.extend_from_slice(self.tokens(to_slot(slot)));
            ends.push(tokens.len());
            vectors.push(&self.vectors.get(slot));
            if let (Some(dense), Some(old)) = (&mut dense, &self.dense) {
                dense.push(&old.get(slot));
            }
        }
        (self.tokens, self.ends, self.vectors, self.dense) = (tokens, ends, vectors, dense);
        self.lexical.renumber(&new);
        keep(&mut self.keys, &new);
        keep(&mut self.groups, &new);
        keep(&mut self.before, &new);
        keep(&mut self.after, &new);
        keep(&mut self.attributes, &new);
        keep(&mut self.present, &new);
        let links = self.before.iter_mut().chain(&mut self.after).chain(self.tails.values_mut());
        links.chain(self.slots.values_mut()).for_each(|slot| *slot = renumbered(*slot));
        self.having.retain(|_, having| *having > 0);
    }
}

/// So many entries without a vector, where this is the first.
fn blank_dense(first: &[f32], count: usize) -> Rows {
    // Of a neural vector no number tells more than another: half of them were measured to find less.
    Rows::blank(first.len(), first.len(), count)
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
