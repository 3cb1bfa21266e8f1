//! The loops that take the time, once for every instruction set: products of small matrices whose
//! result stays in registers, the softmax of rows, and their gradient.
//!
//! **The order of every sum.** An element of a product is one chain of multiply-adds, first term to
//! last, whatever tile it is computed in. A row's sum of weights is kept in as many parts as the
//! register has lanes, by the key's place in its tile, and folded at the end. Zeros at the places of
//! keys that a row does not see change no bit. So a row's result depends neither on the rows that
//! are computed with it nor on where the work was split.
//!
//! The kernels take addresses and counts, because rows are strided and tiles padded; the callers in
//! `forward` and `backward` own the arrays and say why they suffice.

use std::any::Any;

use super::lanes::{Lanes, Plain};
#[cfg(target_arch = "x86_64")]
use super::x86::{F32x8, F32x16, F64x4, F64x8};
use crate::linear::Real;

/// What becomes of a product's element `sum`.
#[derive(Clone, Copy)]
pub(super) enum After<R> {
    /// c = sum * factor
    Write(R),
    /// c = c + sum
    Add,
    /// c = c * old\[row\] + sum * new\[row\]
    Merge { old: *const R, new: *const R },
}

/// c (rows x columns) from a (rows x depth) times b (depth x columns).
///
/// Columns are padded: b and c have room for `columns` rounded up to the lanes of a register.
#[derive(Clone, Copy)]
pub(super) struct Product<R> {
    pub rows: usize,
    pub depth: usize,
    pub columns: usize,
    /// Element (r, k) of a is `a[r * a_row + k * a_depth]`.
    pub a: *const R,
    pub a_row: usize,
    pub a_depth: usize,
    /// Element (k, c) of b is `b[(c / panel) * b_panel + k * b_depth + c % panel]`.
    pub b: *const R,
    pub b_panel: usize,
    pub b_depth: usize,
    pub c: *mut R,
    pub c_row: usize,
    pub after: After<R>,
}

/// Rows of scores, `stride` apart, of which the places from `from` to `to` are looked at; both are
/// multiples of the lanes of a register.
#[derive(Clone, Copy)]
pub(super) struct Scores<R> {
    pub at: *mut R,
    pub stride: usize,
    pub rows: usize,
    pub from: usize,
    pub to: usize,
}

/// The kernels of one instruction set.
pub(super) struct Kernels<R> {
    /// For the tests' messages.
    #[cfg_attr(not(test), expect(dead_code))]
    pub name: &'static str,
    /// Numbers of a register: what columns are padded to.
    pub lanes: usize,
    /// Columns of a panel of b.
    pub panel: usize,
    pub product: unsafe fn(&Product<R>),
    /// Turns scores in powers of two into weights: each row's maximum and sum of weights go into the
    /// two arrays.
    pub softmax: unsafe fn(Scores<R>, *mut R, *mut R),
    /// Takes a tile's maxima and sums into the running ones; its first two arrays come back as the
    /// factors for what there was and for what is new. So many rows, padded to the lanes.
    pub take_in: unsafe fn(rows: usize, tile_most: *mut R, tile_sum: *mut R, most: *mut R, sum: *mut R),
    /// Turns scores into weights and the weights' gradients beside them into the scores' gradients
    /// times the last argument. Arrays: each row's logarithm of the sum, and its delta.
    pub gradient: unsafe fn(Scores<R>, *mut R, *const R, *const R, R),
    /// Whether so many numbers are all finite.
    pub finite: unsafe fn(*const R, usize) -> bool,
    /// Writes so many rows (address, distance, rows, length) as panels of columns, padded with zeros.
    pub transpose: unsafe fn(*const R, usize, usize, usize, *mut R),
}

impl<R: Real> Kernels<R> {
    /// The best that this processor has.
    pub fn best() -> &'static Kernels<R> {
        levels()
            .first()
            .unwrap_or_else(|| unreachable!("the plain kernels are always there"))
    }

    pub fn pad(&self, columns: usize) -> usize {
        columns.next_multiple_of(self.lanes)
    }
}

/// All that this processor has, fastest first.
pub(super) fn levels<R: Real>() -> Vec<&'static Kernels<R>> {
    let mut tables: Vec<[&'static dyn Any; 2]> = Vec::with_capacity(3);
    #[cfg(target_arch = "x86_64")]
    {
        // The macro keeps its answers: asking again costs a load.
        if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512dq") {
            tables.push([&avx512::F32, &avx512::F64]);
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            tables.push([&avx2::F32, &avx2::F64]);
        }
    }
    tables.push([&plain::F32, &plain::F64]);
    tables
        .into_iter()
        .flatten()
        .filter_map(|table| table.downcast_ref())
        .collect()
}

