//! Conversions between the binary floating-point formats, bit by bit, each rounded once.
//!
//! Written from the definition (IEEE 754-2019, 3.4 and 4.3.1; bfloat16 is f32 with 7 bits of
//! mantissa): the value is taken apart exactly and put together again, to the nearest, ties to even,
//! subnormals included. Going from f64 to f16 by way of f32 would round twice and be wrong for values
//! that f32 rounds onto the middle between two f16.

use super::Vectors;
use crate::linear::{Element, bf16, f16};

/// A sign, so many bits of exponent, so many of mantissa.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    exponent: u32,
    mantissa: u32,
}

impl Format {
    pub const F64: Format = Format {
        exponent: 11,
        mantissa: 52,
    };
    pub const F32: Format = Format {
        exponent: 8,
        mantissa: 23,
    };
    pub const F16: Format = Format {
        exponent: 5,
        mantissa: 10,
    };
    pub const BF16: Format = Format {
        exponent: 8,
        mantissa: 7,
    };

    /// Bits of a value.
    pub fn bits(self) -> u32 {
        1 + self.exponent + self.mantissa
    }

    fn bias(self) -> i64 {
        (1 << (self.exponent - 1)) - 1
    }

    /// The exponent field of infinities and NaNs.
    fn top(self) -> u64 {
        (1 << self.exponent) - 1
    }

    /// Half the distance of two neighbours at 1: 2^-11 for f16, 2^-8 for bf16.
    pub fn unit_roundoff(self) -> f64 {
        0.5_f64.powi(self.mantissa as i32 + 1)
    }

    /// The largest finite value.
    pub fn largest(self) -> f64 {
        f64::from_bits(self.convert((self.top() << self.mantissa) - 1, Format::F64))
    }

    /// The bits of the value of `to` nearest to the value whose bits these are, ties to even. Beyond the
    /// largest an infinity; a NaN stays one, keeps its sign and the upper part of its payload, and is made
    /// quiet, as processors do it.
    pub fn convert(self, bits: u64, to: Format) -> u64 {
        let sign = (bits >> (self.bits() - 1) & 1) << (to.bits() - 1);
        let exponent = bits >> self.mantissa & self.top();
        let fraction = bits & ((1 << self.mantissa) - 1);
        if exponent == self.top() {
            let infinity = to.top() << to.mantissa;
            if fraction == 0 {
                return sign | infinity;
            }
            let payload = (fraction << (64 - self.mantissa)) >> (64 - to.mantissa);
            return sign | infinity | payload | 1 << (to.mantissa - 1);
        }
        let (fraction, exponent) = match exponent {
            0 => (fraction, 1 - self.bias()),
            _ => (fraction | 1 << self.mantissa, exponent as i64 - self.bias()),
        };
        if fraction == 0 {
            return sign;
        }
        // The value is significand / 2^127 * 2^exponent with the highest bit of 128 set.
        let zeros = fraction.leading_zeros();
        let exponent = exponent + i64::from(63 - zeros) - i64::from(self.mantissa);
        let significand = u128::from(fraction << zeros) << 64;

        // A normal number keeps its leading one and the mantissa's bits; a subnormal one fewer the
        // smaller it is.
        let field = exponent + to.bias();
        let dropped = 127 - i64::from(to.mantissa) + (1 - field).max(0);
        if dropped > 128 {
            return sign;
        }
        let kept = significand.checked_shr(dropped as u32).unwrap_or(0) as u64;
        let half = 1_u128 << (dropped - 1);
        let rest = significand & (half | (half - 1));
        let up = rest > half || (rest == half && kept & 1 == 1);
        // The leading one adds one to the field, and so does a carry out of the mantissa.
        let magnitude = ((field - 1).max(0) as u64)
            .saturating_mul(1 << to.mantissa)
            .saturating_add(kept + u64::from(up));
        sign | magnitude.min(to.top() << to.mantissa)
    }
}

