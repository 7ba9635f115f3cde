//! Dot products of signed bytes, over many rows at once: exact, since at this size no approximate index is both
//! quicker and as good.

use crate::part::Part;
use pulp::Simd;

/// The rows of a matrix, one after the other.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    parts: Vec<Part>,
    inverse_norms: Vec<f32>,
    width: usize,
}

impl Rows {
    /// No rows yet, of this many numbers each.
    pub(crate) const fn of_width(width: usize) -> Self {
        Self { parts: Vec::new(), inverse_norms: Vec::new(), width }
    }

    /// Numbers in a row.
    pub(crate) const fn width(&self) -> usize {
        self.width
    }

    /// Rows of one part.
    fn rows_of_part(&self) -> usize {
        (Part::MOST / self.width.max(1)).max(1)
    }

    /// Adds a row. A vector of another width becomes a row of zeros, which is like nothing.
    pub(crate) fn push(&mut self, vector: &[i8]) {
        if self.inverse_norms.len().is_multiple_of(self.rows_of_part()) {
            self.parts.push(Part::new());
        }
        let fits = vector.len() == self.width;
        let number = |at: usize| if fits { vector[at].max(-i8::MAX) } else { 0 };
        if let Some(part) = self.parts.last_mut() {
            part.extend((0..self.width).map(number));
        }
        self.inverse_norms.push(if fits { inverse_norm(vector) } else { 0.0 });
    }

    pub(crate) fn get(&self, row: usize) -> &[i8] {
        let (part, row) = (row / self.rows_of_part(), row % self.rows_of_part());
        &self.parts[part].bytes()[row * self.width..(row + 1) * self.width]
    }

    /// Whether a row is zeros: there was no vector, or one without a direction.
    pub(crate) fn is_blank(&self, row: usize) -> bool {
        self.inverse_norms[row] <= 0.0
    }

    /// The cosine of each row with a vector, in order.
    pub(crate) fn cosines(&self, vector: &[i8]) -> Vec<f32> {
        let mut cosines = vec![0.0; self.inverse_norms.len()];
        if vector.len() == self.width && self.width > 0 {
            let own = inverse_norm(vector);
            let norms = self.inverse_norms.chunks(self.rows_of_part());
            for ((part, cosines), norms) in
                self.parts.iter().zip(cosines.chunks_mut(self.rows_of_part())).zip(norms)
            {
                dots(vector, part.bytes(), cosines);
                for (cosine, norm) in cosines.iter_mut().zip(norms) {
                    *cosine *= own * norm;
                }
            }
        }
        cosines
    }

    /// Heap bytes, roughly.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.parts.iter().map(Part::heap_bytes).sum::<usize>() + self.inverse_norms.capacity() * 4
    }
}

/// The dot product of a vector with each of the rows, which lie one after the other. No number is -128.
pub(crate) fn dots(vector: &[i8], rows: &[i8], products: &mut [f32]) {
    let dots = Dots { vector, rows, products };
    #[cfg(target_arch = "x86_64")]
    if let Some(avx2) = pulp::x86::V3::try_new() {
        return Simd::vectorize(avx2, OnAvx2 { dots, avx2 });
    }
    dots.one_by_one();
}

/// The cosine of two vectors.
pub(crate) fn cosine(a: &[i8], b: &[i8]) -> f32 {
    let mut product = [0.0];
    dots(a, b, &mut product);
    product[0] * inverse_norm(a) * inverse_norm(b)
}

struct Dots<'a> {
    vector: &'a [i8],
    rows: &'a [i8],
    products: &'a mut [f32],
}

impl Dots<'_> {
    fn one_by_one(self) {
        for (product, row) in self.products.iter_mut().zip(self.rows.chunks_exact(self.vector.len())) {
            *product = to_float(dot(self.vector, row));
        }
    }
}

fn dot(vector: &[i8], row: &[i8]) -> i32 {
    vector.iter().zip(row).map(|(&a, &b)| i32::from(a) * i32::from(b)).sum()
}

/// Thirty-two products at a time, and four rows before their sums are added up across.
#[cfg(target_arch = "x86_64")]
struct OnAvx2<'a> {
    dots: Dots<'a>,
    avx2: pulp::x86::V3,
}