/// The rows of one register tile: `ROWS` rows and `COLUMNS` registers, `depth` steps.
///
/// # Safety
/// As for [`Product`], for this part of it.
#[inline(always)]
#[expect(
    clippy::multiple_unsafe_ops_per_block,
    reason = "one loop over addresses that the caller vouches for"
)]
unsafe fn tile<V: Lanes, const ROWS: usize, const COLUMNS: usize>(
    product: &Product<V::Number>,
    row: usize,
    b: *const V::Number,
    c: *mut V::Number,
) {
    // SAFETY: the caller's contract.
    unsafe {
        let mut sums = [[V::splat(V::Number::of(0.0)); COLUMNS]; ROWS];
        let a = product.a.add(row * product.a_row);
        for k in 0..product.depth {
            let mut columns = [V::splat(V::Number::of(0.0)); COLUMNS];
            for (n, column) in columns.iter_mut().enumerate() {
                *column = V::load(b.add(k * product.b_depth + n * V::COUNT));
            }
            for (r, sums) in sums.iter_mut().enumerate() {
                let value = V::splat(*a.add(r * product.a_row + k * product.a_depth));
                for (sum, column) in sums.iter_mut().zip(columns) {
                    *sum = value.mul_add(column, *sum);
                }
            }
        }
        for (r, sums) in sums.iter().enumerate() {
            let c = c.add((row + r) * product.c_row);
            for (n, sum) in sums.iter().enumerate() {
                let c = c.add(n * V::COUNT);
                let value = match product.after {
                    After::Write(factor) => sum.times(V::splat(factor)),
                    After::Add => V::load(c).plus(*sum),
                    After::Merge { old, new } => sum.mul_add(
                        V::splat(*new.add(row + r)),
                        V::load(c).times(V::splat(*old.add(row + r))),
                    ),
                };
                value.store(c);
            }
        }
    }
}

/// All row tiles of one panel.
#[inline(always)]
#[expect(
    clippy::multiple_unsafe_ops_per_block,
    reason = "the same call for each number of rows"
)]
unsafe fn panel<V: Lanes, const COLUMNS: usize>(product: &Product<V::Number>, b: *const V::Number, c: *mut V::Number) {
    let mut row = 0;
    while row < product.rows {
        // SAFETY: the caller's contract.
        unsafe {
            match (product.rows - row).min(V::TILE_ROWS) {
                6 => tile::<V, 6, COLUMNS>(product, row, b, c),
                5 => tile::<V, 5, COLUMNS>(product, row, b, c),
                4 => tile::<V, 4, COLUMNS>(product, row, b, c),
                3 => tile::<V, 3, COLUMNS>(product, row, b, c),
                2 => tile::<V, 2, COLUMNS>(product, row, b, c),
                _ => tile::<V, 1, COLUMNS>(product, row, b, c),
            }
        }
        row += V::TILE_ROWS;
    }
}

/// # Safety
/// The arrays hold what [`Product`] says.
#[inline(always)]
#[expect(clippy::multiple_unsafe_ops_per_block, reason = "the same call for each width")]
unsafe fn product<V: Lanes>(product: &Product<V::Number>) {
    let width = V::COUNT * V::TILE_COLUMNS;
    let mut column = 0;
    while column < product.columns {
        let registers = (product.columns - column).div_ceil(V::COUNT).min(V::TILE_COLUMNS);
        // SAFETY: the caller's contract.
        unsafe {
            let b = product.b.add(column / width * product.b_panel);
            let c = product.c.add(column);
            if V::TILE_COLUMNS >= 4 && registers == 4 {
                panel::<V, 4>(product, b, c);
            } else if V::TILE_COLUMNS >= 3 && registers == 3 {
                panel::<V, 3>(product, b, c);
            } else if V::TILE_COLUMNS >= 2 && registers == 2 {
                panel::<V, 2>(product, b, c);
            } else {
                panel::<V, 1>(product, b, c);
            }
        }
        column += width;
    }
}

