//! Rows of signed bytes, and how alike they are to a vector: guessed for all of them at once, exact for some.

use crate::part::Matrix;
use pulp::Simd;

/// Vectors, one a row. The first numbers of each are kept apart, so that a guess reads nothing else.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    heads: Matrix,
    tails: Matrix,
    inverse_norms: Vec<f32>,
}

/// A vector that rows are compared with.
#[derive(Debug)]
pub(crate) struct Probe<'a> {
    vector: &'a [i8],
    inverse_norm: f32,
}

impl<'a> Probe<'a> {
    pub(crate) fn new(vector: &'a [i8]) -> Self {
        Self { vector, inverse_norm: inverse_norm(vector) }
    }
}

impl Rows {
    /// No rows yet, of this many numbers each, of which the first ones are enough for a guess.
    pub(crate) const fn new(width: usize, head: usize) -> Self {
        Self {
            heads: Matrix::of_width(head),
            tails: Matrix::of_width(width - head),
            inverse_norms: Vec::new(),
        }
    }

    /// So many rows of zeros.
    pub(crate) fn blank(width: usize, head: usize, count: usize) -> Self {
        let mut rows = Self::new(width, head);
        (0..count).for_each(|_| rows.push(&[]));
        rows
    }

    /// No rows yet, of the same kind as these.
    pub(crate) const fn emptied(&self) -> Self {
        Self::new(self.width(), self.heads.width())
    }

    /// Numbers in a row.
    const fn width(&self) -> usize {
        self.heads.width() + self.tails.width()
    }

    /// Adds a row. A vector of another width becomes a row of zeros, which is like nothing.
    pub(crate) fn push(&mut self, vector: &[i8]) {
        let fits = vector.len() == self.width();
        let number = |at: usize| if fits { vector[at].max(-i8::MAX) } else { 0 };
        self.heads.push((0..self.heads.width()).map(number));
        self.tails.push((self.heads.width()..self.width()).map(number));
        self.inverse_norms.push(if fits { inverse_norm(vector) } else { 0.0 });
    }

    /// Puts a vector in the place of a row, as it would be added.
    pub(crate) fn set(&mut self, row: usize, vector: &[i8]) {
        let fits = vector.len() == self.width();
        let number = |at: usize| if fits { vector[at].max(-i8::MAX) } else { 0 };
        self.heads.set(row, (0..self.heads.width()).map(number));
        self.tails.set(row, (self.heads.width()..self.width()).map(number));
        self.inverse_norms[row] = if fits { inverse_norm(vector) } else { 0.0 };
    }

    pub(crate) fn get(&self, row: usize) -> Vec<i8> {
        [self.heads.row(row), self.tails.row(row)].concat()
    }

    /// Whether a row is zeros: there was no vector, or one without a direction.
    pub(crate) fn is_blank(&self, row: usize) -> bool {
        self.inverse_norms[row] <= 0.0
    }

    /// What the cosine of each row with a vector might be, in order: as much of it as the first numbers tell.
    pub(crate) fn guesses(&self, probe: &Probe<'_>) -> Vec<f32> {
        let mut guesses = vec![0.0; self.inverse_norms.len()];
        if probe.vector.len() == self.width() && self.heads.width() > 0 {
            let head = &probe.vector[..self.heads.width()];
            let mut rest = guesses.as_mut_slice();
            for rows in self.heads.parts() {
                let (some, others) = rest.split_at_mut(rows.len() / head.len());
                dots(head, rows, some);
                rest = others;
            }
            for (guess, norm) in guesses.iter_mut().zip(&self.inverse_norms) {
                *guess *= probe.inverse_norm * norm;
            }
        }
        guesses
    }

    /// Tells the cosines of some rows with a vector, in their order; none with one of another width.
    pub(crate) fn cosines(&self, rows: impl Iterator<Item = u32>, probe: &Probe<'_>, tell: impl FnMut(f32)) {
        if probe.vector.len() != self.width() {
            return;
        }
        let wanted = Cosines { of: self, rows, probe, tell };
        #[cfg(target_arch = "x86_64")]
        if let Some(avx2) = pulp::x86::V3::try_new() {
            return Simd::vectorize(avx2, CosinesOnAvx2 { wanted, avx2 });
        }
        wanted.by(dot);
    }

    /// Heap bytes, roughly.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.heads.heap_bytes() + self.tails.heap_bytes() + self.inverse_norms.capacity() * 4
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
    product(a, b) * inverse_norm(a) * inverse_norm(b)
}

