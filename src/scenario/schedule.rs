//! When tasks are due: the load curve, and the arrivals drawn from it.
//!
//! A [`Curve`] is a piecewise linear rate (or number of users) over the seconds of a load. Arrivals
//! are made by inversion: a stream of steps of mean 1 (exponential for Poisson, exactly 1 for
//! even) is laid along the integral of the curve, and each step ends at an intended start. So a
//! ramp is exact, a thousandfold rate costs no rejected draws, and the same seed gives the same
//! starts wherever the clock stands. Nothing here reads a clock.
//!
//! Source of the inversion: Çinlar, Introduction to Stochastic Processes, 1975, section 4.7.

use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use crate::model::Nanos;

/// One stage: the value goes linearly from `from` to `to` in `seconds`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Segment {
    pub from: f64,
    pub to: f64,
    pub seconds: f64,
}

impl Segment {
    fn value(&self, at: f64) -> f64 {
        self.from + (self.to - self.from) * (at / self.seconds).clamp(0.0, 1.0)
    }

    /// The integral from the segment's start to `at`.
    fn area(&self, at: f64) -> f64 {
        f64::midpoint(self.from, self.value(at)) * at
    }

    /// How long after `at` the integral has grown by `need`; `None` when it does not within the segment.
    fn reach(&self, at: f64, need: f64) -> Option<f64> {
        let left = self.area(self.seconds) - self.area(at);
        if need > left || self.seconds <= at {
            return None;
        }
        let slope = (self.to - self.from) / self.seconds;
        let rate = self.value(at);
        // The stable form of the quadratic's root: no difference of near-equal numbers.
        let root = (rate * rate + 2.0 * slope * need).max(0.0).sqrt();
        let denominator = rate + root;
        if denominator <= 0.0 {
            return (need <= 0.0).then_some(0.0);
        }
        Some((2.0 * need / denominator).min(self.seconds - at))
    }
}

/// A rate or a number of users over time. After its last segment the last value holds, or all of
/// it begins again.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    segments: Vec<Segment>,
    repeat: bool,
    /// Sums over one pass.
    seconds: f64,
    area: f64,
}

impl Curve {
    pub fn constant(value: f64) -> Curve {
        Curve::new(
            vec![Segment {
                from: value,
                to: value,
                seconds: 1.0,
            }],
            false,
        )
    }

    /// Segments of no length are left out; a curve of none is 0 for ever.
    pub fn new(mut segments: Vec<Segment>, repeat: bool) -> Curve {
        segments.retain(|segment| segment.seconds > 0.0);
        if segments.is_empty() {
            segments.push(Segment {
                from: 0.0,
                to: 0.0,
                seconds: 1.0,
            });
        }
        let seconds = segments.iter().map(|segment| segment.seconds).sum();
        let area = segments.iter().map(|segment| segment.area(segment.seconds)).sum();
        Curve {
            segments,
            repeat,
            seconds,
            area,
        }
    }

    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    pub fn repeats(&self) -> bool {
        self.repeat
    }

    /// The largest value it ever takes.
    pub fn peak(&self) -> f64 {
        self.segments
            .iter()
            .fold(0.0, |peak, segment| segment.from.max(segment.to).max(peak))
    }

    fn last(&self) -> f64 {
        self.segments.last().map_or(0.0, |segment| segment.to)
    }

    /// The same curve played `speed` times as fast; rates grow with it, users do not.
    pub fn scaled(&self, speed: f64, rates: bool) -> Curve {
        let value = if rates { speed } else { 1.0 };
        let segments = self.segments.iter().map(|segment| Segment {
            from: segment.from * value,
            to: segment.to * value,
            seconds: segment.seconds / speed,
        });
        Curve::new(segments.collect(), self.repeat)
    }

    pub fn value(&self, at: f64) -> f64 {
        let mut at = if self.repeat { at % self.seconds } else { at };
        for segment in &self.segments {
            if at < segment.seconds {
                return segment.value(at);
            }
            at -= segment.seconds;
        }
        self.last()
    }

    /// The integral from 0 to `at`: the arrivals to expect by then.
    pub fn integral(&self, at: f64) -> f64 {
        let (passes, mut at) = if self.repeat {
            ((at / self.seconds).floor(), at % self.seconds)
        } else {
            (0.0, at)
        };
        let mut sum = passes * self.area;
        for segment in &self.segments {
            if at < segment.seconds {
                return sum + segment.area(at);
            }
            sum += segment.area(segment.seconds);
            at -= segment.seconds;
        }
        sum + at * self.last()
    }