/// # Safety
/// `scores` lies in an array; `most` and `sum` hold a number for each row.
#[inline(always)]
#[expect(
    clippy::multiple_unsafe_ops_per_block,
    reason = "one loop over addresses that the caller vouches for"
)]
unsafe fn softmax<V: Lanes>(scores: Scores<V::Number>, most: *mut V::Number, sum: *mut V::Number) {
    let lowest = V::Number::of(f64::NEG_INFINITY);
    // SAFETY: the caller's contract.
    unsafe {
        for row in 0..scores.rows {
            let at = scores.at.add(row * scores.stride);
            let mut tops = [V::splat(lowest); 2];
            let mut place = scores.from;
            while place + 2 * V::COUNT <= scores.to {
                tops[0] = tops[0].most(V::load(at.add(place)));
                tops[1] = tops[1].most(V::load(at.add(place + V::COUNT)));
                place += 2 * V::COUNT;
            }
            if place < scores.to {
                tops[0] = tops[0].most(V::load(at.add(place)));
            }
            let top = tops[0].most(tops[1]).maximum();
            // A row that sees nothing here: its scores are all -inf, and its weights must be 0.
            let base = V::splat(if top == lowest { V::Number::of(0.0) } else { top });
            // One part for each lane: the order does not depend on where the row's first place is.
            let mut total = V::splat(V::Number::of(0.0));
            let mut place = scores.from;
            while place < scores.to {
                let weight = V::load(at.add(place)).minus(base).exp2();
                weight.store(at.add(place));
                total = total.plus(weight);
                place += V::COUNT;
            }
            *most.add(row) = top;
            *sum.add(row) = total.sum();
        }
    }
}

/// # Safety
/// All four arrays hold `rows` numbers, padded to the lanes.
#[inline(always)]
#[expect(
    clippy::multiple_unsafe_ops_per_block,
    reason = "one loop over addresses that the caller vouches for"
)]
unsafe fn take_in<V: Lanes>(
    rows: usize,
    tile_most: *mut V::Number,
    tile_sum: *mut V::Number,
    most: *mut V::Number,
    sum: *mut V::Number,
) {
    let zero = V::Number::of(0.0);
    let lowest = V::Number::of(f64::NEG_INFINITY);
    // As many as the widest register has lanes.
    let mut shift = [zero; 16];
    let mut row = 0;
    while row < rows {
        // SAFETY: the caller's contract.
        unsafe {
            for (at, shift) in (row..row + V::COUNT).zip(&mut shift) {
                let (old, new) = (*most.add(at), *tile_most.add(at));
                let greater = if old > new { old } else { new };
                // -inf - -inf is no number: rows that have seen nothing are measured from 0.
                let base = if greater == lowest { zero } else { greater };
                *tile_most.add(at) = new - base;
                *shift = old - base;
                *most.add(at) = greater;
            }
            let old = V::load(shift.as_ptr()).exp2();
            let new = V::load(tile_most.add(row)).exp2();
            let total = V::load(tile_sum.add(row)).mul_add(new, V::load(sum.add(row)).times(old));
            total.store(sum.add(row));
            old.store(tile_most.add(row));
            new.store(tile_sum.add(row));
        }
        row += V::COUNT;
    }
}

/// # Safety
/// `scores` and the gradients lie in arrays of one shape; `logarithm` and `delta` hold a number for
/// each row.
#[inline(always)]
#[expect(
    clippy::multiple_unsafe_ops_per_block,
    reason = "one loop over addresses that the caller vouches for"
)]
unsafe fn gradient<V: Lanes>(
    scores: Scores<V::Number>,
    d_weights: *mut V::Number,
    logarithm: *const V::Number,
    delta: *const V::Number,
    factor: V::Number,
) {
    // SAFETY: the caller's contract.
    unsafe {
        let factor = V::splat(factor);
        for row in 0..scores.rows {
            let logarithm = V::splat(*logarithm.add(row));
            let delta = V::splat(*delta.add(row));
            let mut place = scores.from;
            while place < scores.to {
                let at = scores.at.add(row * scores.stride + place);
                let d_at = d_weights.add(row * scores.stride + place);
                let weight = V::load(at).minus(logarithm).exp2();
                weight.store(at);
                weight.times(V::load(d_at).minus(delta)).times(factor).store(d_at);
                place += V::COUNT;
            }
        }
    }
}

