//! Tiles without special instructions: loops that the compiler makes vectors of on any machine.

use std::marker::PhantomData;

use super::blocks::{Kernel, Lanes, Tile, pack_plainly};
use super::{Element, Real};

/// Values are widened while they are packed.
pub struct Portable<T>(PhantomData<T>);

const ROWS: usize = 4;
/// Two vectors of f32 on a machine with the plainest ones, four of f64.
const COLUMNS: usize = 8;

impl<T: Element> Kernel for Portable<T> {
    type Stored = T;
    type Packed = T::Sum;

    const ROWS: usize = ROWS;
    const COLUMNS: usize = COLUMNS;
    const VALUES: usize = 1;
    const DEPTH: usize = 256;
    const BAND: usize = 64;
    const IN_PLACE: bool = false;

    unsafe fn pack(lanes: &Lanes<T>, into: *mut T::Sum, width: usize) {
        // SAFETY: as promised by the caller.
        unsafe { pack_plainly(lanes, into, width, T::wide) }
    }

    unsafe fn tile(tile: &Tile<T::Sum, T::Sum>) {
        let zero = T::Sum::default();
        let mut sums = [[zero; COLUMNS]; ROWS];
        for step in 0..tile.depth {
            // SAFETY: a step of the panel, which is that wide.
            let a = unsafe { tile.a.add(step * tile.a_step).cast::<[T::Sum; ROWS]>().read() };
            // SAFETY: as above.
            let b = unsafe { tile.b.add(step * tile.b_step).cast::<[T::Sum; COLUMNS]>().read() };
            for (sums, a) in sums.iter_mut().zip(a) {
                for (sum, b) in sums.iter_mut().zip(b) {
                    *sum += a * b;
                }
            }
        }
        // SAFETY: the tile lies inside `c`.
        unsafe { store_plainly(&sums, tile) };
    }
}

/// The end of a tile, element by element.
///
/// # Safety
///
/// The tile lies inside `c`.
pub unsafe fn store_plainly<P, S: Real, const N: usize>(sums: &[[S; N]], tile: &Tile<P, S>) {
    for (row, sums) in sums.iter().enumerate().take(tile.rows) {
        for (column, sum) in sums.iter().enumerate().take(tile.columns) {
            // SAFETY: inside the tile.
            let at = unsafe { tile.c.add(row * tile.c_row_stride + column) };
            let mut value = tile.alpha * *sum;
            if tile.beta != S::default() {
                // SAFETY: inside the tile.
                value += tile.beta * unsafe { at.read() };
            }
            // SAFETY: inside the tile.
            unsafe { at.write(value) };
        }
    }
}
