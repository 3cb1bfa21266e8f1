//! The product of two matrices, in parallel.

use super::blocks::{Block, Kernel, buffer_length, compute};
use super::element::Kind;
use super::level::Level;
use super::portable::Portable;
use super::{Element, Real, bf16, f16};
use crate::Join;

/// A matrix to read: element (i, j) is `data[i * row_stride + j * column_stride]`. Swap the
/// strides and the counts to have it transposed.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a, T> {
    pub data: &'a [T],
    pub rows: usize,
    pub columns: usize,
    pub row_stride: usize,
    pub column_stride: usize,
}

impl<'a, T> Matrix<'a, T> {
    /// Row after row, without gaps.
    pub fn dense(data: &'a [T], rows: usize, columns: usize) -> Matrix<'a, T> {
        Matrix {
            data,
            rows,
            columns,
            row_stride: columns,
            column_stride: 1,
        }
    }

    pub fn transposed(self) -> Matrix<'a, T> {
        Matrix {
            data: self.data,
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
        }
    }
}

/// A matrix to write: rows without gaps, `row_stride` apart.
#[derive(Debug)]
pub struct MatrixMut<'a, T> {
    pub data: &'a mut [T],
    pub rows: usize,
    pub columns: usize,
    pub row_stride: usize,
}

impl<'a, T> MatrixMut<'a, T> {
    pub fn dense(data: &'a mut [T], rows: usize, columns: usize) -> MatrixMut<'a, T> {
        MatrixMut {
            data,
            rows,
            columns,
            row_stride: columns,
        }
    }
}

/// c = alpha a b + beta c, summed in `T::Sum`. `beta` 0 writes over whatever c held, NaN included.
///
/// Panics when the shapes do not fit each other or their data: that is the caller's mistake.
pub fn multiply<T: Element>(
    join: &dyn Join,
    alpha: T::Sum,
    a: Matrix<'_, T>,
    b: Matrix<'_, T>,
    beta: T::Sum,
    c: MatrixMut<'_, T::Sum>,
) {
    multiply_at(Level::best(), join, alpha, a, b, beta, c);
}

fn multiply_at<T: Element>(
    level: Level,
    join: &dyn Join,
    alpha: T::Sum,
    a: Matrix<'_, T>,
    b: Matrix<'_, T>,
    beta: T::Sum,
    c: MatrixMut<'_, T::Sum>,
) {
    assert_eq!(a.columns, b.rows, "inner lengths differ");
    assert_eq!((a.rows, b.columns), (c.rows, c.columns), "the result has another shape");
    if c.rows == 0 || c.columns == 0 {
        return;
    }
    assert!(
        spans(a.data.len(), a.rows, a.row_stride, a.columns, a.column_stride),
        "a's strides go beyond its data"
    );
    assert!(
        spans(b.data.len(), b.rows, b.row_stride, b.columns, b.column_stride),
        "b's strides go beyond its data"
    );
    assert!(
        spans(c.data.len(), c.rows, c.row_stride, c.columns, 1),
        "c's rows go beyond its data"
    );
    assert!(c.rows == 1 || c.row_stride >= c.columns, "c's rows overlap");
    let block = Block::<T> {
        rows: c.rows,
        columns: c.columns,
        depth: a.columns,
        a: a.data.as_ptr(),
        a_row_stride: a.row_stride,
        a_column_stride: a.column_stride,
        b: b.data.as_ptr(),
        b_row_stride: b.row_stride,
        b_column_stride: b.column_stride,
        c: c.data.as_mut_ptr(),
        c_row_stride: c.row_stride,
        alpha,
        beta,
    };
    let pieces = pieces(join.width(), block.rows, block.columns, block.depth);
    split(level, join, block, pieces);
}

/// Whether every index of such a matrix lies within `length`.
fn spans(length: usize, rows: usize, row_stride: usize, columns: usize, column_stride: usize) -> bool {
    if rows == 0 || columns == 0 {
        return true;
    }
    let last = (rows - 1)
        .checked_mul(row_stride)
        .zip((columns - 1).checked_mul(column_stride))
        .and_then(|(down, along)| down.checked_add(along));
    last.is_some_and(|last| last < length)
}

/// Below so many products of numbers, handing a piece to another thread costs more than it saves.
const SMALLEST_PIECE: usize = 1 << 19;
/// Above, a thread may have several pieces, so that one that is late doesn't keep all waiting.
const LARGE_PIECE: usize = 1 << 24;

fn pieces(width: usize, rows: usize, columns: usize, depth: usize) -> usize {
    if width <= 1 {
        return 1;
    }
    let work = rows.saturating_mul(columns).saturating_mul(depth.max(1));
    (work / SMALLEST_PIECE)
        .min(width)
        .max((work / LARGE_PIECE).min(4 * width))
        .max(1)
}

/// Cuts the longer side, as often as there are pieces to be had; the inner length stays whole.
fn split<T: Element>(level: Level, join: &dyn Join, block: Block<T>, pieces: usize) {
    // Cuts at whole vectors: a column that is cut elsewhere would be computed with idle lanes.
    const GRAIN: usize = 32;
    let by_columns = block.columns >= 2 * GRAIN && block.columns >= block.rows;
    if pieces <= 1 || (!by_columns && block.rows < 2) {
        T::compute(level, &block);
        return;
    }
    let half = pieces / 2;
    let (mut first, mut second) = (block.clone(), block);
    if by_columns {
        let cut = (first.columns * half / pieces)
            .next_multiple_of(GRAIN)
            .min(first.columns - 1);
        first.columns = cut;
        second.columns -= cut;
        // SAFETY: still inside `b`.
        second.b = unsafe {
            second.b.add(if second.depth == 0 {
                0
            } else {
                cut * second.b_column_stride
            })
        };
        // SAFETY: still inside `c`.
        second.c = unsafe { second.c.add(cut) };
    } else {
        let cut = (first.rows * half / pieces).max(1);
        first.rows = cut;
        second.rows -= cut;
        // SAFETY: still inside `a`.
        second.a = unsafe {
            second.a.add(if second.depth == 0 {
                0
            } else {
                cut * second.a_row_stride
            })
        };
        // SAFETY: still inside `c`.
        second.c = unsafe { second.c.add(cut * second.c_row_stride) };
    }
    join.join(
        || split(level, join, first, half),
        || split(level, join, second, pieces - half),
    );
}

/// The most bytes that one thread keeps for packing during a product of this shape, whatever the
/// machine. They stay with the thread until it ends, so several products in turn need the largest.
pub fn product_scratch_bytes<T: Element>(rows: usize, columns: usize, depth: usize) -> u64 {
    if rows == 0 || columns == 0 {
        return 0;
    }
    T::scratch_bytes(Level::best(), rows, depth)
}

/// Which kernel multiplies a stored type. Nobody outside can name it, so nobody can add one.
pub trait Multiplied: Sized {
    #[doc(hidden)]
    const KIND: Kind;

