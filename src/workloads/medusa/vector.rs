//! Sixteen f32 at a time: one AVX-512 register, two of AVX2, or an array.
//!
//! For the loops that the compiler does not keep in registers by itself. All three round alike but
//! for [`Vector::fused`], which on an array rounds twice.

/// What a vector fills.
pub const LANES: usize = 16;

/// Sixteen f32. The methods of a vector of registers may be called only from where the compiler may
/// use such registers: see [`super::simd`].
pub trait Vector: Copy {
    fn splat(value: f32) -> Self;
    fn load(from: &[f32; LANES]) -> Self;
    fn store(self, into: &mut [f32; LANES]);
    /// self * b + c.
    fn fused(self, b: Self, c: Self) -> Self;
}

#[derive(Clone, Copy)]
pub struct Array([f32; LANES]);

impl Vector for Array {
    #[inline(always)]
    fn splat(value: f32) -> Array {
        Array([value; LANES])
    }

    #[inline(always)]
    fn load(from: &[f32; LANES]) -> Array {
        Array(*from)
    }

    #[inline(always)]
    fn store(self, into: &mut [f32; LANES]) {
        *into = self.0;
    }

    #[inline(always)]
    fn fused(self, b: Array, c: Array) -> Array {
        Array(std::array::from_fn(|lane| self.0[lane] * b.0[lane] + c.0[lane]))
    }
}

#[cfg(target_arch = "x86_64")]
pub use registers::{One, Two};

#[cfg(target_arch = "x86_64")]
mod registers {
    use super::{LANES, Vector};
    use std::arch::x86_64::*;

    /// One register of AVX-512.
    #[derive(Clone, Copy)]
    pub struct One(__m512);

    impl Vector for One {
        #[inline(always)]
        fn splat(value: f32) -> One {
            // SAFETY: the processor has AVX-512 where this is called.
            One(unsafe { _mm512_set1_ps(value) })
        }

        #[inline(always)]
        fn load(from: &[f32; LANES]) -> One {
            // SAFETY: as above; sixteen values are borrowed.
            One(unsafe { _mm512_loadu_ps(from.as_ptr()) })
        }

        #[inline(always)]
        fn store(self, into: &mut [f32; LANES]) {
            // SAFETY: as above.
            unsafe { _mm512_storeu_ps(into.as_mut_ptr(), self.0) }
        }

        #[inline(always)]
        fn fused(self, b: One, c: One) -> One {
            // SAFETY: as above.
            One(unsafe { _mm512_fmadd_ps(self.0, b.0, c.0) })
        }
    }

    /// Two registers of AVX2.
    #[derive(Clone, Copy)]
    pub struct Two(__m256, __m256);

    impl Vector for Two {
        #[inline(always)]
        fn splat(value: f32) -> Two {
            // SAFETY: the processor has AVX2 where this is called.
            let half = unsafe { _mm256_set1_ps(value) };
            Two(half, half)
        }

        #[inline(always)]
        fn load(from: &[f32; LANES]) -> Two {
            // SAFETY: as above; sixteen values are borrowed, of which this is the first half.
            let low = unsafe { _mm256_loadu_ps(from.as_ptr()) };
            // SAFETY: as above; the second half.
            let high = unsafe { _mm256_loadu_ps(from[LANES / 2..].as_ptr()) };
            Two(low, high)
        }

        #[inline(always)]
        fn store(self, into: &mut [f32; LANES]) {
            // SAFETY: as above.
            unsafe { _mm256_storeu_ps(into.as_mut_ptr(), self.0) };
            // SAFETY: as above.
            unsafe { _mm256_storeu_ps(into[LANES / 2..].as_mut_ptr(), self.1) };
        }

        #[inline(always)]
        fn fused(self, b: Two, c: Two) -> Two {
            // SAFETY: the processor has FMA where this is called.
            let low = unsafe { _mm256_fmadd_ps(self.0, b.0, c.0) };
            // SAFETY: as above.
            let high = unsafe { _mm256_fmadd_ps(self.1, b.1, c.1) };
            Two(low, high)
        }
    }
}
