//! How good a ranking is, when it is known what should be found. Pure.

use serde_json::{Value, json};

/// Sums over questions; one question is a sum of one.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Scores {
    questions: f64,
    recall5: f64,
    recall10: f64,
    ndcg10: f64,
    mrr10: f64,
}

impl Scores {
    /// Of one ranking without repetition, of at most ten.
    pub(super) fn of(found: &[String], gold: &[String]) -> Self {
        let hits: Vec<bool> = found.iter().map(|id| gold.contains(id)).collect();
        let share =
            |first: usize| count(hits.iter().take(first).filter(|hit| **hit).count()) / count(gold.len());
        let gain = |rank: usize| 1.0 / (count(rank) + 2.0).log2();
        let gained: f64 = hits.iter().enumerate().filter(|(_, hit)| **hit).map(|(rank, _)| gain(rank)).sum();
        let best: f64 = (0..gold.len().min(10)).map(gain).sum();
        let first = hits.iter().position(|hit| *hit);
        Self {
            questions: 1.0,
            recall5: share(5),
            recall10: share(10),
            ndcg10: gained / best,
            mrr10: first.map_or(0.0, |rank| 1.0 / (count(rank) + 1.0)),
        }
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.questions += other.questions;
        self.recall5 += other.recall5;
        self.recall10 += other.recall10;
        self.ndcg10 += other.ndcg10;
        self.mrr10 += other.mrr10;
    }

    pub(super) fn means(&self) -> Value {
        let mean = |sum: f64| sum / self.questions;
        json!({
            "r5": mean(self.recall5),
            "r10": mean(self.recall10),
            "ndcg10": mean(self.ndcg10),
            "mrr10": mean(self.mrr10),
            "n": self.questions,
        })
    }

    pub(super) fn row(&self, name: &str) -> String {
        let mean = |sum: f64| format!("{:.3}", sum / self.questions);
        let means = [self.recall5, self.recall10, self.ndcg10, self.mrr10].map(mean);
        format!("| {name} | {} | {} |", self.questions, means.join(" | "))
    }
}

#[allow(clippy::cast_precision_loss, reason = "counts of questions and ranks are small")]
fn count(number: usize) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_ranking_is_scored_by_where_the_turns_stand() {
        let best = Scores::of(&ids(&["a", "b"]), &ids(&["b", "a"]));
        assert_eq!((best.recall5, best.ndcg10, best.mrr10), (1.0, 1.0, 1.0));
        let late = Scores::of(&ids(&["x", "x1", "x2", "x3", "x4", "a"]), &ids(&["a", "b"]));
        assert_eq!((late.recall5, late.recall10, late.mrr10), (0.0, 0.5, 1.0 / 6.0));
        assert_eq!(Scores::of(&[], &ids(&["a"])).mrr10, 0.0);
    }
}
