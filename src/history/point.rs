//! One kept number: an `f32`, or the reason why it is unknown, in the same four bytes.
//!
//! An unknown is a NaN that carries its reason in the low byte. It is held as bits and not as a
//! float, so no arithmetic can quieten the reason, and equality is exact.

use crate::model::{Evidence, Unknown};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Point(u32);

const UNKNOWN: u32 = 0x7fc0_0000;

impl Point {
    /// A value that is not finite is nothing we can show.
    pub(super) fn of(value: Evidence<f64>) -> Point {
        match value {
            Ok(value) if (value as f32).is_finite() => Point((value as f32).to_bits()),
            Ok(_) => Point::unknown(Unknown::Unreadable),
            Err(unknown) => Point::unknown(unknown),
        }
    }

    pub(super) fn unknown(unknown: Unknown) -> Point {
        // `ALL` is in the order of declaration; a test keeps it so.
        Point(UNKNOWN | unknown as u32)
    }

    pub(super) fn value(self) -> Evidence<f32> {
        if self.0 & UNKNOWN == UNKNOWN {
            let reason = Unknown::ALL.get((self.0 & 0xff) as usize);
            Err(reason.copied().unwrap_or(Unknown::Unreadable))
        } else {
            Ok(f32::from_bits(self.0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_reason_comes_back() {
        for unknown in Unknown::ALL {
            assert_eq!(Point::of(Err(unknown)).value(), Err(unknown));
        }
    }

    #[test]
    fn what_is_no_number_is_unknown() {
        for value in [f64::NAN, f64::INFINITY, -f64::INFINITY, f64::MAX] {
            assert_eq!(Point::of(Ok(value)).value(), Err(Unknown::Unreadable));
        }
        assert_eq!(Point::of(Ok(0.0)).value(), Ok(0.0));
    }

    proptest! {
        #[test]
        fn every_number_comes_back(value in any::<f32>().prop_filter("finite", |value| value.is_finite())) {
            prop_assert_eq!(Point::of(Ok(f64::from(value))).value(), Ok(value));
        }
    }
}
