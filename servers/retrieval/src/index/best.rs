//! The best of many scores, of which most are not even looked at one by one.

use super::to_slot;
use crate::fusion::Best;
use std::ops::Range;

/// Scores that are made together.
const BLOCK: usize = 64;
/// Scores that are looked at together first, since most hold none that is wanted: as many as the processor compares at once.
const LANES: usize = 8;

/// The slots with the best scores above a least one, and above 0, among those that are accepted; this is asked only of those
/// that would be among them. `scores` writes the scores of some slots.
pub(super) fn best_of(
    slots: usize,
    scores: impl Fn(Range<usize>, &mut [f32]),
    (least, most): (f32, usize),
    accepted: impl Fn(u32) -> bool,
) -> Vec<(f32, u32)> {
    // Below 0, the empty places of the last block would be above it.
    let least = least.max(0.0);
    let mut best = Best::above(least, most);
    pulp::Arch::new().dispatch(Above {
        slots,
        scores,
        least,
        found: |score, slot| {
            if accepted(slot) {
                best.push(score, slot);
            }
            best.threshold()
        },
    });
    best.kept()
}

/// The greatest score among those that are accepted; 0 where none is above.
pub(super) fn greatest_of(
    slots: usize,
    scores: impl Fn(Range<usize>, &mut [f32]),
    accepted: impl Fn(u32) -> bool,
) -> f32 {
    let mut greatest = 0.0;
    pulp::Arch::new().dispatch(Above {
        slots,
        scores,
        least: 0.0,
        found: |score, slot| {
            if accepted(slot) {
                greatest = score;
            }
            greatest
        },
    });
    greatest
}

/// Tells of each score above a least one, in order, and is told the next least. Compiled for the widest instructions that the
/// processor has.
struct Above<Scores, Found> {
    slots: usize,
    scores: Scores,
    least: f32,
    found: Found,
}

impl<Scores, Found> pulp::WithSimd for Above<Scores, Found>
where
    Scores: Fn(Range<usize>, &mut [f32]),
    Found: FnMut(f32, u32) -> f32,
{
    type Output = ();

    #[inline(always)]
    #[allow(
        clippy::inline_always,
        reason = "only what is inlined is compiled for the processor that was found"
    )]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        let Self { slots, scores, mut least, mut found } = self;
        let mut block = [0.0; BLOCK];
        for begin in (0..slots).step_by(BLOCK) {
            let end = slots.min(begin + BLOCK);
            if end - begin < BLOCK {
                block.fill(0.0);
            }
            scores(begin..end, &mut block[..end - begin]);
            for (few, first) in block.as_chunks::<LANES>().0.iter().zip((begin..).step_by(LANES)) {
                #[allow(
                    clippy::needless_bitwise_bool,
                    reason = "all at once; nothing is gained by stopping at the first"
                )]
                let some = few.iter().fold(false, |some, score| some | (*score > least));
                if !some {
                    continue;
                }
                // Written before it is known whether it is one, since there is no telling for the processor.
                let (mut above, mut count) = ([(0.0, 0); LANES], 0);
                for (slot, &score) in (to_slot(first)..).zip(few) {
                    above[count] = (score, slot);
                    count += usize::from(score > least);
                }
                for &(score, slot) in &above[..count] {
                    if score > least {
                        least = found(score, slot);
                    }
                }
            }
        }
    }
}

/// Scores that are there already, for [`best_of`].
pub(super) fn of(scores: &[f32]) -> impl Fn(Range<usize>, &mut [f32]) {
    |slots, some| some.copy_from_slice(&scores[slots])
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
            least in -1.0f32..50.0,
        ) {
            // The more slots, the more alike, and those of one kind stand together.
            let score = |slot: usize| some[slot / 40 % some.len()] * some[slot % some.len()];
            let scores: Vec<f32> = (0..slots).map(score).collect();
            let accepted = |slot: u32| slot.is_multiple_of(every);
            let mut found: Vec<f32> =
                best_of(slots, of(&scores), (least, most), accepted).into_iter().map(|(score, _)| score).collect();
            let mut all: Vec<f32> = (0..).zip(&scores).filter(|(slot, _)| accepted(*slot)).map(|(_, score)| *score).collect();
            all.retain(|score| *score > 0.0);
            let greatest = all.iter().copied().fold(0.0, f32::max);
            prop_assert!((greatest_of(slots, of(&scores), accepted) - greatest).abs() < f32::EPSILON);
            all.retain(|score| *score > least.max(0.0));
            for scores in [&mut found, &mut all] {
                scores.sort_unstable_by(|a, b| b.total_cmp(a));
            }
            all.truncate(most);
            prop_assert_eq!(found, all);
        }
    }
}
