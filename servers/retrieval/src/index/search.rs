//! One search: all entries are looked at briefly, the best of them closely, and then what stands around these.
//!
//! 1. Each entry's words are scored, and the first numbers of its vector compared; of the best, [`GUESSED`] times as many
//!    as are needed, the whole vectors are.
//! 2. The best [`CLOSE`] of these get the close look (`soft`).
//! 3. The entries around each take part in each other's scores, the best first; the search ends where nothing that is left
//!    could still be among the hits.

use super::best::{best_of, greatest_of, of};
use super::{Index, NONE, distinct};
use crate::analysis::Analysis;
use crate::fusion::{self, Best, REACH, Weights};
use crate::soft::{self, Weighted};
use crate::vectors::{Probe, Rows, quantised};
use crate::wordpiece::Token;
use std::ops::Range;

/// Entries that get the close look.
const CLOSE: usize = 200;
/// By words and vectors alone, those that fit less than this beside the best, times the least weight, are not worth it. With the
/// memory's own weights that makes 0.42: of the hits of LoCoMo's questions, whose answers are hard to tell, hardly one is
/// lost, and queries with one clear answer need half as many close looks.
const WORTH: f32 = 0.45;
/// The same for guesses, which are a little wrong.
const WORTH_GUESSED: f32 = 0.43;
/// For each hit that is wanted, entries that are worth it in any case.
const FEWEST: usize = 2;
/// For each that gets the close look, entries that are compared as they are: so many make up for what guesses get wrong.
const GUESSED: usize = 2;
/// An entry that shares no word with the query must be this much like it, or stand beside one that is.
const LEAST_COSINE: f32 = 0.25;

/// What to look for.
#[derive(Clone, Debug)]
pub struct Query {
    analysis: Analysis,
    /// The most hits. Default 10.
    pub limit: usize,
    /// The least that the caller makes of an entry's attributes, from 0 to 1: what fits much less than others may come before
    /// them by its weight. Default 1.
    pub least_weight: f32,
    /// The query's vector by the model whose vectors the entries have; without one they are not compared.
    pub dense: Option<Vec<f32>>,
}

