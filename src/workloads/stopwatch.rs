//! The one clock of this room: for JSON cases whose answer reports seconds, and for deadlines on a
//! partner that may have died. Tasks are timed from outside, by the pool that runs them.

use std::time::{Duration, Instant};

#[derive(Clone, Copy, Debug)]
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    pub(crate) fn start() -> Stopwatch {
        Stopwatch(Instant::now())
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}
