//! How the scores of one search become one order.
//!
//! Each kind of score is divided by its best value for the query and weighted. Then entries of one conversation take part
//! in each other's: an answer seldom repeats the words of its question, but it stands beside it. Rank fusion and larger
//! neural shares were measured worse; `docs/BENCHMARKS.md` has the figures.

/// What each kind of score counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Weights {
    pub(crate) lexical: f32,
    pub(crate) vector: f32,
    pub(crate) soft: f32,
    pub(crate) dense: f32,
}

impl Weights {
    /// Without a neural model.
    pub(crate) const STATIC: Self = Self { lexical: 0.3, vector: 0.2, soft: 0.5, dense: 0.0 };
    /// Beside a neural model, which leaves the static vector little to tell.
    pub(crate) const DENSE: Self = Self { lexical: 0.25, vector: 0.02, soft: 0.4, dense: 0.33 };
    /// All kinds alike.
    pub(crate) const EVEN: Self = Self { lexical: 1.0, vector: 1.0, soft: 1.0, dense: 1.0 };

    /// What each kind counts whose best value is this.
    pub(crate) fn over(self, best: Self) -> Self {
        Self {
            lexical: self.lexical / best.lexical,
            vector: self.vector / best.vector,
            soft: self.soft / best.soft,
            dense: self.dense / best.dense,
        }
    }
}

/// The part of its score that an entry gives to those one, and two, places away.
const NEXT: f32 = 0.2;
const NEXT_BUT_ONE: f32 = 0.15;
/// The best score within so many places counts for all of them: they are about one thing.
pub(crate) const REACH: usize = 6;
const TOPIC: f32 = 0.6;

/// What an entry's score could be at most: its own, four neighbours as good, and the best around.
const MOST: f32 = 1.0 + 2.0 * NEXT + 2.0 * NEXT_BUT_ONE + TOPIC;

/// An entry's own share of its final score.
pub(crate) fn own(score: f32) -> f32 {
    score / MOST
}

/// What an entry's surroundings add: the scores of those before it and after it, nearest first, in its conversation.
/// An entry without a conversation is the best around itself.
pub(crate) fn surroundings(
    own: f32,
    before: impl Iterator<Item = f32>,
    after: impl Iterator<Item = f32>,
) -> f32 {
    let (mut near, mut best) = (0.0, own);
    let places = || [NEXT, NEXT_BUT_ONE].into_iter().chain(std::iter::repeat(0.0));
    for (score, share) in before.zip(places()).chain(after.zip(places())) {
        near += share * score;
        best = best.max(score);
    }
    (near + TOPIC * best) / MOST
}

/// Collects the best of many.
#[derive(Debug)]
pub(crate) struct Best {
    most: usize,
    threshold: f32,
    kept: Vec<(f32, u32)>,
}

impl Best {
    /// Keeps this many at the most.
    pub(crate) fn new(most: usize) -> Self {
        Self::above(f32::NEG_INFINITY, most)
    }

    /// Keeps this many at the most, and only those above a score.
    pub(crate) fn above(threshold: f32, most: usize) -> Self {
        Self { most, threshold, kept: Vec::with_capacity(most * 2) }
    }

    /// Entries with no more than this would not be kept now.
    pub(crate) const fn threshold(&self) -> f32 {
        self.threshold
    }

    /// Whether an entry with this score would be kept now.
    #[inline]
    pub(crate) fn wants(&self, score: f32) -> bool {
        score > self.threshold
    }

    pub(crate) fn push(&mut self, score: f32, slot: u32) {
        self.kept.push((score, slot));
        if self.kept.len() == self.most * 2 {
            self.cut();
        }
    }

    fn cut(&mut self) {
        if self.kept.len() > self.most {
            self.kept.select_nth_unstable_by(self.most - 1, order);
            self.kept.truncate(self.most);
            self.threshold = self.kept.iter().fold(f32::INFINITY, |least, (score, _)| least.min(*score));
        }
    }

    /// The best, in no order.
    pub(crate) fn kept(mut self) -> Vec<(f32, u32)> {
        self.cut();
        self.kept
    }

    /// The best, best first; of equals the newest first.
    pub(crate) fn sorted(self) -> Vec<(f32, u32)> {
        let mut kept = self.kept();
        kept.sort_unstable_by(order);
        kept
    }
}

/// Best first; of equals the newest first.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "what sorting asks for")]
pub(crate) fn order(a: &(f32, u32), b: &(f32, u32)) -> std::cmp::Ordering {
    b.0.total_cmp(&a.0).then(b.1.cmp(&a.1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_best_are_those_of_sorting_everything(
            scores in prop::collection::vec(0.0f32..10.0, 0..300),
            most in 1usize..40,
        ) {
            let mut best = Best::new(most);
            let mut all = Vec::new();
            for (slot, score) in (0u32..).zip(scores) {
                all.push((score, slot));
                if best.wants(score) {
                    best.push(score, slot);
                }
            }
            all.sort_unstable_by(order);
            all.truncate(most);
            let scores = |entries: Vec<(f32, u32)>| entries.into_iter().map(|(score, _)| score).collect::<Vec<_>>();
            prop_assert_eq!(scores(best.sorted()), scores(all));
        }

        #[test]
        fn a_score_is_a_fraction(own in 0.0f32..=1.0, before in prop::collection::vec(0.0f32..=1.0, 0..6), after in prop::collection::vec(0.0f32..=1.0, 0..6)) {
            let score = super::own(own) + surroundings(own, before.into_iter(), after.into_iter());
            prop_assert!((0.0..=1.0 + 1e-5).contains(&score));
        }
    }

    #[test]
    fn a_good_neighbour_lifts_more_the_nearer_it_is() {
        let lifted = |place: usize| {
            let mut before = [0.0; REACH];
            before[place] = 1.0;
            surroundings(0.0, before.into_iter(), [].into_iter())
        };
        assert!(lifted(0) > lifted(1) && lifted(1) > lifted(2));
        assert!((lifted(2) - lifted(5)).abs() < f32::EPSILON);
        assert!(
            surroundings(1.0, [].into_iter(), [].into_iter()) > 0.0,
            "one that stands alone loses nothing by it"
        );
    }
}
