//! Tiles of 14 rows by two vectors in AVX-512: 28 of the 32 registers hold sums, two a row of `b`,
//! one an element of `a`.

use std::arch::x86_64::*;
use std::marker::PhantomData;

use super::avx512_pack::{first_8, pack_f64, pack_pairs, pack_widened};
use super::blocks::{Kernel, Lanes, Tile};
use super::convert::x86::first_16;
use super::{Element, bf16};

const ROWS: usize = 14;

/// Values of f32, or halves that are widened while they are packed.
pub struct Widened<T>(PhantomData<T>);

/// One tile kernel for each number of rows and vectors, so that a narrow tile costs what it is.
macro_rules! tiles {
    ($name:ident, $features:literal, $packed:ty, $sum:ty, $vector:ty, $mask:ty, $first:ident, $lanes:literal,
     $zero:ident, $load:ident, $broadcast:expr, $fma:expr, $set1:ident, $mul:ident, $fmadd:ident,
     $load_c:ident, $store_c:ident, $mask_load_c:ident, $mask_store_c:ident) => {
        mod $name {
            use super::*;

            #[target_feature(enable = $features)]
            unsafe fn tile<const R: usize, const V: usize>(tile: &Tile<$packed, $sum>) {
                let last: $mask = $first(tile.columns - (V - 1) * $lanes);
                for row in 0..R {
                    // SAFETY: the row's first element lies inside `c`.
                    let c = unsafe { tile.c.add(row * tile.c_row_stride) };
                    _mm_prefetch::<_MM_HINT_T0>(c.cast());
                    _mm_prefetch::<_MM_HINT_T0>(c.wrapping_add(tile.columns - 1).cast());
                }
                let mut sums = [[$zero(); V]; R];
                let (mut a, mut b) = (tile.a, tile.b);
                for _ in 0..tile.depth {
                    let mut columns = [$zero(); V];
                    for v in 0..V {
                        // SAFETY: a step of `b` is two vectors wide.
                        columns[v] = unsafe { $load(b.add(v * $lanes).cast()) };
                    }
                    for r in 0..R {
                        // SAFETY: a step of `a` has `ROWS` lanes.
                        let value = unsafe { a.add(r).read() };
                        let value = $broadcast(value);
                        for v in 0..V {
                            sums[r][v] = $fma(sums[r][v], value, columns[v]);
                        }
                    }
                    a = a.wrapping_add(tile.a_step);
                    b = b.wrapping_add(tile.b_step);
                }
                let alpha = $set1(tile.alpha);
                let beta = $set1(tile.beta);
                for r in 0..R {
                    for v in 0..V {
                        // SAFETY: the vector's first element lies inside `c`.
                        let c = unsafe { tile.c.add(r * tile.c_row_stride + v * $lanes) };
                        let whole = v + 1 < V || last == <$mask>::MAX;
                        let value = if tile.beta == 0.0 {
                            $mul(alpha, sums[r][v])
                        } else {
                            // SAFETY: all of the vector lies inside `c`, or its lanes under the mask do.
                            let old = unsafe { if whole { $load_c(c) } else { $mask_load_c(last, c) } };
                            $fmadd(alpha, sums[r][v], $mul(beta, old))
                        };
                        // SAFETY: as above.
                        unsafe {
                            if whole {
                                $store_c(c, value)
                            } else {
                                $mask_store_c(c, last, value)
                            }
                        };
                    }
                }
            }

            /// # Safety
            ///
            /// As for [`Kernel::tile`].
            pub unsafe fn any(it: &Tile<$packed, $sum>) {
                macro_rules! by_rows {
                    ($v:literal) => {
                        // SAFETY: as promised by the caller.
                        unsafe {
                            match it.rows {
                                1 => tile::<1, $v>(it),
                                2 => tile::<2, $v>(it),
                                3 => tile::<3, $v>(it),
                                4 => tile::<4, $v>(it),
                                5 => tile::<5, $v>(it),
                                6 => tile::<6, $v>(it),
                                7 => tile::<7, $v>(it),
                                8 => tile::<8, $v>(it),
                                9 => tile::<9, $v>(it),
                                10 => tile::<10, $v>(it),
                                11 => tile::<11, $v>(it),
                                12 => tile::<12, $v>(it),
                                13 => tile::<13, $v>(it),
                                _ => tile::<14, $v>(it),
                            }
                        }
                    };
                }
                if it.columns > $lanes {
                    by_rows!(2)
                } else {
                    by_rows!(1)
                }
            }
        }
    };
}