    /// The time at which the integral has grown by `need` since `from`; `None` when it never does.
    fn reach(&self, from: f64, need: f64) -> Option<f64> {
        let mut need = need;
        let (mut base, mut at) = if self.repeat {
            let passes = (from / self.seconds).floor();
            (passes * self.seconds, from - passes * self.seconds)
        } else {
            (0.0, from)
        };
        if self.repeat {
            if self.area <= 0.0 {
                return None;
            }
            // Whole passes are skipped at once, so that a tiny rate is not a long loop.
            let passes = (need / self.area).floor();
            base += passes * self.seconds;
            need -= passes * self.area;
        }
        // What is left is found within two passes; the bound is against rounding.
        for _ in 0..3 {
            for segment in &self.segments {
                if at < segment.seconds {
                    if let Some(more) = segment.reach(at, need) {
                        return Some(base + at + more);
                    }
                    need -= segment.area(segment.seconds) - segment.area(at);
                    at = segment.seconds;
                }
                base += segment.seconds;
                at -= segment.seconds;
            }
            if !self.repeat {
                let last = self.last();
                return (last > 0.0).then(|| base + at + need.max(0.0) / last);
            }
            at = 0.0;
        }
        Some(base)
    }
}

/// How arrivals are spaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spacing {
    Poisson,
    Even,
}

impl Spacing {
    /// As scenario files spell it.
    pub fn name(self) -> &'static str {
        match self {
            Spacing::Poisson => "poisson",
            Spacing::Even => "even",
        }
    }
}

/// The intended starts of one open load, in seconds since its start.
#[derive(Clone, Debug)]
pub struct Arrivals {
    curve: Curve,
    spacing: Spacing,
    factor: f64,
    /// Where the last arrival was, or the last change of the factor.
    at: f64,
    /// What is left of the step to the next arrival.
    need: f64,
    dice: Dice,
}

impl Arrivals {
    pub fn new(curve: Curve, spacing: Spacing, seed: u64) -> Arrivals {
        let mut dice = Dice::new(seed);
        let need = match spacing {
            Spacing::Poisson => dice.exponential(),
            // Half a gap, so that the count over any whole time is the rounded integral.
            Spacing::Even => 0.5,
        };
        Arrivals {
            curve,
            spacing,
            factor: 1.0,
            at: 0.0,
            need,
            dice,
        }
    }

    /// When the next task is due; `None` while there is none to come (rate or factor 0).
    pub fn next(&self) -> Option<f64> {
        if self.factor <= 0.0 {
            return None;
        }
        self.curve.reach(self.at, self.need / self.factor)
    }

    /// The arrival at `due`, as [`Arrivals::next`] gave it, has been taken.
    pub fn take(&mut self, due: f64) {
        self.at = due;
        self.need = match self.spacing {
            Spacing::Poisson => self.dice.exponential(),
            Spacing::Even => 1.0,
        };
    }

    /// Multiplies the rate from `now` on. What is overdue by then is still due under the old factor.
    pub fn set_factor(&mut self, now: f64, factor: f64) {
        if factor == self.factor {
            return;
        }
        if now > self.at {
            let gone = self.factor * (self.curve.integral(now) - self.curve.integral(self.at));
            if gone < self.need {
                self.need -= gone;
                self.at = now;
            }
        }
        self.factor = factor;
    }
}

/// A seeded stream of draws, the same on every machine and in every version of this program.
#[derive(Clone, Debug)]
pub struct Dice(Xoshiro256PlusPlus);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(Xoshiro256PlusPlus::seed_from_u64(seed))
    }

    /// Uniform in [0, 1), from the upper 53 bits.
    pub fn unit(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// Exponential with mean 1.
    pub fn exponential(&mut self) -> f64 {
        // 1 - u is in (0, 1], so the logarithm is finite.
        -(1.0 - self.unit()).ln()
    }
}

