//! Loops compiled for AVX-512, for AVX2 and for any processor.
//!
//! The first two fuse multiplications with additions, so their results differ in the last bits from
//! the third's; on one machine it is always the same one.

pub(super) use crate::linear::Level;

/// A function whose body is compiled once for each level. In it, `FUSED` says whether a product and a
/// sum are rounded once, and `V` is the level's [`super::vector::Vector`].
macro_rules! leveled {
    ($(#[$doc:meta])* $vis:vis fn $name:ident<$fused:ident, $vector:ident>($($argument:ident: $type:ty),* $(,)?) $body:block) => {
        $(#[$doc])*
        #[allow(clippy::too_many_arguments)]
        $vis fn $name(level: $crate::medusa::simd::Level, $($argument: $type),*) {
            #[inline(always)]
            #[allow(clippy::extra_unused_type_parameters)]
            fn plain<const $fused: bool, $vector: $crate::medusa::vector::Vector>($($argument: $type),*) $body

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
            fn avx512($($argument: $type),*) {
                plain::<true, $crate::medusa::vector::One>($($argument),*);
            }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            fn avx2($($argument: $type),*) {
                plain::<true, $crate::medusa::vector::Two>($($argument),*);
            }

            match level {
                #[cfg(target_arch = "x86_64")]
                // SAFETY: a level is proof that the processor has its features.
                $crate::medusa::simd::Level::Avx512 | $crate::medusa::simd::Level::Avx512Bf16 => unsafe {
                    avx512($($argument),*)
                },
                #[cfg(target_arch = "x86_64")]
                // SAFETY: as above.
                $crate::medusa::simd::Level::Avx2 => unsafe { avx2($($argument),*) },
                _ => plain::<false, $crate::medusa::vector::Array>($($argument),*),
            }
        }
    };
}

pub(super) use leveled;
