//! Turns two readings of a thread into shares of the time between them.
//!
//! `threads` keeps each thread's previous reading beside its row, so a tid that was given to another
//! thread starts anew. A thread seen once has no rate yet: `SeenOnce`, not 0.
//!
//! Two properties of the kernel's counters shape this. CPU time is brought up to date at ticks and
//! switches, so a share may come out a little above 1: it is cut there. And run delay is added only
//! when a thread is picked: a thread that was runnable at both readings and whose clock stood still
//! has waited throughout, whatever its counter says; when it is picked, the counter jumps by more
//! than the interval, and is cut as well.

use crate::kernel::schedstat::ThreadClock;
use crate::model::{Evidence, Nanos, Ticks, Unknown};

/// The counters of one thread at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    /// When, on `CLOCK_MONOTONIC`: each thread is read at a moment of its own within a pass.
    pub at: Nanos,
    pub clock: Evidence<ThreadClock>,
    /// User and system time, for kernels without `schedstat`: resolution 10 ms.
    pub ticks: Ticks,
    pub runnable: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rates {
    pub cpu_ratio: Evidence<f64>,
    pub run_delay_ratio: Evidence<f64>,
}

impl Rates {
    pub(super) const SEEN_ONCE: Rates = Rates {
        cpu_ratio: Err(Unknown::SeenOnce),
        run_delay_ratio: Err(Unknown::SeenOnce),
    };
}

pub(super) fn between(earlier: &Reading, later: &Reading) -> Rates {
    let passed = later.at.saturating_sub(earlier.at);
    let share = |before: Nanos, after: Nanos| {
        let share = after.saturating_sub(before).share_of(passed);
        share.map(|share| share.min(1.0)).ok_or(Unknown::SeenOnce)
    };
    match (earlier.clock, later.clock) {
        (Ok(before), Ok(after)) => {
            let starved = before == after && earlier.runnable && later.runnable;
            Rates {
                cpu_ratio: share(before.on_cpu, after.on_cpu),
                run_delay_ratio: share(before.runnable, after.runnable).map(|r| if starved { 1.0 } else { r }),
            }
        }
        (_, Err(why)) => Rates {
            cpu_ratio: share(in_nanos(earlier.ticks), in_nanos(later.ticks)),
            run_delay_ratio: Err(why),
        },
        // The clock was denied a moment ago and can be read now.
        (Err(_), Ok(_)) => Rates::SEEN_ONCE,
    }
}

fn in_nanos(ticks: Ticks) -> Nanos {
    Nanos(ticks.0.saturating_mul(1_000_000_000 / Ticks::PER_SECOND))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(at: u64, on_cpu: u64, waited: u64, runnable: bool) -> Reading {
        Reading {
            at: Nanos(at),
            clock: Ok(ThreadClock {
                on_cpu: Nanos(on_cpu),
                runnable: Nanos(waited),
                slices: 1,
            }),
            ticks: Ticks(on_cpu / 10_000_000),
            runnable,
        }
    }

    #[test]
    fn a_share_is_what_was_added_over_what_passed() {
        let rates = between(&reading(1000, 500, 10, true), &reading(2000, 750, 110, true));
        assert_eq!(
            rates,
            Rates {
                cpu_ratio: Ok(0.25),
                run_delay_ratio: Ok(0.1)
            }
        );
    }

    #[test]
    fn a_stale_clock_cannot_give_more_than_all() {
        let rates = between(&reading(0, 0, 0, true), &reading(100, 104, 3000, true));
        assert_eq!(
            rates,
            Rates {
                cpu_ratio: Ok(1.0),
                run_delay_ratio: Ok(1.0)
            }
        );
    }

    #[test]
    fn a_thread_that_is_never_picked_has_waited_all_the_time() {
        let rates = between(&reading(0, 7, 7, true), &reading(100, 7, 7, true));
        assert_eq!(
            rates,
            Rates {
                cpu_ratio: Ok(0.0),
                run_delay_ratio: Ok(1.0)
            }
        );
        // Asleep at one end, it may have been woken a moment ago.
        let rates = between(&reading(0, 7, 7, false), &reading(100, 7, 7, true));
        assert_eq!(rates.run_delay_ratio, Ok(0.0));
    }

    #[test]
    fn without_schedstat_the_ticks_are_left() {
        let tick = |at: u64, ticks| Reading {
            at: Nanos(at),
            clock: Err(Unknown::NoKernelSupport),
            ticks: Ticks(ticks),
            runnable: false,
        };
        let rates = between(&tick(0, 0), &tick(1_000_000_000, 50));
        assert_eq!(rates.cpu_ratio, Ok(0.5));
        assert_eq!(rates.run_delay_ratio, Err(Unknown::NoKernelSupport));
    }

    #[test]
    fn no_time_gives_no_rate() {
        let same = reading(5, 1, 1, false);
        assert_eq!(between(&same, &same).cpu_ratio, Err(Unknown::SeenOnce));
    }
}
