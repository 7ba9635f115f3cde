//! The best of many scores, of which most are not even looked at one by one.

use super::to_slot;
use crate::fusion::Best;
use std::ops::Range;

/// Scores that are looked at together first, since most hold none that is wanted.
const BLOCK: usize = 32;
/// One block of so many tells what the others are like.
const SAMPLED: usize = 8;
/// The most blocks that do.
const MOST_SAMPLED: usize = 64;

/// The slots with the best scores above 0 among those that are accepted, which is asked only of those that would be
/// among them. `scores` writes the scores of some slots.
pub(super) fn best_of(
    slots: usize,
    scores: impl Fn(Range<usize>, &mut [f32]),
    most: usize,
    accepted: impl Fn(u32) -> bool,
) -> Vec<(f32, u32)> {
    let above = |least: f32| {
        pulp::Arch::new().dispatch(Above { least, slots, scores: &scores, most, accepted: &accepted })
    };
    let least = likely_least(slots, &scores, most);
    let kept = above(least.max(0.0));
    // Too much was hoped for, or few are accepted.
    if kept.len() < most && least > 0.0 { above(0.0) } else { kept }
}

/// A score that some more than so many most likely are above: to begin with it spares most of what would be kept for a while
/// only. 0 where nothing is known.
fn likely_least(slots: usize, scores: &impl Fn(Range<usize>, &mut [f32]), most: usize) -> f32 {
    let blocks = slots / BLOCK;
    let step = SAMPLED.max(blocks / MOST_SAMPLED);
    let sampled = blocks / step;
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an estimate"
    )]
    let rank = {
        let expected = (most * sampled * BLOCK) as f32 / slots.max(1) as f32;
        (expected + 4.0 * expected.sqrt()) as usize + 4
    };
    let mut sample = vec![0.0; sampled * BLOCK];
    if most == 1 || rank >= sample.len() / 2 {
        return 0.0;
    }
    for (number, block) in sample.chunks_exact_mut(BLOCK).enumerate() {
        let begin = number * step * BLOCK;
        scores(begin..begin + BLOCK, block);
    }
    *sample.select_nth_unstable_by(rank, |a, b| b.total_cmp(a)).1
}

/// See [`best_of`]: those above a score. Compiled for the widest instructions that the processor has.
struct Above<'a, Scores, Accepted> {
    least: f32,
    slots: usize,
    scores: &'a Scores,
    most: usize,
    accepted: &'a Accepted,
}

impl<Scores, Accepted> pulp::WithSimd for Above<'_, Scores, Accepted>
where
    Scores: Fn(Range<usize>, &mut [f32]),
    Accepted: Fn(u32) -> bool,
{
    type Output = Vec<(f32, u32)>;

    #[inline(always)]
    #[allow(
        clippy::inline_always,
        reason = "only what is inlined is compiled for the processor that was found"
    )]
    fn with_simd<S: pulp::Simd>(self, _: S) -> Vec<(f32, u32)> {
        let Self { least, slots, scores, most, accepted } = self;
        let mut best = Best::above(least, most);
        let mut block = [0.0; BLOCK];
        for begin in (0..slots).step_by(BLOCK) {
            let end = slots.min(begin + BLOCK);
            if end - begin < BLOCK {
                block.fill(0.0);
            }
            scores(begin..end, &mut block[..end - begin]);
            if !best.wants(highest(&block)) {
                continue;
            }
            for (slot, &score) in (begin..end).zip(&block) {
                if best.wants(score) && accepted(to_slot(slot)) {
                    best.push(score, to_slot(slot));
                }
            }
        }
        best.kept()
    }
}

/// Scores that are there already, for [`best_of`].
pub(super) fn of(scores: &[f32]) -> impl Fn(Range<usize>, &mut [f32]) {
    |slots, some| some.copy_from_slice(&scores[slots])
}

/// The highest of some scores; 0 where none is above. In lanes, as the processor has them.
#[inline(always)]
#[allow(clippy::inline_always, reason = "as above")]
pub(super) fn highest(scores: &[f32]) -> f32 {
    let higher = |a: f32, b: f32| if b > a { b } else { a };
    let (eights, rest) = scores.as_chunks::<8>();
    let mut lanes = [0.0; 8];
    for eight in eights {
        for (lane, score) in lanes.iter_mut().zip(eight) {
            *lane = higher(*lane, *score);
        }
    }
    lanes.iter().chain(rest).copied().fold(0.0, higher)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_best_are_those_of_sorting_everything_that_is_accepted(
            some in prop::collection::vec(-1.0f32..10.0, 1..400),
            slots in 0usize..12_000,
            most in 1usize..600,
            every in 1u32..100,
        ) {
            // The more slots, the more alike, and those of one kind stand together.
            let score = |slot: usize| some[slot / 40 % some.len()] * some[slot % some.len()];
            let scores: Vec<f32> = (0..slots).map(score).collect();
            let accepted = |slot: u32| slot.is_multiple_of(every);
            let mut found: Vec<f32> =
                best_of(slots, of(&scores), most, accepted).into_iter().map(|(score, _)| score).collect();
            let mut all: Vec<f32> = (0..).zip(&scores).filter(|(slot, _)| accepted(*slot)).map(|(_, score)| *score).collect();
            all.retain(|score| *score > 0.0);
            for scores in [&mut found, &mut all] {
                scores.sort_unstable_by(|a, b| b.total_cmp(a));
            }
            all.truncate(most);
            prop_assert_eq!(found, all);
        }
    }
}