/// # Safety
/// There are `count` numbers at `from`.
#[inline(always)]
#[expect(
    clippy::multiple_unsafe_ops_per_block,
    reason = "one loop over addresses that the caller vouches for"
)]
unsafe fn finite<V: Lanes>(from: *const V::Number, count: usize) -> bool {
    let zero = V::Number::of(0.0);
    // SAFETY: the caller's contract.
    unsafe {
        // A finite number times 0 is 0; anything else gives NaN, which stays.
        let mut traces = [V::splat(zero); 4];
        let mut at = 0;
        while at + 4 * V::COUNT <= count {
            for (n, trace) in traces.iter_mut().enumerate() {
                *trace = V::load(from.add(at + n * V::COUNT)).mul_add(V::splat(zero), *trace);
            }
            at += 4 * V::COUNT;
        }
        let mut rest = zero;
        while at < count {
            rest += *from.add(at) * zero;
            at += 1;
        }
        let [a, b, c, d] = traces;
        a.plus(b).plus(c.plus(d)).sum() + rest == zero
    }
}

/// # Safety
/// There are `rows` rows of `length` numbers at `from`; `into` has room for whole panels.
#[inline(always)]
#[expect(
    clippy::multiple_unsafe_ops_per_block,
    reason = "one loop over addresses that the caller vouches for"
)]
unsafe fn transpose<V: Lanes>(from: *const V::Number, stride: usize, rows: usize, length: usize, into: *mut V::Number) {
    let width = V::COUNT * V::TILE_COLUMNS;
    let square = V::COUNT;
    for panel in 0..rows.div_ceil(width) {
        // SAFETY: the caller's contract.
        let into = unsafe { into.add(panel * length * width) };
        let mut column = 0;
        while column < width {
            let first = panel * width + column;
            let mut at = 0;
            while at < length {
                // A square touches as many rows as it is wide, too far apart for the processor's own
                // foresight: what the square after the next one needs is asked for now.
                for row in 0..square {
                    prefetch(from.wrapping_add((first + 2 * square + row) * stride + at));
                }
                // SAFETY: the caller's contract: rows below `rows`, places below `length`.
                unsafe {
                    let into = into.add(at * width + column);
                    if first + square <= rows && at + square <= length {
                        V::transpose(from.add(first * stride + at), stride, into, width);
                    } else {
                        for k in 0..square.min(length - at) {
                            for row in 0..square {
                                *into.add(k * width + row) = if first + row < rows {
                                    *from.add((first + row) * stride + at + k)
                                } else {
                                    V::Number::of(0.0)
                                };
                            }
                        }
                    }
                }
                at += square;
            }
            column += square;
        }
    }
}