/// A storage type whose format is known here.
pub trait Stored: Element<Sum: Vectors> {
    const FORMAT: Format;
}

impl Stored for f64 {
    const FORMAT: Format = Format::F64;
}

impl Stored for f32 {
    const FORMAT: Format = Format::F32;
}

impl Stored for f16 {
    const FORMAT: Format = Format::F16;
}

impl Stored for bf16 {
    const FORMAT: Format = Format::BF16;
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The nearest value of `to`, found among its neighbours by their distance; no bits are moved.
    fn by_search(value: f64, to: Format) -> u64 {
        let exact = |bits: u64| f64::from_bits(to.convert(bits, Format::F64));
        let infinity = to.top() << to.mantissa;
        let (mut low, mut high) = (0_u64, infinity);
        // low <= |value| < high.
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if exact(middle) <= value.abs() {
                low = middle;
            } else {
                high = middle;
            }
        }
        // For rounding, infinity stands where the next value would: as far up as the last is down.
        let above = if high == infinity {
            exact(low) + (exact(low) - exact(low - 1))
        } else {
            exact(high)
        };
        let (down, up) = (value.abs() - exact(low), above - value.abs());
        let nearest = if down < up || (down == up && low & 1 == 0) {
            low
        } else {
            high
        };
        nearest | u64::from(value.is_sign_negative()) << (to.bits() - 1)
    }

    #[test]
    fn every_half_is_exact_when_widened_and_comes_back() {
        for format in [Format::F16, Format::BF16] {
            for bits in 0..=u64::from(u16::MAX) {
                let wide = f64::from_bits(format.convert(bits, Format::F64));
                let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
                let exponent = bits >> format.mantissa & format.top();
                let fraction = (bits & ((1 << format.mantissa) - 1)) as f64;
                let scale = 2.0_f64.powi(-(format.mantissa as i32));
                let defined = if exponent == format.top() {
                    if fraction == 0.0 { f64::INFINITY } else { f64::NAN }
                } else if exponent == 0 {
                    fraction * scale * 2.0_f64.powi(1 - format.bias() as i32)
                } else {
                    (1.0 + fraction * scale) * 2.0_f64.powi(exponent as i32 - format.bias() as i32)
                };
                if defined.is_nan() {
                    assert!(wide.is_nan());
                    assert_eq!(wide.is_sign_negative(), bits >> 15 == 1);
                    // The same NaN, but for the bit that makes it quiet.
                    let quiet = 1 << (format.mantissa - 1);
                    assert_eq!(Format::F64.convert(wide.to_bits(), format), bits | quiet);
                } else {
                    assert_eq!(wide.to_bits(), (sign * defined).to_bits(), "{bits:04x}");
                    assert_eq!(Format::F64.convert(wide.to_bits(), format), bits);
                    let single = format.convert(bits, Format::F32);
                    assert_eq!(f64::from(f32::from_bits(single as u32)), wide);
                    assert_eq!(Format::F32.convert(single, format), bits);
                }
            }
        }
    }

    #[test]
    fn between_any_two_neighbours_the_nearer_and_of_the_middle_the_even_one() {
        for format in [Format::F16, Format::BF16] {
            let infinity = format.top() << format.mantissa;
            for bits in 0..infinity {
                let low = f64::from_bits(format.convert(bits, Format::F64));
                let high = if bits + 1 == infinity {
                    2.0 * low - f64::from_bits(format.convert(bits - 1, Format::F64))
                } else {
                    f64::from_bits(format.convert(bits + 1, Format::F64))
                };
                // Exact: a middle takes one more bit.
                let middle = low + (high - low) / 2.0;
                let even = bits + (bits & 1);
                for (value, expected) in [
                    (middle, even),
                    (f64::from_bits(middle.to_bits() - 1), bits),
                    (f64::from_bits(middle.to_bits() + 1), bits + 1),
                ] {
                    assert_eq!(Format::F64.convert(value.to_bits(), format), expected, "{value:e}");
                    assert_eq!(
                        Format::F64.convert((-value).to_bits(), format),
                        expected | 0x8000,
                        "{value:e}"
                    );
                }
                // The middle fits f32 too.
                let single = u64::from((middle as f32).to_bits());
                assert_eq!(Format::F32.convert(single, format), even);
            }
        }
    }

    #[test]
    fn f64_to_f16_does_not_round_twice() {
        // Just above the middle of 1 and its neighbour, by less than f32 can tell: f32 would round to
        // the middle and that to the even 1.
        let value = 1.0 + 2.0_f64.powi(-11) + 2.0_f64.powi(-40);
        assert_eq!(Format::F64.convert(value.to_bits(), Format::F16), 0x3c01);
        assert_eq!(<f16 as Element>::nearest(value).to_bits(), 0x3c01);
        let through_f32 = Format::F32.convert(Format::F64.convert(value.to_bits(), Format::F32), Format::F16);
        assert_eq!(through_f32, 0x3c00);
    }

    #[test]
    fn the_ends_of_the_range() {
        for (value, expected) in [
            (65504.0, 0x7bff),
            (65519.999, 0x7bff),
            (65520.0, 0x7c00),
            (1e300, 0x7c00),
            (-65520.0, 0xfc00),
            (2.0_f64.powi(-24), 0x0001),
            // Half of the smallest: to even, which is 0; a little more: up.
            (2.0_f64.powi(-25), 0x0000),
            (2.0_f64.powi(-25) * (1.0 + f64::EPSILON), 0x0001),
            (2.0_f64.powi(-26), 0x0000),
            (-5e-324, 0x8000),
            (6.1035156e-5, 0x0400),
            (-0.0, 0x8000),
            (f64::INFINITY, 0x7c00),
        ] {
            assert_eq!(Format::F64.convert(value.to_bits(), Format::F16), expected, "{value:e}");
        }
        assert_eq!(Format::F16.largest(), 65504.0);
        assert_eq!(Format::BF16.largest(), 3.3895313892515355e38);
        assert_eq!(Format::F32.largest(), f64::from(f32::MAX));
        assert_eq!(Format::F64.largest(), f64::MAX);
    }

    proptest! {
        #[test]
        fn f64_to_f32_is_the_language_s_own(bits in any::<u64>()) {
            let value = f64::from_bits(bits);
            if !value.is_nan() {
                prop_assert_eq!(Format::F64.convert(bits, Format::F32), u64::from((value as f32).to_bits()));
            }
        }

        #[test]
        fn narrowing_finds_the_nearest(mantissa in any::<u64>(), exponent in -30_i32..20) {
            let value = (mantissa as i64) as f64 * 2.0_f64.powi(exponent - 63);
            for format in [Format::F16, Format::BF16] {
                prop_assert_eq!(Format::F64.convert(value.to_bits(), format), by_search(value, format));
            }
            let bits = value.to_bits();
            prop_assert_eq!(
                u64::from(<f16 as Element>::nearest(value).to_bits()),
                Format::F64.convert(bits, Format::F16)
            );
            prop_assert_eq!(
                u64::from(<bf16 as Element>::nearest(value).to_bits()),
                Format::F64.convert(bits, Format::BF16)
            );
        }

        #[test]
        fn the_storage_types_round_alike(bits in any::<u32>()) {
            let value = f32::from_bits(bits);
            if !value.is_nan() {
                prop_assert_eq!(
                    u64::from(<f16 as Element>::narrow(value).to_bits()),
                    Format::F32.convert(u64::from(bits), Format::F16)
                );
                prop_assert_eq!(
                    u64::from(<bf16 as Element>::narrow(value).to_bits()),
                    Format::F32.convert(u64::from(bits), Format::BF16)
                );
            }
        }
    }
}
