//! Whether a figure grows steadily: its floor, the least of each span of time, rises and never falls.
//!
//! The floor and not the figure itself: what comes and goes (threads of a burst, memory between two
//! collections) has peaks that rise and a floor that does not.

use std::collections::VecDeque;

use crate::model::Nanos;

/// Spans that are kept.
const KEPT: usize = 64;

#[derive(Debug)]
pub(super) struct Floor {
    span: Nanos,
    /// The beginning of each span and the least in it; the last one is still open.
    floors: VecDeque<(Nanos, u64)>,
}

/// A floor that rises.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rise {
    pub since: Nanos,
    pub from: u64,
    pub to: u64,
    /// Spans over which it did not fall.
    pub steps: usize,
    pub seconds: f64,
}

impl Rise {
    pub fn growth(&self) -> u64 {
        self.to - self.from
    }

    pub fn per_minute(&self) -> f64 {
        self.growth() as f64 / self.seconds.max(1.0) * 60.0
    }
}

impl Floor {
    pub fn new(span: Nanos) -> Floor {
        Floor {
            span,
            floors: VecDeque::new(),
        }
    }

    pub fn push(&mut self, now: Nanos, value: u64) {
        if let Some((since, least)) = self.floors.back_mut() {
            let passed = now.saturating_sub(*since).0;
            if passed < self.span.0 {
                *least = (*least).min(value);
                return;
            }
            // Nobody looked for a while: what happened then is not known.
            if passed > self.span.0 * 3 {
                self.floors.clear();
            }
        }
        if self.floors.len() == KEPT {
            self.floors.pop_front();
        }
        self.floors.push_back((now, value));
    }

    /// How it has risen up to now: without a fall, in two spans of three at least, and lately too.
    pub fn rise(&self) -> Option<Rise> {
        // The open span's least may still fall.
        let closed = self.floors.len().checked_sub(1)?;
        let at = |n: usize| self.floors[n];
        let mut first = closed.checked_sub(1)?;
        let mut rises = 0;
        while first > 0 && at(first - 1).1 <= at(first).1 {
            rises += usize::from(at(first - 1).1 < at(first).1);
            first -= 1;
        }
        // What stood still before it began is no part of it.
        while first + 1 < closed && at(first).1 == at(first + 1).1 {
            first += 1;
        }
        let last = closed - 1;
        let steps = last - first;
        let lately = last.checked_sub(3).is_none_or(|before| at(before).1 < at(last).1);
        if steps == 0 || rises * 3 < steps * 2 || !lately {
            return None;
        }
        let (since, from) = at(first);
        let to = at(last).1;
        Some(Rise {
            since,
            from,
            to,
            steps,
            seconds: at(last).0.saturating_sub(since).seconds(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPAN: Nanos = Nanos(5_000_000_000);

    /// One value a second.
    fn floor(values: impl IntoIterator<Item = u64>) -> Floor {
        let mut floor = Floor::new(SPAN);
        for (second, value) in values.into_iter().enumerate() {
            floor.push(Nanos(second as u64 * 1_000_000_000), value);
        }
        floor
    }

    #[test]
    fn what_grows_by_one_a_second_rises_from_its_beginning() {
        let rise = floor(100..=140).rise().unwrap();
        assert_eq!((rise.from, rise.to, rise.steps), (100, 135, 7));
        assert!((rise.per_minute() - 60.0).abs() < 1e-9);
    }

    #[test]
    fn peaks_over_a_level_floor_are_no_rise() {
        assert_eq!(
            floor((0..60).map(|n| if n % 5 == 0 { 10 } else { 10 + n })).rise(),
            None
        );
        assert_eq!(floor([7; 60]).rise(), None);
        assert_eq!(floor([]).rise(), None);
        assert_eq!(floor([1]).rise(), None);
    }

    #[test]
    fn a_step_to_a_new_level_is_no_rise_and_a_fall_begins_anew() {
        let step = (0..60).map(|n| if n < 20 { 10 } else { 200 });
        assert_eq!(floor(step).rise(), None);
        let saw = (0..66_u64).map(|n| 100 + n % 33);
        assert!(floor(saw).rise().is_none_or(|rise| rise.seconds <= 30.0));
    }

    #[test]
    fn what_has_come_to_rest_rises_no_more() {
        let rests = (0..80).map(|n: u64| 100 + n.min(40));
        assert_eq!(floor(rests).rise(), None);
    }

    #[test]
    fn a_gap_begins_anew() {
        let mut floor = floor(0..60);
        floor.push(Nanos(120_000_000_000), 500);
        assert_eq!(floor.rise(), None);
    }

    #[test]
    fn it_keeps_no_more_than_it_needs() {
        assert!(floor(0..5000).floors.len() <= KEPT);
    }
}
