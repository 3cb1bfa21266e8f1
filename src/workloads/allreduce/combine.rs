//! Two rows become one, element by element: the arithmetic of a reduction.
//!
//! Values are combined in [`Element::Sum`] and stored in their own type at once: partial results
//! of bf16 are rounded at every hop, as in MPI, since that is what a message holds. The loops are
//! plain, and compiled for AVX-512, for AVX2 and for what every processor has; there is nothing to
//! contract or to reorder in them, so all three give the same bits.

use crate::linear::{Element, Real};

use super::plan::Op;

type Sum<T> = <T as Element>::Sum;

/// into\[i\] = into\[i\] op with\[i\].
pub(super) fn combine<T: Element>(op: Op, into: &mut [T], with: &[T]) {
    debug_assert_eq!(into.len(), with.len());
    Level::best().run(Combine { op, into, with });
}

/// Both a\[i\] and b\[i\] become a\[i\] op b\[i\]; of a mean, half of it.
pub(super) fn combine_both<T: Element>(op: Op, a: &mut [T], b: &mut [T]) {
    debug_assert_eq!(a.len(), b.len());
    Level::best().run(CombineBoth { op, a, b });
}

/// values\[i\] = values\[i\] / `ranks`, rounded once.
pub(super) fn divide<T: Element>(values: &mut [T], ranks: usize) {
    Level::best().run(Divide { values, ranks });
}

/// The instructions a loop is compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

trait Kernel {
    /// Inlined into a function that has the instructions.
    fn body(self);
}

impl Level {
    #[cfg(target_arch = "x86_64")]
    fn available() -> impl Iterator<Item = Level> {
        let avx512 = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl");
        let avx2 = is_x86_feature_detected!("avx2");
        [
            avx512.then_some(Level::Avx512),
            avx2.then_some(Level::Avx2),
            Some(Level::Portable),
        ]
        .into_iter()
        .flatten()
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn available() -> impl Iterator<Item = Level> {
        std::iter::once(Level::Portable)
    }

    fn best() -> Level {
        Level::available().next().unwrap_or(Level::Portable)
    }

    fn run(self, kernel: impl Kernel) {
        match self {
            Level::Portable => kernel.body(),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: a level comes from `available`, which has asked the processor for AVX2.
            Level::Avx2 => unsafe { with_avx2(kernel) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above, for the AVX-512 sets that `with_avx512` names.
            Level::Avx512 => unsafe { with_avx512(kernel) },
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn with_avx2(kernel: impl Kernel) {
    kernel.body();
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn with_avx512(kernel: impl Kernel) {
    kernel.body();
}

struct Combine<'a, T> {
    op: Op,
    into: &'a mut [T],
    with: &'a [T],
}

impl<T: Element> Kernel for Combine<'_, T> {
    #[inline(always)]
    fn body(self) {
        // One loop an operation: the choice stays outside of it.
        match self.op {
            Op::Sum | Op::Mean => each(self.into, self.with, sum),
            Op::Prod => each(self.into, self.with, prod),
            Op::Min => each(self.into, self.with, min),
            Op::Max => each(self.into, self.with, max),
        }
    }
}

#[inline(always)]
fn each<T: Element>(into: &mut [T], with: &[T], combine: impl Fn(Sum<T>, Sum<T>) -> Sum<T>) {
    for (into, with) in into.iter_mut().zip(with) {
        *into = T::narrow(combine(into.wide(), with.wide()));
    }
}

struct CombineBoth<'a, T> {
    op: Op,
    a: &'a mut [T],
    b: &'a mut [T],
}

impl<T: Element> Kernel for CombineBoth<'_, T> {
    #[inline(always)]
    fn body(self) {
        let both = Sum::<T>::of(2.0);
        match self.op {
            Op::Sum => each_both(self.a, self.b, |a, b| T::narrow(sum(a, b))),
            // Stored in between, as where the sum is finished before it is divided.
            Op::Mean => each_both(self.a, self.b, |a, b| T::narrow(T::narrow(sum(a, b)).wide() / both)),
            Op::Prod => each_both(self.a, self.b, |a, b| T::narrow(prod(a, b))),
            Op::Min => each_both(self.a, self.b, |a, b| T::narrow(min(a, b))),
            Op::Max => each_both(self.a, self.b, |a, b| T::narrow(max(a, b))),
        }
    }
}

#[inline(always)]
fn each_both<T: Element>(a: &mut [T], b: &mut [T], combine: impl Fn(Sum<T>, Sum<T>) -> T) {
    for (a, b) in a.iter_mut().zip(b) {
        let both = combine(a.wide(), b.wide());
        *a = both;
        *b = both;
    }
}

struct Divide<'a, T> {
    values: &'a mut [T],
    ranks: usize,
}

impl<T: Element> Kernel for Divide<'_, T> {
    #[inline(always)]
    fn body(self) {
        let ranks = Sum::<T>::of(self.ranks as f64);
        for value in self.values {
            *value = T::narrow(value.wide() / ranks);
        }
    }
}