    #[doc(hidden)]
    fn compute(level: Level, block: &Block<Self>)
    where
        Self: Element;

    #[doc(hidden)]
    fn scratch_bytes(level: Level, rows: usize, depth: usize) -> u64
    where
        Self: Element;
}

fn bytes<K: Kernel>(rows: usize, depth: usize) -> u64 {
    (buffer_length::<K>(rows, depth) * size_of::<K::Packed>() + 64) as u64
}

macro_rules! multiplied {
    ($stored:ident, $kind:ident: $($level:pat => $kernel:ty),+) => {
        impl Multiplied for $stored {
            const KIND: Kind = Kind::$kind;

            fn compute(level: Level, block: &Block<$stored>) {
                match level {
                    $(
                        #[cfg(target_arch = "x86_64")]
                        // SAFETY: the block was checked; a level is proof of its instructions.
                        $level => unsafe { compute::<$kernel>(block) },
                    )+
                    #[allow(unreachable_patterns, reason = "other machines have this level only")]
                    // SAFETY: the block was checked.
                    _ => unsafe { compute::<Portable<$stored>>(block) },
                }
            }

            fn scratch_bytes(level: Level, rows: usize, depth: usize) -> u64 {
                match level {
                    $(
                        #[cfg(target_arch = "x86_64")]
                        $level => bytes::<$kernel>(rows, depth),
                    )+
                    #[allow(unreachable_patterns, reason = "other machines have this level only")]
                    _ => bytes::<Portable<$stored>>(rows, depth),
                }
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
use super::{avx2, avx512};

multiplied!(f32, F32: Level::Avx512 | Level::Avx512Bf16 => avx512::Widened<f32>, Level::Avx2 => avx2::Widened<f32>);
multiplied!(f16, F16: Level::Avx512 | Level::Avx512Bf16 => avx512::Widened<f16>, Level::Avx2 => avx2::Widened<f16>);
multiplied!(
    bf16, Bf16: Level::Avx512Bf16 => avx512::Pairs, Level::Avx512 => avx512::Widened<bf16>,
    Level::Avx2 => avx2::Widened<bf16>
);
multiplied!(f64, F64: Level::Avx512 | Level::Avx512Bf16 => avx512::Doubles, Level::Avx2 => avx2::Doubles<f64>);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Sequential;
    use crate::random::Random;
    use crate::tests::OnThreads;

    fn numbers<T: Element>(random: &mut Random, count: usize) -> Vec<T> {
        (0..count)
            .map(|_| T::narrow(T::Sum::of(random.below(2001) as f64 / 1000.0 - 1.0)))
            .collect()
    }

    /// Where a matrix lies in its data: a side by side with others, transposed, with gaps.
    struct Layout {
        rows: usize,
        columns: usize,
        row_stride: usize,
        column_stride: usize,
    }

    impl Layout {
        fn any(random: &mut Random, rows: usize, columns: usize) -> Layout {
            let gap = random.below(3) as usize;
            let step = 1 + random.below(8).saturating_sub(5) as usize;
            let (row_stride, column_stride) = match random.below(2) {
                0 => (columns * step + gap, step),
                _ => (step, rows * step + gap),
            };
            Layout {
                rows,
                columns,
                row_stride,
                column_stride,
            }
        }

        fn length(&self) -> usize {
            if self.rows == 0 || self.columns == 0 {
                return 0;
            }
            (self.rows - 1) * self.row_stride + (self.columns - 1) * self.column_stride + 1
        }

        fn over<'a, T>(&self, data: &'a [T]) -> Matrix<'a, T> {
            Matrix {
                data,
                rows: self.rows,
                columns: self.columns,
                row_stride: self.row_stride,
                column_stride: self.column_stride,
            }
        }
    }

    /// The definition in f64, and the sum of magnitudes that an error is measured by.
    fn plain<T: Element>(a: Matrix<'_, T>, b: Matrix<'_, T>, i: usize, j: usize) -> (f64, f64) {
        let (mut sum, mut magnitude) = (0.0, 0.0);
        for p in 0..a.columns {
            let product = a.data[i * a.row_stride + p * a.column_stride].wide().to_f64()
                * b.data[p * b.row_stride + j * b.column_stride].wide().to_f64();
            sum += product;
            magnitude += product.abs();
        }
        (sum, magnitude)
    }

    fn check<T: Element>(level: Level, random: &mut Random, m: usize, n: usize, k: usize, alpha: f64, beta: f64) {
        let (a_layout, b_layout) = (Layout::any(random, m, k), Layout::any(random, k, n));
        let a = numbers::<T>(random, a_layout.length());
        let b = numbers::<T>(random, b_layout.length());
        let (a, b) = (a_layout.over(&a), b_layout.over(&b));
        let row_stride = n + random.below(3) as usize;
        let before = if beta == 0.0 {
            vec![T::Sum::of(f64::NAN); m * row_stride]
        } else {
            numbers::<T::Sum>(random, m * row_stride)
        };
        let run = |join: &dyn Join| {
            let mut c = before.clone();
            let into = MatrixMut {
                data: &mut c,
                rows: m,
                columns: n,
                row_stride,
            };
            multiply_at(level, join, T::Sum::of(alpha), a, b, T::Sum::of(beta), into);
            c
        };
        let c = run(&Sequential);
        let epsilon = if size_of::<T::Sum>() == 8 {
            f64::EPSILON
        } else {
            f64::from(f32::EPSILON)
        };
        for i in 0..m {
            for j in 0..row_stride {
                let (old, new) = (before[i * row_stride + j].to_f64(), c[i * row_stride + j].to_f64());
                if j >= n {
                    assert!(new.to_bits() == old.to_bits(), "the gap behind row {i} was written to");
                    continue;
                }
                let (sum, magnitude) = plain(a, b, i, j);
                let expected = alpha * sum + if beta == 0.0 { 0.0 } else { beta * old };
                let bound = (k as f64 + 4.0) * epsilon * (alpha.abs() * magnitude + (beta * old).abs().max(0.0));
                let bound = if beta == 0.0 {
                    (k as f64 + 4.0) * epsilon * alpha.abs() * magnitude
                } else {
                    bound
                };
                assert!(
                    (new - expected).abs() <= bound,
                    "{} {level:?} {m}x{n}x{k} at {i}, {j}: {new}, not {expected}",
                    T::NAME
                );
            }
        }
        let bits = |c: &[T::Sum]| c.iter().map(|c| c.to_f64().to_bits()).collect::<Vec<_>>();
        for width in [2, 3, 16] {
            assert!(
                bits(&run(&OnThreads(width))) == bits(&c),
                "{width} threads give other bits"
            );
        }
    }

    fn check_shapes<T: Element>() {
        for level in Level::all() {
            let mut random = Random::new(11, level as u64);
            for (m, n, k) in [
                (0, 3, 2),
                (3, 0, 2),
                (3, 2, 0),
                (1, 1, 1),
                (14, 32, 8),
                (15, 33, 9),
                (29, 70, 257),
                (64, 10, 784),
                (3, 200, 100),
                (130, 131, 129),
            ] {
                check::<T>(level, &mut random, m, n, k, 1.0, 0.0);
                check::<T>(level, &mut random, m, n, k, -0.5, 2.0);
            }
            for _ in 0..60 {
                let (m, n, k) = (
                    random.below(50) as usize,
                    random.below(80) as usize,
                    random.below(90) as usize,
                );
                let beta = random.below(2) as f64;
                check::<T>(level, &mut random, m, n, k, 1.0, beta);
            }
        }
    }

    #[test]
    fn products_of_f32_are_within_their_bound() {
        check_shapes::<f32>();
    }

    #[test]
    fn products_of_f64_are_within_their_bound() {
        check_shapes::<f64>();
    }

    #[test]
    fn products_of_f16_are_within_their_bound() {
        check_shapes::<f16>();
    }

    #[test]
    fn products_of_bf16_are_within_their_bound() {
        check_shapes::<bf16>();
    }
}
