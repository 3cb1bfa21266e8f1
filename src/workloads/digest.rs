//! A short stand-in for a long answer: a 64-bit number that depends on every value and its place.
//!
//! Multiply and rotate, one step a value. It guards against wrong answers, not against an enemy.

pub(super) struct Digest(u64);

impl Digest {
    pub(super) fn new() -> Digest {
        Digest(0x9E37_79B9_7F4A_7C15)
    }

    #[inline]
    pub(super) fn push(&mut self, value: u64) {
        self.0 = (self.0 ^ value).wrapping_mul(0x2545_F491_4F6C_DD1D).rotate_left(29);
    }

    pub(super) fn of(values: impl IntoIterator<Item = u64>) -> u64 {
        let mut digest = Digest::new();
        for value in values {
            digest.push(value);
        }
        digest.value()
    }

    pub(super) fn value(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn value_order_and_length_all_count() {
        let of = |values: &[u64]| Digest::of(values.iter().copied());
        assert_ne!(of(&[1, 2]), of(&[2, 1]));
        assert_ne!(of(&[1, 2]), of(&[1, 3]));
        assert_ne!(of(&[0]), of(&[0, 0]));
        assert_eq!(of(&[1, 2]), of(&[1, 2]));
    }
}