/// The dot product of two vectors. No number is -128.
fn product(a: &[i8], b: &[i8]) -> f32 {
    #[cfg(target_arch = "x86_64")]
    if let Some(avx2) = pulp::x86::V3::try_new() {
        return to_float(Simd::vectorize(avx2, ProductOnAvx2 { a, b, avx2 }));
    }
    to_float(dot(a, b))
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
        let (blocks, end) = vector.as_chunks::<32>();
        // What is known when this is compiled stays in registers: a static vector's first quarter; all of it, by which lists of near
        // tokens are made; and MiniLM's.
        match (blocks.len(), end) {
            (1, []) => dots_of::<1>(v3, blocks, rows, products),
            (4, []) => dots_of::<4>(v3, blocks, rows, products),
            (12, []) => dots_of::<12>(v3, blocks, rows, products),
            _ => {
                let rows = rows.chunks_exact(vector.len());
                for (product, row) in products.iter_mut().zip(rows) {
                    let sums: [i32; 8] = pulp::cast(sums(v3, blocks, row.as_chunks().0));
                    let rest = dot(end, &row[vector.len() - end.len()..]);
                    *product = to_float(sums.iter().sum::<i32>() + rest);
                }
            }
        }
    }
}

/// The dot products with a vector of so many blocks: four rows before their sums are added up across.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
#[allow(clippy::inline_always, reason = "as above")]
fn dots_of<const BLOCKS: usize>(v3: pulp::x86::V3, vector: &[[i8; 32]], rows: &[i8], products: &mut [f32]) {
    let Some(vector) = vector.as_array::<BLOCKS>() else { return };
    let (avx, avx2, sse2) = (v3.avx, v3.avx2, v3.sse2);
    let rows = rows.as_chunks::<32>().0.as_chunks::<BLOCKS>().0;
    let (fours, others) = products.as_chunks_mut::<4>();
    let (rows, last) = rows.as_chunks::<4>();
    // No closures: only what is inlined is compiled for the processor that was found.
    for (products, [a, b, c, d]) in fours.iter_mut().zip(rows) {
        let ab = avx2._mm256_hadd_epi32(sums(v3, vector, a), sums(v3, vector, b));
        let cd = avx2._mm256_hadd_epi32(sums(v3, vector, c), sums(v3, vector, d));
        let halves = avx2._mm256_hadd_epi32(ab, cd);
        let (low, high) = (avx._mm256_castsi256_si128(halves), avx2._mm256_extracti128_si256::<1>(halves));
        *products = pulp::cast(sse2._mm_cvtepi32_ps(sse2._mm_add_epi32(low, high)));
    }
    for (product, row) in others.iter_mut().zip(last) {
        let sums: [i32; 8] = pulp::cast(sums(v3, vector, row));
        *product = to_float(sums.iter().sum::<i32>());
    }
}

/// See [`Rows::cosines`].
struct Cosines<'a, Wanted, Tell> {
    of: &'a Rows,
    rows: Wanted,
    probe: &'a Probe<'a>,
    tell: Tell,
}

impl<Wanted: Iterator<Item = u32>, Tell: FnMut(f32)> Cosines<'_, Wanted, Tell> {
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "as above")]
    fn by(self, product: impl Fn(&[i8], &[i8]) -> i32) {
        let Self { of: Rows { heads, tails, inverse_norms }, rows, probe, mut tell } = self;
        let (head, tail) = probe.vector.split_at(heads.width());
        for row in rows {
            let row = row as usize;
            let product = product(head, heads.row(row)) + product(tail, tails.row(row));
            tell(to_float(product) * probe.inverse_norm * inverse_norms[row]);
        }
    }
}

#[cfg(target_arch = "x86_64")]
struct CosinesOnAvx2<'a, Wanted, Tell> {
    wanted: Cosines<'a, Wanted, Tell>,
    avx2: pulp::x86::V3,
}

#[cfg(target_arch = "x86_64")]
impl<Wanted: Iterator<Item = u32>, Tell: FnMut(f32)> pulp::WithSimd for CosinesOnAvx2<'_, Wanted, Tell> {
    type Output = ();

    #[inline(always)]
    #[allow(clippy::inline_always, reason = "as above")]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { wanted, avx2 } = self;
        wanted.by(
            #[inline(always)]
            |a, b| product_on(avx2, a, b),
        );
    }
}

#[cfg(target_arch = "x86_64")]
struct ProductOnAvx2<'a> {
    a: &'a [i8],
    b: &'a [i8],
    avx2: pulp::x86::V3,
}

#[cfg(target_arch = "x86_64")]
impl pulp::WithSimd for ProductOnAvx2<'_> {
    type Output = i32;

    #[inline(always)]
    #[allow(clippy::inline_always, reason = "as above")]
    fn with_simd<S: Simd>(self, _: S) -> i32 {
        product_on(self.avx2, self.a, self.b)
    }
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
#[allow(clippy::inline_always, reason = "as above")]
fn product_on(v3: pulp::x86::V3, a: &[i8], b: &[i8]) -> i32 {
    let (blocks, end) = a.as_chunks::<32>();
    let sums: [i32; 8] = pulp::cast(sums(v3, blocks, b.as_chunks().0));
    sums.iter().sum::<i32>() + dot(end, &b[a.len() - end.len()..])
}