/// A seed of its own for each stream of one run. Streams are named, not numbered: a load added to
/// a file leaves the others as they were. FNV-1a over the names, then splitmix64's finisher.
pub fn stream_seed(seed: u64, names: &[&str]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64 ^ seed;
    for name in names {
        // A byte that no UTF-8 text holds keeps ["a", "b"] apart from ["ab"].
        for byte in name.bytes().chain([0xff]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
    mix(hash)
}

/// splitmix64's finisher: every bit of the input reaches every bit of the output.
pub fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A point of a load's own seconds as nanoseconds.
pub fn nanos(seconds: f64) -> Nanos {
    Nanos((seconds.max(0.0) * 1e9).round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn take_until(arrivals: &mut Arrivals, end: f64) -> Vec<f64> {
        let mut dues = Vec::new();
        while let Some(due) = arrivals.next().filter(|due| *due < end) {
            dues.push(due);
            arrivals.take(due);
        }
        dues
    }

    fn segments() -> impl Strategy<Value = Vec<Segment>> {
        let segment =
            (0.0..400.0f64, 0.0..400.0f64, 0.01..3.0f64).prop_map(|(from, to, seconds)| Segment { from, to, seconds });
        prop::collection::vec(segment, 1..6)
    }

    proptest! {
        #[test]
        fn even_arrivals_count_the_integral(segments in segments(), repeat: bool, end in 0.1..20.0f64) {
            let curve = Curve::new(segments, repeat);
            let expected = curve.integral(end);
            let count = take_until(&mut Arrivals::new(curve, Spacing::Even, 1), end).len() as f64;
            prop_assert!((count - expected).abs() <= 1.0, "{count} against {expected}");
        }

        #[test]
        fn poisson_arrivals_count_about_the_integral(segments in segments(), seed: u64, end in 0.1..20.0f64) {
            let curve = Curve::new(segments, false);
            let expected = curve.integral(end);
            let count = take_until(&mut Arrivals::new(curve, Spacing::Poisson, seed), end).len() as f64;
            // Seven standard deviations and a little for small counts.
            prop_assert!((count - expected).abs() <= 7.0 * expected.sqrt() + 8.0, "{count} against {expected}");
        }

        #[test]
        fn arrivals_never_go_back_and_repeat_with_the_seed(segments in segments(), seed: u64) {
            let curve = Curve::new(segments, true);
            let once = take_until(&mut Arrivals::new(curve.clone(), Spacing::Poisson, seed), 9.0);
            let again = take_until(&mut Arrivals::new(curve, Spacing::Poisson, seed), 9.0);
            prop_assert!(once.is_sorted());
            prop_assert_eq!(once, again);
        }

        #[test]
        fn reach_is_the_inverse_of_the_integral(segments in segments(), repeat: bool, from in 0.0..8.0f64, need in 0.0..500.0f64) {
            let curve = Curve::new(segments, repeat);
            if let Some(at) = curve.reach(from, need) {
                let grown = curve.integral(at) - curve.integral(from);
                prop_assert!((grown - need).abs() < 1e-3 * (1.0 + need), "{grown} against {need}");
            }
        }
    }

    #[test]
    fn poisson_gaps_have_the_spread_of_an_exponential() {
        let dues = take_until(&mut Arrivals::new(Curve::constant(1000.0), Spacing::Poisson, 7), 40.0);
        let gaps: Vec<f64> = dues.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        assert!((mean * 1000.0 - 1.0).abs() < 0.03, "{mean}");
        assert!((variance.sqrt() / mean - 1.0).abs() < 0.04, "{variance}");
    }

    #[test]
    fn a_ramp_is_denser_at_its_end() {
        let ramp = Curve::new(
            vec![Segment {
                from: 0.0,
                to: 100.0,
                seconds: 10.0,
            }],
            false,
        );
        let dues = take_until(&mut Arrivals::new(ramp, Spacing::Even, 1), 10.0);
        let half = dues.iter().filter(|due| **due < 5.0).count();
        assert_eq!((dues.len(), half), (500, 125));
    }

    #[test]
    fn a_pause_makes_no_arrivals_and_no_burst_after_it() {
        let mut arrivals = Arrivals::new(Curve::constant(10.0), Spacing::Even, 1);
        assert_eq!(take_until(&mut arrivals, 1.0).len(), 10);
        arrivals.set_factor(1.0, 0.0);
        assert_eq!(arrivals.next(), None);
        arrivals.set_factor(100.0, 1.0);
        assert_eq!(take_until(&mut arrivals, 101.0).len(), 10);
    }

    #[test]
    fn a_factor_takes_what_is_left_of_the_gap_with_it() {
        let mut arrivals = Arrivals::new(Curve::constant(1.0), Spacing::Even, 1);
        arrivals.take(0.0);
        // Half of the gap is gone; at tenfold rate the other half takes a twentieth of a second.
        arrivals.set_factor(0.5, 10.0);
        assert!((arrivals.next().unwrap() - 0.55).abs() < 1e-9);
    }

    #[test]
    fn streams_are_told_apart_by_name() {
        let seeds = [
            stream_seed(1, &["a", "b"]),
            stream_seed(1, &["ab"]),
            stream_seed(1, &["b", "a"]),
            stream_seed(2, &["a", "b"]),
        ];
        for (i, seed) in seeds.iter().enumerate() {
            assert!(!seeds[..i].contains(seed));
        }
        // Pinned: a new version of this program must play an old seed the same way.
        assert_eq!(
            Dice::new(stream_seed(42, &["load", "arrivals"])).0.next_u64(),
            Dice::new(stream_seed(42, &["load", "arrivals"])).0.next_u64()
        );
    }

    #[test]
    fn different_loads_are_independent() {
        let draw = |name| {
            take_until(
                &mut Arrivals::new(Curve::constant(500.0), Spacing::Poisson, stream_seed(42, &[name])),
                20.0,
            )
        };
        let (a, b) = (draw("a"), draw("b"));
        // Counts per tenth of a second: no more correlation than chance gives 200 pairs.
        let count = |dues: &[f64]| {
            let mut bins = vec![0.0; 200];
            for due in dues {
                bins[(due * 10.0) as usize] += 1.0;
            }
            let mean = bins.iter().sum::<f64>() / 200.0;
            bins.iter().map(|n| n - mean).collect::<Vec<f64>>()
        };
        let (a, b) = (count(&a), count(&b));
        let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
        let correlation = dot(&a, &b) / (dot(&a, &a) * dot(&b, &b)).sqrt();
        assert!(correlation.abs() < 0.3, "{correlation}");
    }
}
