//! Sixteen values at a time, for loops that the compiler does not turn into vectors by itself.
//!
//! A [`Kernel`] is written once, over [`Lanes`]; [`Vectors::run`] runs it with the widest vectors there
//! are. Products are added unrounded (fused) where the processor can, so the last bits differ between
//! processors with and without; never between runs or threads on one.

use super::layers::{Level, level};
use crate::linear::Real;

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::{__m512, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_set1_ps, _mm512_storeu_ps};

/// Values in a vector.
pub(super) const LANES: usize = 16;

/// The next multiple of [`LANES`].
pub(super) fn padded(channels: usize) -> usize {
    channels.next_multiple_of(LANES)
}

/// Sixteen values.
pub trait Lanes<S>: Copy {
    /// The first sixteen.
    fn load(from: &[S]) -> Self;
    /// Over the first sixteen.
    fn store(self, into: &mut [S]);
    fn splat(value: S) -> Self;
    /// self + a b.
    fn plus(self, a: Self, b: Self) -> Self;
}

/// Something to do with vectors of some kind. `run` wants `#[inline(always)]`, so that it is compiled
/// for the vectors it runs with.
pub trait Kernel<S> {
    fn run<V: Lanes<S>>(self);
}

/// Sums that kernels can be run on.
pub trait Vectors: Real {
    #[doc(hidden)]
    fn run<K: Kernel<Self>>(kernel: K);
}

/// Sixteen values in an array: whatever vectors the compiler makes of it.
#[derive(Clone, Copy)]
struct Array<S, const FUSED: bool>([S; LANES]);

macro_rules! array {
    ($real:ident) => {
        impl<const FUSED: bool> Lanes<$real> for Array<$real, FUSED> {
            #[inline(always)]
            fn load(from: &[$real]) -> Self {
                let mut lanes = [0.0; LANES];
                lanes.copy_from_slice(&from[..LANES]);
                Array(lanes)
            }

            #[inline(always)]
            fn store(self, into: &mut [$real]) {
                into[..LANES].copy_from_slice(&self.0);
            }

            #[inline(always)]
            fn splat(value: $real) -> Self {
                Array([value; LANES])
            }

            #[inline(always)]
            fn plus(mut self, a: Self, b: Self) -> Self {
                for ((sum, a), b) in self.0.iter_mut().zip(a.0).zip(b.0) {
                    *sum = if FUSED { a.mul_add(b, *sum) } else { *sum + a * b };
                }
                self
            }
        }
    };
}

array!(f32);
array!(f64);

/// Sixteen f32 in one register. Made only in kernels that [`with_avx512`] runs, and by nothing else.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
struct Register(__m512);

#[cfg(target_arch = "x86_64")]
impl Lanes<f32> for Register {
    #[inline(always)]
    fn load(from: &[f32]) -> Register {
        let from = from[..LANES].as_ptr();
        // SAFETY: sixteen values are there to be read, at any alignment; AVX-512 is there, see `Register`.
        Register(unsafe { _mm512_loadu_ps(from) })
    }

    #[inline(always)]
    fn store(self, into: &mut [f32]) {
        let into = into[..LANES].as_mut_ptr();
        // SAFETY: sixteen values are there to be written, at any alignment; AVX-512 is there, see `Register`.
        unsafe { _mm512_storeu_ps(into, self.0) }
    }

    #[inline(always)]
    fn splat(value: f32) -> Register {
        // SAFETY: AVX-512 is there, see `Register`.
        Register(unsafe { _mm512_set1_ps(value) })
    }

    #[inline(always)]
    fn plus(self, a: Register, b: Register) -> Register {
        // SAFETY: AVX-512 is there, see `Register`.
        Register(unsafe { _mm512_fmadd_ps(a.0, b.0, self.0) })
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,fma")]
fn with_avx512<S, V: Lanes<S>, K: Kernel<S>>(kernel: K) {
    kernel.run::<V>();
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn with_avx2<S, V: Lanes<S>, K: Kernel<S>>(kernel: K) {
    kernel.run::<V>();
}

macro_rules! vectors {
    ($real:ident, $widest:ty) => {
        impl Vectors for $real {
            fn run<K: Kernel<$real>>(kernel: K) {
                #[cfg(target_arch = "x86_64")]
                match level() {
                    // SAFETY: the processor was just asked for all of its features.
                    Level::Avx512 => return unsafe { with_avx512::<$real, $widest, K>(kernel) },
                    // SAFETY: as above.
                    Level::Avx2 => return unsafe { with_avx2::<$real, Array<$real, true>, K>(kernel) },
                    Level::Plain => {}
                }
                kernel.run::<Array<$real, false>>();
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
vectors!(f32, Register);
#[cfg(not(target_arch = "x86_64"))]
vectors!(f32, Array<f32, false>);
vectors!(f64, Array<f64, true>);
