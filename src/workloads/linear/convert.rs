//! Conversions between f32 and the halves, exact one way and to the nearest the other, ties to even.
//!
//! Subnormal values are values like all others, both ways. A NaN stays one: its sign and the payload
//! that fits are kept, and it is made quiet, as processors do it. The forms for single values have
//! no branches, so that the compiler makes vectors of loops over them; those for slices use the
//! processor's instructions where there are any. All give the same bits, which is tested for all
//! halves and at every boundary between two of them.
//!
//! From f64, rounding to f32 first and to a half then would round twice: 1 + 2^-11 + 2^-40 lies above
//! the middle between two neighbours in f16, but its nearest f32 lies on it. So the first step rounds
//! to odd (Boldo and Melquiond, Emulation of FMA and correctly rounded sums, 2008): what was cut off
//! is remembered in the last bit, and the second step rounds as if it had seen all.

use super::element::{Element, Kind, bf16, f16};
use super::level::Level;

const QUIET_F32: u32 = 0x0040_0000;
const INFINITY_F32: u32 = 0x7F80_0000;

#[inline]
pub fn widen_f16(value: f16) -> f32 {
    let bits = u32::from(value.to_bits());
    let magnitude = (bits & 0x7FFF) << 13;
    // The exponent's bias differs by 112. Multiplying makes subnormal values normal on the way.
    let finite = (f32::from_bits(magnitude) * f32::from_bits((127 + 112) << 23)).to_bits();
    let quiet = if magnitude > 0x0F80_0000 { QUIET_F32 } else { 0 };
    let special = magnitude | INFINITY_F32 | quiet;
    let magnitude = if magnitude >= 0x0F80_0000 { special } else { finite };
    f32::from_bits(magnitude | (bits & 0x8000) << 16)
}

#[inline]
pub fn narrow_f16(value: f32) -> f16 {
    let bits = value.to_bits();
    let magnitude = bits & 0x7FFF_FFFF;
    // The carry of rounding goes over into the exponent, and at its end into infinity.
    let odd = magnitude >> 13 & 1;
    let normal = magnitude.wrapping_sub(112 << 23).wrapping_add(0xFFF + odd) >> 13;
    // Beside 0.5 a float's last bit is worth 2^-24, as that of a subnormal f16: the addition rounds.
    let subnormal = (f32::from_bits(magnitude) + 0.5)
        .to_bits()
        .wrapping_sub(0.5_f32.to_bits());
    let nan = 0x7E00 | magnitude >> 13 & 0x3FF;
    let rounded = if magnitude < 113 << 23 { subnormal } else { normal };
    let rounded = if magnitude >= (127 + 16) << 23 { 0x7C00 } else { rounded };
    let rounded = if magnitude > INFINITY_F32 { nan } else { rounded };
    f16::from_bits((rounded | bits >> 16 & 0x8000) as u16)
}

#[inline]
pub fn widen_bf16(value: bf16) -> f32 {
    let bits = u32::from(value.to_bits()) << 16;
    let quiet = if bits & 0x7FFF_FFFF > INFINITY_F32 {
        QUIET_F32
    } else {
        0
    };
    f32::from_bits(bits | quiet)
}

#[inline]
pub fn narrow_bf16(value: f32) -> bf16 {
    let bits = value.to_bits();
    let odd = bits >> 16 & 1;
    let rounded = bits.wrapping_add(0x7FFF + odd);
    let rounded = if bits & 0x7FFF_FFFF > INFINITY_F32 {
        bits | QUIET_F32
    } else {
        rounded
    };
    bf16::from_bits((rounded >> 16) as u16)
}

/// An f32 from which a half is as near as from `value` itself: rounded to odd.
pub fn odd_f32(value: f64) -> f32 {
    let nearest = value as f32;
    let back = f64::from(nearest);
    // Also for NaN: nothing is lost then that rounding would need.
    if back == value || value.is_nan() {
        return nearest;
    }
    // Towards zero, and the last bit set. An infinity comes back to the greatest, which is odd.
    let towards_zero = nearest.to_bits() - u32::from(back.abs() > value.abs());
    f32::from_bits(towards_zero | 1)
}