/// Asks for the line of `address`, which may lie anywhere: nothing is read.
#[inline(always)]
fn prefetch<N>(address: *const N) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch has no effect on memory and cannot fault.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// The tables of one instruction set.
macro_rules! level {
    ($module:ident, [$($feature:expr)?] $f32:ty, $f64:ty) => {
        mod $module {
            use super::*;

            level!(table $module, F32, f32, single, [$($feature)?] $f32);
            level!(table $module, F64, f64, double, [$($feature)?] $f64);
        }
    };
    (table $module:ident, $table:ident, $number:ty, $inner:ident, [$($feature:expr)?] $lanes:ty) => {
        pub(super) static $table: Kernels<$number> = Kernels {
            name: stringify!($module $inner),
            lanes: <$lanes>::COUNT,
            panel: <$lanes>::COUNT * <$lanes>::TILE_COLUMNS,
            product: $inner::product,
            softmax: $inner::softmax,
            take_in: $inner::take_in,
            gradient: $inner::gradient,
            finite: $inner::finite,
            transpose: $inner::transpose,
        };

        mod $inner {
            use super::super::*;

            level!(kernel [$($feature)?] $lanes, product(product: &Product<$number>));
            level!(kernel [$($feature)?] $lanes, softmax(scores: Scores<$number>, most: *mut $number, sum: *mut $number));
            level!(kernel [$($feature)?] $lanes, take_in(rows: usize, tile_most: *mut $number, tile_sum: *mut $number, most: *mut $number, sum: *mut $number));
            level!(kernel [$($feature)?] $lanes, gradient(scores: Scores<$number>, d_weights: *mut $number, logarithm: *const $number, delta: *const $number, factor: $number));
            level!(kernel [$($feature)?] $lanes, finite(from: *const $number, count: usize) -> bool);
            level!(kernel [$($feature)?] $lanes, transpose(from: *const $number, stride: usize, rows: usize, length: usize, into: *mut $number));
        }
    };
    (kernel [$($feature:expr)?] $lanes:ty, $name:ident($($argument:ident: $type:ty),*) $(-> $result:ty)?) => {
        $(#[target_feature(enable = $feature)])?
        pub(super) unsafe fn $name($($argument: $type),*) $(-> $result)? {
            // SAFETY: the caller keeps the kernel's contract, and the table is only handed out where
            // the processor has the instruction set.
            unsafe { super::super::$name::<$lanes>($($argument),*) }
        }
    };
}

#[cfg(target_arch = "x86_64")]
level!(avx512, ["avx512f,avx512dq,avx2,fma"] F32x16, F64x8);
#[cfg(target_arch = "x86_64")]
level!(avx2, ["avx2,fma"] F32x8, F64x4);
level!(plain, [] Plain<f32>, Plain<f64>);

#[cfg(test)]
mod tests {
    use super::*;

    fn check<R: Real>(unit: f64) {
        for kernels in levels::<R>() {
            // From the greatest score down by steps that are exact, past the least number.
            let mut scores: Vec<R> = (0..12_000).map(|at| R::of(3.5 - f64::from(at) * 0.109_375)).collect();
            scores[15] = R::of(f64::NEG_INFINITY);
            let given = scores.clone();
            let (mut most, mut sum) = ([R::of(0.0)], [R::of(0.0)]);
            let rows = Scores {
                at: scores.as_mut_ptr(),
                stride: 0,
                rows: 1,
                from: 0,
                to: scores.len(),
            };
            // SAFETY: one row, one number in each array; 12 000 is a multiple of 16.
            unsafe { (kernels.softmax)(rows, most.as_mut_ptr(), sum.as_mut_ptr()) };
            assert_eq!(most[0].to_f64(), 3.5, "{}", kernels.name);
            assert_eq!(scores[0].to_f64(), 1.0, "{}", kernels.name);
            let mut total = 0.0;
            for (weight, score) in scores.iter().zip(&given) {
                let (weight, expected) = (weight.to_f64(), (score.to_f64() - 3.5).exp2());
                let least = if unit > 1e-10 {
                    f64::from(f32::MIN_POSITIVE)
                } else {
                    f64::MIN_POSITIVE
                };
                let bound = unit * 4.0 * expected + least;
                assert!(
                    (weight - expected).abs() <= bound,
                    "{}: 2^{:?} is {weight}, not {expected}",
                    kernels.name,
                    score
                );
                total += expected;
            }
            assert!((sum[0].to_f64() / total - 1.0).abs() < 100.0 * unit, "{}", kernels.name);
        }
    }

    #[test]
    fn powers_of_two_are_within_a_few_last_places() {
        check::<f32>(6e-8);
        check::<f64>(1.2e-16);
    }

    #[test]
    fn turning_and_finding_what_is_not_finite_work_at_every_length() {
        for kernels in levels::<f32>() {
            for (rows, length) in [(1_usize, 1_usize), (16, 16), (70, 33), (256, 64), (64, 5)] {
                let stride = length + 3;
                let from: Vec<f32> = (0..rows * stride).map(|at| at as f32).collect();
                let panels = rows.div_ceil(kernels.panel);
                let mut into = vec![f32::NAN; panels * kernels.panel * length];
                // SAFETY: both arrays have the size that is said.
                unsafe { (kernels.transpose)(from.as_ptr(), stride, rows, length, into.as_mut_ptr()) };
                for (at, found) in into.iter().enumerate() {
                    let (panel, rest) = (at / (kernels.panel * length), at % (kernels.panel * length));
                    let row = panel * kernels.panel + rest % kernels.panel;
                    let expected = if row < rows {
                        from[row * stride + rest / kernels.panel]
                    } else {
                        0.0
                    };
                    assert_eq!(*found, expected, "{} {rows} {length} {at}", kernels.name);
                }
            }
            for count in [0, 1, 63, 64, 200] {
                let mut numbers = vec![f32::MAX; count];
                // SAFETY: a slice.
                let finite = |numbers: &[f32]| unsafe { (kernels.finite)(numbers.as_ptr(), numbers.len()) };
                assert!(finite(&numbers), "{}", kernels.name);
                for at in 0..count {
                    for wrong in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                        numbers[at] = wrong;
                        assert!(!finite(&numbers), "{} {at} of {count}", kernels.name);
                    }
                    numbers[at] = 0.0;
                }
            }
        }
    }
}