tiles!(
    f32_tiles,
    "avx512f",
    f32,
    f32,
    __m512,
    u16,
    first_16,
    16,
    _mm512_setzero_ps,
    _mm512_loadu_ps,
    |value: f32| _mm512_set1_ps(value),
    |sum, a, b| _mm512_fmadd_ps(a, b, sum),
    _mm512_set1_ps,
    _mm512_mul_ps,
    _mm512_fmadd_ps,
    _mm512_loadu_ps,
    _mm512_storeu_ps,
    _mm512_maskz_loadu_ps,
    _mm512_mask_storeu_ps
);

tiles!(
    f64_tiles,
    "avx512f",
    f64,
    f64,
    __m512d,
    u8,
    first_8,
    8,
    _mm512_setzero_pd,
    _mm512_loadu_pd,
    |value: f64| _mm512_set1_pd(value),
    |sum, a, b| _mm512_fmadd_pd(a, b, sum),
    _mm512_set1_pd,
    _mm512_mul_pd,
    _mm512_fmadd_pd,
    _mm512_loadu_pd,
    _mm512_storeu_pd,
    _mm512_maskz_loadu_pd,
    _mm512_mask_storeu_pd
);

/// The sum and both products of each lane's pair.
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
fn add_pairs(sum: __m512, a: __m512, b: __m512) -> __m512 {
    // SAFETY: both types are 512 bits, and any bits are values of either.
    let [a, b] = unsafe { std::mem::transmute::<[__m512; 2], [__m512bh; 2]>([a, b]) };
    _mm512_dpbf16_ps(sum, a, b)
}

tiles!(
    pair_tiles,
    "avx512f,avx512bf16",
    u32,
    f32,
    __m512,
    u16,
    first_16,
    16,
    _mm512_setzero_ps,
    _mm512_loadu_ps,
    |value: u32| _mm512_castsi512_ps(_mm512_set1_epi32(value.cast_signed())),
    add_pairs,
    _mm512_set1_ps,
    _mm512_mul_ps,
    _mm512_fmadd_ps,
    _mm512_loadu_ps,
    _mm512_storeu_ps,
    _mm512_maskz_loadu_ps,
    _mm512_mask_storeu_ps
);

impl<T: Element<Sum = f32>> Kernel for Widened<T> {
    type Stored = T;
    type Packed = f32;

    const ROWS: usize = ROWS;
    const COLUMNS: usize = 32;
    const VALUES: usize = 1;
    const DEPTH: usize = 256;
    const BAND: usize = 28 * ROWS;
    // Only f32 is packed as it is stored.
    const IN_PLACE: bool = size_of::<T>() == size_of::<f32>();

    unsafe fn pack(lanes: &Lanes<T>, into: *mut f32, width: usize) {
        // SAFETY: as promised by the caller.
        unsafe { pack_widened(lanes, into, width) }
    }

    unsafe fn tile(tile: &Tile<f32, f32>) {
        // SAFETY: as promised by the caller.
        unsafe { f32_tiles::any(tile) }
    }
}

/// Values of f64.
pub struct Doubles;

impl Kernel for Doubles {
    type Stored = f64;
    type Packed = f64;

    const ROWS: usize = ROWS;
    const COLUMNS: usize = 16;
    const VALUES: usize = 1;
    const DEPTH: usize = 256;
    const BAND: usize = 14 * ROWS;
    const IN_PLACE: bool = true;

    unsafe fn pack(lanes: &Lanes<f64>, into: *mut f64, width: usize) {
        // SAFETY: as promised by the caller.
        unsafe { pack_f64(lanes, into, width) }
    }

    unsafe fn tile(tile: &Tile<f64, f64>) {
        // SAFETY: as promised by the caller.
        unsafe { f64_tiles::any(tile) }
    }
}

/// Values of bf16, two at a time. The processor's instruction takes subnormal inputs and sums for 0.
pub struct Pairs;

impl Kernel for Pairs {
    type Stored = bf16;
    type Packed = u32;

    const ROWS: usize = ROWS;
    const COLUMNS: usize = 32;
    const VALUES: usize = 2;
    const DEPTH: usize = 512;
    const BAND: usize = 28 * ROWS;
    const IN_PLACE: bool = false;

    unsafe fn pack(lanes: &Lanes<bf16>, into: *mut u32, width: usize) {
        // SAFETY: as promised by the caller.
        unsafe { pack_pairs(lanes, into, width) }
    }

    unsafe fn tile(tile: &Tile<u32, f32>) {
        // SAFETY: as promised by the caller.
        unsafe { pair_tiles::any(tile) }
    }
}
