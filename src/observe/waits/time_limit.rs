//! Until when a call waits, in words.

use std::time::{Duration, SystemTime};

use rustix::time::{ClockId, clock_gettime};

use super::call::Clock;
use crate::model::TimeLimit;

const NANOS: i128 = 1_000_000_000;

/// A span that was asked for, when the call was made.
pub(super) fn span(nanos: i128, clock: Clock) -> TimeLimit {
    TimeLimit {
        words: format!("for {}", seconds(nanos)),
        clock: name(clock),
        seconds: in_seconds(nanos),
        absolute: false,
    }
}

/// A moment on a clock. `now` is that clock's.
pub(super) fn moment(nanos: i128, clock: Clock, now: i128) -> TimeLimit {
    let words = match clock {
        Clock::Monotonic | Clock::Boottime => format!("until {} after boot", seconds(nanos)),
        Clock::Realtime => match on_the_calendar(nanos) {
            Some(date) => format!("until {date}"),
            None => format!("until {} after 1970", seconds(nanos)),
        },
        Clock::Other => format!("until {} on a clock of its own", seconds(nanos)),
    };
    TimeLimit {
        words,
        clock: name(clock),
        seconds: in_seconds(nanos - now),
        absolute: true,
    }
}

/// What that clock shows now. 0 for one that isn't ours to read.
pub(super) fn now(clock: Clock) -> i128 {
    let id = match clock {
        Clock::Monotonic => ClockId::Monotonic,
        Clock::Realtime => ClockId::Realtime,
        Clock::Boottime => ClockId::Boottime,
        Clock::Other => return 0,
    };
    let now = clock_gettime(id);
    of(now.tv_sec, now.tv_nsec)
}

/// A `struct timespec` as it was found: the program may have put anything there.
pub(super) fn of(seconds: i64, nanos: i64) -> i128 {
    i128::from(seconds) * NANOS + i128::from(nanos)
}

fn name(clock: Clock) -> &'static str {
    match clock {
        Clock::Monotonic => "monotonic",
        Clock::Realtime => "realtime",
        Clock::Boottime => "boottime",
        Clock::Other => "other",
    }
}

fn in_seconds(nanos: i128) -> f64 {
    nanos as f64 / NANOS as f64
}

/// `60 s`, `0.25 s`, to the millisecond, and below that to the nanosecond.
fn seconds(nanos: i128) -> String {
    let digits = if nanos.abs() < 1_000_000 { 9 } else { 3 };
    let text = format!("{:.digits$}", in_seconds(nanos));
    let text = text.trim_end_matches('0').trim_end_matches('.');
    format!("{text} s")
}

/// humantime panics beyond the year 9999.
fn on_the_calendar(nanos: i128) -> Option<String> {
    let whole = u64::try_from(nanos / NANOS)
        .ok()
        .filter(|seconds| *seconds < 253_402_300_800)?;
    let part = u32::try_from(nanos % NANOS).ok()?;
    let moment = SystemTime::UNIX_EPOCH.checked_add(Duration::new(whole, part))?;
    Some(humantime::format_rfc3339_millis(moment).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_moments_are_told_in_words() {
        let check = |limit: TimeLimit, expected| assert_eq!(limit.words, expected);
        check(span(60 * NANOS, Clock::Realtime), "for 60 s");
        check(span(250_000_000, Clock::Monotonic), "for 0.25 s");
        check(span(1_500, Clock::Monotonic), "for 0.0000015 s");
        check(span(0, Clock::Monotonic), "for 0 s");
        check(moment(12_500_000_000, Clock::Monotonic, 0), "until 12.5 s after boot");
        check(
            moment(of(1_795_000_000, 5_000_000), Clock::Realtime, 0),
            "until 2026-11-18T11:06:40.005Z",
        );
        check(moment(-1, Clock::Realtime, 0), "until -0.000000001 s after 1970");
    }

    #[test]
    fn of_a_moment_what_is_left_is_told() {
        let limit = moment(20 * NANOS, Clock::Boottime, 12 * NANOS);
        assert_eq!((limit.seconds, limit.absolute), (8.0, true));
        assert_eq!(moment(12 * NANOS, Clock::Monotonic, 20 * NANOS).seconds, -8.0);
    }

    proptest::proptest! {
        #[test]
        fn no_time_makes_it_panic(seconds: i64, nanos: i64, now: i64) {
            let nanos = of(seconds, nanos);
            for clock in [Clock::Monotonic, Clock::Realtime, Clock::Boottime, Clock::Other] {
                let _ = (span(nanos, clock), moment(nanos, clock, now.into()));
            }
        }
    }
}
