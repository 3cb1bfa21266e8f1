//! Tiles of 6 rows by two vectors in AVX2: 12 of the 16 registers hold sums.

use std::arch::x86_64::*;
use std::marker::PhantomData;

use super::Element;
use super::blocks::{Kernel, Lanes, Tile, pack_plainly};
use super::portable::store_plainly;

const ROWS: usize = 6;

/// Values of f32, or halves that are widened while they are packed.
pub struct Widened<T>(PhantomData<T>);

/// Values of f64.
pub struct Doubles<T>(PhantomData<T>);

macro_rules! kernel {
    ($kernel:ident<$stored:ident: $bound:path>, $sum:ty, $lanes:literal, $zero:ident,
     $load:ident, $store:ident, $set1:ident, $fmadd:ident, $mul:ident, $add:ident) => {
        impl<$stored: $bound> Kernel for $kernel<$stored> {
            type Stored = $stored;
            type Packed = $sum;

            const ROWS: usize = ROWS;
            const COLUMNS: usize = 2 * $lanes;
            const VALUES: usize = 1;
            const DEPTH: usize = 256;
            const BAND: usize = 24 * ROWS;
            const IN_PLACE: bool = size_of::<$stored>() == size_of::<$sum>();

            unsafe fn pack(lanes: &Lanes<$stored>, into: *mut $sum, width: usize) {
                #[target_feature(enable = "avx2,fma,f16c")]
                unsafe fn pack<$stored: $bound>(lanes: &Lanes<$stored>, into: *mut $sum, width: usize) {
                    // SAFETY: as promised by the caller.
                    unsafe { pack_plainly(lanes, into, width, $stored::wide) }
                }
                // SAFETY: as promised by the caller.
                unsafe { pack(lanes, into, width) }
            }

            unsafe fn tile(it: &Tile<$sum, $sum>) {
                #[target_feature(enable = "avx2,fma,f16c")]
                unsafe fn tile<const R: usize>(tile: &Tile<$sum, $sum>) {
                    let mut sums = [[$zero(); 2]; R];
                    let (mut a, mut b) = (tile.a, tile.b);
                    for _ in 0..tile.depth {
                        // SAFETY: a step of `b` is two vectors wide.
                        let first = unsafe { $load(b) };
                        // SAFETY: as above.
                        let second = unsafe { $load(b.add($lanes)) };
                        for r in 0..R {
                            // SAFETY: a step of `a` has `ROWS` lanes.
                            let value = $set1(unsafe { *a.add(r) });
                            sums[r][0] = $fmadd(value, first, sums[r][0]);
                            sums[r][1] = $fmadd(value, second, sums[r][1]);
                        }
                        a = a.wrapping_add(tile.a_step);
                        b = b.wrapping_add(tile.b_step);
                    }
                    if tile.columns < 2 * $lanes || tile.beta != 0.0 && tile.beta != 1.0 {
                        let mut values = [[0.0; 2 * $lanes]; R];
                        for r in 0..R {
                            // SAFETY: a row of the array is two vectors wide.
                            unsafe { $store(values[r].as_mut_ptr(), sums[r][0]) };
                            // SAFETY: as above.
                            unsafe { $store(values[r].as_mut_ptr().add($lanes), sums[r][1]) };
                        }
                        // SAFETY: the tile lies inside `c`.
                        unsafe { store_plainly(&values, tile) };
                        return;
                    }
                    // The same roundings as above: a product by `alpha`, then a sum.
                    let alpha = $set1(tile.alpha);
                    for r in 0..R {
                        for v in 0..2 {
                            // SAFETY: inside the tile.
                            let c = unsafe { tile.c.add(r * tile.c_row_stride + v * $lanes) };
                            let mut value = $mul(alpha, sums[r][v]);
                            if tile.beta == 1.0 {
                                // SAFETY: a whole vector of the tile.
                                value = $add(value, unsafe { $load(c) });
                            }
                            // SAFETY: as above.
                            unsafe { $store(c, value) };
                        }
                    }
                }
                // SAFETY: as promised by the caller.
                unsafe {
                    match it.rows {
                        1 => tile::<1>(it),
                        2 => tile::<2>(it),
                        3 => tile::<3>(it),
                        4 => tile::<4>(it),
                        5 => tile::<5>(it),
                        _ => tile::<6>(it),
                    }
                }
            }
        }
    };
}

kernel!(
    Widened<T: Element<Sum = f32>>, f32, 8, _mm256_setzero_ps, _mm256_loadu_ps, _mm256_storeu_ps,
    _mm256_set1_ps, _mm256_fmadd_ps, _mm256_mul_ps, _mm256_add_ps
);

kernel!(
    Doubles<T: Element<Sum = f64>>, f64, 4, _mm256_setzero_pd, _mm256_loadu_pd, _mm256_storeu_pd,
    _mm256_set1_pd, _mm256_fmadd_pd, _mm256_mul_pd, _mm256_add_pd
);
