//! Dynamic loss scaling, by the rules of PyTorch's GradScaler (`_amp_update_scale_`).

/// The factor on the loss that keeps small gradients representable in f16.
///
/// A step that overflowed is skipped and the scale multiplied by `backoff_factor`; after
/// `growth_interval` good steps in a row it is multiplied by `growth_factor`, unless that would
/// leave f32. The scale itself is an f32, as in PyTorch; the factors are f64.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LossScale {
    scale: f32,
    growth_factor: f64,
    backoff_factor: f64,
    growth_interval: u64,
    growth_tracker: u64,
    dynamic: bool,
}

impl Default for LossScale {
    /// PyTorch's defaults.
    fn default() -> LossScale {
        LossScale::new(65536.0, 2.0, 0.5, 2000)
    }
}

impl LossScale {
    /// See [`LossScale::off`].
    pub const OFF: LossScale = LossScale {
        scale: 1.0,
        growth_factor: 2.0,
        backoff_factor: 0.5,
        growth_interval: 2000,
        growth_tracker: 0,
        dynamic: false,
    };

    /// Wants `init` > 0, `growth_factor` > 1, 0 < `backoff_factor` < 1 and `growth_interval` > 0.
    pub fn new(init: f32, growth_factor: f64, backoff_factor: f64, growth_interval: u64) -> LossScale {
        LossScale {
            scale: init,
            growth_factor,
            backoff_factor,
            growth_interval,
            growth_tracker: 0,
            dynamic: true,
        }
    }

    /// No scaling: the factor stays 1 and no step is skipped, whatever happens in it.
    pub fn off() -> LossScale {
        LossScale::OFF
    }

    /// Whether steps that overflow are skipped.
    pub fn is_on(&self) -> bool {
        self.dynamic
    }

    pub fn scale(&self) -> f32 {
        self.scale
    }

    /// Good steps since the scale last changed.
    pub fn growth_tracker(&self) -> u64 {
        self.growth_tracker
    }

    /// After each step: `overflow` says that some gradient was not finite.
    pub fn update(&mut self, overflow: bool) {
        if !self.dynamic {
            return;
        }
        if overflow {
            self.scale = (f64::from(self.scale) * self.backoff_factor) as f32;
            self.growth_tracker = 0;
        } else if self.growth_tracker + 1 == self.growth_interval {
            let grown = (f64::from(self.scale) * self.growth_factor) as f32;
            if grown.is_finite() {
                self.scale = grown;
            }
            self.growth_tracker = 0;
        } else {
            self.growth_tracker += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(mut scale: LossScale, overflow: &[u8], scales: &[f32], trackers: &[u64]) {
        for (step, overflow) in overflow.iter().enumerate() {
            scale.update(*overflow == 1);
            assert_eq!(
                (scale.scale(), scale.growth_tracker()),
                (scales[step], trackers[step]),
                "after step {step}"
            );
        }
    }

    #[test]
    fn it_grows_after_good_steps_and_backs_off_at_once() {
        check(
            LossScale::new(8.0, 2.0, 0.5, 2),
            &[0, 0, 0, 1, 1, 0, 0, 0, 0],
            &[8.0, 16.0, 16.0, 8.0, 4.0, 4.0, 8.0, 8.0, 16.0],
            &[1, 0, 1, 0, 0, 1, 0, 1, 0],
        );
    }

    #[test]
    fn an_interval_of_one_grows_at_every_good_step() {
        check(
            LossScale::new(1.0, 4.0, 0.25, 1),
            &[0, 0, 1],
            &[4.0, 16.0, 4.0],
            &[0, 0, 0],
        );
    }

    #[test]
    fn it_does_not_grow_past_the_largest_f32() {
        check(
            LossScale::new(f32::MAX, 2.0, 0.5, 1),
            &[0, 1],
            &[f32::MAX, f32::MAX / 2.0],
            &[0, 0],
        );
    }

    #[test]
    fn it_shrinks_to_zero_as_pytorch_lets_it() {
        check(LossScale::new(1e-45, 2.0, 0.5, 1), &[1, 0], &[0.0, 0.0], &[0, 0]);
    }

    #[test]
    fn factors_need_not_be_powers_of_two() {
        // 10 * 1.1 in f64, then to f32: what `static_cast<float>(*current_scale * growth_factor)` gives.
        check(LossScale::new(10.0, 1.1, 0.3, 1), &[0, 1], &[11.0, 3.3], &[0, 0]);
    }

    #[test]
    fn switched_off_nothing_changes_it() {
        check(LossScale::off(), &[1, 0, 1], &[1.0; 3], &[0; 3]);
    }
}