/// Sums that add up to the product of some blocks of a vector with as many of a row.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
#[allow(clippy::inline_always, reason = "as above")]
fn sums(v3: pulp::x86::V3, vector: &[[i8; 32]], row: &[[i8; 32]]) -> std::arch::x86_64::__m256i {
    let (avx, avx2) = (v3.avx, v3.avx2);
    let ones = avx._mm256_set1_epi16(1);
    let mut sums = pulp::cast([0i32; 8]);
    for (block, row) in vector.iter().zip(row) {
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
    const HEAD: usize = 33;

    /// The cosine of one row with a vector; 0 with one of another width.
    fn cosine(rows: &Rows, row: usize, vector: &[i8]) -> f32 {
        let mut cosine = 0.0;
        let row = u32::try_from(row).expect("few");
        rows.cosines(std::iter::once(row), &Probe::new(vector), |it| cosine = it);
        cosine
    }

    proptest! {
        #[test]
        fn cosines_are_those_of_the_textbook(
            rows in prop::collection::vec(prop::collection::vec(-127i8..=127, WIDTH), 0..20),
            vector in prop::collection::vec(-127i8..=127, WIDTH),
        ) {
            let mut matrix = Rows::new(WIDTH, HEAD);
            for row in &rows {
                matrix.push(row);
            }
            let length = |v: &[i8]| v.iter().map(|&n| f64::from(n).powi(2)).sum::<f64>().sqrt();
            for (number, row) in rows.iter().enumerate() {
                let cosine = cosine(&matrix, number, &vector);
                let dot: f64 = row.iter().zip(&vector).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
                let product = length(row) * length(&vector);
                let expected = if product > 0.0 { dot / product } else { 0.0 };
                prop_assert!((f64::from(cosine) - expected).abs() < 1e-4);
            }
        }
    }

    #[test]
    fn some_are_told_in_the_order_in_which_they_are_asked_for() {
        let mut matrix = Rows::new(3, 1);
        for row in [[1, 0, 0], [0, 1, 0], [0, 3, 4]] {
            matrix.push(&row);
        }
        let mut told = Vec::new();
        matrix.cosines([2, 0, 1, 2].into_iter(), &Probe::new(&[0, 0, 9]), |cosine| told.push(cosine));
        assert_eq!(told.len(), 4);
        assert!(told.iter().zip([0.8, 0.0, 0.0, 0.8]).all(|(told, is)| (told - is).abs() < 1e-6), "{told:?}");
    }

    #[test]
    fn a_vector_of_another_width_is_like_nothing() {
        let mut matrix = Rows::new(2, 1);
        matrix.push(&[1, 1]);
        matrix.push(&[1, 1, 1]);
        let cosine = |row, vector: &[i8]| cosine(&matrix, row, vector);
        assert!([0, 1].map(|row| cosine(row, &[1, 1, 1])).iter().all(|cosine| cosine.abs() < 1e-6));
        assert_eq!(matrix.guesses(&Probe::new(&[1, 1, 1])), [0.0, 0.0]);
        assert!((cosine(0, &[2, 2]) - 1.0).abs() < 1e-6);
        assert!(cosine(1, &[2, 2]).abs() < 1e-6);
    }

    #[test]
    fn a_row_takes_the_place_of_another_and_no_other_changes() {
        // Some in huge pages, where there are such, and some not.
        const COUNT: usize = 6000;
        let vector = |number: usize| -> Vec<i8> {
            (0..512).map(|at| i8::try_from((number + at) % 100).expect("small")).collect()
        };
        let mut rows = Rows::blank(512, 512, COUNT);
        let set = [0, 1, 4095, 4096, COUNT - 1];
        for row in set {
            assert!(rows.is_blank(row));
            rows.set(row, &vector(row));
        }
        for row in 0..COUNT {
            let expected = if set.contains(&row) { vector(row) } else { vec![0; 512] };
            assert_eq!((rows.get(row), rows.is_blank(row)), (expected, !set.contains(&row)));
        }
        rows.set(1, &[1]);
        assert!(rows.is_blank(1), "of another width");
    }

    #[test]
    fn vectors_without_numbers_are_like_nothing() {
        let mut rows = Rows::new(0, 0);
        rows.push(&[]);
        rows.push(&[]);
        let nothing = Probe::new(&[]);
        assert_eq!(rows.guesses(&nothing), [0.0, 0.0]);
        assert!(cosine(&rows, 1, &[]).abs() < f32::EPSILON && rows.is_blank(1));
    }
}
