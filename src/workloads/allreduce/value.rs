//! Values that can be sent: plain bits without gaps.

use crate::linear::{Element, bf16, f16};

/// An [`Element`] whose bytes are its bits.
///
/// # Safety
/// Every byte of the type belongs to the value, and any bytes are a value.
pub unsafe trait Value: Element {
    /// Half the distance from 1 to the next value: how much a rounding may change a value, as a
    /// share of it.
    const UNIT: f64;

    /// Rounded once, to the nearest.
    fn of(value: f64) -> Self;

    /// Exact.
    fn to_f64(self) -> f64;

    fn bits(self) -> u64;
}

macro_rules! value {
    ($value:ty, $digits:expr, $of:expr, $to:expr) => {
        // SAFETY: a primitive number or a `repr(transparent)` wrapper around one.
        unsafe impl Value for $value {
            const UNIT: f64 = 1.0 / (1_u64 << $digits) as f64;

            #[inline]
            fn of(value: f64) -> $value {
                $of(value)
            }

            #[inline]
            fn to_f64(self) -> f64 {
                $to(self)
            }

            #[inline]
            fn bits(self) -> u64 {
                u64::from(self.to_bits())
            }
        }
    };
}

value!(f32, 24, |value| value as f32, f64::from);
value!(f64, 53, |value| value, |value| value);
value!(f16, 11, f16::from_f64, f16::to_f64);
value!(bf16, 8, bf16::from_f64, bf16::to_f64);

/// The values as bytes, in this machine's order.
pub(super) fn bytes<T: Value>(values: &[T]) -> &[u8] {
    // SAFETY: by the trait's contract all bytes are there; u8 has no alignment.
    unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), size_of_val(values)) }
}

/// The values as bytes that may be written over with any others.
pub(super) fn bytes_mut<T: Value>(values: &mut [T]) -> &mut [u8] {
    // SAFETY: as for `bytes`, and by the trait's contract any bytes are values.
    unsafe { std::slice::from_raw_parts_mut(values.as_mut_ptr().cast(), size_of_val(values)) }
}

/// The values that these bytes are, if they lie where such values may and are whole ones.
pub(super) fn values<T: Value>(bytes: &[u8]) -> Option<&[T]> {
    // SAFETY: by the trait's contract any bytes are values.
    let (before, values, after) = unsafe { bytes.align_to::<T>() };
    (before.is_empty() && after.is_empty()).then_some(values)
}