/// Widens as many as both slices hold.
pub fn widen_all<T: Element<Sum = f32>>(level: Level, from: &[T], into: &mut [f32]) {
    let count = from.len().min(into.len());
    let (from, into) = (&from[..count], &mut into[..count]);
    match level {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a level is proof of its instructions.
        Level::Avx512 | Level::Avx512Bf16 => unsafe { x86::widen_512(from, into) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Level::Avx2 => unsafe { x86::widen_256(from, into) },
        _ => {
            for (into, from) in into.iter_mut().zip(from) {
                *into = from.wide();
            }
        }
    }
}

/// Narrows as many as both slices hold.
pub fn narrow_all<T: Element<Sum = f32>>(level: Level, from: &[f32], into: &mut [T]) {
    let count = from.len().min(into.len());
    let (from, into) = (&from[..count], &mut into[..count]);
    match level {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a level is proof of its instructions.
        Level::Avx512 | Level::Avx512Bf16 => unsafe { x86::narrow_512(from, into) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Level::Avx2 => unsafe { x86::narrow_256(from, into) },
        _ => {
            for (into, from) in into.iter_mut().zip(from) {
                *into = T::narrow(*from);
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
pub mod x86 {
    //! The same in vectors.

    use super::*;
    use std::arch::x86_64::*;

    /// From so many bytes written on, results go past the caches: they wouldn't stay there, and
    /// lines that are wholly written need not be read before.
    const STREAMED_BYTES: usize = 4 << 20;

    /// A mask of the first `count` lanes of 16; all of them from 16 on.
    #[inline]
    pub fn first_16(count: usize) -> u16 {
        if count >= 16 { u16::MAX } else { (1 << count) - 1 }
    }

    /// The first `count` values, 16 at most, as f32; the rest is 0. A signalling NaN may stay one:
    /// arithmetic makes it quiet.
    ///
    /// # Safety
    ///
    /// So many values can be read.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,f16c")]
    pub unsafe fn some_16<T: Element>(from: *const T, count: usize) -> __m512 {
        let mask = first_16(count);
        match T::KIND {
            // SAFETY: the lanes under the mask can be read.
            Kind::F32 => unsafe { _mm512_maskz_loadu_ps(mask, from.cast()) },
            // SAFETY: as above.
            Kind::F16 => _mm512_cvtph_ps(unsafe { _mm256_maskz_loadu_epi16(mask, from.cast()) }),
            // SAFETY: as above.
            Kind::Bf16 => raised_16(unsafe { _mm256_maskz_loadu_epi16(mask, from.cast()) }),
            Kind::F64 => unreachable!("f64 is not widened"),
        }
    }

    /// 16 values as f32, as [`some_16`].
    ///
    /// # Safety
    ///
    /// 16 values can be read.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,f16c")]
    pub unsafe fn all_16<T: Element>(from: *const T) -> __m512 {
        match T::KIND {
            // SAFETY: 16 values can be read.
            Kind::F32 => unsafe { _mm512_loadu_ps(from.cast()) },
            // SAFETY: as above.
            Kind::F16 => _mm512_cvtph_ps(unsafe { _mm256_loadu_si256(from.cast()) }),
            // SAFETY: as above.
            Kind::Bf16 => raised_16(unsafe { _mm256_loadu_si256(from.cast()) }),
            Kind::F64 => unreachable!("f64 is not widened"),
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn raised_16(bf16: __m256i) -> __m512 {
        _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(bf16)))
    }

    /// 8 values as f32, as [`some_16`].
    ///
    /// # Safety
    ///
    /// 8 values can be read.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    pub unsafe fn all_8<T: Element>(from: *const T) -> __m256 {
        match T::KIND {
            // SAFETY: 8 values can be read.
            Kind::F32 => unsafe { _mm256_loadu_ps(from.cast()) },
            // SAFETY: as above.
            Kind::F16 => _mm256_cvtph_ps(unsafe { _mm_loadu_si128(from.cast()) }),
            Kind::Bf16 => {
                // SAFETY: as above.
                let bits = unsafe { _mm_loadu_si128(from.cast()) };
                _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(bits)))
            }
            Kind::F64 => unreachable!("f64 is not widened"),
        }
    }

    /// The first `count` values, 8 at most, as f32; the rest is 0.
    ///
    /// # Safety
    ///
    /// So many values can be read.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    pub unsafe fn some_8<T: Element>(from: *const T, count: usize) -> __m256 {
        if count >= 8 {
            // SAFETY: all 8 can be read.
            return unsafe { all_8(from) };
        }
        let mut values = [T::default(); 8];
        // SAFETY: so many can be read, and there is room for 8.
        unsafe { from.copy_to_nonoverlapping(values.as_mut_ptr(), count) };
        // SAFETY: 8 values of our own.
        unsafe { all_8(values.as_ptr()) }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,f16c")]
    fn quiet_16(value: __m512) -> __m512 {
        let bits = _mm512_castps_si512(value);
        let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(value, value);
        let quiet = _mm512_set1_epi32(QUIET_F32.cast_signed());
        _mm512_castsi512_ps(_mm512_mask_or_epi32(bits, nan, bits, quiet))
    }

    /// To the nearest half, ties to even. The processor's own conversion to bf16 would take subnormal
    /// values for 0, so that is done in integers.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,f16c")]
    fn narrowed_16<T: Element>(value: __m512) -> __m256i {
        if T::KIND == Kind::F16 {
            return _mm512_cvtps_ph::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(value);
        }
        let bits = _mm512_castps_si512(value);
        let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
        let rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7FFF)));
        let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(value, value);
        let quiet = _mm512_set1_epi32(QUIET_F32.cast_signed());
        let rounded = _mm512_mask_or_epi32(rounded, nan, bits, quiet);
        _mm512_cvtepi32_epi16(_mm512_srli_epi32::<16>(rounded))
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,f16c")]
    pub fn widen_512<T: Element<Sum = f32>>(from: &[T], into: &mut [f32]) {
        if T::KIND == Kind::F32 {
            for (into, from) in into.iter_mut().zip(from) {
                *into = from.wide();
            }
            return;
        }
        let streamed = size_of_val(into) >= STREAMED_BYTES;
        let head = if streamed {
            into.as_ptr().align_offset(64).min(into.len())
        } else {
            0
        };
        let count = into.len();
        let mut at = 0;
        while at < count {
            let step = if at < head { head - at } else { count - at }.min(16);
            // SAFETY: so many values are left.
            let value = quiet_16(unsafe { some_16(from.as_ptr().add(at), step) });
            let to = into.as_mut_ptr().wrapping_add(at);
            if step < 16 {
                // SAFETY: room for so many is left.
                unsafe { _mm512_mask_storeu_ps(to, first_16(step), value) };
            } else if streamed && at >= head {
                // SAFETY: room for 16 is left, and the head ended at a multiple of 64 bytes.
                unsafe { _mm512_stream_ps(to, value) };
            } else {
                // SAFETY: room for 16 is left.
                unsafe { _mm512_storeu_ps(to, value) };
            }
            at += step;
        }
        if streamed {
            // Streamed stores are seen by other threads only in this order.
            _mm_sfence();
        }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,f16c")]
    pub fn narrow_512<T: Element<Sum = f32>>(from: &[f32], into: &mut [T]) {
        if T::KIND == Kind::F32 {
            for (into, from) in into.iter_mut().zip(from) {
                *into = T::narrow(*from);
            }
            return;
        }
        let streamed = size_of_val(into) >= STREAMED_BYTES;
        let head = if streamed {
            into.as_ptr().align_offset(64).min(into.len())
        } else {
            0
        };
        let count = into.len();
        let mut at = 0;
        while at < count {
            let left = if at < head { head - at } else { count - at };
            let to = into.as_mut_ptr().wrapping_add(at);
            // SAFETY: `from` is as long as `into`.
            let from = unsafe { from.as_ptr().add(at) };
            if left >= 32 {
                // SAFETY: 32 values are left.
                let low = narrowed_16::<T>(unsafe { _mm512_loadu_ps(from) });
                // SAFETY: as above.
                let high = narrowed_16::<T>(unsafe { _mm512_loadu_ps(from.add(16)) });
                let both = _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high);
                if streamed && at >= head {
                    // SAFETY: room for 32 is left, and the head ended at a multiple of 64 bytes.
                    unsafe { _mm512_stream_si512(to.cast(), both) };
                } else {
                    // SAFETY: room for 32 is left.
                    unsafe { _mm512_storeu_si512(to.cast(), both) };
                }
                at += 32;
            } else {
                let step = left.min(16);
                // SAFETY: so many values are left.
                let value = narrowed_16::<T>(unsafe { some_16(from, step) });
                // SAFETY: room for so many is left.
                unsafe { _mm256_mask_storeu_epi16(to.cast(), first_16(step), value) };
                at += step;
            }
        }
        if streamed {
            // Streamed stores are seen by other threads only in this order.
            _mm_sfence();
        }
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    pub fn widen_256<T: Element<Sum = f32>>(from: &[T], into: &mut [f32]) {
        let (into, into_rest) = into.as_chunks_mut::<8>();
        let (from, from_rest) = from.as_chunks::<8>();
        for (into, from) in into.iter_mut().zip(from) {
            if T::KIND == Kind::F16 {
                // SAFETY: 8 values.
                let value = unsafe { all_8(from.as_ptr()) };
                // SAFETY: room for 8.
                unsafe { _mm256_storeu_ps(into.as_mut_ptr(), value) };
            } else {
                // The compiler makes vectors of this.
                for (into, from) in into.iter_mut().zip(from) {
                    *into = from.wide();
                }
            }
        }
        for (into, from) in into_rest.iter_mut().zip(from_rest) {
            *into = from.wide();
        }
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    pub fn narrow_256<T: Element<Sum = f32>>(from: &[f32], into: &mut [T]) {
        let (into, into_rest) = into.as_chunks_mut::<8>();
        let (from, from_rest) = from.as_chunks::<8>();
        for (into, from) in into.iter_mut().zip(from) {
            if T::KIND == Kind::F16 {
                // SAFETY: 8 values.
                let value = unsafe { _mm256_loadu_ps(from.as_ptr()) };
                let value = _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(value);
                // SAFETY: room for 8.
                unsafe { _mm_storeu_si128(into.as_mut_ptr().cast(), value) };
            } else {
                // The compiler makes vectors of this.
                for (into, from) in into.iter_mut().zip(from) {
                    *into = T::narrow(*from);
                }
            }
        }
        for (into, from) in into_rest.iter_mut().zip(from_rest) {
            *into = T::narrow(*from);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The nearest half, by the definition: the neighbours are looked at in f64.
    fn nearest_by_search(value: f64, wide: impl Fn(u16) -> f64, infinity: u16) -> u16 {
        let magnitude = value.abs();
        let (mut low, mut high) = (0, infinity);
        while high - low > 1 {
            let middle = low.midpoint(high);
            if wide(middle) <= magnitude {
                low = middle
            } else {
                high = middle
            }
        }
        if magnitude >= f64::INFINITY {
            low = infinity;
        }
        // One step beyond the greatest, the infinity's place, as rounding sees it.
        let top = if high == infinity {
            2.0 * wide(infinity - 1) - wide(infinity - 2)
        } else {
            wide(high)
        };
        let (below, above) = (magnitude - wide(low), top - magnitude);
        let up = above < below || above == below && low % 2 == 1;
        let nearest = if low != infinity && up { high } else { low };
        nearest | if value.is_sign_negative() { 0x8000 } else { 0 }
    }

    /// f16 by its definition: sign, 5 bits of exponent, 10 of fraction.
    fn f16_by_definition(bits: u16) -> f64 {
        let (exponent, fraction) = (i32::from(bits >> 10 & 31), f64::from(bits & 1023) / 1024.0);
        let magnitude = match exponent {
            0 => fraction * 2_f64.powi(-14),
            31 if fraction == 0.0 => f64::INFINITY,
            31 => f64::NAN,
            _ => (1.0 + fraction) * 2_f64.powi(exponent - 15),
        };
        if bits >> 15 == 1 { -magnitude } else { magnitude }
    }

    /// bf16 by its definition: sign, 8 bits of exponent, 7 of fraction.
    fn bf16_by_definition(bits: u16) -> f64 {
        let (exponent, fraction) = (i32::from(bits >> 7 & 255), f64::from(bits & 127) / 128.0);
        let magnitude = match exponent {
            0 => fraction * 2_f64.powi(-126),
            255 if fraction == 0.0 => f64::INFINITY,
            255 => f64::NAN,
            _ => (1.0 + fraction) * 2_f64.powi(exponent - 127),
        };
        if bits >> 15 == 1 { -magnitude } else { magnitude }
    }

    fn check<T: Element<Sum = f32>>(
        of: impl Fn(u16) -> T,
        bits: impl Fn(T) -> u16,
        wide: fn(u16) -> f64,
        infinity: u16,
    ) {
        let all: Vec<T> = (0..=u16::MAX).map(&of).collect();
        let quiet = (infinity & infinity.wrapping_neg()) >> 1;
        // Every f32 that rounding might get wrong: each half itself, the middle between it and the
        // next, and their neighbours.
        let mut near: Vec<f32> = Vec::new();
        for half in 0..infinity {
            let next = if half + 1 == infinity {
                2.0 * wide(half) - wide(half - 1)
            } else {
                wide(half + 1)
            };
            for value in [wide(half), f64::midpoint(wide(half), next), next] {
                let value = value as f32;
                for value in [value, value.next_up(), value.next_down()] {
                    near.extend([value, -value]);
                }
            }
        }
        near.extend([
            f32::INFINITY,
            f32::NEG_INFINITY,
            f32::MAX,
            f32::MIN,
            1e-45,
            -1e-45,
            f32::MIN_POSITIVE,
        ]);
        near.extend(
            (0..400)
                .map(|step| f32::from_bits(step * 0x0070_1234))
                .filter(|value| !value.is_nan()),
        );
        let nans: Vec<f32> = (0..23)
            .flat_map(|bit| [0x7F80_0000 | 1 << bit, 0xFF80_0000 | 1 << bit])
            .map(f32::from_bits)
            .collect();
        for level in Level::all() {
            let mut widened = vec![0.0; all.len()];
            widen_all(level, &all, &mut widened);
            for (half, widened) in (0..=u16::MAX).zip(&widened) {
                let expected = wide(half);
                if expected.is_nan() {
                    assert!(
                        widened.is_nan() && widened.to_bits() & QUIET_F32 != 0,
                        "{level:?} {half:04x}"
                    );
                    assert_eq!(widened.is_sign_negative(), half >> 15 == 1);
                    assert_eq!(bits(T::narrow(*widened)), half | quiet, "{level:?} {half:04x}");
                } else {
                    assert_eq!(
                        f64::from(*widened).to_bits(),
                        expected.to_bits(),
                        "{level:?} {half:04x}"
                    );
                }
                assert_eq!(of(half).wide().to_bits(), widened.to_bits());
            }
            let mut narrowed = vec![T::default(); near.len()];
            narrow_all(level, &near, &mut narrowed);
            for (value, narrowed) in near.iter().zip(&narrowed) {
                let expected = nearest_by_search(f64::from(*value), wide, infinity);
                assert_eq!(bits(*narrowed), expected, "{level:?} {} of {value:e}", T::NAME);
                assert_eq!(bits(T::narrow(*value)), expected, "{} of {value:e}", T::NAME);
            }
            let mut narrowed = vec![T::default(); nans.len()];
            narrow_all(level, &nans, &mut narrowed);
            for (nan, narrowed) in nans.iter().zip(&narrowed) {
                let narrowed = bits(*narrowed);
                assert!(
                    narrowed & 0x7FFF > infinity && narrowed & quiet != 0,
                    "{level:?} {:08x}",
                    nan.to_bits()
                );
                assert_eq!(narrowed >> 15, (nan.to_bits() >> 31) as u16);
                assert_eq!(bits(T::narrow(*nan)), narrowed);
            }
            // Every length and alignment at the ends of vectors.
            for skip in 0..3 {
                for count in 0..100 {
                    let mut short = vec![T::default(); count + 2];
                    narrow_all(level, &near[1000 + skip..][..count], &mut short[1..=count]);
                    assert_eq!(bits(short[0]) | bits(short[count + 1]), 0);
                    let mut back = vec![7.0; count + 2];
                    widen_all(level, &short[1..=count], &mut back[1..=count]);
                    assert_eq!((back[0], back[count + 1]), (7.0, 7.0));
                    for at in 0..count {
                        assert_eq!(bits(short[1 + at]), bits(T::narrow(near[1000 + skip + at])));
                        assert_eq!(back[1 + at].to_bits(), short[1 + at].wide().to_bits());
                    }
                }
            }
        }
    }

    #[test]
    fn every_f16_and_every_boundary_between_two() {
        check(f16::from_bits, f16::to_bits, f16_by_definition, 0x7C00);
    }

    #[test]
    fn every_bf16_and_every_boundary_between_two() {
        check(bf16::from_bits, bf16::to_bits, bf16_by_definition, 0x7F80);
    }

    #[test]
    fn long_slices_go_past_the_caches_and_arrive() {
        let long: Vec<f32> = (0..(5 << 20)).map(|at| (at % 2039) as f32).collect();
        for level in Level::all() {
            let mut narrowed = vec![f16::default(); long.len() - 3];
            narrow_all(level, &long[1..], &mut narrowed[1..]);
            let mut widened = vec![0.0; long.len()];
            widen_all(level, &narrowed[1..], &mut widened[3..]);
            assert!(widened[3..long.len() - 1] == long[1..long.len() - 3], "{level:?}");
            assert_eq!(widened[long.len() - 1], 0.0);
        }
    }

    #[test]
    fn f64_rounds_once() {
        for half in 0..0x7C00 {
            for (of_f64, wide, infinity) in [
                (
                    (|value| f16::nearest(value).to_bits()) as fn(f64) -> u16,
                    f16_by_definition as fn(u16) -> f64,
                    0x7C00,
                ),
                (|value| bf16::nearest(value).to_bits(), bf16_by_definition, 0x7F80),
            ] {
                let next = if half + 1 == infinity {
                    2.0 * wide(half) - wide(half - 1)
                } else {
                    wide(half + 1)
                };
                for value in [wide(half), f64::midpoint(wide(half), next)] {
                    let tiny = value * 2_f64.powi(-40);
                    for value in [value, value.next_up(), value.next_down(), value + tiny, value - tiny] {
                        for value in [value, -value] {
                            assert_eq!(of_f64(value), nearest_by_search(value, wide, infinity), "{value:e}");
                        }
                    }
                }
            }
        }
        assert_eq!(f16::nearest(1e300), f16::INFINITY);
        assert_eq!(bf16::nearest(-1e300), bf16::NEG_INFINITY);
        assert_eq!(bf16::nearest(f64::INFINITY), bf16::INFINITY);
        assert_eq!(f16::nearest(-1e-300).to_bits(), 0x8000);
        assert!(f16::nearest(f64::NAN).is_nan() && bf16::nearest(f64::NAN).is_nan());
        // Twice rounded, this would be 1.
        assert_eq!(
            f16::nearest(1.0 + 2_f64.powi(-11) + 2_f64.powi(-40)),
            f16::nearest(1.0 + 2_f64.powi(-10))
        );
    }
}