#[cfg(target_arch = "x86_64")]
impl pulp::WithSimd for OnAvx2<'_> {
    type Output = ();

    #[inline(always)]
    #[allow(
        clippy::inline_always,
        reason = "only what is inlined is compiled for the processor that was found"
    )]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { dots: Dots { vector, rows, products }, avx2: v3 } = self;
        let (avx, avx2, sse2) = (v3.avx, v3.avx2, v3.sse2);
        let (blocks, end) = vector.as_chunks::<32>();
        let (fours, others) = products.as_chunks_mut::<4>();
        let mut rows = rows.chunks_exact(vector.len());
        // No closures: only what is inlined is compiled for the processor that was found.
        for products in fours {
            let (Some(a), Some(b), Some(c), Some(d)) = (rows.next(), rows.next(), rows.next(), rows.next())
            else {
                return;
            };
            let ab = avx2._mm256_hadd_epi32(partial(v3, blocks, a), partial(v3, blocks, b));
            let cd = avx2._mm256_hadd_epi32(partial(v3, blocks, c), partial(v3, blocks, d));
            let halves = avx2._mm256_hadd_epi32(ab, cd);
            let (low, high) =
                (avx._mm256_castsi256_si128(halves), avx2._mm256_extracti128_si256::<1>(halves));
            *products = pulp::cast(sse2._mm_cvtepi32_ps(sse2._mm_add_epi32(low, high)));
            if !end.is_empty() {
                for (product, row) in products.iter_mut().zip([a, b, c, d]) {
                    *product += to_float(dot(end, &row[vector.len() - end.len()..]));
                }
            }
        }
        for (product, row) in others.iter_mut().zip(rows) {
            let sums: [i32; 8] = pulp::cast(partial(v3, blocks, row));
            *product = to_float(sums.iter().sum::<i32>() + dot(end, &row[vector.len() - end.len()..]));
        }
    }
}

/// Sums that add up to the product of some blocks of a vector with as much of a row.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
#[allow(clippy::inline_always, reason = "as above")]
fn partial(v3: pulp::x86::V3, blocks: &[[i8; 32]], row: &[i8]) -> std::arch::x86_64::__m256i {
    let (avx, avx2) = (v3.avx, v3.avx2);
    let ones = avx._mm256_set1_epi16(1);
    let mut sums = pulp::cast([0i32; 8]);
    for (block, row) in blocks.iter().zip(row.as_chunks::<32>().0) {
        let (block, row) = (pulp::cast(*block), pulp::cast(*row));
        // The processor multiplies unsigned by signed bytes: the vector gives its signs to the row.
        let signed = avx2._mm256_sign_epi8(row, block);
        let pairs = avx2._mm256_maddubs_epi16(avx2._mm256_abs_epi8(block), signed);
        sums = avx2._mm256_add_epi32(sums, avx2._mm256_madd_epi16(pairs, ones));
    }
    sums
}

/// One over a vector's length; 0 for the vector of zeros, whose cosine with everything is then 0.
pub(crate) fn inverse_norm(vector: &[i8]) -> f32 {
    let squares: i32 = vector.iter().map(|&number| i32::from(number) * i32::from(number)).sum();
    if squares > 0 { to_float(squares).sqrt().recip() } else { 0.0 }
}

#[allow(clippy::cast_precision_loss, reason = "a score, not an account")]
const fn to_float(sum: i32) -> f32 {
    sum as f32
}

/// The bytes whose direction is nearest to that of the numbers.
pub(crate) fn quantised(numbers: &[f32]) -> Vec<i8> {
    let largest = numbers.iter().fold(0.0f32, |largest, number| largest.max(number.abs()));
    if largest <= 0.0 || !largest.is_finite() {
        return vec![0; numbers.len()];
    }
    #[allow(clippy::cast_possible_truncation, reason = "from -127 to 127")]
    numbers.iter().map(|number| (number / largest * 127.0).round() as i8).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// More than two blocks, and some beside them.
    const WIDTH: usize = 77;

    proptest! {
        #[test]
        fn cosines_are_those_of_the_textbook(
            rows in prop::collection::vec(prop::collection::vec(-127i8..=127, WIDTH), 0..20),
            vector in prop::collection::vec(-127i8..=127, WIDTH),
        ) {
            let mut matrix = Rows::of_width(WIDTH);
            for row in &rows {
                matrix.push(row);
            }
            let length = |v: &[i8]| v.iter().map(|&n| f64::from(n).powi(2)).sum::<f64>().sqrt();
            for (row, cosine) in rows.iter().zip(matrix.cosines(&vector)) {
                let dot: f64 = row.iter().zip(&vector).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
                let product = length(row) * length(&vector);
                let expected = if product > 0.0 { dot / product } else { 0.0 };
                prop_assert!((f64::from(cosine) - expected).abs() < 1e-4);
            }
        }
    }

    #[test]
    fn a_vector_of_another_width_is_like_nothing() {
        let mut matrix = Rows::of_width(2);
        matrix.push(&[1, 1]);
        matrix.push(&[1, 1, 1]);
        assert_eq!(matrix.cosines(&[1, 1, 1]), [0.0, 0.0]);
        assert!((matrix.cosines(&[2, 2])[0] - 1.0).abs() < 1e-6);
        assert!(matrix.cosines(&[2, 2])[1].abs() < 1e-6);
    }
}
