//! Values that can be sent: plain bits without gaps.

use crate::linear::{Element, bf16, f16};

/// An [`Element`] whose bytes are its bits.
///
/// # Safety
/// Every byte of the type belongs to the value, and any bytes are a value.
pub unsafe trait Value: Element {
    /// Rounded once, to the nearest.
    fn of(value: f64) -> Self;

    /// Exact.
    fn to_f64(self) -> f64;

    fn bits(self) -> u64;
}

macro_rules! value {
    ($value:ty, $of:expr, $to:expr) => {
        // SAFETY: a primitive number or a `repr(transparent)` wrapper around one.
        unsafe impl Value for $value {
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

value!(f32, |value| value as f32, f64::from);
value!(f64, |value| value, |value| value);
value!(f16, f16::from_f64, f16::to_f64);
value!(bf16, bf16::from_f64, bf16::to_f64);

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