#[inline(always)]
fn sum<R: Real>(a: R, b: R) -> R {
    a + b
}

#[inline(always)]
fn prod<R: Real>(a: R, b: R) -> R {
    a * b
}

/// With -0 below +0, and NaN when either is.
#[inline(always)]
fn min<R: Real>(a: R, b: R) -> R {
    // The sum of the negated is +0 unless both are -0, so its negative is -0 unless both are +0.
    let equal = if a == R::default() { -(-a + -b) } else { a };
    pick(a < b, b < a, a, b, equal)
}

/// With +0 above -0, and NaN when either is.
#[inline(always)]
fn max<R: Real>(a: R, b: R) -> R {
    // The sum of two zeros is +0 unless both are -0.
    let equal = if a == R::default() { a + b } else { a };
    pick(b < a, a < b, a, b, equal)
}

#[inline(always)]
fn pick<R: Real>(first: bool, second: bool, a: R, b: R, equal: R) -> R {
    let unordered = a + b;
    let tie = if a == b { equal } else { unordered };
    let not_first = if second { b } else { tie };
    if first { a } else { not_first }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linear::bf16;

    const ODD: [f32; 8] = [0.0, -0.0, 1.0, -1.5, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, 1e-40];

    /// As the standard defines them, case by case.
    fn by_definition(op: Op, a: f32, b: f32) -> f32 {
        match op {
            Op::Sum | Op::Mean => a + b,
            Op::Prod => a * b,
            _ if a.is_nan() || b.is_nan() => f32::NAN,
            Op::Min if a == b => {
                if a.is_sign_negative() {
                    a
                } else {
                    b
                }
            }
            Op::Max if a == b => {
                if a.is_sign_negative() {
                    b
                } else {
                    a
                }
            }
            Op::Min => a.min(b),
            Op::Max => a.max(b),
        }
    }

    fn bits(values: &[f32]) -> Vec<u32> {
        let canonical = |value: &f32| if value.is_nan() { f32::NAN } else { *value };
        values.iter().map(|value| canonical(value).to_bits()).collect()
    }

    #[test]
    fn every_level_gives_the_bits_of_the_definition() {
        // Longer than a vector, and not a multiple of one.
        let a: Vec<f32> = (0..67).map(|at| ODD[at % 8]).collect();
        let b: Vec<f32> = (0..67).map(|at| ODD[at / 8 % 8]).collect();
        for op in Op::ALL {
            let expected: Vec<f32> = a.iter().zip(&b).map(|(a, b)| by_definition(op, *a, *b)).collect();
            let halves: Vec<f32> = expected.iter().map(|sum| sum / 2.0).collect();
            let expected_both = if op == Op::Mean { &halves } else { &expected };
            for level in Level::available() {
                let mut into = a.clone();
                level.run(Combine {
                    op,
                    into: &mut into,
                    with: &b,
                });
                assert_eq!(bits(&into), bits(&expected), "{op:?} {level:?}");
                let (mut x, mut y) = (a.clone(), b.clone());
                level.run(CombineBoth {
                    op,
                    a: &mut x,
                    b: &mut y,
                });
                assert_eq!(bits(&x), bits(expected_both), "{op:?} {level:?}");
                assert_eq!(bits(&y), bits(expected_both), "{op:?} {level:?}");
            }
        }
    }

    #[test]
    fn a_mean_divides_and_does_not_multiply_by_an_inexact_inverse() {
        for level in Level::available() {
            let mut values = [5.0_f32; 33];
            level.run(Divide {
                values: &mut values,
                ranks: 3,
            });
            assert_eq!(values, [5.0 / 3.0; 33]);
        }
    }

    #[test]
    fn halves_are_rounded_at_every_hop() {
        // 256 + 1 does not fit 8 bits of mantissa: each hop loses the 1.
        let mut sum = [bf16::from_f32(256.0)];
        for _ in 0..4 {
            combine(Op::Sum, &mut sum, &[bf16::ONE]);
        }
        assert_eq!(sum[0].to_f32(), 256.0);
    }
}