impl Query {
    /// Any text; a question serves as well as words.
    pub fn of(text: &str) -> Self {
        Self { analysis: Analysis::of(text, None), limit: 10, least_weight: 1.0, dense: None }
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

impl<A> Index<A> {
    /// The entries that fit a query best and that `accept` lets through, all where there is none, best first.
    ///
    /// `weigh` gives a factor for an entry's score, from 0 to 1: less than 1 for what is old or unimportant.
    pub fn search(
        &self,
        query: &Query,
        accept: Option<&dyn Fn(&A) -> bool>,
        weigh: impl Fn(&A) -> f32,
    ) -> Vec<Hit> {
        if query.limit == 0 || query.analysis.is_empty() || self.is_empty() {
            return Vec::new();
        }
        let accepted = |slot: u32| match accept {
            Some(accept) => self.attributes[slot as usize].as_ref().is_some_and(accept),
            // Attributes are large, and each would be waited for.
            None => self.present[slot as usize],
        };
        let dense = query.dense.as_deref().map(quantised);
        let mut sight = Sight::new(self, &query.analysis, dense.as_deref(), &accepted);
        let (close, least) = sight.close(query, &accepted);
        let tokens = self.weighted(&query.analysis.tokens);
        let by_own = sight.look_closely(&tokens, close);

        let mut best = Best::new(query.limit);
        let mut seen = vec![false; self.keys.len()];
        for (most, slot) in by_own {
            // Whatever stands around here and was not seen is no better than this entry, or got no close look.
            if !best.wants(most.max(least)) {
                break;
            }
            let around = sight.around(slot, FAR, &accepted);
            for place in around.within(REACH) {
                let slot = around.slots[place];
                if std::mem::replace(&mut seen[slot as usize], true) {
                    continue;
                }
                let score = fusion::own(around.own[place]) + around.surroundings(place);
                if score <= 0.0 || !best.wants(score) {
                    continue;
                }
                if let Some(attributes) = self.attributes[slot as usize].as_ref().filter(|_| accepted(slot)) {
                    let weighed = score * weigh(attributes);
                    if weighed > 0.0 && best.wants(weighed) {
                        best.push(weighed, slot);
                    }
                }
            }
        }
        let hit = |(score, slot): (f32, u32)| {
            let neighbours = sight.around(slot, REACH, &accepted).surroundings(FAR);
            let weight = self.attributes[slot as usize].as_ref().map_or(1.0, &weigh);
            let parts = Parts { neighbours, weight, ..sight.parts(slot) };
            Hit { key: self.keys[slot as usize], score, parts }
        };
        best.sorted().into_iter().map(hit).collect()
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
}

/// What the cosines of all entries might be, and the highest of those that are accepted, above 0 so that one may divide by it.
struct Guesses {
    all: Vec<f32>,
    most: f32,
}

impl Guesses {
    fn new(rows: &Rows, probe: &Probe<'_>, accepted: impl Fn(u32) -> bool) -> Self {
        let all = rows.guesses(probe);
        let most = greatest_of(all.len(), of(&all), accepted).max(f32::MIN_POSITIVE);
        Self { all, most }
    }
}

/// What one search knows of the entries.
struct Sight<'a, A> {
    index: &'a Index<A>,
    lexical: Vec<f32>,
    /// The query's static vector, and what its cosines might be.
    vector: Probe<'a>,
    guesses: Guesses,
    /// What the cosines of neural vectors are, where such a model takes part.
    dense: Option<(&'a Rows, Guesses)>,
    /// Of those that got the close look.
    soft: Vec<(u32, f32)>,
    /// What each entry has of itself, where that is known already; else no number.
    own: Vec<f32>,
    /// The best value of each kind; that of a kind that takes no part is 1.
    most: Weights,
    /// What each kind counts.
    plain: Weights,
    /// The same over its best value, once that is known.
    weights: Weights,
}

impl<'a, A> Sight<'a, A> {
    fn new(
        index: &'a Index<A>,
        analysis: &'a Analysis,
        dense: Option<&'a [i8]>,
        accepted: &impl Fn(u32) -> bool,
    ) -> Self {
        let vector = Probe::new(&analysis.vector);
        let guesses = Guesses::new(&index.vectors, &vector, accepted);
        let mut sight = Self {
            index,
            lexical: index.lexical.scores(&analysis.terms),
            guesses,
            vector,
            dense: None,
            soft: Vec::new(),
            own: vec![f32::NAN; index.keys.len()],
            most: Weights::EVEN,
            plain: Weights::STATIC,
            weights: Weights::STATIC,
        };
        let lexical = greatest_of(sight.lexical.len(), of(&sight.lexical), accepted);
        sight.most.lexical = lexical.max(f32::MIN_POSITIVE);
        if let Some((wanted, rows)) = dense.zip(index.dense.as_ref()) {
            let guesses = Guesses::new(rows, &Probe::new(wanted), accepted);
            // Where no entry has such a vector yet, the model takes no part.
            if guesses.most > f32::MIN_POSITIVE {
                // All numbers of such a vector were compared: it is no guess.
                sight.most.dense = guesses.most;
                sight.plain = Weights::DENSE;
                sight.dense = Some((rows, guesses));
            }
        }
        sight
    }

    /// The entries that get the close look; and what any other entry may have of itself at the most.
    fn close(&mut self, query: &Query, accepted: &impl Fn(u32) -> bool) -> (Vec<(Kinds, u32)>, f32) {
        let (most, fewest) = (CLOSE.max(query.limit), FEWEST * query.limit);
        let slots = self.lexical.len();
        let enough = fewest * GUESSED;
        let mut worth = WORTH_GUESSED * query.least_weight * greatest_of(slots, self.firsts(), accepted);
        if enough >= most * GUESSED {
            worth = 0.0;
        }
        let mut close;
        loop {
            let guessed = best_of(slots, self.firsts(), (worth, most * GUESSED), accepted);
            close = self.compared(guessed.into_iter().map(|(_, slot)| slot).collect());
            if close.len() > enough || worth <= 0.0 {
                break;
            }
            // Too few of them are related, which a guess does not tell: all of the best are compared.
            worth = 0.0;
        }
        // An entry with no word of the query that is not alike either.
        let evenly = self.evenly();
        let mut others = worth.max(LEAST_COSINE * (evenly.vector + evenly.dense));
        let least = least_worth(close.iter().map(|(first, ..)| *first), WORTH * query.least_weight, fewest);
        close.retain(|(first, ..)| *first >= least);
        others = others.max(least);
        if close.len() > most {
            close.select_nth_unstable_by(most, |a, b| fusion::order(&(a.0, a.2), &(b.0, b.2)));
            others = others.max(close[most].0);
            close.truncate(most);
        }
        self.weights = self.plain.over(self.most);
        let least = others * self.plain.lexical.max(self.plain.vector).max(self.plain.dense);
        (close.into_iter().map(|(_, kinds, slot)| (kinds, slot)).collect(), least)
    }

    /// What decides which entries are compared: words and vectors alike, each over its best, and vectors by guess.
    fn firsts(&self) -> impl Fn(Range<usize>, &mut [f32]) {
        let (lexical, vector) = (1.0 / self.most.lexical, 1.0 / self.guesses.most);
        #[inline(always)]
        move |slots, firsts| {
            let (words, guesses) = (&self.lexical[slots.clone()], &self.guesses.all[slots.clone()]);
            for ((first, words), guess) in firsts.iter_mut().zip(words).zip(guesses) {
                *first = words * lexical + positive(*guess) * vector;
            }
            if let Some((rows, meant)) = &self.dense {
                let dense = 1.0 / meant.most;
                for ((first, slot), guess) in firsts.iter_mut().zip(slots).zip(guesses) {
                    let blank = rows.is_blank(slot);
                    *first +=
                        if blank { positive(*guess) * vector } else { positive(meant.all[slot]) * dense };
                }
            }
        }
    }

    /// Those of some entries that are related to the query, with how they fit and the same in one number. The most alike of them
    /// counts as the most alike of all: hardly ever is that one not among the best by guess.
    fn compared(&mut self, slots: Vec<u32>) -> Vec<(f32, Kinds, u32)> {
        let mut kinds = vec![Kinds::default(); slots.len()];
        self.compare(&slots, &mut kinds);
        self.most.vector = greatest(kinds.iter().map(|kinds| kinds.vector));
        self.compare_dense(&slots, &mut kinds);
        let related = kinds.into_iter().zip(slots).filter(|(kinds, _)| kinds.is_related());
        let evenly = self.evenly();
        related.map(|(kinds, slot)| (kinds.weighted(&evenly), kinds, slot)).collect()
    }

    /// What words and vectors count where all count alike.
    fn evenly(&self) -> Weights {
        let dense = if self.dense.is_some() { 1.0 } else { 0.0 };
        Weights { dense, ..Weights::EVEN }.over(self.most)
    }

    /// These entries with what they have of themselves, the best first.
    fn look_closely(&mut self, tokens: &[Weighted], close: Vec<(Kinds, u32)>) -> Vec<(f32, u32)> {
        let soft = soft::scores(tokens, close.iter().map(|&(_, slot)| self.index.tokens(slot)));
        self.weights.soft /= greatest(soft.iter().copied());
        let mut by_own = Vec::with_capacity(close.len());
        for ((kinds, slot), soft) in close.into_iter().zip(soft) {
            let own = kinds.weighted(&self.weights) + soft * self.weights.soft;
            self.soft.push((slot, soft));
            self.own[slot as usize] = own;
            by_own.push((own, slot));
        }
        by_own.sort_unstable_by(fusion::order);
        by_own
    }

    /// How the words and static vectors of some entries fit, as they are.
    fn compare(&self, slots: &[u32], kinds: &mut [Kinds]) {
        for (kinds, slot) in kinds.iter_mut().zip(slots) {
            kinds.lexical = self.lexical[*slot as usize];
        }
        let mut next = kinds.iter_mut();
        self.index.vectors.cosines(slots.iter().copied(), &self.vector, |cosine| {
            if let Some(kinds) = next.next() {
                kinds.vector = cosine;
            }
        });
    }

    /// How their neural vectors fit. Where an entry has none, it is judged by its static one: vectors come a little after their
    /// entries, which must not be worse off until then.
    fn compare_dense(&self, slots: &[u32], kinds: &mut [Kinds]) {
        let Some((rows, meant)) = &self.dense else { return };
        for (kinds, slot) in kinds.iter_mut().zip(slots) {
            let slot = *slot as usize;
            let blank = rows.is_blank(slot);
            kinds.dense =
                if blank { kinds.vector / self.most.vector * self.most.dense } else { meant.all[slot] };
        }
    }

    /// How some entries fit that need not be among those that were compared: none is more alike than these.
    fn kinds(&self, slots: &[u32], kinds: &mut [Kinds]) {
        self.compare(slots, kinds);
        for kinds in &mut *kinds {
            kinds.vector = kinds.vector.min(self.most.vector);
        }
        self.compare_dense(slots, kinds);
    }

    /// Finds what these entries have of themselves, as far as it is not known; nothing where one is not accepted.
    fn find_own(&mut self, slots: &[u32], accepted: &impl Fn(u32) -> bool) {
        let (mut unknown, mut count) = ([0; 2 * FAR + 1], 0);
        for &slot in slots {
            if self.own[slot as usize].is_nan() {
                self.own[slot as usize] = 0.0;
                if accepted(slot) {
                    unknown[count] = slot;
                    count += 1;
                }
            }
        }
        let unknown = &unknown[..count];
        let mut kinds = [Kinds::default(); 2 * FAR + 1];
        self.kinds(unknown, &mut kinds[..count]);
        for (slot, kinds) in unknown.iter().zip(kinds) {
            self.own[*slot as usize] = kinds.weighted(&self.weights);
        }
    }

    /// Up to `reach` entries, at the most [`FAR`], on either side of one.
    fn around(&mut self, slot: u32, reach: usize, accepted: &impl Fn(u32) -> bool) -> Around {
        let mut around =
            Around { slots: [slot; 2 * FAR + 1], own: [0.0; 2 * FAR + 1], begin: FAR, end: FAR + 1 };
        for before in chain(slot, &self.index.before).take(reach) {
            around.begin -= 1;
            around.slots[around.begin] = before;
        }
        for after in chain(slot, &self.index.after).take(reach) {
            around.slots[around.end] = after;
            around.end += 1;
        }
        self.find_own(&around.slots[around.begin..around.end], accepted);
        for place in around.begin..around.end {
            around.own[place] = self.own[around.slots[place] as usize];
        }
        around
    }

    fn parts(&self, slot: u32) -> Parts {
        let mut kinds = [Kinds::default()];
        self.kinds(&[slot], &mut kinds);
        let [Kinds { lexical, vector, dense }] = kinds;
        let soft = self.soft.iter().find(|(looked_at, _)| *looked_at == slot).map_or(0.0, |(_, soft)| *soft);
        Parts {
            lexical: fusion::own(lexical * self.weights.lexical),
            vector: fusion::own(vector.max(0.0) * self.weights.vector),
            soft: fusion::own(soft * self.weights.soft),
            dense: fusion::own(dense.max(0.0) * self.weights.dense),
            ..Parts::default()
        }
    }
}

/// How an entry's words and vectors fit, before any weight.
#[derive(Clone, Copy, Default)]
struct Kinds {
    lexical: f32,
    vector: f32,
    dense: f32,
}

impl Kinds {
    fn weighted(self, weights: &Weights) -> f32 {
        self.lexical * weights.lexical
            + self.vector.max(0.0) * weights.vector
            + self.dense.max(0.0) * weights.dense
    }

    fn is_related(self) -> bool {
        self.lexical > 0.0 || self.vector >= LEAST_COSINE || self.dense >= LEAST_COSINE
    }
}

/// The most entries that are looked at around one: those that count for its neighbours.
const FAR: usize = 2 * REACH;

/// An entry and those around it in its group, in their order, with what each has of itself.
struct Around {
    slots: [u32; 2 * FAR + 1],
    own: [f32; 2 * FAR + 1],
    /// The places that are taken; the entry itself has the one in the middle.
    begin: usize,
    end: usize,
}

impl Around {
    /// The places that are this near to the middle.
    fn within(&self, reach: usize) -> Range<usize> {
        self.begin.max(FAR - reach)..self.end.min(FAR + reach + 1)
    }

    /// What the entries around a place add to its score.
    fn surroundings(&self, place: usize) -> f32 {
        let before = self.own[self.begin..place].iter().rev().take(REACH);
        let after = self.own[place + 1..self.end].iter().take(REACH);
        fusion::surroundings(self.own[place], before.copied(), after.copied())
    }
}

/// The slots on one side of one, nearest first.
fn chain(slot: u32, links: &[u32]) -> impl Iterator<Item = u32> {
    let next = |slot: &u32| Some(links[*slot as usize]).filter(|next| *next != NONE);
    std::iter::successors(next(&slot), next)
}

/// What is at least this share of the best score, or among so many of the best.
fn least_worth(scores: impl Iterator<Item = f32>, share: f32, fewest: usize) -> f32 {
    let mut scores: Vec<f32> = scores.collect();
    if scores.len() <= fewest {
        return 0.0;
    }
    let (_, fewest_least, _) = scores.select_nth_unstable_by(fewest, |a, b| b.total_cmp(a));
    fewest_least.min(share * scores.iter().copied().fold(0.0, f32::max))
}

/// Not `f32::max`, which minds what is no number.
#[inline]
const fn positive(score: f32) -> f32 {
    if score > 0.0 { score } else { 0.0 }
}

/// The greatest of some scores, above 0 so that one may divide by it.
fn greatest(scores: impl Iterator<Item = f32>) -> f32 {
    scores.fold(f32::MIN_POSITIVE, f32::max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::{DIMENSIONS, HEAD};
    use crate::words::Term;

    /// What has these words, and a vector of which this is the part that guesses are made by, and this the rest.
    fn analysis(terms: &[Term], head: i8, tail: i8) -> Analysis {
        let mut vector = [tail; DIMENSIONS];
        vector[..HEAD].fill(head);
        Analysis { tokens: Box::default(), terms: terms.iter().map(|term| (*term, 2)).collect(), vector }
    }

    #[test]
    fn what_has_a_word_of_the_query_is_found_beside_much_that_seems_alike_and_is_not() {
        let rare = analysis(&[1], 60, 30);
        let others =
            (0..20).map(|_| analysis(&[2], -40, 20)).chain((0..300).map(|_| analysis(&[3], 60, -15)));
        let mut index = Index::new();
        for (key, analysis) in (0..).zip([rare].into_iter().chain(others)) {
            index.insert(key, None, &analysis, None, ());
        }
        let query = Query { analysis: analysis(&[1, 2], 50, 50), ..Query::of("") };
        let hits = index.search(&query, None, |()| 1.0);
        assert_eq!((hits.len(), hits[0].key), (10, 0));
        assert!(hits.iter().all(|hit| hit.key <= 20));
    }

    #[test]
    fn where_few_are_worth_it_by_guess_what_is_guessed_wrongly_is_found() {
        let mut index = Index::new();
        index.insert(0, None, &analysis(&[2], 20, 30), None, ());
        for key in 1..=25 {
            index.insert(key, None, &analysis(&[2], 60, -8), None, ());
        }
        let query = Query { analysis: analysis(&[1], 50, 50), ..Query::of("") };
        assert_eq!(index.search(&query, None, |()| 1.0)[0].key, 0);
    }

    #[test]
    fn a_neighbour_is_no_more_alike_than_the_most_alike_though_it_was_guessed_to_be_nothing() {
        let mut index = Index::new();
        index.insert(0, Some(0), &analysis(&[1], -100, 0), None, ());
        index.insert(1, Some(0), &analysis(&[2], -1, 100), None, ());
        let query = Query { analysis: analysis(&[1], 1, 100), ..Query::of("") };
        let hits = index.search(&query, None, |()| 1.0);
        assert_eq!(hits.iter().map(|hit| hit.key).collect::<Vec<_>>(), [0, 1]);
        assert!(hits.iter().all(|hit| hit.score <= 1.0), "{hits:?}");
    }
}
